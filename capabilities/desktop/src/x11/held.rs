//! What is held down beyond one action, and letting go of it.

use llm_os_core::ConnectionId;
use x11rb::connection::Connection as _;
use x11rb::protocol::xinput::{ConnectionExt as _, InputStateData};
use x11rb::protocol::xproto::{BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, KEY_PRESS_EVENT, KEY_RELEASE_EVENT};
use x11rb::protocol::xtest::ConnectionExt as _;

use super::Session;
use crate::Trouble;
use crate::geometry::Point;

/// A key or a button.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// By keycode.
    Key(u8),
    /// By physical button.
    Button(u8),
}

impl Session {
    /// Presses or releases.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn press(&mut self, what: Held, down: bool) -> Result<(), Trouble> {
        let (kind, detail) = match (what, down) {
            (Held::Key(code), true) => (KEY_PRESS_EVENT, code),
            (Held::Key(code), false) => (KEY_RELEASE_EVENT, code),
            (Held::Button(button), true) => (BUTTON_PRESS_EVENT, button),
            (Held::Button(button), false) => (BUTTON_RELEASE_EVENT, button),
        };
        self.conn.xtest_fake_input(kind, detail, x11rb::CURRENT_TIME, x11rb::NONE, 0, 0, 0)?;
        Ok(())
    }

    /// Moves the pointer.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn motion(&mut self, to: Point) -> Result<(), Trouble> {
        use x11rb::protocol::xproto::MOTION_NOTIFY_EVENT;
        let at = |value: i32| i16::try_from(value).unwrap_or(if value < 0 { i16::MIN } else { i16::MAX });
        self.conn.xtest_fake_input(
            MOTION_NOTIFY_EVENT,
            0,
            x11rb::CURRENT_TIME,
            self.root,
            at(to.x),
            at(to.y),
            0,
        )?;
        Ok(())
    }

    /// What is held down for anybody.
    pub fn held(&self) -> impl Iterator<Item = Held> {
        self.held.iter().map(|(_, what)| *what)
    }

    /// Remembers that a connection holds this down, so that it is let go of when the connection or the host ends.
    pub fn hold(&mut self, connection: ConnectionId, what: Held) {
        self.held.push((connection, what));
    }

    /// Forgets that it is held, once it was released.
    pub fn forget(&mut self, what: Held) {
        self.held.retain(|(_, held)| *held != what);
    }

    /// Whether this connection holds it.
    pub fn holds(&self, connection: ConnectionId, what: Held) -> bool {
        self.held.contains(&(connection, what))
    }

    /// Lets go of one thing that a connection holds.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn release_one(&mut self, connection: ConnectionId, what: Held) -> Result<(), Trouble> {
        self.held.retain(|entry| *entry != (connection, what));
        if !self.held().any(|held| held == what) {
            self.up(what)?;
        }
        self.conn.flush()?;
        Ok(())
    }

    fn up(&mut self, what: Held) -> Result<(), Trouble> {
        self.press(what, false)?;
        match what {
            Held::Key(keycode) => self.let_repeat(keycode),
            Held::Button(_) => Ok(()),
        }
    }

    /// Lets go of what these connections hold, the last pressed first.
    pub(crate) fn release(&mut self, of: impl Fn(ConnectionId) -> bool) -> Result<(), Trouble> {
        let mut leaving: Vec<Held> = Vec::new();
        self.held.retain(|(connection, what)| {
            let leaves = of(*connection);
            if leaves {
                leaving.push(*what);
            }
            !leaves
        });
        for what in leaving.into_iter().rev() {
            if !self.held.iter().any(|(_, held)| *held == what) {
                self.up(what)?;
            }
        }
        self.sync()
    }

    /// Lets go of what the server's XTEST devices still hold: an earlier host was killed while it held something, and
    /// a server forgets nothing. Keys and buttons that a person holds are on other devices.
    pub(super) fn release_leftovers(&mut self) -> Result<(), Trouble> {
        let devices = self.conn.xinput_list_input_devices()?.reply()?;
        let names: Vec<String> =
            devices.names.iter().map(|name| String::from_utf8_lossy(&name.name).into_owned()).collect();
        for (device, name) in devices.devices.iter().zip(names) {
            if !name.contains("XTEST") {
                continue;
            }
            let Ok(state) = self.conn.xinput_query_device_state(device.device_id)?.reply() else { continue };
            for class in state.classes {
                let down: Vec<Held> = match class.data {
                    InputStateData::Key(keys) => pressed(&keys.keys).map(Held::Key).collect(),
                    InputStateData::Button(buttons) => pressed(&buttons.buttons).map(Held::Button).collect(),
                    _ => Vec::new(),
                };
                for what in down {
                    self.press(what, false)?;
                }
            }
        }
        self.sync()
    }

    /// Returns once the server has done all that was asked. Drops the events that came meanwhile: every client hears of
    /// new keyboard maps, and nothing here waits for them.
    pub(crate) fn sync(&self) -> Result<(), Trouble> {
        use x11rb::protocol::xproto::ConnectionExt as _;
        self.conn.flush()?;
        self.conn.get_input_focus()?.reply()?;
        while self.conn.poll_for_event()?.is_some() {}
        Ok(())
    }
}

/// The numbers of the bits that are set.
fn pressed(bits: &[u8]) -> impl Iterator<Item = u8> {
    let bit = |(index, byte): (usize, &u8)| {
        let byte = *byte;
        (0..8)
            .filter(move |bit| byte & (1 << bit) != 0)
            .filter_map(move |bit| u8::try_from(index * 8 + bit).ok())
    };
    bits.iter().enumerate().flat_map(bit)
}
