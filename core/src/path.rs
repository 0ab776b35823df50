//! Paths on the wire: absolute, byte-exact, and still a JSON string.
//!
//! A path is a string that starts with `/` and stands for exactly its UTF-8 bytes: nothing is trimmed, folded or
//! expanded. A name that is not UTF-8 has no such string; the whole path is then spelled as a file URI
//! (`file:///w/a%FF`, RFC 8089), which every path parameter accepts as well. The two cannot be confused, since a
//! path on the wire starts with `/`.

use std::borrow::Cow;
use std::fmt::Write as _;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::error::{Fault, excerpt};

/// The longest path, in bytes (`PATH_MAX` less its NUL, limits.h).
pub const MAX_PATH: usize = 4095;
/// The longest name between two slashes, in bytes (`NAME_MAX`, limits.h).
pub const MAX_COMPONENT: usize = 255;

/// A path as a caller wrote it. [`WirePath::bytes`] checks it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct WirePath(String);

impl WirePath {
    /// Wraps a string that was not checked yet.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The absolute path as bytes.
    ///
    /// # Errors
    ///
    /// `validation_failed` at `field` where the path is relative, has a NUL byte, or is longer than [`MAX_PATH`] as a
    /// whole or [`MAX_COMPONENT`] in a component.
    pub fn bytes(&self, field: &str) -> Result<Vec<u8>, Fault> {
        let refused = |why: &str| {
            Err(Fault::invalid(field, format!("\"{}\" is not an accepted path: {why}", excerpt(&self.0))))
        };
        let bytes = match self.0.strip_prefix("file://") {
            None => self.0.clone().into_bytes(),
            Some(encoded) => match percent_decode(encoded) {
                Some(bytes) => bytes,
                None => return refused("a file URI needs %XX escapes of two hexadecimal digits"),
            },
        };
        if bytes.first() != Some(&b'/') {
            return refused("it must be absolute (start with \"/\")");
        }
        if bytes.contains(&0) {
            return refused("it holds a NUL byte");
        }
        if bytes.len() > MAX_PATH {
            return refused("it is longer than 4,095 bytes");
        }
        if bytes.split(|b| *b == b'/').any(|name| name.len() > MAX_COMPONENT) {
            return refused("a component is longer than 255 bytes");
        }
        Ok(bytes)
    }
}

impl JsonSchema for WirePath {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Path".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        const PATTERN: &str =
            r"^(/[^\u0000]*|file://(/|%2[Ff])([^%\u0000]|%([1-9A-Fa-f][0-9A-Fa-f]|0[1-9A-Fa-f]))*)$";
        json_schema!({"type": "string", "format": "path", "pattern": PATTERN, "minLength": 1, "maxLength": 12_300})
    }
}

/// Spells a path for the wire, the log and the policy: as it is where it is UTF-8, else as a file URI.
pub fn spell(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| uri(bytes), str::to_owned)
}

/// A path as a file URI, which [`spell`] writes only where there is no other way.
pub fn uri(bytes: &[u8]) -> String {
    let mut out = "file://".to_owned();
    for &byte in bytes {
        match byte {
            b'/' | b'.' | b'_' | b'-' | b'~' => out.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("writing to a string"),
        }
    }
    out
}

/// The ancestors of a path as [`spell`] writes it, nearest first, `/` last; empty for `/` itself.
pub fn ancestors(path: &str) -> Vec<String> {
    let bytes = match path.strip_prefix("file://") {
        Some(encoded) => percent_decode(encoded).unwrap_or_default(),
        None => path.as_bytes().to_vec(),
    };
    let mut found = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some(slash) = rest.iter().rposition(|b| *b == b'/') {
        if rest.len() == 1 {
            break;
        }
        rest = &rest[..slash.max(1)];
        found.push(spell(rest));
    }
    found
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ancestors_run_from_the_parent_to_the_root() {
        assert_eq!(ancestors("/a/b/c"), ["/a/b", "/a", "/"]);
        assert_eq!(ancestors("/a"), ["/"]);
        assert!(ancestors("/").is_empty());
        assert_eq!(ancestors("file:///a/%FF/c"), ["file:///a/%FF", "/a", "/"]);
    }

    #[test]
    fn wrong_paths_name_the_field() {
        for bad in
            ["", "a", "./a", "/a\0b", &format!("/{}", "x".repeat(256)), &"/x".repeat(2048), "file:///%F"]
        {
            let fault = WirePath::new(bad).bytes("path").unwrap_err();
            assert_eq!(
                (fault.code.as_str(), fault.path.as_deref()),
                ("validation_failed", Some("path")),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_byte_string_survives_the_wire(name in proptest::collection::vec(1u8..=255, 0..40)) {
            let bytes: Vec<u8> = [b"/".as_slice(), &name].concat();
            prop_assert_eq!(WirePath::new(spell(&bytes)).bytes("path").unwrap(), bytes);
        }
    }
}
