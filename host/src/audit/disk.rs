//! What stands between the log and the disk: one directory, its lock, and the segment that is written.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use llm_os_core::audit::{segment_name, segment_number};
use rustix::fs::{AtFlags, FlockOperation, Stat, flock, fstat, statat};

use crate::audit::OpenError;
use crate::audit::files::{at, directory, owned, private};

/// The four things that the log does to a disk; tests let each of them fail.
pub(super) trait Disk: Send {
    /// Makes a segment, durably; what is appended goes there from now on.
    fn create(&mut self, number: u32) -> io::Result<()>;

    /// Checks that the segment is still where it was made, with exactly this length.
    fn check(&self, length: u64) -> io::Result<()>;

    /// Appends some of the bytes, and says how many.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Waits until everything appended is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The directory of a log. One process has it at a time.
pub(super) struct Directory {
    path: PathBuf,
    dir: File,
    segments: Vec<u32>,
    current: Option<Segment>,
    _lock: File,
}

struct Segment {
    name: String,
    file: File,
    identity: (u64, u64),
}

impl Directory {
    /// Locks the directory and looks what is there.
    pub(super) fn open(state: &Path) -> Result<Self, OpenError> {
        directory(state, true)?;
        let path = state.join("audit");
        let dir = directory(&path, false)?;
        let lock_path = path.join("lock");
        let lock =
            private().write(true).create(true).truncate(false).open(&lock_path).map_err(at(&lock_path))?;
        owned(&lock_path, &lock, 0o077)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::Locked { path: lock_path }),
            Err(e) => return Err(at(&lock_path)(e.into())),
        }
        let names = fs::read_dir(&path).map_err(at(&path))?;
        let mut segments = Vec::new();
        for name in names {
            let name = name.map_err(at(&path))?.file_name();
            segments.extend(name.to_str().and_then(segment_number));
        }
        segments.sort_unstable();
        Ok(Self { path, dir, segments, current: None, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The newest segment.
    pub(super) fn last(&self) -> Option<u32> {
        self.segments.last().copied()
    }

    /// The segment before this one, where it is still there.
    pub(super) fn before(&self, number: u32) -> Option<u32> {
        self.segments.iter().rev().copied().find(|other| *other < number)
    }

    pub(super) fn segment_path(&self, number: u32) -> PathBuf {
        self.path.join(segment_name(number))
    }

    /// Opens a segment for reading, with its length.
    pub(super) fn read(&self, number: u32) -> Result<(File, u64), OpenError> {
        let path = self.segment_path(number);
        let file = private().read(true).open(&path).map_err(at(&path))?;
        owned(&path, &file, 0o077)?;
        let length = file.metadata().map_err(at(&path))?.len();
        Ok((file, length))
    }

    /// The end of a segment: at most `most` bytes.
    pub(super) fn tail(&self, number: u32, most: u64) -> Result<Vec<u8>, OpenError> {
        let (mut file, length) = self.read(number)?;
        let mut bytes = Vec::new();
        let path = self.segment_path(number);
        file.seek(SeekFrom::Start(length.saturating_sub(most))).map_err(at(&path))?;
        file.take(most).read_to_end(&mut bytes).map_err(at(&path))?;
        Ok(bytes)
    }

    /// Moves what follows `length` in a segment to a file of its own. Until that file is durable the bytes stay in
    /// the segment as well, so that none is lost; a file of the same name can only be from such an attempt.
    pub(super) fn cut(&self, number: u32, length: u64, torn: &str) -> Result<Vec<u8>, OpenError> {
        let path = self.segment_path(number);
        let mut file = private().read(true).write(true).open(&path).map_err(at(&path))?;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(length)).map_err(at(&path))?;
        file.read_to_end(&mut bytes).map_err(at(&path))?;
        let torn = self.path.join(torn);
        let mut kept = private().write(true).create(true).truncate(true).open(&torn).map_err(at(&torn))?;
        kept.write_all(&bytes).and_then(|()| kept.sync_all()).map_err(at(&torn))?;
        self.dir.sync_all().map_err(at(&self.path))?;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(at(&path))?;
        Ok(bytes)
    }

    /// Goes on in a segment that is there.
    pub(super) fn go_on(&mut self, number: u32) -> Result<(), OpenError> {
        let path = self.segment_path(number);
        let file = private().append(true).open(&path).map_err(at(&path))?;
        self.current = Some(Segment::of(number, file).map_err(at(&path))?);
        Ok(())
    }

    fn current(&self) -> io::Result<&Segment> {
        self.current.as_ref().ok_or_else(|| io::Error::other("no segment is open"))
    }
}

impl Segment {
    fn of(number: u32, file: File) -> io::Result<Self> {
        let identity = identity(&fstat(&file)?);
        Ok(Self { name: segment_name(number), file, identity })
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Disk for Directory {
    fn create(&mut self, number: u32) -> io::Result<()> {
        let file = private().append(true).create_new(true).open(self.segment_path(number))?;
        self.dir.sync_all()?;
        self.current = Some(Segment::of(number, file)?);
        Ok(())
    }

    /// By name in the directory that was opened: a segment that was deleted, renamed, replaced (logrotate) or cut
    /// (logrotate's copytruncate) is no longer the log.
    fn check(&self, length: u64) -> io::Result<()> {
        let segment = self.current()?;
        let found = statat(&self.dir, &segment.name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| {
            io::Error::new(io::Error::from(e).kind(), format!("{} is gone: {e}", segment.name))
        })?;
        if identity(&found) != segment.identity {
            return Err(io::Error::other(format!("{} was replaced by another file", segment.name)));
        }
        if u64::try_from(found.st_size) != Ok(length) {
            let size = found.st_size;
            return Err(io::Error::other(format!(
                "{} has {size} bytes where {length} were written: it was cut, or another program writes to it",
                segment.name
            )));
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.current()?.file).write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.current()?.file.sync_data()
    }
}
