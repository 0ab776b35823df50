//! `fs.move`: one atomic rename, taken back where it moved something else than what was judged.

use llm_os_core::path::{WirePath, spell};
use llm_os_core::{Context, Effect, Effects, Fault, Verb};
use rustix::fs::{AtFlags, RenameFlags, unlinkat};
use rustix::io::Errno;

use crate::diff::{Before, Side, unified};
use crate::effects::effect_below;
use crate::fault::{WRITE_FAILED, already_exists, not_found, shown, target_changed, write_failed};
use crate::kernel::{FileKind, Meta};
use crate::output::Output;
use crate::roots::{Entry, Roots, Slot, is_below, sync};
use crate::stage::{open_to_sync, rename};
use crate::tree::{Item, judge_all};
use crate::undo::{Keep, is_kept};
use crate::write::writable_slot;

/// Something to move.
#[derive(Debug)]
pub(crate) struct Move {
    from: Slot,
    to: Slot,
    replace: bool,
}

/// Refuses to put something into itself.
pub(crate) fn check_apart(from: &[u8], to: &[u8]) -> Result<(), Fault> {
    if is_below(to, from) {
        return Err(Fault::invalid("to", format!("\"{}\" is \"{}\" or below it", shown(to), shown(from))));
    }
    Ok(())
}

impl Move {
    pub(crate) fn resolve(
        roots: &Roots,
        from: &WirePath,
        to: &WirePath,
        replace: bool,
    ) -> Result<Self, Fault> {
        let from = roots.entry(&from.bytes("from")?)?;
        let to = writable_slot(roots, to, "to")?;
        check_apart(&from.path(), &to.path())?;
        Ok(Self { from, to, replace })
    }

    pub(crate) fn effects(&self) -> Effects {
        Effects::one(self.from.effect(Verb::Observe))
            .and(self.from.effect(Verb::Destroy))
            .and(self.to.effect(Verb::Change))
    }

    /// What it would make of a file that it replaces.
    pub(crate) fn preview(&self, roots: &Roots) -> Result<Option<String>, Fault> {
        let (from, to) = (self.from.look()?, self.to.look()?);
        let judged = from.occupant.as_ref().ok_or_else(|| not_found(&from.path()))?;
        let Some(old) = to.occupant.as_ref() else { return Ok(None) };
        if !self.replace || judged.meta.kind != FileKind::Regular || old.meta.kind != FileKind::Regular {
            return Err(already_exists(&to.path(), "only a file replaces a file, and only with replace"));
        }
        Ok(Some(unified(&to.path(), &Side::of(roots, old)?, &Side::of(roots, judged)?)))
    }

    pub(crate) async fn run(self, roots: &Roots, cx: &Context, keep: &Keep<'_>) -> Result<Output, Fault> {
        let top = self.effects();
        let Self { from, to, replace } = self;
        let (from, to) = (from.entry()?, to.entry()?);
        let (source, target) = (from.path(), to.path());
        let judged = from.occupant.as_ref().ok_or_else(|| not_found(&source))?;
        roots.still_there(&from.dir)?;
        roots.still_there(&to.dir)?;
        if judged.meta.is_directory() {
            let dir = roots.reopen_directory(judged)?;
            let effects_on = |item: &Item| Ok(effects_on(item, &source, &target));
            judge_all(cx, dir, &source, top.as_slice(), effects_on).await?;
        }
        let (left, entered) = (open_to_sync(&from)?, open_to_sync(&to)?);
        match &to.occupant {
            None => put_new(&from, &to, &judged.meta, keep)?,
            Some(old) if replace => {
                let replaced = Before::open(cx, roots, Some(old));
                put_over(&from, &to, &judged.meta, &old.meta, keep)?;
                if let Some(replaced) = replaced {
                    let new = Side::of(roots, judged).map_err(|fault| fault.message.into_owned());
                    replaced.keep(&target, new);
                }
            }
            Some(_) => return Err(already_exists(&target, "give replace to put this one in its place")),
        }
        sync(&entered, &target)?;
        sync(&left, &source)?;
        Ok(Output::Move { from: spell(&source), to: spell(&target) })
    }
}

/// What a move does to an entry below a directory that moves.
pub(crate) fn effects_on(item: &Item, source: &[u8], target: &[u8]) -> Vec<Effect> {
    let moved = [target, &item.path[source.len()..]].concat();
    vec![
        effect_below(Verb::Observe, &item.path, Some(&item.meta)),
        effect_below(Verb::Destroy, &item.path, Some(&item.meta)),
        effect_below(Verb::Change, &moved, None),
    ]
}

fn put_new(from: &Entry, to: &Entry, judged: &Meta, keep: &Keep<'_>) -> Result<(), Fault> {
    keep.relocate(from, to, judged)?;
    let flags = RenameFlags::NOREPLACE;
    rename(&from.dir, &from.name, &to.dir, &to.name, flags).map_err(|e| failed(from, to, e))?;
    if is(to, judged) {
        return Ok(());
    }
    rename(&to.dir, &to.name, &from.dir, &from.name, flags).map_err(|e| failed(from, to, e))?;
    Err(target_changed(&from.path()))
}

fn put_over(from: &Entry, to: &Entry, judged: &Meta, old: &Meta, keep: &Keep<'_>) -> Result<(), Fault> {
    if judged.kind != FileKind::Regular || old.kind != FileKind::Regular {
        let message = format!("only a file replaces a file: remove \"{}\" first", shown(&to.path()));
        return Err(Fault::new(WRITE_FAILED, message));
    }
    let kept = keep.relocate(from, to, judged)?;
    let exchange = || {
        rename(&from.dir, &from.name, &to.dir, &to.name, RenameFlags::EXCHANGE)
            .map_err(|e| failed(from, to, e))
    };
    exchange()?;
    if !is(to, judged) || !is(from, old) || !is_kept(&kept, &from.dir, &from.name) {
        exchange()?;
        return Err(target_changed(&from.path()));
    }
    unlinkat(from.dir.fd(), from.name.as_slice(), AtFlags::empty())
        .map_err(|e| write_failed("remove what was replaced, now at", &from.path(), e))
}

/// Whether the entry's name now has this inode.
fn is(entry: &Entry, judged: &Meta) -> bool {
    Meta::at(entry.dir.fd(), &entry.name).is_ok_and(|found| found.same(judged))
}

fn failed(from: &Entry, to: &Entry, e: Errno) -> Fault {
    match e {
        Errno::XDEV => {
            let message = format!(
                "\"{}\" and \"{}\" are on different file systems: use fs.copy, then fs.remove",
                shown(&from.path()),
                shown(&to.path())
            );
            Fault::new(WRITE_FAILED, message)
        }
        Errno::EXIST => already_exists(&to.path(), "it appeared meanwhile"),
        Errno::NOENT => target_changed(&from.path()),
        e => write_failed("move", &from.path(), e),
    }
}
