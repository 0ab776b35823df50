//! `llmsh mcp`: the host's actions as tools of the Model Context Protocol.
//!
//! - It knows the plan socket only. It never opens the approval socket, so nothing that comes in by this road can confirm.
//! - It decides nothing: a call goes to the host as a plan, and the host judges and records it.
//! - What a client says in answer to an elicitation is thrown away: elicitations tell, and ask nothing.

mod call;
mod hold;
mod http;
mod listing;
mod outcome;
mod pool;
mod server;
mod start;
mod stdio;
mod token;
mod whole;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::cli::McpArgs;
use crate::connection::{Host, Sockets};
use crate::exit::{Exit, Failure};
use crate::mcp::server::{Choice, Server};
use crate::tools;

pub(crate) use crate::mcp::listing::listed;
pub(crate) use crate::mcp::whole::listed as listed_plan;

/// Serves until the client goes away, or for ever on HTTP.
pub(crate) fn run(sockets: &Sockets, args: McpArgs) -> Result<Exit, Failure> {
    let host = sockets.plan()?;
    // The address and the token are checked before anything is started.
    let door = args.http.as_deref().map(|address| http::Door::open(address, args.token_file.as_deref()));
    let door = door.transpose()?;
    if args.start_host {
        start::start(&host, sockets)?;
    }
    let choice = Choice {
        toolsets: args.toolsets,
        read_only: args.read_only,
        hide_denied: args.hide_denied,
        hold: Duration::from_secs(args.hold_s),
    };
    if !choice.toolsets.is_empty() {
        known(&host, &choice.toolsets)?;
    }
    let server = Arc::new(Server::new(&host, choice)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Usage(format!("cannot start: {e}")))?;
    let ended = match door {
        None => runtime.block_on(stdio::serve(server)),
        Some(door) => runtime.block_on(http::serve(server, door)),
    };
    // A read of a terminal cannot be cancelled, and nobody waits for it any more.
    runtime.shutdown_background();
    ended
}

/// Refuses capabilities that the host does not have. Where no host answers, the first list of tools tells.
fn known(host: &Host, toolsets: &[String]) -> Result<(), Failure> {
    match tools::ask(host, &json!({})) {
        Ok(all) => tools::of_toolsets(all, toolsets).map(drop),
        Err(Failure::NoHost { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}
