//! The links from the params of an action to the policy: annotations in the schema of a field, which say what its value
//! stands for. They are for the host alone: `host.describe` narrows by them and leaves them out.
//!
//! | annotation | the value of the field is |
//! | --- | --- |
//! | `x-resource` | the name of what the action's effects are about: `{"kind": "Path", "verbs": ["change"]}` |
//! | `x-fact` | a fact of every effect of the action that declares one of this name |
//! | `x-choice` | one of the names that the running capability knows ([`Capability::choices`]) |
//!
//! ```
//! # use llm_os_core::path::WirePath;
//! # use schemars::JsonSchema;
//! #[derive(JsonSchema)]
//! struct Params {
//!     /// The file.
//!     #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["change"]}))]
//!     path: WirePath,
//! }
//! ```
//!
//! [`Capability::choices`]: crate::Capability::choices

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::capability::{ActionSpec, Mode};
use crate::effect::{FactType, Kind, Verb};

const RESOURCE: &str = "x-resource";
const FACT: &str = "x-fact";
const CHOICE: &str = "x-choice";

/// What the value of a field stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// The resource of effects that the action always states where the field is given: every one of these verbs. A text is
    /// the resource's name, of an array the first item is, and `true` stands for one whose name the host knows.
    ///
    /// A `Path` lies below one of the roots, by its text and really, or is refused. A `Program` is the file that the text
    /// leads to.
    Resource {
        /// Its kind.
        kind: Kind,
        /// What is done to it.
        verbs: Vec<Verb>,
        /// Whether a path is refused below a root for reading. That is so wherever it is changed or destroyed.
        writable: bool,
    },
    /// A fact: of the effects that declare it the action states at least one, and its fact is this value.
    Fact(String),
    /// A name of something that there is now; any other one is refused.
    Choice(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: String,
    verbs: Vec<String>,
    root: Option<Mode>,
}

impl Link {
    /// The link that stands in the schema of one field, if one does.
    pub(crate) fn of(schema: &Map<String, Value>, spec: &ActionSpec) -> Result<Option<Self>, String> {
        let mut found = schema.iter().filter(|(key, _)| key.starts_with("x-"));
        let Some((key, value)) = found.next() else { return Ok(None) };
        if let Some((other, _)) = found.next() {
            return Err(format!("found {key} and {other}, expected one of them"));
        }
        let name = || value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        let name = || name().ok_or_else(|| format!("{key}: found {value}, expected a name"));
        match key.as_str() {
            RESOURCE => Self::resource(value, spec).map(Some),
            FACT => {
                let name = name()?;
                let mut facts = spec.effects.iter().flat_map(|effect| effect.facts);
                if !facts.any(|fact| fact.name == name && fact.ty == FactType::Text) {
                    return Err(format!("{FACT}: no effect of it declares a text \"{name}\""));
                }
                if values(schema).is_none() {
                    return Err(format!("{FACT}: \"{name}\" stands at a field whose values are not listed"));
                }
                Ok(Some(Self::Fact(name)))
            }
            CHOICE => Ok(Some(Self::Choice(name()?))),
            _ => Err(format!("found {key}, expected {RESOURCE}, {FACT} or {CHOICE}")),
        }
    }

    fn resource(value: &Value, spec: &ActionSpec) -> Result<Self, String> {
        let Written { kind, verbs, root } =
            Written::deserialize(value).map_err(|e| format!("{RESOURCE}: {e}"))?;
        let declared = |verb: &String| {
            let mut effects = spec.effects.iter();
            let found = effects.find(|effect| effect.verb.as_str() == verb && effect.kind.as_str() == kind);
            found.ok_or_else(|| format!("{RESOURCE}: it declares no effect \"{verb}\" on a \"{kind}\""))
        };
        let effects = verbs.iter().map(declared).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = effects.first() else { return Err(format!("{RESOURCE}: it names no verb")) };
        let changes = effects.iter().any(|effect| effect.verb != Verb::Observe);
        Ok(Self::Resource {
            kind: first.kind,
            verbs: effects.iter().map(|effect| effect.verb).collect(),
            writable: changes || root == Some(Mode::Write),
        })
    }
}

/// The texts that a schema lists, where it accepts nothing else.
fn values(schema: &Map<String, Value>) -> Option<Vec<&str>> {
    if let Some(Value::Array(alternatives)) = schema.get("oneOf") {
        let listed = alternatives.iter().map(|alternative| alternative.as_object().and_then(values));
        return Some(listed.collect::<Option<Vec<_>>>()?.concat());
    }
    match (schema.get("const"), schema.get("enum")) {
        (Some(only), _) => Some(vec![only.as_str()?]),
        (None, Some(Value::Array(listed))) => listed.iter().map(Value::as_str).collect(),
        (None, _) => None,
    }
}

/// Reads every link in the schema of an action's params.
///
/// # Errors
///
/// A link to what the action does not declare, and any other keyword of its author's own.
pub(crate) fn check(schema: &Value, spec: &ActionSpec) -> Result<(), String> {
    match schema {
        Value::Object(fields) => {
            Link::of(fields, spec)?;
            fields.values().try_for_each(|inner| check(inner, spec))
        }
        Value::Array(items) => items.iter().try_for_each(|item| check(item, spec)),
        _ => Ok(()),
    }
}

/// The schema without its links.
pub fn without(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, _)| !key.starts_with("x-"));
            Value::Object(kept.map(|(key, value)| (key.clone(), without(value))).collect())
        }
        Value::Array(items) => items.iter().map(without).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::capability::EffectSpec;
    use crate::effect::FactSpec;

    const FACTS: &[FactSpec] = &[
        FactSpec { name: "button", ty: FactType::Text, doc: "A button." },
        FactSpec { name: "count", ty: FactType::Long, doc: "How often." },
    ];
    const SPEC: ActionSpec = ActionSpec {
        verb: "act",
        effects: &[
            EffectSpec { verb: Verb::Observe, kind: Kind::Path, facts: &[] },
            EffectSpec { verb: Verb::Inject, kind: Kind::Window, facts: FACTS },
        ],
        errors: &[],
        examples: &[],
    };

    fn found(schema: &Value) -> Result<Option<Link>, String> {
        Link::of(schema.as_object().unwrap(), &SPEC)
    }

    #[test]
    fn a_link_says_what_a_field_stands_for() {
        let path = |writable| Link::Resource { kind: Kind::Path, verbs: vec![Verb::Observe], writable };
        let window = Link::Resource { kind: Kind::Window, verbs: vec![Verb::Inject], writable: true };
        for (schema, link) in [
            (json!({"x-resource": {"kind": "Path", "verbs": ["observe"]}}), path(false)),
            (json!({"x-resource": {"kind": "Path", "verbs": ["observe"], "root": "write"}}), path(true)),
            (json!({"x-resource": {"kind": "Window", "verbs": ["inject"]}}), window),
            (json!({"x-fact": "button", "enum": ["a", "b"]}), Link::Fact("button".to_owned())),
            (
                json!({"x-fact": "button", "oneOf": [{"const": "a"}, {"enum": ["b"]}]}),
                Link::Fact("button".to_owned()),
            ),
            (json!({"x-choice": "monitor"}), Link::Choice("monitor".to_owned())),
        ] {
            assert_eq!(found(&schema), Ok(Some(link)), "{schema}");
        }
        assert_eq!(found(&json!({"type": "string"})), Ok(None));
    }

    #[test]
    fn a_link_to_what_the_action_does_not_declare_is_refused_at_any_depth() {
        for (schema, why) in [
            (
                json!({"x-resource": {"kind": "Path", "verbs": ["change"]}}),
                "no effect \"change\" on a \"Path\"",
            ),
            (json!({"x-resource": {"kind": "Window", "verbs": ["observe"]}}), "on a \"Window\""),
            (json!({"x-resource": {"kind": "Path", "verbs": []}}), "names no verb"),
            (json!({"x-resource": {"kind": "Path", "verbs": ["observe"], "mode": 1}}), "unknown field"),
            (json!({"x-fact": "key", "enum": ["a"]}), "declares a text \"key\""),
            (json!({"x-fact": "count", "enum": ["a"]}), "declares a text \"count\""),
            (json!({"x-fact": "button", "type": "string"}), "are not listed"),
            (json!({"x-fact": "button", "oneOf": [{"const": "a"}, {"type": "string"}]}), "are not listed"),
            (json!({"x-choice": ""}), "expected a name"),
            (json!({"x-choise": "monitor"}), "found x-choise"),
            (json!({"x-choice": "a", "x-fact": "button"}), "expected one of them"),
        ] {
            assert!(found(&schema).unwrap_err().contains(why), "{schema}");
            let deep = json!({"properties": {"a": {"items": {"oneOf": [{"type": "string"}, schema]}}}});
            assert!(check(&deep, &SPEC).unwrap_err().contains(why), "{deep}");
        }
    }

    #[test]
    fn links_are_taken_out_at_any_depth_and_nothing_else_is() {
        let schema =
            json!({"properties": {"a": {"type": "string", "x-choice": "m"}}, "oneOf": [{"x-fact": "b"}, {}]});
        assert_eq!(without(&schema), json!({"properties": {"a": {"type": "string"}}, "oneOf": [{}, {}]}));
    }
}
