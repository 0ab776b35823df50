//! The output of a program that goes on: a file of the host's state directory, of bounded length, which is kept by its
//! descriptor and only named so that what a killed host left can be found.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;

const PREFIX: &str = "output-";

/// The directory of all spools.
#[derive(Clone)]
pub(crate) struct Directory(Arc<OwnedFd>);

impl Directory {
    /// Makes the directory where it is not there, and removes what an earlier host left in it.
    pub(crate) fn open(state: &Path) -> Result<Self, Errno> {
        let path = state.join("exec");
        match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, &path, flags, Mode::empty())?;
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            if entry.file_name().to_bytes().starts_with(PREFIX.as_bytes()) {
                rustix::fs::unlinkat(&fd, entry.file_name(), AtFlags::empty())?;
            }
        }
        Ok(Self(Arc::new(fd)))
    }

    /// An empty spool with a name of its own, for at most `limit` bytes.
    pub(crate) fn spool(&self, serial: u64, limit: u64) -> Result<Spool, Errno> {
        let name = format!("{PREFIX}{}-{serial}", std::process::id());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.0.as_fd(), &name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Spool { directory: self.clone(), name, file: File::from(fd), limit, kept: 0, seen: 0 })
    }
}

/// What a program wrote. Dropped, it is gone.
pub(crate) struct Spool {
    directory: Directory,
    name: String,
    file: File,
    limit: u64,
    kept: u64,
    seen: u64,
}

impl Spool {
    /// Keeps what fits; the rest is counted and dropped. What cannot be written is what does not fit, and neither does
    /// anything after it, so that what is kept has no gaps.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let room = usize::try_from(self.limit - self.kept).unwrap_or(usize::MAX);
        let fitting = &bytes[..bytes.len().min(room)];
        match self.file.write_all_at(fitting, self.kept) {
            Ok(()) => self.kept += fitting.len() as u64,
            Err(e) => {
                tracing::warn!(error = %e, "The output of a program cannot be kept any further.");
                self.limit = self.kept;
            }
        }
        self.seen += bytes.len() as u64;
        if self.seen > self.kept {
            self.limit = self.kept;
        }
    }

    /// How many bytes are kept.
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// How many bytes there were.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// What is kept from `after` on, at most `most` bytes.
    pub(crate) fn read(&self, after: u64, most: usize) -> std::io::Result<Vec<u8>> {
        let length = usize::try_from(self.kept.saturating_sub(after)).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, after)?;
        Ok(bytes)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Spool {
    /// Removes the file; who still has the spool reads on.
    pub(crate) fn remove(&self) {
        match rustix::fs::unlinkat(self.directory.0.as_fd(), &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => tracing::warn!(error = %e, "The output of a program that ended could not be removed."),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_spool_keeps_the_beginning_without_gaps_and_counts_the_rest() {
        let state = tempfile::tempdir().unwrap();
        let directory = Directory::open(state.path()).unwrap();
        let mut spool = directory.spool(1, 5).unwrap();
        for part in ["abc", "def", "g"] {
            spool.take(part.as_bytes());
        }
        assert_eq!((spool.kept(), spool.seen()), (5, 7));
        assert_eq!(spool.read(1, 100).unwrap(), b"bcde");
        assert_eq!(spool.read(5, 100).unwrap(), b"");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
        let file = std::fs::read_dir(state.path().join("exec")).unwrap().next().unwrap().unwrap().path();
        assert_eq!((mode(&file), mode(&state.path().join("exec"))), (0o600, 0o700));
        drop(spool);
        assert!(!file.exists());
    }

    #[test]
    fn what_an_earlier_host_left_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let directory = Directory::open(state.path()).unwrap();
        std::mem::forget(directory.spool(1, 5).unwrap());
        std::fs::write(state.path().join("exec/mine"), "").unwrap();
        Directory::open(state.path()).unwrap();
        let left: Vec<_> = std::fs::read_dir(state.path().join("exec")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
