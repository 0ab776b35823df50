//! Keeping what every change replaces, and `fs.undo`, which puts it back.
//!
//! From the bottom up: `node` is what the journal says, `store` is where it and the contents lie, `capture` looks at what is
//! there, `imagined` is the tree as it would be once steps were taken back, `ground` opens what is really there, `restore`
//! makes the one of the other, `told` tells what that makes of files.

pub(crate) mod capture;
mod ground;
mod imagined;
pub(crate) mod node;
mod perform;
mod restore;
mod store;
mod told;

use std::collections::BTreeSet;

use llm_os_core::{Context, Fault};
use rustix::fs::OFlags;

pub(crate) use restore::{Undo, check_run, off, unknown};
pub(crate) use store::Store;

use crate::fault::target_changed;
use crate::kernel::Meta;
use crate::roots::{Entry, Handle, Roots};
use crate::tree::Item;
use capture::{capture, node};
use node::{Bytes, Node, Step, Tree, What};
use store::{Change, Keeping, Of, digest_with};

/// Why there is no undo, and what to do about it.
pub(crate) const OFF: &str = "undo is off: the operator turns it on with undo = true in [capabilities.fs]";

/// What an action asks right before each of its changes: it keeps what will be replaced, and makes that durable. A fault means
/// that the change must not be made.
pub(crate) struct Keep<'a> {
    store: Option<&'a Store>,
    cx: &'a Context,
}

impl<'a> Keep<'a> {
    /// With a store where undo is on.
    pub(crate) fn new(store: Option<&'a Store>, cx: &'a Context) -> Self {
        Self { store, cx }
    }

    /// Something new, complete under the name `staged` beside it, is about to take the place of an entry. Gives what was kept.
    pub(crate) fn put(&self, place: &Entry, staged: &[u8]) -> Result<Tree, Fault> {
        let Some(store) = self.store else { return Ok(Tree::new()) };
        let path = place.path();
        let after = capture(place.dir.fd(), staged, &path, None, &BTreeSet::new(), &self.pace())?;
        let mut keeping = self.begin(store);
        let before = self.occupant(place, &mut keeping)?;
        let step = Step::Put { path: Bytes(path), before: before.clone(), after };
        self.commit(keeping, vec![step])?;
        Ok(before)
    }

    /// Bytes are about to be added to a file.
    pub(crate) fn append(&self, roots: &Roots, judged: &Handle, added: &[u8]) -> Result<(), Fault> {
        let Some(store) = self.store else { return Ok(()) };
        let (file, meta) = roots.reopen(judged, OFlags::RDONLY)?;
        let (after, length) = digest_with(&file, added, &self.pace())?;
        let mut keeping = self.begin(store);
        let (sha256, bytes) = keeping.keep(&file, &self.pace())?;
        let before = Node::of(&meta, What::File { bytes, sha256 });
        let now = Meta::of(&file).map_err(|_| target_changed(&judged.path))?;
        if (now.bytes, now.modified) != (meta.bytes, meta.modified) {
            return Err(target_changed(&judged.path));
        }
        let after = Node { what: What::File { bytes: length, sha256: after }, ..before.clone() };
        let path = Bytes(judged.path.clone());
        let step =
            Step::Put { before: vec![(path.clone(), before)], after: vec![(path.clone(), after)], path };
        self.commit(keeping, vec![step])
    }

    /// An entry is about to be removed, with all that is in it. Gives what was kept.
    pub(crate) fn remove(&self, place: &Entry) -> Result<Tree, Fault> {
        let Some(store) = self.store else { return Ok(Tree::new()) };
        let mut keeping = self.begin(store);
        let before = self.occupant(place, &mut keeping)?;
        let step = Step::Put { path: Bytes(place.path()), before: before.clone(), after: Tree::new() };
        self.commit(keeping, vec![step])?;
        Ok(before)
    }

    /// An entry is about to get the name of another, which is replaced where it is there. Gives what was kept.
    pub(crate) fn relocate(&self, from: &Entry, to: &Entry, judged: &Meta) -> Result<Tree, Fault> {
        let Some(store) = self.store else { return Ok(Tree::new()) };
        let (source, target) = (from.path(), to.path());
        let (name, path, meta) = (from.name.clone(), source.clone(), judged.clone());
        let item = Item { name, path, meta, covered: true };
        let moved = node(from.dir.fd(), &item, None, &self.pace())?;
        let mut keeping = self.begin(store);
        let before = self.occupant(to, &mut keeping)?;
        let step = Step::Move { from: Bytes(source), to: Bytes(target.clone()), moved };
        let steps = if before.is_empty() {
            vec![step]
        } else {
            vec![Step::Put { path: Bytes(target), before: before.clone(), after: Tree::new() }, step]
        };
        self.commit(keeping, steps)?;
        Ok(before)
    }

    fn begin(&self, store: &'a Store) -> Keeping<'a> {
        store.begin(Of::new(self.cx.run(), self.cx.principal()))
    }

    fn occupant(&self, place: &Entry, keeping: &mut Keeping<'_>) -> Result<Tree, Fault> {
        let Some(judged) = &place.occupant else { return Ok(Tree::new()) };
        let path = place.path();
        let tree =
            capture(place.dir.fd(), &place.name, &path, Some(keeping), &BTreeSet::new(), &self.pace())?;
        match tree.first() {
            Some((_, top)) if top.id == judged.meta.id() => Ok(tree),
            _ => Err(target_changed(&path)),
        }
    }

    fn commit(&self, keeping: Keeping<'_>, steps: Vec<Step>) -> Result<(), Fault> {
        keeping.commit(&Change { index: self.cx.index(), steps, stands_for: Vec::new() })
    }

    fn pace(&self) -> impl Fn() -> Result<(), Fault> {
        || self.cx.stopped().map_or(Ok(()), Err)
    }
}

/// Whether what has this name now is what was kept, as far as that can be told without reading it; true where undo is off.
pub(crate) fn is_kept(kept: &Tree, dir: &Handle, name: &[u8]) -> bool {
    kept.first().is_none_or(|(_, node)| Meta::at(dir.fd(), name).is_ok_and(|now| node.is_still(&now)))
}
