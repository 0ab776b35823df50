//! What `.gitignore` files say on the way of a walk, read through the walk's own descriptors.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::copy::open_met;
use crate::kernel::{FileKind, Meta};
use crate::read::read_up_to;
use crate::roots::join;
use crate::tree::{Item, Walk};

/// The longest `.gitignore` that is honoured.
const MAX_BYTES: usize = 256 << 10;

/// The rules of the directories in which a walk stands.
pub(crate) struct Ignored {
    frames: Vec<(Vec<u8>, Option<Gitignore>)>,
    active: bool,
}

impl Ignored {
    /// With `active` false nothing is ignored.
    pub(crate) fn new(active: bool) -> Self {
        Self { frames: Vec::new(), active }
    }

    /// The walk entered the directory at `path`: reads its rules, where they may be read.
    pub(crate) fn entered(&mut self, walk: &Walk, path: &[u8], may_read: impl Fn(&Item) -> bool) {
        let rules = if self.active { rules_of(walk, path, may_read) } else { None };
        self.frames.push((path.to_vec(), rules));
    }

    /// The walk left the directory that was entered last.
    pub(crate) fn left(&mut self) {
        self.frames.pop();
    }

    /// Whether an entry is ignored; the nearest rule that speaks of it decides.
    pub(crate) fn covers(&self, item: &Item) -> bool {
        if !self.active {
            return false;
        }
        if item.name == b".git" {
            return true;
        }
        let nearest = self.frames.iter().rev().find_map(|(top, rules)| {
            let below = item.path.get(top.len()..)?;
            let below = Path::new(OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(below)));
            let rule = rules.as_ref()?.matched(below, item.meta.is_directory());
            (!rule.is_none()).then(|| rule.is_ignore())
        });
        nearest.unwrap_or(false)
    }
}

fn rules_of(walk: &Walk, path: &[u8], may_read: impl Fn(&Item) -> bool) -> Option<Gitignore> {
    let dir = walk.dir()?;
    let name = b".gitignore".to_vec();
    let meta = Meta::at(dir, &name).ok().filter(|meta| meta.kind == FileKind::Regular)?;
    let item = Item { path: join(path, &name), name, meta, covered: walk.is_covered() };
    if !may_read(&item) {
        return None;
    }
    let text = read_up_to(&open_met(dir, &item).ok()?, 0, MAX_BYTES, item.meta.bytes).ok()?;
    let mut builder = GitignoreBuilder::new("");
    for line in String::from_utf8_lossy(&text).lines() {
        // A line that is no glob says nothing, as in git.
        let _ = builder.add_line(None, line);
    }
    builder.build().ok()
}
