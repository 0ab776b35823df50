//! What an approver is shown of a plan that is about to be held. It decides nothing.

use std::time::{Duration, Instant};

use crate::audit::Evidence;
use crate::effect::{Effects, Kind, Resource, Verb};
use crate::evidence::{Aim, DIFF, DIFF_TYPE, Keeper, PICTURE, Preview, Shown};
use crate::path;
use crate::pipeline::ports::HeldAction;
use crate::pipeline::stages::{Held, Refused};
use crate::policy::Principal;
use crate::registry::Registry;
use crate::value::Text;

/// How much text is shown of one preview, in bytes.
const MOST_SHOWN: usize = 256 << 10;
/// How much text is shown of all previews of a plan.
const MOST_SHOWN_OF_PLAN: usize = 1 << 20;
/// How many previews are shown of one action.
const MOST_OF_ACTION: usize = 16;
/// After this time no further action of the plan is looked at.
const MOST_TIME: Duration = Duration::from_secs(1);
const TOO_LONG: &str = "looking at the actions before it took too long";

impl Held {
    /// Looks at what each action would do, for the approver. Nothing that goes wrong there changes what is decided; it is
    /// told in the place of the preview. A plan that shows a token is not looked at.
    pub fn previewed(mut self, registry: &Registry, keeper: Option<&dyn Keeper>) -> Self {
        if self.plan.token.is_some() {
            return self;
        }
        let start = Instant::now();
        let mut left = MOST_SHOWN_OF_PLAN;
        let mut before = Before::default();
        for (call, action) in self.plan.calls.iter().zip(&mut self.actions) {
            let effects = &action.resolved.effects;
            let Ok(capability) = registry.capability(&call.name) else { continue };
            let caller = &self.plan.principal;
            let previews = match (start.elapsed() > MOST_TIME, before.hides(effects)) {
                (false, None) => capability.preview(&*action.resolved.value, caller),
                (_, Some(why)) => vec![Preview::NoDiff(why)],
                (true, None) if changes_file(effects) => vec![Preview::NoDiff(TOO_LONG.to_owned())],
                (true, None) => Vec::new(),
            };
            let aims = capability.aims(&*action.resolved.value);
            let texts = previews.into_iter().map(|preview| shown(preview, &mut left));
            let pictures = aims.iter().map(|aim| pictured(aim, caller, keeper));
            action.previews = texts.chain(pictures).take(MOST_OF_ACTION).collect();
            before.add(effects);
        }
        self
    }
}

fn shown(preview: Preview, left: &mut usize) -> Shown {
    match preview {
        Preview::Diff(whole) => {
            let most = MOST_SHOWN.min(*left);
            let end = whole.floor_char_boundary(most);
            *left -= end;
            let text = Text::new(whole.as_bytes()[..end].to_vec(), whole.len() as u64);
            Shown::Text { name: DIFF, media_type: DIFF_TYPE, text, whole: Some(whole.into()), kept: None }
        }
        Preview::NoDiff(why) => Shown::Missing { name: DIFF, missing: why },
    }
}

/// The last picture that the caller got of the display, with the point in it.
fn pictured(aim: &Aim, caller: &Principal, keeper: Option<&dyn Keeper>) -> Shown {
    let missing = |why: String| Shown::Missing { name: PICTURE, missing: why };
    let Some(keeper) = keeper else {
        return missing(
            "the host keeps no evidence, so it has no picture: set evidence in [audit]".to_owned(),
        );
    };
    match keeper.seen(caller, &aim.display) {
        None => missing("no picture is kept that this session captured of the display".to_owned()),
        Some(picture) => match picture.view.pixel(aim.point) {
            Some(point) => Shown::Picture(Evidence { point: Some(point), ..picture.evidence }),
            None => {
                let [x, y] = aim.point;
                missing(format!("the last picture that this session captured does not show ({x}, {y})"))
            }
        },
    }
}

/// The pictures that the record of an intent names.
pub(super) fn aimed_at(aims: &[Aim], caller: &Principal, keeper: &dyn Keeper) -> Vec<Evidence> {
    let shown = aims.iter().map(|aim| pictured(aim, caller, Some(keeper)));
    shown.filter_map(|shown| shown.evidence().cloned()).take(MOST_OF_ACTION).collect()
}

fn changes_file(effects: &Effects) -> bool {
    let is_change = |verb| matches!(verb, Verb::Change | Verb::Destroy);
    effects.as_slice().iter().any(|effect| is_change(effect.verb) && effect.resource.kind == Kind::Path)
}

/// What earlier actions of the plan do. What is there now does not tell what a later one finds.
#[derive(Default)]
struct Before<'a> {
    touched: Vec<&'a Resource>,
    runs: bool,
}

impl<'a> Before<'a> {
    fn add(&mut self, effects: &'a Effects) {
        for effect in effects.as_slice() {
            match effect.verb {
                Verb::Change | Verb::Destroy => self.touched.push(&effect.resource),
                Verb::Run => self.runs = true,
                Verb::Observe | Verb::Inject => {}
            }
        }
    }

    /// Why an action on files cannot be looked at before the ones before it ran.
    fn hides(&self, effects: &Effects) -> Option<String> {
        if !changes_file(effects) {
            return None;
        }
        if self.runs {
            return Some("a program that this plan runs before may change what this action finds".to_owned());
        }
        let is_touched = |resource: &Resource| {
            self.touched.iter().any(|touched| {
                touched.kind == resource.kind
                    && (touched.id == resource.id
                        || path::ancestors(&resource.id).contains(&touched.id)
                        || path::ancestors(&touched.id).contains(&resource.id))
            })
        };
        let touched = effects.as_slice().iter().find(|effect| is_touched(&effect.resource))?;
        Some(format!("an earlier action of this plan changes {}", touched.resource.id))
    }
}

impl Refused {
    /// Keeps the previews of a plan that is held now, so that its record can name them.
    pub fn keep_previews(&mut self, keeper: &dyn Keeper) {
        if self.pending.is_some() {
            let previews = self.actions.iter_mut().flat_map(|action| &mut action.previews);
            previews.for_each(|preview| preview.keep(keeper));
        }
    }

    /// What is kept of the previews of all actions.
    pub fn evidence(&self) -> impl Iterator<Item = &Evidence> {
        self.actions.iter().flat_map(HeldAction::evidence)
    }
}

impl HeldAction {
    /// What is kept of its previews.
    pub(super) fn evidence(&self) -> impl Iterator<Item = &Evidence> {
        self.previews.iter().filter_map(Shown::evidence)
    }
}
