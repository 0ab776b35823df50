//! The desktop of a platform that has neither an X server nor a Wayland compositor, by `enigo`.

use enigo::{Axis, Coordinate, Direction, Enigo, InputError, Keyboard as _, Mouse as _, Settings};
use llm_os_core::{Display, Fault};

use super::{Button, keys, unavailable};
use crate::Trouble;
use crate::geometry::{Layout, Monitor, Point, Rect};

/// The desktop that this process belongs to.
pub(super) struct Platform {
    enigo: Enigo,
}

impl Platform {
    /// Never asks for a permission by itself: that is for a person to give beforehand.
    pub(super) fn connect(_: &Display) -> Result<Self, Fault> {
        let settings = Settings { open_prompt_to_get_permissions: false, ..Settings::default() };
        let enigo = Enigo::new(&settings).map_err(|e| {
            unavailable(format!("this desktop takes no input: {e}; give this program the permission"))
        })?;
        Ok(Self { enigo })
    }

    pub(super) fn lacks_keyboard(&self) -> Option<String> {
        None
    }

    pub(super) fn lacks_pointer(&self) -> Option<String> {
        None
    }

    pub(super) fn position(&mut self) -> Result<Point, Trouble> {
        self.enigo.location().map(|(x, y)| Point { x, y }).map_err(trouble)
    }

    /// The main monitor alone, which is all that `enigo` knows.
    pub(super) fn layout(&mut self) -> Result<Layout, Trouble> {
        let (width, height) = self.enigo.main_display().map_err(trouble)?;
        let size = u32::try_from(width).ok().zip(u32::try_from(height).ok());
        let Some((width, height)) = size else {
            return Err(unavailable("the main monitor has no size").into());
        };
        let rect = Rect { x: 0, y: 0, width, height };
        Ok(Layout { monitors: vec![Monitor { name: "main".to_owned(), rect, scale: 1.0, primary: true }] })
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), Trouble> {
        self.enigo.text(text).map_err(trouble)
    }

    pub(super) fn key(&mut self, keysym: u32, down: bool) -> Result<(), Trouble> {
        self.enigo.key(keys::key(keysym)?, direction(down)).map_err(trouble)
    }

    pub(super) fn motion(&mut self, to: Point) -> Result<(), Trouble> {
        self.enigo.move_mouse(to.x, to.y, Coordinate::Abs).map_err(trouble)
    }

    pub(super) fn button(&mut self, button: Button, down: bool) -> Result<(), Trouble> {
        let button = match button {
            Button::Left => enigo::Button::Left,
            Button::Right => enigo::Button::Right,
            Button::Middle => enigo::Button::Middle,
            Button::Forward => enigo::Button::Forward,
            Button::Back => enigo::Button::Back,
        };
        self.enigo.button(button, direction(down)).map_err(trouble)
    }

    pub(super) fn scroll(&mut self, clicks: i32, horizontal: bool) -> Result<(), Trouble> {
        let axis = if horizontal { Axis::Horizontal } else { Axis::Vertical };
        self.enigo.scroll(clicks, axis).map_err(trouble)
    }
}

fn direction(down: bool) -> Direction {
    if down { Direction::Press } else { Direction::Release }
}

fn trouble(error: InputError) -> Trouble {
    match error {
        InputError::Simulate(why) => Trouble::Lost(why.to_owned()),
        InputError::Mapping(why) | InputError::Unmapping(why) => {
            unavailable("this platform has no key for that").log(why).into()
        }
        InputError::NoEmptyKeycodes => unavailable("no key is free for this character").into(),
        InputError::InvalidInput(why) => unavailable(why).into(),
    }
}
