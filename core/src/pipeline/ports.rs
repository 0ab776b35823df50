//! What the pipeline needs of a host: a ledger and approvals. The third, the policy, is [`Judge`](crate::Judge).

use std::future::Future;

use crate::audit::{Approved, Entry};
use crate::effect::Effects;
use crate::error::Fault;
use crate::evidence::Shown;
use crate::name::Id;
use crate::policy::{Principal, Ruling};
use crate::value::Secret;

/// The proof that entries are durable: only a [`Ledger`] gives it out.
#[derive(Clone, Debug)]
#[must_use = "what was recorded may now happen, or be told"]
pub struct Durable {
    /// The first sequence number.
    pub first: u64,
    /// The last sequence number.
    pub last: u64,
    /// SHA-256 of the last record.
    pub receipt: String,
}

/// Where records go before anything happens.
pub trait Ledger: Send + Sync {
    /// Writes the entries in order, next to each other, and resolves once they are durable (`fdatasync`).
    ///
    /// # Errors
    ///
    /// `audit_unavailable`; nothing may happen then, and no output leaves.
    fn write(&self, entries: Vec<Entry>) -> impl Future<Output = Result<Durable, Fault>> + Send;

    /// Hands over entries that need not be durable before the answer: refusals that had no effect to record.
    ///
    /// # Errors
    ///
    /// `audit_unavailable`.
    fn note(&self, entries: Vec<Entry>) -> Result<(), Fault>;

    /// The keyed digest that stands for a secret.
    fn digest(&self, secret: &[u8]) -> String;

    /// Takes note that a request with `once` is about to run, durably.
    ///
    /// # Errors
    ///
    /// `duplicate_request` with the earlier outcome in the details.
    fn claim(&self, who: &Principal, request: &Id, run: &str) -> Result<(), Fault>;

    /// How a claimed request ended: the code of its error, or `ok`.
    fn settle(&self, who: &Principal, request: &Id, outcome: &str);
}

/// A plan that waits for a human.
#[derive(Clone, Debug)]
pub struct HeldPlan {
    /// Who sent it.
    pub principal: Principal,
    /// Its request id.
    pub request_id: Id,
    /// Its canonical form, see [`canonical`](crate::request::canonical).
    pub canonical: String,
    /// For each action: what it resolved to, and the ruling.
    pub actions: Vec<HeldAction>,
    /// For each action: what the same again would be, see [`Call::again`](crate::request::Call::again).
    pub again: Vec<String>,
    /// The secret of its session that it showed.
    pub session_secret: Option<Secret>,
}

/// One action of a held plan.
#[derive(Clone, Debug)]
pub struct HeldAction {
    /// The effects, with their identities.
    pub effects: Effects,
    /// What was decided.
    pub ruling: Ruling,
    /// What the approver is shown of it beside its params.
    pub previews: Vec<Shown>,
}

impl HeldAction {
    /// Why a human must confirm this each time anew, whatever a session is granted: a rule that no policy can lift.
    pub fn always_asks(&self) -> Option<&str> {
        let stated = self.effects.as_slice().iter().find_map(|effect| effect.asks.as_deref());
        let by_host = || self.ruling.policies.iter().find(|reason| reason.policy == "host");
        stated.or_else(|| by_host().map(|reason| reason.reason.as_deref().unwrap_or("a rule of the host")))
    }
}

/// One action that needs confirmation, in a plan that shows the secret of a session.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// See [`Call::again`](crate::request::Call::again).
    pub again: &'a str,
    /// What it resolved to now.
    pub effects: &'a Effects,
}

/// What a held plan's caller gets.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The name of the held plan; not a secret.
    pub id: String,
    /// Lets its holder wait for the decision; a secret.
    pub wait_secret: String,
}

/// What a caller that shows a token claims to have had confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Who shows it.
    pub principal: &'a Principal,
    /// The canonical plan.
    pub canonical: &'a str,
    /// What it resolved to now, for each action.
    pub effects: &'a [Effects],
}

/// Where plans are held and tokens redeemed.
pub trait Approvals: Send + Sync {
    /// Keeps a plan until a human decides.
    ///
    /// # Errors
    ///
    /// `busy` where too many are pending.
    fn hold(&self, plan: HeldPlan) -> Result<Pending, Fault>;

    /// Lets go of a plan whose holding could not be recorded.
    fn release(&self, pending_id: &str);

    /// Consumes a token: whatever the answer, it is not valid a second time.
    ///
    /// # Errors
    ///
    /// `confirmation_invalid` where it is unknown, used, expired, or minted for another plan or caller;
    /// `confirmation_stale` where the plan now resolves to something else.
    fn redeem(&self, token: &Secret, claim: Claim<'_>) -> Result<Approved, Fault>;

    /// The approvals by which a session may do all of this again, one for each action that is asked about; `None` where one
    /// of them is not granted, or the secret is not that of this caller's session: the plan is held then, as without it.
    fn granted(&self, secret: &Secret, caller: &Principal, asked: &[Asked<'_>]) -> Option<Vec<Approved>>;
}
