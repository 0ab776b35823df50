//! What a plan can ask of the keyboard. The doc comments are what a model reads.

use llm_os_core::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// An action on the keyboard. Everything goes to the window that has the focus when the plan is judged, and to no other.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Types text. Any Unicode text arrives, whatever the keyboard's layout. For keys and shortcuts use `press`.
    Type {
        /// The text, 1 to 10,000 characters. Line feeds and tabs only as `controls` asks for; other control characters
        /// are refused.
        text: Secret,
        /// Milliseconds between two characters, for programs that need time.
        #[serde(default)]
        #[schemars(range(max = 1000))]
        delay_ms: u64,
        /// Which control characters the text may hold: each line feed presses Return, each tab presses Tab.
        #[serde(default)]
        controls: Vec<Control>,
    },
    /// Presses and releases a key or a chord.
    Press {
        /// Keys joined with +, such as "Return", "ctrl+shift+Page_Down" or "CMD+L". Names of xdotool, of web pages or of
        /// pyautogui; or a single character. A literal plus is "plus".
        #[schemars(length(min = 1, max = 256))]
        keys: String,
        /// How often.
        #[serde(default = "once")]
        #[schemars(range(min = 1, max = 100))]
        repeat: u32,
    },
    /// Holds a key or a chord down for a time; it repeats as on a keyboard, after half a second, 30 times a second.
    Hold {
        /// The keys, as in `press`.
        #[schemars(length(min = 1, max = 256))]
        keys: String,
        /// For how many milliseconds.
        #[schemars(range(min = 1, max = 60_000))]
        duration_ms: u64,
    },
    /// Presses keys and leaves them down, also for later actions (a click with ctrl). They are released by `up`, and when
    /// the connection or the host ends.
    Down {
        /// The keys, as in `press`.
        #[schemars(length(min = 1, max = 256))]
        keys: String,
    },
    /// Releases keys that `down` of this connection pressed.
    Up {
        /// The keys, as in `press`.
        #[schemars(length(min = 1, max = 256))]
        keys: String,
    },
}

/// A control character that text may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// A line feed, which presses Return: it may send a form or run a command.
    Newline,
    /// A tab, which presses Tab: it may move to another field.
    Tab,
}

fn once() -> u32 {
    1
}
