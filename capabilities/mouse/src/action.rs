//! What a plan can ask of `mouse`. The doc comments are what a model reads.

use llm_os_desktop::geometry::Space;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An action of the mouse. Coordinates are whole pixels of the one space around all monitors (`monitor.list`), or of the
/// picture that `space` describes; a point that no monitor shows is refused, never moved to the nearest edge.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Moves the pointer to `x`, `y`, or by `dx`, `dy` from where it is.
    Move {
        /// To the right; with `y`.
        #[serde(default)]
        #[schemars(with = "i64", skip_serializing_if = "Option::is_none")]
        x: Option<i64>,
        /// Downwards; with `x`.
        #[serde(default)]
        #[schemars(with = "i64", skip_serializing_if = "Option::is_none")]
        y: Option<i64>,
        /// How far to the right, in pixels of the screen; with `dy`.
        #[serde(default)]
        #[schemars(with = "i64", skip_serializing_if = "Option::is_none")]
        dx: Option<i64>,
        /// How far downwards, in pixels of the screen; with `dx`.
        #[serde(default)]
        #[schemars(with = "i64", skip_serializing_if = "Option::is_none")]
        dy: Option<i64>,
        /// The picture whose pixels `x` and `y` are, as `monitor.capture` answers it.
        #[serde(default)]
        #[schemars(with = "Space", skip_serializing_if = "Option::is_none")]
        space: Option<Space>,
    },
    /// Clicks at `x`, `y`, or where the pointer is.
    Click {
        /// To the right; with `y`.
        #[serde(default)]
        #[schemars(with = "i64", skip_serializing_if = "Option::is_none")]
        x: Option<i64>,
        /// Downwards; with `x`.
        #[serde(default)]
        #[schemars(with = "i64", skip_serializing_if = "Option::is_none")]
        y: Option<i64>,
        /// The picture whose pixels `x` and `y` are, as `monitor.capture` answers it.
        #[serde(default)]
        #[schemars(with = "Space", skip_serializing_if = "Option::is_none")]
        space: Option<Space>,
        /// Which button.
        #[serde(default)]
        #[schemars(extend("x-fact" = "button"))]
        button: Button,
        /// 2 is a double click, 3 a triple one.
        #[serde(default = "once")]
        #[schemars(range(min = 1, max = 3))]
        count: u8,
        /// Modifiers that are held down for it: ctrl, alt, shift, super, altgr.
        #[serde(default)]
        #[schemars(length(max = 5))]
        modifiers: Vec<String>,
    },
    /// Presses a button at the first point, goes along the others in straight lines and releases it at the last.
    Drag {
        /// The points.
        #[schemars(length(min = 2, max = 256))]
        path: Vec<[i64; 2]>,
        /// The picture whose pixels the points are, as `monitor.capture` answers it.
        #[serde(default)]
        #[schemars(with = "Space", skip_serializing_if = "Option::is_none")]
        space: Option<Space>,
        /// Which button.
        #[serde(default)]
        #[schemars(extend("x-fact" = "button"))]
        button: Button,
        /// How long the way takes.
        #[serde(default = "default_duration")]
        #[schemars(range(max = 30_000))]
        duration_ms: u32,
        /// Modifiers that are held down for it: ctrl, alt, shift, super, altgr.
        #[serde(default)]
        #[schemars(length(max = 5))]
        modifiers: Vec<String>,
    },
    /// Turns the wheel at `x`, `y`, or where the pointer is.
    Scroll {
        /// To the right; with `y`.
        #[serde(default)]
        #[schemars(with = "i64", skip_serializing_if = "Option::is_none")]
        x: Option<i64>,
        /// Downwards; with `x`.
        #[serde(default)]
        #[schemars(with = "i64", skip_serializing_if = "Option::is_none")]
        y: Option<i64>,
        /// The picture whose pixels `x` and `y` are, as `monitor.capture` answers it.
        #[serde(default)]
        #[schemars(with = "Space", skip_serializing_if = "Option::is_none")]
        space: Option<Space>,
        /// How far to the right; negative is to the left.
        #[serde(default)]
        dx: i64,
        /// How far down; negative is up.
        #[serde(default)]
        dy: i64,
        /// What `dx` and `dy` count.
        #[serde(default)]
        unit: Unit,
        /// Modifiers that are held down for it: ctrl, alt, shift, super, altgr.
        #[serde(default)]
        #[schemars(length(max = 5))]
        modifiers: Vec<String>,
    },
    /// Presses a button where the pointer is, and leaves it down until `mouse.up` or the end of the connection.
    Down {
        /// Which button.
        #[serde(default)]
        #[schemars(extend("x-fact" = "button"))]
        button: Button,
    },
    /// Releases a button that `mouse.down` pressed on the same connection.
    Up {
        /// Which button.
        #[serde(default)]
        #[schemars(extend("x-fact" = "button"))]
        button: Button,
    },
    /// Tells where the pointer is and what is held down.
    Position {},
}

fn once() -> u8 {
    1
}

fn default_duration() -> u32 {
    300
}

/// A button of the mouse, by what it means to programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Button {
    /// The first one.
    #[default]
    Left,
    /// The second one, or the wheel itself.
    Middle,
    /// The third one.
    Right,
    /// At the side, backwards in a history.
    Back,
    /// At the side, forwards in a history.
    Forward,
}

impl Button {
    /// The logical button of X; 4 to 7 are the wheel's four directions.
    pub(crate) fn logical(self) -> u8 {
        match self {
            Button::Left => 1,
            Button::Middle => 2,
            Button::Right => 3,
            Button::Back => 8,
            Button::Forward => 9,
        }
    }

    /// As policies and answers spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Button::Left => "left",
            Button::Middle => "middle",
            Button::Right => "right",
            Button::Back => "back",
            Button::Forward => "forward",
        }
    }

    pub(crate) const ALL: [Button; 5] =
        [Button::Left, Button::Middle, Button::Right, Button::Back, Button::Forward];
}

/// What a distance of scrolling counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Clicks of the wheel.
    #[default]
    Click,
    /// Pixels, rounded to clicks: at least one for any distance, and the answer says how many.
    Pixel,
}
