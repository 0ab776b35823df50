//! Windows that are shown.

use std::time::{Duration, Instant};

use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, CreateWindowAux, MapState, WindowClass};
use x11rb::rust_connection::RustConnection;

x11rb::atom_manager! {
    pub(crate) Atoms:
    AtomsCookie {
        _NET_ACTIVE_WINDOW,
        _NET_CLIENT_LIST,
        _NET_SUPPORTING_WM_CHECK,
        WM_STATE,
    }
}

/// A rectangle of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// The left edge.
    pub x: i32,
    /// The upper edge.
    pub y: i32,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

impl Area {
    /// The pixel in the middle.
    pub fn centre(&self) -> (i32, i32) {
        (self.x + self.width.cast_signed() / 2, self.y + self.height.cast_signed() / 2)
    }
}

/// A window of a program that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its X id.
    pub id: u32,
    /// Its second string of `WM_CLASS`.
    pub class: String,
    /// Where it is on the screen, without its frame.
    pub rect: Area,
    /// The child of the root that holds it: itself, or its frame.
    pub frame: u32,
}

/// Looks for windows on a connection of its own.
pub(crate) struct Finder {
    pub(crate) conn: RustConnection,
    pub(crate) root: u32,
    pub(crate) atoms: Atoms,
}

impl Finder {
    pub(crate) fn new(conn: RustConnection) -> Self {
        let root = conn.setup().roots[0].root;
        let atoms = Atoms::new(&conn).expect("a server").reply().expect("atoms");
        Self { conn, root, atoms }
    }

    pub(crate) fn atom(&self, name: &str) -> u32 {
        self.conn.intern_atom(false, name.as_bytes()).expect("a server").reply().expect("an atom").atom
    }

    pub(crate) fn is_managed(&self) -> bool {
        self.has(self.root, self.atoms._NET_SUPPORTING_WM_CHECK)
    }

    /// Maps a window, waits for the manager to take it, and returns once it has let go of it again.
    pub(crate) fn takes_windows(&self) -> bool {
        let conn = &self.conn;
        let id = conn.generate_id().expect("an id");
        let (kind, aux) = (WindowClass::INPUT_OUTPUT, CreateWindowAux::new());
        conn.create_window(0, id, self.root, 0, 0, 1, 1, 0, kind, 0, &aux).expect("a server");
        conn.map_window(id).expect("a server");
        let soon = Instant::now() + Duration::from_millis(50);
        let mut taken = false;
        while !taken && Instant::now() < soon {
            taken = self.shown(id).is_some();
            std::thread::sleep(Duration::from_millis(1));
        }
        conn.destroy_window(id).expect("a server");
        if taken {
            crate::until("a window manager without windows", || {
                let listed =
                    conn.get_property(false, self.root, self.atoms._NET_CLIENT_LIST, AtomEnum::ANY, 0, 1);
                (listed.ok()?.reply().ok()?.value_len == 0).then_some(())
            });
        }
        taken
    }

    /// Down to four levels below the root, the highest first.
    pub(crate) fn find(&self, class: &str) -> Option<Shown> {
        let mut level = vec![self.root];
        for _ in 0..4 {
            level = level.iter().rev().flat_map(|window| self.children(*window)).collect();
            let found = level.iter().rev().find(|id| self.class(**id).as_deref() == Some(class));
            if let Some(shown) = found.and_then(|id| self.shown(*id)) {
                return Some(shown);
            }
        }
        None
    }

    /// Where a window manager works, it marks each window once it is in its place (ICCCM 4.1.3.1).
    pub(crate) fn shown(&self, id: u32) -> Option<Shown> {
        let attributes = self.conn.get_window_attributes(id).ok()?.reply().ok()?;
        let waits = self.is_managed() && !attributes.override_redirect && !self.has(id, self.atoms.WM_STATE);
        if attributes.map_state != MapState::VIEWABLE || waits {
            return None;
        }
        let geometry = self.conn.get_geometry(id).ok()?.reply().ok()?;
        let origin = self.conn.translate_coordinates(id, self.root, 0, 0).ok()?.reply().ok()?;
        let rect = Area {
            x: origin.dst_x.into(),
            y: origin.dst_y.into(),
            width: geometry.width.into(),
            height: geometry.height.into(),
        };
        Some(Shown { id, class: self.class(id).unwrap_or_default(), rect, frame: self.top(id)? })
    }

    /// Whether the window, or one in it, has the focus.
    pub(crate) fn has_focus(&self, id: u32) -> bool {
        let Some(focus) = self.conn.get_input_focus().ok().and_then(|cookie| cookie.reply().ok()) else {
            return false;
        };
        // None and PointerRoot are no windows.
        focus.focus > 1 && self.top(focus.focus).is_some_and(|top| Some(top) == self.top(id))
    }

    fn top(&self, id: u32) -> Option<u32> {
        let mut top = id;
        loop {
            match self.conn.query_tree(top).ok()?.reply().ok()?.parent {
                x11rb::NONE => return Some(top),
                parent if parent == self.root => return Some(top),
                parent => top = parent,
            }
        }
    }

    fn children(&self, id: u32) -> Vec<u32> {
        let reply = self.conn.query_tree(id).ok().and_then(|cookie| cookie.reply().ok());
        reply.map(|tree| tree.children).unwrap_or_default()
    }

    fn class(&self, id: u32) -> Option<String> {
        let cookie = self.conn.get_property(false, id, AtomEnum::WM_CLASS, AtomEnum::ANY, 0, 256).ok()?;
        let value = cookie.reply().ok()?.value;
        Some(String::from_utf8_lossy(value.split(|byte| *byte == 0).nth(1)?).into_owned())
    }

    fn has(&self, id: u32, property: u32) -> bool {
        let cookie = self.conn.get_property(false, id, property, AtomEnum::ANY, 0, 0);
        cookie.ok().and_then(|cookie| cookie.reply().ok()).is_some_and(|reply| reply.type_ != x11rb::NONE)
    }
}
