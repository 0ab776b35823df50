//! What the host asks an approver to sign, compared with what was shown.

use llm_os_core::approval::{NAMESPACE, Statement};
use llm_os_core::value::hex;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Held;

/// The texts of both answers that can be signed.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    namespace: String,
    once: String,
    session: String,
}

impl Held {
    /// What an approver signs, once or for the session; `None` where the host asks for no signature.
    ///
    /// It is made anew from the plan that is shown: a text that says anything else is not signed. Only the host's name and
    /// the end of its waiting are the host's own words.
    ///
    /// # Errors
    ///
    /// What the text says otherwise.
    pub(crate) fn statement(&self, session: bool) -> Result<Option<Statement>, String> {
        let Some(asked) = &self.signature else { return Ok(None) };
        if asked.namespace != NAMESPACE {
            return Err(format!(
                "it is to be signed in the namespace {:?}, not \"{NAMESPACE}\"",
                asked.namespace
            ));
        }
        let stated = if session { &asked.session } else { &asked.once };
        let stated = Statement::read(stated).ok_or("what is to be signed is no statement of an approval")?;
        let shown = Statement {
            session,
            pending_id: self.pending_id.clone(),
            uid: self.uid,
            sha256: hex(&Sha256::digest(self.plan.as_bytes())),
            expires: stated.expires,
            host: stated.host,
        };
        if shown != stated {
            return Err("what is to be signed is not the statement of the plan that is shown".to_owned());
        }
        Ok(Some(shown))
    }
}

#[cfg(test)]
impl Held {
    /// As a host tells it whose approvals are signed.
    pub(crate) fn ask_for_signatures(&mut self) {
        use llm_os_core::approval::Moment;
        use llm_os_core::audit::Signer;
        let statement = |session| Statement {
            session,
            pending_id: self.pending_id.clone(),
            uid: self.uid,
            sha256: self.sha256.clone(),
            expires: Moment::rfc3339("2030-01-01T00:00:00Z").unwrap(),
            host: Signer::from_seed(&[7; 32]).public(),
        };
        let [once, session] = [false, true].map(|session| statement(session).to_string());
        self.signature = Some(Asked { namespace: NAMESPACE.to_owned(), once, session });
    }
}
