//! What the keyboard answers.

use schemars::JsonSchema;
use serde::Serialize;

/// What was delivered. An action that fails has it as well, with what it delivered before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Typed.
    Type {
        /// How many characters of the text were sent, from its beginning. Line feeds and tabs count.
        characters: u64,
        /// The class of the window that got them; empty where the display does not tell.
        class: String,
    },
    /// Pressed.
    Press {
        /// The chord in its one spelling.
        key: String,
        /// How often it was pressed and released.
        presses: u64,
        /// The class of the window that got it; empty where the display does not tell.
        class: String,
    },
    /// Held and released.
    Hold {
        /// The chord in its one spelling.
        key: String,
        /// The class of the window that got it; empty where the display does not tell.
        class: String,
        /// What varies.
        meta: HoldMeta,
    },
    /// Down.
    Down {
        /// The chord in its one spelling.
        key: String,
        /// The class of the window that got it; empty where the display does not tell.
        class: String,
    },
    /// Up again.
    Up {
        /// The chord in its one spelling.
        key: String,
        /// The class of the window that got it; empty where the display does not tell.
        class: String,
    },
}

/// What varies between two runs of the same hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HoldMeta {
    /// How often the key repeated after it was pressed.
    pub repeats: u64,
    /// For how long it was down, in milliseconds.
    pub held_ms: u64,
}
