//! Connecting with the cookie of a file that is not the user's own (xauth(1)).

use std::path::Path;

use llm_os_core::Display;
use x11rb::reexports::x11rb_protocol::parse_display::parse_display;
use x11rb::rust_connection::{DefaultStream, RustConnection};

const COOKIE: &str = "MIT-MAGIC-COOKIE-1";

/// The connection and the number of its screen.
pub(super) fn connect(display: &Display) -> Result<(RustConnection, usize), String> {
    let Some(authority) = &display.authority else {
        return RustConnection::connect(Some(&display.name)).map_err(|e| e.to_string());
    };
    let parsed = parse_display(Some(&display.name)).map_err(|e| e.to_string())?;
    let cookie = cookie(authority, parsed.display)?;
    let mut last = "its name names no address".to_owned();
    for address in parsed.connect_instruction() {
        match DefaultStream::connect(&address) {
            Ok((stream, _)) => {
                let screen = usize::from(parsed.screen);
                let (name, data) = (COOKIE.as_bytes().to_vec(), cookie);
                let connected = RustConnection::connect_to_stream_with_auth_info(stream, screen, name, data);
                return connected.map(|conn| (conn, screen)).map_err(|e| e.to_string());
            }
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

/// The cookie for a display's number, or the one for any.
fn cookie(file: &Path, display: u16) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut rest = bytes.as_slice();
    while let Some(entry) = Entry::read(&mut rest) {
        let number = std::str::from_utf8(entry.number).unwrap_or_default();
        if entry.name == COOKIE.as_bytes() && (number.is_empty() || number.parse() == Ok(display)) {
            return Ok(entry.data.to_vec());
        }
    }
    Err(format!("{} holds no {COOKIE} for :{display}", file.display()))
}

/// One entry: a family, then four fields that each begin with their length, big endian.
struct Entry<'a> {
    number: &'a [u8],
    name: &'a [u8],
    data: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        rest.split_off(..2)?;
        let mut field = || {
            let length = rest.split_off(..2)?;
            rest.split_off(..usize::from(u16::from_be_bytes([length[0], length[1]])))
        };
        let [_address, number, name, data] = [field()?, field()?, field()?, field()?];
        Some(Self { number, name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entries: &[(&str, &str)]) -> tempfile::NamedTempFile {
        let mut bytes = Vec::new();
        for (number, data) in entries {
            bytes.extend([0xff, 0xff]);
            for field in ["", *number, COOKIE, *data] {
                bytes.extend(u16::try_from(field.len()).unwrap().to_be_bytes());
                bytes.extend(field.bytes());
            }
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn the_cookie_is_the_one_of_the_displays_number_or_of_any() {
        let found = |entries: &[(&str, &str)]| cookie(file(entries).path(), 7);
        assert_eq!(found(&[("1", "one"), ("7", "seven")]).unwrap(), b"seven");
        assert_eq!(found(&[("", "any")]).unwrap(), b"any");
        assert!(found(&[("1", "one")]).is_err());
    }

    #[test]
    fn a_file_that_is_cut_anywhere_gives_no_cookie_and_no_panic() {
        let whole = std::fs::read(file(&[("7", "seven")]).path()).unwrap();
        for length in 0..whole.len() {
            let cut = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(cut.path(), &whole[..length]).unwrap();
            assert!(cookie(cut.path(), 7).is_err(), "{length}");
        }
    }
}
