//! Keeping what one change replaces: its contents first, then the line of the journal. What does not fit is refused, and what is
//! refused leaves nothing behind.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::MutexGuard;

use llm_os_core::Fault;
use llm_os_core::value::hex;
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::{Change, Index, Of, Run, Store, journal_name, line, unavailable};
use crate::fault::{TARGET_CHANGED, UNDO_QUOTA_EXCEEDED};
use crate::kernel::Meta;
use crate::stage::write_all;
use crate::undo::node::Step;

/// How much is read and written at once.
const CHUNK: usize = 256 << 10;

/// What one change replaces, while it is put into the store. Dropped before it is committed, it leaves nothing there.
pub(crate) struct Keeping<'a> {
    store: &'a Store,
    index: MutexGuard<'a, Index>,
    of: Of,
    pending: BTreeSet<String>,
}

impl Store {
    /// Begins to keep what a change replaces. Nobody else keeps anything meanwhile.
    pub(crate) fn begin(&self, of: Of) -> Keeping<'_> {
        Keeping { store: self, index: self.index(), of, pending: BTreeSet::new() }
    }
}

impl Keeping<'_> {
    /// Keeps what a file holds; gives its digest and length.
    pub(crate) fn keep(&mut self, file: impl AsFd, pace: Pace<'_>) -> Result<(String, u64), Fault> {
        let size = Meta::of(&file).map_err(|e| unavailable("look at what the change replaces", e))?.bytes;
        if size > self.store.quota {
            return Err(self.does_not_fit());
        }
        let (sha256, bytes) = digest(&file, pace)?;
        if !self.index.sizes.contains_key(&sha256) {
            self.make_room(bytes)?;
            self.copy(&file, &sha256, pace)?;
            self.index.sizes.insert(sha256.clone(), bytes);
            self.index.used += bytes;
        }
        self.pending.insert(sha256.clone());
        Ok((sha256, bytes))
    }

    fn copy(&self, file: impl AsFd, sha256: &str, pace: Pace<'_>) -> Result<(), Fault> {
        let cannot = |e| unavailable("keep what the change replaces", e);
        let contents = &self.store.contents;
        let name = format!("{sha256}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = fs::openat(contents, &name, flags, Mode::RUSR | Mode::WUSR).map_err(cannot)?;
        let mut now = Sha256::new();
        let copied = each_chunk(file, pace, |chunk| {
            now.update(chunk);
            write_all(&new, chunk).map_err(cannot)
        });
        let copied = copied.and_then(|()| {
            if hex(&now.finalize()) != sha256 {
                let message = "a file was written to while it was kept for undo, and was left alone: send the plan again";
                return Err(Fault::new(TARGET_CHANGED, message));
            }
            fs::fsync(&new).and_then(|()| fs::renameat(contents, &name, contents, sha256)).map_err(cannot)
        });
        if copied.is_err() {
            // The next start removes it, should this fail.
            let _ = fs::unlinkat(contents, &name, AtFlags::empty());
        }
        copied
    }

    /// Makes the change durable in the journal of its run. Only then may it be made.
    pub(crate) fn commit(mut self, change: &Change) -> Result<(), Fault> {
        let cannot = |e| unavailable("write the journal of undo", e);
        let known = self.index.number_of(&self.of);
        let mut text = if known.is_none() { line(&self.of) } else { Vec::new() };
        text.extend(line(change));
        // What an undo takes back may be kept already, for the run that it takes back.
        let stored = |sha256: &&str| self.index.sizes.contains_key(*sha256);
        let kept: BTreeSet<_> =
            change.steps.iter().flat_map(Step::kept).filter(stored).map(str::to_owned).collect();
        self.pending.extend(kept.iter().cloned());
        self.make_room(text.len() as u64)?;
        fs::fsync(&self.store.contents).map_err(cannot)?;
        let last = self.index.runs.last_key_value().map_or(0, |(number, _)| *number);
        let number = known.unwrap_or(last + 1);
        self.append(number, &text, known.is_none()).map_err(cannot)?;
        let of = self.of.clone();
        let run = self.index.runs.entry(number).or_insert(Run { of, bytes: 0, kept: BTreeSet::new() });
        run.bytes += text.len() as u64;
        run.kept.extend(kept);
        self.index.used += text.len() as u64;
        Ok(())
    }

    fn append(&self, number: u64, text: &[u8], is_new: bool) -> Result<(), Errno> {
        let journals = &self.store.journals;
        let name = journal_name(number);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(journals, &name, flags, Mode::RUSR | Mode::WUSR)?;
        let before = Meta::of(&file)?.bytes;
        let written = write_all(&file, text)
            .and_then(|()| fs::fdatasync(&file))
            .and_then(|()| if is_new { fs::fsync(journals) } else { Ok(()) });
        if written.is_err() {
            let _ = if is_new {
                fs::unlinkat(journals, &name, AtFlags::empty())
            } else {
                fs::ftruncate(&file, before)
            };
        }
        written
    }

    fn does_not_fit(&self) -> Fault {
        let quota = self.store.quota;
        let message = format!(
            "what this run replaces does not fit into undo_quota ({quota} bytes), so nothing was changed: change less in \
             one plan, or let the operator raise undo_quota in [capabilities.fs]"
        );
        Fault::new(UNDO_QUOTA_EXCEEDED, message).detail("quota", quota)
    }

    /// Drops the oldest runs until there is room for so many bytes more, unless what must stay leaves none: what this change
    /// keeps, and its own run.
    fn make_room(&mut self, bytes: u64) -> Result<(), Fault> {
        let quota = self.store.quota;
        if self.index.used.saturating_add(bytes) <= quota {
            return Ok(());
        }
        let own = self.index.number_of(&self.of).and_then(|number| self.index.runs.get(&number));
        let own_kept = own.map(|run| run.kept.clone()).unwrap_or_default();
        let staying: u64 = own_kept.union(&self.pending).map(|sha256| self.index.size_of(sha256)).sum();
        let staying = staying + own.map_or(0, |run| run.bytes);
        if staying.saturating_add(bytes) > quota {
            return Err(self.does_not_fit());
        }
        while self.index.used.saturating_add(bytes) > quota {
            let oldest = self.index.runs.iter().find(|(_, run)| run.of != self.of).map(|(number, _)| *number);
            let Some(oldest) = oldest else { break };
            fs::unlinkat(&self.store.journals, journal_name(oldest), AtFlags::empty())
                .map_err(|e| unavailable("drop the oldest run", e))?;
            self.index.used -= self.index.runs.remove(&oldest).map_or(0, |run| run.bytes);
            self.index.sweep(self.store, &self.pending)?;
        }
        Ok(())
    }
}

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        if let Err(fault) = self.index.sweep(self.store, &BTreeSet::new()) {
            tracing::warn!(fault = %fault, "What was kept for a change that was not made could not be dropped.");
        }
    }
}

/// Asked between the parts of long work; a fault ends it.
pub(crate) type Pace<'a> = &'a dyn Fn() -> Result<(), Fault>;

/// The digest and the length of what a file holds.
pub(crate) fn digest(file: impl AsFd, pace: Pace<'_>) -> Result<(String, u64), Fault> {
    digest_with(file, b"", pace)
}

/// The same of what a file holds once more is added to it.
pub(crate) fn digest_with(file: impl AsFd, added: &[u8], pace: Pace<'_>) -> Result<(String, u64), Fault> {
    let (mut digest, mut bytes) = (Sha256::new(), added.len() as u64);
    each_chunk(file, pace, |chunk| {
        digest.update(chunk);
        bytes += chunk.len() as u64;
        Ok(())
    })?;
    digest.update(added);
    Ok((hex(&digest.finalize()), bytes))
}

/// Reads a file from its start to its end.
pub(crate) fn each_chunk(
    file: impl AsFd,
    pace: Pace<'_>,
    mut each: impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    loop {
        pace()?;
        match rustix::io::pread(&file, &mut chunk, at) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                each(&chunk[..read])?;
                at += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(unavailable("read what undo needs", e)),
        }
    }
}
