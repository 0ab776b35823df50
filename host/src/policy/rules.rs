//! From the text of policies to the rules that are judged by.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    ActionConstraint, Effect, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint,
    ResourceConstraint, ValidationMode, ValidationWarning, Validator,
};
use llm_os_core::effect::{Kind, Verb};
use llm_os_core::error::excerpt;
use serde_json::Value;

use super::PolicyError;
use super::annotations::Annotations;
use super::names::real;
use super::source::Text;
use super::vocabulary::{Concrete, Vocabulary};

/// One policy, with what is known of it without evaluating it.
pub(crate) struct Rule {
    pub(crate) id: String,
    /// Its file, and the line that its `@id` stands on, where it has one.
    pub(crate) place: String,
    pub(crate) annotations: Annotations,
    pub(crate) policy: Policy,
    pub(crate) permits: bool,
    action: ActionConstraint,
    pub(crate) resource: ResourceConstraint,
    any_principal: bool,
    /// Its `when` and `unless`, as Cedar writes them in JSON.
    pub(crate) conditions: Vec<Value>,
    /// Those that differ from the real form.
    pub(crate) spellings: Spellings,
    /// Whether its conditions look at the resource, or at a fact other than `confirmed`.
    pub(crate) looks_closer: bool,
    /// Whether its conditions compute, so that they can fail: an integer may overflow.
    pub(crate) computes: bool,
}

/// The accepted policies, and what their author should know.
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    pub(crate) notes: Vec<String>,
}

/// A policy as it was read.
struct Read {
    policy: Policy,
    /// The index of its file.
    file: usize,
}

impl Rules {
    /// Parses, names, validates and brings into real form; lists every problem, not only the first.
    pub(crate) fn of(text: &Text, vocabulary: &Vocabulary) -> Result<Self, PolicyError> {
        let mut problems = Vec::new();
        let read = read(text, &mut problems);
        if !problems.is_empty() {
            return Err(PolicyError::Refused(problems));
        }
        let mut notes = Vec::new();
        validate(&read, text, vocabulary, &mut problems, &mut notes);
        let mut rules = Vec::new();
        for Read { policy, file } in &read {
            let place = place(&text.files[*file].name, &text.files[*file].text, name(policy.id()));
            match real_form(policy).and_then(|real| Rule::of(policy, place, real, vocabulary)) {
                Ok(rule) => rules.push(rule),
                Err(why) => problems.push(format!("policy \"{}\": {why}", excerpt(name(policy.id())))),
            }
        }
        if problems.is_empty() { Ok(Self { rules, notes }) } else { Err(PolicyError::Refused(problems)) }
    }
}

impl Rule {
    fn of(
        written: &Policy,
        place: String,
        (policy, spellings): (Policy, Spellings),
        vocabulary: &Vocabulary,
    ) -> Result<Self, String> {
        let mut json = policy.to_json().map_err(|e| e.to_string())?;
        if asks_about_another(&json["conditions"]) {
            return Err(
                "the left side of \"in\" must be principal, action or resource: nothing else has ancestors \
                        here, so that the answer would always be no"
                    .to_owned(),
            );
        }
        let (permits, action) = (policy.effect() == Effect::Permit, policy.action_constraint());
        Ok(Self {
            id: name(written.id()).to_owned(),
            place,
            annotations: Annotations::of(written, permits && can_run(&action, vocabulary))?,
            permits,
            action,
            resource: policy.resource_constraint(),
            any_principal: matches!(policy.principal_constraint(), PrincipalConstraint::Any),
            looks_closer: looks_closer(&json["conditions"]),
            computes: computes(&json["conditions"]),
            conditions: json["conditions"].as_array_mut().map(std::mem::take).unwrap_or_default(),
            spellings,
            policy,
        })
    }

    /// Whether the action is in its scope, and acts on what its scope names by type.
    pub(crate) fn is_about(&self, concrete: &Concrete) -> bool {
        let is_of_type = match &self.resource {
            ResourceConstraint::Is(ty) | ResourceConstraint::IsIn(ty, _) => {
                concrete.kinds.iter().any(|kind| kind.as_str() == ty.to_string())
            }
            ResourceConstraint::Any | ResourceConstraint::Eq(_) | ResourceConstraint::In(_) => true,
        };
        is_of_type && is_about(&self.action, concrete)
    }

    /// The users that it names.
    pub(crate) fn users(&self) -> impl Iterator<Item = u32> {
        let named = self.policy.entity_literals().into_iter();
        named
            .filter(|uid| uid.type_name().to_string() == "User")
            .filter_map(|uid| uid.id().unescaped().parse().ok())
    }

    /// Whether it says the same of every caller, resource and fact.
    pub(crate) fn is_uniform(&self) -> bool {
        self.any_principal && matches!(self.resource, ResourceConstraint::Any) && !self.looks_closer
    }
}

/// Parses every file. The id of a policy is its `@id`, else `policy` and its number over all files.
fn read(text: &Text, problems: &mut Vec<String>) -> Vec<Read> {
    let mut all: Vec<Read> = Vec::new();
    let mut ids: HashMap<String, String> = HashMap::new();
    for (file, source) in text.files.iter().enumerate() {
        let set = match PolicySet::from_str(&source.text) {
            Ok(set) => set,
            Err(errors) => {
                let shown =
                    errors.iter().map(|e| located(&source.name, &source.text, &DetailedError::from(e)));
                problems.extend(shown);
                continue;
            }
        };
        if let Some(template) = set.templates().next() {
            problems.push(format!(
                "{}: template \"{}\": templates are not supported",
                source.name,
                template.id()
            ));
        }
        let mut policies: Vec<_> = set.policies().cloned().collect();
        policies.sort_by_key(|policy| number(policy.id()));
        for policy in policies {
            let id = policy.annotation("id").map_or_else(|| format!("policy{}", all.len()), str::to_owned);
            if id == "host"
                || id.is_empty()
                || id.len() > 128
                || !id.bytes().all(|b| (b' '..=b'~').contains(&b))
            {
                let expected = "expected 1 to 128 printable ASCII characters, and not \"host\"";
                problems.push(format!("{}: found @id(\"{}\"), {expected}", source.name, excerpt(&id)));
            }
            if let Some(other) = ids.insert(id.clone(), source.name.clone()) {
                problems.push(format!(
                    "{}: the id \"{}\" is used twice, first in {other}",
                    source.name,
                    excerpt(&id)
                ));
            }
            all.push(Read { policy: policy.new_id(PolicyId::new(id)), file });
        }
    }
    all
}

/// An id as it was written; its `Display` escapes.
fn name(id: &PolicyId) -> &str {
    id.as_ref()
}

/// The place of a policy in its file, which Cedar gives it for an id.
fn number(id: &PolicyId) -> usize {
    name(id).trim_start_matches("policy").parse().unwrap_or(usize::MAX)
}

/// Validates strictly. A warning is an error, unless it says no more than that nothing linked here can do what the
/// policy is about.
fn validate(
    read: &[Read],
    text: &Text,
    vocabulary: &Vocabulary,
    problems: &mut Vec<String>,
    notes: &mut Vec<String>,
) {
    let Ok(set) = PolicySet::from_policies(read.iter().map(|read| read.policy.clone())) else {
        // Only a duplicate id can be the cause, and it is among the problems.
        return;
    };
    let at = |id: &PolicyId, error: DetailedError| {
        let file = read.iter().find(|read| read.policy.id() == id).map_or(0, |read| read.file);
        located(&text.files[file].name, &text.files[file].text, &error)
    };
    let result = Validator::new(vocabulary.schema.clone()).validate(&set, ValidationMode::Strict);
    problems.extend(result.validation_errors().map(|e| at(e.policy_id(), DetailedError::from(e))));
    for warning in result.validation_warnings() {
        let shown = at(warning.policy_id(), DetailedError::from(warning));
        let of = read.iter().find(|read| read.policy.id() == warning.policy_id());
        let is_harmless = match warning {
            // Some paths are in two scripts.
            ValidationWarning::MixedScriptString(_) | ValidationWarning::MixedScriptIdentifier(_) => true,
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) => {
                text.is_preset || of.is_some_and(|read| !applies(&read.policy, vocabulary))
            }
            _ => false,
        };
        if is_harmless { notes.push(shown) } else { problems.push(shown) }
    }
}

/// Whether the scope of a policy, its principal aside, is about something that can be done here, or could never be.
fn applies(policy: &Policy, vocabulary: &Vocabulary) -> bool {
    let ty = |ty: &EntityTypeName| ty.to_string();
    let (wanted, is_group) = match policy.resource_constraint() {
        ResourceConstraint::Any => (None, false),
        ResourceConstraint::Is(is) | ResourceConstraint::IsIn(is, _) => (Some(ty(&is)), false),
        ResourceConstraint::Eq(uid) => (Some(ty(uid.type_name())), false),
        ResourceConstraint::In(uid) => (Some(ty(uid.type_name())), true),
    };
    let on = |kind: Kind| {
        let is_file = matches!(kind, Kind::Path | Kind::Program);
        let is_below = is_group && (is_file || kind == Kind::Window);
        wanted.as_ref().is_none_or(|wanted| wanted == kind.as_str() || is_below)
    };
    let is_never = match wanted.as_deref() {
        Some("User" | "Session" | "Action") => true,
        Some("Roots") => !is_group,
        _ => false,
    };
    let action = policy.action_constraint();
    let mut concretes = vocabulary.concretes.iter().filter(|concrete| is_about(&action, concrete));
    is_never || concretes.any(|concrete| concrete.kinds.iter().any(|kind| on(*kind)))
}

/// Whether the action is in the scope: known for each concrete action without an evaluation.
fn is_about(scope: &ActionConstraint, concrete: &Concrete) -> bool {
    let is = |uid: &EntityUid| *uid == concrete.uid || concrete.groups.contains(uid);
    match scope {
        ActionConstraint::Any => true,
        ActionConstraint::In(uids) => uids.iter().any(is),
        ActionConstraint::Eq(uid) => *uid == concrete.uid,
    }
}

/// Whether running a program is in the scope, or nothing that is linked here runs programs.
fn can_run(scope: &ActionConstraint, vocabulary: &Vocabulary) -> bool {
    let mut runs = vocabulary.concretes.iter().filter(|concrete| concrete.verb == Verb::Run).peekable();
    runs.peek().is_none() || runs.any(|concrete| is_about(scope, concrete))
}

/// The real form of an entity, and how a policy spells it.
type Spellings = Vec<(EntityUid, EntityUid)>;

/// Brings every entity that a policy names into its real form.
fn real_form(policy: &Policy) -> Result<(Policy, Spellings), String> {
    let mut changed = BTreeMap::new();
    for uid in policy.entity_literals() {
        let real = real(&uid)?;
        if real != uid {
            changed.insert(uid, real);
        }
    }
    let rebuilt = policy.sub_entity_literals(changed.clone()).map_err(|e| e.to_string())?;
    match rebuilt
        .entity_literals()
        .iter()
        .find(|uid| changed.contains_key(uid) && !changed.values().any(|v| v == *uid))
    {
        Some(left) => Err(format!("{left} could not be brought into its real form {}", changed[left])),
        None => Ok((rebuilt, changed.into_iter().map(|(written, real)| (real, written)).collect())),
    }
}

/// `file:line`.
fn place(file: &str, text: &str, id: &str) -> String {
    let stated = text.find(&format!("@id(\"{id}\")"));
    let line = stated.map_or_else(String::new, |at| format!(":{}", text[..at].matches('\n').count() + 1));
    format!("{file}{line}")
}

/// `file:line: message (help)`.
fn located(name: &str, text: &str, error: &DetailedError) -> String {
    let line = error.source_locations.first().and_then(|label| text.get(..label.loc.start));
    let line = line.map_or_else(String::new, |before| format!(":{}", before.matches('\n').count() + 1));
    let help = error.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
    format!("{name}{line}: {}{help}", error.message)
}

/// Whether `in` is asked of anything but a variable.
fn asks_about_another(json: &Value) -> bool {
    let is_variable = |left: &Value| left.get("Var").is_some_and(Value::is_string);
    match json {
        Value::Array(items) => items.iter().any(asks_about_another),
        Value::Object(fields) => {
            let asked = fields.get("in").filter(|asked| asked.get("right").is_some()).or_else(|| {
                fields
                    .get("is")
                    .filter(|asked| asked.get("entity_type").is_some() && asked.get("in").is_some())
            });
            asked.and_then(|asked| asked.get("left")).is_some_and(|left| !is_variable(left))
                || fields.values().any(asks_about_another)
        }
        _ => false,
    }
}

/// Whether a condition mentions `resource`, or `context` other than as `context.confirmed`.
fn looks_closer(json: &Value) -> bool {
    match json {
        Value::Array(items) => items.iter().any(looks_closer),
        Value::Object(fields) => {
            let is_confirmed = fields
                .get(".")
                .is_some_and(|access| access["left"]["Var"] == "context" && access["attr"] == "confirmed");
            let mentions = fields.get("Var").is_some_and(|name| name == "resource" || name == "context");
            !is_confirmed && (mentions || fields.values().any(looks_closer))
        }
        _ => false,
    }
}

/// Whether a condition adds, subtracts, multiplies or negates.
fn computes(json: &Value) -> bool {
    match json {
        Value::Array(items) => items.iter().any(computes),
        Value::Object(fields) => {
            ["+", "-", "*", "neg"].iter().any(|operator| fields.get(*operator).is_some_and(Value::is_object))
                || fields.values().any(computes)
        }
        _ => false,
    }
}
