//! `llmsh pending`: what waits for a human.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::held::Held;
use crate::output::{self, Form};
use crate::screen::Screen;
use crate::text::{Table, seconds, sentence, word, word_or_dash};

/// A plan in the list, as the host tells it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Summary {
    pub(crate) pending_id: String,
    pub(crate) request_id: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) uid: u32,
    pub(crate) age_s: u64,
    pub(crate) expires_in_s: u64,
    pub(crate) actions: Vec<String>,
}

/// What waits, oldest first.
#[derive(Deserialize)]
struct Pending {
    pending: Vec<Summary>,
}

/// Lists what waits, or shows one plan of it.
pub(crate) fn pending(host: &Host, id: Option<&str>, form: Form) -> Result<Exit, Failure> {
    match (id, form) {
        (None, _) => output::tell(host.ask("host.pending", &json!({}), None)?.get(), form, listed)?,
        (Some(id), Form::Text) => shown(&one(host, id)?, "not shown")?.1.print()?,
        (Some(id), Form::Json | Form::Pretty) => {
            output::print(one(host, id)?.get(), form == Form::Pretty)?;
        }
    }
    Ok(Exit::Ok)
}

/// Asks for one plan, completely.
pub(crate) fn one(host: &Host, id: &str) -> Result<Box<RawValue>, Failure> {
    host.ask("host.pending", &json!({"pending_id": id}), None)
}

/// A plan, and the page that an approver decides by.
///
/// # Errors
///
/// `refusal`, and why the page could not be the whole truth.
pub(crate) fn shown(answer: &RawValue, refusal: &str) -> Result<(Held, Screen), Failure> {
    let held: Held = serde_json::from_str(answer.get()).map_err(|e| Failure::other_shape("held plan", &e))?;
    let screen = held.screen().map_err(|why| Failure::NoAnswer(format!("{refusal}: {why}")))?;
    Ok((held, screen))
}

fn listed(Pending { pending }: Pending) -> Screen {
    if pending.is_empty() {
        return sentence("no plan waits for a human");
    }
    let mut table = Table::new(["PLAN", "USER", "ACTIONS", "WAITS", "LEFT", "SESSION", "REQUEST"]);
    for plan in &pending {
        table.row([
            word(&plan.pending_id),
            plan.uid.to_string(),
            plan.actions.iter().map(|action| word(action)).collect::<Vec<_>>().join(", "),
            seconds(plan.age_s),
            seconds(plan.expires_in_s),
            word_or_dash(plan.session_id.as_deref()),
            word_or_dash(plan.request_id.as_deref()),
        ]);
    }
    let mut screen = Screen::default();
    table.write(0, &mut screen);
    screen
}
