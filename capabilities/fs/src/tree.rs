//! Walking a directory tree by descriptors, in the order of the names' bytes, without following symlinks and without
//! entering another mount, in memory that a huge directory does not grow.

use std::collections::BinaryHeap;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use llm_os_core::{Context, Effect, Fault};
use rustix::fs::{FileType, RawDir, SeekFrom, seek};
use rustix::io::Errno;

use crate::fault::{READ_FAILED, read_failed, shown};
use crate::kernel::{Meta, open_directory};
use crate::roots::join;

/// How many directories below each other are entered: each one holds a descriptor.
pub(crate) const MAX_DEPTH: usize = 128;
/// How many names of one directory are held at once where the caller has no smaller need. A directory with more is
/// read again from its start for the next so many.
pub(crate) const BATCH: usize = 65_536;
/// How much of a directory is read in one step: some hundred names.
const READ_A_STEP: usize = 16 << 10;
/// How long work goes on before others get a turn.
const TURN: Duration = Duration::from_millis(1);

/// A walk, standing somewhere in a tree.
pub(crate) struct Walk {
    frames: Vec<Frame>,
    batch: usize,
    /// Room for what the kernel tells of a directory.
    buffer: Vec<u8>,
}

/// A directory on the way to where a walk stands.
struct Frame {
    fd: OwnedFd,
    path: Vec<u8>,
    name: Vec<u8>,
    covered: bool,
    /// Names up to here are done.
    done: Bound<Vec<u8>>,
    /// The next names, the smallest last.
    names: Vec<Vec<u8>>,
    /// Whether `names` ends with the last name of the directory.
    complete: bool,
    scan: Option<Scan>,
}

/// What a directory says of one of its entries.
pub(crate) struct Named<'a> {
    /// The path of the directory.
    pub(crate) dir: &'a [u8],
    pub(crate) name: &'a [u8],
    /// Not every file system tells: `Unknown` may be anything.
    pub(crate) file_type: FileType,
}

/// What a walk did.
pub(crate) enum Step {
    /// It met an entry. If it is a directory it can be entered.
    Met(Item),
    /// It left a directory that had been entered; the walk stands in the one that holds it.
    Left(Vec<u8>),
    /// It is reading a directory.
    Reading,
}

/// An entry that a walk met.
pub(crate) struct Item {
    pub(crate) name: Vec<u8>,
    pub(crate) path: Vec<u8>,
    pub(crate) meta: Meta,
    /// Whether the directory that holds it was entered as covered.
    pub(crate) covered: bool,
}

impl Walk {
    /// A walk below an open directory. `covered` is what its entries say of themselves in [`Item::covered`].
    pub(crate) fn new(dir: OwnedFd, path: &[u8], batch: usize, covered: bool) -> Self {
        let frames = vec![Frame::new(dir, path.to_vec(), Vec::new(), covered)];
        Self { frames, batch, buffer: Vec::with_capacity(READ_A_STEP) }
    }

    /// Goes one step on; `None` at the end.
    pub(crate) fn step(&mut self) -> Result<Option<Step>, Fault> {
        self.step_among(|_| true)
    }

    /// The same where only some entries are met. The others cost no memory and no further look: they are dropped by what
    /// the directory says of them. It must be the same ones in every step.
    pub(crate) fn step_among(
        &mut self,
        mut is_met: impl FnMut(&Named<'_>) -> bool,
    ) -> Result<Option<Step>, Fault> {
        loop {
            let Some(frame) = self.frames.last_mut() else { return Ok(None) };
            if let Some(name) = frame.names.pop() {
                frame.done = Bound::Excluded(name.clone());
                match frame.item(name) {
                    Ok(item) => return Ok(Some(Step::Met(item))),
                    // It is gone since the directory was read.
                    Err(Errno::NOENT) => {}
                    Err(e) => return Err(read_failed("look into", &frame.path, e)),
                }
            } else if frame.complete {
                let name = self.frames.pop().map(|left| left.name).unwrap_or_default();
                return Ok(if self.frames.is_empty() { None } else { Some(Step::Left(name)) });
            } else {
                let read = frame.read(self.batch, &mut self.buffer, &mut is_met);
                read.map_err(|e| read_failed("read the directory", &frame.path, e))?;
                return Ok(Some(Step::Reading));
            }
        }
    }

    /// Enters the directory that was met last. It is entered as what was met, or not at all: another inode is refused,
    /// and so is what is mounted on it (`EXDEV`).
    pub(crate) fn enter(&mut self, item: &Item, covered: bool) -> Result<(), Errno> {
        let Some(frame) = self.frames.last() else { return Err(Errno::NOENT) };
        if self.frames.len() >= MAX_DEPTH {
            return Err(Errno::MLINK);
        }
        let fd = open_directory(&frame.fd, &item.name)?;
        if !Meta::of(&fd)?.same(&item.meta) {
            return Err(Errno::STALE);
        }
        self.frames.push(Frame::new(fd, item.path.clone(), item.name.clone(), covered));
        Ok(())
    }

    /// Goes on at `name` in the directory where the walk stands, or behind it; and tells what has that name now.
    pub(crate) fn seek(&mut self, name: &[u8], included: bool) -> Option<Item> {
        let frame = self.frames.last_mut()?;
        frame.done = if included { Bound::Included(name.to_vec()) } else { Bound::Excluded(name.to_vec()) };
        frame.item(name.to_vec()).ok()
    }

    /// The directory where the walk stands.
    pub(crate) fn dir(&self) -> Option<&OwnedFd> {
        self.frames.last().map(|frame| &frame.fd)
    }

    /// Whether the directory where the walk stands was entered as covered.
    pub(crate) fn is_covered(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.covered)
    }

    /// How many directories were entered to get where the walk stands.
    pub(crate) fn depth(&self) -> usize {
        self.frames.len() - 1
    }
}

impl Frame {
    fn new(fd: OwnedFd, path: Vec<u8>, name: Vec<u8>, covered: bool) -> Self {
        let (names, complete, scan) = (Vec::new(), false, None);
        Self { fd, path, name, covered, done: Bound::Unbounded, names, complete, scan }
    }

    fn item(&self, name: Vec<u8>) -> Result<Item, Errno> {
        let meta = Meta::at(&self.fd, &name)?;
        Ok(Item { path: join(&self.path, &name), name, meta, covered: self.covered })
    }

    /// Reads on for the next names, the smallest `batch` of those that are not done.
    fn read(
        &mut self,
        batch: usize,
        buffer: &mut Vec<u8>,
        is_met: &mut impl FnMut(&Named<'_>) -> bool,
    ) -> Result<(), Errno> {
        let scan = match &mut self.scan {
            Some(scan) => scan,
            None => {
                seek(&self.fd, SeekFrom::Start(0))?;
                self.scan.insert(Scan::default())
            }
        };
        // It goes on where the descriptor stands, and is dropped only once all is taken from the buffer.
        let mut entries = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        loop {
            match entries.next() {
                Some(Ok(entry)) => {
                    let (dir, name) = (self.path.as_slice(), entry.file_name().to_bytes());
                    let is_done = match &self.done {
                        Bound::Unbounded => false,
                        Bound::Excluded(done) => name <= done.as_slice(),
                        Bound::Included(next) => name < next.as_slice(),
                    };
                    let is_self = name == b"." || name == b"..";
                    let file_type = entry.file_type();
                    if !is_done && !is_self && is_met(&Named { dir, name, file_type }) {
                        scan.offer(name, batch);
                    }
                }
                Some(Err(Errno::INTR)) => continue,
                // A directory that was removed has no entries.
                None | Some(Err(Errno::NOENT)) => {
                    self.complete = !scan.more;
                    self.names = std::mem::take(&mut scan.smallest).into_sorted_vec();
                    self.names.reverse();
                    self.scan = None;
                    return Ok(());
                }
                Some(Err(e)) => return Err(e),
            }
            if entries.is_buffer_empty() {
                return Ok(());
            }
        }
    }
}

/// One reading of a directory, under way.
#[derive(Default)]
struct Scan {
    /// The smallest names so far, the largest of them on top.
    smallest: BinaryHeap<Vec<u8>>,
    /// Whether there were others.
    more: bool,
}

impl Scan {
    fn offer(&mut self, name: &[u8], batch: usize) {
        if self.smallest.len() < batch {
            self.smallest.push(name.to_vec());
            return;
        }
        self.more = true;
        if let Some(mut largest) = self.smallest.peek_mut()
            && name < largest.as_slice()
        {
            *largest = name.to_vec();
        }
    }
}

/// Lets others run, and ends work that is to stop.
pub(crate) struct Pace<'a> {
    cx: &'a Context,
    turn: Instant,
}

impl<'a> Pace<'a> {
    pub(crate) fn new(cx: &'a Context) -> Self {
        Self { cx, turn: Instant::now() }
    }

    /// One step of work was done.
    pub(crate) async fn step(&mut self) -> Result<(), Fault> {
        if self.turn.elapsed() >= TURN {
            tokio::task::yield_now().await;
            self.turn = Instant::now();
        }
        self.cx.stopped().map_or(Ok(()), Err)
    }
}

/// Whether the policy permits these effects on something below a directory for which [`covers`] answered `covered`. That
/// a file has other names is asked about whatever the policy covers.
pub(crate) fn permits(
    cx: &Context,
    covered: bool,
    meta: &Meta,
    effects: impl FnOnce() -> Vec<Effect>,
) -> bool {
    (covered && !meta.has_other_names())
        || effects().iter().all(|effect| (covered && effect.asks.is_none()) || cx.permits(effect))
}

/// Whether the policy provably answers for everything below as it does for these effects on the directory.
pub(crate) fn covers(cx: &Context, effects: &[Effect]) -> bool {
    effects.iter().all(|effect| cx.covers_subtree(effect))
}

/// Judges every entry below a directory before any of them is touched: one that is denied, or cannot be handled,
/// refuses them all.
pub(crate) async fn judge_all(
    cx: &Context,
    dir: OwnedFd,
    top: &[u8],
    top_effects: &[Effect],
    effects_of: impl Fn(&Item) -> Result<Vec<Effect>, Fault>,
) -> Result<(), Fault> {
    let mut pace = Pace::new(cx);
    let mut walk = Walk::new(dir, top, BATCH, covers(cx, top_effects));
    while let Some(step) = walk.step()? {
        pace.step().await?;
        let Step::Met(item) = step else { continue };
        let effects = effects_of(&item)?;
        if !permits(cx, item.covered, &item.meta, || effects.clone()) {
            return Err(Fault::denied(format!(
                "the policy does not permit this on \"{}\", so nothing below \"{}\" was touched",
                shown(&item.path),
                shown(top)
            )));
        }
        if item.meta.is_directory() {
            let covered = item.covered || covers(cx, &effects);
            walk.enter(&item, covered).map_err(|e| cannot_enter(&item.path, e))?;
        }
    }
    Ok(())
}

/// Why a directory of a tree was not entered, for an action that needs all of it.
pub(crate) fn cannot_enter(path: &[u8], e: Errno) -> Fault {
    match e {
        Errno::MLINK => Fault::new(
            READ_FAILED,
            format!("\"{}\" is nested deeper than {MAX_DEPTH} directories: name a deeper one", shown(path)),
        ),
        Errno::XDEV => Fault::denied(format!("something else is mounted on \"{}\"", shown(path))),
        Errno::STALE | Errno::LOOP | Errno::NOTDIR => crate::fault::target_changed(path),
        e => read_failed("enter", path, e),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, Mode, OFlags, openat};

    use super::*;

    /// The names that a walk meets that holds no more than `batch` of them.
    fn met(top: &std::path::Path, batch: usize, is_met: fn(&[u8]) -> bool) -> Vec<String> {
        let dir =
            openat(CWD, top, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut walk = Walk::new(dir, b"/top", batch, true);
        let mut met = Vec::new();
        while let Some(step) = walk.step_among(|named| is_met(named.name)).unwrap() {
            if let Step::Met(item) = step {
                met.push(String::from_utf8(item.name).unwrap());
            }
        }
        met
    }

    #[test]
    fn a_directory_of_more_names_than_are_held_is_read_again_from_its_start() {
        let top = tempfile::tempdir().unwrap();
        let names: Vec<_> = (0..1000).map(|n| format!("a-file-with-some-name-{n:04}")).collect();
        names.iter().rev().for_each(|name| fs::write(top.path().join(name), "").unwrap());
        for batch in [1000, 999, 300] {
            assert_eq!(met(top.path(), batch, |_| true), names, "{batch}");
        }
        assert_eq!(met(top.path(), 3, |name| name.ends_with(b"50")).len(), 10);
    }
}
