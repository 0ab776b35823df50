//! `fs.undo`: what it does is known from the journal, and judged before the tree is looked into.

use std::os::fd::OwnedFd;

use llm_os_core::error::excerpt;
use llm_os_core::evidence::{DIFF, DIFF_TYPE};
use llm_os_core::file::is_persistent;
use llm_os_core::path::spell;
use llm_os_core::{Code, Context, Effect, Effects, Fault, Principal, Verb};

use super::ground::Ground;
use super::imagined::{Imagined, Seen, Target};
use super::node::{Bytes, Node, Step, Tree};
use super::perform::Performance;
use super::store::{Change, Of, Store};
use super::told::diffs;
use crate::effects::effect_below;
use crate::fault::{NOT_FOUND, shown};
use crate::kernel::open_directory;
use crate::output::Output;
use crate::relocate;
use crate::roots::{Roots, Slot, is_below};
use crate::tree::{Item, cannot_enter, judge_all};

/// The longest id of a run.
const MAX_RUN: usize = 128;

/// Changes to take back.
#[derive(Debug)]
pub(crate) struct Undo {
    run: String,
    /// The last one first.
    steps: Vec<Step>,
    places: Vec<Slot>,
    effects: Effects,
}

/// Refuses what cannot be the id of a run.
pub(crate) fn check_run(run: &str) -> Result<(), Fault> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._:-".contains(&b);
    if run.is_empty() || run.len() > MAX_RUN || !run.bytes().all(fits) {
        let message = format!("\"{}\" is not the id of a run: give meta.run of the answer", excerpt(run));
        return Err(Fault::invalid("run", message));
    }
    Ok(())
}

/// Why there is no undo here.
pub(crate) fn off() -> Fault {
    Fault::new(Code::UNAVAILABLE, format!("fs.undo cannot be used here: {}", super::OFF))
}

impl Undo {
    pub(crate) fn resolve(
        roots: &Roots,
        store: &Store,
        caller: &Principal,
        run: String,
        index: Option<usize>,
    ) -> Result<Self, Fault> {
        let changes = store.changes(&Of::new(&run, caller))?.unwrap_or_default();
        let mut changes: Vec<_> =
            changes.into_iter().filter(|change| index.is_none_or(|index| change.index == index)).collect();
        changes.reverse();
        let steps: Vec<_> = changes.into_iter().flat_map(|change| change.steps.into_iter().rev()).collect();
        let mut places = Vec::new();
        let mut effects: Vec<Effect> = Vec::new();
        for (verb, path) in steps.iter().flat_map(stated) {
            roots.check_place(&path.0)?;
            // What leads elsewhere by now, or nowhere, is no place: should it be needed, that is a conflict.
            let place = roots.entry(&path.0).ok().filter(|place| place.path() == path.0);
            let effect = match &place {
                Some(place) => place.effect(verb),
                None => effect_below(verb, &path.0, None),
            };
            places.extend(place);
            if !effects.iter().any(|other| (other.verb, &other.resource) == (verb, &effect.resource)) {
                effects.push(effect);
            }
        }
        let mut effects = effects.into_iter();
        let Some(first) = effects.next() else { return Err(unknown(&run)) };
        let effects = effects.fold(Effects::one(first), Effects::and);
        Ok(Self { run, steps, places, effects })
    }

    pub(crate) fn effects(&self) -> Effects {
        self.effects.clone()
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(super) fn places(&self) -> &[Slot] {
        &self.places
    }

    pub(crate) async fn run(self, roots: &Roots, store: &Store, cx: &Context) -> Result<Output, Fault> {
        let Self { run, steps, places, effects: _ } = self;
        let pace = || cx.stopped().map_or(Ok(()), Err);
        let ground = Ground::new(roots, &places)?;
        let mut taken_back = Vec::new();
        let targets = {
            let mut imagined = Imagined::new(&ground, store.stand_ins()?, &pace);
            for step in steps {
                if imagined.take_back(&step)? {
                    taken_back.push(step.reversed());
                }
            }
            imagined.targets()?
        };
        judge(roots, &ground, &targets, cx).await?;
        if !targets.is_empty() {
            let told = cx.keeps_evidence().then(|| diffs(&ground, store, &targets, &pace));
            let performance = Performance::prepare(&ground, store, &targets, &pace)?;
            let change = Change { index: cx.index(), steps: taken_back, stands_for: Vec::new() };
            performance.commit(Of::new(cx.run(), cx.principal()), change)?;
            match told {
                Some(Ok(Some(told))) => cx.keep(DIFF, DIFF_TYPE, told.as_bytes()),
                Some(Err(fault)) => cx.lacks_evidence(fault.message.into_owned()),
                Some(Ok(None)) | None => {}
            }
        }
        let restored = targets.iter().map(|target| spell(&target.path)).collect();
        Ok(Output::Undo { run, restored })
    }
}

/// What taking a step back does. What acts later by itself is stated wherever it lies; all else below a directory is judged with
/// it, when it is looked into.
fn stated(step: &Step) -> Vec<(Verb, &Bytes)> {
    match step {
        Step::Put { path, before, after } => {
            let mut stated = vec![(if before.is_empty() { Verb::Destroy } else { Verb::Change }, path)];
            stated.extend(persistent(before).map(|path| (Verb::Change, path)));
            if before.is_empty() {
                stated.extend(persistent(after).map(|path| (Verb::Destroy, path)));
            }
            stated
        }
        Step::Move { from, to, moved: _ } => {
            vec![(Verb::Observe, to), (Verb::Destroy, to), (Verb::Change, from)]
        }
    }
}

/// The outermost entries below the top of a tree that act later by themselves.
fn persistent(tree: &Tree) -> impl Iterator<Item = &Bytes> {
    let mut last: Option<&Bytes> = None;
    let below_top = tree.iter().skip(1).map(|(path, _): &(Bytes, Node)| path);
    below_top.filter(move |path| {
        let is_first = is_persistent(&path.0) && last.is_none_or(|last| !is_below(&path.0, &last.0));
        if is_first {
            last = Some(path);
        }
        is_first
    })
}

/// Asks the policy about every name that changes, and about all that is in what is removed or moved, before any of it is.
async fn judge(roots: &Roots, ground: &Ground<'_>, targets: &[Target], cx: &Context) -> Result<(), Fault> {
    for target in targets {
        roots.check_place(&target.path)?;
        let now = target.now().map_or(Ok(None), |now| ground.item(&now))?;
        let meta = now.as_ref().map(|(_, item)| &item.meta);
        match &target.seen {
            Seen::Missing => {}
            Seen::Kept(_) => permit(cx, &effect_below(Verb::Change, &target.path, meta))?,
            Seen::Real(real) => {
                let change = effect_below(Verb::Change, &target.path, meta);
                if let Some(found) = ground.item(real)? {
                    let on = |verb| effect_below(verb, real, Some(&found.1.meta));
                    let top = [on(Verb::Observe), on(Verb::Destroy), change];
                    top.iter().try_for_each(|effect| permit(cx, effect))?;
                    let effects_on = |below: &Item| relocate::effects_on(below, real, &target.path);
                    judge_below(cx, found, &top, effects_on).await?;
                }
            }
        }
        if let Some(found) = now.filter(|(_, item)| !targets.iter().any(|other| other.takes(&item.path))) {
            let effects_on = |below: &Item| vec![effect_below(Verb::Destroy, &below.path, Some(&below.meta))];
            let top = effect_below(Verb::Destroy, &found.1.path, Some(&found.1.meta));
            if matches!(target.seen, Seen::Missing) {
                permit(cx, &top)?;
            }
            judge_below(cx, found, &[top], effects_on).await?;
        }
    }
    Ok(())
}

/// Asks about all that is in what was found, unless the answers to the effects on it cover that.
async fn judge_below(
    cx: &Context,
    (dir, item): (OwnedFd, Item),
    top: &[Effect],
    effects_on: impl Fn(&Item) -> Vec<Effect>,
) -> Result<(), Fault> {
    if item.meta.is_directory() {
        let below = open_directory(dir, &item.name).map_err(|e| cannot_enter(&item.path, e))?;
        judge_all(cx, below, &item.path, top, |below| Ok(effects_on(below))).await?;
    }
    Ok(())
}

fn permit(cx: &Context, effect: &Effect) -> Result<(), Fault> {
    if cx.permits(effect) {
        return Ok(());
    }
    let message = format!(
        "the policy does not permit to {} \"{}\" without asking, so nothing was undone: state a danger to have a human asked",
        effect.verb,
        excerpt(&effect.resource.id)
    );
    Err(Fault::denied(message))
}

/// The same answer for a run that never was, one that changed nothing, one whose journal was dropped, and another's.
pub(crate) fn unknown(run: &str) -> Fault {
    let message = format!(
        "nothing is kept of a run \"{}\" of yours: meta.run of an answer names one, and the oldest are dropped first",
        shown(run.as_bytes())
    );
    Fault::new(NOT_FOUND, message)
}
