//! What the programs of the virtual display read: `STATE/display`, 0700, made anew at every start.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::DisplayError;

/// The window manager's: windows can be focused, raised, moved, resized and closed by the mouse. No key is bound and
/// there is no menu, so that no input starts a program.
const OPENBOX: &str = include_str!("openbox.xml");

/// The directory and what is in it.
pub(super) struct Files {
    pub(super) directory: PathBuf,
    /// The cookie that a client must show (Xauthority, xauth(1)).
    pub(super) authority: PathBuf,
    pub(super) openbox: PathBuf,
}

impl Files {
    /// Writes them with a new cookie.
    ///
    /// # Errors
    ///
    /// What cannot be written.
    pub(super) fn write(state: &Path) -> Result<Self, DisplayError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| DisplayError::Io { path, source }
        };
        let state = state.canonicalize().map_err(at(state))?;
        let directory = state.join("display");
        match std::fs::remove_dir_all(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(&directory)(error)),
        }
        DirBuilder::new().mode(0o700).create(&directory).map_err(at(&directory))?;
        let mut cookie = [0; 16];
        getrandom::fill(&mut cookie).map_err(|e| at(&directory)(io::Error::other(e)))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.join(name);
            let file = OpenOptions::new().mode(0o600).write(true).create_new(true).open(&path);
            file.and_then(|mut file| file.write_all(bytes)).map_err(at(&path))?;
            Ok(path)
        };
        let authority = write("Xauthority", &entry(&cookie))?;
        let openbox = write("openbox.xml", OPENBOX.as_bytes())?;
        Ok(Self { directory, authority, openbox })
    }
}

/// One entry of an authority file: the family (any host), then address, display number (any), name and data, each
/// with its length before it, big endian.
fn entry(cookie: &[u8; 16]) -> Vec<u8> {
    const ANY_HOST: u16 = 0xffff;
    let mut bytes = ANY_HOST.to_be_bytes().to_vec();
    for field in [&b""[..], b"", b"MIT-MAGIC-COOKIE-1", cookie] {
        let length = u16::try_from(field.len()).expect("short fields");
        bytes.extend(length.to_be_bytes());
        bytes.extend(field);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_start_has_a_cookie_of_its_own_that_only_the_host_can_read() {
        let state = tempfile::tempdir().unwrap();
        let first = std::fs::read(Files::write(state.path()).unwrap().authority).unwrap();
        let files = Files::write(state.path()).unwrap();
        let second = std::fs::read(&files.authority).unwrap();
        assert_eq!(first.len(), second.len());
        assert_ne!(first, second);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            [mode(&files.directory), mode(&files.authority), mode(&files.openbox)],
            [0o700, 0o600, 0o600]
        );
    }

    #[test]
    fn no_key_and_no_menu_of_the_window_manager_does_anything() {
        for absent in ["<keybind", "<action name=\"Execute\"", "ShowMenu", "<file>"] {
            assert!(!OPENBOX.contains(absent), "{absent}");
        }
    }
}
