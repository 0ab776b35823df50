//! What the pipeline says to the ledger, and the answers that follow a refusal.

use serde_json::value::RawValue;

use crate::VERSION;
use crate::audit::{Approved, Decided, Entry, Event, Outcome, What};
use crate::effect::Effects;
use crate::error::{Code, Fault};
use crate::evidence::Shown;
use crate::pipeline::Door;
use crate::pipeline::ports::{Approvals, Durable, HeldAction, Ledger};
use crate::pipeline::stages::{Plan, Planned, Refused};
use crate::policy::{Judge, Ruling};
use crate::response::{ActionResult, ErrorBody, Meta, Response, Status};

impl Plan {
    pub(super) fn entry(&self, event: Event) -> Entry {
        Entry {
            request_id: Some(self.id.clone()),
            session_id: self.principal.session.clone(),
            run: Some(self.run.clone()),
            who: Some(self.who.clone()),
            ..Entry::new(event)
        }
    }

    /// An entry about one action: why, what, and what was decided.
    pub(super) fn action_entry(
        &self,
        event: Event,
        index: usize,
        effects: &Effects,
        params: Option<Box<RawValue>>,
        decision: Option<Decided>,
    ) -> Entry {
        let call = &self.calls[index];
        let what = What {
            action: call.name.as_str().to_owned(),
            index,
            params,
            danger: call.danger.is_some(),
            effects: effects.as_slice().to_vec(),
        };
        Entry { why: Some(call.reason.clone()), what: Some(what), decision, ..self.entry(event) }
    }

    pub(super) fn response(
        &self,
        executed: bool,
        results: Vec<ActionResult>,
        error: Option<Fault>,
    ) -> Response {
        Response {
            request_id: Some(self.id.clone()),
            session_id: self.principal.session.clone(),
            version: VERSION,
            executed,
            results,
            error: error.map(ErrorBody::from),
            meta: Meta { run: Some(self.run.clone()), ..Meta::default() },
        }
    }

    /// A result for each action that says what was decided.
    fn told(&self, status: Status, actions: &[HeldAction]) -> Vec<ActionResult> {
        let told = |(index, call): (usize, &crate::request::Call)| {
            let mut result = ActionResult::new(call.name.clone(), status);
            if let Some(action) = actions.get(index) {
                result.decision = Some(action.ruling.decision);
                result.policies = Some(action.ruling.policies.clone());
                result.profile = action.ruling.profile.clone();
                result.effects = Some(action.effects.as_slice().to_vec());
            }
            result
        };
        self.calls.iter().enumerate().map(told).collect()
    }
}

pub(super) fn decided(judge: &dyn Judge, ruling: &Ruling, approved: Option<&Approved>) -> Decided {
    Decided {
        decision: ruling.decision,
        policies: ruling.policies.clone(),
        profile: ruling.profile.clone(),
        policy_sha256: judge.policy_sha256().to_owned(),
        approved: approved.cloned(),
    }
}

impl Meta {
    pub(super) fn recorded(&mut self, durable: &Durable) {
        let first = self.audit.map_or(durable.first, |[first, _]| first);
        self.audit = Some([first, durable.last]);
        self.receipt = Some(durable.receipt.clone());
    }
}

impl Planned {
    /// Records the question and answers it; nothing is touched.
    pub(super) async fn answer(
        self,
        ledger: &impl Ledger,
        judge: &dyn Judge,
    ) -> Result<Response, Box<Refused>> {
        let Self { plan, actions } = self;
        let actions: Vec<_> = actions.iter().map(super::stages::JudgedAction::held).collect();
        let entries = actions.iter().enumerate().map(|(index, action)| {
            plan.action_entry(
                Event::Planned,
                index,
                &action.effects,
                None,
                Some(decided(judge, &action.ruling, None)),
            )
        });
        match ledger.write(entries.collect()).await {
            Ok(durable) => {
                let mut response = plan.response(false, plan.told(Status::Planned, &actions), None);
                response.meta.recorded(&durable);
                Ok(response)
            }
            Err(fault) => Err(Box::new(Refused { plan, fault, actions, pending: None })),
        }
    }
}

impl Refused {
    /// Records the refusal and answers it. A refusal of what would only have observed, or was never resolved, is
    /// handed over without waiting for the disk: there is no effect that a lost record could hide.
    pub(super) async fn record<L: Ledger, A: Approvals>(self, door: &Door<'_, L, A>) -> Response {
        let (ledger, judge) = (door.ledger, &*door.judge);
        let entries = self.entries(judge);
        let Self { plan, fault, actions, pending } = self;
        let mut response = plan.response(false, plan.told(Status::NotRun, &actions), None);
        response.meta.wait_secret = pending.as_ref().map(|pending| pending.wait_secret.clone());
        let harmless = pending.is_none() && actions.iter().all(|action| action.effects.only_observe());
        let written = if fault.code == Code::AUDIT_UNAVAILABLE || harmless {
            ledger.note(entries).map(|()| None)
        } else {
            ledger.write(entries).await.map(Some)
        };
        match written {
            Ok(durable) => {
                if let Some(durable) = durable {
                    response.meta.recorded(&durable);
                }
                response.error = Some(fault.into());
            }
            Err(unavailable) => {
                response.meta.wait_secret = None;
                if let Some(pending) = &pending {
                    door.approvals.release(&pending.id);
                }
                response.error = Some(unavailable.into());
            }
        }
        response
    }

    fn entries(&self, judge: &dyn Judge) -> Vec<Entry> {
        let outcome = || {
            let path = self.fault.path.clone();
            let status = if self.pending.is_some() { "held" } else { "refused" };
            Some(Outcome { code: Some(self.fault.code), path, ..Outcome::new(status) })
        };
        let data = self.pending.as_ref().map(|pending| serde_json::json!({"pending_id": pending.id}));
        let burnt = self.fault.details.as_ref().is_some_and(|details| details.contains_key("burnt"));
        let event = match (&self.pending, burnt) {
            (Some(_), _) => Event::Held,
            (None, true) => Event::TokenBurnt,
            (None, false) => Event::Refused,
        };
        if self.actions.is_empty() {
            let actions: Vec<_> = self.plan.calls.iter().map(|call| call.name.as_str()).collect();
            let data = Some(serde_json::json!({"actions": actions}));
            return vec![Entry { outcome: outcome(), data, ..self.plan.entry(event) }];
        }
        let entries = self.actions.iter().enumerate().map(|(index, action)| {
            let decision = Some(decided(judge, &action.ruling, None));
            let entry = self.plan.action_entry(event, index, &action.effects, None, decision);
            if self.pending.is_none() {
                return Entry { outcome: outcome(), data: data.clone(), ..entry };
            }
            let mut data = data.clone();
            if let (Some(data), Some(why)) = (&mut data, action.previews.iter().find_map(Shown::not_kept)) {
                data["evidence_missing"] = why.into();
            }
            let evidence = action.evidence().cloned().collect();
            Entry { outcome: outcome(), data, evidence, ..entry }
        });
        entries.collect()
    }
}
