//! Links between params and what an action declares.

use std::collections::BTreeMap;

use llm_os_core::capability::NoConfig;
use llm_os_core::name::ActionName;
use llm_os_core::registry::RegistryError;
use llm_os_core::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A capability whose one action is on what it declares where `RIGHT`, else on something else.
struct Linked<const RIGHT: bool>;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    /// Looks.
    Look {
        /// At this.
        #[schemars(extend("x-resource" = {"kind": "Device", "verbs": ["observe"]}))]
        #[allow(dead_code)]
        device: String,
        /// By one of these.
        #[serde(default)]
        #[schemars(extend("x-choice" = "eye"))]
        #[allow(dead_code)]
        eye: Option<String>,
    },
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Output {
    #[allow(dead_code)]
    Look {},
}

impl Effectful for Action {
    fn effects(&self) -> Effects {
        Effects::one(Effect::new(Verb::Observe, Resource::new(Kind::Device, "d"), Identity::of_id()))
    }
}

const fn kind(right: bool) -> Kind {
    if right { Kind::Device } else { Kind::Display }
}

impl<const RIGHT: bool> Capability for Linked<RIGHT> {
    const NAME: &'static str = "linked";
    const ACTIONS: &'static [ActionSpec] = &[ActionSpec {
        verb: "look",
        effects: &[EffectSpec { verb: Verb::Observe, kind: kind(RIGHT), facts: &[] }],
        errors: &[],
        examples: &[Example { doc: "Looks.", params: r#"{"device":"d"}"# }],
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

    async fn execute(&self, _: Granted<Action>, _: &Context) -> Result<Output, Fault> {
        Ok(Output::Look {})
    }

    fn choices(&self, of: &str) -> Option<Vec<String>> {
        (of == "eye").then(|| vec!["left".to_owned()])
    }
}

static RIGHT: Registration = Registration::of::<Linked<true>>();
static WRONG: Registration = Registration::of::<Linked<false>>();

#[test]
fn a_link_to_what_an_action_does_not_declare_is_refused() {
    let refused = Registry::of([&WRONG]).err().unwrap();
    assert!(matches!(refused, RegistryError::Contract { .. }), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("look: x-resource: it declares no effect \"observe\" on a \"Device\""), "{said}");
}

#[test]
fn links_are_for_the_host_alone_and_what_can_be_chosen_is_told_while_the_capability_is_open() {
    let mut registry = Registry::of([&RIGHT]).unwrap();
    let name = ActionName::new("linked.look").unwrap();
    let action = registry.action(&name).unwrap();
    assert!(!action.params.to_string().contains("x-"), "{}", action.params);
    assert_eq!(action.linked["properties"]["eye"]["x-choice"], json!("eye"));
    assert_eq!(registry.choices(&name, "eye"), None);
    registry.open(&BTreeMap::new(), &Setup::default()).unwrap();
    assert_eq!(registry.choices(&name, "eye"), Some(vec!["left".to_owned()]));
    assert_eq!(registry.choices(&name, "ear"), None);
}
