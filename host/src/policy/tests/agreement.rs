//! A hundred thousand plans are judged twice: by the host, from the frame through the real `fs`, `exec`, and Cedar, and by
//! a second, simple judge that shares no code with it. They never disagree.
//!
//! `tree` is the files that plans are about, `plans` makes plans and policies from a seed, `simple` judges them. A policy is a
//! list of [`rules::Rule`]s, which is written as Cedar for the one and walked through for the other.
//!
//! What they let through, `host.describe` allowed as well: the params of each such plan are accepted by the narrowed schema.
//!
//! What drives a desktop is judged from its effects on, since a plan for it resolves only where there is a display.

mod narrowed;
mod plans;
mod rules;
mod simple;
mod tree;

use std::sync::Arc;

use llm_os_core::audit::Who;
use llm_os_core::pipeline::{self, Door, Limits, Parsed};
use llm_os_core::request::Request;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::policy::testing::Unrecorded;
use plans::{Plan, Random, Step, desktop_effect};
use tree::Tree;

/// How many plans there are, unless `LLM_OS_PLANS` says otherwise: `scripts/long` asks for more.
const PLANS: usize = 100_000;
/// How many plans each policy judges.
const EACH: usize = 1_000;
/// What every run begins with, unless `LLM_OS_SEED` says otherwise.
const SEED: u64 = 20_261_125;

/// What a judge makes of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Allow,
    Confirm,
    Deny,
    /// It does not resolve, so that nothing is judged: a file where a directory is needed, a move into itself.
    Failed,
}

/// The tree, the capabilities on it, and what runs plans.
struct Machine {
    tree: Tree,
    registry: Registry,
    roots: Vec<Root>,
    runtime: Runtime,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn the_host_and_a_simple_judge_agree_on_every_plan() {
    let plans = number("LLM_OS_PLANS").map_or(PLANS, |plans| usize::try_from(plans).unwrap());
    let seed = number("LLM_OS_SEED").unwrap_or(SEED);
    let policies = plans.div_ceil(EACH);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let counts = std::thread::scope(|scope| {
        let judge = |worker| move || judge_all(seed, (worker..policies).step_by(workers));
        let threads: Vec<_> = (0..workers).map(|worker| scope.spawn(judge(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold([0; 4], |mut all, counts| {
            all.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
            all
        })
    });
    let [allowed, confirmed, denied, failed] = counts;
    println!(
        "{allowed} allowed, {confirmed} to confirm, {denied} denied, {failed} not resolved, by {policies} policies"
    );
    let total: usize = counts.iter().sum();
    assert!(total >= plans && counts[..3].iter().all(|count| *count > total / 20), "{counts:?}");
}

/// Judges the plans of these policies, and counts the answers.
fn judge_all(seed: u64, policies: impl Iterator<Item = usize>) -> [usize; 4] {
    let machine = Machine::new();
    let mut counts = [0; 4];
    for policy in policies {
        let seed = seed.wrapping_add(policy as u64);
        let mut random = Random::new(seed);
        let rules = plans::rules(&mut random, &machine.tree);
        let text = rules.iter().enumerate().map(|(index, rule)| rule.cedar(index)).collect::<String>();
        let loaded = machine.load(&text);
        let narrowed = narrowed::Narrowed::new(&machine, &loaded);
        for _ in 0..EACH {
            let plan = plans::plan(&mut random, &machine.tree);
            let found = machine.judge(&loaded, &plan);
            let expected = simple::judge(&machine.tree, &rules, &plan);
            assert_eq!(
                found, expected,
                "the judges disagree, host first (seed {seed}): {plan:#?}\nby\n{text}"
            );
            if matches!(found, Answer::Allow | Answer::Confirm) {
                let refused = narrowed.refuses(&plan);
                assert_eq!(
                    refused, None,
                    "what is let through was not allowed (seed {seed}): {plan:#?}\nby\n{text}"
                );
            }
            counts[found as usize] += 1;
        }
    }
    counts
}

impl Machine {
    fn new() -> Self {
        let tree = Tree::new();
        let root = |(name, mode): &(&str, Mode)| Root { path: tree.at(name).into(), mode: *mode };
        let roots: Vec<_> = tree::ROOTS.iter().map(root).collect();
        let mut registry = Registry::linked().unwrap();
        registry.open(&Default::default(), &Setup { roots: roots.clone(), ..Setup::default() }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { tree, registry, roots, runtime }
    }

    fn load(&self, text: &str) -> Arc<Policy> {
        let protected = Protected::new(tree::PROTECTED.iter().map(|name| self.tree.at(name).into())).unwrap();
        let written = Text::one("generated".to_owned(), text.to_owned(), false);
        let policy = Policy::of(written, &self.registry, Roots::new(&self.roots), protected);
        Arc::new(policy.unwrap_or_else(|e| panic!("{e}\n{text}")))
    }

    fn judge(&self, policy: &Arc<Policy>, plan: &Plan) -> Answer {
        let mut answer = match plan.frame() {
            Some(frame) => self.judge_frame(policy, &frame, plan.uid),
            None => Answer::Allow,
        };
        let principal = Principal { uid: plan.uid, session: None };
        for step in &plan.steps {
            if let Step::Desktop(step) = step {
                let (action, effect) = (action(step.action), desktop_effect(policy, step));
                let ruling = policy.judge(Query { principal: &principal, action: &action, effect: &effect });
                answer = answer.max(Answer::of(ruling.decision));
            }
        }
        answer
    }

    /// Walks the plan through the pipeline, as far as it goes without anything being done.
    fn judge_frame(&self, policy: &Arc<Policy>, frame: &str, uid: u32) -> Answer {
        let request =
            Request::read(frame.as_bytes()).unwrap_or_else(|unread| panic!("{}: {frame}", unread.fault));
        let who = Who { uid, gid: uid, pid: 0, exe: None };
        let door = Door {
            registry: &self.registry,
            judge: policy.clone(),
            ledger: &Unrecorded,
            approvals: &Unrecorded,
            evidence: None,
            limits: Limits::default(),
        };
        let walk = pipeline::walk(Parsed::new(request, who, "t".to_owned()), &door, CancellationToken::new());
        let response = self.runtime.block_on(walk);
        match &response.error {
            Some(error) if error.code == llm_os_core::Code::POLICY_DENIED => Answer::Deny,
            Some(_) => Answer::Failed,
            None => {
                let decisions = response.results.iter().map(|result| result.decision.expect("a decision"));
                decisions.map(Answer::of).max().expect("an action")
            }
        }
    }
}

impl Answer {
    fn of(decision: Decision) -> Self {
        match decision {
            Decision::Allow => Answer::Allow,
            Decision::Confirm => Answer::Confirm,
            Decision::Deny => Answer::Deny,
        }
    }
}
