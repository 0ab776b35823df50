//! Files below configured roots: the `fs` capability.
//!
//! Four things hold here, and tests keep them:
//!
//! - No path of a plan is ever used as a path. It is looked up once, below a root's descriptor, by a lookup that cannot
//!   leave it (openat2(2)); everything after works on what that opened, and on single names in opened directories.
//! - What a policy is asked about is what the kernel says was opened, and what changes is compared with that before it is
//!   gone.
//! - Only regular files are read and written. There is no `unsafe` code.
//! - Where undo is on, nothing changes before what it replaces is kept, and the journal that says so is durable.
//!
//! From the outside in: [`Action`] and [`Output`] are the surface, `roots` opens, `effects` says what a policy is asked,
//! `stage` changes a name atomically, `diff` tells what that makes of a file, `tree` walks, `undo` keeps what is replaced and puts it back; the other modules are the
//! actions.
#![forbid(unsafe_code)]

mod action;
mod config;
mod copy;
mod diff;
mod edit;
mod effects;
mod fault;
mod filesystem;
mod ignored;
mod kernel;
mod list;
mod output;
mod page;
mod read;
mod relocate;
mod remove;
mod roots;
mod search;
mod spec;
mod stage;
mod tree;
mod undo;
mod write;

use llm_os_core::{
    ActionSpec, Capability, Context, Effectful, Effects, Fault, Granted, Preview, Principal, Registration,
    Setup,
};

pub use action::{Action, WriteMode};
pub use config::Config;
pub use output::{EntryType, Listed, Match, Output, Stat, StatMeta};

use roots::Roots;
use search::{Asked, Query};
use undo::{Keep, Store};

/// Files below the roots of a host.
#[derive(Debug)]
pub struct Fs {
    roots: Roots,
    /// Where what is replaced is kept, if undo is on.
    kept: Option<Store>,
}

llm_os_core::inventory::submit!(Registration::of::<Fs>());

/// An action with everything opened that it names.
#[derive(Debug)]
pub struct Resolved(Work);

#[derive(Debug)]
enum Work {
    Read(read::Read),
    Write(write::Write),
    Edit(edit::Edit),
    List(list::List),
    Stat(read::Stat),
    Search(search::Search),
    Mkdir(write::Mkdir),
    Move(relocate::Move),
    Copy(copy::Copy),
    Remove(remove::Remove),
    Undo(undo::Undo),
}

impl Effectful for Resolved {
    fn effects(&self) -> Effects {
        match &self.0 {
            Work::Read(work) => work.effects(),
            Work::Write(work) => work.effects(),
            Work::Edit(work) => work.effects(),
            Work::List(work) => work.effects(),
            Work::Stat(work) => work.effects(),
            Work::Search(work) => work.effects(),
            Work::Mkdir(work) => work.effects(),
            Work::Move(work) => work.effects(),
            Work::Copy(work) => work.effects(),
            Work::Remove(work) => work.effects(),
            Work::Undo(work) => work.effects(),
        }
    }
}

impl Capability for Fs {
    const NAME: &'static str = "fs";
    const ACTIONS: &'static [ActionSpec] = spec::ACTIONS;
    type Config = Config;
    type Action = Action;
    type Resolved = Resolved;
    type Output = Output;

    fn open(config: Config, setup: &Setup) -> Result<Self, Fault> {
        let kept = config.store(setup).map_err(Fault::keeps_host_from_starting)?;
        Ok(Self { roots: Roots::open(setup)?, kept })
    }

    fn lacks(&self, verb: &str) -> Option<String> {
        (verb == "undo" && self.kept.is_none()).then(|| undo::OFF.to_owned())
    }

    fn validate(&self, action: &Action) -> Result<(), Fault> {
        match action {
            Action::Read { path, offset: _, max_bytes } => {
                path.bytes("path")?;
                read::check_length(*max_bytes)?;
            }
            Action::Write { path, content, content_base64, mode, permissions } => {
                path.bytes("path")?;
                write::content(content.as_ref(), content_base64.as_ref())?;
                write::permissions_for(*mode, permissions.as_deref())?;
            }
            Action::Edit { path, old, new, expected, dry_run: _ } => {
                path.bytes("path")?;
                edit::check(old, new, *expected)?;
            }
            Action::List { path, depth, limit, next } => {
                path.bytes("path")?;
                list::check(*depth, *limit)?;
                next.as_deref().map(page::Cursor::decode).transpose()?;
            }
            Action::Stat { path } | Action::Remove { path, recursive: _ } => {
                path.bytes("path")?;
            }
            Action::Search { path, glob, pattern, ignore_case, include_ignored, max_results, next } => {
                path.bytes("path")?;
                Query::new(&Asked {
                    glob: glob.as_deref(),
                    pattern: pattern.as_deref(),
                    ignore_case: *ignore_case,
                    include_ignored: *include_ignored,
                    max_results: *max_results,
                    next: next.as_deref(),
                })?;
            }
            Action::Mkdir { path, parents: _, permissions } => {
                path.bytes("path")?;
                write::permissions(permissions)?;
            }
            Action::Move { from, to, replace: _ } | Action::Copy { from, to, recursive: _, replace: _ } => {
                from.bytes("from")?;
                to.bytes("to")?;
            }
            Action::Undo { run, index: _ } => undo::check_run(run)?,
        }
        Ok(())
    }

    fn resolve(&self, action: Action) -> Result<Resolved, Fault> {
        let roots = &self.roots;
        Ok(Resolved(match action {
            Action::Read { path, offset, max_bytes } => {
                Work::Read(read::Read::resolve(roots, &path, offset, max_bytes)?)
            }
            Action::Write { path, content, content_base64, mode, permissions } => {
                let content = write::content(content.as_ref(), content_base64.as_ref())?;
                let permissions = write::permissions_for(mode, permissions.as_deref())?;
                Work::Write(write::Write::resolve(roots, &path, content, mode, permissions)?)
            }
            Action::Edit { path, old, new, expected, dry_run } => {
                Work::Edit(edit::Edit::resolve(roots, &path, old, new, expected, dry_run)?)
            }
            Action::List { path, depth, limit, next } => {
                Work::List(list::List::resolve(roots, &path, depth, limit, next.as_deref())?)
            }
            Action::Stat { path } => Work::Stat(read::Stat::resolve(roots, &path)?),
            Action::Mkdir { path, parents, permissions } => {
                let permissions = write::permissions(&permissions)?;
                Work::Mkdir(write::Mkdir::resolve(roots, &path, parents, permissions)?)
            }
            Action::Move { from, to, replace } => {
                Work::Move(relocate::Move::resolve(roots, &from, &to, replace)?)
            }
            Action::Copy { from, to, recursive, replace } => {
                Work::Copy(copy::Copy::resolve(roots, &from, &to, recursive, replace)?)
            }
            Action::Remove { path, recursive } => {
                Work::Remove(remove::Remove::resolve(roots, &path, recursive)?)
            }
            Action::Search { path, glob, pattern, ignore_case, include_ignored, max_results, next } => {
                let (glob, pattern, next) = (glob.as_deref(), pattern.as_deref(), next.as_deref());
                let asked = Asked { glob, pattern, ignore_case, include_ignored, max_results, next };
                Work::Search(search::Search::resolve(roots, &path, Query::new(&asked)?)?)
            }
            Action::Undo { run, index: _ } => return Err(undo::unknown(&run)),
        }))
    }

    /// Runs belong to who sent them.
    fn resolve_for(&self, action: Action, caller: &Principal) -> Result<Resolved, Fault> {
        match action {
            Action::Undo { run, index } => {
                let kept = self.kept.as_ref().ok_or_else(undo::off)?;
                Ok(Resolved(Work::Undo(undo::Undo::resolve(&self.roots, kept, caller, run, index)?)))
            }
            other => self.resolve(other),
        }
    }

    /// What an action makes of the content of a file.
    fn preview(&self, resolved: &Resolved, _: &Principal) -> Vec<Preview> {
        let roots = &self.roots;
        diff::previewed(match &resolved.0 {
            Work::Write(work) => work.preview(roots),
            Work::Edit(work) => work.preview(roots),
            Work::Copy(work) => work.preview(roots),
            Work::Move(work) => work.preview(roots),
            Work::Remove(work) => work.preview(roots),
            Work::Read(_) | Work::List(_) | Work::Stat(_) | Work::Search(_) | Work::Mkdir(_) => Ok(None),
            Work::Undo(work) => self.kept.as_ref().map_or(Ok(None), |kept| work.preview(roots, kept)),
        })
    }

    async fn execute(&self, granted: Granted<Resolved>, cx: &Context) -> Result<Output, Fault> {
        let roots = &self.roots;
        let keep = &Keep::new(self.kept.as_ref(), cx);
        match granted.into_inner().0 {
            Work::Read(work) => work.run(roots),
            Work::Write(work) => work.run(roots, cx, keep),
            Work::Edit(work) => work.run(roots, cx, keep),
            Work::List(work) => work.run(roots, cx).await,
            Work::Stat(work) => work.run(),
            Work::Search(work) => work.run(roots, cx).await,
            Work::Mkdir(work) => work.run(roots, cx, keep),
            Work::Move(work) => work.run(roots, cx, keep).await,
            Work::Copy(work) => work.run(roots, cx, keep).await,
            Work::Remove(work) => work.run(roots, cx, keep).await,
            Work::Undo(work) => {
                let kept = self.kept.as_ref().ok_or_else(undo::off)?;
                work.run(roots, kept, cx).await
            }
        }
    }
}
