//! Looking at what is there, node by node, for the journal and to compare it with the journal.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use llm_os_core::Fault;
use rustix::fs;

use super::node::{Bytes, Node, Tree, What};
use super::store::{Keeping, Pace, digest};
use crate::copy::open_met;
use crate::fault::{UNDO_UNAVAILABLE, read_failed, shown, target_changed};
use crate::kernel::{FileKind, Meta, open_directory};
use crate::tree::{BATCH, Item, Step as Walked, Walk, cannot_enter};

/// Everything at the entry `name` of `dir` and below it, spelled as lying at `path`. What files hold is kept where there is
/// something to keep it in, and else only digested. What is in `skipped` is left out, with all below it.
pub(crate) fn capture(
    dir: impl AsFd,
    name: &[u8],
    path: &[u8],
    mut keeping: Option<&mut Keeping<'_>>,
    skipped: &BTreeSet<Vec<u8>>,
    pace: Pace<'_>,
) -> Result<Tree, Fault> {
    let meta = Meta::at(&dir, name).map_err(|_| target_changed(path))?;
    let top = Item { name: name.to_vec(), path: path.to_vec(), meta, covered: true };
    check_kept(&top)?;
    let mut tree = vec![(Bytes(path.to_vec()), node(&dir, &top, keeping.as_deref_mut(), pace)?)];
    if !top.meta.is_directory() {
        return Ok(tree);
    }
    let below = open_directory(&dir, name).map_err(|e| cannot_enter(path, e))?;
    if !Meta::of(&below).is_ok_and(|found| found.same(&top.meta)) {
        return Err(target_changed(path));
    }
    let mut walk = Walk::new(below, path, BATCH, true);
    while let Some(step) = walk.step()? {
        pace()?;
        let Walked::Met(item) = step else { continue };
        if skipped.contains(&item.path) {
            continue;
        }
        check_kept(&item)?;
        let Some(dir) = walk.dir() else { continue };
        tree.push((Bytes(item.path.clone()), node(dir, &item, keeping.as_deref_mut(), pace)?));
        if item.meta.is_directory() {
            walk.enter(&item, true).map_err(|e| cannot_enter(&item.path, e))?;
        }
    }
    Ok(tree)
}

/// One entry, which must still be what was met.
pub(crate) fn node(
    dir: impl AsFd,
    item: &Item,
    keeping: Option<&mut Keeping<'_>>,
    pace: Pace<'_>,
) -> Result<Node, Fault> {
    let what = match item.meta.kind {
        FileKind::Regular => {
            let file = open_met(dir, item)?;
            let (sha256, bytes) = match keeping {
                Some(keeping) => keeping.keep(&file, pace)?,
                None => digest(&file, pace)?,
            };
            let now = Meta::of(&file).map_err(|e| read_failed("look at", &item.path, e))?;
            if (now.bytes, now.modified) != (item.meta.bytes, item.meta.modified) {
                return Err(target_changed(&item.path));
            }
            What::File { bytes, sha256 }
        }
        FileKind::Directory => What::Directory {},
        FileKind::Symlink => {
            let target = fs::readlinkat(dir, item.name.as_slice(), Vec::new())
                .map_err(|e| read_failed("read the symlink", &item.path, e))?;
            What::Symlink { target: Bytes(target.into_bytes()) }
        }
        FileKind::Special(_) => What::Other {},
    };
    Ok(Node::of(&item.meta, what))
}

fn check_kept(item: &Item) -> Result<(), Fault> {
    match item.meta.kind {
        FileKind::Regular | FileKind::Directory | FileKind::Symlink => Ok(()),
        FileKind::Special(what) => {
            let message = format!(
                "\"{}\" is {what}, which undo cannot bring back, so nothing was changed: leave it alone, or let the operator \
                 turn undo off in [capabilities.fs]",
                shown(&item.path)
            );
            Err(Fault::new(UNDO_UNAVAILABLE, message))
        }
    }
}

/// Whether everything is still as it was captured, as far as that can be told without reading files: what is there now has
/// the name `name`, and was captured at `path`.
pub(crate) fn is_still(dir: impl AsFd, name: &[u8], path: &[u8], tree: &Tree) -> bool {
    let mut expected = tree.iter();
    let mut as_expected = |path: &[u8], meta: &Meta| {
        expected.next().is_some_and(|(at, node)| at.0 == path && node.is_still(meta))
    };
    let Ok(top) = Meta::at(&dir, name) else { return false };
    if !as_expected(path, &top) {
        return false;
    }
    if top.is_directory() {
        let Ok(below) = open_directory(&dir, name) else { return false };
        let mut walk = Walk::new(below, path, BATCH, true);
        loop {
            match walk.step() {
                Ok(Some(Walked::Met(item))) => {
                    if !as_expected(&item.path, &item.meta)
                        || (item.meta.is_directory() && walk.enter(&item, true).is_err())
                    {
                        return false;
                    }
                }
                Ok(Some(Walked::Left(_) | Walked::Reading)) => {}
                Ok(None) => break,
                Err(_) => return false,
            }
        }
    }
    expected.next().is_none()
}
