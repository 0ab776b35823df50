//! What a record says, before the log gives it a place (`seq`), a time and a chain (`prev`).

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::effect::Effect;
use crate::error::Code;
use crate::name::Id;
use crate::policy::{Decision, Reason};
use crate::reach::Profile;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The host started, with this policy and configuration.
    Start,
    /// The host stopped in order.
    Stop,
    /// An action is about to run.
    Intent,
    /// An action ended; it has the `run` and the `what.index` of its intent.
    Outcome,
    /// A plan was only planned.
    Planned,
    /// A plan, a frame or a connection was refused.
    Refused,
    /// A plan waits for a human.
    Held,
    /// A human approved a held plan; a token was minted.
    Approved,
    /// A human denied a held plan.
    Denied,
    /// A human approved that a session may do the same again.
    Granted,
    /// A grant ended before its time.
    Revoked,
    /// A token was consumed by the plan that follows.
    TokenUsed,
    /// A token was burnt by a mismatch.
    TokenBurnt,
    /// The policy was loaded anew.
    PolicyLoaded,
    /// A caller cancelled a running plan.
    Cancelled,
    /// Somebody halted the host: nothing runs.
    Halted,
    /// An approver let a halted host run again.
    Resumed,
    /// At start: an intent without outcome was found; what its action did is not known.
    Interrupted,
    /// At start: a torn last line was cut off and closed.
    Recovered,
    /// A signed statement over head and count.
    Checkpoint,
    /// The first record of a new segment.
    Rotated,
    /// Refusals beyond the rate limit, counted.
    Summary,
    /// The oldest segments were removed, as the configuration says.
    Retired,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 23] = [
        Event::Start,
        Event::Stop,
        Event::Intent,
        Event::Outcome,
        Event::Planned,
        Event::Refused,
        Event::Held,
        Event::Approved,
        Event::Denied,
        Event::Granted,
        Event::Revoked,
        Event::TokenUsed,
        Event::TokenBurnt,
        Event::PolicyLoaded,
        Event::Cancelled,
        Event::Halted,
        Event::Resumed,
        Event::Interrupted,
        Event::Recovered,
        Event::Checkpoint,
        Event::Rotated,
        Event::Summary,
        Event::Retired,
    ];

    /// The event as records spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Event::Start => "start",
            Event::Stop => "stop",
            Event::Intent => "intent",
            Event::Outcome => "outcome",
            Event::Planned => "planned",
            Event::Refused => "refused",
            Event::Held => "held",
            Event::Approved => "approved",
            Event::Denied => "denied",
            Event::Granted => "granted",
            Event::Revoked => "revoked",
            Event::TokenUsed => "token_used",
            Event::TokenBurnt => "token_burnt",
            Event::PolicyLoaded => "policy_loaded",
            Event::Cancelled => "cancelled",
            Event::Halted => "halted",
            Event::Resumed => "resumed",
            Event::Interrupted => "interrupted",
            Event::Recovered => "recovered",
            Event::Checkpoint => "checkpoint",
            Event::Rotated => "rotated",
            Event::Summary => "summary",
            Event::Retired => "retired",
        }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing to record.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// What happened.
    pub event: Event,
    /// The request, where it could be read.
    pub request_id: Option<Id>,
    /// The session, where the request names one.
    pub session_id: Option<Id>,
    /// The host's own id of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// The action's reason, as the caller stated it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What was to happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<What>,
    /// What was decided and by whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decided>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What is kept of it beside the log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// What belongs to this event alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl Entry {
    /// An entry that says only what happened.
    pub fn new(event: Event) -> Self {
        Self {
            event,
            request_id: None,
            session_id: None,
            run: None,
            who: None,
            why: None,
            what: None,
            decision: None,
            outcome: None,
            evidence: Vec::new(),
            data: None,
        }
    }
}

/// The peer that asked, from the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Who {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id, in the host's PID namespace.
    pub pid: i32,
    /// The executable, as far as it could be read; never an input to a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
}

/// An action in a record.
#[derive(Clone, Debug, Serialize)]
pub struct What {
    /// Its name.
    pub action: String,
    /// Its place in the plan, from 0.
    pub index: usize,
    /// Its params in canonical form, secrets as length and keyed digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
    /// Whether the caller stated a danger, so that it asks whatever the policy says.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub danger: bool,
    /// What it was about to do to what, with the facts that the policy saw.
    pub effects: Vec<Effect>,
}

/// A decision in a record.
#[derive(Clone, Debug, Serialize)]
pub struct Decided {
    /// Allow, confirm or deny.
    pub decision: Decision,
    /// The policies that made it.
    pub policies: Vec<Reason>,
    /// What they add to the reach of a program that it lets run.
    #[serde(skip_serializing_if = "Profile::is_empty")]
    pub profile: Profile,
    /// SHA-256 of the loaded policies.
    pub policy_sha256: String,
    /// Who confirmed, where a human did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approved>,
}

/// A human's confirmation in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approved {
    /// The held plan.
    pub pending_id: String,
    /// The approver's user id, from the approval socket.
    pub approver: u32,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The grant by which it holds for what came later in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The fingerprint of the key that signed the approval, where it was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
}

/// Something that a host keeps beside the log, where it is told to: what the record itself only digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// What it is: `output`, `diff` or `picture`.
    pub name: String,
    /// Its media type (RFC 6838).
    pub media_type: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in lower-case hexadecimal, by which it is found.
    pub sha256: String,
    /// The point that the action aims at, in pixels of a picture, from its upper left corner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<[u32; 2]>,
}

/// How an action ended, or why a plan was refused.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// `ok`, `failed`, `refused` or `cancelled`.
    pub status: &'static str,
    /// The error's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The error's path in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The run's time in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_us: Option<u64>,
    /// The output's length in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Keyed digest of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_hmac_sha256: Option<String>,
}

impl Outcome {
    /// An outcome that says only how it ended.
    pub fn new(status: &'static str) -> Self {
        Self {
            status,
            code: None,
            path: None,
            duration_us: None,
            output_bytes: None,
            output_hmac_sha256: None,
        }
    }
}
