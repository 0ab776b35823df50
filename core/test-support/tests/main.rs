//! The promises of the pipeline, held with a capability that remembers what it did.

#[path = "main/evidence.rs"]
mod evidence;
#[path = "main/links.rs"]
mod links;
#[path = "main/windows.rs"]
mod windows;

use std::sync::{Mutex, PoisonError};

use llm_os_core::capability::NoConfig;
use llm_os_core::*;
use llm_os_test_support::World;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Keeps named values; every change is remembered in order.
struct Shelf(Mutex<Vec<String>>);

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    /// Looks at a name.
    Look {
        /// Which.
        name: String,
    },
    /// Puts a value.
    Put {
        /// Which.
        name: String,
        /// What; the log must not hold it.
        value: Secret,
    },
    /// Breaks the contract in the way that its name says.
    Break {
        /// How.
        how: How,
    },
    /// Waits until it is cancelled, or does not care.
    Wait {
        /// Whether it listens to cancellation.
        politely: bool,
    },
}

#[derive(Clone, Copy, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum How {
    PanicInResolve,
    PanicInExecute,
    UndeclaredEffect,
    OtherOutput,
    LongOutput,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Output {
    Look { seen: Vec<String> },
    Put { count: usize },
    Break { text: String },
    Wait {},
}

impl Effectful for Action {
    fn effects(&self) -> Effects {
        let (verb, name) = match self {
            Action::Look { name } => (Verb::Observe, name.as_str()),
            Action::Put { name, .. } => (Verb::Change, name.as_str()),
            Action::Break { how: How::UndeclaredEffect } => (Verb::Destroy, "shelf"),
            Action::Break { .. } | Action::Wait { .. } => (Verb::Change, "shelf"),
        };
        Effects::one(Effect::new(verb, Resource::new(Kind::Own("Shelf"), name), Identity::of_id()))
    }
}

const OBSERVE: &[EffectSpec] = &[EffectSpec { verb: Verb::Observe, kind: Kind::Own("Shelf"), facts: &[] }];
const CHANGE: &[EffectSpec] = &[EffectSpec { verb: Verb::Change, kind: Kind::Own("Shelf"), facts: &[] }];

const fn spec(
    verb: &'static str,
    effects: &'static [EffectSpec],
    examples: &'static [Example],
) -> ActionSpec {
    ActionSpec { verb, effects, errors: &[], examples }
}

impl Capability for Shelf {
    const NAME: &'static str = "shelf";
    const ACTIONS: &'static [ActionSpec] = &[
        spec("look", OBSERVE, &[Example { doc: "Look.", params: r#"{"name":"a"}"# }]),
        spec("put", CHANGE, &[Example { doc: "Put.", params: r#"{"name":"a","value":"x"}"# }]),
        spec("break", CHANGE, &[Example { doc: "Break.", params: r#"{"how":"long_output"}"# }]),
        spec("wait", CHANGE, &[Example { doc: "Wait.", params: r#"{"politely":true}"# }]),
    ];
    type Config = NoConfig;
    type Action = Action;
    type Resolved = Action;
    type Output = Output;

    fn open(_: NoConfig, _: &Setup) -> Result<Self, Fault> {
        Ok(Self(Mutex::default()))
    }

    fn validate(&self, action: &Action) -> Result<(), Fault> {
        match action {
            Action::Put { name, .. } if name.is_empty() => Err(Fault::invalid("name", "expected a name")),
            Action::Put { value, .. } if value.expose().is_empty() => {
                Err(Fault::invalid("value", "expected one"))
            }
            _ => Ok(()),
        }
    }

    fn resolve(&self, action: Action) -> Result<Action, Fault> {
        assert!(!matches!(action, Action::Break { how: How::PanicInResolve }), "broken on purpose");
        Ok(action)
    }

    async fn execute(&self, granted: Granted<Action>, cx: &Context) -> Result<Output, Fault> {
        let shelf = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match granted.into_inner() {
            Action::Look { .. } => Ok(Output::Look { seen: shelf().clone() }),
            Action::Put { name, .. } => {
                shelf().push(name);
                Ok(Output::Put { count: shelf().len() })
            }
            Action::Break { how: How::PanicInExecute } => panic!("broken on purpose"),
            Action::Break { how: How::OtherOutput } => Ok(Output::Put { count: 0 }),
            Action::Break { .. } => Ok(Output::Break { text: "x".repeat(100_000) }),
            Action::Wait { politely: true } => {
                cx.cancelled().await;
                cx.stopped().map_or(Ok(Output::Wait {}), Err)
            }
            Action::Wait { politely: false } => std::future::pending().await,
        }
    }
}

inventory::submit!(Registration::of::<Shelf>());

fn put(name: &str) -> serde_json::Value {
    json!({"action": "shelf.put", "params": {"name": name, "value": "s3cret"}, "reason": "a test"})
}

fn look() -> serde_json::Value {
    json!({"action": "shelf.look", "params": {"name": "a"}, "reason": "a test"})
}

fn seen(world: &World) -> serde_json::Value {
    world.judge(|_| Decision::Allow);
    world.break_the_log(false);
    world.send("shelf.look", json!({"name": "a"}))["results"][0]["output"]["seen"].clone()
}

#[test]
fn the_shelf_keeps_the_contract() {
    World::of::<Shelf>().keeps_the_contract();
}

#[test]
fn a_linked_registration_is_found() {
    assert!(Registry::linked().unwrap().actions().any(|action| action.name.as_str() == "shelf.put"));
}

#[test]
fn two_capabilities_of_one_name_are_refused() {
    let twice: [&'static Registration; 2] = [Box::leak(Box::new(Registration::of::<Shelf>())); 2];
    assert!(matches!(Registry::of(twice), Err(registry::RegistryError::Duplicate("shelf"))));
}

#[test]
fn one_denied_action_refuses_the_whole_plan() {
    let world = World::of::<Shelf>();
    world.judge(|query| if query.effect.resource.id == "b" { Decision::Deny } else { Decision::Allow });
    let answer = world.send_plan(json!([put("a"), put("b")]), None);
    assert_eq!(answer["error"]["code"], "policy_denied", "{answer:#}");
    assert_eq!(answer["error"]["path"], "$.actions[1]");
    assert_eq!(answer["executed"], false);
    assert_eq!(seen(&world), json!([]));
}

#[test]
fn one_confirmed_action_holds_the_whole_plan() {
    let world = World::of::<Shelf>();
    world.judge(|query| if query.effect.resource.id == "b" { Decision::Confirm } else { Decision::Allow });
    let plan = json!([put("a"), put("b")]);
    let answer = world.send_plan(plan.clone(), None);
    assert_eq!(answer["error"]["code"], "confirmation_required", "{answer:#}");
    let token = answer["error"]["details"]["pending_id"].as_str().unwrap().to_owned();
    let answer = world.send_plan(plan, Some(&token));
    assert_eq!(answer["executed"], true, "{answer:#}");
    assert_eq!(seen(&world), json!(["a", "b"]));
}

#[test]
fn a_token_does_not_lift_a_deny() {
    let world = World::of::<Shelf>();
    world.judge(|_| Decision::Confirm);
    let held = world.send_plan(json!([put("a")]), None);
    let token = held["error"]["details"]["pending_id"].as_str().unwrap().to_owned();
    world.judge(|_| Decision::Deny);
    let answer = world.send_plan(json!([put("a")]), Some(&token));
    assert_eq!(answer["error"]["code"], "policy_denied");
    assert_eq!(seen(&world), json!([]));
}

#[test]
fn a_stated_danger_always_asks() {
    let world = World::of::<Shelf>();
    let mut action = put("a");
    action["danger"] = json!("it replaces what was there");
    let answer = world.send_plan(json!([action]), None);
    assert_eq!(answer["error"]["code"], "confirmation_required", "{answer:#}");
}

#[test]
fn the_first_failure_stops_the_plan() {
    let world = World::of::<Shelf>();
    let fails = json!({"action": "shelf.break", "params": {"how": "panic_in_execute"}, "reason": "a test"});
    let answer = world.send_plan(json!([put("a"), fails, put("b")]), None);
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, ["ok", "failed", "not_run"], "{answer:#}");
    assert_eq!(answer["results"][1]["error"]["code"], "capability_fault");
    assert_eq!(seen(&world), json!(["a"]));
}

#[test]
fn a_capability_that_breaks_its_contract_is_a_fault_and_the_host_goes_on() {
    let world = World::of::<Shelf>();
    for how in ["panic_in_resolve", "panic_in_execute", "undeclared_effect", "other_output"] {
        world.refused("shelf.break", json!({"how": how}), "capability_fault");
    }
    assert_eq!(seen(&world), json!([]));
}

#[test]
fn an_intent_stands_before_its_outcome_and_neither_holds_a_secret() {
    let world = World::of::<Shelf>();
    world.send("shelf.put", json!({"name": "a", "value": "s3cret"}));
    let records = world.records();
    let events: Vec<_> = records.iter().map(|record| record["event"].clone()).collect();
    assert_eq!(events, ["intent", "outcome"]);
    assert_eq!(
        records[0]["what"]["params"]["value"],
        json!({"bytes": 6, "hmac_sha256": "digest-of-6-bytes"})
    );
    assert_eq!(records[0]["why"], "a test");
    assert!(!json!(records).to_string().contains("s3cret"));
}

#[test]
fn a_secret_stands_in_the_record_only_where_the_policy_says_so() {
    let world = World::of::<Shelf>();
    world.judge_records_in_clear(true);
    world.send("shelf.put", json!({"name": "a", "value": "s3cret"}));
    assert_eq!(world.records()[0]["what"]["params"]["value"], "s3cret");
}

#[test]
fn nothing_changes_where_the_record_cannot_be_written() {
    let world = World::of::<Shelf>();
    world.break_the_log(true);
    let answer = world.send("shelf.put", json!({"name": "a", "value": "x"}));
    assert_eq!(answer["error"]["code"], "audit_unavailable", "{answer:#}");
    assert_eq!(answer["executed"], false);
    assert_eq!(seen(&world), json!([]));
}

#[test]
fn what_was_observed_stays_sealed_where_the_record_cannot_be_written() {
    let world = World::of::<Shelf>();
    world.break_the_log(true);
    let answer = world.send("shelf.look", json!({"name": "a"}));
    assert_eq!(answer["error"]["code"], "audit_unavailable", "{answer:#}");
    assert!(answer["results"][0].get("output").is_none(), "{answer:#}");
}

#[test]
fn every_refusal_is_recorded() {
    let world = World::of::<Shelf>();
    world.refused("shelf.put", json!({"name": "", "value": "x"}), "validation_failed");
    world.refused("shelf.no_such", json!({}), "unknown_action");
    world.judge(|_| Decision::Deny);
    world.refused("shelf.put", json!({"name": "a", "value": "x"}), "policy_denied");
    let codes: Vec<_> = world.records().iter().map(|record| record["outcome"]["code"].clone()).collect();
    assert_eq!(codes, ["validation_failed", "unknown_action", "policy_denied"]);
}

#[test]
fn an_error_names_its_path_in_the_request() {
    let world = World::of::<Shelf>();
    let paths = [
        (json!({"name": 5, "value": "x"}), "$.actions[0].params.name"),
        (json!({"name": "", "value": "x"}), "$.actions[0].params.name"),
        (json!({"name": "a", "value": "x", "more": 1}), "$.actions[0].params.more"),
        (json!({"name": "a"}), "$.actions[0].params"),
    ];
    for (params, path) in paths {
        let answer = world.send("shelf.put", params.clone());
        let found = answer["error"]["path"].as_str().unwrap().to_owned();
        assert!(path.starts_with(&found), "{params}: {answer:#}");
    }
}

#[test]
fn a_plan_only_request_touches_nothing_and_tells_the_decision() {
    let world = World::of::<Shelf>();
    world.judge(|_| Decision::Confirm);
    let frame = json!({"request_id": "t", "version": "1", "mode": "plan_only", "actions": [put("a")]});
    let answer = world.send_frame(frame.to_string().as_bytes());
    assert_eq!(answer["results"][0]["status"], "planned", "{answer:#}");
    assert_eq!(answer["results"][0]["decision"], "confirm");
    assert_eq!(answer["results"][0]["effects"][0]["verb"], "change");
    assert_eq!(seen(&world), json!([]));
}

#[test]
fn a_later_action_is_judged_again_after_the_earlier_ones_changed_the_world() {
    let world = World::of::<Shelf>();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    world.judge(move |query| match query.effect.resource.id.as_str() {
        "b" if asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 => Decision::Deny,
        _ => Decision::Allow,
    });
    let answer = world.send_plan(json!([put("a"), put("b")]), None);
    assert_eq!(answer["error"]["code"], "policy_denied", "{answer:#}");
    assert_eq!(answer["error"]["path"], "$.actions[1]");
    assert_eq!(
        (&answer["results"][0]["status"], &answer["results"][1]["status"]),
        (&json!("ok"), &json!("not_run"))
    );
    assert_eq!(seen(&world), json!(["a"]));
}

#[test]
fn an_action_that_is_cancelled_says_so() {
    let world = World::of::<Shelf>();
    let answer = world.send_and_cancel("shelf.wait", json!({"politely": true}), async {});
    let code = [&answer["error"]["code"], &answer["results"][0]["error"]["code"]].map(|code| code.as_str());
    assert!(code.contains(&Some("cancelled")), "{answer:#}");
}

/// The guard is the look at the cancellation between record and grant.
#[test]
fn an_action_that_is_cancelled_while_its_intent_is_recorded_does_not_begin() {
    let world = World::of::<Shelf>();
    let answer = world.send_cancelled_while_recorded("shelf.put", json!({"name": "a", "value": "x"}));
    assert_eq!(answer["results"][0]["error"]["code"], "cancelled", "{answer:#}");
    assert_eq!(seen(&world), json!([]));
}

#[test]
fn an_action_that_does_not_stop_in_time_is_dropped() {
    let mut world = World::of::<Shelf>();
    world.limits.plan = std::time::Duration::from_millis(20);
    world.limits.grace = std::time::Duration::from_millis(20);
    world.refused("shelf.wait", json!({"politely": false}), "deadline_exceeded");
}

#[test]
fn an_answer_is_bounded() {
    let mut world = World::of::<Shelf>();
    world.limits.response_bytes = 65_536;
    let answer = world.refused("shelf.break", json!({"how": "long_output"}), "response_too_large");
    assert!(answer["results"][0].get("output").is_none());
}

#[test]
fn reading_needs_no_second_plan_to_be_the_same() {
    let world = World::of::<Shelf>();
    let plan = json!([put("a"), look()]);
    world.judge(|_| Decision::Confirm);
    let held = world.send_plan(plan.clone(), None);
    let token = held["error"]["details"]["pending_id"].as_str().unwrap().to_owned();
    let answer = world.send_plan(plan, Some(&token));
    assert_eq!(answer["results"][1]["output"]["seen"], json!(["a"]), "{answer:#}");
}
