//! What the keyboard answers.

use schemars::JsonSchema;
use serde::Serialize;

/// What was delivered. An action that fails tells it as well, with what it delivered before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Typed.
    Type(Typed),
    /// Pressed and released.
    Press(Struck),
    /// Held for a time and released.
    Hold(Held),
    /// Down.
    Down(Chorded),
    /// Up again.
    Up(Chorded),
}

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Typed {
    /// How many characters of the text were sent, from its beginning. Line feeds and tabs count.
    pub characters: u64,
    /// The class of the window that got them; empty where the display does not tell.
    pub class: String,
}

/// What was pressed and released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Struck {
    /// The chord in its one spelling.
    pub key: String,
    /// How often it was pressed and released.
    pub presses: u64,
    /// The class of the window that got it; empty where the display does not tell.
    pub class: String,
}

/// What was held and released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Held {
    /// The chord in its one spelling.
    pub key: String,
    /// The class of the window that got it; empty where the display does not tell.
    pub class: String,
    /// What varies.
    pub meta: HeldMeta,
}

/// What varies between two runs of the same hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HeldMeta {
    /// How often the key repeated after it was pressed.
    pub repeats: u64,
    /// For how long it was down, in milliseconds.
    pub held_ms: u64,
}

/// What went down or up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Chorded {
    /// The chord in its one spelling.
    pub key: String,
    /// The class of the window that got it; empty where the display does not tell.
    pub class: String,
}
