//! Where what was replaced is kept: contents by their digest, and a journal for each run, in the host's own state.
//!
//! `contents/<sha-256>` holds what files held, `runs/<number>` the journal of a run, one JSON text a line. A line without its
//! end was never finished, so its change was never made. What stands in no journal is removed when the store is opened.

mod keeping;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use llm_os_core::{Fault, Principal};
use rustix::fs::{self, AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::node::Step;
use crate::fault::UNDO_UNAVAILABLE;
use crate::kernel::Meta;

pub(crate) use keeping::{Keeping, Pace, digest, digest_with, each_chunk};

/// The store, open.
#[derive(Debug)]
pub(crate) struct Store {
    contents: OwnedFd,
    journals: OwnedFd,
    quota: u64,
    index: Mutex<Index>,
}

/// What the store holds.
#[derive(Debug, Default)]
struct Index {
    /// The runs by their numbers, the oldest first.
    runs: BTreeMap<u64, Run>,
    /// The contents by their digests, and their sizes.
    sizes: BTreeMap<String, u64>,
    /// The bytes of all of it.
    used: u64,
}

#[derive(Debug)]
struct Run {
    of: Of,
    bytes: u64,
    kept: BTreeSet<String>,
}

/// Whose run a journal is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Of {
    pub(crate) run: String,
    uid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

/// What one action changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// Which action of its plan.
    pub(crate) index: usize,
    pub(crate) steps: Vec<Step>,
    /// New files, directories and symlinks of an undo, each with the one in whose place it stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) stands_for: Vec<(String, String)>,
}

impl Of {
    pub(crate) fn new(run: &str, caller: &Principal) -> Self {
        let session = caller.session.as_ref().map(|session| session.as_str().to_owned());
        Self { run: run.to_owned(), uid: caller.uid, session }
    }
}

impl Store {
    /// Opens the store below the host's state directory, and makes it where it is not there yet.
    pub(crate) fn open(state: &Path, quota: u64) -> Result<Self, Fault> {
        let cannot = |e| unavailable("open the store of undo in the state directory", e);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let state = fs::open(state, flags, Mode::empty()).map_err(cannot)?;
        let own =
            private_directory(&private_directory(&state, c"fs").map_err(cannot)?, c"undo").map_err(cannot)?;
        let contents = private_directory(&own, c"contents").map_err(cannot)?;
        let journals = private_directory(&own, c"runs").map_err(cannot)?;
        let store = Self { contents, journals, quota, index: Mutex::default() };
        store.recover()?;
        Ok(store)
    }

    /// The changes of a run, in the order in which they were made; `None` where this caller has no such run.
    pub(crate) fn changes(&self, of: &Of) -> Result<Option<Vec<Change>>, Fault> {
        let index = self.index();
        index.number_of(of).map(|number| self.read(number).map(|journal| journal.1)).transpose()
    }

    /// For each file, directory and symlink that an undo made: the one in whose place it stands.
    pub(crate) fn stand_ins(&self) -> Result<BTreeMap<String, String>, Fault> {
        let index = self.index();
        let mut found = BTreeMap::new();
        for number in index.runs.keys() {
            found.extend(self.read(*number)?.1.into_iter().flat_map(|change| change.stands_for));
        }
        Ok(found)
    }

    /// Opens what was kept under a digest.
    pub(crate) fn content(&self, sha256: &str) -> Result<OwnedFd, Fault> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(&self.contents, sha256, flags, Mode::empty())
            .map_err(|e| unavailable("open what was kept", e))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recover(&self) -> Result<(), Fault> {
        let cannot = |e| unavailable("read the store of undo", e);
        let mut index = self.index();
        for name in names(&self.journals).map_err(cannot)? {
            let number = name.parse().map_err(|_| damaged(&name))?;
            let bytes = Meta::at(&self.journals, name.as_bytes()).map_err(cannot)?.bytes;
            match self.read(number) {
                Ok((of, changes)) => {
                    let kept = changes.iter().flat_map(|change| &change.steps).flat_map(Step::kept);
                    let kept = kept.map(str::to_owned).collect();
                    index.runs.insert(number, Run { of, bytes, kept });
                }
                // Its first line was never finished.
                Err(_) if bytes == 0 || !self.ends_a_line(&name).map_err(cannot)? => {
                    fs::unlinkat(&self.journals, name, AtFlags::empty()).map_err(cannot)?;
                }
                Err(fault) => return Err(fault),
            }
        }
        for name in names(&self.contents).map_err(cannot)? {
            let bytes = Meta::at(&self.contents, name.as_bytes()).map_err(cannot)?.bytes;
            index.sizes.insert(name, bytes);
        }
        index.used =
            index.sizes.values().sum::<u64>() + index.runs.values().map(|run| run.bytes).sum::<u64>();
        index.sweep(self, &BTreeSet::new())
    }

    fn ends_a_line(&self, name: &str) -> Result<bool, Errno> {
        Ok(self.read_bytes(name)?.contains(&b'\n'))
    }

    fn read_bytes(&self, name: &str) -> Result<Vec<u8>, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.journals, name, flags, Mode::empty())?;
        let bytes = Meta::of(&file)?.bytes;
        crate::read::read_up_to(&file, 0, usize::try_from(bytes).unwrap_or(usize::MAX), bytes)
    }

    fn read(&self, number: u64) -> Result<(Of, Vec<Change>), Fault> {
        let name = journal_name(number);
        let text = self.read_bytes(&name).map_err(|e| unavailable("read the journal of a run", e))?;
        let mut lines = text.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n"));
        let of =
            lines.next().and_then(|line| serde_json::from_slice(line).ok()).ok_or_else(|| damaged(&name))?;
        let changes = lines.map(|line| serde_json::from_slice(line).map_err(|_| damaged(&name)));
        Ok((of, changes.collect::<Result<_, _>>()?))
    }
}

impl Index {
    fn number_of(&self, of: &Of) -> Option<u64> {
        self.runs.iter().find_map(|(number, run)| (run.of == *of).then_some(*number))
    }

    fn size_of(&self, sha256: &str) -> u64 {
        self.sizes.get(sha256).copied().unwrap_or(0)
    }

    /// Removes the contents that stand in no journal and are not `pending`.
    fn sweep(&mut self, store: &Store, pending: &BTreeSet<String>) -> Result<(), Fault> {
        let named: BTreeSet<_> = self.runs.values().flat_map(|run| &run.kept).collect();
        let stays = |sha256: &String| named.contains(sha256) || pending.contains(sha256);
        let unnamed: Vec<_> = self.sizes.keys().filter(|sha256| !stays(sha256)).cloned().collect();
        for sha256 in unnamed {
            fs::unlinkat(&store.contents, &sha256, AtFlags::empty())
                .map_err(|e| unavailable("drop what no run needs", e))?;
            self.used -= self.sizes.remove(&sha256).unwrap_or(0);
        }
        Ok(())
    }
}

/// A directory that only the host's user can enter; made where it is missing.
fn private_directory(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    match fs::mkdirat(&dir, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = fs::openat(&dir, name, flags, Mode::empty())?;
    fs::fchmod(&made, Mode::RWXU)?;
    Ok(made)
}

fn names(dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn journal_name(number: u64) -> String {
    format!("{number:020}")
}

fn line(entry: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(entry).expect("it has no maps with other keys than texts");
    line.push(b'\n');
    line
}

fn unavailable(doing: &str, e: Errno) -> Fault {
    let hint = if matches!(e, Errno::NOSPC | Errno::DQUOT) { ": free some space first" } else { "" };
    let message = format!("undo is on and the host cannot {doing}: {e}{hint}; nothing was changed");
    Fault::new(UNDO_UNAVAILABLE, message)
}

fn damaged(name: &str) -> Fault {
    let message = format!(
        "the journal {name} of undo is damaged: move it out of fs/undo/runs in the host's state directory, and start the host anew"
    );
    Fault::new(UNDO_UNAVAILABLE, message)
}
