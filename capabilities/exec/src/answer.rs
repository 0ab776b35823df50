//! From what came of a program to the answer, or to the fault that it is.

use std::time::Duration;

use llm_os_core::{Code, Fault};

use crate::output::{Meta, Signal};
use crate::run::End;
use crate::spawn::Usage;
use crate::{EXEC_FAILED, EXEC_LIMIT_EXCEEDED, EXEC_TIMED_OUT};

/// How a program ended: by itself with an exit code, or by a signal.
pub(crate) fn ending(end: End) -> (Option<i32>, Option<Signal>) {
    match end {
        End::Ended(status) if libc::WIFEXITED(status) => (Some(libc::WEXITSTATUS(status)), None),
        End::Ended(status) => (None, Some(Signal::new(libc::WTERMSIG(status)))),
        End::TimedOut | End::Stopped | End::Lost | End::GivenUp => (None, None),
    }
}

pub(crate) fn meta(usage: Usage, duration: Duration) -> Meta {
    Meta {
        duration_us: micros(duration),
        user_us: usage.user_us,
        system_us: usage.system_us,
        max_rss_bytes: usage.max_rss_bytes,
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What is known of a program that ended, as far as it decides whether that is a failure.
pub(crate) struct Ended<'a> {
    pub(crate) end: End,
    pub(crate) out_of_memory: bool,
    pub(crate) expect_exit: Option<&'a [i32]>,
    pub(crate) timeout: Duration,
}

impl Ended<'_> {
    /// The fault that it is, if it is one.
    pub(crate) fn fault(&self, stopped: impl FnOnce() -> Option<Fault>) -> Option<Fault> {
        let (exit_code, signal) = ending(self.end);
        let of_action = self.out_of_memory.then_some("the limit of the memory of an action, memory_bytes");
        let limit = of_action.or_else(|| signal.as_ref().and_then(Signal::limit));
        match (self.end, self.expect_exit, limit) {
            (End::Ended(_) | End::Lost, _, Some(limit)) => {
                let message =
                    format!("the program was ended by {limit}, which [capabilities.exec.sandbox] sets");
                Some(Fault::new(EXEC_LIMIT_EXCEEDED, message))
            }
            (End::Ended(_), Some(expected), None)
                if !exit_code.is_some_and(|code| expected.contains(&code)) =>
            {
                let found = match (exit_code, signal) {
                    (Some(code), _) => format!("the program exited with {code}"),
                    (None, Some(signal)) => format!("the program was ended by {}", signal.name),
                    (None, None) => "the program ended".to_owned(),
                };
                Some(Fault::new(EXEC_FAILED, format!("{found}, expected the exit code {}", one_of(expected))))
            }
            (End::Ended(_), _, None) => None,
            (End::TimedOut, _, _) => {
                let limit = self.timeout.as_millis();
                let message = format!(
                    "the program ran longer than {limit} ms, and was killed with all that it started"
                );
                Some(Fault::new(EXEC_TIMED_OUT, message))
            }
            (End::Stopped, _, _) => {
                Some(stopped().unwrap_or_else(|| Fault::new(Code::CANCELLED, "the plan was stopped")))
            }
            (End::Lost | End::GivenUp, _, _) => {
                Some(Fault::new(EXEC_FAILED, "the program was killed from outside, with all that it started"))
            }
        }
    }
}

fn one_of(codes: &[i32]) -> String {
    codes.iter().map(i32::to_string).collect::<Vec<_>>().join(" or ")
}
