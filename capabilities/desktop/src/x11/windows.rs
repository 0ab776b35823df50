//! Which window is where, and what it is.

use x11rb::cookie::Cookie;
use x11rb::protocol::res::{ClientIdMask, ClientIdSpec, ConnectionExt as _};
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, GetPropertyReply, MapState, WindowClass};
use x11rb::rust_connection::RustConnection;

use super::Session;
use crate::Trouble;
use crate::geometry::{Point, Rect};
use crate::process::Process;
use crate::window::{Role, Window};

/// `PointerRoot` as the focus: keys go to the window under the pointer.
pub(super) const POINTER_ROOT: u32 = 1;

/// How deep a frame is searched for the window that it frames.
const FRAME_DEPTH: usize = 4;

/// Longest title or class that is read, in 4-byte units; the rest is cut.
const NAME_UNITS: u32 = 256;

/// The window that has the keyboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Focus {
    /// The window at the top level.
    pub window: Window,
    /// The X id of what has the focus: the window itself, one inside of it, or `PointerRoot`.
    pub input: u32,
}

/// What a window says of itself, while the answer is on its way.
pub(super) struct Names<'c> {
    class: Cookie<'c, RustConnection, GetPropertyReply>,
    net_name: Cookie<'c, RustConnection, GetPropertyReply>,
    name: Cookie<'c, RustConnection, GetPropertyReply>,
}

/// What a window says of itself.
pub(super) struct Said {
    pub(super) class: String,
    pub(super) instance: String,
    pub(super) title: String,
}

impl Names<'_> {
    pub(super) fn reply(self) -> Result<Said, Trouble> {
        let class = self.class.reply()?.value;
        let mut strings = class.split(|byte| *byte == 0).map(text);
        let instance = strings.next().unwrap_or_default();
        let class = strings.next().unwrap_or_default();
        let net_name = self.net_name.reply()?;
        let name = self.name.reply()?;
        let title = if net_name.value_len > 0 { text(&net_name.value) } else { text(&name.value) };
        Ok(Said { class, instance, title })
    }
}

/// UTF-8, else ISO 8859-1, which is what the type `STRING` holds.
fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes)
        .map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
}

impl Session {
    /// The window that has the keyboard; `None` where no window has it and keys are dropped.
    ///
    /// # Errors
    ///
    /// A lost connection, or a window that went away meanwhile.
    pub fn focused(&mut self) -> Result<Option<Focus>, Trouble> {
        let input = self.conn.get_input_focus()?.reply()?.focus;
        let window = match input {
            x11rb::NONE => return Ok(None),
            POINTER_ROOT => {
                let child = self.conn.query_pointer(self.root)?.reply()?.child;
                self.framed(child)?
            }
            input => self.framed(self.top(input)?)?,
        };
        Ok(Some(Focus { window, input }))
    }

    /// The window that input at this pixel reaches.
    ///
    /// # Errors
    ///
    /// A lost connection, or a window that went away meanwhile.
    pub fn at(&mut self, point: Point) -> Result<Window, Trouble> {
        let child = self.under(point)?.reply()?.child;
        self.framed(child)
    }

    /// Every window that is shown, the lowest first; the root is not among them.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn windows(&mut self) -> Result<Vec<Window>, Trouble> {
        let children = self.conn.query_tree(self.root)?.reply()?.children;
        let asked: Vec<_> = children.iter().map(|child| self.conn.get_window_attributes(*child)).collect();
        let mut shown = Vec::new();
        for (child, attributes) in children.iter().zip(asked) {
            // What went away meanwhile is not shown.
            let Ok(attributes) = attributes?.reply() else { continue };
            if attributes.map_state == MapState::VIEWABLE && attributes.class == WindowClass::INPUT_OUTPUT {
                shown.push(*child);
            }
        }
        let mut windows = Vec::with_capacity(shown.len());
        for frame in shown {
            match self.framed(frame) {
                Ok(window) => windows.push(window),
                Err(Trouble::Fault(_)) => {}
                Err(lost) => return Err(lost),
            }
        }
        Ok(windows)
    }

    /// The child of the root at a pixel, input shapes considered; the answer is on its way.
    pub(super) fn under(
        &self,
        point: Point,
    ) -> Result<Cookie<'_, RustConnection, x11rb::protocol::xproto::TranslateCoordinatesReply>, Trouble> {
        let at = |value: i32| i16::try_from(value).unwrap_or(if value < 0 { i16::MIN } else { i16::MAX });
        Ok(self.conn.translate_coordinates(self.root, self.root, at(point.x), at(point.y))?)
    }

    /// The child of the root that holds a window.
    pub(super) fn top(&self, window: u32) -> Result<u32, Trouble> {
        let mut top = window;
        loop {
            let parent = self.conn.query_tree(top)?.reply()?.parent;
            if parent == self.root || parent == x11rb::NONE {
                return Ok(top);
            }
            top = parent;
        }
    }

    /// The window in a frame, by its `WM_STATE` (ICCCM 4.1.3.1), or the frame itself; `NONE` is the root.
    fn framed(&self, frame: u32) -> Result<Window, Trouble> {
        if frame == x11rb::NONE || frame == self.root {
            return self.describe(self.root, self.root);
        }
        let mut level = vec![frame];
        for _ in 0..FRAME_DEPTH {
            let states: Vec<_> = level
                .iter()
                .map(|window| {
                    self.conn.get_property(false, *window, self.atoms.WM_STATE, AtomEnum::ANY, 0, 0)
                })
                .collect();
            let trees: Vec<_> = level.iter().map(|window| self.conn.query_tree(*window)).collect();
            let mut below = Vec::new();
            for ((window, state), tree) in level.iter().zip(states).zip(trees) {
                if state?.reply()?.type_ != x11rb::NONE {
                    return self.describe(*window, frame);
                }
                below.extend(tree?.reply()?.children);
            }
            if below.is_empty() {
                break;
            }
            level = below;
        }
        self.describe(frame, frame)
    }

    /// Asks a window for its names.
    pub(super) fn names(&self, window: u32) -> Result<Names<'_>, Trouble> {
        let property = |atom: u32| self.conn.get_property(false, window, atom, AtomEnum::ANY, 0, NAME_UNITS);
        Ok(Names {
            class: property(AtomEnum::WM_CLASS.into())?,
            net_name: property(self.atoms._NET_WM_NAME)?,
            name: property(AtomEnum::WM_NAME.into())?,
        })
    }

    fn describe(&self, id: u32, frame: u32) -> Result<Window, Trouble> {
        let names = self.names(id)?;
        let kind = self.conn.get_property(false, id, self.atoms._NET_WM_WINDOW_TYPE, AtomEnum::ATOM, 0, 1)?;
        let geometry = self.conn.get_geometry(frame)?;
        let is_root = id == self.root;
        let pid = if is_root {
            None
        } else {
            let spec = ClientIdSpec { client: id, mask: ClientIdMask::LOCAL_CLIENT_PID };
            Some(self.conn.res_query_client_ids(&[spec])?)
        };
        let Said { class, instance, title } = names.reply()?;
        let kind = kind.reply()?.value32().and_then(|mut kinds| kinds.next());
        let kind = kind.map(|kind| self.conn.get_atom_name(kind)).transpose()?;
        let geometry = geometry.reply()?;
        let pid =
            pid.map(Cookie::reply).transpose()?.and_then(|reply| reply.ids.first()?.value.first().copied());
        let kind = kind.map(Cookie::reply).transpose()?.map(|reply| text(&reply.name));
        let kind = kind.as_deref().and_then(|kind| kind.strip_prefix("_NET_WM_WINDOW_TYPE_"));
        let process = pid.and_then(Process::of);
        let role = if is_root { Role::Desktop } else { Role::of(process.as_ref(), &class, &instance, kind) };
        let border = u32::from(geometry.border_width) * 2;
        Ok(Window {
            display: self.display.clone(),
            id,
            frame,
            class,
            instance,
            title,
            pid,
            started: process.as_ref().and_then(|process| process.started),
            executable: process.and_then(|process| process.executable),
            role,
            rect: Rect {
                x: geometry.x.into(),
                y: geometry.y.into(),
                width: u32::from(geometry.width) + border,
                height: u32::from(geometry.height) + border,
            },
        })
    }
}
