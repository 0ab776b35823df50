//! Keys by name, in the three dialects that models write, as X keysyms.
//!
//! - X and xdotool: every name of `keysymdef.h` and `XF86keysym.h` (`Page_Down`, `KP_Enter`, `XF86AudioMute`), `U20AC`;
//! - the web: `ENTER`, `ARROWLEFT`, `CTRL`, `META` (UI Events, `KeyboardEvent.key`), which is what a browser calls them;
//! - pyautogui: `pgdn`, `esc`, `ctrlleft`, `num0`.
//!
//! `+` joins them; a literal plus is `plus`, or a `+` at the end (`ctrl++`). A single character is the key that writes
//! it. Case makes no difference where the name stays unique without it: `eacute` is not `Eacute`.

mod names;

use std::collections::BTreeSet;
use std::fmt;

use llm_os_core::Fault;
use llm_os_core::error::excerpt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xkeysym::{Keysym, key};

/// Most keys of one chord.
pub const MOST_KEYS: usize = 8;

/// Longest text of a chord in bytes: eight of the longest names that there are.
const LONGEST: usize = 256;

/// What a key does to others while it is down. In the order in which chords are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Modifier {
    /// Control.
    Ctrl,
    /// Alt, Meta, Option.
    Alt,
    /// Shift.
    Shift,
    /// Super, Hyper, Windows, Command.
    Super,
    /// Level 3, the right Alt of many layouts.
    Altgr,
}

impl Modifier {
    /// All of them.
    pub const ALL: [Modifier; 5] =
        [Modifier::Ctrl, Modifier::Alt, Modifier::Shift, Modifier::Super, Modifier::Altgr];

    /// As policies, answers and chords spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Modifier::Ctrl => "ctrl",
            Modifier::Alt => "alt",
            Modifier::Shift => "shift",
            Modifier::Super => "super",
            Modifier::Altgr => "altgr",
        }
    }

    /// A modifier by any of its names.
    ///
    /// # Errors
    ///
    /// `validation_failed` at `path`.
    pub fn parse(name: &str, path: &str) -> Result<Self, Fault> {
        Key::parse(name, path)?.modifier().ok_or_else(|| {
            let message =
                format!("\"{}\" is no modifier; there are ctrl, alt, shift, super, altgr", excerpt(name));
            Fault::invalid(path, message)
        })
    }

    /// The key on the left side of a keyboard that has this meaning.
    pub(crate) const fn key(self) -> Key {
        Key(match self {
            Modifier::Ctrl => key::Control_L,
            Modifier::Alt => key::Alt_L,
            Modifier::Shift => key::Shift_L,
            Modifier::Super => key::Super_L,
            Modifier::Altgr => key::ISO_Level3_Shift,
        })
    }

    /// What a keysym means to others while its key is down.
    pub(crate) fn of(symbol: u32) -> Option<Self> {
        match symbol {
            key::Control_L | key::Control_R => Some(Modifier::Ctrl),
            key::Alt_L | key::Alt_R | key::Meta_L | key::Meta_R => Some(Modifier::Alt),
            key::Shift_L | key::Shift_R | key::ISO_Level2_Latch => Some(Modifier::Shift),
            key::Super_L | key::Super_R | key::Hyper_L | key::Hyper_R => Some(Modifier::Super),
            key::ISO_Level3_Shift..=key::ISO_Level3_Latch
            | key::ISO_Level5_Shift
            | key::ISO_Level5_Latch
            | key::Mode_switch => Some(Modifier::Altgr),
            _ => None,
        }
    }
}

impl fmt::Display for Modifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key, by what it stands for and not by where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u32);

impl Key {
    /// A key by its name in one of the dialects, or the key that writes a character.
    ///
    /// # Errors
    ///
    /// `validation_failed` at `path` with what was probably meant.
    pub fn parse(name: &str, path: &str) -> Result<Self, Fault> {
        let mut chars = name.chars();
        match (chars.next(), chars.next()) {
            (Some(only), None) => Self::of_char(only)
                .ok_or_else(|| Fault::invalid(path, format!("no key writes \"{}\"", excerpt(name)))),
            _ => names::find(name).map(Self).ok_or_else(|| unknown(name, path)),
        }
    }

    /// The key that writes a character; newline and tab are `Return` and `Tab`, other control characters have none.
    pub fn of_char(character: char) -> Option<Self> {
        let symbol = match character {
            '\n' | '\r' => key::Return,
            '\t' => key::Tab,
            control if control.is_control() => return None,
            other => Keysym::from_char(other).raw(),
        };
        (symbol != key::NoSymbol).then_some(Self(symbol))
    }

    /// The X keysym.
    pub fn symbol(self) -> u32 {
        self.0
    }

    /// The modifier that it is, if any.
    pub fn modifier(self) -> Option<Modifier> {
        Modifier::of(self.0)
    }

    /// Whether pressing it once changes a state that stays: Caps Lock, Num Lock, the layout.
    pub fn locks(self) -> bool {
        matches!(
            self.0,
            key::Caps_Lock
                | key::Shift_Lock
                | key::Num_Lock
                | key::ISO_Lock
                | key::ISO_Level3_Lock
                | key::ISO_Level5_Lock
                | key::ISO_Group_Latch..=key::ISO_Last_Group_Lock
        )
    }

    /// Its lower-case letter, where it is an upper-case one.
    fn lowered(self) -> Self {
        let lower = character(self.0).and_then(|upper| {
            let mut lower = upper.to_lowercase();
            lower.next().filter(|_| lower.len() == 0)
        });
        lower.and_then(Self::of_char).unwrap_or(self)
    }
}

impl fmt::Display for Key {
    /// The keysym's name, `U` and the code point where it has none, or the modifier that it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.modifier(), names::of(self.0)) {
            (Some(modifier), _) => modifier.fmt(f),
            (None, Some(name)) => f.write_str(&name),
            (None, None) => write!(f, "U{:04X}", character(self.0).map_or(self.0, u32::from)),
        }
    }
}

/// The character that a keysym writes; keypad and control keys write none here, since programs tell them apart.
pub(crate) fn character(symbol: u32) -> Option<char> {
    match symbol {
        0xfd00..=0xffff => None,
        other => Keysym::new(other).key_char(),
    }
}

/// Keys that are pressed together: modifiers first, then the others in the order in which they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chord(Vec<Key>);

impl Chord {
    /// Reads keys joined with `+`. Beside another key a letter is its lower-case one: Shift is said by name there.
    ///
    /// # Errors
    ///
    /// `validation_failed` at `path`: an unknown, repeated or missing key, or more than eight.
    pub fn parse(text: &str, path: &str) -> Result<Self, Fault> {
        if text.len() > LONGEST {
            let message = format!("the chord is {} bytes long, expected at most {LONGEST}", text.len());
            return Err(Fault::invalid(path, message));
        }
        let (joined, plus) = match text.strip_suffix('+') {
            Some("") => ("", true),
            Some(rest) => match rest.strip_suffix('+') {
                Some(before) if !before.is_empty() => (before, true),
                _ => (text, false),
            },
            None => (text, false),
        };
        let mut names: Vec<&str> = joined.split('+').filter(|_| !(plus && joined.is_empty())).collect();
        names.extend(plus.then_some("plus"));
        if names.iter().any(|name| name.is_empty()) {
            let message = format!(
                "\"{}\" lacks a key beside a +, expected names joined with + such as \"ctrl+shift+t\"; \
                 the plus key is \"plus\"",
                excerpt(text)
            );
            return Err(Fault::invalid(path, message));
        }
        if names.len() > MOST_KEYS {
            let message = format!("the chord has {} keys, expected at most {MOST_KEYS}", names.len());
            return Err(Fault::invalid(path, message));
        }
        let mut keys = Vec::with_capacity(names.len());
        for name in &names {
            let key = Key::parse(name, path)?;
            let key = if names.len() > 1 { key.lowered() } else { key };
            if keys.contains(&key) {
                return Err(Fault::invalid(path, format!("the chord names {key} twice")));
            }
            keys.push(key);
        }
        keys.sort_by_key(|key| match key.modifier() {
            Some(modifier) => (0, Some(modifier)),
            None => (1, None),
        });
        Ok(Self(keys))
    }

    /// The keys in the order in which they go down.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// The modifiers that it names.
    pub fn modifiers(&self) -> BTreeSet<Modifier> {
        self.0.iter().filter_map(|key| key.modifier()).collect()
    }
}

impl fmt::Display for Chord {
    /// The one spelling that policies compare: `ctrl+shift+Page_Down`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, key) in self.0.iter().enumerate() {
            let joint = if index == 0 { "" } else { "+" };
            write!(f, "{joint}{key}")?;
        }
        Ok(())
    }
}

fn unknown(name: &str, path: &str) -> Fault {
    let meant = match names::nearest(name) {
        Some(meant) => format!("; did you mean \"{meant}\"?"),
        None => ", expected a name such as \"Return\", \"ctrl\" or \"F5\", or one character".to_owned(),
    };
    Fault::invalid(path, format!("there is no key \"{}\"{meant}", excerpt(name)))
}

#[cfg(test)]
mod tests;
