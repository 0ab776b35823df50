//! What sessions were granted: the secrets by which a host knows it, in memory alone.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use llm_os_core::Secret;

use crate::envelope;

/// The secrets that a host issued with its approvals, by the session that they are for.
#[derive(Debug, Default)]
pub(crate) struct Granted(Mutex<HashMap<String, Secret>>);

impl Granted {
    /// Keeps the secret that came with an approval, if one did.
    pub(crate) fn keep(&self, session: Option<&str>, secret: Option<String>) {
        if let (Some(session), Some(secret)) = (session, secret) {
            self.secrets().insert(session.to_owned(), Secret::new(secret));
        }
    }

    /// The plan, with the secret of its session where there is one and the plan states no confirmation of its own.
    pub(crate) fn show<'a>(&self, frame: &'a [u8]) -> Cow<'a, [u8]> {
        let secrets = self.secrets();
        if secrets.is_empty() {
            return Cow::Borrowed(frame);
        }
        let secret = envelope::session(frame).and_then(|session| secrets.get(&session).cloned());
        let shown = secret.and_then(|secret| envelope::with_session_secret(frame, &secret));
        shown.map_or(Cow::Borrowed(frame), Cow::Owned)
    }

    fn secrets(&self) -> MutexGuard<'_, HashMap<String, Secret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plans_of_its_session_that_state_no_confirmation_get_the_secret() {
        let granted = Granted::default();
        let check = |frame: &str, expected: &str| {
            assert_eq!(String::from_utf8_lossy(&granted.show(frame.as_bytes())), expected);
        };
        check(r#"{"session_id":"a"}"#, r#"{"session_id":"a"}"#);
        granted.keep(Some("a"), Some("s".to_owned()));
        granted.keep(None, Some("t".to_owned()));
        check(r#"{"session_id":"a"}"#, r#"{"session_id":"a","confirmation":{"session_secret":"s"}}"#);
        check(r#"{"session_id":"b"}"#, r#"{"session_id":"b"}"#);
        check(r#"{"request_id":"r"}"#, r#"{"request_id":"r"}"#);
        let own = r#"{"session_id":"a","confirmation":{"token":"t"}}"#;
        check(own, own);
        check("not JSON", "not JSON");
    }
}
