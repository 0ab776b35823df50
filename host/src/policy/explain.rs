//! `llm-osd policy explain`: which policies decide a plan, and what would change the answer.
//!
//! The plan is resolved as the host resolves it, and judged; nothing of it is executed. Each policy that could decide is then
//! taken apart: its scope and each of its conditions is asked of Cedar alone, so that what is told is what Cedar says.

use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy::{Authorizer, Decision as Answer, PolicySet};
use llm_os_core::audit::Who;
use llm_os_core::effect::Effect;
use llm_os_core::error::Fault;
use llm_os_core::pipeline::{self, Door, Limits, Parsed};
use llm_os_core::policy::{Decision, Judge, Principal, Query, Ruling};
use llm_os_core::reach::Reach;
use llm_os_core::registry::Registry;
use llm_os_core::request::{Mode, Request};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Policy;
use super::entities::{Entity, World};
use super::rules::Rule;
use super::testing::Unrecorded;

/// A plan explained.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    pub(crate) policy: String,
    pub(crate) policy_sha256: String,
    pub(crate) uid: u32,
    /// The strictest decision: that about the plan.
    pub(crate) decision: Decision,
    pub(crate) actions: Vec<ExplainedAction>,
}

/// One action.
#[derive(Debug, Serialize)]
pub(crate) struct ExplainedAction {
    pub(crate) action: String,
    pub(crate) decision: Decision,
    pub(crate) policies: Value,
    pub(crate) effects: Vec<ExplainedEffect>,
}

/// One effect of an action.
#[derive(Debug, Serialize)]
pub(crate) struct ExplainedEffect {
    pub(crate) effect: Effect,
    pub(crate) decision: Decision,
    /// The ids of those that decided.
    pub(crate) by: Vec<String>,
    /// What would have to be otherwise.
    pub(crate) to_change: Vec<String>,
    /// Every policy about such an effect, those that decided first.
    pub(crate) policies: Vec<ExplainedRule>,
}

/// One policy, held against one effect.
#[derive(Debug, Serialize)]
pub(crate) struct ExplainedRule {
    pub(crate) id: String,
    /// Its file and line.
    pub(crate) place: String,
    pub(crate) kind: &'static str,
    pub(crate) decided: bool,
    /// Whether its scope holds: principal and resource; the action is in it.
    pub(crate) principal: bool,
    pub(crate) resource: bool,
    pub(crate) conditions: Vec<ExplainedCondition>,
}

/// One `when` or `unless`.
#[derive(Debug, Serialize)]
pub(crate) struct ExplainedCondition {
    pub(crate) text: String,
    /// Whether it lets the policy apply, before and after a human confirmed.
    pub(crate) unconfirmed: bool,
    pub(crate) confirmed: bool,
}

/// A judge that remembers what it was asked.
struct Listening {
    policy: Arc<Policy>,
    asked: Mutex<Vec<(String, Effect)>>,
}

impl Judge for Listening {
    fn judge(&self, query: Query<'_>) -> Ruling {
        let asked = (query.action.to_string(), query.effect.clone());
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        self.policy.judge(query)
    }

    fn covers_subtree(&self, query: Query<'_>) -> bool {
        self.policy.covers_subtree(query)
    }

    fn reach(&self, principal: &Principal, confirmed: bool) -> Reach {
        self.policy.reach(principal, confirmed)
    }

    fn policy_sha256(&self) -> &str {
        self.policy.policy_sha256()
    }
}

/// Resolves and judges a plan of this user, and says why.
///
/// # Errors
///
/// What does not come as far as the policy.
pub(crate) fn explain(
    request: Request,
    uid: u32,
    policy: Arc<Policy>,
    registry: &Registry,
    name: String,
) -> Result<Explained, Fault> {
    let principal = Principal { uid, session: request.session.clone() };
    let calls: Vec<_> = request.calls.iter().map(|call| (call.name.clone(), call.danger.is_some())).collect();
    let who = Who { uid, gid: uid, pid: 0, exe: None };
    let listening = Arc::new(Listening { policy: policy.clone(), asked: Mutex::default() });
    let door = Door {
        registry,
        judge: listening,
        ledger: &Unrecorded,
        approvals: &Unrecorded,
        evidence: None,
        limits: Limits::default(),
    };
    let request = Request { mode: Mode::PlanOnly, ..request };
    let walk =
        pipeline::walk(Parsed::new(request, who, "explain".to_owned()), &door, CancellationToken::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Fault::invalid("$", e.to_string()))?;
    let response = runtime.block_on(walk);
    if let Some(error) = response.error {
        let fault = Fault::new(error.code, error.message);
        return Err(match error.path {
            Some(path) => fault.at(path),
            None => fault,
        });
    }
    let mut actions = Vec::new();
    for (result, (action, danger)) in response.results.iter().zip(calls) {
        let effects = result.effects.iter().flatten();
        let effects = effects.map(|effect| policy.explained(&principal, &action, effect, danger)).collect();
        actions.push(ExplainedAction {
            action: action.to_string(),
            decision: result.decision.unwrap_or(Decision::Deny),
            policies: json!(result.policies),
            effects,
        });
    }
    let decision = actions.iter().map(|action| action.decision).max().unwrap_or(Decision::Deny);
    let policy_sha256 = policy.policy_sha256().to_owned();
    Ok(Explained { policy: name, policy_sha256, uid, decision, actions })
}

impl Policy {
    fn explained(
        &self,
        principal: &Principal,
        action: &llm_os_core::name::ActionName,
        effect: &Effect,
        danger: bool,
    ) -> ExplainedEffect {
        let ruling = llm_os_core::policy::rule(self, Query { principal, action, effect });
        let by: Vec<_> = ruling.policies.iter().map(|reason| reason.policy.clone()).collect();
        let mut policies = self.taken_apart(principal, action, effect, &by);
        policies.sort_by_key(|rule| (!rule.decided, !rule.is_in_scope(), rule.failing()));
        let to_change = to_change(&ruling, &policies, danger);
        ExplainedEffect { effect: effect.clone(), decision: ruling.decision, by, to_change, policies }
    }

    /// Every policy about such an effect, held against it piece by piece.
    fn taken_apart(
        &self,
        principal: &Principal,
        action: &llm_os_core::name::ActionName,
        effect: &Effect,
        by: &[String],
    ) -> Vec<ExplainedRule> {
        let Ok(concrete) = self.vocabulary.declared(action, effect) else { return Vec::new() };
        let relevant = &self.by_action[concrete.index];
        let resource = Entity::of(&effect.resource, &self.roots);
        let world = World::new(&self.vocabulary, concrete, principal, &resource, &relevant.named);
        let holds = |json: &Value, confirmed: bool| {
            let alone = cedar_policy::Policy::from_json(None, json.clone()).ok();
            let set = alone.and_then(|policy| PolicySet::from_policies([policy]).ok());
            set.zip(world.request(effect, confirmed).ok()).is_some_and(|(set, request)| {
                let response = Authorizer::new().is_authorized(&request, &set, &world.entities);
                response.decision() == Answer::Allow
            })
        };
        let rules = relevant.rules.iter().map(|index| &self.rules[*index]);
        rules.filter_map(|rule| rule.explained(&holds, by)).collect()
    }
}

impl Rule {
    fn explained(&self, holds: &impl Fn(&Value, bool) -> bool, by: &[String]) -> Option<ExplainedRule> {
        let written = self.policy.to_json().ok()?;
        let alone = |part: &str, conditions: Value| {
            let all = json!({"op": "All"});
            let of = |name: &str| if name == part { written[name].clone() } else { all.clone() };
            json!({
                "effect": "permit",
                "principal": of("principal"),
                "action": all,
                "resource": of("resource"),
                "conditions": conditions,
            })
        };
        let conditions = self.conditions.iter().map(|condition| {
            let alone = alone("conditions", json!([condition]));
            let text = cedar_policy::Policy::from_json(None, alone.clone()).ok();
            let text =
                text.and_then(|policy| policy.to_cedar()).map_or_else(String::new, |text| shown(&text));
            ExplainedCondition { text, unconfirmed: holds(&alone, false), confirmed: holds(&alone, true) }
        });
        Some(ExplainedRule {
            id: self.id.clone(),
            place: self.place.clone(),
            kind: if self.permits { "permit" } else { "forbid" },
            decided: by.contains(&self.id),
            principal: holds(&alone("principal", json!([])), false),
            resource: holds(&alone("resource", json!([])), false),
            conditions: conditions.collect(),
        })
    }
}

/// A condition without the scope that was put around it, on one line.
fn shown(text: &str) -> String {
    let condition = ["when", "unless"].iter().filter_map(|word| text.find(&format!("{word} {{"))).min();
    let text = condition.map_or(text, |at| &text[at..]).trim_end_matches(';');
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl ExplainedRule {
    /// How many of its conditions keep it from applying although a human confirmed.
    fn failing(&self) -> usize {
        self.conditions.iter().filter(|condition| !condition.confirmed).count()
    }

    fn is_in_scope(&self) -> bool {
        self.principal && self.resource
    }

    /// What keeps it from applying.
    fn lacks(&self) -> String {
        match (self.principal, self.resource) {
            (false, false) => return "it is about other users, and other things".to_owned(),
            (false, true) => return "it is about other users".to_owned(),
            (true, false) => return "it is about other things".to_owned(),
            (true, true) => {}
        }
        let failing = self.conditions.iter().filter(|condition| !condition.confirmed);
        failing.map(|condition| condition.text.clone()).collect::<Vec<_>>().join("; ")
    }
}

/// How many permits that come near are told.
const NEAR: usize = 3;

fn to_change(ruling: &Ruling, policies: &[ExplainedRule], danger: bool) -> Vec<String> {
    let by_host = ruling.policies.iter().any(|reason| reason.policy == "host");
    match ruling.decision {
        Decision::Allow if danger => {
            vec!["the action states a danger, and so asks a human whatever the policy says".to_owned()]
        }
        Decision::Allow => vec!["a forbid about it, or the permit taken out".to_owned()],
        Decision::Confirm if by_host => {
            vec!["a human who confirms it; no policy can lift that it asks".to_owned()]
        }
        Decision::Confirm => {
            let mut to_change = vec!["a human who confirms it".to_owned()];
            let would_permit = policies.iter().filter(|rule| rule.kind == "permit" && !rule.decided);
            to_change.extend(would_permit.take(NEAR).map(near));
            to_change
        }
        Decision::Deny if by_host => {
            vec!["nothing: the host itself refuses it, and no policy can lift that".to_owned()]
        }
        Decision::Deny => {
            let forbids = policies.iter().filter(|rule| rule.kind == "forbid" && rule.decided);
            let forbids: Vec<_> =
                forbids.map(|rule| format!("without the forbid {} ({})", rule.id, rule.place)).collect();
            if !forbids.is_empty() {
                return forbids;
            }
            let permits: Vec<_> =
                policies.iter().filter(|rule| rule.kind == "permit").take(NEAR).map(near).collect();
            if permits.is_empty() { vec!["a permit about it: there is none".to_owned()] } else { permits }
        }
    }
}

fn near(rule: &ExplainedRule) -> String {
    format!("the permit {} ({}) would apply, but for: {}", rule.id, rule.place, rule.lacks())
}

impl Explained {
    /// For eyes.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{}: by {} for user {}\n", self.decision, self.policy, self.uid);
        for (index, action) in self.actions.iter().enumerate() {
            out += &format!("\naction {}: {} -> {}\n", index + 1, action.action, action.decision);
            for explained in &action.effects {
                let ExplainedEffect { effect, decision, by, to_change, policies } = explained;
                let id = effect.resource.id.escape_default();
                let kind = effect.resource.kind.as_str();
                out += &format!("  {} {kind} \"{id}\" -> {decision}", effect.verb);
                out += &match by.is_empty() {
                    true => " (no policy permits it)\n".to_owned(),
                    false => format!(" ({})\n", by.join(", ")),
                };
                for (name, fact) in &effect.facts {
                    out += &format!(
                        "      {name} = {}\n",
                        json!(fact).to_string().escape_default().to_string().replace("\\\"", "\"")
                    );
                }
                for why in effect.asks.iter().chain(&effect.refuses) {
                    out += &format!("      the host: {}\n", why.escape_default());
                }
                for rule in policies.iter().filter(|rule| rule.decided) {
                    out += &format!("    decided by {} {} ({})\n", rule.kind, rule.id, rule.place);
                    for condition in &rule.conditions {
                        out += &format!("      {}\n", condition.text);
                    }
                }
                for change in to_change {
                    out += &format!("    would change it: {change}\n");
                }
            }
        }
        out
    }
}
