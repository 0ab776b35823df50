//! A display that is no X server: a Wayland compositor, or the desktop of another platform.
//!
//! Such a display tells nobody which window has the focus or is under the pointer. So all input here is an effect on the
//! whole display ([`effect`]): a policy that permits windows permits nothing here, and whoever permits the display
//! permits whatever is shown on it.
//!
//! On Wayland input goes by protocols of the compositor ([`connection`]), on other platforms by `enigo`.

#[cfg(target_os = "linux")]
mod compositor;
mod holding;
#[cfg(target_os = "linux")]
mod keymap;
#[cfg(not(target_os = "linux"))]
mod keys;
#[cfg(not(target_os = "linux"))]
mod platform;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use llm_os_core::{Code, ConnectionId, Display, Effect, Fact, Fault, Verb};

use crate::Trouble;
use crate::geometry::{Layout, Point};
use crate::keys::Modifier;

#[cfg(target_os = "linux")]
use compositor::Compositor as Driver;
#[cfg(target_os = "linux")]
pub use compositor::connection;
pub use holding::{Grip, Holding};
#[cfg(not(target_os = "linux"))]
use platform::Platform as Driver;

/// How many characters one piece of work types: what a compositor reads at once, so that the program gets them in one
/// message.
pub const BATCH: usize = 32;

/// How long to wait between two batches. A compositor cuts off a program that has too many messages unread (some 90 of
/// these with the libwayland of 2023 and before); at this pace a program may be busy for two seconds.
pub const PAUSE: Duration = Duration::from_millis(25);

/// What is held down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A key by its keysym (X11 protocol, appendix A).
    Key(u32),
    /// A button.
    Button(Button),
}

/// A button of the mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Button {
    /// The first one.
    Left,
    /// The second one, or the wheel.
    Middle,
    /// The third one.
    Right,
    /// At the side, backwards in history.
    Back,
    /// At the side, forwards in history.
    Forward,
}

/// An effect on all that this display shows. Its `role` is `unknown`, which no rule for known windows and no rule for the
/// bare display of X11 matches.
pub fn effect(verb: Verb, display: &str) -> Effect {
    crate::window::display_effect(verb, display).fact("role", Fact::Text("unknown".to_owned()))
}

/// A connection to such a display, owned by the display's thread.
pub struct Session {
    driver: Driver,
    /// Where the pointer was moved last.
    moved: Option<Point>,
    held: Vec<(ConnectionId, Held)>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    ///
    /// `unavailable` with what to do.
    pub(crate) fn connect(display: &Display) -> Result<Self, Fault> {
        Ok(Self { driver: Driver::connect(display)?, moved: None, held: Vec::new() })
    }

    /// The monitors as they are now; beside Wayland the main one alone.
    ///
    /// # Errors
    ///
    /// A lost connection, or no output.
    pub fn layout(&mut self) -> Result<Layout, Trouble> {
        self.driver.layout()
    }

    /// Where the pointer is.
    ///
    /// # Errors
    ///
    /// `unavailable` on Wayland, whose compositors keep that to themselves.
    pub fn pointer(&mut self) -> Result<Point, Trouble> {
        self.driver.position()
    }

    /// Where the pointer is, or where this session moved it last where nobody tells.
    ///
    /// # Errors
    ///
    /// `unavailable` as long as neither is known.
    pub fn place(&mut self) -> Result<Point, Trouble> {
        match (self.pointer(), self.moved) {
            (Ok(point), _) | (Err(_), Some(point)) => Ok(point),
            (Err(trouble), None) => Err(trouble),
        }
    }

    /// Why no key can be sent, if so.
    pub fn lacks_keyboard(&self) -> Option<String> {
        self.driver.lacks_keyboard()
    }

    /// Why the pointer cannot be driven, if so.
    pub fn lacks_pointer(&self) -> Option<String> {
        self.driver.lacks_pointer()
    }

    /// Types text, a line feed as Return and a tab as Tab. At most [`BATCH`] characters; when it returns all of them have
    /// reached the display. Wait for [`PAUSE`] before the next ones.
    ///
    /// # Errors
    ///
    /// A lost connection; a character that this platform has no key for.
    pub fn text(&mut self, text: &str) -> Result<(), Trouble> {
        self.driver.text(text)
    }

    /// Presses or releases.
    ///
    /// # Errors
    ///
    /// A lost connection; a key that this platform does not have.
    pub fn press(&mut self, what: Held, down: bool) -> Result<(), Trouble> {
        match what {
            Held::Key(keysym) => self.driver.key(keysym, down),
            Held::Button(button) => self.driver.button(button, down),
        }
    }

    /// Moves the pointer.
    ///
    /// # Errors
    ///
    /// A lost connection, or a compositor that does not let clients do this.
    pub fn motion(&mut self, to: Point) -> Result<(), Trouble> {
        self.driver.motion(to)?;
        self.moved = Some(to);
        Ok(())
    }

    /// Turns the wheel by clicks; to the right and downwards where positive.
    ///
    /// # Errors
    ///
    /// As [`Session::motion`].
    pub fn scroll(&mut self, clicks: i32, horizontal: bool) -> Result<(), Trouble> {
        self.driver.scroll(clicks, horizontal)
    }

    /// Presses and releases keys together, again and again. What is held down already stays down.
    ///
    /// # Errors
    ///
    /// As [`Session::press`]; nothing stays down.
    pub fn strike(&mut self, keys: &[Held], times: usize) -> Result<(), Trouble> {
        let keys: Vec<Held> = keys.iter().copied().filter(|key| !self.is_down(*key)).collect();
        for _ in 0..times {
            for (index, key) in keys.iter().enumerate() {
                if let Err(trouble) = self.press(*key, true) {
                    self.lift(&keys[..index])?;
                    return Err(trouble);
                }
            }
            self.lift(&keys)?;
        }
        Ok(())
    }

    /// Presses what is not down yet, and remembers that this connection holds it, so that it goes up when the connection
    /// or the host ends. Tells whether it did not hold it before.
    ///
    /// # Errors
    ///
    /// As [`Session::press`].
    pub fn hold(&mut self, connection: ConnectionId, what: Held) -> Result<bool, Trouble> {
        if self.holds(connection, what) {
            return Ok(false);
        }
        if !self.is_down(what) {
            self.press(what, true)?;
        }
        self.held.push((connection, what));
        Ok(true)
    }

    /// Ends what this connection holds; it goes up unless another one holds it as well.
    ///
    /// # Errors
    ///
    /// As [`Session::press`].
    pub fn let_go(&mut self, connection: ConnectionId, what: Held) -> Result<(), Trouble> {
        self.release(|holder, held| holder == connection && held == what)
    }

    /// Whether this connection holds it.
    pub fn holds(&self, connection: ConnectionId, what: Held) -> bool {
        self.held.contains(&(connection, what))
    }

    /// Whether anybody holds it.
    pub fn is_down(&self, what: Held) -> bool {
        self.held.iter().any(|(_, held)| *held == what)
    }

    /// The modifiers that are held down by plans; those of a person's keyboard are not known.
    pub fn modifiers(&self) -> BTreeSet<Modifier> {
        let modifier = |(_, what): &(ConnectionId, Held)| match what {
            Held::Key(keysym) => Modifier::of(*keysym),
            Held::Button(_) => None,
        };
        self.held.iter().filter_map(modifier).collect()
    }

    fn lift(&mut self, keys: &[Held]) -> Result<(), Trouble> {
        keys.iter().rev().try_for_each(|key| self.press(*key, false))
    }

    /// Lets go of what is held so, the last pressed first.
    pub(crate) fn release(&mut self, so: impl Fn(ConnectionId, Held) -> bool) -> Result<(), Trouble> {
        let (leaving, staying) = self.held.drain(..).partition(|(holder, what)| so(*holder, *what));
        self.held = staying;
        let leaving: Vec<(ConnectionId, Held)> = leaving;
        for (_, what) in leaving.into_iter().rev() {
            if !self.is_down(what) {
                self.press(what, false)?;
            }
        }
        Ok(())
    }
}

/// The key that a modifier is on the left side of a keyboard.
pub fn modifier(modifier: Modifier) -> Held {
    Held::Key(modifier.key().symbol())
}

fn unavailable(why: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(Code::UNAVAILABLE, why)
}
