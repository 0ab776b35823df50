//! Where a page of a listing ended, as the opaque `next` that goes on behind it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use llm_os_core::Fault;

use crate::roots::names_of;

/// A place in the order of a walk: a path below its top, and a line in that file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) path: Vec<u8>,
    pub(crate) line: u64,
}

impl Cursor {
    pub(crate) fn encode(&self) -> String {
        let mut plain = format!("{}:", self.line).into_bytes();
        plain.extend_from_slice(&self.path);
        URL_SAFE_NO_PAD.encode(plain)
    }

    /// Reads `next`. It comes back from the caller, so it is as untrusted as a path: it only says where in the order to
    /// go on, and what is met there is judged like everything else.
    pub(crate) fn decode(text: &str) -> Result<Self, Fault> {
        let read = || {
            let plain = URL_SAFE_NO_PAD.decode(text).ok()?;
            let colon = plain.iter().position(|b| *b == b':')?;
            let line = std::str::from_utf8(&plain[..colon]).ok()?.parse().ok()?;
            let path = plain[colon + 1..].to_vec();
            let sound = !path.contains(&0) && names_of(&path).all(|name| name != b"..") && path.len() <= 4096;
            sound.then_some(Self { path, line })
        };
        read().ok_or_else(|| {
            Fault::invalid("next", "it is not the next of an earlier answer: copy it unchanged")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_survives_the_wire(names in proptest::collection::vec("[^/\0]{1,20}", 1..5), line: u64) {
            prop_assume!(names.iter().all(|name| name != ".."));
            let cursor = Cursor { path: names.join("/").into_bytes(), line };
            prop_assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
        }

        #[test]
        fn any_other_text_is_refused_and_never_panics(text: String) {
            if let Err(fault) = Cursor::decode(&text) {
                prop_assert_eq!(fault.code.as_str(), "validation_failed");
            }
        }
    }

    #[test]
    fn a_cursor_cannot_climb() {
        let climbing = Cursor { path: b"a/../../etc".to_vec(), line: 0 }.encode();
        assert!(Cursor::decode(&climbing).is_err());
    }
}
