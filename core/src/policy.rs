//! What the pipeline asks of a policy, and what it gets: data, on which the one driver acts.

use std::fmt;

use serde::Serialize;

use crate::effect::Effect;
use crate::name::{ActionName, Id};
use crate::reach::{Profile, Reach};

/// Who sent a plan. The uid comes from the socket (`SO_PEERCRED`, unix(7)); the session is the caller's own word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The peer's user.
    pub uid: u32,
    /// The session that the request names.
    pub session: Option<Id>,
}

/// What is to happen with an effect, an action or a plan, least strict first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It runs.
    Allow,
    /// It runs once a human confirmed exactly it.
    Confirm,
    /// It does not run, confirmed or not.
    Deny,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Decision::Allow => "allow",
            Decision::Confirm => "confirm",
            Decision::Deny => "deny",
        })
    }
}

/// A policy that took part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reason {
    /// The policy's `@id`; `host` for a rule that no policy can lift.
    pub policy: String,
    /// The policy's `@reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it says `@record("clear")`: where every policy that decided an action says so, its secret params stand
    /// in the record as they are, and not as length and digest.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clear: bool,
}

impl Reason {
    /// A rule that no policy can lift.
    pub fn host(why: impl Into<String>) -> Self {
        Self { policy: "host".to_owned(), reason: Some(why.into()), clear: false }
    }
}

/// A decision and what made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ruling {
    /// The decision.
    pub decision: Decision,
    /// The policies that made it; empty where nothing permits, which is a deny.
    pub policies: Vec<Reason>,
    /// Where it lets a program run: what its policies add to the program's reach.
    #[serde(skip_serializing_if = "Profile::is_empty")]
    pub profile: Profile,
}

impl Ruling {
    /// A decision with the policies that made it, and nothing added.
    pub fn new(decision: Decision, policies: Vec<Reason>) -> Self {
        Self { decision, policies, profile: Profile::default() }
    }
}

/// One authorisation request.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// For which action.
    pub action: &'a ActionName,
    /// To do what.
    pub effect: &'a Effect,
}

/// The one shared policy. The host's is Cedar; a test brings its own.
///
/// An implementation fails closed: what it cannot decide it denies.
pub trait Judge: Send + Sync {
    /// Decides one effect. [`Effect::asks`] and [`Effect::refuses`] are not its business: the pipeline raises the decision itself.
    fn judge(&self, query: Query<'_>) -> Ruling;

    /// Whether one ruling on `query` provably holds for every path below its resource, with whatever facts. `false`
    /// where unsure.
    fn covers_subtree(&self, query: Query<'_>) -> bool;

    /// What a program that this caller starts may touch: what the policy permits outright, and where `confirmed`, what it
    /// permits once a human confirmed.
    fn reach(&self, principal: &Principal, confirmed: bool) -> Reach;

    /// SHA-256 of the loaded policies, in hexadecimal, for the record.
    fn policy_sha256(&self) -> &str;
}

/// The strictest ruling over the effects of one action, and where it states a danger; what the pipeline decides by.
pub fn rule_action(
    judge: &dyn Judge,
    principal: &Principal,
    action: &ActionName,
    danger: bool,
    effects: &[Effect],
) -> Ruling {
    let mut ruling = Ruling::new(Decision::Allow, Vec::new());
    if danger {
        ruling = Ruling::new(Decision::Confirm, vec![Reason::host("the action states a danger")]);
    }
    let mut profile = Profile::default();
    for effect in effects {
        let one = rule(judge, Query { principal, action, effect });
        profile.add(&one.profile);
        if one.decision > ruling.decision {
            ruling = one;
        } else if one.decision == ruling.decision {
            ruling.policies.extend(one.policies);
        }
    }
    ruling.policies.sort();
    ruling.policies.dedup();
    Ruling { profile, ..ruling }
}

/// The ruling on one effect with the rules that no policy can lift.
pub fn rule(judge: &dyn Judge, query: Query<'_>) -> Ruling {
    if let Some(why) = &query.effect.refuses {
        return Ruling::new(Decision::Deny, vec![Reason::host(&**why)]);
    }
    let ruling = judge.judge(query);
    match &query.effect.asks {
        Some(why) if ruling.decision == Decision::Allow => {
            Ruling { decision: Decision::Confirm, policies: vec![Reason::host(&**why)], ..ruling }
        }
        _ => ruling,
    }
}
