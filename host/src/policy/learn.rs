//! `llm-osd policy learn`: the narrowest rules for what a human approved.
//!
//! A rule permits one user one action with one verb, on exactly the things and with exactly the facts that were approved. What
//! always asks, what destroys (unless it is asked for), what a human also denied, and what the policy permits already is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use llm_os_core::Principal;
use llm_os_core::effect::{Effect, Fact, Verb};
use llm_os_core::name::ActionName;
use llm_os_core::policy::{self, Decision, Query};
use llm_os_core::registry::Registry;

use super::past::{Past, Question, Seen};
use super::source::Text;
use super::vocabulary::quoted;
use super::{Policy, PolicyError, Protected, Roots, Source};

/// What of the past is learned from.
pub(crate) struct Choice {
    /// An approval counts from so many on.
    pub(crate) min: u64,
    /// Whether what removes is learned too.
    pub(crate) destroy: bool,
}

/// What one rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    uid: u32,
    action: ActionName,
    verb: Verb,
    /// As Cedar compares them.
    facts: Vec<String>,
}

/// What was approved of it.
#[derive(Default)]
struct Approved {
    /// As Cedar writes them.
    resources: BTreeSet<String>,
    count: u64,
    first: Option<String>,
    last: String,
    approvers: BTreeSet<u32>,
    why: Option<String>,
}

/// The proposed policy, a text of Cedar, and nothing else happens with it.
///
/// # Errors
///
/// A policy in force that is not accepted.
pub(crate) fn learn(
    past: &Past,
    source: &Source,
    registry: &Registry,
    choice: &Choice,
) -> Result<String, PolicyError> {
    let policies = past
        .roots
        .iter()
        .map(|roots| Policy::of(source.read()?, registry, Roots::new(roots), Protected::default()));
    let policies = policies.collect::<Result<Vec<_>, _>>()?;
    let mut rules: BTreeMap<Subject, Approved> = BTreeMap::new();
    let mut left = BTreeMap::new();
    for question in &past.questions {
        let approved: Vec<_> = question.decided.iter().filter(|(decided, _)| decided.approved).collect();
        let count: u64 = approved.iter().map(|(_, seen)| seen.count).sum();
        if count == 0 || count < choice.min {
            continue;
        }
        match to_learn(question, &policies[question.roots], past, choice) {
            Ok(effects) => {
                for effect in effects {
                    let subject = Subject::of(question, effect);
                    let rule = rules.entry(subject).or_default();
                    rule.resources.insert(resource(effect));
                    approved.iter().for_each(|(_, seen)| rule.add(seen));
                }
            }
            Err(why) => *left.entry(why).or_insert(0) += count,
        }
    }
    let names: BTreeSet<_> = policies.iter().flat_map(Policy::ids).map(str::to_owned).collect();
    Ok(written(&rules, &left, &names, registry, source))
}

/// The effects that a rule would have to permit.
fn to_learn<'a>(
    question: &'a Question,
    policy: &Policy,
    past: &Past,
    choice: &Choice,
) -> Result<Vec<&'a Effect>, &'static str> {
    let was_denied = |id: &String| past.denied.contains(id);
    if question.decided.keys().any(|decided| decided.pending_id.as_ref().is_some_and(was_denied)) {
        return Err("a human also denied it");
    }
    if question.danger {
        return Err("it states a danger, and so asks each time");
    }
    if question.effects.iter().any(|effect| effect.asks.is_some() || effect.refuses.is_some()) {
        return Err("a rule that no policy can lift asks each time");
    }
    let principal = Principal { uid: question.uid, session: None };
    let ruling =
        |effect| policy::rule(policy, Query { principal: &principal, action: &question.action, effect });
    let mut effects = Vec::new();
    for effect in &question.effects {
        match ruling(effect).decision {
            Decision::Allow => {}
            Decision::Deny => return Err("the policy denies it now"),
            Decision::Confirm if effect.verb == Verb::Destroy && !choice.destroy => {
                return Err("it destroys; --destroy learns that too");
            }
            Decision::Confirm => effects.push(effect),
        }
    }
    if effects.is_empty() { Err("the policy permits it already") } else { Ok(effects) }
}

impl Subject {
    fn of(question: &Question, effect: &Effect) -> Self {
        let facts = effect.facts.iter().map(|(name, fact)| is(name, fact));
        let display = effect.resource.display.iter();
        let display = display.map(|display| format!("resource in Display::{}", quoted(display)));
        let facts = display.chain(facts).collect();
        Self { uid: question.uid, action: question.action.clone(), verb: effect.verb, facts }
    }
}

impl Approved {
    fn add(&mut self, seen: &Seen) {
        self.count += seen.count;
        let first = &seen.first;
        if self.first.as_ref().is_none_or(|time| first.time < *time) {
            self.first = Some(first.time.clone());
            self.why.clone_from(&first.why);
        }
        self.last = std::mem::take(&mut self.last).max(seen.last_time.clone());
        self.approvers.extend(first.approver);
    }
}

fn written(
    rules: &BTreeMap<Subject, Approved>,
    left: &BTreeMap<&'static str, u64>,
    names: &BTreeSet<String>,
    registry: &Registry,
    source: &Source,
) -> String {
    let mut out = String::from(
        "// Proposed by llm-osd policy learn, from what a human approved. Nothing is installed. Read each rule, then:\n\
         //   llm-osd policy check FILE       is it accepted?\n\
         //   llm-osd policy backtest FILE    what would have been decided by it? (beside the policy in force, as one directory)\n\
         // and put the rules that you want into the directory of your policy yourself.\n",
    );
    let _ = writeln!(out, "// What {source} permits already is left out.");
    for (why, count) in left {
        let _ = writeln!(out, "// {count} approved, no rule: {why}.");
    }
    let mut number = 0;
    for (subject, approved) in rules {
        let id = loop {
            number += 1;
            let id = format!("learned-{number}");
            if !names.contains(&id) {
                break id;
            }
        };
        out.push('\n');
        out += &comment(approved);
        let rule = cedar(subject, approved, &id);
        match accepted(&rule, registry) {
            Ok(()) => out += &rule,
            Err(why) => {
                let why = why.lines().collect::<Vec<_>>().join(" ");
                let _ = writeln!(out, "// No rule: {}", why.escape_debug());
            }
        }
    }
    if rules.is_empty() {
        out += "\n// There is nothing to propose.\n";
    }
    out
}

fn comment(approved: &Approved) -> String {
    let Approved { count, first, last, approvers, why, .. } = approved;
    let by = approvers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let mut out =
        format!("// {count} times, from {} to {last}, by user {by}", first.as_deref().unwrap_or(last));
    if let Some(why) = why {
        let _ = write!(out, "\n// the requester's words, which nobody checked: \"{}\"", why.escape_default());
    }
    out.push('\n');
    out
}

fn cedar(subject: &Subject, approved: &Approved, id: &str) -> String {
    let Subject { uid, action, verb, facts } = subject;
    let resources: Vec<_> = approved.resources.iter().cloned().collect();
    let (scope, any_of) = match resources.as_slice() {
        [one] => (format!("resource == {one}"), None),
        several => {
            let any = several.iter().map(|one| format!("resource == {one}")).collect::<Vec<_>>();
            ("resource".to_owned(), Some(format!("({})", any.join(" || "))))
        }
    };
    let conditions: Vec<_> = any_of.into_iter().chain(facts.iter().cloned()).collect();
    let when = match conditions.is_empty() {
        true => String::new(),
        false => format!("\nwhen {{\n  {}\n}}", conditions.join(" &&\n  ")),
    };
    format!(
        "@id(\"{id}\")\n@reason(\"a human approved exactly this, {} times\")\n\
         permit (\n  principal in User::\"{uid}\",\n  action == Action::\"{action}/{verb}\",\n  {scope}\n){when};\n",
        approved.count
    )
}

/// Whether a rule would be loaded by itself: interpreters and their like are permitted by none.
fn accepted(rule: &str, registry: &Registry) -> Result<(), String> {
    let text = Text::one("the rule".to_owned(), rule.to_owned(), false);
    let loaded = Policy::of(text, registry, Roots::default(), Protected::default());
    loaded.map(drop).map_err(|e| e.to_string())
}

fn resource(effect: &Effect) -> String {
    format!("{}::{}", effect.resource.kind.as_str(), quoted(&effect.resource.id))
}

/// That a fact is just this; an empty set has no literal that passes Cedar's strict validation.
fn is(name: &str, fact: &Fact) -> String {
    match fact {
        Fact::Bool(true) => format!("context.{name}"),
        Fact::Bool(false) => format!("!context.{name}"),
        Fact::Long(value) => format!("context.{name} == {value}"),
        Fact::Text(text) => format!("context.{name} == {}", quoted(text)),
        Fact::Set(texts) if texts.is_empty() => format!("context.{name}.isEmpty()"),
        Fact::Set(texts) => {
            let texts = texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
            format!("context.{name} == [{texts}]")
        }
    }
}
