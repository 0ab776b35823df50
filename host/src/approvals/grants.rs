//! What sessions may do again without asking, since a human said so.
//!
//! A grant is for one user, one session of theirs, and whoever knows that session's secret: 256 random bits that the host
//! issues with the first grant, and keeps as SHA-256 alone. It permits the actions of the plan that the human saw, exactly:
//! the same params, resolved to the same effects. It lifts no deny, ends after its time, and is gone with the host.

use std::collections::HashMap;
use std::time::Duration;

use llm_os_core::audit::Approved;
use llm_os_core::effect::{Effect, Kind};
use llm_os_core::pipeline::{Asked, HeldAction, HeldPlan};
use llm_os_core::policy::Decision;
use llm_os_core::{Code, Effects, Fault, Principal, Secret};
use serde_json::{Value, json};

use super::{digest, random_id, random_secret};

/// The most grants of one user at a time.
const MAX_GRANTS: usize = 256;

/// Every grant, by the digest of its session's secret.
#[derive(Default)]
pub(super) struct Grants(HashMap<[u8; 32], Session>);

struct Session {
    caller: Principal,
    grants: Vec<Grant>,
}

struct Grant {
    id: String,
    approved: Approved,
    at: Duration,
    acts: Vec<Act>,
    used: u64,
}

/// One action that may be done again.
struct Act {
    again: String,
    effects: Effects,
}

/// A grant that is about to be recorded.
pub(crate) struct Draft {
    pub(crate) id: String,
    /// What it permits, in words.
    pub(crate) permits: Vec<String>,
    acts: Vec<Act>,
}

impl Draft {
    /// What the human would grant who approves this plan for its session.
    ///
    /// # Errors
    ///
    /// Why it cannot be granted.
    pub(crate) fn of(plan: &HeldPlan) -> Result<Self, Fault> {
        let permits = permits(plan)?;
        let act = |(action, again): (&HeldAction, &String)| Act {
            again: again.clone(),
            effects: action.effects.clone(),
        };
        let acts = asked(plan).map(act).collect();
        Ok(Self { id: random_id("g")?, permits, acts })
    }
}

/// What a grant of this plan would permit, in words.
///
/// # Errors
///
/// Why it cannot be granted.
pub(crate) fn permits(plan: &HeldPlan) -> Result<Vec<String>, Fault> {
    let refused = |why: String| Err(Fault::invalid("$.actions[0].params.session", why));
    if plan.principal.session.is_none() {
        return refused("the plan names no session, so there is none to grant it to".to_owned());
    }
    let always = asked(plan).find_map(|(action, again)| {
        let why = action.always_asks()?;
        Some(format!("{} asks a human each time: {why}", again.split(' ').next().unwrap_or_default()))
    });
    if let Some(why) = always {
        return refused(why);
    }
    Ok(asked(plan).map(|(_, again)| in_words(again)).collect())
}

/// The actions of a plan that a human is asked about, each with what the same again would be.
fn asked(plan: &HeldPlan) -> impl Iterator<Item = (&HeldAction, &String)> {
    let actions = plan.actions.iter().zip(&plan.again);
    actions.filter(|(action, _)| action.ruling.decision == Decision::Confirm)
}

fn in_words(again: &str) -> String {
    format!("again exactly: {again}")
}

impl Grants {
    /// Adds a grant to the session whose secret the plan showed, or begins one; the secret.
    ///
    /// # Errors
    ///
    /// `busy` where the user has too many, or no randomness.
    pub(super) fn add(
        &mut self,
        draft: Draft,
        plan: &HeldPlan,
        mut approved: Approved,
        at: Duration,
    ) -> Result<Secret, Fault> {
        self.has_room(plan.principal.uid)?;
        approved.grant = Some(draft.id.clone());
        let grant = Grant { id: draft.id, approved, at, acts: draft.acts, used: 0 };
        let shown = plan.session_secret.as_ref().filter(|secret| {
            self.0.get(&digest(secret)).is_some_and(|session| session.caller == plan.principal)
        });
        let secret = shown.cloned().map_or_else(random_secret, Ok)?;
        let new = || Session { caller: plan.principal.clone(), grants: Vec::new() };
        self.0.entry(digest(&secret)).or_insert_with(new).grants.push(grant);
        Ok(secret)
    }

    /// Whether this user may have another one.
    ///
    /// # Errors
    ///
    /// `busy`.
    pub(super) fn has_room(&self, uid: u32) -> Result<(), Fault> {
        let of_user = self.0.values().filter(|session| session.caller.uid == uid);
        if of_user.map(|session| session.grants.len()).sum::<usize>() < MAX_GRANTS {
            return Ok(());
        }
        let message =
            format!("user {uid} has {MAX_GRANTS} grants already; revoke some: llmsh grants lists them");
        Err(Fault::new(Code::BUSY, message))
    }

    /// The approvals that cover all of these, in their order.
    pub(super) fn covering(
        &mut self,
        secret: &Secret,
        caller: &Principal,
        asked: &[Asked<'_>],
    ) -> Option<Vec<Approved>> {
        let session = self.0.get_mut(&digest(secret)).filter(|session| session.caller == *caller)?;
        let covering = |asked: &Asked<'_>| session.grants.iter().position(|grant| grant.permits(asked));
        let covering: Vec<_> = asked.iter().map(covering).collect::<Option<_>>()?;
        let approved = covering.iter().map(|index| session.grants[*index].approved.clone()).collect();
        for (index, grant) in session.grants.iter_mut().enumerate() {
            grant.used += u64::from(covering.contains(&index));
        }
        Some(approved)
    }

    /// Ends one; whether there was one.
    pub(super) fn revoke(&mut self, id: &str) -> bool {
        let count = |grants: &HashMap<_, Session>| grants.values().map(|s| s.grants.len()).sum::<usize>();
        let before = count(&self.0);
        self.0.values_mut().for_each(|session| session.grants.retain(|grant| grant.id != id));
        self.0.retain(|_, session| !session.grants.is_empty());
        count(&self.0) < before
    }

    pub(super) fn prune(&mut self, now: Duration, life: Duration) {
        for session in self.0.values_mut() {
            session.grants.retain(|grant| now.saturating_sub(grant.at) < life);
        }
        self.0.retain(|_, session| !session.grants.is_empty());
    }

    /// Every grant as an approver sees it, oldest first.
    pub(super) fn listed(&self, now: Duration, life: Duration) -> Vec<Value> {
        let grants = self.0.values().flat_map(|s| s.grants.iter().map(|grant| (&s.caller, grant)));
        let mut grants: Vec<_> = grants.collect();
        grants.sort_by(|(_, a), (_, b)| a.at.cmp(&b.at).then_with(|| a.id.cmp(&b.id)));
        let told = |(caller, grant): (&Principal, &Grant)| {
            let age = now.saturating_sub(grant.at);
            json!({
                "grant_id": grant.id,
                "uid": caller.uid,
                "session_id": caller.session,
                "approver": grant.approved.approver,
                "age_s": age.as_secs(),
                "expires_in_s": life.saturating_sub(age).as_secs(),
                "used": grant.used,
                "permits": grant.acts.iter().map(|act| in_words(&act.again)).collect::<Vec<_>>(),
            })
        };
        grants.into_iter().map(told).collect()
    }
}

impl Grant {
    fn permits(&self, asked: &Asked<'_>) -> bool {
        self.acts.iter().any(|act| {
            let (granted, now) = (act.effects.as_slice(), asked.effects.as_slice());
            act.again == asked.again
                && granted.len() == now.len()
                && granted.iter().zip(now).all(|(granted, now)| is_same(granted, now))
        })
    }
}

/// Equal in everything; a file is the same one by its real path, since what is done again replaces it.
fn is_same(granted: &Effect, now: &Effect) -> bool {
    match now.resource.kind {
        Kind::Path => *granted == Effect { identity: granted.identity.clone(), ..now.clone() },
        Kind::Program | Kind::Window | Kind::Display | Kind::Device | Kind::Handle | Kind::Own(_) => {
            granted == now
        }
    }
}
