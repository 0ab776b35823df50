//! What can go wrong, in the closed set of codes that is part of the protocol.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A code of the wire protocol: lower case, underscores, never localised.
///
/// The host's own codes are the constants below. A capability adds its own with [`Code::own`] and lists them in its
/// [`ActionSpec::errors`](crate::ActionSpec::errors), so that `host.describe` shows the whole set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(&'static str);

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $name: Code = Code($text);)*
            /// Every code that the host itself answers with.
            pub const HOST: &'static [Code] = &[$(Code::$name),*];
        }
    };
}

codes! {
    /// The frame is not a request: not JSON, a wrong type, an unknown, duplicate or missing field.
    PARSE_FAILED = "parse_failed";
    /// The request is well formed, but a value is outside what is accepted.
    VALIDATION_FAILED = "validation_failed";
    /// The frame is longer than `limits.request_bytes`; the connection is closed after the answer.
    REQUEST_TOO_LARGE = "request_too_large";
    /// No linked capability has this action.
    UNKNOWN_ACTION = "unknown_action";
    /// The policy, or a rule that no policy can lift, refuses an effect of the plan.
    POLICY_DENIED = "policy_denied";
    /// A human must confirm the plan; `details.pending_id` names it.
    CONFIRMATION_REQUIRED = "confirmation_required";
    /// The token is unknown, used, expired, or was minted for another plan or caller; it is burnt.
    CONFIRMATION_INVALID = "confirmation_invalid";
    /// What the plan resolves to is no longer what was confirmed; the token is burnt.
    CONFIRMATION_STALE = "confirmation_stale";
    /// The audit log cannot be written, so nothing runs.
    AUDIT_UNAVAILABLE = "audit_unavailable";
    /// A bound is reached (connections, queued plans, pending confirmations); try again later.
    BUSY = "busy";
    /// The caller, or the loss of its connection, cancelled the plan.
    CANCELLED = "cancelled";
    /// A request with `"once": true` was already run; `details` tells the earlier outcome.
    DUPLICATE_REQUEST = "duplicate_request";
    /// The plan did not end within its deadline.
    DEADLINE_EXCEEDED = "deadline_exceeded";
    /// The host was halted, or is stopping; nothing new runs.
    HALTED = "halted";
    /// The capability cannot work on this machine as it is set up; the message says what to do.
    UNAVAILABLE = "unavailable";
    /// The results would be longer than `limits.response_bytes`; what was done is done, its output is left out.
    RESPONSE_TOO_LARGE = "response_too_large";
    /// A capability broke its contract (a panic, an undeclared effect); the host goes on.
    CAPABILITY_FAULT = "capability_fault";
}

impl Code {
    /// A code of a capability's own, such as `exec_timed_out`.
    pub const fn own(text: &'static str) -> Self {
        Self(text)
    }

    /// The code as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// Why an action, or a whole plan, did not happen.
///
/// `message` is for the caller: what was wrong and where, never a secret. `log` is for the operator and stays on this
/// machine.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Fault {
    /// The closed-set code.
    pub code: Code,
    /// One sentence for the caller that ends with the next step where there is one.
    pub message: Cow<'static, str>,
    /// The JSON path of what was wrong. A capability gives it relative to its params (`argv[0]`), the host completes
    /// it (`$.actions[0].params.argv[0]`).
    pub path: Option<String>,
    /// Facts for a program, by name.
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
    /// What was delivered before the failure, in the shape of the action's output.
    pub output: Option<Box<RawValue>>,
    /// What the operator should see beside the message.
    pub log: Option<String>,
    /// See [`Fault::keeps_host_from_starting`].
    pub fatal: bool,
}

impl Fault {
    /// A fault with a code and the sentence for the caller.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            path: None,
            details: None,
            output: None,
            log: None,
            fatal: false,
        }
    }

    /// A value that is well typed but not accepted, at `path` relative to the params.
    pub fn invalid(path: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::VALIDATION_FAILED, message).at(path)
    }

    /// Something a rule, rather than a policy, refuses.
    pub fn denied(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::POLICY_DENIED, message)
    }

    /// Names the JSON path of what was wrong.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Adds one fact for a program.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.details.get_or_insert_default().insert(name.to_owned(), value.into());
        self
    }

    /// Keeps what was delivered before the failure. `output` has the shape of the action's own output.
    #[must_use]
    pub fn delivered<T: Serialize>(mut self, output: &T) -> Self {
        self.output = serde_json::value::to_raw_value(output).ok();
        self
    }

    /// Adds a sentence for the operator's log.
    #[must_use]
    pub fn log(mut self, text: impl Into<String>) -> Self {
        self.log = Some(text.into());
        self
    }

    /// For [`Capability::open`](crate::Capability::open): a protection that the operator requires cannot be had, so that
    /// the host must not start, rather than run without it.
    #[must_use]
    pub fn keeps_host_from_starting(mut self) -> Self {
        self.fatal = true;
        self
    }

    /// Completes a path that is relative to the params of action `index`.
    #[must_use]
    pub(crate) fn in_action(mut self, index: usize) -> Self {
        self.path = Some(match self.path.take() {
            None => format!("$.actions[{index}]"),
            Some(path) if path.starts_with('$') => path,
            Some(path) if path.is_empty() || path.starts_with('[') => {
                format!("$.actions[{index}].params{path}")
            }
            Some(path) => format!("$.actions[{index}].params.{path}"),
        });
        self
    }
}

/// Shows at most 80 characters of hostile text, escaped to printable ASCII.
pub fn excerpt(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_default).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}
