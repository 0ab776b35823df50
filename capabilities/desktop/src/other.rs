//! A display that is no X server: a Wayland compositor, or the desktop of another platform.
//!
//! Such a display tells nobody which window has the focus or is under the pointer. So all input here is an effect on the
//! whole display ([`effect`]): a policy that permits windows permits nothing here, and whoever permits the display
//! permits whatever is shown on it.
//!
//! On Wayland input goes by protocols of the compositor ([`connection`]), on other platforms by `enigo`.

#[cfg(target_os = "linux")]
mod compositor;
#[cfg(target_os = "linux")]
mod keymap;
#[cfg(not(target_os = "linux"))]
mod keys;
#[cfg(not(target_os = "linux"))]
mod platform;

use std::borrow::Cow;
use std::time::Duration;

use llm_os_core::{Code, ConnectionId, Display, Effect, Fact, Fault, Verb};

use crate::Trouble;
use crate::geometry::{Layout, Point};

#[cfg(target_os = "linux")]
use compositor::Compositor as Driver;
#[cfg(target_os = "linux")]
pub use compositor::connection;
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
    held: Vec<(ConnectionId, Held)>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    ///
    /// `unavailable` with what to do.
    pub(crate) fn connect(display: &Display) -> Result<Self, Fault> {
        Ok(Self { driver: Driver::connect(display)?, held: Vec::new() })
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
        self.driver.motion(to)
    }

    /// Turns the wheel by clicks; to the right and downwards where positive.
    ///
    /// # Errors
    ///
    /// As [`Session::motion`].
    pub fn scroll(&mut self, clicks: i32, horizontal: bool) -> Result<(), Trouble> {
        self.driver.scroll(clicks, horizontal)
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

    /// Lets go of what these connections hold, the last pressed first.
    pub(crate) fn release(&mut self, of: impl Fn(ConnectionId) -> bool) -> Result<(), Trouble> {
        let leaving: Vec<Held> =
            self.held.iter().filter(|(holder, _)| of(*holder)).map(|(_, what)| *what).collect();
        self.held.retain(|(holder, _)| !of(*holder));
        for what in leaving.into_iter().rev() {
            if !self.held().any(|held| held == what) {
                self.press(what, false)?;
            }
        }
        Ok(())
    }
}

fn unavailable(why: impl Into<Cow<'static, str>>) -> Fault {
    Fault::new(Code::UNAVAILABLE, why)
}
