//! The stop for everything, and the end of it.

use serde::Deserialize;
use serde_json::json;

use crate::connection::{Host, Sockets};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::screen::say;

/// Halts the host, by the socket that lets this user in.
pub(crate) fn halt(sockets: &Sockets, pretty: bool) -> Result<Exit, Failure> {
    #[derive(Deserialize)]
    struct Halted {
        running: u64,
    }
    let output = sockets.ask_either(|host| host.ask("host.halt", &json!({}), None))?;
    output::print(output.get(), pretty)?;
    let read = serde_json::from_str::<Halted>(output.get());
    let Halted { running } =
        read.map_err(|e| Failure::NoAnswer(format!("the host's answer has another shape: {e}")))?;
    if running > 0 {
        say("the host is halted, but what it cancelled has not ended yet: ask again, or stop the host");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

/// Lets a halted host run again.
pub(crate) fn resume(approval: &Host, pretty: bool) -> Result<Exit, Failure> {
    output::print(approval.ask("host.resume", &json!({}), None)?.get(), pretty)?;
    Ok(Exit::Ok)
}
