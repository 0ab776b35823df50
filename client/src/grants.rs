//! What sessions may do again without asking.

use serde::Deserialize;
use serde_json::json;

use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::output::{self, Form};
use crate::screen::Screen;
use crate::text::{heading, seconds, sentence, word};

/// The grants that hold, oldest first.
#[derive(Deserialize)]
struct Grants {
    grants: Vec<Grant>,
}

#[derive(Deserialize)]
struct Grant {
    grant_id: String,
    uid: u32,
    session_id: Option<String>,
    approver: u32,
    age_s: u64,
    expires_in_s: u64,
    used: u64,
    permits: Vec<String>,
}

/// Lists the grants that hold.
pub(crate) fn list(host: &Host, form: Form) -> Result<Exit, Failure> {
    output::tell(host.ask("host.grants", &json!({}), None)?.get(), form, listed)?;
    Ok(Exit::Ok)
}

/// Ends a grant at once.
pub(crate) fn revoke(host: &Host, id: &str, form: Form) -> Result<Exit, Failure> {
    #[derive(Deserialize)]
    struct Revoked {
        revoked: bool,
    }
    let answer = host.ask("host.revoke", &json!({"grant_id": id}), None)?;
    output::tell(answer.get(), form, |Revoked { revoked }| {
        let id = word(id);
        sentence(&match revoked {
            true => format!("revoked: {id} permits nothing any more; the same again asks a human"),
            false => format!("{id} was not revoked"),
        })
    })?;
    Ok(Exit::Ok)
}

fn listed(Grants { grants }: Grants) -> Screen {
    if grants.is_empty() {
        return sentence("no grant holds");
    }
    let mut screen = Screen::default();
    for grant in &grants {
        let Grant { grant_id, uid, session_id, approver, age_s, expires_in_s, used, permits } = grant;
        let session = session_id.as_deref().map_or(String::new(), |id| format!(", session {}", word(id)));
        heading(2, &format!("{} of user {uid}{session}", word(grant_id)), &mut screen);
        let (age, left) = (seconds(*age_s), seconds(*expires_in_s));
        screen.line(
            2,
            &format!("granted by user {approver} {age} ago, ends in {left}; {used} plans ran by it"),
        );
        screen.line(2, "it permits, without asking");
        permits.iter().for_each(|permit| screen.foreign(4, permit));
    }
    screen
}
