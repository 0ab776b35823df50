//! What is in a store, by digest and by age, without looking at the disk.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use crate::evidence::Sha256Bytes;

/// What a file takes at least, and in steps of what.
const BLOCK: u64 = 4096;

/// What so many bytes count.
pub(super) fn blocks(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(BLOCK).saturating_mul(BLOCK)
}

/// The files of a store.
#[derive(Default)]
pub(super) struct Index {
    files: HashMap<Sha256Bytes, Kept>,
    /// The oldest first.
    ages: BTreeMap<Age, Sha256Bytes>,
    used: u64,
    next: u64,
}

/// When a file was last named, and a number for those of the same time.
type Age = (SystemTime, u64);

struct Kept {
    bytes: u64,
    age: Age,
    /// This host wrote it since it started, and no one found it damaged.
    whole: bool,
}

impl Index {
    /// What all files count.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn holds(&self, sha256: &Sha256Bytes) -> bool {
        self.files.contains_key(sha256)
    }

    pub(super) fn insert(&mut self, sha256: Sha256Bytes, bytes: u64, time: SystemTime, whole: bool) {
        self.remove(&sha256);
        let age = (time, self.next);
        self.next += 1;
        self.used += blocks(bytes);
        self.ages.insert(age, sha256);
        self.files.insert(sha256, Kept { bytes, age, whole });
    }

    pub(super) fn remove(&mut self, sha256: &Sha256Bytes) {
        if let Some(kept) = self.files.remove(sha256) {
            self.ages.remove(&kept.age);
            self.used -= blocks(kept.bytes);
        }
    }

    /// Makes a file as young as a new one, where it need not be written again.
    pub(super) fn touch(&mut self, sha256: &Sha256Bytes, now: SystemTime) -> bool {
        match self.files.get(sha256) {
            Some(Kept { bytes, whole: true, .. }) => {
                self.insert(*sha256, *bytes, now, true);
                true
            }
            Some(Kept { whole: false, .. }) | None => false,
        }
    }

    /// The next time that it is kept it is written again.
    pub(super) fn damaged(&mut self, sha256: &Sha256Bytes) {
        if let Some(kept) = self.files.get_mut(sha256) {
            kept.whole = false;
        }
    }

    pub(super) fn oldest(&self) -> Option<Sha256Bytes> {
        self.ages.values().next().copied()
    }

    /// The oldest, if it was last named before a time.
    pub(super) fn oldest_before(&self, time: SystemTime) -> Option<Sha256Bytes> {
        self.ages.first_key_value().filter(|((named, _), _)| *named < time).map(|(_, sha256)| *sha256)
    }
}
