//! `llmsh`, the client of `llm-osd`.
//!
//! Data goes to stdout, for programs as JSON and for people as text, words go to stderr, and the exit code tells how it ended
//! ([`exit::Exit`]).
//!
//! - It knows no capability: what a host can do it asks the host (`host.describe`). The one exception is [`computer`], which
//!   has names of actions as data.
//! - It decides nothing: a frame goes to the host as it was written, and the host refuses what is wrong with it.
//! - What a requester wrote reaches a terminal as printable ASCII only ([`screen`]).
#![forbid(unsafe_code)]

mod answer;
mod approve;
mod audit;
mod cli;
mod compose;
mod computer;
mod connection;
mod describe;
mod envelope;
mod exit;
mod frames;
mod granted;
mod grants;
mod halt;
mod held;
mod mcp;
mod output;
mod pending;
mod progress;
mod save;
mod schema;
mod screen;
mod send;
mod sign;
mod text;
mod tools;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command};
use crate::connection::Sockets;
use crate::exit::{Exit, Failure};
use crate::output::Form;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let exit = if e.use_stderr() { Exit::Usage } else { Exit::Ok };
            // The reader of the help went away: there is nobody left to tell.
            let _ = e.print();
            return exit.into();
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            screen::say(&format!("llmsh: {failure}"));
            failure.exit().into()
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let form = cli.form(std::io::stdout().is_terminal())?;
    let pretty = form == Form::Pretty;
    let sockets = Sockets { plan: cli.options.socket, approval: cli.options.approval_socket };
    let exit = match cli.command {
        Command::Send(args) => send::send(&sockets.plan()?, &args, pretty)?,
        Command::Do(args) => compose::run(&sockets.plan()?, args, pretty)?,
        Command::Describe { action } => describe::describe(&sockets.plan()?, action, form)?,
        Command::Computer(args) => computer::run(sockets.plan()?, args, pretty)?,
        Command::Schema(args) => schema::schema(&sockets.plan()?, &args, pretty)?,
        Command::Ping => describe::ping(&sockets.plan()?, form)?,
        Command::Pending { id } => pending::pending(&sockets.approval()?, id.as_deref(), form)?,
        Command::Approve(args) => approve::approve(&sockets.approval()?, &args)?,
        Command::Deny { id } => approve::deny(&sockets.approval()?, &id, form)?,
        Command::Grants => grants::list(&sockets.approval()?, form)?,
        Command::Revoke { id } => grants::revoke(&sockets.approval()?, &id, form)?,
        Command::Mcp(args) => mcp::run(&sockets, args)?,
        Command::Halt => halt::halt(&sockets, form)?,
        Command::Resume => halt::resume(&sockets.approval()?, form)?,
        Command::Audit(command) => audit::run(command, form)?,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "llmsh", &mut std::io::stdout());
            Exit::Ok
        }
        Command::Man { directory } => man(directory.as_deref())?,
    };
    Ok(exit.into())
}

/// The man page of the program on stdout, or those of all commands in a directory.
fn man(directory: Option<&Path>) -> Result<Exit, Failure> {
    let written = match directory {
        Some(directory) => std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), directory)),
        // The pages in a directory are without it too: clap's own `help` has none.
        None => {
            clap_mangen::Man::new(Cli::command().disable_help_subcommand(true)).render(&mut std::io::stdout())
        }
    };
    written.map(|()| Exit::Ok).map_err(|e| Failure::Usage(format!("cannot write the man pages: {e}")))
}
