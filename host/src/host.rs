//! What the sockets share: the capabilities, the policy, the log, held plans, running plans.

pub(crate) mod running;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use llm_os_core::audit::{Entry, Event, Outcome, Who};
use llm_os_core::name::Id;
use llm_os_core::pipeline::{self, Ledger, Parsed};
use llm_os_core::request::Request;
use llm_os_core::response::Response;
use llm_os_core::{Code, ConnectionId, Display, Fault, Keeper, Registry, Root};
use tokio_util::sync::CancellationToken;

use crate::approvals::Desk;
use crate::audit::Log;
use crate::config;
use crate::evidence::Store;
use crate::halt::HaltFile;
use crate::policy::{Policy, PolicyError, Protected, Source};
use crate::server::{Door, Peer};
use crate::signing::{self, Approvers};
use crate::verbs;
use running::Running;

/// The daemon's state.
pub(crate) struct Host {
    pub(crate) registry: Registry,
    pub(crate) log: Log,
    /// Where evidence is kept, if it is.
    pub(crate) evidence: Option<Arc<Store>>,
    pub(crate) desk: Desk,
    pub(crate) roots: Vec<Root>,
    pub(crate) display: Option<Display>,
    pub(crate) limits: config::Limits,
    pub(crate) running: Running,
    pub(crate) halt_file: HaltFile,
    pub(crate) plan_uids: BTreeSet<u32>,
    pub(crate) approver_uids: BTreeSet<u32>,
    pub(crate) approvers: Approvers,
    pub(crate) policy_source: Source,
    /// Read it by [`Host::policy`].
    pub(crate) policy: RwLock<Arc<Policy>>,
    pub(crate) protected: Protected,
    /// Distinguishes the runs of this start from those of others.
    pub(crate) boot: String,
    /// The number of the next run.
    pub(crate) runs: AtomicU64,
    /// The number of the next connection.
    pub(crate) connections: AtomicU64,
}

impl Host {
    /// The policy in force; a plan keeps the one it began with.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the policy and the file of approvers anew; the old ones stay where one of the new ones is refused. Held plans
    /// are dropped with the old ones.
    pub(crate) async fn reload(&self, who: &Who) -> Result<Arc<Policy>, Fault> {
        let load = || {
            let policy =
                Policy::load(&self.policy_source, &self.registry, &self.roots, self.protected.clone())?;
            policy.check_held(&self.registry).map(|()| policy)
        };
        let policy = load().map_err(|e: PolicyError| {
            Fault::new(Code::VALIDATION_FAILED, format!("the new policy is refused, the old one stays: {e}"))
        })?;
        let signers = self.approvers.read().map_err(|e| {
            let why =
                format!("the new file of approvers is refused, the old one and the old policy stay: {e}");
            Fault::new(Code::VALIDATION_FAILED, why)
        })?;
        let policy = Arc::new(policy);
        let mut data = serde_json::json!({"policy_sha256": llm_os_core::Judge::policy_sha256(&*policy)});
        if let Some(signers) = &signers {
            data["approvers"] = signing::listed(signers);
        }
        let entry = Entry { who: Some(who.clone()), data: Some(data), ..Entry::new(Event::PolicyLoaded) };
        let _durable = self.log.write(vec![entry]).await?;
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy.clone();
        self.approvers.replace(signers);
        self.desk.clear();
        Ok(policy)
    }

    /// Answers one frame.
    pub(crate) async fn answer(
        &self,
        frame: &[u8],
        peer: &Peer,
        door: Door,
        connection: ConnectionId,
        cancel: &CancellationToken,
    ) -> Response {
        let start = Instant::now();
        let request = match Request::read(frame) {
            Ok(request) => request,
            Err(unread) => return self.refuse_frame(Some(peer), unread.id, unread.session, unread.fault),
        };
        let host_verb = request.calls.iter().position(|call| call.name.capability() == "host");
        let mut response = match (host_verb, door) {
            (None, Door::Plan) => return self.plan(request, peer, connection, cancel).await,
            (None, Door::Approval) => {
                let fault = Fault::denied("the approval socket takes no plans; send them to the plan socket");
                return self.refuse_frame(Some(peer), Some(request.id), request.session, fault);
            }
            (Some(_), _) if request.calls.len() > 1 => {
                let fault = Fault::invalid("$.actions", "a host verb stands alone in its frame");
                return self.refuse_frame(Some(peer), Some(request.id), request.session, fault);
            }
            (Some(_), door) => verbs::answer(self, request, peer, door, cancel).await,
        };
        response.meta.duration_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        response
    }

    /// Walks a plan, once there is a place for it to run.
    async fn plan(
        &self,
        request: Request,
        peer: &Peer,
        connection: ConnectionId,
        cancel: &CancellationToken,
    ) -> Response {
        let key = running::Key::new(peer.who.uid, request.session.clone(), request.id.clone());
        let (id, session) = (request.id.clone(), request.session.clone());
        let _place = match self.running.admit(key, cancel.clone()).await {
            Ok(place) => place,
            Err(fault) => return self.refuse_frame(Some(peer), Some(id), session, fault),
        };
        let parsed = Parsed::new(request, peer.who.clone(), self.next_run()).on(connection);
        pipeline::walk(parsed, &self.door(), cancel.clone()).await
    }

    pub(crate) fn door(&self) -> pipeline::Door<'_, Log, Desk> {
        pipeline::Door {
            registry: &self.registry,
            judge: self.policy(),
            ledger: &self.log,
            approvals: &self.desk,
            evidence: self.keeper(),
            limits: pipeline::Limits {
                response_bytes: self.limits.response_bytes,
                plan: std::time::Duration::from_secs(self.limits.plan_s),
                ..pipeline::Limits::default()
            },
        }
    }

    /// Who keeps evidence, if anybody does.
    pub(crate) fn keeper(&self) -> Option<Arc<dyn Keeper>> {
        self.evidence.clone().map(|store| store as Arc<dyn Keeper>)
    }

    /// The host's own unique id of a run.
    pub(crate) fn next_run(&self) -> String {
        format!("{}-{}", self.boot, self.runs.fetch_add(1, Ordering::Relaxed))
    }

    /// Answers and notes what never became a plan. Nothing had an effect, so the answer does not wait for the disk.
    pub(crate) fn refuse_frame(
        &self,
        peer: Option<&Peer>,
        id: Option<Id>,
        session: Option<Id>,
        fault: Fault,
    ) -> Response {
        if let Some(log) = &fault.log {
            tracing::warn!(code = %fault.code, detail = %log, "refused a frame");
        }
        let outcome = Outcome { code: Some(fault.code), path: fault.path.clone(), ..Outcome::new("refused") };
        let entry = Entry {
            request_id: id.clone(),
            session_id: session.clone(),
            who: peer.map(|peer| peer.who.clone()),
            outcome: Some(outcome),
            data: fault.details.clone().map(serde_json::Value::Object),
            ..Entry::new(Event::Refused)
        };
        match self.log.note(vec![entry]) {
            Ok(()) => Response::refused(id, session, fault),
            Err(unavailable) => Response::refused(id, session, unavailable),
        }
    }

    /// The same for a connection that has no place.
    pub(crate) fn refuse_connection(&self, fault: Fault) -> Response {
        self.refuse_frame(None, None, None, fault)
    }
}
