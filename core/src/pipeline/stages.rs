//! The stages before anything runs.

use crate::audit::{Approved, Who};
use crate::capability::{ActionSpec, ConnectionId};
use crate::effect::{Effect, Effects};
use crate::error::{Code, Fault, excerpt};
use crate::evidence::Shown;
use crate::name::Id;
use crate::pipeline::ports::{Approvals, Asked, Claim, HeldAction, HeldPlan, Pending};
use crate::policy::{self, Decision, Judge, Principal, Ruling};
use crate::registry::{AnyResolved, Checked, Registry};
use crate::request::{Call, Mode, Request, Unread};
use crate::value::Secret;

/// What every stage carries.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) id: Id,
    pub(super) mode: Mode,
    pub(super) once: bool,
    pub(super) calls: Vec<Call>,
    pub(super) token: Option<Secret>,
    pub(super) session_secret: Option<Secret>,
    pub(super) principal: Principal,
    pub(super) who: Who,
    pub(super) run: String,
    pub(super) connection: ConnectionId,
}

impl Plan {
    fn canonical(&self) -> String {
        crate::request::canonical(self.principal.session.as_ref(), &self.calls)
    }

    fn refuse(self, fault: Fault) -> Box<Refused> {
        Box::new(Refused { plan: self, fault, actions: Vec::new(), pending: None })
    }
}

/// A request whose envelope is checked, and who sent it.
#[derive(Debug)]
#[must_use]
pub struct Parsed {
    plan: Plan,
}

impl Parsed {
    /// Reads a frame, without its LF. `run` is the host's own unique id of this run.
    ///
    /// # Errors
    ///
    /// What is not a request, with its ids as far as they could be read.
    pub fn from_frame(frame: &[u8], who: Who, run: String) -> Result<Self, Unread> {
        Request::read(frame).map(|request| Self::new(request, who, run))
    }

    /// Takes a request that was read already.
    pub fn new(request: Request, who: Who, run: String) -> Self {
        let Request { id, session, mode, calls, token, session_secret, once } = request;
        let principal = Principal { uid: who.uid, session };
        Self {
            plan: Plan {
                id,
                mode,
                once,
                calls,
                token,
                session_secret,
                principal,
                who,
                run,
                connection: ConnectionId::default(),
            },
        }
    }

    /// Names the connection that it came by.
    pub fn on(mut self, connection: ConnectionId) -> Self {
        self.plan.connection = connection;
        self
    }

    /// Types the params of every action.
    ///
    /// # Errors
    ///
    /// An unknown action, params that do not fit, or values that are not accepted; nothing was touched.
    pub fn validate(self, registry: &Registry) -> Result<Validated, Box<Refused>> {
        let plan = self.plan;
        let mut checked = Vec::with_capacity(plan.calls.len());
        for (index, call) in plan.calls.iter().enumerate() {
            match check(registry, call) {
                Ok(action) => checked.push(action),
                Err(fault) => return Err(plan.refuse(fault.in_action(index))),
            }
        }
        Ok(Validated { plan, checked })
    }
}

fn check(registry: &Registry, call: &Call) -> Result<Checked, Fault> {
    if registry.action(&call.name).is_none() {
        let name = call.name.as_str();
        let next = match registry.nearest(name) {
            Some(near) => format!("did you mean \"{near}\"? host.describe lists all"),
            None => "host.describe lists what there is".to_owned(),
        };
        let fault =
            Fault::new(Code::UNKNOWN_ACTION, format!("there is no action \"{}\"; {next}", excerpt(name)));
        return Err(fault);
    }
    registry.capability(&call.name)?.check(call.name.verb(), &call.params)
}

/// A plan whose params are typed and accepted.
#[must_use]
pub struct Validated {
    plan: Plan,
    checked: Vec<Checked>,
}

impl Validated {
    /// Opens what every action names, without touching it.
    ///
    /// # Errors
    ///
    /// What is not there or cannot be named safely, or an effect that the capability did not declare.
    pub fn resolve(self, registry: &Registry) -> Result<Resolved, Box<Refused>> {
        let Self { plan, checked } = self;
        let mut actions = Vec::with_capacity(checked.len());
        for (index, (call, checked)) in plan.calls.iter().zip(checked).enumerate() {
            match resolve(registry, call, checked, &plan.principal) {
                Ok(action) => actions.push(action),
                Err(fault) => return Err(plan.refuse(fault.in_action(index))),
            }
        }
        Ok(Resolved { plan, actions })
    }
}

fn resolve(
    registry: &Registry,
    call: &Call,
    checked: Checked,
    caller: &Principal,
) -> Result<AnyResolved, Fault> {
    let resolved = registry.capability(&call.name)?.resolve(checked, caller)?;
    let spec = registry.action(&call.name).expect("validated").spec;
    match resolved.effects.as_slice().iter().find(|effect| !declared(spec, effect)) {
        None => Ok(resolved),
        Some(effect) => {
            let Effect { verb, resource, .. } = effect;
            let message =
                format!("{} stated {verb} on {} as it did not declare it", call.name, resource.kind.as_str());
            Err(Fault::new(Code::CAPABILITY_FAULT, message))
        }
    }
}

fn declared(spec: &ActionSpec, effect: &Effect) -> bool {
    let of_kind = spec.effects.iter().find(|s| s.verb == effect.verb && s.kind == effect.resource.kind);
    of_kind.is_some_and(|spec| {
        let typed = |name: &str| spec.facts.iter().find(|fact| fact.name == name).map(|fact| fact.ty);
        spec.facts.len() == effect.facts.len()
            && effect.facts.iter().all(|(name, fact)| typed(name) == Some(fact.ty()))
    })
}

/// Params typed and resolved anew, for an action whose plan changed the world since.
pub(super) fn resolve_again(
    registry: &Registry,
    call: &Call,
    caller: &Principal,
) -> Result<AnyResolved, Fault> {
    resolve(registry, call, check(registry, call)?, caller)
}

/// A plan that is bound to what it names.
#[must_use]
pub struct Resolved {
    plan: Plan,
    actions: Vec<AnyResolved>,
}

impl Resolved {
    /// Asks the policy about every effect of every action.
    pub fn judge(self, judge: &dyn Judge) -> Judged {
        let Self { plan, actions } = self;
        let judged = plan.calls.iter().zip(actions).map(|(call, resolved)| {
            let ruling = rule_action(judge, &plan.principal, call, &resolved.effects);
            JudgedAction { resolved, ruling, previews: Vec::new() }
        });
        let actions = judged.collect();
        Judged { plan, actions }
    }
}

/// The strictest ruling over the effects of one action.
pub(super) fn rule_action(
    judge: &dyn Judge,
    principal: &Principal,
    call: &Call,
    effects: &Effects,
) -> Ruling {
    policy::rule_action(judge, principal, &call.name, call.danger.is_some(), effects.as_slice())
}

/// One action with its ruling.
pub(super) struct JudgedAction {
    pub(super) resolved: AnyResolved,
    pub(super) ruling: Ruling,
    /// Only of a plan that is held.
    pub(super) previews: Vec<Shown>,
}

/// A plan that the policy decided, as a whole.
#[must_use]
pub struct Judged {
    plan: Plan,
    actions: Vec<JudgedAction>,
}

/// What a judged plan may do next.
#[must_use]
pub enum Verdict {
    /// The caller wanted no more than the decision.
    PlanOnly(Planned),
    /// It may run.
    Allowed(Cleared),
    /// It needs a token, or shows one, which is then checked.
    Held(Held),
}

impl Judged {
    /// One deny refuses the plan; one confirm holds it.
    ///
    /// # Errors
    ///
    /// `policy_denied`, naming the first action that is denied and the policies that decided.
    pub fn decide(self) -> Result<Verdict, Box<Refused>> {
        let Self { plan, actions } = self;
        if plan.mode == Mode::PlanOnly {
            return Ok(Verdict::PlanOnly(Planned { plan, actions }));
        }
        if let Some(index) = actions.iter().position(|action| action.ruling.decision == Decision::Deny) {
            let fault = denied(&plan.calls[index], &actions[index].ruling).in_action(index);
            return Err(Box::new(Refused { plan, fault, actions: shown(actions), pending: None }));
        }
        let asks = actions.iter().any(|action| action.ruling.decision == Decision::Confirm);
        Ok(if asks || plan.token.is_some() {
            Verdict::Held(Held { plan, actions })
        } else {
            let approved = actions.iter().map(|_| None).collect();
            Verdict::Allowed(Cleared { plan, actions, approved })
        })
    }
}

pub(super) fn denied(call: &Call, ruling: &Ruling) -> Fault {
    let by = ruling.policies.iter().map(|r| match &r.reason {
        Some(reason) => format!("{} ({reason})", r.policy),
        None => r.policy.clone(),
    });
    let by = by.collect::<Vec<_>>().join(", ");
    let why = if by.is_empty() { "no policy permits it".to_owned() } else { format!("decided by {by}") };
    Fault::denied(format!("{} is denied: {why}", call.name))
}

fn shown(actions: Vec<JudgedAction>) -> Vec<HeldAction> {
    let shown =
        |a: JudgedAction| HeldAction { effects: a.resolved.effects, ruling: a.ruling, previews: a.previews };
    actions.into_iter().map(shown).collect()
}

/// A plan that is only told about.
#[must_use]
pub struct Planned {
    pub(super) plan: Plan,
    pub(super) actions: Vec<JudgedAction>,
}

/// A plan that waits for its confirmation.
#[must_use]
pub struct Held {
    pub(super) plan: Plan,
    pub(super) actions: Vec<JudgedAction>,
}

impl Held {
    /// Redeems the plan's token, finds that its session was granted all that asks, or has the plan held for a human.
    ///
    /// # Errors
    ///
    /// `confirmation_required` without a token, `confirmation_invalid` or `confirmation_stale` with a wrong one,
    /// `busy` where too many plans are held.
    pub fn confirm(self, approvals: &impl Approvals) -> Result<Cleared, Box<Refused>> {
        let Self { mut plan, actions } = self;
        let canonical = plan.canonical();
        let token = plan.token.take();
        if token.is_none()
            && let Some(approved) = granted(&plan, &actions, approvals)
        {
            return Ok(Cleared { plan, actions, approved });
        }
        let decided = match token {
            Some(token) => {
                let effects: Vec<_> = actions.iter().map(|action| action.resolved.effects.clone()).collect();
                approvals.redeem(
                    &token,
                    Claim { principal: &plan.principal, canonical: &canonical, effects: &effects },
                )
            }
            None => {
                let held = HeldPlan {
                    principal: plan.principal.clone(),
                    request_id: plan.id.clone(),
                    canonical,
                    actions: actions.iter().map(JudgedAction::held).collect(),
                    again: plan.calls.iter().map(Call::again).collect(),
                    session_secret: plan.session_secret.clone(),
                };
                let pending = match approvals.hold(held) {
                    Ok(pending) => pending,
                    Err(fault) => {
                        return Err(Box::new(Refused {
                            plan,
                            fault,
                            actions: shown(actions),
                            pending: None,
                        }));
                    }
                };
                let message =
                    "a human must confirm this plan: llmsh pending lists it, llmsh approve shows it";
                let fault =
                    Fault::new(Code::CONFIRMATION_REQUIRED, message).detail("pending_id", pending.id.clone());
                return Err(Box::new(Refused {
                    plan,
                    fault,
                    actions: shown(actions),
                    pending: Some(pending),
                }));
            }
        };
        match decided {
            Ok(approved) => {
                let approved = vec![Some(approved); actions.len()];
                Ok(Cleared { plan, actions, approved })
            }
            Err(fault) => {
                let fault = fault.at("$.confirmation.token");
                Err(Box::new(Refused { plan, fault, actions: shown(actions), pending: None }))
            }
        }
    }
}

/// By which approval each action may run, where the session was granted everything in the plan that asks. What the policy
/// allows without a question gets nothing of it.
fn granted(
    plan: &Plan,
    actions: &[JudgedAction],
    approvals: &impl Approvals,
) -> Option<Vec<Option<Approved>>> {
    let secret = plan.session_secret.as_ref()?;
    let asks = |action: &JudgedAction| action.ruling.decision == Decision::Confirm;
    let again: Vec<_> = plan.calls.iter().map(Call::again).collect();
    let asked = || actions.iter().zip(&again).filter(|(action, _)| asks(action));
    if asked().any(|(action, _)| action.held().always_asks().is_some()) {
        return None;
    }
    let asked: Vec<_> =
        asked().map(|(action, again)| Asked { again, effects: &action.resolved.effects }).collect();
    let mut approved = approvals.granted(secret, &plan.principal, &asked)?.into_iter();
    Some(actions.iter().map(|action| asks(action).then(|| approved.next()).flatten()).collect())
}

impl JudgedAction {
    pub(super) fn held(&self) -> HeldAction {
        HeldAction {
            effects: self.resolved.effects.clone(),
            ruling: self.ruling.clone(),
            previews: self.previews.iter().map(Shown::without_whole).collect(),
        }
    }
}

/// A plan that may run: the policy allowed it, or a human confirmed exactly it.
#[must_use]
pub struct Cleared {
    pub(super) plan: Plan,
    pub(super) actions: Vec<JudgedAction>,
    /// For each action the human's word by which it runs, where it runs by one.
    pub(super) approved: Vec<Option<Approved>>,
}

/// A plan that left the road, and why.
#[must_use = "a refusal is recorded as well"]
#[derive(Debug)]
pub struct Refused {
    pub(super) plan: Plan,
    pub(super) fault: Fault,
    pub(super) actions: Vec<HeldAction>,
    pub(super) pending: Option<Pending>,
}

impl Refused {
    /// Why.
    pub fn fault(&self) -> &Fault {
        &self.fault
    }
}
