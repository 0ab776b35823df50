//! Pictures in files of the directory that the operator configured.
//!
//! The directory is opened once, at start. A picture is complete before it gets a name, its name is its digest, and what
//! has that name already is never written to. No path of a plan is involved.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use llm_os_core::path::{WirePath, spell};
use llm_os_core::value::hex;
use llm_os_core::{Code, Effect, Fault, Identity, Resource, Verb};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, linkat, open, openat};
use rustix::io::Errno;

use crate::WRITE_FAILED;

/// The directory for pictures.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    identity: String,
}

impl Directory {
    /// Opens the directory that the configuration names.
    ///
    /// # Errors
    ///
    /// `unavailable` where it is not there, or not a directory.
    pub(crate) fn open(path: &WirePath) -> Result<Self, Fault> {
        let bytes = path.bytes("directory")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = open(bytes.as_slice(), flags, Mode::empty()).and_then(|fd| {
            let found = fstat(&fd)?;
            Ok(Self { identity: format!("{}:{}", found.st_dev, found.st_ino), fd })
        });
        opened.map_err(|e| {
            let path = llm_os_core::error::excerpt(&spell(&bytes));
            let message =
                format!("capabilities.monitor.directory: {path} cannot be opened as a directory: {e}");
            Fault::new(Code::UNAVAILABLE, message)
        })
    }

    /// What writing into it does.
    ///
    /// # Errors
    ///
    /// `write_failed` where its path cannot be told.
    pub(crate) fn effect(&self) -> Result<Effect, Fault> {
        let resource = Resource::path(&self.path()?);
        Ok(Effect::new(Verb::Change, resource, Identity::new(self.identity.clone())))
    }

    /// Its path as it is now.
    fn path(&self) -> Result<Vec<u8>, Fault> {
        let link = std::fs::read_link(self.link(&self.fd)).map_err(|e| failed(&e))?;
        Ok(link.as_os_str().as_bytes().to_vec())
    }

    fn link(&self, fd: &impl std::os::fd::AsRawFd) -> String {
        format!("/proc/self/fd/{}", fd.as_raw_fd())
    }

    /// Writes a picture as `<sha256>.<extension>` and gives its path. Where it is there already nothing is written.
    ///
    /// # Errors
    ///
    /// `write_failed`, where something else has the name too; nothing was written then.
    pub(crate) fn save(&self, bytes: &[u8], sha256: &str, extension: &str) -> Result<String, Fault> {
        let name = format!("{sha256}.{extension}");
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.fd, c".", flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed(&e))?;
        let mut file = std::fs::File::from(file);
        file.write_all(bytes).map_err(|e| failed(&e))?;
        let unnamed = self.link(&file.as_raw_fd());
        match linkat(CWD, unnamed.as_str(), &self.fd, name.as_str(), AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {}
            Err(Errno::EXIST) if self.holds(&name, bytes) => {}
            Err(Errno::EXIST) => {
                let message = format!(
                    "something else is at {name} in the directory for pictures, and was left alone: remove it and try again"
                );
                return Err(Fault::new(WRITE_FAILED, message));
            }
            Err(e) => return Err(failed(&e)),
        }
        let path = [self.path()?.as_slice(), b"/", name.as_bytes()].concat();
        Ok(spell(&path))
    }

    /// Whether the name is that of a regular file with just these bytes.
    fn holds(&self, name: &str, bytes: &[u8]) -> bool {
        // A FIFO would block, and be no regular file.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(&self.fd, name, flags, Mode::empty()) else { return false };
        let file = std::fs::File::from(file);
        let length = bytes.len() as u64;
        let is_alike = file.metadata().is_ok_and(|found| found.is_file() && found.len() == length);
        let mut found = Vec::new();
        is_alike && file.take(length + 1).read_to_end(&mut found).is_ok() && found == bytes
    }
}

fn failed(e: &dyn std::fmt::Display) -> Fault {
    Fault::new(WRITE_FAILED, format!("the picture cannot be written into the configured directory: {e}"))
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    hex(&sha2::Sha256::digest(bytes))
}
