//! What is kept of an action, and what an approver is shown of it: neither changes what is decided or done.

use std::sync::atomic::{AtomicUsize, Ordering};

use llm_os_core::capability::NoConfig;
use llm_os_core::evidence::{DIFF, DIFF_TYPE};
use llm_os_core::*;
use llm_os_test_support::World;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Points at a display and shows what it sees.
struct Lens;

/// How often anything was asked for a preview, by `of`.
static PREVIEWED: AtomicUsize = AtomicUsize::new(0);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    /// Points.
    Point {
        /// How.
        how: How,
    },
}

#[derive(Clone, Copy, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum How {
    Well,
    Counted,
    PanicInPreview,
    PanicInAims,
    Endlessly,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Output {
    Point { kept: bool },
}

impl Effectful for Action {
    fn effects(&self) -> Effects {
        Effects::one(Effect::new(Verb::Inject, Resource::new(Kind::Display, "virtual"), Identity::of_id()))
    }
}

impl Capability for Lens {
    const NAME: &'static str = "lens";
    const ACTIONS: &'static [ActionSpec] = &[ActionSpec {
        verb: "point",
        effects: &[EffectSpec { verb: Verb::Inject, kind: Kind::Display, facts: &[] }],
        errors: &[],
        examples: &[Example { doc: "Point.", params: r#"{"how":"well"}"# }],
    }];
    type Config = NoConfig;
    type Action = Action;
    type Resolved = Action;
    type Output = Output;

    fn open(_: NoConfig, _: &Setup) -> Result<Self, Fault> {
        Ok(Self)
    }

    fn resolve(&self, action: Action) -> Result<Action, Fault> {
        Ok(action)
    }

    fn preview(&self, Action::Point { how }: &Action, _: &Principal) -> Vec<Preview> {
        match how {
            How::Well | How::PanicInAims => vec![Preview::Diff("--- a\n".to_owned())],
            How::Counted => {
                PREVIEWED.fetch_add(1, Ordering::SeqCst);
                Vec::new()
            }
            How::PanicInPreview => panic!("broken on purpose"),
            How::Endlessly => vec![Preview::Diff("é".repeat(1 << 20)); 100],
        }
    }

    fn aims(&self, Action::Point { how }: &Action) -> Vec<Aim> {
        assert!(*how != How::PanicInAims, "broken on purpose");
        vec![Aim { display: "virtual".to_owned(), point: [15, 7] }]
    }

    async fn execute(&self, _: Granted<Action>, cx: &Context) -> Result<Output, Fault> {
        cx.keep(DIFF, DIFF_TYPE, b"--- a\n+++ b\n");
        let view = View { size: [10, 10], corner: [10, 5], extent: [20, 20] };
        cx.keep_picture("virtual", view, "image/png", b"picture");
        Ok(Output::Point { kept: cx.keeps_evidence() })
    }
}

fn point(world: &World, how: &str) -> Value {
    let answer = world.send_confirmed("lens.point", json!({"how": how}));
    assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
    answer
}

fn last(world: &World, event: &str) -> Value {
    world.records().into_iter().rfind(|record| record["event"] == event).expect("a record")
}

#[test]
fn a_host_that_keeps_no_evidence_has_none_and_says_why_there_is_no_picture() {
    let world = World::of::<Lens>();
    assert_eq!(point(&world, "well")["results"][0]["output"]["kept"], false);
    assert!(world.records().iter().all(|record| record.get("evidence").is_none()));
    world.judge(|_| Decision::Confirm);
    let shown = world.previews("lens.point", json!({"how": "well"}));
    assert_eq!(shown[0]["text"]["text"], "--- a\n");
    assert!(shown[1]["missing"].as_str().unwrap().contains("evidence in [audit]"), "{shown:#}");
}

#[test]
fn what_was_seen_last_is_named_where_an_action_aims_at_it() {
    let mut world = World::of::<Lens>();
    world.keep_evidence();
    assert_eq!(point(&world, "well")["results"][0]["output"]["kept"], true);
    let outcome = last(&world, "outcome");
    let named: Vec<_> = outcome["evidence"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(named, ["diff", "output"]);
    assert_eq!(last(&world, "intent").get("evidence"), None, "nothing had been seen then");
    point(&world, "well");
    let intent = last(&world, "intent");
    assert_eq!(
        (&intent["evidence"][0]["name"], &intent["evidence"][0]["point"]),
        (&json!("picture"), &json!([2, 1]))
    );
    assert_eq!(world.evidence(intent["evidence"][0]["sha256"].as_str().unwrap()), b"picture");
    world.judge(|_| Decision::Confirm);
    let shown = world.previews("lens.point", json!({"how": "well"}));
    assert_eq!(shown[1], intent["evidence"][0]);
    let held = last(&world, "held");
    assert_eq!((&held["evidence"][0]["name"], &held["evidence"][1]), (&json!("diff"), &shown[1]), "{held:#}");
}

#[test]
fn evidence_that_cannot_be_kept_is_told_in_the_records_and_fails_nothing() {
    let mut world = World::of::<Lens>();
    world.keep_evidence();
    point(&world, "well");
    world.break_evidence(true);
    world.judge(|_| Decision::Confirm);
    world.previews("lens.point", json!({"how": "well"}));
    assert_eq!(last(&world, "held")["data"]["evidence_missing"], "the store is broken by the test");
    point(&world, "well");
    let outcome = last(&world, "outcome");
    assert_eq!((&outcome["outcome"]["status"], outcome.get("evidence")), (&json!("ok"), None));
    assert_eq!(outcome["data"]["evidence_missing"], "the store is broken by the test");
    world.break_evidence(false);
    let shown = world.previews("lens.point", json!({"how": "well"}));
    assert!(shown[1]["missing"].is_string(), "the picture before it is not what was seen last: {shown:#}");
}

#[test]
fn a_panic_in_a_preview_is_told_in_its_place_and_decides_nothing() {
    let mut world = World::of::<Lens>();
    world.keep_evidence();
    world.judge(|_| Decision::Confirm);
    let shown = world.previews("lens.point", json!({"how": "panic_in_preview"}));
    assert!(shown[0]["missing"].as_str().unwrap().contains("lens panicked"), "{shown:#}");
    assert_eq!(world.previews("lens.point", json!({"how": "panic_in_aims"})).as_array().unwrap().len(), 1);
    point(&world, "panic_in_preview");
    point(&world, "panic_in_aims");
    world.judge(|_| Decision::Deny);
    world.refused("lens.point", json!({"how": "panic_in_preview"}), "policy_denied");
}

#[test]
fn previews_are_bounded_in_number_and_in_length() {
    let mut world = World::of::<Lens>();
    world.keep_evidence();
    world.judge(|_| Decision::Confirm);
    let shown = world.previews("lens.point", json!({"how": "endlessly"}));
    let texts: Vec<_> =
        shown.as_array().unwrap().iter().map(|one| one["text"]["text"].as_str().unwrap().len()).collect();
    assert!(texts.len() <= 16 && texts.iter().sum::<usize>() <= 1 << 20, "{texts:?}");
    assert_eq!((texts[0], &shown[0]["text"]["bytes"]), (256 << 10, &json!(2 << 20)));
}

/// Nobody is shown a plan that runs, is refused, or is only planned.
#[test]
fn only_a_plan_that_is_about_to_be_held_is_looked_at() {
    let world = World::of::<Lens>();
    let how = json!({"how": "counted"});
    world.send("lens.point", how.clone());
    world.judge(|_| Decision::Deny);
    world.refused("lens.point", how.clone(), "policy_denied");
    assert_eq!(PREVIEWED.load(Ordering::SeqCst), 0);
    world.judge(|_| Decision::Confirm);
    world.send_confirmed("lens.point", how);
    assert_eq!(PREVIEWED.load(Ordering::SeqCst), 1, "and not again with its token");
}
