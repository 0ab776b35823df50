//! The stages that act: record, grant, execute, settle.

use std::sync::{Mutex, PoisonError};

use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::{Approved, Entry, Event, Evidence, Outcome};
use crate::capability::Context;
use crate::effect::{Effect, Effects, Kind, Resource, Verb};
use crate::error::{Code, Fault};
use crate::evidence::OUTPUT;
use crate::path;
use crate::pipeline::Door;
use crate::pipeline::grant::AnyGrant;
use crate::pipeline::ports::{Approvals, Durable, Ledger};
use crate::pipeline::preview::aimed_at;
use crate::pipeline::record::decided;
use crate::pipeline::stages::{Cleared, JudgedAction, Plan, Refused, resolve_again, rule_action};
use crate::policy::Decision;
use crate::reach::Profile;
use crate::redact::Mask;
use crate::request::Call;
use crate::response::{ActionResult, Meta, Response, Status};

impl Cleared {
    /// Records, runs and settles action after action; the first that fails stops the plan.
    pub(super) async fn run<L: Ledger, A: Approvals>(
        self,
        door: &Door<'_, L, A>,
        cancel: CancellationToken,
    ) -> Result<Response, Box<Refused>> {
        let Self { plan, actions, approved } = self;
        if plan.once
            && let Err(fault) = door.ledger.claim(&plan.principal, &plan.id, &plan.run)
        {
            return Err(Box::new(Refused { plan, fault, actions: Vec::new(), pending: None }));
        }
        let mut run = Run::new(door, &plan, &approved, cancel);
        let stopped = run.actions(actions).await;
        let response = run.settle(stopped).await;
        if plan.once {
            let failed = response.results.iter().find_map(|result| result.error.as_ref());
            let code = response.error.as_ref().or(failed).map_or("ok", |error| error.code.as_str());
            door.ledger.settle(&plan.principal, &plan.id, code);
        }
        Ok(response)
    }
}

/// An output that may not leave before its record is durable.
struct Sealed(ActionResult);

impl Sealed {
    fn open(self, _: &Durable) -> ActionResult {
        self.0
    }

    /// The record could not be written: what the action gave stays here.
    fn withhold(self) -> ActionResult {
        let message = "it ran, but its record could not be written, so its output is withheld";
        let mut result = ActionResult::new(self.0.action, Status::Failed);
        result.error = Some(Fault::new(Code::AUDIT_UNAVAILABLE, message).into());
        result
    }
}

/// An action whose intent stands in the record, or which only observes and whose output will stay sealed until it does.
struct Recorded {
    grant: AnyGrant,
}

/// A plan that is running.
struct Run<'a, L, A> {
    door: &'a Door<'a, L, A>,
    plan: &'a Plan,
    approved: &'a [Option<Approved>],
    cancel: CancellationToken,
    deadline: Instant,
    /// Entries that are not written yet.
    pending: Vec<Entry>,
    meta: Meta,
    durable: Option<Durable>,
    results: Vec<Sealed>,
    bytes: usize,
    /// What earlier actions changed.
    touched: Vec<Resource>,
}

impl<'a, L: Ledger, A: Approvals> Run<'a, L, A> {
    fn new(
        door: &'a Door<'a, L, A>,
        plan: &'a Plan,
        approved: &'a [Option<Approved>],
        cancel: CancellationToken,
    ) -> Self {
        Self {
            door,
            plan,
            approved,
            cancel,
            deadline: Instant::now() + door.limits.plan,
            pending: Vec::new(),
            meta: Meta { run: Some(plan.run.clone()), ..Meta::default() },
            durable: None,
            results: Vec::new(),
            bytes: 0,
            touched: Vec::new(),
        }
    }

    /// Runs the actions in order. `Err` is why the plan stopped other than by an action that failed.
    async fn actions(&mut self, actions: Vec<JudgedAction>) -> Result<(), Fault> {
        let token_used = self.approved.iter().flatten().find(|approved| approved.grant.is_none());
        if let Some(approved) = token_used {
            let data = serde_json::json!({"pending_id": approved.pending_id});
            self.pending.push(Entry { data: Some(data), ..self.plan.entry(Event::TokenUsed) });
        }
        for (index, action) in actions.into_iter().enumerate() {
            let cx = self.context(index);
            if let Some(fault) = cx.stopped() {
                return Err(fault.in_action(index));
            }
            let action = if index == 0 { Ok(action) } else { self.judge_again(index, &action)? };
            let result = match action {
                Ok(action) => self.act(index, action, cx).await?,
                Err(fault) => self.failed_to_resolve(index, fault.in_action(index)),
            };
            let ended = self.keep(index, result);
            if ended != Status::Ok {
                break;
            }
        }
        Ok(())
    }

    fn context(&self, index: usize) -> Context {
        Context {
            judge: self.door.judge.clone(),
            principal: self.plan.principal.clone(),
            action: self.plan.calls[index].name.clone(),
            confirmed: self.approved[index].is_some(),
            cancel: self.cancel.clone(),
            deadline: self.deadline,
            connection: self.plan.connection,
            run: self.plan.run.clone(),
            index,
            profile: Profile::default(),
            notes: Mutex::default(),
            keeper: self.door.evidence.clone(),
            kept: Mutex::default(),
        }
    }

    /// Earlier actions changed the world: resolves and judges once more, and stops the plan where the answer is now
    /// stricter, or where the thing is not the one that was judged. The inner fault is the action's own.
    fn judge_again(&self, index: usize, before: &JudgedAction) -> Result<Result<JudgedAction, Fault>, Fault> {
        let call = &self.plan.calls[index];
        let resolved = match resolve_again(self.door.registry, call, &self.plan.principal) {
            Ok(resolved) => resolved,
            Err(fault) => return Ok(Err(fault)),
        };
        if let Some(own) =
            resolved.effects.as_slice().iter().find(|e| e.verb == Verb::Run && self.is_touched(e))
        {
            let message = format!("{} was changed by this plan, and does not run in it", own.resource.id);
            return Err(Fault::denied(message).in_action(index));
        }
        let ruling = rule_action(&*self.door.judge, &self.plan.principal, call, &resolved.effects);
        let stale = |what: &str| {
            Err(Fault::new(Code::CONFIRMATION_STALE, format!("{}: {what}; send the plan anew", call.name))
                .in_action(index))
        };
        match (ruling.decision, &self.approved[index]) {
            (Decision::Deny, _) => return Err(super::stages::denied(call, &ruling).in_action(index)),
            (Decision::Confirm, None) => {
                return stale("earlier actions changed what it does, and it now needs confirmation");
            }
            (_, Some(_)) if !self.same(&before.resolved.effects, &resolved.effects) => {
                return stale("it no longer resolves to what was confirmed");
            }
            (Decision::Allow | Decision::Confirm, _) => {}
        }
        Ok(Ok(JudgedAction { resolved, ruling, previews: Vec::new() }))
    }

    /// What this plan touched is compared by verb and id, a window that it drove by identity too, all else by facts as
    /// well.
    fn same(&self, before: &Effects, now: &Effects) -> bool {
        let (before, now) = (before.as_slice(), now.as_slice());
        let alike = |(a, b): (&Effect, &Effect)| {
            a == b
                || (a.verb == b.verb
                    && a.resource == b.resource
                    && if is_file(b.resource.kind) {
                        self.is_touched(b)
                    } else {
                        self.touched.contains(&b.resource) && a.identity == b.identity
                    })
        };
        before.len() == now.len() && before.iter().zip(now).all(alike)
    }

    fn is_touched(&self, effect: &Effect) -> bool {
        self.touched.iter().any(|touched| {
            *touched == effect.resource
                || (is_file(touched.kind)
                    && is_file(effect.resource.kind)
                    && (touched.id == effect.resource.id
                        || path::ancestors(&effect.resource.id).contains(&touched.id)))
        })
    }

    /// Records the intent, grants, executes, and records the outcome.
    async fn act(
        &mut self,
        index: usize,
        action: JudgedAction,
        mut cx: Context,
    ) -> Result<ActionResult, Fault> {
        let call = &self.plan.calls[index];
        cx.profile = action.ruling.profile.clone();
        let effects = action.resolved.effects.clone();
        let recorded = self.record(index, action).await?;
        let changes = effects
            .as_slice()
            .iter()
            .filter(|effect| matches!(effect.verb, Verb::Change | Verb::Destroy | Verb::Inject));
        self.touched.extend(changes.map(|effect| effect.resource.clone()));
        let start = Instant::now();
        let ended = recorded.execute(self.door, call, &cx).await;
        let mut outcome = Outcome::new(if ended.is_ok() { "ok" } else { "failed" });
        outcome.duration_us = u64::try_from(start.elapsed().as_micros()).ok();
        let mut result = ActionResult::new(call.name.clone(), Status::Ok);
        let mut notes = std::mem::take(&mut *cx.notes.lock().unwrap_or_else(PoisonError::into_inner));
        match ended {
            Ok(output) => result.output = Some(output),
            Err(mut fault) => {
                if let Some(log) = fault.log.take() {
                    notes.insert("log".to_owned(), log.into());
                }
                let mut fault = fault.in_action(index);
                result.status = Status::Failed;
                result.output = fault.output.take();
                outcome.code = Some(fault.code);
                outcome.path.clone_from(&fault.path);
                result.error = Some(fault.into());
            }
        }
        if let Some(output) = &result.output {
            outcome.output_bytes = Some(output.get().len() as u64);
            outcome.output_hmac_sha256 = Some(self.door.ledger.digest(output.get().as_bytes()));
            cx.keep(OUTPUT, "application/json", output.get().as_bytes());
        }
        let kept = std::mem::take(&mut *cx.kept.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(why) = kept.missing {
            notes.insert("evidence_missing".to_owned(), why.into());
        }
        self.push_outcome(index, outcome, notes, kept.evidence);
        Ok(result)
    }

    /// The only place that makes a grant. What changes anything waits until its intent is durable.
    async fn record(&mut self, index: usize, action: JudgedAction) -> Result<Recorded, Fault> {
        let known = self.door.registry.action(&self.plan.calls[index].name).expect("validated");
        let deciding = &action.ruling.policies;
        let clear = !deciding.is_empty() && deciding.iter().all(|reason| reason.clear);
        let mask = if clear { &Mask::Clear } else { &known.mask };
        let params = mask.apply(&self.plan.calls[index].params, &|bytes| self.door.ledger.digest(bytes));
        let decision = decided(&*self.door.judge, &action.ruling, self.approved[index].as_ref());
        let effects = &action.resolved.effects;
        let intent = self.plan.action_entry(Event::Intent, index, effects, Some(params), Some(decision));
        let evidence = self.aimed_at(index, &action);
        self.pending.push(Entry { evidence, ..intent });
        if !effects.only_observe() {
            self.commit().await?;
        }
        Ok(Recorded { grant: AnyGrant::new(action.resolved.value) })
    }

    /// What the caller saw where this action sends input to.
    fn aimed_at(&self, index: usize, action: &JudgedAction) -> Vec<Evidence> {
        let injects = || action.resolved.effects.as_slice().iter().any(|effect| effect.verb == Verb::Inject);
        let Some(keeper) = self.door.evidence.as_deref().filter(|_| injects()) else { return Vec::new() };
        match self.door.registry.capability(&self.plan.calls[index].name) {
            Ok(capability) => {
                aimed_at(&capability.aims(&*action.resolved.value), &self.plan.principal, keeper)
            }
            Err(_) => Vec::new(),
        }
    }

    fn failed_to_resolve(&mut self, index: usize, fault: Fault) -> ActionResult {
        let call = &self.plan.calls[index];
        let refused = Outcome { code: Some(fault.code), path: fault.path.clone(), ..Outcome::new("refused") };
        let data = Some(serde_json::json!({"action": call.name.as_str(), "index": index}));
        self.pending.push(Entry { outcome: Some(refused), data, ..self.plan.entry(Event::Refused) });
        let mut result = ActionResult::new(call.name.clone(), Status::Failed);
        result.error = Some(fault.into());
        result
    }

    /// What the capability noted stands beside the index of the action.
    fn push_outcome(
        &mut self,
        index: usize,
        outcome: Outcome,
        mut notes: serde_json::Map<String, serde_json::Value>,
        evidence: Vec<Evidence>,
    ) {
        notes.insert("index".to_owned(), index.into());
        let entry = self.plan.entry(Event::Outcome);
        let data = Some(notes.into());
        self.pending.push(Entry { outcome: Some(outcome), evidence, data, who: None, ..entry });
    }

    /// Bounds the answer and keeps the result sealed.
    fn keep(&mut self, index: usize, mut result: ActionResult) -> Status {
        self.bytes += result.output.as_ref().map_or(0, |output| output.get().len());
        if self.bytes > self.door.limits.response_bytes {
            let limit = self.door.limits.response_bytes;
            let message =
                format!("the outputs exceed limits.response_bytes ({limit}); ask for less in one plan");
            result.output = None;
            result.status = Status::Failed;
            result.error = Some(Fault::new(Code::RESPONSE_TOO_LARGE, message).in_action(index).into());
        }
        let status = result.status;
        self.results.push(Sealed(result));
        status
    }

    async fn commit(&mut self) -> Result<(), Fault> {
        let durable = self.door.ledger.write(std::mem::take(&mut self.pending)).await?;
        self.meta.recorded(&durable);
        self.durable = Some(durable);
        Ok(())
    }

    /// Makes the outcomes durable, opens the results and answers.
    async fn settle(mut self, stopped: Result<(), Fault>) -> Response {
        let mut error = stopped.err();
        let executed = !self.results.is_empty();
        if let Some(fault) = &error {
            let refused =
                Outcome { code: Some(fault.code), path: fault.path.clone(), ..Outcome::new("refused") };
            self.pending.push(Entry { outcome: Some(refused), ..self.plan.entry(Event::Refused) });
        }
        if !self.pending.is_empty()
            && let Err(fault) = self.commit().await
        {
            self.durable = None;
            error = Some(fault);
        }
        let mut results: Vec<_> = match &self.durable {
            Some(durable) => self.results.into_iter().map(|sealed| sealed.open(durable)).collect(),
            None => self.results.into_iter().map(Sealed::withhold).collect(),
        };
        for call in &self.plan.calls[results.len()..] {
            results.push(ActionResult::new(call.name.clone(), Status::NotRun));
        }
        let mut response = self.plan.response(executed, results, error);
        response.meta = self.meta;
        response
    }
}

fn is_file(kind: Kind) -> bool {
    matches!(kind, Kind::Path | Kind::Program)
}

impl Recorded {
    /// Executes with a deadline; an action that does not stop in time is dropped.
    async fn execute<L: Ledger, A: Approvals>(
        self,
        door: &Door<'_, L, A>,
        call: &Call,
        cx: &Context,
    ) -> Result<Box<RawValue>, Fault> {
        // Recording takes a while: what was cancelled meanwhile does not begin.
        if let Some(stopped) = cx.stopped() {
            return Err(stopped);
        }
        let running = door.registry.capability(&call.name)?.execute(call.name.verb(), self.grant, cx);
        let overdue = async {
            cx.cancelled().await;
            tokio::time::sleep(door.limits.grace).await;
        };
        tokio::select! {
            biased;
            ended = running => ended,
            () = overdue => Err(cx.stopped().unwrap_or_else(|| Fault::new(Code::CANCELLED, "the plan was cancelled"))),
        }
    }
}
