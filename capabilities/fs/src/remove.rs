//! `fs.remove`: moved aside, compared, and only then gone.

use std::os::fd::{AsFd, OwnedFd};

use llm_os_core::path::{WirePath, spell};
use llm_os_core::{Context, Effect, Effects, Fault, Verb};
use rustix::fs::{AtFlags, Dir, unlinkat};
use rustix::io::Errno;

use crate::diff::{Before, Side, unified};
use crate::effects::effect_below;
use crate::fault::{WRITE_FAILED, not_found, shown, target_changed, write_failed};
use crate::kernel::{FileKind, Meta, open_directory};
use crate::output::Output;
use crate::roots::{Handle, Roots, Slot, sync};
use crate::stage::{Aside, open_to_sync};
use crate::tree::{BATCH, Item, Pace, Step, Walk, cannot_enter, covers, judge_all, permits};
use crate::undo::Keep;
use crate::undo::capture::is_still;

/// Something to remove.
#[derive(Debug)]
pub(crate) struct Remove {
    slot: Slot,
    recursive: bool,
}

impl Remove {
    pub(crate) fn resolve(roots: &Roots, path: &WirePath, recursive: bool) -> Result<Self, Fault> {
        Ok(Self { slot: roots.entry(&path.bytes("path")?)?, recursive })
    }

    pub(crate) fn effects(&self) -> Effects {
        Effects::one(self.slot.effect(Verb::Destroy))
    }

    /// What goes away, where it is a file.
    pub(crate) fn preview(&self, roots: &Roots) -> Result<Option<String>, Fault> {
        let entry = self.slot.look()?;
        let path = entry.path();
        let judged = entry.occupant.as_ref().ok_or_else(|| not_found(&path))?;
        match judged.meta.kind {
            FileKind::Regular => Ok(Some(unified(&path, &Side::of(roots, judged)?, &Side::Nothing))),
            FileKind::Directory | FileKind::Symlink | FileKind::Special(_) => Ok(None),
        }
    }

    pub(crate) async fn run(self, roots: &Roots, cx: &Context, keep: &Keep<'_>) -> Result<Output, Fault> {
        let top = self.slot.effect(Verb::Destroy);
        let entry = self.slot.entry()?;
        let path = entry.path();
        let judged = entry.occupant.as_ref().ok_or_else(|| not_found(&path))?;
        roots.still_there(&entry.dir)?;
        let is_directory = judged.meta.is_directory();
        let with_contents = is_directory && self.recursive;
        let parent = open_to_sync(&entry)?;
        if with_contents {
            let dir = roots.reopen_directory(judged)?;
            judge_all(cx, dir, &path, std::slice::from_ref(&top), |item| Ok(effects_on(item))).await?;
        }
        if is_directory && !self.recursive {
            check_empty(roots, judged)?;
        }
        let removed = Before::open(cx, roots, Some(judged));
        let kept = keep.remove(&entry)?;
        let aside = Aside::take(&entry, &judged.meta)?;
        if !kept.is_empty() && !is_still(&parent, aside.name(), &path, &kept) {
            return Err(target_changed(&path));
        }
        let mut entries = 1;
        if with_contents {
            let dir = open_directory(&parent, aside.name()).map_err(|e| cannot_enter(&path, e))?;
            if !Meta::of(&dir).is_ok_and(|meta| meta.same(&judged.meta)) {
                return Err(target_changed(&path));
            }
            entries += empty(cx, dir, &path, &top).await?;
        }
        aside.remove(is_directory)?;
        sync(&parent, &path)?;
        if let Some(removed) = removed {
            removed.keep(&path, Ok(Side::Nothing));
        }
        Ok(Output::Remove { path: spell(&path), entries })
    }
}

/// Refuses to remove what is in a directory unless that was asked for, before any of it is kept for undo.
fn check_empty(roots: &Roots, judged: &Handle) -> Result<(), Fault> {
    let failed = |e| write_failed("remove", &judged.path, e);
    for entry in Dir::read_from(roots.reopen_directory(judged)?).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Err(failed(Errno::NOTEMPTY));
        }
    }
    Ok(())
}

fn effects_on(item: &Item) -> Vec<Effect> {
    vec![effect_below(Verb::Destroy, &item.path, Some(&item.meta))]
}

/// Removes all that is in a directory. Entries that appeared since all were judged are judged here.
async fn empty(cx: &Context, dir: OwnedFd, path: &[u8], top: &Effect) -> Result<u64, Fault> {
    let mut pace = Pace::new(cx);
    let mut walk = Walk::new(dir, path, BATCH, covers(cx, std::slice::from_ref(top)));
    let mut removed = 0;
    let some_gone = |fault: Fault, removed: u64| match removed {
        0 => fault,
        _ => {
            let message = format!(
                "{}; {removed} entries below it are gone already, the rest is as it was",
                fault.message
            );
            Fault { message: message.into(), ..fault }.detail("removed", removed)
        }
    };
    loop {
        let step = pace.step().await.and_then(|()| walk.step()).map_err(|fault| some_gone(fault, removed))?;
        let Some(step) = step else { return Ok(removed) };
        if let Step::Met(item) = &step
            && !permits(cx, item.covered, &item.meta, || effects_on(item))
        {
            let message = format!(
                "\"{}\" appeared meanwhile, and the policy does not permit to remove it",
                shown(&item.path)
            );
            return Err(some_gone(Fault::denied(message), removed));
        }
        removed += take(&mut walk, step, |item| item.covered).map_err(|(at, e)| {
            let fault = match e {
                Errno::STALE => target_changed(&at),
                Errno::MLINK => Fault::new(WRITE_FAILED, format!("\"{}\" is nested too deeply", shown(&at))),
                e => write_failed("remove", &at, e),
            };
            some_gone(fault, removed)
        })?;
    }
}

/// Does what a step of a removal asks for; gives how many entries are gone.
fn take(walk: &mut Walk, step: Step, covered: impl Fn(&Item) -> bool) -> Result<u64, (Vec<u8>, Errno)> {
    match step {
        Step::Reading => Ok(0),
        Step::Met(item) if item.meta.is_directory() => {
            walk.enter(&item, covered(&item)).map(|()| 0).map_err(|e| (item.path, e))
        }
        Step::Met(item) => unlink(walk, &item.name, AtFlags::empty()).map_err(|e| (item.path, e)),
        Step::Left(name) => unlink(walk, &name, AtFlags::REMOVEDIR).map_err(|e| (name, e)),
    }
}

fn unlink(walk: &Walk, name: &[u8], flags: AtFlags) -> Result<u64, Errno> {
    let dir = walk.dir().ok_or(Errno::NOENT)?;
    unlinkat(dir, name, flags).map(|()| 1)
}

/// Removes a directory that this capability staged itself, in one go.
pub(crate) fn remove_now(dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let mut walk = Walk::new(open_directory(&dir, name)?, b"", BATCH, true);
    while let Some(step) = walk.step().map_err(|_| Errno::IO)? {
        take(&mut walk, step, |_| true).map_err(|(_, e)| e)?;
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR)
}
