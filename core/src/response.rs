//! The answer: one line for each frame, keys always in the same order.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::VERSION;
use crate::effect::Effect;
use crate::error::{Code, Fault};
use crate::name::{ActionName, Id};
use crate::policy::{Decision, Reason};
use crate::reach::Profile;

/// The answer to one frame.
#[derive(Debug, Serialize)]
pub struct Response {
    /// Echoed, or null where it could not be read.
    pub request_id: Option<Id>,
    /// Echoed, or null.
    pub session_id: Option<Id>,
    /// Always [`VERSION`].
    pub version: &'static str,
    /// Whether any action started.
    pub executed: bool,
    /// One for each action, in order; empty where the plan could not be read.
    pub results: Vec<ActionResult>,
    /// Why the plan as a whole did not run, or did not run to its end.
    pub error: Option<ErrorBody>,
    /// What varies between two runs of the same plan.
    pub meta: Meta,
}

impl Response {
    /// An answer without results.
    pub fn refused(request_id: Option<Id>, session_id: Option<Id>, fault: Fault) -> Self {
        let error = Some(ErrorBody::from(fault));
        Self {
            request_id,
            session_id,
            version: VERSION,
            executed: false,
            results: Vec::new(),
            error,
            meta: Meta::default(),
        }
    }

    /// The line, ended by its LF.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an answer holds no map with other keys than strings");
        line.push(b'\n');
        line
    }
}

/// How one action ended.
#[derive(Debug, Serialize)]
pub struct ActionResult {
    /// The action's name.
    pub action: ActionName,
    /// How it ended.
    pub status: Status,
    /// What it gave, also what it gave before it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
    /// In `plan_only` mode, and where a plan is refused or held: the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The policies that made the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<Reason>>,
    /// What they add to the reach of a program that it lets run.
    #[serde(skip_serializing_if = "Profile::is_empty")]
    pub profile: Profile,
    /// What it would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effects: Option<Vec<Effect>>,
}

impl ActionResult {
    /// A result that says only how it ended.
    pub fn new(action: ActionName, status: Status) -> Self {
        Self {
            action,
            status,
            output: None,
            error: None,
            decision: None,
            policies: None,
            profile: Profile::default(),
            effects: None,
        }
    }
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It did what it says.
    Ok,
    /// It started and failed.
    Failed,
    /// It did not start.
    NotRun,
    /// It was only planned.
    Planned,
}

/// An error on the wire.
#[derive(Debug, Serialize)]
pub struct ErrorBody {
    /// The closed-set code.
    pub code: Code,
    /// For the caller: what was wrong and what to do.
    pub message: String,
    /// The JSON path in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Facts for a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
}

impl From<Fault> for ErrorBody {
    fn from(fault: Fault) -> Self {
        let Fault { code, message, path, details, .. } = fault;
        Self { code, message: message.into_owned(), path, details }
    }
}

/// What varies by nature.
#[derive(Debug, Default, Serialize)]
pub struct Meta {
    /// The host's own id of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// From the end of the frame to the answer, in microseconds.
    pub duration_us: u64,
    /// The first and last audit record of this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<[u64; 2]>,
    /// The receipt: SHA-256 of the last of these records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// What `host.await_confirmation` needs beside `details.pending_id`; only the caller gets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_secret: Option<String>,
}
