//! The monitors, the pointer and its buttons at one moment, asked for in one round trip.

use llm_os_core::{Code, Fault};
use x11rb::protocol::randr::ConnectionExt as _;
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, QueryPointerReply};

use super::Session;
use crate::Trouble;
use crate::geometry::{Layout, Monitor, Point, Rect};

/// Where the pointer is and what is held down.
#[derive(Clone, Copy, Debug)]
pub struct Pointer {
    /// The pixel of the one space.
    pub point: Point,
    /// Modifiers and buttons as X's key and button mask.
    pub mask: u16,
    /// The child of the root that it is in, the root itself where it is in none.
    pub frame: u32,
}

/// What a pointer's gesture depends on beside the windows.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The monitors.
    pub layout: Layout,
    /// The pointer.
    pub pointer: Pointer,
    /// What each physical button means.
    buttons: Vec<u8>,
}

impl Scene {
    /// The physical button that programs see as this logical one (GetPointerMapping): a left-handed mouse has them
    /// exchanged, and XTEST presses physical ones.
    ///
    /// # Errors
    ///
    /// `unavailable` where no button has this meaning.
    pub fn button(&self, logical: u8) -> Result<u8, Fault> {
        let found = self.buttons.iter().zip(1u8..).find(|(meaning, _)| **meaning == logical);
        found.map(|(_, physical)| physical).ok_or_else(|| {
            let message =
                format!("the pointer of this display has no button {logical}; see xinput get-button-map");
            Fault::new(Code::UNAVAILABLE, message)
        })
    }
}

impl Session {
    /// Everything here.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn scene(&mut self) -> Result<Scene, Trouble> {
        let buttons = self.conn.get_pointer_mapping()?;
        let pointer = self.conn.query_pointer(self.root)?;
        let monitors = self.conn.randr_get_monitors(self.root, true)?;
        let screen = self.conn.get_geometry(self.root)?;
        let database = AtomEnum::RESOURCE_MANAGER;
        let database =
            self.conn.get_property(false, self.root, database, AtomEnum::STRING, 0, DATABASE_UNITS)?;
        let buttons = buttons.reply()?.map;
        let found = pointer.reply()?;
        let monitors = monitors.reply()?.monitors;
        let screen = screen.reply()?;
        let scale = dpi(&database.reply()?.value) / 96.0;
        let mut layout = Layout { monitors: Vec::with_capacity(monitors.len().max(1)) };
        for monitor in &monitors {
            layout.monitors.push(Monitor {
                name: self.name_of(monitor.name)?,
                rect: Rect {
                    x: monitor.x.into(),
                    y: monitor.y.into(),
                    width: monitor.width.into(),
                    height: monitor.height.into(),
                },
                scale,
                primary: monitor.primary,
            });
        }
        if layout.monitors.is_empty() {
            let rect = Rect { x: 0, y: 0, width: screen.width.into(), height: screen.height.into() };
            layout.monitors.push(Monitor { name: "screen".to_owned(), rect, scale, primary: true });
        }
        Ok(Scene { layout, pointer: self.pointer_of(&found), buttons })
    }

    /// The monitors as they are now (RandR 1.5), or the whole screen where the server names none.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn layout(&mut self) -> Result<Layout, Trouble> {
        Ok(self.scene()?.layout)
    }

    /// Where the pointer is.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn pointer(&mut self) -> Result<Pointer, Trouble> {
        let found = self.conn.query_pointer(self.root)?.reply()?;
        Ok(self.pointer_of(&found))
    }

    fn pointer_of(&self, found: &QueryPointerReply) -> Pointer {
        Pointer {
            point: Point { x: found.root_x.into(), y: found.root_y.into() },
            mask: found.mask.into(),
            frame: if found.child == x11rb::NONE { self.root } else { found.child },
        }
    }

    /// A monitor's name; an atom stays the same for as long as the server runs.
    fn name_of(&mut self, atom: u32) -> Result<String, Trouble> {
        if let Some(name) = self.names.get(&atom) {
            return Ok(name.clone());
        }
        let name = self.conn.get_atom_name(atom)?.reply()?.name;
        let name = String::from_utf8_lossy(&name).into_owned();
        self.names.insert(atom, name.clone());
        Ok(name)
    }
}

/// How much of the resource database is read, in 4-byte units.
const DATABASE_UNITS: u32 = 16_384;

/// `Xft.dpi` of the resource database, which is what toolkits scale by; 96 where it is not set.
fn dpi(database: &[u8]) -> f64 {
    let text = String::from_utf8_lossy(database);
    let dpi = text.lines().find_map(|line| line.strip_prefix("Xft.dpi:")?.trim().parse().ok());
    dpi.filter(|dpi: &f64| (1.0..=10_000.0).contains(dpi)).unwrap_or(96.0)
}
