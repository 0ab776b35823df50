//! Programs that ask whatever a policy says: a policy that permits one without a human's confirmation means something
//! else than what happens, so it is not loaded.

use std::collections::BTreeSet;

use cedar_policy::ResourceConstraint;
use llm_os_core::effect::{Kind, Resource, Verb};
use llm_os_core::registry::Registry;
use serde_json::Value;

use super::names::path_of;
use super::rules::Rule;
use super::vocabulary::Vocabulary;

/// What is wrong with a policy that permits, by name and unconfirmed, what always asks.
pub(crate) fn check(rules: &[Rule], vocabulary: &Vocabulary, registry: &Registry) -> Vec<String> {
    let lets_run = |rule: &&Rule| {
        let mut runs = vocabulary.concretes.iter().filter(|concrete| concrete.verb == Verb::Run);
        rule.permits && runs.any(|concrete| rule.is_about(concrete))
    };
    let mut problems = Vec::new();
    for rule in rules.iter().filter(lets_run) {
        // What cannot be written as JSON was refused before.
        let Ok(json) = rule.policy.to_json() else { continue };
        if needs_confirmation(&json["conditions"]) {
            continue;
        }
        for id in programs(rule, &json["conditions"]) {
            let asked = registry.always_asks(&Resource::new(Kind::Program, id.clone()));
            problems.extend(asked.map(|why| {
                format!(
                    "policy \"{}\": it permits {id} without a human's confirmation, and that program always asks: {why}. Add: \
                     when {{ context.confirmed }}",
                    rule.id
                )
            }));
        }
    }
    problems
}

/// The programs that a rule names, other than to exclude them.
fn programs(rule: &Rule, conditions: &Value) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    match &rule.resource {
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => {
            add(&uid.type_name().to_string(), uid.id().unescaped(), &mut named);
        }
        ResourceConstraint::Any | ResourceConstraint::Is(_) => {}
    }
    for condition in conditions.as_array().into_iter().flatten() {
        collect(&condition["body"], condition["kind"] == "when", &mut named);
    }
    named
}

/// What stands in a condition, but for what is negated.
fn collect(json: &Value, is_wanted: bool, named: &mut BTreeSet<String>) {
    match json {
        Value::Array(items) => items.iter().for_each(|item| collect(item, is_wanted, named)),
        Value::Object(fields) => {
            if let (true, Some(entity)) = (is_wanted, fields.get("__entity")) {
                let text = |field: &str| entity[field].as_str().unwrap_or_default();
                add(text("type"), text("id"), named);
            }
            for (operator, value) in fields {
                let is_negation = matches!(operator.as_str(), "!" | "!=");
                collect(value, is_wanted != is_negation, named);
            }
        }
        _ => {}
    }
}

/// A program, or a path that is the one of a file.
fn add(ty: &str, id: &str, named: &mut BTreeSet<String>) {
    let is_program = ty == "Program" || ty == "Path" && path_of(id).is_some_and(|path| path.is_file());
    if is_program {
        named.insert(id.to_owned());
    }
}

/// Whether one of the conditions is `context.confirmed`, alone or among others that must hold as well.
fn needs_confirmation(conditions: &Value) -> bool {
    let must_hold = |condition: &Value| {
        let body = &condition["body"];
        if condition["kind"] == "when" { implies_confirmed(body) } else { is_lifted(body) }
    };
    conditions.as_array().is_some_and(|all| all.iter().any(must_hold))
}

fn implies_confirmed(body: &Value) -> bool {
    let both = &body["&&"];
    let either = &body["||"];
    body["."]["left"]["Var"] == "context" && body["."]["attr"] == "confirmed"
        || both.is_object() && (implies_confirmed(&both["left"]) || implies_confirmed(&both["right"]))
        || either.is_object() && implies_confirmed(&either["left"]) && implies_confirmed(&either["right"])
}

/// Whether what must not hold does where nobody confirmed.
fn is_lifted(body: &Value) -> bool {
    let either = &body["||"];
    body["!"].is_object() && implies_confirmed(&body["!"]["arg"])
        || either.is_object() && (is_lifted(&either["left"]) || is_lifted(&either["right"]))
}
