//! What `mouse` answers.

use std::collections::BTreeSet;

use llm_os_desktop::geometry::Point;
use llm_os_desktop::keys::Modifier;
use schemars::JsonSchema;
use serde::Serialize;

use crate::action::Button;

/// The answer of an action. Coordinates are pixels of the screen, whatever `space` the plan used.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Where the pointer was moved to.
    Move(Moved),
    /// What was clicked.
    Click(Clicked),
    /// What was dragged.
    Drag(Dragged),
    /// What was scrolled.
    Scroll(Scrolled),
    /// What was pressed.
    Down(Held),
    /// What was released.
    Up(Held),
    /// Where the pointer is.
    Position(Position),
}

/// Where the pointer was moved to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Moved {
    /// To the right.
    pub x: i32,
    /// Downwards.
    pub y: i32,
    /// Where it is instead: something else moved it, such as a hand on a mouse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Point")]
    pub elsewhere: Option<Point>,
}

/// What was clicked.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Clicked {
    /// To the right.
    pub x: i32,
    /// Downwards.
    pub y: i32,
    /// With which button.
    pub button: Button,
    /// How often.
    pub clicks: u8,
    /// Where the pointer is by now: something else moved it, such as a hand on a mouse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Point")]
    pub elsewhere: Option<Point>,
}

/// What was dragged.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Dragged {
    /// The last point that was reached, to the right.
    pub x: i32,
    /// The last point that was reached, downwards.
    pub y: i32,
    /// With which button.
    pub button: Button,
    /// How many points of the way were reached with the button down, the first included.
    pub points: usize,
    /// How many points the whole way has: those of the path, and those between them that it was cut into.
    pub of: usize,
    /// Whether the button is up again.
    pub released: bool,
}

/// What was scrolled.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Scrolled {
    /// To the right.
    pub x: i32,
    /// Downwards.
    pub y: i32,
    /// Clicks of the wheel to the right; negative is to the left.
    pub dx: i64,
    /// Clicks of the wheel down; negative is up.
    pub dy: i64,
    /// Where the pointer is by now: something else moved it, such as a hand on a mouse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Point")]
    pub elsewhere: Option<Point>,
}

/// What was pressed or released.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Held {
    /// To the right.
    pub x: i32,
    /// Downwards.
    pub y: i32,
    /// Which button.
    pub button: Button,
}

/// Where the pointer is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Position {
    /// To the right.
    pub x: i32,
    /// Downwards.
    pub y: i32,
    /// The monitor that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub monitor: Option<String>,
    /// The buttons that are down, by whomever: left, middle and right, and what `mouse.down` holds.
    pub buttons: Vec<Button>,
    /// The modifiers that are down, by whomever.
    pub modifiers: BTreeSet<Modifier>,
}
