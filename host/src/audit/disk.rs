//! What stands between the log and the disk: one directory, its lock, and the segment that is written.
//!
//! A segment is made longer by [`ROOM`] zeros at a time, ahead of its records: a record then fills blocks that the file
//! has already, so that `fdatasync` has no new length to write beside it, which saves about a third of its time. What
//! follows the last record of a segment in use is therefore zeros, and an orderly end cuts them off.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use llm_os_core::audit::{Line, Link, segment_name, segment_number, written};
use rustix::fs::{AtFlags, FlockOperation, Stat, flock, fstat, statat};

use crate::audit::OpenError;
use crate::audit::files::{at, directory, give, owned, private};

/// More than the two last records of an orderly stop, or the last one of a closed segment, whose lengths are bounded.
pub(super) const END: u64 = 4_096;
/// How many zeros a segment is made longer by.
const ROOM: u64 = 256 << 10;

/// The seven things that the log does to a disk; tests let each of them fail.
pub(super) trait Disk: Send {
    /// Makes a segment, durably; what is appended goes there from now on.
    fn create(&mut self, number: u32) -> io::Result<()>;

    /// Checks that the segment is still where it was made, and as long as it was left.
    fn check(&self) -> io::Result<()>;

    /// Appends some of the bytes, and says how many.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Waits until everything appended is on the disk.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts off what no record filled, durably.
    fn trim(&mut self) -> io::Result<()>;

    /// The closed segments, oldest first, up to the first whose end is no record.
    fn closed(&self) -> io::Result<Vec<Closed>>;

    /// Removes a closed segment, durably.
    fn remove(&mut self, number: u32) -> io::Result<()>;
}

/// A segment that nothing is written to any more.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    pub(super) number: u32,
    /// The number of its last record.
    pub(super) seq: u64,
    /// The link to its last record, which the next segment begins with.
    pub(super) head: Link,
    /// When its last record was written.
    pub(super) time: SystemTime,
}

impl Closed {
    fn of(number: u32, tail: &[u8]) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Timed {
            time: String,
        }
        let line = tail.strip_suffix(b"\n")?.rsplit(|b| *b == b'\n').next().and_then(Line::read)?;
        let Timed { time } = serde_json::from_slice(line.bytes).ok()?;
        let time = humantime::parse_rfc3339(&time).ok()?;
        Some(Self { number, seq: line.seq, head: line.link(), time })
    }
}

/// The directory of a log. One process has it at a time.
pub(super) struct Directory {
    path: PathBuf,
    dir: File,
    segments: Vec<u32>,
    current: Option<Segment>,
    readers: Option<u32>,
    _lock: File,
}

struct Segment {
    name: String,
    file: File,
    identity: (u64, u64),
    /// Where the next record goes.
    end: u64,
    /// The file's length: what follows `end` is zeros.
    length: u64,
}

impl Directory {
    /// Locks the directory and looks what is there.
    pub(super) fn open(state: &Path, readers: Option<u32>) -> Result<Self, OpenError> {
        let state_dir = directory(state, 0o022)?;
        let path = state.join("audit");
        let dir = directory(&path, if readers.is_some() { 0o027 } else { 0o077 })?;
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
        let found = Self { path, dir, segments, current: None, readers, _lock: lock };
        if let Some(gid) = readers {
            give(state, &state_dir, gid, 0o710)?;
            give(&found.path, &found.dir, gid, 0o750)?;
            for number in &found.segments {
                let path = found.segment_path(*number);
                let file = private().read(true).open(&path).map_err(at(&path))?;
                owned(&path, &file, found.forbidden())?;
                give(&path, &file, gid, 0o640)?;
            }
        }
        Ok(found)
    }

    /// Whether a group may read the log.
    pub(super) fn has_readers(&self) -> bool {
        self.readers.is_some()
    }

    /// The permissions that a segment must not have.
    fn forbidden(&self) -> u32 {
        if self.has_readers() { 0o037 } else { 0o077 }
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

    /// Opens a segment for reading, with the length of what was written to it.
    pub(super) fn read(&self, number: u32) -> Result<(File, u64), OpenError> {
        let path = self.segment_path(number);
        let file = private().read(true).open(&path).map_err(at(&path))?;
        owned(&path, &file, self.forbidden())?;
        let end = end_of(&file).map_err(at(&path))?;
        Ok((file, end))
    }

    /// The end of a segment: at most `most` bytes.
    pub(super) fn tail(&self, number: u32, most: u64) -> Result<Vec<u8>, OpenError> {
        let (mut file, end) = self.read(number)?;
        let mut bytes = Vec::new();
        let path = self.segment_path(number);
        file.seek(SeekFrom::Start(end.saturating_sub(most))).map_err(at(&path))?;
        file.take(most.min(end)).read_to_end(&mut bytes).map_err(at(&path))?;
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
        bytes.truncate(written(&bytes).len());
        let torn = self.path.join(torn);
        let mut kept = private().write(true).create(true).truncate(true).open(&torn).map_err(at(&torn))?;
        kept.write_all(&bytes).and_then(|()| kept.sync_all()).map_err(at(&torn))?;
        self.dir.sync_all().map_err(at(&self.path))?;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(at(&path))?;
        Ok(bytes)
    }

    /// Goes on at `end` in a segment that is there.
    pub(super) fn go_on(&mut self, number: u32, end: u64) -> Result<(), OpenError> {
        let path = self.segment_path(number);
        let file = private().write(true).open(&path).map_err(at(&path))?;
        self.current = Some(Segment::of(number, file, end).map_err(at(&path))?);
        Ok(())
    }

    fn current(&self) -> io::Result<&Segment> {
        self.current.as_ref().ok_or_else(no_segment)
    }
}

impl Segment {
    fn of(number: u32, file: File, end: u64) -> io::Result<Self> {
        let identity = identity(&fstat(&file)?);
        let length = file.metadata()?.len();
        Ok(Self { name: segment_name(number), file, identity, end, length })
    }

    /// Fills the file with zeros until so many bytes have room.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let zeros = [0; 16 << 10];
        let needed = self.end + bytes;
        while self.length < needed {
            let goal = self.length + ROOM;
            while self.length < goal {
                let most = zeros.len().min(usize::try_from(goal - self.length).unwrap_or(usize::MAX));
                match self.file.write_at(&zeros[..most], self.length) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(taken) => self.length += taken as u64,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            self.file.sync_all()?;
        }
        Ok(())
    }
}

/// Where the zeros begin that no record filled.
fn end_of(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = [0; 16 << 10];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(part, start)?;
        let used = written(part).len() as u64;
        if used > 0 {
            return Ok(start + used);
        }
        end = start;
    }
    Ok(0)
}

fn no_segment() -> io::Error {
    io::Error::other("no segment is open")
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Disk for Directory {
    fn create(&mut self, number: u32) -> io::Result<()> {
        let path = self.segment_path(number);
        let file = private().write(true).create_new(true).open(&path)?;
        if let Some(gid) = self.readers {
            give(&path, &file, gid, 0o640).map_err(io::Error::other)?;
        }
        self.dir.sync_all()?;
        self.segments.push(number);
        self.current = Some(Segment::of(number, file, 0)?);
        Ok(())
    }

    /// By name in the directory that was opened: a segment that was deleted, renamed, replaced (logrotate) or cut
    /// (logrotate's copytruncate) is no longer the log.
    fn check(&self) -> io::Result<()> {
        let segment = self.current()?;
        let found = statat(&self.dir, &segment.name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| {
            io::Error::new(io::Error::from(e).kind(), format!("{} is gone: {e}", segment.name))
        })?;
        if identity(&found) != segment.identity {
            return Err(io::Error::other(format!("{} was replaced by another file", segment.name)));
        }
        if u64::try_from(found.st_size) != Ok(segment.length) {
            let (size, length) = (found.st_size, segment.length);
            return Err(io::Error::other(format!(
                "{} has {size} bytes where it was left with {length}: it was cut, or another program writes to it",
                segment.name
            )));
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let segment = self.current.as_mut().ok_or_else(no_segment)?;
        segment.make_room(bytes.len() as u64)?;
        let taken = segment.file.write_at(bytes, segment.end)?;
        segment.end += taken as u64;
        Ok(taken)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.current()?.file.sync_data()
    }

    fn trim(&mut self) -> io::Result<()> {
        let segment = self.current.as_mut().ok_or_else(no_segment)?;
        segment.file.set_len(segment.end)?;
        segment.length = segment.end;
        segment.file.sync_all()
    }

    fn closed(&self) -> io::Result<Vec<Closed>> {
        let current = &self.current()?.name;
        let mut closed = Vec::new();
        for number in self.segments.iter().filter(|number| segment_name(**number) != *current) {
            let tail = self.tail(*number, END).map_err(io::Error::other)?;
            let Some(segment) = Closed::of(*number, &tail) else { break };
            closed.push(segment);
        }
        Ok(closed)
    }

    fn remove(&mut self, number: u32) -> io::Result<()> {
        fs::remove_file(self.segment_path(number))?;
        self.dir.sync_all()?;
        self.segments.retain(|other| *other != number);
        Ok(())
    }
}
