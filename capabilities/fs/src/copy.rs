//! `fs.copy`: the copy is made under a temporary name and appears complete or not at all.

use std::os::fd::{AsFd, OwnedFd};

use llm_os_core::path::{WirePath, spell};
use llm_os_core::{Context, Effect, Effects, Fault, Verb};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use crate::diff::{Before, Side, again, unified};
use crate::effects::effect_below;
use crate::fault::{
    WRITE_FAILED, already_exists, not_found, read_failed, shown, target_changed, write_failed,
};
use crate::kernel::{FileKind, Meta, open_below, open_directory};
use crate::output::Output;
use crate::read::open_file;
use crate::relocate::check_apart;
use crate::roots::{Entry, Handle, Last, Place, Roots, Slot};
use crate::stage::{Staged, write_all};
use crate::tree::{BATCH, Item, Pace, Step, Walk, cannot_enter, covers, judge_all, permits};
use crate::undo::Keep;
use crate::write::writable_slot;

/// How much is read and written at once.
const CHUNK: usize = 256 << 10;

/// Something to copy.
#[derive(Debug)]
pub(crate) struct Copy {
    from: Place,
    to: Slot,
    recursive: bool,
    replace: bool,
}

#[derive(Default)]
struct Copied {
    entries: u64,
    bytes: u64,
}

impl Copy {
    pub(crate) fn resolve(
        roots: &Roots,
        from: &WirePath,
        to: &WirePath,
        recursive: bool,
        replace: bool,
    ) -> Result<Self, Fault> {
        let from = roots.place(&from.bytes("from")?, Last::Follow)?.file_or_directory()?;
        let to = writable_slot(roots, to, "to")?;
        if let Place::Found(from) = &from {
            check_apart(&from.path, &to.path())?;
        }
        Ok(Self { from, to, recursive, replace })
    }

    pub(crate) fn effects(&self) -> Effects {
        Effects::one(self.from.effect(Verb::Observe)).and(self.to.effect(Verb::Change))
    }

    /// What it would make of the file that is written.
    pub(crate) fn preview(&self, roots: &Roots) -> Result<Option<String>, Fault> {
        let to = self.to.look()?;
        let from = match &self.from {
            Place::Found(from) => from,
            Place::Missing(missing) => return Err(not_found(&missing.path())),
        };
        if from.meta.kind != FileKind::Regular {
            return Ok(None);
        }
        let path = to.path();
        let old = match &to.occupant {
            None => Side::Nothing,
            Some(old) if !self.replace || old.meta.is_directory() => return Err(is_taken(&path)),
            Some(old) => Side::of(roots, old)?,
        };
        Ok(Some(unified(&path, &old, &Side::of(roots, from)?)))
    }

    pub(crate) async fn run(self, roots: &Roots, cx: &Context, keep: &Keep<'_>) -> Result<Output, Fault> {
        let top = self.effects();
        let Self { from, to, recursive, replace } = self;
        let (from, to) = (from.found()?, to.entry()?);
        let target = to.path();
        roots.still_there(&to.dir)?;
        match &to.occupant {
            None => {}
            Some(old) if replace && !from.meta.is_directory() && !old.meta.is_directory() => {}
            Some(_) if replace => {
                let message = format!("only a file replaces a file: remove \"{}\" first", shown(&target));
                return Err(Fault::new(WRITE_FAILED, message));
            }
            Some(_) => return Err(is_taken(&target)),
        }
        let mut copied = Copied { entries: 1, bytes: 0 };
        if from.meta.is_directory() {
            if !recursive {
                let message = format!(
                    "\"{}\" is a directory: give recursive to copy all that is in it",
                    shown(&from.path)
                );
                return Err(Fault::new(WRITE_FAILED, message));
            }
            copy_directory(roots, cx, &from, &to, top.as_slice(), &mut copied, keep).await?;
        } else {
            let staged = Staged::file(&to)?;
            let (file, meta) = open_file(roots, &from)?;
            copied.bytes = pour(&file, staged.fd(), &target, &mut Pace::new(cx)).await?;
            staged.attribute(meta.permissions, to.occupant.as_ref().map(|old| &old.meta))?;
            let replaced = Before::open(cx, roots, to.occupant.as_ref());
            let new = replaced.as_ref().map(|_| again(staged.fd()));
            staged.publish(keep)?;
            if let (Some(replaced), Some(new)) = (replaced, new) {
                let new = new.and_then(|new| Side::of_file(&new)).map_err(|e| e.to_string());
                replaced.keep(&target, new);
            }
        }
        let (from, to) = (spell(&from.path), spell(&target));
        Ok(Output::Copy { from, to, entries: copied.entries, bytes: copied.bytes })
    }
}

/// Something is where the copy should be, and is not to be replaced.
fn is_taken(path: &[u8]) -> Fault {
    already_exists(path, "give replace to put this one in its place")
}

async fn copy_directory(
    roots: &Roots,
    cx: &Context,
    from: &Handle,
    to: &Entry,
    top: &[Effect],
    copied: &mut Copied,
    keep: &Keep<'_>,
) -> Result<(), Fault> {
    let (source, target) = (&from.path, &to.path());
    judge_all(cx, roots.reopen_directory(from)?, source, top, |item| match item.meta.kind {
        FileKind::Regular | FileKind::Directory | FileKind::Symlink => Ok(effects_on(item, source, target)),
        FileKind::Special(what) => {
            let message = format!("\"{}\" is {what}, which is not copied", shown(&item.path));
            Err(Fault::new(WRITE_FAILED, message))
        }
    })
    .await?;
    let staged = Staged::directory(to)?;
    fill(cx, roots.reopen_directory(from)?, source, &staged, target, top, copied).await?;
    staged.attribute(from.meta.permissions, None)?;
    staged.publish(keep)
}

/// Copies all that is in a directory into the staged one. What appeared since all was judged is judged here.
async fn fill(
    cx: &Context,
    dir: OwnedFd,
    source: &[u8],
    staged: &Staged<'_>,
    target: &[u8],
    top: &[Effect],
    copied: &mut Copied,
) -> Result<(), Fault> {
    let mut pace = Pace::new(cx);
    let mut walk = Walk::new(dir, source, BATCH, covers(cx, top));
    let staged_fd =
        rustix::io::fcntl_dupfd_cloexec(staged.fd(), 3).map_err(|e| write_failed("copy to", target, e))?;
    // The copies of the directories in which the walk stands, each with the permissions that it gets once it is full.
    let mut into = vec![(staged_fd, 0o700)];
    while let Some(step) = walk.step()? {
        pace.step().await?;
        let at = |path: &[u8]| [target, &path[source.len()..]].concat();
        match step {
            Step::Reading => {}
            Step::Left(_) => {
                if let Some((full, permissions)) = into.pop() {
                    let mode = Mode::from_raw_mode(permissions);
                    let done = fs::fchmod(&full, mode).and_then(|()| fs::fsync(&full));
                    done.map_err(|e| write_failed("copy a directory to", target, e))?;
                }
            }
            Step::Met(item) => {
                if !permits(cx, item.covered, &item.meta, || effects_on(&item, source, target)) {
                    let message =
                        format!("\"{}\" appeared meanwhile, and the policy denies it", shown(&item.path));
                    return Err(Fault::denied(message));
                }
                let (Some((parent, _)), Some(dir)) = (into.last(), walk.dir()) else { return Ok(()) };
                let path = at(&item.path);
                copied.entries += 1;
                match item.meta.kind {
                    FileKind::Directory => {
                        let failed = |e| write_failed("create", &path, e);
                        fs::mkdirat(parent, item.name.as_slice(), Mode::RWXU).map_err(failed)?;
                        let made = open_directory(parent, &item.name).map_err(failed)?;
                        into.push((made, u32::from(item.meta.permissions & 0o777)));
                        walk.enter(&item, item.covered).map_err(|e| cannot_enter(&item.path, e))?;
                    }
                    FileKind::Symlink => {
                        let link = fs::readlinkat(dir, item.name.as_slice(), Vec::new());
                        let link = link.map_err(|e| read_failed("read the symlink", &item.path, e))?;
                        let made = fs::symlinkat(link.as_c_str(), parent, item.name.as_slice());
                        made.map_err(|e| write_failed("create the symlink", &path, e))?;
                    }
                    FileKind::Regular => {
                        let file = open_met(dir, &item)?;
                        let new =
                            create_in(parent, &item.name).map_err(|e| write_failed("create", &path, e))?;
                        copied.bytes += pour(&file, &new, &path, &mut pace).await?;
                        let mode = Mode::from_raw_mode(u32::from(item.meta.permissions & 0o777));
                        let done = fs::fchmod(&new, mode).and_then(|()| fs::fsync(&new));
                        done.map_err(|e| write_failed("write", &path, e))?;
                    }
                    FileKind::Special(_) => return Err(target_changed(&item.path)),
                }
            }
        }
    }
    Ok(())
}

fn effects_on(item: &Item, source: &[u8], target: &[u8]) -> Vec<Effect> {
    let copy = [target, &item.path[source.len()..]].concat();
    vec![effect_below(Verb::Observe, &item.path, Some(&item.meta)), effect_below(Verb::Change, &copy, None)]
}

/// Opens the regular file that a walk met, exactly that one.
pub(crate) fn open_met(dir: impl AsFd, item: &Item) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let failed = |e| match e {
        Errno::LOOP | Errno::NOENT | Errno::NXIO => target_changed(&item.path),
        e => read_failed("open", &item.path, e),
    };
    let file = open_below(dir, &item.name, flags).map_err(failed)?;
    match Meta::of(&file) {
        Ok(meta) if meta.kind == FileKind::Regular && meta.same(&item.meta) => Ok(file),
        Ok(_) => Err(target_changed(&item.path)),
        Err(e) => Err(failed(e)),
    }
}

fn create_in(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
}

/// Copies what is in a file, chunk by chunk.
async fn pour(from: &OwnedFd, to: &OwnedFd, target: &[u8], pace: &mut Pace<'_>) -> Result<u64, Fault> {
    let mut chunk = vec![0; CHUNK];
    let mut poured = 0;
    loop {
        pace.step().await?;
        match rustix::io::read(from, &mut chunk) {
            Ok(0) => return Ok(poured),
            Ok(read) => {
                write_all(to, &chunk[..read]).map_err(|e| write_failed("write", target, e))?;
                poured += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(read_failed("read what is copied to", target, e)),
        }
    }
}
