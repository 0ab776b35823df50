//! A display that is no X server: a Wayland compositor, or the desktop of another platform, by `enigo`.
//!
//! Such a display tells nobody which window has the focus or is under the pointer. So all input here is an effect on the
//! whole display ([`effect`]): a policy that permits windows permits nothing here, and whoever permits the display
//! permits whatever is shown on it.
//!
//! On Wayland `enigo` types, and the pointer goes by the layout of the [`compositor`]; on other platforms `enigo` does
//! both. `enigo` writes keys without waiting, and fails once about three hundred are unread: keys go in batches of
//! [`BATCH`], each of which the compositor has read before the next.

#[cfg(target_os = "linux")]
pub mod compositor;
mod keys;

use enigo::{Direction, Enigo, InputError, Keyboard as _, Settings};
use llm_os_core::{Code, ConnectionId, Display, Effect, Fact, Fault, Verb};

use crate::Trouble;
use crate::geometry::{Layout, Point};

/// How many characters one piece of work types: half of what a compositor reads at once, and at 20 ms for each one that
/// the layout lacks well below the two seconds that a piece of work may take.
pub const BATCH: usize = 32;

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
    enigo: Enigo,
    #[cfg(target_os = "linux")]
    compositor: compositor::Compositor,
    held: Vec<(ConnectionId, Held)>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    ///
    /// `unavailable` with what to do.
    #[cfg(target_os = "linux")]
    pub(crate) fn connect(display: &Display) -> Result<Self, Fault> {
        let name = &display.name;
        let refused = |why: String| {
            let advice = "check that the compositor runs, that this user may connect, and XDG_RUNTIME_DIR";
            unavailable(&format!("the Wayland display {name} cannot be used: {why}; {advice}"))
        };
        let compositor = compositor::Compositor::connect(name).map_err(refused)?;
        let settings = Settings { wayland_display: Some(name.clone()), ..Settings::default() };
        let enigo = Enigo::new(&settings).map_err(|_| {
            refused(compositor.lacks_keyboard().unwrap_or_else(|| "it takes no input".to_owned()))
        })?;
        Ok(Self { enigo, compositor, held: Vec::new() })
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// `unavailable`, such as where the operating system has not given the permission to send input.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn connect(_: &Display) -> Result<Self, Fault> {
        let settings = Settings { open_prompt_to_get_permissions: false, ..Settings::default() };
        let enigo = Enigo::new(&settings).map_err(|e| {
            unavailable(&format!("this desktop takes no input: {e}; give this program the permission"))
        })?;
        Ok(Self { enigo, held: Vec::new() })
    }

    /// The monitors as they are now; beside Wayland the main one alone.
    ///
    /// # Errors
    ///
    /// A lost connection, or no output.
    pub fn layout(&mut self) -> Result<Layout, Trouble> {
        #[cfg(target_os = "linux")]
        return self.compositor.layout();
        #[cfg(not(target_os = "linux"))]
        {
            use crate::geometry::{Monitor, Rect};
            use enigo::Mouse as _;
            let (width, height) = self.enigo.main_display().map_err(trouble)?;
            let size = u32::try_from(width).ok().zip(u32::try_from(height).ok());
            let Some((width, height)) = size else {
                return Err(unavailable("the main monitor has no size").into());
            };
            let rect = Rect { x: 0, y: 0, width, height };
            Ok(Layout {
                monitors: vec![Monitor { name: "main".to_owned(), rect, scale: 1.0, primary: true }],
            })
        }
    }

    /// Where the pointer is.
    ///
    /// # Errors
    ///
    /// `unavailable` on Wayland, whose compositors keep that to themselves.
    pub fn pointer(&mut self) -> Result<Point, Trouble> {
        #[cfg(target_os = "linux")]
        return Err(unavailable(NO_POINTER).into());
        #[cfg(not(target_os = "linux"))]
        {
            use enigo::Mouse as _;
            self.enigo.location().map(|(x, y)| Point { x, y }).map_err(trouble)
        }
    }

    /// Why no key can be sent, if so.
    pub fn lacks_keyboard(&self) -> Option<String> {
        #[cfg(target_os = "linux")]
        return self.compositor.lacks_keyboard();
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Why the pointer cannot be driven, if so.
    pub fn lacks_pointer(&self) -> Option<String> {
        #[cfg(target_os = "linux")]
        return self.compositor.lacks_pointer();
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Types text, a line feed as Return and a tab as Tab. At most [`BATCH`] characters; when it returns all of them
    /// have reached the compositor. Each goes as a key of its own: `enigo`'s way for whole texts hands them to an input
    /// method, and where the focused program has none they are silently lost.
    ///
    /// # Errors
    ///
    /// A lost connection; a character that this platform has no key for. What was sent before it stays sent.
    pub fn text(&mut self, text: &str) -> Result<(), Trouble> {
        for character in text.chars() {
            let key = match character {
                '\n' => enigo::Key::Return,
                '\t' => enigo::Key::Tab,
                other => enigo::Key::Unicode(other),
            };
            self.enigo.key(key, Direction::Click).map_err(trouble)?;
        }
        self.settle()
    }

    /// Presses or releases.
    ///
    /// # Errors
    ///
    /// A lost connection; a key that this platform does not have.
    pub fn press(&mut self, what: Held, down: bool) -> Result<(), Trouble> {
        let direction = if down { Direction::Press } else { Direction::Release };
        match what {
            Held::Key(keysym) => {
                let key = keys::key(keysym)?;
                self.enigo.key(key, direction).map_err(trouble)?;
                self.settle()
            }
            Held::Button(button) => self.button(button, down),
        }
    }

    /// Moves the pointer.
    ///
    /// # Errors
    ///
    /// A lost connection, or a compositor that does not let clients do this.
    pub fn motion(&mut self, to: Point) -> Result<(), Trouble> {
        #[cfg(target_os = "linux")]
        return self.compositor.motion(to);
        #[cfg(not(target_os = "linux"))]
        {
            use enigo::Mouse as _;
            self.enigo.move_mouse(to.x, to.y, enigo::Coordinate::Abs).map_err(trouble)
        }
    }

    /// Turns the wheel by clicks; to the right and downwards where positive.
    ///
    /// # Errors
    ///
    /// As [`Session::motion`].
    pub fn scroll(&mut self, clicks: i32, horizontal: bool) -> Result<(), Trouble> {
        #[cfg(target_os = "linux")]
        return self.compositor.scroll(clicks, horizontal);
        #[cfg(not(target_os = "linux"))]
        {
            use enigo::{Axis, Mouse as _};
            let axis = if horizontal { Axis::Horizontal } else { Axis::Vertical };
            self.enigo.scroll(clicks, axis).map_err(trouble)
        }
    }

    fn button(&mut self, button: Button, down: bool) -> Result<(), Trouble> {
        #[cfg(target_os = "linux")]
        {
            // linux/input-event-codes.h
            let code = match button {
                Button::Left => 0x110,
                Button::Right => 0x111,
                Button::Middle => 0x112,
                Button::Forward => 0x115,
                Button::Back => 0x116,
            };
            self.compositor.button(code, down)
        }
        #[cfg(not(target_os = "linux"))]
        {
            use enigo::Mouse as _;
            let button = match button {
                Button::Left => enigo::Button::Left,
                Button::Right => enigo::Button::Right,
                Button::Middle => enigo::Button::Middle,
                Button::Forward => enigo::Button::Forward,
                Button::Back => enigo::Button::Back,
            };
            let direction = if down { Direction::Press } else { Direction::Release };
            self.enigo.button(button, direction).map_err(trouble)
        }
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

    /// Lets go of what these connections hold, the last pressed first, and tells whether there was anything.
    pub(crate) fn release(&mut self, of: impl Fn(ConnectionId) -> bool) -> Result<bool, Trouble> {
        let leaving: Vec<Held> =
            self.held.iter().filter(|(holder, _)| of(*holder)).map(|(_, what)| *what).collect();
        self.held.retain(|(holder, _)| !of(*holder));
        for what in leaving.iter().rev() {
            if !self.held().any(|held| held == *what) {
                self.press(*what, false)?;
            }
        }
        Ok(!leaving.is_empty())
    }

    fn settle(&mut self) -> Result<(), Trouble> {
        #[cfg(target_os = "linux")]
        self.compositor.settle()?;
        Ok(())
    }
}

/// Why nobody learns the pointer's place on Wayland.
pub const NO_POINTER: &str = "a Wayland compositor tells no program where the pointer is; give x and y";

fn unavailable(why: &str) -> Fault {
    Fault::new(Code::UNAVAILABLE, why.to_owned())
}

fn trouble(error: InputError) -> Trouble {
    match error {
        InputError::Simulate(why) => Trouble::Lost(why.to_owned()),
        InputError::Mapping(why) | InputError::Unmapping(why) => {
            unavailable("this character could not be given a key; type it another way").log(why).into()
        }
        InputError::NoEmptyKeycodes => unavailable("no key is free for this character").into(),
        InputError::InvalidInput(why) => unavailable(why).into(),
    }
}
