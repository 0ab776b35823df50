//! The params that the policies could let through: the schema of an action, narrowed by its links ([`link`]) for one
//! caller. It is `host.describe`'s, for models that can write nothing but what a schema accepts.
//!
//! What it refuses the host refuses as well, but for spellings: a root is written as it is configured, and a program by its
//! real path, a name in the usual folders, or the name that the policy gives it. What it accepts may still be refused,
//! since most of what policies ask about is not known before there is a plan.
//!
//! [`link`]: llm_os_core::link

use std::collections::BTreeSet;

use llm_os_core::effect::{Kind, Resource, Verb};
use llm_os_core::link::{self, Link};
use llm_os_core::path;
use llm_os_core::policy::Principal;
use llm_os_core::registry::{Action, Registry};
use serde_json::{Map, Value, json};

use super::Policy;
use super::entities::Entity;
use super::names::path_of;
use super::possible::{Case, Place};
use super::subtree::is_at_or_below;
use super::vocabulary::Concrete;

/// What a path may go on with below a root: names, but for `..`.
const BELOW: &str = r"(/(\.?|\.?[^/.\u0000][^/\u0000]*|\.\.[^/\u0000]+))*";
/// An escape in a file URI, but for that of a NUL.
const ESCAPE: &str = "%([1-9A-Fa-f][0-9A-Fa-f]|0[1-9A-Fa-f])";

/// What can be said of an action's params before there are any.
#[derive(Debug, PartialEq)]
pub(crate) enum Allowed {
    /// Nothing beyond their schema.
    Anything,
    /// Only these could be let through.
    Narrower(Value),
    /// None at all.
    Nothing,
}

impl Policy {
    /// The params of an action that could be allowed to this caller, or confirmed by a human.
    pub(crate) fn allowed(&self, principal: &Principal, action: &Action, registry: &Registry) -> Allowed {
        let concretes = self.vocabulary.of_action(&action.name).collect();
        let caller = Caller { policy: self, uid: principal.uid, action, concretes, registry };
        if !caller.is_anything_possible() {
            return Allowed::Nothing;
        }
        if action.linked == action.params {
            return Allowed::Anything;
        }
        match caller.narrowed(&action.linked) {
            None => Allowed::Nothing,
            Some(params) if params == action.params => Allowed::Anything,
            Some(params) => Allowed::Narrower(params),
        }
    }
}

/// Who asks about which action.
struct Caller<'a> {
    policy: &'a Policy,
    uid: u32,
    action: &'a Action,
    concretes: Vec<&'a Concrete>,
    registry: &'a Registry,
}

impl Caller<'_> {
    /// A schema without its links, narrowed by them; none where no value is left.
    fn narrowed(&self, schema: &Value) -> Option<Value> {
        let (Some(written), Value::Object(mut fields)) = (schema.as_object(), link::without(schema)) else {
            return Some(schema.clone());
        };
        for keyword in ["oneOf", "anyOf"] {
            if let Some(Value::Array(alternatives)) = written.get(keyword) {
                let left: Vec<_> = alternatives.iter().filter_map(|inner| self.narrowed(inner)).collect();
                if left.is_empty() {
                    return None;
                }
                fields.insert(keyword.to_owned(), Value::Array(left));
            }
        }
        if let Some(items) = written.get("items") {
            match self.narrowed(items) {
                Some(items) => drop(fields.insert("items".to_owned(), items)),
                None if written.get("minItems").is_some_and(|least| *least != 0) => return None,
                None => drop(fields.insert("maxItems".to_owned(), json!(0))),
            }
        }
        if let Some(Value::Object(properties)) = written.get("properties") {
            self.narrow_properties(properties, &mut fields)?;
        }
        match self.action.link(written) {
            Some(link) => self.linked(fields, &link),
            None => Some(Value::Object(fields)),
        }
    }

    /// Narrows each property; one that can have no value is left out, and one whose absence means what is refused is
    /// required.
    fn narrow_properties(
        &self,
        properties: &Map<String, Value>,
        fields: &mut Map<String, Value>,
    ) -> Option<()> {
        let mut required: Vec<Value> =
            fields.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut kept = Map::new();
        for (name, property) in properties {
            let is_required = required.iter().any(|required| *required == **name);
            match self.narrowed(property) {
                Some(mut narrowed) => {
                    let default = narrowed.get("default").and_then(Value::as_str);
                    let listed = texts(&narrowed);
                    if default.is_some_and(|default| listed.is_some_and(|listed| !listed.contains(&default)))
                    {
                        drop(narrowed.as_object_mut().and_then(|narrowed| narrowed.remove("default")));
                        required.push(json!(name));
                    }
                    kept.insert(name.clone(), narrowed);
                }
                None if is_required || property.get("default").is_some() => return None,
                None => {}
            }
        }
        fields.insert("properties".to_owned(), Value::Object(kept));
        if !required.is_empty() {
            fields.insert("required".to_owned(), Value::Array(required));
        }
        Some(())
    }

    /// The schema of a field, narrowed to what its value may stand for.
    fn linked(&self, mut field: Map<String, Value>, link: &Link) -> Option<Value> {
        match link {
            Link::Resource { .. } if field.get("type") == Some(&json!("array")) => {
                let first = field.get("items").and_then(Value::as_object).cloned().unwrap_or_default();
                let narrowed = self.linked(first.clone(), link)?;
                if narrowed != Value::Object(first) {
                    field.insert("prefixItems".to_owned(), json!([narrowed]));
                }
            }
            Link::Resource { kind: Kind::Path, verbs, writable } => {
                let roots = &self.policy.roots;
                let named = if *writable { &roots.write } else { &roots.read };
                let is_possible = |root: &&String| self.are_possible(verbs, Kind::Path, Place::Below(root));
                let named: Vec<&String> = named.iter().filter(is_possible).collect();
                field.insert("pattern".to_owned(), json!(pattern(&named)?));
            }
            Link::Resource { kind: Kind::Program, verbs, .. } => {
                if !self.are_possible(verbs, Kind::Program, Place::Unnamed) {
                    let names = self.programs(verbs);
                    if names.is_empty() {
                        return None;
                    }
                    field.insert("enum".to_owned(), json!(names));
                }
            }
            Link::Resource { kind, verbs, .. } => {
                if !self.are_possible(verbs, *kind, Place::Anywhere) {
                    if field.get("type") != Some(&json!("boolean")) {
                        return None;
                    }
                    field.insert("enum".to_owned(), json!([false]));
                }
            }
            Link::Fact(name) => {
                let mut field = Value::Object(field);
                return keep(&mut field, &|text| self.is_possible_with(name, text)).then_some(field);
            }
            Link::Choice(of) => {
                if let Some(names) = self.registry.choices(&self.action.name, of) {
                    let names: BTreeSet<_> = names.into_iter().collect();
                    if names.is_empty() {
                        return None;
                    }
                    field.insert("enum".to_owned(), json!(names));
                }
            }
        }
        Some(Value::Object(field))
    }

    /// Whether any effect of the action could be let happen: it always states one of them.
    fn is_anything_possible(&self) -> bool {
        let Self { policy, uid, .. } = *self;
        self.concretes.iter().any(|concrete| {
            let place = Place::Anywhere;
            let mut kinds = concrete.kinds.iter();
            kinds.any(|kind| policy.is_possible(&Case { concrete, uid, kind: *kind, place, fact: None }))
        })
    }

    /// Whether all of these verbs could be let happen to one resource.
    fn are_possible(&self, verbs: &[Verb], kind: Kind, place: Place<'_>) -> bool {
        let (policy, uid) = (self.policy, self.uid);
        self.of(verbs).all(|concrete| policy.is_possible(&Case { concrete, uid, kind, place, fact: None }))
    }

    /// Whether an effect could be let happen that states this fact.
    fn is_possible_with(&self, name: &str, text: &str) -> bool {
        let (policy, uid, place, fact) = (self.policy, self.uid, Place::Anywhere, Some((name, text)));
        let mut stating = self.concretes.iter().filter(|concrete| concrete.facts.contains_key(name));
        stating.any(|concrete| {
            let mut kinds = concrete.kinds.iter();
            kinds.any(|kind| policy.is_possible(&Case { concrete, uid, kind: *kind, place, fact }))
        })
    }

    /// Every name of every program that a policy names and could let run.
    fn programs(&self, verbs: &[Verb]) -> BTreeSet<String> {
        let rules = self.of(verbs).flat_map(|concrete| &self.policy.by_action[concrete.index].rules);
        let rules: BTreeSet<usize> = rules.copied().collect();
        let mut programs: BTreeSet<String> = BTreeSet::new();
        let mut spellings = Vec::new();
        for rule in rules.into_iter().map(|index| &self.policy.rules[index]) {
            let named = rule.policy.entity_literals().into_iter();
            let named = named.filter(|uid| uid.type_name().to_string() == Kind::Program.as_str());
            programs.extend(named.map(|uid| uid.id().unescaped().to_owned()));
            spellings.extend(&rule.spellings);
        }
        programs.retain(|program| {
            let resource = Resource::new(Kind::Program, &**program);
            let entity = Entity::of(&resource, &self.policy.roots);
            self.are_possible(verbs, Kind::Program, Place::At(&entity))
        });
        let spelled = spellings.into_iter().filter(|(real, _)| programs.contains(real.id().unescaped()));
        let spelled = spelled.map(|(_, spelled)| spelled.id().unescaped().to_owned());
        let names: BTreeSet<String> =
            programs.iter().flat_map(|program| self.policy.aliases.of(program)).chain(spelled).collect();
        // What has no text cannot stand among arguments.
        names.into_iter().filter(|name| name.starts_with('/')).collect()
    }

    fn of(&self, verbs: &[Verb]) -> impl Iterator<Item = &Concrete> {
        self.concretes.iter().copied().filter(|concrete| verbs.contains(&concrete.verb))
    }
}

/// The texts of these roots and of what is below them: none for no root.
fn pattern(roots: &[&String]) -> Option<String> {
    let within = |root: &&&String| {
        let mut others = roots.iter().filter(|other| other != root);
        others.any(|other| is_at_or_below(root, other))
    };
    // The slash of "/" belongs to what is below it.
    let start = |root: String| quoted(root.strip_suffix('/').unwrap_or(&root));
    let (mut plain, mut uris) = (Vec::new(), Vec::new());
    for root in roots.iter().filter(|root| !within(root)) {
        let bytes = path_of(root).map(|path| path.into_os_string().into_encoded_bytes()).unwrap_or_default();
        uris.push(start(path::uri(&bytes)));
        plain.extend(Some((*root).clone()).filter(|root| root.starts_with('/')).map(start));
    }
    let any = format!("([^/%\\u0000]|{ESCAPE})");
    let but_a_dot = format!("([^/.%\\u0000]|{ESCAPE})");
    let below_uri = format!(r"(/(\.?|\.?{but_a_dot}{any}*|\.\.{any}+))*");
    let spelled = [(plain, BELOW), (uris, &below_uri)];
    let spelled = spelled.into_iter().filter(|(starts, _)| !starts.is_empty());
    let spelled: Vec<_> = spelled.map(|(starts, below)| format!("({}){below}", starts.join("|"))).collect();
    (!spelled.is_empty()).then(|| format!("^({})$", spelled.join("|")))
}

/// A text in a regular expression (ECMA-262, SyntaxCharacter).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"^$\.*+?()[]{}|".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// The texts that a schema lists, at least.
fn texts(schema: &Value) -> Option<Vec<&str>> {
    match (&schema["const"], &schema["enum"], &schema["oneOf"]) {
        (Value::String(only), _, _) => Some(vec![only]),
        (_, Value::Array(listed), _) => Some(listed.iter().filter_map(Value::as_str).collect()),
        (_, _, Value::Array(alternatives)) => Some(alternatives.iter().filter_map(texts).flatten().collect()),
        _ => None,
    }
}

/// Keeps of the texts that a schema lists those that are wanted; false where none is left.
fn keep(schema: &mut Value, is_wanted: &dyn Fn(&str) -> bool) -> bool {
    if let Some(only) = schema.get("const") {
        return only.as_str().is_none_or(is_wanted);
    }
    if let Some(Value::Array(listed)) = schema.get_mut("enum") {
        listed.retain(|text| text.as_str().is_none_or(is_wanted));
        return !listed.is_empty();
    }
    if let Some(Value::Array(alternatives)) = schema.get_mut("oneOf") {
        alternatives.retain_mut(|alternative| keep(alternative, is_wanted));
        return !alternatives.is_empty();
    }
    true
}
