//! `llm-osd policy backtest`: every decision of the past, made again by another policy.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use llm_os_core::Principal;
use llm_os_core::policy::{self, Decision, Ruling};
use llm_os_core::registry::Registry;
use serde::Serialize;
use serde_json::{Value, json};

use super::past::{Decided, Past, Question};
use super::{Policy, PolicyError, Protected, Roots, Source};
use crate::progress::Progress;

/// What would change.
#[derive(Debug, Serialize)]
pub(crate) struct Backtest {
    /// How many decisions the log holds.
    pub(crate) decisions: u64,
    /// How many would be as they were.
    pub(crate) unchanged: u64,
    /// How many of those would be decided by other policies.
    pub(crate) by_others: u64,
    /// Those that would not, what becomes more permissive first.
    pub(crate) changes: Vec<Change>,
    /// Decisions that cannot be made again, by why.
    pub(crate) left_out: BTreeMap<String, u64>,
    /// Why the log does not verify, if so.
    pub(crate) broken: Option<String>,
}

/// Decisions about one action that would change alike.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    pub(crate) action: String,
    pub(crate) from: Decision,
    pub(crate) to: Decision,
    pub(crate) count: u64,
    /// The policies that would decide.
    pub(crate) policies: Vec<String>,
    /// Some of them, each by its first record.
    pub(crate) examples: Vec<Value>,
}

/// How many examples of a change are told.
const EXAMPLES: usize = 3;

impl Backtest {
    /// Makes every decision again by the policy of `source`.
    ///
    /// # Errors
    ///
    /// A policy that is not accepted.
    pub(crate) fn run(past: &Past, source: &Source, registry: &Registry) -> Result<Self, PolicyError> {
        let policies = past
            .roots
            .iter()
            .map(|roots| Policy::of(source.read()?, registry, Roots::new(roots), Protected::default()));
        let policies = policies.collect::<Result<Vec<_>, _>>()?;
        // A log without any start says no roots: then no question could be made again, and the policy is still checked.
        if policies.is_empty() {
            Policy::of(source.read()?, registry, Roots::default(), Protected::default())?;
        }
        let rulings = rule_all(&past.questions, &policies);
        let (mut unchanged, mut by_others) = (0, 0);
        let mut changes: BTreeMap<_, Change> = BTreeMap::new();
        for (question, ruling) in past.questions.iter().zip(&rulings) {
            for (decided, seen) in &question.decided {
                if decided.decision == ruling.decision || decided.is_refused_by_host() {
                    unchanged += seen.count;
                    let is_by_others = !decided.is_refused_by_host() && decided.policies != ids(ruling);
                    by_others += if is_by_others { seen.count } else { 0 };
                    continue;
                }
                let key = (decided.decision, ruling.decision, question.action.clone(), ids(ruling));
                let change = changes.entry(key).or_insert_with(|| Change::new(question, decided, ruling));
                change.count += seen.count;
                if change.examples.len() < EXAMPLES {
                    change.examples.push(json!({
                        "seq": seen.first.seq,
                        "time": seen.first.time,
                        "request_id": seen.first.request_id,
                        "uid": question.uid,
                        "effects": question.effects,
                    }));
                }
            }
        }
        let mut changes: Vec<_> = changes.into_values().collect();
        changes.sort_by(|a, b| {
            a.tightens().cmp(&b.tightens()).then(b.count.cmp(&a.count)).then_with(|| a.action.cmp(&b.action))
        });
        let broken = past.verified.as_ref().err().map(ToString::to_string);
        Ok(Self {
            decisions: past.decisions,
            unchanged,
            by_others,
            changes,
            left_out: past.left_out.clone(),
            broken,
        })
    }

    /// For eyes.
    pub(crate) fn text(&self) -> String {
        let Self { decisions, unchanged, by_others, .. } = self;
        let mut out = format!(
            "{decisions} decisions, {unchanged} as they were, {by_others} of those by other policies\n"
        );
        for change in &self.changes {
            let Change { action, from, to, count, policies, examples } = change;
            let by =
                if policies.is_empty() { "no policy permits it".to_owned() } else { policies.join(", ") };
            out += &format!("\n{from} -> {to}  {count} x {action}  ({by})\n");
            for example in examples {
                let on = example["effects"].as_array().into_iter().flatten();
                let on = on.map(|effect| {
                    let text = |value: &Value| value.as_str().unwrap_or_default().escape_debug().to_string();
                    let resource = &effect["resource"];
                    format!(
                        "{} {} \"{}\"",
                        text(&effect["verb"]),
                        text(&resource["kind"]),
                        text(&resource["id"])
                    )
                });
                let on = on.collect::<Vec<_>>().join(", ");
                out += &format!("    record {}, user {}: {on}\n", example["seq"], example["uid"]);
            }
        }
        for (why, count) in &self.left_out {
            out += &format!("\n{count} could not be decided again: {}", why.escape_debug());
        }
        if let Some(broken) = &self.broken {
            out += &format!("\nthe log does not verify: {broken}");
        }
        out
    }
}

impl Change {
    fn new(question: &Question, decided: &Decided, ruling: &Ruling) -> Self {
        Self {
            action: question.action.to_string(),
            from: decided.decision,
            to: ruling.decision,
            count: 0,
            policies: ids(ruling),
            examples: Vec::new(),
        }
    }

    fn tightens(&self) -> bool {
        self.to > self.from
    }
}

/// The policies of a ruling, each once.
pub(crate) fn ids(ruling: &Ruling) -> Vec<String> {
    let mut ids: Vec<_> = ruling.policies.iter().map(|reason| reason.policy.clone()).collect();
    ids.dedup();
    ids
}

/// Decides every question, on all processors.
pub(crate) fn rule_all(questions: &[Question], policies: &[Policy]) -> Vec<Ruling> {
    let progress = Progress::of_things("deciding again", questions.len());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(questions.len().max(1));
    let next = AtomicUsize::new(0);
    let ruled = Mutex::new(Vec::with_capacity(questions.len()));
    let work = || {
        let mut own = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(question) = questions.get(index) else { break };
            own.push((index, question.rule(&policies[question.roots])));
            progress.add(1);
        }
        ruled.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(own);
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut ruled = ruled.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ruled.sort_by_key(|(index, _)| *index);
    ruled.into_iter().map(|(_, ruling)| ruling).collect()
}

impl Question {
    /// What a policy says of it, with the rules that no policy can lift.
    pub(crate) fn rule(&self, policy: &Policy) -> Ruling {
        let principal = Principal { uid: self.uid, session: None };
        policy::rule_action(policy, &principal, &self.action, self.danger, &self.effects)
    }
}
