//! How the program ends: one exit code for each way, and the words that go with it.

use std::path::PathBuf;
use std::process::ExitCode;

use llm_os_core::Code;

use crate::screen::plain;

/// The exit codes, part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything ran, or would.
    Ok = 0,
    /// An action started and failed.
    Failed = 1,
    /// The command line is wrong; nothing was sent.
    Usage = 2,
    /// The plan is not valid, or was denied.
    Refused = 3,
    /// A human must confirm.
    ConfirmationNeeded = 4,
    /// No host answered.
    Unreachable = 5,
    /// The host cannot run it now.
    TryLater = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The exit code for an error code of the protocol. A code that is not the host's own is a capability's.
    pub(crate) fn for_code(code: &str) -> Self {
        let is = |codes: &[Code]| codes.iter().any(|known| known.as_str() == code);
        if is(&[Code::CONFIRMATION_REQUIRED]) {
            Exit::ConfirmationNeeded
        } else if is(&[Code::AUDIT_UNAVAILABLE, Code::BUSY, Code::DEADLINE_EXCEEDED, Code::HALTED]) {
            Exit::TryLater
        } else if is(&[
            Code::PARSE_FAILED,
            Code::VALIDATION_FAILED,
            Code::REQUEST_TOO_LARGE,
            Code::UNKNOWN_ACTION,
            Code::POLICY_DENIED,
            Code::CONFIRMATION_INVALID,
            Code::CONFIRMATION_STALE,
            Code::DUPLICATE_REQUEST,
        ]) {
            Exit::Refused
        } else {
            Exit::Failed
        }
    }
}

/// Why there is no answer to print. Each message ends with the next step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked for cannot be asked of a host.
    #[error("{0}")]
    Usage(String),
    /// Nobody listens.
    #[error("no host at {}: {source}; start it with: llm-osd (or name its socket by {option})", socket.display())]
    NoHost {
        /// Where it was looked for.
        socket: PathBuf,
        /// The option that names another place.
        option: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The host went away, or what answered is not a host.
    #[error("{0}")]
    NoAnswer(String),
    /// The host refused a question of this program's own.
    #[error("{}: {}", plain(code), plain(message))]
    Refused {
        /// The error code.
        code: String,
        /// The host's message.
        message: String,
    },
    /// The approver did not say yes, or could not be asked.
    #[error("{0}")]
    NotApproved(String),
    /// A file for binary data cannot be written.
    #[error("cannot write {}: {source}; the host has answered, see: llmsh audit show", path.display())]
    Save {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody reads the answers any more.
    #[error(
        "whoever reads the answers is gone, so what ran is cancelled; how it ended tells: llmsh audit show"
    )]
    ReaderGone,
    /// stdout cannot be written.
    #[error("cannot write to stdout: {0}; the host has answered, see: llmsh audit show")]
    Stdout(std::io::Error),
}

impl Failure {
    /// What the host answered is not what this program reads.
    pub(crate) fn other_shape(what: &str, e: &serde_json::Error) -> Self {
        Failure::NoAnswer(format!("the host's {what} has another shape: {e}"))
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::NoHost { .. } | Failure::NoAnswer(_) => Exit::Unreachable,
            Failure::Refused { code, .. } => Exit::for_code(code),
            Failure::NotApproved(_) => Exit::Refused,
            Failure::Save { .. } | Failure::ReaderGone | Failure::Stdout(_) => Exit::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_host_has_its_exit_code() {
        let expected = |code: &str| match code {
            "confirmation_required" => Exit::ConfirmationNeeded,
            "audit_unavailable" | "busy" | "deadline_exceeded" | "halted" => Exit::TryLater,
            "cancelled" | "unavailable" | "response_too_large" | "capability_fault" => Exit::Failed,
            _ => Exit::Refused,
        };
        for code in Code::HOST {
            assert_eq!(Exit::for_code(code.as_str()), expected(code.as_str()), "{code}");
        }
        assert_eq!(Exit::for_code("exec_failed"), Exit::Failed);
    }
}
