//! Values that many capabilities share: text that may be cut, binary data, secrets.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};
use sha2::{Digest, Sha256};

/// Text that may have been cut, and says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeserializeDerive, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The text, or its base64 where the bytes are not UTF-8.
    pub text: String,
    /// How `text` is spelled.
    pub encoding: Encoding,
    /// The whole length in bytes, as far as it was seen.
    pub bytes: u64,
    /// Whether `text` holds less than `bytes`.
    pub truncated: bool,
}

/// How the bytes of a [`Text`] are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, DeserializeDerive, JsonSchema)]
pub enum Encoding {
    /// The bytes are UTF-8 and stand as they are.
    #[serde(rename = "utf-8")]
    Utf8,
    /// Standard base64 with padding (RFC 4648, section 4).
    #[serde(rename = "base64")]
    Base64,
}

impl Text {
    /// Takes the bytes that were kept of `seen` bytes. UTF-8 that was cut inside a character loses that character's
    /// beginning; anything else that is not UTF-8 becomes base64.
    pub fn new(mut kept: Vec<u8>, seen: u64) -> Self {
        if seen > kept.len() as u64
            && let Err(e) = std::str::from_utf8(&kept)
            && e.error_len().is_none()
        {
            kept.truncate(e.valid_up_to());
        }
        let truncated = seen > kept.len() as u64;
        match String::from_utf8(kept) {
            Ok(text) => Self { text, encoding: Encoding::Utf8, bytes: seen, truncated },
            Err(e) => Self {
                text: STANDARD.encode(e.as_bytes()),
                encoding: Encoding::Base64,
                bytes: seen,
                truncated,
            },
        }
    }
}

impl From<Vec<u8>> for Text {
    fn from(whole: Vec<u8>) -> Self {
        let seen = whole.len() as u64;
        Self::new(whole, seen)
    }
}

/// Binary data in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeserializeDerive, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// The media type (RFC 6838), such as `image/png`.
    pub media_type: String,
    /// Always `base64`.
    pub encoding: Encoding,
    /// Standard base64 with padding (RFC 4648, section 4).
    pub data: String,
    /// The length before encoding.
    pub bytes: u64,
    /// SHA-256 of the bytes before encoding, in lower-case hexadecimal.
    pub sha256: String,
}

impl Binary {
    /// Encodes `bytes`.
    pub fn new(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            encoding: Encoding::Base64,
            data: STANDARD.encode(bytes),
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(bytes)),
        }
    }
}

/// A string that the audit log records as its length and a keyed digest, and that no error message shows.
///
/// The mark `writeOnly` in its JSON Schema (JSON Schema 2020-12, validation, section 9.4) is what redaction follows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a string.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The string itself, for the one use that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The string itself, without a copy.
    pub fn into_exposed(self) -> String {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Exposed;
        impl Visitor<'_> for Exposed {
            type Value = String;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }
        }
        let read = reader.deserialize_str(Exposed);
        read.map(Secret).map_err(|_| de::Error::custom("expected a string (what was found is not shown)"))
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "writeOnly": true})
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)].into());
        out.push(DIGITS[usize::from(byte & 15)].into());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cut_inside_a_character_stays_utf8_and_says_so() {
        let text = Text::new("aé".as_bytes()[..2].to_vec(), 3);
        assert_eq!(
            (text.text.as_str(), text.encoding, text.bytes, text.truncated),
            ("a", Encoding::Utf8, 3, true)
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_become_base64() {
        let text = Text::from(vec![0xff, 0, b'a']);
        assert_eq!((text.text.as_str(), text.encoding, text.truncated), ("/wBh", Encoding::Base64, false));
    }

    #[test]
    fn a_secret_shows_itself_nowhere() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(7 bytes)");
        let error = crate::json::Json::Int(4711).read::<Secret>().unwrap_err();
        assert!(!error.to_string().contains("4711"), "{error}");
    }
}
