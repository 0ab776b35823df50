//! The stop for everything, and the end of it.

use serde::Deserialize;
use serde_json::json;

use crate::connection::{Host, Sockets};
use crate::exit::{Exit, Failure};
use crate::output::{self, Form};
use crate::screen::say;
use crate::text::sentence;

#[derive(Deserialize)]
struct Halted {
    #[serde(default)]
    cancelled: u64,
    running: u64,
}

/// Halts the host, by the socket that lets this user in.
pub(crate) fn halt(sockets: &Sockets, form: Form) -> Result<Exit, Failure> {
    let output = sockets.ask_either(|host| host.ask("host.halt", &json!({}), None))?;
    output::tell(output.get(), form, |Halted { cancelled, running }| {
        sentence(&format!(
            "halted: {cancelled} plans were cancelled, {running} of them still run; nothing new begins until an approver \
             says llmsh resume"
        ))
    })?;
    let read = serde_json::from_str::<Halted>(output.get());
    let Halted { running, .. } = read.map_err(|e| Failure::other_shape("answer", &e))?;
    if running > 0 {
        say("the host is halted, but what it cancelled has not ended yet: ask again, or stop the host");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

/// Lets a halted host run again.
pub(crate) fn resume(approval: &Host, form: Form) -> Result<Exit, Failure> {
    #[derive(Deserialize)]
    struct Resumed {
        resumed: bool,
    }
    let answer = approval.ask("host.resume", &json!({}), None)?;
    output::tell(answer.get(), form, |Resumed { resumed }| {
        sentence(if resumed {
            "resumed: the host runs plans again; what was cancelled has to be sent anew"
        } else {
            "the host was not halted"
        })
    })?;
    Ok(Exit::Ok)
}
