//! Making what was imagined: all that is new is made first, under temporary names; then the undo is recorded; then there are
//! only renames, each of which can be taken back. What is to be gone is removed last.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use llm_os_core::Fault;
use llm_os_core::value::hex;
use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::capture::{capture, is_still};
use super::ground::{Ground, split};
use super::imagined::{Place, Seen, Target, conflict};
use super::node::{Node, Tree, What};
use super::store::{Change, Of, Pace, Store, each_chunk};
use crate::fault::{UNDO_UNAVAILABLE, WRITE_FAILED, shown, write_failed};
use crate::kernel::{Meta, open_without_symlinks};
use crate::remove::remove_now;
use crate::roots::{is_below, sync};
use crate::stage::{temporary_name, write_all};

/// Everything that an undo does, ready.
pub(crate) struct Performance<'a> {
    store: &'a Store,
    pace: Pace<'a>,
    made: Vec<Made>,
    /// Which ones the new directories are, by the paths that they get.
    inside: BTreeMap<Vec<u8>, String>,
    /// The directories that are there, by their paths.
    opened: BTreeMap<Vec<u8>, Arc<OwnedFd>>,
    stands_for: Vec<(String, String)>,
    /// What gives up its name: first what moves, then what is to be gone.
    leaving: Vec<Leaving>,
    moving: Vec<Moving>,
}

/// A name in an open directory.
struct Name {
    dir: Arc<OwnedFd>,
    name: Vec<u8>,
}

/// Something new under a temporary name. Dropped before it is in its place, it is removed.
struct Made {
    path: Vec<u8>,
    temporary: Name,
    name: Vec<u8>,
    /// Whether it changes places with what has its name.
    exchanged: bool,
    in_place: bool,
}

/// Something that gives up its name for a temporary one.
struct Leaving {
    path: Vec<u8>,
    at: Name,
    temporary: Vec<u8>,
    meta: Meta,
    moves: bool,
    /// Whether something new takes its place in the same moment.
    exchanged: bool,
}

/// Something that moves to `path`.
struct Moving {
    path: Vec<u8>,
    real: Vec<u8>,
    to: Name,
}

/// A rename that was done.
type Done<'p> = (&'p OwnedFd, &'p [u8], &'p OwnedFd, &'p [u8], RenameFlags);

impl<'a> Performance<'a> {
    /// Makes all that is new, and opens all that changes its name. Nothing that was there is touched.
    pub(crate) fn prepare(
        ground: &Ground<'_>,
        store: &'a Store,
        targets: &[Target],
        pace: Pace<'a>,
    ) -> Result<Self, Fault> {
        let (made, inside, stands_for) = (Vec::new(), BTreeMap::new(), Vec::new());
        let (opened, leaving, moving) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut this = Self { store, pace, made, inside, opened, stands_for, leaving, moving };
        let mut sources = BTreeSet::new();
        for target in targets {
            if let Seen::Real(real) = &target.seen
                && sources.insert(real.clone())
                && this.leaves(ground, real, true)?.is_none()
            {
                return Err(conflict(real));
            }
        }
        for target in targets {
            let leaves = match target.now().filter(|now| !sources.contains(now)) {
                Some(now) => this.leaves(ground, &now, false)?,
                None => None,
            };
            match &target.seen {
                Seen::Missing => {}
                Seen::Real(real) => {
                    let (path, real) = (target.path.clone(), real.clone());
                    let dir = this.directory(ground, &target.place)?;
                    let to = Name { dir, name: split(&path).1.to_vec() };
                    this.moving.push(Moving { path, real, to });
                }
                Seen::Kept(node) => this.make(ground, target, node, leaves)?,
            }
        }
        for target in targets.iter().rev() {
            if let Seen::Kept(node) = &target.seen
                && node.is_directory()
            {
                let directory = this.new_directory(&target.path)?;
                let done = attribute(&directory, node).and_then(|()| fs::fsync(&directory));
                done.map_err(|e| write_failed("restore the directory", &target.path, e))?;
            }
        }
        Ok(this)
    }

    /// Keeps what will be gone, records the undo, and puts everything into its place: all of it, or nothing.
    pub(crate) fn commit(mut self, of: Of, mut change: Change) -> Result<(), Fault> {
        change.stands_for = std::mem::take(&mut self.stands_for);
        let moving: BTreeSet<_> =
            self.leaving.iter().filter(|leaving| leaving.moves).map(|leaving| leaving.path.clone()).collect();
        let mut keeping = self.store.begin(of);
        let mut gone = Vec::new();
        for leaving in self.leaving.iter().filter(|leaving| !leaving.moves) {
            let Leaving { path, at, .. } = leaving;
            let tree = capture(&at.dir, &at.name, path, Some(&mut keeping), &moving, self.pace)?;
            gone.push((leaving, tree));
        }
        keeping.commit(&change)?;
        let mut done = Vec::new();
        let renamed = self.rename_all(&gone, &mut done);
        // Where a rename could not be taken back, nothing is removed: it may be what was there before.
        let in_place = renamed.is_ok() || !take_back(&done);
        drop((done, gone));
        self.made.iter_mut().for_each(|made| made.in_place = in_place);
        renamed?;
        self.clean_up()
    }

    /// Notes that what is at a path, if anything, gives up its name.
    fn leaves(&mut self, ground: &Ground<'_>, path: &[u8], moves: bool) -> Result<Option<Meta>, Fault> {
        let Some((dir, item)) = ground.item(path)? else { return Ok(None) };
        let dir = self.opened.entry(split(path).0.to_vec()).or_insert_with(|| Arc::new(dir)).clone();
        self.leaving.push(Leaving {
            path: path.to_vec(),
            at: Name { dir, name: item.name },
            temporary: temporary_name()?,
            meta: item.meta.clone(),
            moves,
            exchanged: false,
        });
        Ok(Some(item.meta))
    }

    /// The directory in which a name changes, old or new.
    fn directory(&mut self, ground: &Ground<'_>, place: &Place) -> Result<Arc<OwnedFd>, Fault> {
        match place {
            Place::Kept(path) => self.new_directory(path).map(Arc::new),
            Place::Real(path) => match self.opened.get(path) {
                Some(dir) => Ok(dir.clone()),
                None => {
                    let dir = Arc::new(ground.directory(path).map_err(|_| conflict(path))?);
                    self.opened.insert(path.clone(), dir.clone());
                    Ok(dir)
                }
            },
        }
    }

    /// Opens a directory that was made, by the path that it gets. None of them stays open: there can be many.
    fn new_directory(&self, path: &[u8]) -> Result<OwnedFd, Fault> {
        let top =
            self.made.iter().rev().find(|made| is_below(path, &made.path)).ok_or_else(|| conflict(path))?;
        let now = [top.temporary.name.as_slice(), &path[top.path.len()..]].concat();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let failed = |e| write_failed("restore the directory", path, e);
        let dir = open_without_symlinks(&top.temporary.dir, &now, flags).map_err(failed)?;
        match Meta::of(&dir) {
            Ok(meta) if self.inside.get(path).is_some_and(|id| *id == meta.id()) => Ok(dir),
            Ok(_) => Err(conflict(path)),
            Err(e) => Err(failed(e)),
        }
    }

    /// Makes one thing that the store holds: under a temporary name where its directory is there, else in the new directory.
    fn make(
        &mut self,
        ground: &Ground<'_>,
        target: &Target,
        node: &Node,
        leaves: Option<Meta>,
    ) -> Result<(), Fault> {
        let failed = |e| write_failed("restore", &target.path, e);
        let name = split(&target.path).1.to_vec();
        let dir = self.directory(ground, &target.place)?;
        let made_name = match target.place {
            Place::Kept(_) => name,
            Place::Real(_) => {
                let is_file = matches!(node.what, What::File { .. });
                let exchanged = is_file && leaves.is_some_and(|meta| !meta.is_directory());
                let temporary = temporary_name()?;
                if let Some(leaving) = self.leaving.last_mut().filter(|_| exchanged) {
                    leaving.temporary.clone_from(&temporary);
                    leaving.exchanged = true;
                }
                let at = Name { dir: dir.clone(), name: temporary.clone() };
                let path = target.path.clone();
                self.made.push(Made { path, temporary: at, name, exchanged, in_place: false });
                temporary
            }
        };
        match &node.what {
            What::File { sha256, .. } => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mode = Mode::RUSR | Mode::WUSR;
                let new = fs::openat(&dir, made_name.as_slice(), flags, mode).map_err(failed)?;
                self.fill(&new, sha256, &target.path)?;
                attribute(&new, node).and_then(|()| fs::fsync(&new)).map_err(failed)?;
            }
            What::Directory {} => {
                fs::mkdirat(&dir, made_name.as_slice(), Mode::RWXU).map_err(failed)?;
                let new = Meta::at(&dir, &made_name).map_err(failed)?;
                self.inside.insert(target.path.clone(), new.id());
            }
            What::Symlink { target: text } => {
                fs::symlinkat(text.0.as_slice(), &dir, made_name.as_slice()).map_err(failed)?;
                attribute_symlink(&dir, &made_name, node).map_err(failed)?;
            }
            What::Other {} => {
                let message = format!("\"{}\" is nothing that undo can make", shown(&target.path));
                return Err(Fault::new(WRITE_FAILED, message));
            }
        }
        let new = Meta::at(&dir, &made_name).map_err(failed)?;
        self.stands_for.push((new.id(), node.id.clone()));
        Ok(())
    }

    fn fill(&self, new: &OwnedFd, sha256: &str, path: &[u8]) -> Result<(), Fault> {
        let mut digest = Sha256::new();
        each_chunk(self.store.content(sha256)?, self.pace, |chunk| {
            digest.update(chunk);
            write_all(new, chunk).map_err(|e| write_failed("restore", path, e))
        })?;
        if hex(&digest.finalize()) == sha256 {
            return Ok(());
        }
        let message = format!("what was kept of \"{}\" is damaged, so nothing was undone", shown(path));
        Err(Fault::new(UNDO_UNAVAILABLE, message))
    }

    /// All renames, what holds before what it holds; then what is to be gone is compared with what was kept of it.
    fn rename_all<'p>(&'p self, gone: &[(&'p Leaving, Tree)], done: &mut Vec<Done<'p>>) -> Result<(), Fault> {
        for leaving in &self.leaving {
            let flags = if leaving.exchanged { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
            let Leaving { path, at, temporary, meta, .. } = leaving;
            let rename: Done<'p> = if leaving.exchanged {
                (&at.dir, temporary.as_slice(), &at.dir, at.name.as_slice(), flags)
            } else {
                (&at.dir, at.name.as_slice(), &at.dir, temporary.as_slice(), flags)
            };
            perform(rename, path, done)?;
            if !Meta::at(&at.dir, temporary).is_ok_and(|found| found.same(meta)) {
                return Err(conflict(path));
            }
        }
        let mut coming: Vec<(&[u8], Done<'p>)> = Vec::new();
        for Made { path, temporary, name, .. } in self.made.iter().filter(|made| !made.exchanged) {
            let Name { dir, name: temporary } = temporary;
            coming.push((path, (dir, temporary, dir, name, RenameFlags::NOREPLACE)));
        }
        for Moving { path, real, to } in &self.moving {
            let leaving = self.leaving.iter().find(|leaving| leaving.moves && leaving.path == *real);
            let Leaving { at, temporary, .. } = leaving.ok_or_else(|| conflict(real))?;
            coming.push((path, (&at.dir, temporary, &to.dir, &to.name, RenameFlags::NOREPLACE)));
        }
        coming.sort_by_key(|(path, _)| *path);
        for (path, rename) in coming {
            perform(rename, path, done)?;
        }
        for (leaving, tree) in gone {
            if !is_still(&leaving.at.dir, &leaving.temporary, &leaving.path, tree) {
                return Err(conflict(&leaving.path));
            }
        }
        Ok(())
    }

    /// Removes what gave up its name for good, and makes all of it durable.
    fn clean_up(&self) -> Result<(), Fault> {
        for Leaving { path, at, temporary, meta, .. } in self.leaving.iter().filter(|leaving| !leaving.moves)
        {
            let removed = if meta.is_directory() {
                remove_now(&at.dir, temporary)
            } else {
                fs::unlinkat(&at.dir, temporary.as_slice(), AtFlags::empty())
            };
            removed.map_err(|e| write_failed("remove what is undone, once at", path, e))?;
        }
        let left = self.leaving.iter().map(|leaving| (&leaving.at.dir, &leaving.path));
        let entered = self.moving.iter().map(|moving| (&moving.to.dir, &moving.path));
        let made = self.made.iter().map(|made| (&made.temporary.dir, &made.path));
        left.chain(entered).chain(made).try_for_each(|(dir, path)| sync(dir, path))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.in_place {
            return;
        }
        let Name { dir, name } = &self.temporary;
        let removed = match fs::unlinkat(dir, name.as_slice(), AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => remove_now(dir, name),
            other => other,
        };
        if let Err(e) = removed.or_else(|e| if e == Errno::NOENT { Ok(()) } else { Err(e) }) {
            tracing::warn!(error = %e, "A temporary file could not be removed.");
        }
    }
}

fn perform<'p>(rename: Done<'p>, path: &[u8], done: &mut Vec<Done<'p>>) -> Result<(), Fault> {
    let (from, name, to, new, flags) = rename;
    fs::renameat_with(from, name, to, new, flags).map_err(|e| match e {
        Errno::NOENT | Errno::EXIST => conflict(path),
        e => write_failed("restore", path, e),
    })?;
    done.push(rename);
    Ok(())
}

/// Takes renames back, the last one first; tells whether all could be.
fn take_back(done: &[Done<'_>]) -> bool {
    let mut all = true;
    for (from, name, to, new, flags) in done.iter().rev() {
        if let Err(e) = fs::renameat_with(to, *new, from, *name, *flags) {
            all = false;
            tracing::error!(error = %e, name = %String::from_utf8_lossy(name), "A rename of an undo could not be taken back.");
        }
    }
    all
}

/// Gives a new file or directory the owner, the permissions and the time of what it restores.
fn attribute(new: &OwnedFd, node: &Node) -> Result<(), Errno> {
    let own = Meta::of(new)?;
    if (own.uid, own.gid) != (node.uid, node.gid) {
        fs::fchown(new, Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid)))?;
    }
    fs::fchmod(new, Mode::from_raw_mode(node.permissions.into()))?;
    fs::futimens(new, &times(node))
}

fn attribute_symlink(dir: &OwnedFd, name: &[u8], node: &Node) -> Result<(), Errno> {
    let own = Meta::at(dir, name)?;
    if (own.uid, own.gid) != (node.uid, node.gid) {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    fs::utimensat(dir, name, &times(node), AtFlags::SYMLINK_NOFOLLOW)
}

fn times(node: &Node) -> Timestamps {
    let (seconds, nanos) = node.modified;
    let last_access = Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT };
    let last_modification = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access, last_modification }
}
