//! The request envelope, as strict as the typed params inside it.

use serde::Deserialize;

use crate::VERSION;
use crate::error::{Code, Fault, excerpt};
use crate::json::{Json, write_text};
use crate::name::{ActionName, Id};
use crate::value::Secret;

/// The most actions in a plan.
pub const MAX_ACTIONS: usize = 64;
/// The longest `reason`, `danger` or `recovery`, in bytes.
pub const MAX_REASON: usize = 2048;
/// The longest token, in bytes; longer ones are not looked at.
const MAX_TOKEN: usize = 256;

/// Whether a plan runs or is only judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Tell what would happen; touch nothing.
    PlanOnly,
    /// Do it.
    Execute,
}

/// The envelope as it stands in a frame.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    request_id: String,
    session_id: Option<String>,
    version: Option<String>,
    mode: Mode,
    actions: Vec<WireAction>,
    confirmation: Option<WireConfirmation>,
    #[serde(default)]
    once: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAction {
    action: String,
    params: Json,
    reason: String,
    danger: Option<String>,
    recovery: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireConfirmation {
    token: Option<Secret>,
    session_secret: Option<Secret>,
}

/// A request whose envelope is checked; its params are not typed yet.
#[derive(Debug)]
pub struct Request {
    /// The caller's id of the request.
    pub id: Id,
    /// The caller's id of the session.
    pub session: Option<Id>,
    /// Whether to run it.
    pub mode: Mode,
    /// What to do, in order.
    pub calls: Vec<Call>,
    /// The confirmation token.
    pub token: Option<Secret>,
    /// The secret by which the session's grants are known.
    pub session_secret: Option<Secret>,
    /// Whether it runs at most once for its (uid, session, request id).
    pub once: bool,
}

/// One action of a request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which action.
    pub name: ActionName,
    /// Its params, an object.
    pub params: Json,
    /// Why, in the caller's words.
    pub reason: String,
    /// What could go wrong, in the caller's words; stating it asks for confirmation.
    pub danger: Option<String>,
    /// How to undo it, in the caller's words.
    pub recovery: Option<String>,
}

/// What could be read of a frame that is refused.
#[derive(Debug)]
pub struct Unread {
    /// The request id, where one could be read.
    pub id: Option<Id>,
    /// The session id, where one could be read.
    pub session: Option<Id>,
    /// Why it is refused.
    pub fault: Fault,
}

impl Request {
    /// Reads and checks one frame, without its LF.
    ///
    /// # Errors
    ///
    /// `parse_failed` or `validation_failed` with the path, and the ids as far as they could be read.
    pub fn read(frame: &[u8]) -> Result<Self, Unread> {
        let parsed = Json::parse(frame).and_then(|json| json.read::<Wire>());
        match parsed {
            Err(e) => {
                let (id, session) = glimpse(frame);
                let fault = Fault::new(Code::PARSE_FAILED, e.message().to_owned()).at(e.path());
                Err(Unread { id, session, fault })
            }
            Ok(wire) => {
                let (id, session) = (Id::new(&wire.request_id), wire.session_id.as_deref().and_then(Id::new));
                Self::check(wire).map_err(|fault| Unread { id, session, fault })
            }
        }
    }

    fn check(wire: Wire) -> Result<Self, Fault> {
        if wire.version.as_deref() != Some(VERSION) {
            let found = wire.version.map_or("no version".to_owned(), |v| format!("\"{}\"", excerpt(&v)));
            return Err(Fault::invalid("$.version", format!("found {found}, expected \"{VERSION}\"")));
        }
        let id = checked_id(&wire.request_id, "$.request_id")?;
        let session = wire.session_id.map(|text| checked_id(&text, "$.session_id")).transpose()?;
        if wire.actions.is_empty() || wire.actions.len() > MAX_ACTIONS {
            let found = wire.actions.len();
            return Err(Fault::invalid(
                "$.actions",
                format!("found {found} actions, expected 1 to {MAX_ACTIONS}"),
            ));
        }
        let (token, session_secret) = wire.confirmation.map_or(Ok((None, None)), WireConfirmation::check)?;
        let calls = wire.actions.into_iter().enumerate().map(|(index, action)| action.check(index));
        Ok(Self {
            id,
            session,
            mode: wire.mode,
            calls: calls.collect::<Result<_, _>>()?,
            token,
            session_secret,
            once: wire.once,
        })
    }
}

impl WireConfirmation {
    fn check(self) -> Result<(Option<Secret>, Option<Secret>), Fault> {
        let Self { token, session_secret } = self;
        if token.is_none() && session_secret.is_none() {
            let message = "found neither, expected a token, a session_secret, or both";
            return Err(Fault::invalid("$.confirmation", message));
        }
        for (path, secret) in
            [("$.confirmation.token", &token), ("$.confirmation.session_secret", &session_secret)]
        {
            if secret.as_ref().is_some_and(|secret| secret.expose().len() > MAX_TOKEN) {
                return Err(Fault::invalid(path, format!("longer than {MAX_TOKEN} bytes")));
            }
        }
        Ok((token, session_secret))
    }
}

/// A plan in its one canonical form: what is digested, shown to the approver and run.
///
/// It covers the version, the session and every action with its reason, in one fixed order of keys.
pub fn canonical(session: Option<&Id>, calls: &[Call]) -> String {
    fn field(out: &mut String, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            out.push_str(",\"");
            out.push_str(name);
            out.push_str("\":");
            write_text(value, out);
        }
    }
    let mut out = format!("{{\"version\":\"{VERSION}\"");
    field(&mut out, "session_id", session.map(Id::as_str));
    out.push_str(",\"actions\":[");
    for (index, call) in calls.iter().enumerate() {
        out.push_str(if index == 0 { "{\"action\":" } else { ",{\"action\":" });
        write_text(call.name.as_str(), &mut out);
        out.push_str(",\"params\":");
        call.params.write(&mut out);
        field(&mut out, "reason", Some(&call.reason));
        field(&mut out, "danger", call.danger.as_deref());
        field(&mut out, "recovery", call.recovery.as_deref());
        out.push('}');
    }
    out.push_str("]}");
    out
}

impl Call {
    /// What a session may be granted to do again, as text: the action, its params and how to undo it, in canonical
    /// form. The reason is not in it, and nothing that states a danger is ever granted.
    pub fn again(&self) -> String {
        let mut out = format!("{} ", self.name);
        self.params.write(&mut out);
        if let Some(recovery) = &self.recovery {
            out.push_str(", recovery ");
            write_text(recovery, &mut out);
        }
        out
    }
}

impl WireAction {
    fn check(self, index: usize) -> Result<Call, Fault> {
        let at = |field: &str| format!("$.actions[{index}].{field}");
        let Some(name) = ActionName::new(&self.action) else {
            let message = format!(
                "found \"{}\", expected \"<capability>.<verb>\" in lower case",
                excerpt(&self.action)
            );
            return Err(Fault::new(Code::PARSE_FAILED, message).at(at("action")));
        };
        if !matches!(self.params, Json::Object(_)) {
            return Err(Fault::new(Code::PARSE_FAILED, "expected an object").at(at("params")));
        }
        for (field, text) in [
            ("reason", Some(&self.reason)),
            ("danger", self.danger.as_ref()),
            ("recovery", self.recovery.as_ref()),
        ] {
            if text.is_some_and(|text| text.trim().is_empty() || text.len() > MAX_REASON) {
                return Err(Fault::invalid(
                    at(field),
                    format!("expected 1 to {MAX_REASON} bytes that are not blank"),
                ));
            }
        }
        let Self { params, reason, danger, recovery, .. } = self;
        Ok(Call { name, params, reason, danger, recovery })
    }
}

fn checked_id(text: &str, path: &str) -> Result<Id, Fault> {
    Id::new(text).ok_or_else(|| {
        let message = format!("found \"{}\", expected [A-Za-z0-9][A-Za-z0-9._:-]{{0,127}}", excerpt(text));
        Fault::invalid(path.to_owned(), message)
    })
}

/// The ids of a frame that is JSON but not a request.
fn glimpse(frame: &[u8]) -> (Option<Id>, Option<Id>) {
    #[derive(Deserialize)]
    struct Ids {
        request_id: Option<serde_json::Value>,
        session_id: Option<serde_json::Value>,
    }
    let Ok(ids) = serde_json::from_slice::<Ids>(frame) else { return (None, None) };
    let id = |value: Option<serde_json::Value>| value.as_ref().and_then(|v| v.as_str()).and_then(Id::new);
    (id(ids.request_id), id(ids.session_id))
}
