//! What a host is and can do.

mod action;
mod host;
mod params;

use serde::Deserialize;
use serde_json::json;

use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::output::{self, Form};
use crate::screen::Screen;
use crate::text::{heading, paragraph, sentence, word, word_or_dash};

/// Who answers.
#[derive(Debug, Deserialize)]
struct Named {
    host: Option<String>,
    version: String,
    protocol: Option<String>,
    halted: Option<Halt>,
}

#[derive(Debug, Deserialize)]
struct Halt {
    since: Option<String>,
    by: Option<String>,
}

impl Named {
    fn write(&self, screen: &mut Screen) {
        let Self { host, version, protocol, halted } = self;
        let name = host.as_deref().map_or_else(|| "host".to_owned(), word);
        heading(
            2,
            &format!("{name} {}, protocol {}", word(version), word_or_dash(protocol.as_deref())),
            screen,
        );
        if let Some(Halt { since, by }) = halted {
            let since = since.as_deref().map_or(String::new(), |since| format!(" since {}", word(since)));
            let by = by.as_deref().map_or(String::new(), |by| format!(" by {by}"));
            let halted = format!("halted{since}{by}: nothing runs until an approver says llmsh resume");
            paragraph(2, &halted, screen);
        }
    }
}

/// Prints that the host is there.
pub(crate) fn ping(host: &Host, form: Form) -> Result<Exit, Failure> {
    let answer = host.ask("host.ping", &json!({}), None)?;
    output::tell(answer.get(), form, |named: Named| {
        let mut screen = sentence("the host is there");
        named.write(&mut screen);
        screen
    })?;
    Ok(Exit::Ok)
}

/// Prints what the host says of itself, or of one action.
pub(crate) fn describe(host: &Host, action: Option<String>, form: Form) -> Result<Exit, Failure> {
    let params = action.as_ref().map_or_else(|| json!({}), |action| json!({"actions": [action]}));
    let answer = host.ask("host.describe", &params, None)?;
    match action {
        None => output::tell(answer.get(), form, |described: host::Described| described.screen())?,
        Some(_) => output::tell(answer.get(), form, |only: action::Only| only.screen())?,
    }
    Ok(Exit::Ok)
}
