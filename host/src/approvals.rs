//! Held plans, the tokens that release them, and what sessions were granted.
//!
//! Everything is in memory: after a restart no plan is pending and no token is valid. A token is 256 random bits,
//! kept only as its SHA-256, valid once, for 120 s of boot time (`CLOCK_BOOTTIME`, clock_gettime(2)), for the one plan,
//! caller and resolution it was minted for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use llm_os_core::audit::Approved;
use llm_os_core::pipeline::{self, Asked, Claim, HeldPlan, Pending};
use llm_os_core::value::hex;
use llm_os_core::{Code, Effects, Fault, Principal, Secret};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{Notify, watch};

use grants::Grants;
pub(crate) use grants::{Draft, permits};

mod grants;

/// How long a token is valid after the approval.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(120);
/// So many wrong tokens of one user...
const MISSES: u32 = 10;
/// ...close the door to that user's tokens for so long.
const LOCK_OUT: Duration = Duration::from_secs(60);
/// Decisions that nobody fetched are kept this long.
const DECISION_LIFE: Duration = TOKEN_LIFE;

/// Where plans wait for a human.
pub(crate) struct Desk {
    pending_life: Duration,
    max_pending: usize,
    grant_life: Duration,
    clock: fn() -> Duration,
    state: Mutex<State>,
    decided: Notify,
    /// Another number whenever what waits is another.
    revision: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    plans: HashMap<String, Waiting>,
    tokens: HashMap<[u8; 32], Minted>,
    grants: Grants,
    misses: HashMap<u32, (u32, Duration)>,
}

struct Waiting {
    plan: Arc<HeldPlan>,
    wait_secret: String,
    since: Duration,
    expires: SystemTime,
    state: Wait,
}

enum Wait {
    Pending,
    /// An approver decided, and the decision is being recorded.
    Deciding,
    Approved {
        token: Secret,
        /// The secret by which the session's grants are known, where it was granted anything with this approval.
        session_secret: Option<Secret>,
        at: Duration,
    },
    Denied {
        at: Duration,
    },
}

struct Minted {
    plan: Arc<HeldPlan>,
    approved: Approved,
    at: Duration,
}

/// A held plan as the approver sees it.
pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) plan: Arc<HeldPlan>,
    pub(crate) age: Duration,
    pub(crate) expires_in: Duration,
    /// The same as a time, which a signed approval states.
    pub(crate) expires: SystemTime,
}

/// What a waiting caller learns.
pub(crate) enum Answer {
    Pending,
    Approved { token: Secret, session_secret: Option<Secret> },
    Denied,
    Expired,
}

impl Desk {
    pub(crate) fn new(pending_life: Duration, max_pending: usize, grant_life: Duration) -> Self {
        // Not a number that the desk of an earlier host on this system came to.
        let first = u64::try_from(boot_time().as_micros()).unwrap_or_default();
        let revision = watch::Sender::new(first);
        let (state, decided) = (Mutex::default(), Notify::new());
        Self { pending_life, max_pending, grant_life, clock: boot_time, state, decided, revision }
    }

    /// How long a grant holds.
    pub(crate) fn grant_life(&self) -> Duration {
        self.grant_life
    }

    /// Every grant that holds, oldest first.
    pub(crate) fn grants(&self) -> Vec<serde_json::Value> {
        self.state().grants.listed((self.clock)(), self.grant_life)
    }

    /// Ends a grant at once; whether it held.
    pub(crate) fn revoke(&self, grant_id: &str) -> bool {
        self.state().grants.revoke(grant_id)
    }

    /// Says beforehand whether another grant has its place.
    ///
    /// # Errors
    ///
    /// `busy`.
    pub(crate) fn has_room_for_grant(&self, uid: u32) -> Result<(), Fault> {
        self.state().grants.has_room(uid)
    }

    /// The plans that wait, oldest first.
    pub(crate) fn pending(&self) -> Vec<Held> {
        let state = self.state();
        let mut held: Vec<_> =
            state.plans.iter().filter_map(|(id, waiting)| self.shown(id, waiting)).collect();
        held.sort_by(|a, b| b.age.cmp(&a.age).then_with(|| a.id.cmp(&b.id)));
        held
    }

    /// The revision of what waits, as soon as it is another than `after`, and after `wait` at the latest.
    pub(crate) async fn changed(&self, after: u64, wait: Duration) -> u64 {
        let deadline = tokio::time::Instant::now() + wait;
        let mut revision = self.revision.subscribe();
        loop {
            let next_end = self.next_end();
            let now = *revision.borrow_and_update();
            if now != after || tokio::time::Instant::now() >= deadline {
                return now;
            }
            let until = next_end.map_or(deadline, |end| deadline.min(tokio::time::Instant::now() + end));
            let _ = tokio::time::timeout_at(until, revision.changed()).await;
        }
    }

    /// In how long the next plan expires; those that did are gone.
    fn next_end(&self) -> Option<Duration> {
        let state = self.state();
        let waiting = state.plans.values().filter(|waiting| matches!(waiting.state, Wait::Pending));
        let now = (self.clock)();
        waiting.map(|waiting| (waiting.since + self.pending_life).saturating_sub(now)).min()
    }

    fn another(&self) {
        self.revision.send_modify(|revision| *revision += 1);
    }

    /// One plan that waits.
    pub(crate) fn find(&self, id: &str) -> Result<Held, Fault> {
        let state = self.state();
        state.plans.get(id).and_then(|waiting| self.shown(id, waiting)).ok_or_else(|| not_pending(id))
    }

    fn shown(&self, id: &str, waiting: &Waiting) -> Option<Held> {
        let age = (self.clock)().saturating_sub(waiting.since);
        let plan = matches!(waiting.state, Wait::Pending).then(|| waiting.plan.clone())?;
        let expires_in = self.pending_life.saturating_sub(age);
        Some(Held { id: id.to_owned(), plan, age, expires_in, expires: waiting.expires })
    }

    /// Takes a plan that waits out of the hands of other approvers while a decision on it is recorded.
    pub(crate) fn begin(&self, id: &str) -> Result<Held, Fault> {
        let mut state = self.state();
        let waiting = state.plans.get_mut(id).ok_or_else(|| not_pending(id))?;
        let held = self.shown(id, waiting).ok_or_else(|| not_pending(id))?;
        waiting.state = Wait::Deciding;
        self.another();
        Ok(held)
    }

    /// Gives a plan back whose decision could not be recorded.
    pub(crate) fn give_back(&self, id: &str) {
        if let Some(waiting) = self.state().plans.get_mut(id) {
            waiting.state = Wait::Pending;
            self.another();
        }
    }

    /// Mints the token of a plan whose approval is recorded, and makes the grant that is recorded with it. `signer` is the key
    /// that signed it, where one did.
    pub(crate) fn approve(
        &self,
        id: &str,
        approver: u32,
        signer: Option<String>,
        time: SystemTime,
        grant: Option<Draft>,
    ) -> Result<Secret, Fault> {
        let token = random_secret()?;
        let at = (self.clock)();
        let mut state = self.state();
        let plan = state.deciding(id)?.plan.clone();
        let time = humantime::format_rfc3339_micros(time).to_string();
        let approved = Approved { pending_id: id.to_owned(), approver, time, grant: None, signer };
        let grant = grant.map(|draft| state.grants.add(draft, &plan, approved.clone(), at));
        let session_secret = grant.transpose()?;
        state.deciding(id)?.state = Wait::Approved { token: token.clone(), session_secret, at };
        state.tokens.insert(digest(&token), Minted { plan, approved, at });
        drop(state);
        self.decided.notify_waiters();
        Ok(token)
    }

    /// Refuses a plan whose denial is recorded.
    pub(crate) fn deny(&self, id: &str) -> Result<(), Fault> {
        let at = (self.clock)();
        self.state().deciding(id)?.state = Wait::Denied { at };
        self.decided.notify_waiters();
        Ok(())
    }

    /// Drops every plan and token: what they were judged by is gone.
    pub(crate) fn clear(&self) {
        *self.state() = State::default();
        self.another();
        self.decided.notify_waiters();
    }

    /// Waits until a plan is decided, for at most `wait`.
    pub(crate) async fn wait(&self, id: &str, wait_secret: &Secret, wait: Duration) -> Answer {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let mut decided = std::pin::pin!(self.decided.notified());
            decided.as_mut().enable();
            match self.look(id, wait_secret) {
                Answer::Pending => {}
                answer => return answer,
            }
            if tokio::time::timeout_at(deadline, decided).await.is_err() {
                return Answer::Pending;
            }
        }
    }

    fn look(&self, id: &str, wait_secret: &Secret) -> Answer {
        let state = self.state();
        let Some(waiting) = state.plans.get(id) else { return Answer::Expired };
        // A wrong secret learns no more than that there is nothing for it.
        if !bool::from(waiting.wait_secret.as_bytes().ct_eq(wait_secret.expose().as_bytes())) {
            return Answer::Expired;
        }
        match &waiting.state {
            Wait::Pending | Wait::Deciding => Answer::Pending,
            Wait::Approved { token, session_secret, .. } => {
                Answer::Approved { token: token.clone(), session_secret: session_secret.clone() }
            }
            Wait::Denied { .. } => Answer::Denied,
        }
    }

    /// The state without what expired.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.clock)();
        if state.prune(now, self.pending_life) {
            self.another();
        }
        state.grants.prune(now, self.grant_life);
        state
    }
}

impl State {
    fn deciding(&mut self, id: &str) -> Result<&mut Waiting, Fault> {
        let waiting = self.plans.get_mut(id).filter(|waiting| matches!(waiting.state, Wait::Deciding));
        waiting.ok_or_else(|| not_pending(id))
    }

    /// Drops what is too old; whether a plan was.
    fn prune(&mut self, now: Duration, pending_life: Duration) -> bool {
        let young = |since: Duration, life: Duration| now.saturating_sub(since) < life;
        let plans = self.plans.len();
        self.plans.retain(|_, waiting| match waiting.state {
            Wait::Pending | Wait::Deciding => young(waiting.since, pending_life),
            Wait::Approved { at, .. } | Wait::Denied { at } => young(at, DECISION_LIFE),
        });
        self.tokens.retain(|_, minted| young(minted.at, TOKEN_LIFE));
        self.misses.retain(|_, (_, last)| young(*last, LOCK_OUT));
        self.plans.len() < plans
    }
}

impl pipeline::Approvals for Desk {
    fn hold(&self, plan: HeldPlan) -> Result<Pending, Fault> {
        let pending = Pending { id: random_id("p")?, wait_secret: hex(&random::<16>()?) };
        let mut state = self.state();
        let same_user =
            |w: &&Waiting| matches!(w.state, Wait::Pending) && w.plan.principal.uid == plan.principal.uid;
        if state.plans.values().filter(same_user).count() >= self.max_pending {
            let message =
                format!("{} plans of this user wait already; let them be decided first", self.max_pending);
            return Err(Fault::new(Code::BUSY, message));
        }
        let wait_secret = pending.wait_secret.clone();
        let (since, expires) = ((self.clock)(), SystemTime::now() + self.pending_life);
        let waiting = Waiting { plan: Arc::new(plan), wait_secret, since, expires, state: Wait::Pending };
        state.plans.insert(pending.id.clone(), waiting);
        self.another();
        Ok(pending)
    }

    fn release(&self, pending_id: &str) {
        self.state().plans.remove(pending_id);
        self.another();
    }

    fn redeem(&self, token: &Secret, claim: Claim<'_>) -> Result<Approved, Fault> {
        let uid = claim.principal.uid;
        let mut state = self.state();
        if state.misses.get(&uid).is_some_and(|(count, _)| *count >= MISSES) {
            let message = "too many wrong tokens from this user; wait a minute, then ask for a new approval";
            return Err(Fault::new(Code::CONFIRMATION_INVALID, message));
        }
        let Some(minted) = state.tokens.remove(&digest(token)) else {
            let misses = state.misses.entry(uid).or_default();
            *misses = (misses.0 + 1, (self.clock)());
            let message =
                "the token is unknown, used or expired; send the plan without it and have it approved";
            return Err(Fault::new(Code::CONFIRMATION_INVALID, message));
        };
        state.plans.remove(&minted.approved.pending_id);
        drop(state);
        if minted.plan.principal != *claim.principal || minted.plan.canonical != claim.canonical {
            let message = "the token was minted for another plan or caller, and is burnt";
            return Err(Fault::new(Code::CONFIRMATION_INVALID, message).detail("burnt", true));
        }
        let judged: Vec<&Effects> = minted.plan.actions.iter().map(|action| &action.effects).collect();
        if !judged.into_iter().eq(claim.effects) {
            let message =
                "what the plan resolves to changed since the approval; the token is burnt, ask anew";
            return Err(Fault::new(Code::CONFIRMATION_STALE, message).detail("burnt", true));
        }
        Ok(minted.approved)
    }

    fn granted(&self, secret: &Secret, caller: &Principal, asked: &[Asked<'_>]) -> Option<Vec<Approved>> {
        self.state().grants.covering(secret, caller, asked)
    }
}

fn not_pending(id: &str) -> Fault {
    let message =
        format!("no plan \"{}\" waits; llmsh pending lists those that do", llm_os_core::error::excerpt(id));
    Fault::invalid("$.actions[0].params.pending_id", message)
}

fn digest(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose().as_bytes()).into()
}

fn random_secret() -> Result<Secret, Fault> {
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(random::<32>()?)))
}

fn random_id(kind: &str) -> Result<String, Fault> {
    Ok(format!("{kind}-{}", hex(&random::<8>()?)))
}

fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(e) => Err(Fault::new(Code::UNAVAILABLE, "no randomness for a token").log(e.to_string())),
    }
}

fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use llm_os_core::Principal;
    use llm_os_core::name::Id;
    use llm_os_core::pipeline::Approvals;

    use super::*;

    fn caller(uid: u32) -> Principal {
        Principal { uid, session: None }
    }

    fn plan(uid: u32, canonical: &str) -> HeldPlan {
        HeldPlan {
            principal: caller(uid),
            request_id: Id::new("r").unwrap(),
            canonical: canonical.to_owned(),
            actions: Vec::new(),
            again: Vec::new(),
            session_secret: None,
        }
    }

    fn held(desk: &Desk, uid: u32, canonical: &str) -> Pending {
        desk.hold(plan(uid, canonical)).unwrap()
    }

    fn approved(desk: &Desk, pending: &Pending) -> Secret {
        desk.begin(&pending.id).unwrap();
        desk.approve(&pending.id, 0, None, SystemTime::UNIX_EPOCH, None).unwrap()
    }

    fn redeem(desk: &Desk, token: &Secret, uid: u32, canonical: &str) -> Result<Approved, &'static str> {
        let claim = Claim { principal: &caller(uid), canonical, effects: &[] };
        desk.redeem(token, claim).map_err(|fault| fault.code.as_str())
    }

    fn desk() -> Desk {
        Desk::new(Duration::from_secs(60), 4, Duration::from_secs(60))
    }

    #[test]
    fn a_token_works_once_for_its_plan_and_caller() {
        let desk = desk();
        let token = approved(&desk, &held(&desk, 1, "a"));
        assert!(redeem(&desk, &token, 1, "a").is_ok());
        assert_eq!(redeem(&desk, &token, 1, "a"), Err("confirmation_invalid"));
    }

    #[test]
    fn a_token_is_burnt_by_another_plan_and_by_another_user() {
        for (uid, plan) in [(1, "b"), (2, "a")] {
            let desk = desk();
            let token = approved(&desk, &held(&desk, 1, "a"));
            assert_eq!(redeem(&desk, &token, uid, plan), Err("confirmation_invalid"));
            assert_eq!(redeem(&desk, &token, 1, "a"), Err("confirmation_invalid"));
        }
    }

    #[test]
    fn guesses_are_refused_and_soon_locked_out() {
        let desk = desk();
        let token = approved(&desk, &held(&desk, 1, "a"));
        let padded = format!(" {} ", token.expose());
        for guess in ["", "i-understand", &padded, "a", "b", "c", "d", "e", "f", "g"] {
            assert_eq!(redeem(&desk, &Secret::new(guess), 1, "a"), Err("confirmation_invalid"), "{guess}");
        }
        assert_eq!(redeem(&desk, &token, 1, "a"), Err("confirmation_invalid"), "locked out");
        let other = approved(&desk, &held(&desk, 2, "a"));
        assert!(redeem(&desk, &other, 2, "a").is_ok(), "another user is not locked out");
    }

    #[test]
    fn too_many_pending_plans_of_a_user_are_busy() {
        let desk = desk();
        for _ in 0..4 {
            held(&desk, 1, "a");
        }
        assert_eq!(desk.hold(plan(1, "a")).unwrap_err().code, Code::BUSY);
        held(&desk, 2, "a");
    }

    #[test]
    fn a_token_expires_120_s_after_the_approval() {
        thread_local!(static NOW: std::cell::Cell<u64> = const { std::cell::Cell::new(1_000) });
        let desk = Desk { clock: || Duration::from_secs(NOW.get()), ..desk() };
        let in_time = approved(&desk, &held(&desk, 1, "a"));
        let too_late = approved(&desk, &held(&desk, 1, "a"));
        NOW.set(1_000 + 119);
        assert!(redeem(&desk, &in_time, 1, "a").is_ok());
        NOW.set(1_000 + 120);
        assert_eq!(redeem(&desk, &too_late, 1, "a"), Err("confirmation_invalid"));
    }

    #[test]
    fn a_plan_that_nobody_decides_expires() {
        thread_local!(static NOW: std::cell::Cell<u64> = const { std::cell::Cell::new(1_000) });
        let desk = Desk { clock: || Duration::from_secs(NOW.get()), ..desk() };
        let pending = held(&desk, 1, "a");
        assert_eq!(desk.pending().len(), 1);
        NOW.set(1_060);
        assert!(desk.pending().is_empty());
        assert!(desk.begin(&pending.id).is_err());
    }

    #[tokio::test]
    async fn what_waits_has_another_revision_whenever_it_is_another() {
        let desk = desk();
        let (mut last, pending) = (desk.changed(0, Duration::ZERO).await, held(&desk, 1, "a"));
        let forever = Duration::from_secs(3600);
        let mut another = async |what: &str| {
            let now = desk.changed(last, Duration::ZERO).await;
            assert_ne!(now, last, "{what}");
            assert_eq!(desk.changed(now, Duration::ZERO).await, now, "{what}");
            last = now;
        };
        another("held").await;
        desk.begin(&pending.id).unwrap();
        another("taken to be decided").await;
        desk.give_back(&pending.id);
        another("given back").await;
        desk.clear();
        another("cleared").await;
        let (now, _) = tokio::join!(desk.changed(last, forever), async { held(&desk, 1, "b") });
        assert_ne!(now, last, "a wait ends with the change");
        let short = Desk::new(Duration::from_millis(500), 4, Duration::from_secs(60));
        let pending = held(&short, 1, "a");
        let last = short.changed(0, Duration::ZERO).await;
        assert_ne!(short.changed(last, forever).await, last, "{} expired", pending.id);
        assert!(short.pending().is_empty());
    }

    #[test]
    fn a_denied_or_cleared_plan_cannot_be_approved() {
        let desk = desk();
        let (a, b) = (held(&desk, 1, "a"), held(&desk, 1, "b"));
        desk.begin(&a.id).unwrap();
        desk.deny(&a.id).unwrap();
        assert!(desk.begin(&a.id).is_err());
        desk.begin(&b.id).unwrap();
        desk.clear();
        assert!(desk.approve(&b.id, 0, None, SystemTime::UNIX_EPOCH, None).is_err());
    }

    #[test]
    fn only_one_approver_decides_and_a_decision_that_was_not_recorded_is_none() {
        let desk = desk();
        let pending = held(&desk, 1, "a");
        desk.begin(&pending.id).unwrap();
        assert!(desk.begin(&pending.id).is_err());
        desk.give_back(&pending.id);
        assert!(desk.approve(&pending.id, 0, None, SystemTime::UNIX_EPOCH, None).is_err(), "not begun");
        approved(&desk, &pending);
    }

    #[tokio::test]
    async fn only_the_holder_of_the_wait_secret_learns_the_decision() {
        let desk = desk();
        let pending = held(&desk, 1, "a");
        approved(&desk, &pending);
        let wrong = desk.wait(&pending.id, &Secret::new("0".repeat(32)), Duration::ZERO).await;
        assert!(matches!(wrong, Answer::Expired));
        let right = desk.wait(&pending.id, &Secret::new(pending.wait_secret), Duration::ZERO).await;
        assert!(matches!(right, Answer::Approved { .. }));
    }
}
