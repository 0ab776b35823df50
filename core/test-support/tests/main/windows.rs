//! The promises that capabilities of windows rely on, held with two windows that exist only here.
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use llm_os_core::capability::NoConfig;
use llm_os_core::*;
use llm_os_test_support::World;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Titles and identities by class, and the connections that ended.
struct Panes {
    windows: Mutex<BTreeMap<String, (String, u32)>>,
    ended: Mutex<Vec<u64>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    /// Types into a window, after which some window has another title, or is another one.
    Type {
        /// The class of the window.
        class: String,
        /// The class of the window that changes.
        #[serde(default)]
        changes: Option<String>,
        /// Whether it becomes another window, and not only another title.
        #[serde(default)]
        replaced: bool,
    },
    /// Fails, with words for the log.
    Fail {},
    /// Tells which connections ended.
    Ended {},
}

struct Resolved(Action, Effect);

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Output {
    Type {},
    #[expect(dead_code, reason = "every action has an output, also where it never ends well")]
    Fail {},
    Ended {
        connections: Vec<u64>,
    },
}

impl Effectful for Resolved {
    fn effects(&self) -> Effects {
        Effects::one(self.1.clone())
    }
}

const TITLE: &[FactSpec] = &[FactSpec { name: "title", ty: FactType::Text, doc: "The title." }];
const INJECT: &[EffectSpec] = &[EffectSpec { verb: Verb::Inject, kind: Kind::Window, facts: TITLE }];

const fn spec(verb: &'static str, examples: &'static [Example]) -> ActionSpec {
    ActionSpec { verb, effects: INJECT, errors: &[], examples }
}

impl Capability for Panes {
    const NAME: &'static str = "pane";
    const ACTIONS: &'static [ActionSpec] = &[
        spec("type", &[Example { doc: "Type.", params: r#"{"class":"Notes"}"# }]),
        spec("fail", &[Example { doc: "Fail.", params: "{}" }]),
        spec("ended", &[Example { doc: "Tell.", params: "{}" }]),
    ];
    type Config = NoConfig;
    type Action = Action;
    type Resolved = Resolved;
    type Output = Output;

    fn open(_: NoConfig, _: &Setup) -> Result<Self, Fault> {
        let window = |class: &str, id| (class.to_owned(), ("untitled".to_owned(), id));
        let windows = BTreeMap::from([window("Notes", 1), window("Draw", 2), window("Approval", 3)]);
        Ok(Self { windows: Mutex::new(windows), ended: Mutex::default() })
    }

    fn resolve(&self, action: Action) -> Result<Resolved, Fault> {
        let class = if let Action::Type { class, .. } = &action { class } else { "Notes" };
        let (title, id) = self.windows.lock().unwrap_or_else(PoisonError::into_inner)[class].clone();
        let identity = Identity::new(id.to_string());
        let effect = Effect::new(Verb::Inject, Resource::window("d", class), identity);
        let effect = effect.fact("title", Fact::Text(title));
        let effect = if class == "Approval" { effect.refuses("it shows confirmations") } else { effect };
        Ok(Resolved(action, effect))
    }

    async fn execute(&self, granted: Granted<Resolved>, cx: &Context) -> Result<Output, Fault> {
        match granted.into_inner().0 {
            Action::Type { changes, replaced, .. } => {
                cx.note("typed_by", cx.connection().0);
                if let Some(class) = changes {
                    let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
                    let window =
                        windows.get_mut(&class).ok_or_else(|| Fault::invalid("changes", "no window"))?;
                    *window = ("titled".to_owned(), window.1 + u32::from(replaced) * 10);
                }
                Ok(Output::Type {})
            }
            Action::Fail {} => {
                cx.note("delivered", 3);
                Err(Fault::new(Code::own("pane_failed"), "the pane is shut").log("error 42 of the pane"))
            }
            Action::Ended {} => {
                let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(Output::Ended { connections: ended.clone() })
            }
        }
    }

    fn lacks(&self, verb: &str) -> Option<String> {
        (verb == "fail").then(|| "it always fails".to_owned())
    }

    fn disconnected(&self, connection: ConnectionId) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(connection.0);
    }
}

inventory::submit!(Registration::of::<Panes>());

fn types(class: &str, more: Value) -> Value {
    let mut params = json!({"class": class});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"action": "pane.type", "params": params, "reason": "a test"})
}

/// Sends a plan that is held, confirms it, and gives the answer.
fn confirmed(actions: Value) -> Value {
    let world = World::of::<Panes>();
    world.judge(|_| Decision::Confirm);
    let held = world.send_plan(actions.clone(), None);
    let token = held["error"]["details"]["pending_id"].as_str().unwrap().to_owned();
    world.send_plan(actions, Some(&token))
}

#[test]
fn the_windows_keep_the_contract() {
    World::of::<Panes>().keeps_the_contract();
}

#[test]
fn what_an_effect_refuses_no_policy_and_no_human_allows() {
    let world = World::of::<Panes>();
    for decision in [Decision::Allow, Decision::Confirm] {
        world.judge(move |_| decision);
        let answer = world.refused("pane.type", json!({"class": "Approval"}), "policy_denied");
        assert_eq!(answer["executed"], false);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("host (it shows confirmations)"), "{message}");
    }
    let actions = json!([types("Approval", json!({}))]);
    let plan = json!({"request_id": "t-1", "version": "1", "mode": "plan_only", "actions": actions});
    let planned = &world.send_frame(plan.to_string().as_bytes())["results"][0];
    assert_eq!(planned["decision"], "deny", "{planned:#}");
    assert_eq!(planned["effects"][0]["refuses"], "it shows confirmations");
    assert_eq!(planned["effects"][0]["resource"]["display"], "d");
}

/// Whoever types into a window may be answered with another title: that is what the plan was confirmed for.
#[test]
fn a_window_that_the_plan_drives_may_change_its_title_meanwhile() {
    let actions = json!([types("Notes", json!({"changes": "Notes"})), types("Notes", json!({}))]);
    let answer = confirmed(actions);
    assert_eq!(answer["results"][1]["status"], "ok", "{answer:#}");
}

#[test]
fn another_window_in_the_place_of_the_one_that_was_confirmed_stops_the_plan() {
    let becomes = json!({"changes": "Notes", "replaced": true});
    let answer = confirmed(json!([types("Notes", becomes), types("Notes", json!({}))]));
    assert_eq!(answer["error"]["code"], "confirmation_stale", "{answer:#}");
    assert_eq!(answer["results"][1]["status"], "not_run");
}

#[test]
fn a_window_that_the_plan_does_not_drive_must_stay_as_it_was_confirmed() {
    let answer = confirmed(json!([types("Notes", json!({"changes": "Draw"})), types("Draw", json!({}))]));
    assert_eq!(answer["error"]["code"], "confirmation_stale", "{answer:#}");
}

#[test]
fn what_a_capability_notes_and_logs_stands_in_the_record_of_the_outcome() {
    let world = World::of::<Panes>();
    world.send_plan(
        json!([types("Notes", json!({})), {"action": "pane.fail", "params": {}, "reason": "x"}]),
        None,
    );
    let outcomes: Vec<_> =
        world.records().into_iter().filter(|record| record["event"] == "outcome").collect();
    assert_eq!(outcomes[0]["data"], json!({"index": 0, "typed_by": 0}), "{outcomes:#?}");
    let failed = json!({"index": 1, "delivered": 3, "log": "error 42 of the pane"});
    assert_eq!(outcomes[1]["data"], failed, "{outcomes:#?}");
}

#[test]
fn what_is_meant_for_the_log_does_not_reach_the_caller() {
    let answer = World::of::<Panes>().refused("pane.fail", json!({}), "pane_failed");
    assert!(!answer.to_string().contains("error 42"), "{answer:#}");
}

#[test]
fn a_capability_hears_of_each_connection_that_ended_and_says_what_it_lacks() {
    let world = World::of::<Panes>();
    world.check("pane.ended", json!({}), json!({"connections": []}));
    world.disconnect();
    world.check("pane.ended", json!({}), json!({"connections": [0]}));
    assert_eq!(world.lacks("pane.fail").as_deref(), Some("it always fails"));
    assert_eq!(world.lacks("pane.type"), None);
}
