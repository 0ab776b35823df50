//! Tool calls as models emit them: JSON of an API in, line by line, the results that this API expects out.
//!
//! Here alone the client knows names of the host's actions, as data: those of the keyboard, the mouse and the monitors. It
//! decides nothing: each call is a plan like any other, and what a human must confirm, a human confirms.

mod act;
mod anthropic;
mod desk;
mod input;
mod limits;
mod lines;
mod offer;
mod openai;
mod parts;
mod plans;
mod space;

use std::time::Duration;

use crate::cli::ComputerArgs;
use crate::computer::desk::{Desk, Options};
use crate::computer::lines::Lines;
use crate::computer::plans::Plans;
use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) use crate::computer::offer::{Dialect, Version};

/// Answers each line of stdin with a line, until there is none or nobody reads the answers.
pub(crate) fn run(host: Host, args: ComputerArgs, pretty: bool) -> Result<Exit, Failure> {
    let host = host.ends_with_stdout();
    let session = args.session.unwrap_or_else(|| format!("computer-{}", std::process::id()));
    let plans = Plans::new(&host, session, Duration::from_secs(args.hold_s));
    let mut desk = Desk::new(plans, Options { settle_ms: args.settle_ms, max_edge: args.max_edge });
    if args.tools {
        let tools = offer::tools(&host, &mut desk, args.dialect, args.tool, &args.toolsets)?;
        output::print(&tools.to_string(), pretty)?;
        return Ok(Exit::Ok);
    }
    let mut lines = Lines::of_stdin()?;
    while let Some(line) = lines.next()? {
        let line =
            line.and_then(|line| String::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned()));
        let answer = match (args.dialect, line) {
            (Dialect::Anthropic, Ok(line)) => anthropic::answer(&line, &mut desk, args.screenshot_after)?,
            (Dialect::Openai, Ok(line)) => openai::answer(&line, &mut desk)?,
            (Dialect::Anthropic, Err(message)) => anthropic::malformed(&message),
            (Dialect::Openai, Err(message)) => openai::malformed(&message),
        };
        output::print(&answer.to_string(), pretty)?;
    }
    Ok(Exit::Ok)
}
