//! The names that correlate and dispatch: ids of requests and sessions, names of actions.

use std::fmt;

use serde::{Serialize, Serializer};

/// The longest id, in bytes.
pub const MAX_ID: usize = 128;

/// An id that a caller chose for a request or a session: `[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`.
///
/// It correlates; it authenticates nothing, need not be unique and never becomes part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

impl Id {
    /// Takes an id if it is well formed.
    pub fn new(text: &str) -> Option<Self> {
        let (first, rest) = text.as_bytes().split_first()?;
        let formed = text.len() <= MAX_ID
            && first.is_ascii_alphanumeric()
            && rest.iter().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(b));
        formed.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// `<capability>.<verb>`: `fs.read`, `exec.run`. As a tool name for a model the dot becomes an underscore.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionName {
    text: String,
    dot: usize,
}

impl ActionName {
    /// Takes a name if it is well formed: capability `[a-z][a-z0-9]*`, verb `[a-z][a-z0-9_]*`, at most 128 bytes.
    pub fn new(text: &str) -> Option<Self> {
        let (capability, verb) = text.split_once('.')?;
        (text.len() <= MAX_ID && is_capability(capability) && is_verb(verb))
            .then(|| Self { text: text.to_owned(), dot: capability.len() })
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the dot.
    pub fn capability(&self) -> &str {
        &self.text[..self.dot]
    }

    /// The part after the dot.
    pub fn verb(&self) -> &str {
        &self.text[self.dot + 1..]
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for ActionName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Whether `text` may name a capability.
pub fn is_capability(text: &str) -> bool {
    starts_lower(text) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Whether `text` may name a verb.
pub fn is_verb(text: &str) -> bool {
    starts_lower(text) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn starts_lower(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_and_short() {
        for good in ["r-1", "A", "9.x:y_z-", &"a".repeat(128)] {
            assert!(Id::new(good).is_some(), "{good}");
        }
        for bad in ["", "-a", "../x", "a/b", "a\n", "a b", "\u{e9}", &"a".repeat(129)] {
            assert!(Id::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn action_names_have_one_dot_and_lower_case() {
        let name = ActionName::new("fs.read_all").unwrap();
        assert_eq!((name.capability(), name.verb()), ("fs", "read_all"));
        for bad in ["fs", "fs.", ".read", "Fs.read", "fs.Read", "fs.re.ad", "f_s.read", "fs.read ", "fs.1x"] {
            assert!(ActionName::new(bad).is_none(), "{bad:?}");
        }
    }
}
