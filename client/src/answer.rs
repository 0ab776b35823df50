//! An answer, as far as this program looks into it.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exit::Exit;
use crate::screen::plain;

/// One answer of a host. Fields that a later host adds are passed over.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) results: Vec<ActionResult>,
    error: Option<ErrorBody>,
    #[serde(default)]
    pub(crate) meta: Meta,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ActionResult {
    pub(crate) output: Option<Box<RawValue>>,
    error: Option<ErrorBody>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ErrorBody {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) path: Option<String>,
    #[serde(default)]
    details: Details,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Details {
    pending_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Meta {
    pub(crate) wait_secret: Option<String>,
}

impl Answer {
    /// The error that ended the plan: its own, else that of the first action that failed.
    pub(crate) fn failed(&self) -> Option<ErrorBody> {
        self.error.as_ref().or_else(|| self.results.iter().find_map(|result| result.error.as_ref())).cloned()
    }

    /// The held plan's name, where a human must confirm.
    pub(crate) fn pending_id(&self) -> Option<&str> {
        self.error.as_ref()?.details.pending_id.as_deref()
    }

    /// The exit code. A plan that was only planned is ok whatever was decided: the question was answered.
    pub(crate) fn exit(&self) -> Exit {
        self.failed().map_or(Exit::Ok, |error| Exit::for_code(&error.code))
    }

    /// What a human should read about an answer that is not ok, with the next step.
    pub(crate) fn words(&self) -> Option<String> {
        let error = self.failed()?;
        let place = error.path.as_deref().map(|path| format!(" at {}", plain(path))).unwrap_or_default();
        let next = match (Exit::for_code(&error.code), self.pending_id()) {
            (Exit::ConfirmationNeeded, Some(id)) => {
                format!(
                    "\na human decides with: llmsh approve {} (send with --wait to wait for it)",
                    plain(id)
                )
            }
            // The message itself tells who lets the host run again.
            (Exit::TryLater, _) if error.code == "halted" => String::new(),
            (Exit::TryLater, _) => {
                "\ntry again later; whether the host is there tells: llmsh ping".to_owned()
            }
            (Exit::Refused, _) if error.code == "unknown_action" => {
                "\nwhat this host can do tells: llmsh describe".to_owned()
            }
            _ => String::new(),
        };
        Some(format!("{}{place}: {}{next}", plain(&error.code), plain(&error.message)))
    }
}
