//! The verbs of the host itself: alone in their frame, without effects on the system.

use std::time::{Duration, SystemTime};

use llm_os_core::audit::{Entry, Event};
use llm_os_core::json::Json;
use llm_os_core::name::Id;
use llm_os_core::pipeline::{HeldPlan, Ledger, Parsed, Verdict};
use llm_os_core::request::{Mode, Request};
use llm_os_core::response::{ActionResult, Meta, Response, Status};
use llm_os_core::value::hex;
use llm_os_core::{Code, Fault, Judge, Secret, VERSION};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::approvals::{Answer, Draft, Held, TOKEN_LIFE, permits};
use crate::describe;
use crate::host::{Host, running::Key};
use crate::server::{Door, Peer};
use crate::signing::{self, Signed};

/// The longest wait of `host.await_confirmation` and `host.pending`.
const MAX_WAIT_MS: u64 = 120_000;

/// What the plan socket understands beside plans.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum PlanVerb {
    Ping {},
    Describe { actions: Option<Vec<String>> },
    AwaitConfirmation { pending_id: String, wait_secret: Secret, wait_ms: u64 },
    Cancel { request_id: String },
    Halt {},
}

/// What the approval socket understands.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum ApprovalVerb {
    Ping {},
    Pending {
        pending_id: Option<String>,
        after: Option<u64>,
        wait_ms: Option<u64>,
    },
    Approve {
        pending_id: String,
        sha256: String,
        #[serde(default)]
        session: bool,
        signature: Option<String>,
    },
    Deny {
        pending_id: String,
    },
    Hold {
        plan: Json,
        uid: u32,
    },
    Grants {},
    Revoke {
        grant_id: String,
    },
    Reload {},
    Halt {},
    Resume {},
    Evidence {
        sha256: String,
    },
}

const PLAN_VERBS: &[&str] = &["ping", "describe", "await_confirmation", "cancel", "halt"];
const APPROVAL_VERBS: &[&str] = &[
    "ping", "pending", "approve", "deny", "hold", "grants", "revoke", "reload", "halt", "resume", "evidence",
];

/// Answers a request whose one action is `host.*`.
pub(crate) async fn answer(
    host: &Host,
    request: Request,
    peer: &Peer,
    door: Door,
    cancel: &CancellationToken,
) -> Response {
    let (id, session) = (request.id.clone(), request.session.clone());
    match answered(host, &request, peer, door, cancel).await {
        Ok(output) => {
            let mut result = ActionResult::new(request.calls[0].name.clone(), Status::Ok);
            result.output = serde_json::value::to_raw_value(&output).ok();
            Response {
                request_id: Some(id),
                session_id: session,
                version: VERSION,
                executed: true,
                results: vec![result],
                error: None,
                meta: Meta::default(),
            }
        }
        Err(fault) => host.refuse_frame(Some(peer), Some(id), session, fault),
    }
}

async fn answered(
    host: &Host,
    request: &Request,
    peer: &Peer,
    door: Door,
    cancel: &CancellationToken,
) -> Result<Value, Fault> {
    if request.mode != Mode::Execute {
        return Err(Fault::invalid("$.mode", "a host verb is executed, not planned; expected \"execute\""));
    }
    match door {
        Door::Plan => match read::<PlanVerb>(request, PLAN_VERBS)? {
            PlanVerb::Ping {} => Ok(ping(host)),
            PlanVerb::Describe { actions } => describe::describe(host, request, peer, actions.as_deref()),
            PlanVerb::AwaitConfirmation { pending_id, wait_secret, wait_ms } => {
                let waited = await_confirmation(host, &pending_id, &wait_secret, wait_ms);
                tokio::select! {
                    answer = waited => answer,
                    () = cancel.cancelled() => Err(Fault::new(Code::CANCELLED, "the connection is gone")),
                    fault = host.running.refusing() => Err(fault),
                }
            }
            PlanVerb::Cancel { request_id } => cancel_plan(host, request, peer, &request_id),
            PlanVerb::Halt {} => halt(host, request, peer).await,
        },
        Door::Approval => match read::<ApprovalVerb>(request, APPROVAL_VERBS)? {
            ApprovalVerb::Ping {} => Ok(ping(host)),
            ApprovalVerb::Pending { pending_id: None, after, wait_ms } => {
                pending(host, after, wait_ms, cancel).await
            }
            ApprovalVerb::Pending { pending_id: Some(id), after: None, wait_ms: None } => {
                host.desk.find(&id).map(|held| shown(host, &held))
            }
            ApprovalVerb::Pending { pending_id: Some(_), .. } => {
                let message = "found with a pending_id, expected without: what is waited for is the list";
                Err(Fault::invalid("$.actions[0].params", message))
            }
            ApprovalVerb::Approve { pending_id, sha256, session, signature } => {
                is_running(host)?;
                approve(host, peer, &pending_id, &sha256, session, signature.as_deref()).await
            }
            ApprovalVerb::Deny { pending_id } => deny(host, peer, &pending_id).await,
            ApprovalVerb::Hold { plan, uid } => {
                is_running(host)?;
                hold(host, peer, &plan, uid).await
            }
            ApprovalVerb::Grants {} => Ok(json!({"grants": host.desk.grants()})),
            ApprovalVerb::Revoke { grant_id } => revoke(host, request, peer, &grant_id).await,
            ApprovalVerb::Reload {} => {
                let policy = host.reload(&peer.who).await?;
                Ok(json!({"policy_sha256": policy.policy_sha256()}))
            }
            ApprovalVerb::Halt {} => halt(host, request, peer).await,
            ApprovalVerb::Evidence { sha256 } => evidence(host, &sha256),
            ApprovalVerb::Resume {} => host.resume(&peer.who, &request.calls[0].reason).await,
        },
    }
}

fn read<'de, T: Deserialize<'de>>(request: &'de Request, verbs: &[&str]) -> Result<T, Fault> {
    let call = &request.calls[0];
    if !verbs.contains(&call.name.verb()) {
        let known = verbs.iter().map(|verb| format!("host.{verb}")).collect::<Vec<_>>().join(", ");
        let message = format!("this socket has no {}; it has {known}", call.name);
        return Err(Fault::new(Code::UNKNOWN_ACTION, message).at("$.actions[0].action"));
    }
    call.params.read_variant(call.name.verb()).map_err(|e| {
        let path = e.path().replacen('$', "$.actions[0].params", 1);
        Fault::new(Code::PARSE_FAILED, e.message().to_owned()).at(path)
    })
}

fn ping(host: &Host) -> Value {
    let mut pong = json!({"host": "llm-osd", "version": env!("CARGO_PKG_VERSION"), "protocol": VERSION});
    if let (Some(halt), _) = host.running.halted() {
        pong["halted"] = json!(halt);
    }
    pong
}

/// Whoever may talk to the host may stop it.
async fn halt(host: &Host, request: &Request, peer: &Peer) -> Result<Value, Fault> {
    host.halt(format!("user {}", peer.who.uid), Some(&peer.who), Some(&request.calls[0].reason)).await
}

/// Nothing is approved or held while the host is halted: it would run after it.
fn is_running(host: &Host) -> Result<(), Fault> {
    host.running.halted().0.map_or(Ok(()), |halt| Err(halt.fault()))
}

fn evidence(host: &Host, sha256: &str) -> Result<Value, Fault> {
    let off = "the host keeps no evidence: the operator turns it on with evidence = true in [audit]";
    let store = host.evidence.as_ref().ok_or_else(|| Fault::new(Code::UNAVAILABLE, off))?;
    Ok(json!(store.read(sha256, host.limits.response_bytes)?))
}

async fn await_confirmation(host: &Host, id: &str, secret: &Secret, wait_ms: u64) -> Result<Value, Fault> {
    Ok(match host.desk.wait(id, secret, bounded(wait_ms)?).await {
        Answer::Approved { token, session_secret } => {
            let mut told = json!({"decision": "approved", "token": token.expose()});
            if let Some(secret) = session_secret {
                told["session_secret"] = json!(secret.expose());
            }
            told
        }
        Answer::Denied => json!({"decision": "denied"}),
        Answer::Pending => json!({"decision": "pending"}),
        Answer::Expired => json!({"decision": "expired"}),
    })
}

fn bounded(wait_ms: u64) -> Result<Duration, Fault> {
    if wait_ms > MAX_WAIT_MS {
        let message =
            format!("found {wait_ms}, expected at most {MAX_WAIT_MS}; ask again where it is still pending");
        return Err(Fault::invalid("$.actions[0].params.wait_ms", message));
    }
    Ok(Duration::from_millis(wait_ms))
}

/// What waits, at once or as soon as it is another than at the revision `after`. A wait also ends with the connection and
/// with the host.
async fn pending(
    host: &Host,
    after: Option<u64>,
    wait_ms: Option<u64>,
    cancel: &CancellationToken,
) -> Result<Value, Fault> {
    let wait = bounded(wait_ms.unwrap_or(0))?;
    let mut revision = host.desk.changed(after.unwrap_or(0), Duration::ZERO).await;
    if after == Some(revision) {
        tokio::select! {
            changed = host.desk.changed(revision, wait) => revision = changed,
            () = cancel.cancelled() => {}
            () = host.running.stopping() => {}
        }
    }
    let pending = host.desk.pending();
    Ok(json!({"pending": pending.iter().map(summary).collect::<Vec<_>>(), "revision": revision}))
}

fn cancel_plan(host: &Host, request: &Request, peer: &Peer, target: &str) -> Result<Value, Fault> {
    let path = "$.actions[0].params.request_id";
    let target = Id::new(target).ok_or_else(|| Fault::invalid(path, "this is not a request id"))?;
    let entry = Entry {
        request_id: Some(target.clone()),
        session_id: request.session.clone(),
        who: Some(peer.who.clone()),
        why: Some(request.calls[0].reason.clone()),
        ..Entry::new(Event::Cancelled)
    };
    host.log.note(vec![entry])?;
    let key = Key::new(peer.who.uid, request.session.clone(), target);
    Ok(json!({"cancelled": host.running.cancel(&key)}))
}

/// A held plan in a list.
fn summary(held: &Held) -> Value {
    let HeldPlan { principal, request_id, canonical, .. } = &*held.plan;
    let actions = serde_json::from_str::<Value>(canonical).ok();
    let names = actions.as_ref().and_then(|plan| plan["actions"].as_array()).into_iter().flatten();
    json!({
        "pending_id": held.id,
        "request_id": request_id,
        "session_id": principal.session,
        "uid": principal.uid,
        "age_s": held.age.as_secs(),
        "expires_in_s": held.expires_in.as_secs(),
        "actions": names.map(|action| action["action"].clone()).collect::<Vec<_>>(),
    })
}

/// A held plan with every byte that would run.
fn shown(host: &Host, held: &Held) -> Value {
    let mut shown = summary(held);
    let plan = &held.plan;
    shown["plan"] = json!(plan.canonical);
    shown["sha256"] = json!(sha256(plan));
    shown["effects"] = plan.actions.iter().map(|action| json!(action.effects.as_slice())).collect();
    shown["policies"] = plan.actions.iter().map(|action| json!(action.ruling.policies)).collect();
    shown["previews"] = plan.actions.iter().map(|action| json!(action.previews)).collect();
    shown["profiles"] = plan.actions.iter().map(|action| json!(action.ruling.profile)).collect();
    match permits(plan) {
        Ok(permits) => {
            shown["grantable"] = json!(true);
            shown["grant"] = json!(permits);
        }
        Err(why) => {
            shown["grantable"] = json!(false);
            shown["not_grantable"] = json!(why.message);
        }
    }
    if let Some(question) = host.approvers.question(held, &sha256(plan), host.log.key()) {
        shown["signature"] = question;
    }
    shown
}

fn sha256(plan: &HeldPlan) -> String {
    hex(&Sha256::digest(plan.canonical.as_bytes()))
}

async fn approve(
    host: &Host,
    peer: &Peer,
    id: &str,
    displayed: &str,
    session: bool,
    signature: Option<&str>,
) -> Result<Value, Fault> {
    let held = host.desk.find(id)?;
    let sha256 = sha256(&held.plan);
    if displayed != sha256 {
        let found = llm_os_core::error::excerpt(displayed);
        let message = format!("found {found}, expected {sha256}: what was displayed is not what is held");
        return Err(Fault::invalid("$.actions[0].params.sha256", message));
    }
    let grant = if session { Some(draft(host, &held.plan)?) } else { None };
    let statement = signing::statement(&held, &sha256, session, host.log.key());
    let signed = host.approvers.verify(peer.who.uid, &held, statement, signature)?;
    decide(host, peer, Event::Approved, id, grant.as_ref(), signed.as_ref()).await?;
    let mut told = json!({"expires_in_s": TOKEN_LIFE.as_secs()});
    if let Some(Draft { id, permits, .. }) = &grant {
        let expires_in_s = host.desk.grant_life().as_secs();
        told["grant"] = json!({"grant_id": id, "expires_in_s": expires_in_s, "permits": permits});
    }
    let signer = signed.map(|signed| signed.fingerprint().to_owned());
    let token = host.desk.approve(id, peer.who.uid, signer, SystemTime::now(), grant)?;
    told["token"] = json!(token.expose());
    Ok(told)
}

/// The grant that an approval for the session is to make.
fn draft(host: &Host, plan: &HeldPlan) -> Result<Draft, Fault> {
    host.desk.has_room_for_grant(plan.principal.uid)?;
    Draft::of(plan)
}

/// A grant that is gone cannot be used while its end is being recorded.
async fn revoke(host: &Host, request: &Request, peer: &Peer, grant_id: &str) -> Result<Value, Fault> {
    if !host.desk.revoke(grant_id) {
        let found = llm_os_core::error::excerpt(grant_id);
        let message = format!("found \"{found}\", which is no grant that holds; llmsh grants lists them");
        return Err(Fault::invalid("$.actions[0].params.grant_id", message));
    }
    let entry = Entry {
        who: Some(peer.who.clone()),
        why: Some(request.calls[0].reason.clone()),
        data: Some(json!({"grant_id": grant_id})),
        ..Entry::new(Event::Revoked)
    };
    let _durable = host.log.write(vec![entry]).await?;
    Ok(json!({"revoked": true}))
}

async fn deny(host: &Host, peer: &Peer, id: &str) -> Result<Value, Fault> {
    decide(host, peer, Event::Denied, id, None, None).await?;
    host.desk.deny(id)?;
    Ok(json!({"denied": true}))
}

/// Records a decision while nobody else can decide the same plan.
async fn decide(
    host: &Host,
    peer: &Peer,
    event: Event,
    id: &str,
    grant: Option<&Draft>,
    signed: Option<&Signed>,
) -> Result<(), Fault> {
    let held = host.desk.begin(id)?;
    let mut entries = vec![entry(peer, event, &held, signed)];
    entries.extend(grant.map(|grant| granted(host, peer, &held, grant)));
    let recorded = host.log.write(entries).await.map(drop);
    if recorded.is_err() {
        host.desk.give_back(id);
    }
    recorded
}

fn entry(peer: &Peer, event: Event, held: &Held, signed: Option<&Signed>) -> Entry {
    let mut data =
        json!({"pending_id": held.id, "uid": held.plan.principal.uid, "plan_sha256": sha256(&held.plan)});
    if let Some(signed) = signed {
        data["signature"] = signed.record();
    }
    Entry {
        request_id: Some(held.plan.request_id.clone()),
        session_id: held.plan.principal.session.clone(),
        who: Some(peer.who.clone()),
        data: Some(data),
        ..Entry::new(event)
    }
}

fn granted(host: &Host, peer: &Peer, held: &Held, grant: &Draft) -> Entry {
    let mut entry = entry(peer, Event::Granted, held, None);
    if let Some(data) = &mut entry.data {
        data["grant_id"] = json!(grant.id);
        data["permits"] = json!(grant.permits);
        data["expires_in_s"] = json!(host.desk.grant_life().as_secs());
    }
    entry
}

/// Holds a plan that was not sent yet, as if `uid` had sent it.
async fn hold(host: &Host, peer: &Peer, plan: &Json, uid: u32) -> Result<Value, Fault> {
    let within = |fault: Fault| {
        let path = fault.path.as_deref().unwrap_or("$").replacen('$', "$.actions[0].params.plan", 1);
        fault.at(path)
    };
    let request = Request::read(plan.canonical().as_bytes()).map_err(|unread| within(unread.fault))?;
    if request.token.is_some() || request.session_secret.is_some() {
        return Err(Fault::invalid(
            "$.actions[0].params.plan.confirmation",
            "a plan to be held has no token yet, and nothing is granted to it",
        ));
    }
    let who = llm_os_core::audit::Who { uid, ..peer.who.clone() };
    let parsed = Parsed::new(Request { mode: Mode::Execute, ..request }, who, host.next_run());
    let policy = host.policy();
    let judged = parsed
        .validate(&host.registry)
        .and_then(|validated| validated.resolve(&host.registry))
        .and_then(|resolved| resolved.judge(&*policy).decide());
    let keeper = host.keeper();
    let refused = match judged {
        Ok(Verdict::Held(held)) => {
            match held.previewed(&host.registry, keeper.as_deref()).confirm(&host.desk) {
                Err(mut refused) => {
                    if let Some(keeper) = &keeper {
                        refused.keep_previews(&**keeper);
                    }
                    refused
                }
                Ok(_) => {
                    return Err(Fault::new(Code::CAPABILITY_FAULT, "a plan without a token was confirmed"));
                }
            }
        }
        Ok(Verdict::Allowed(_) | Verdict::PlanOnly(_)) => {
            return Err(Fault::invalid(
                "$.actions[0].params.plan",
                "this plan needs no confirmation: send it",
            ));
        }
        Err(refused) => refused,
    };
    let fault = refused.fault();
    let pending =
        fault.details.as_ref().and_then(|details| details.get("pending_id")).and_then(Value::as_str);
    match pending {
        Some(id) => {
            let held = host.desk.find(id)?;
            let held_entry = entry(peer, Event::Held, &held, None);
            let evidence = refused.evidence().cloned().collect();
            let _durable = host.log.write(vec![Entry { evidence, ..held_entry }]).await?;
            Ok(shown(host, &held))
        }
        None => {
            Err(within(Fault { path: fault.path.clone(), ..Fault::new(fault.code, fault.message.clone()) }))
        }
    }
}
