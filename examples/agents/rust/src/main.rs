//! An agent: gives a task to a model, and what the model wants done to llm-osd, until the model is done.
//!
//! - It never acts by itself: every call goes to the host (`llmsh computer`), which decides, asks a human, records and acts.
//! - It trusts nothing that a model wrote, not even on the terminal ([`terminal`]).
//!
//! Beside it, in ../python, lies the same agent in Python.
#![forbid(unsafe_code)]

mod api;
mod endpoint;
mod host;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::api::Api;
use crate::host::Host;
use crate::terminal::{printable, say, say_line};

/// Has a model work on a task by means of llm-osd.
#[derive(Debug, Parser)]
#[command(name = "llm-os-agent", version)]
struct Args {
    /// What to do.
    task: String,
    /// Which API the endpoint speaks.
    #[arg(long)]
    api: Dialect,
    /// The model, as the endpoint names it.
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Answers of the model, at most.
    #[arg(long, value_name = "N", default_value_t = 50)]
    max_turns: u32,
    /// The computer tool that the model knows; by default the newest.
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Capabilities beside the computer, such as fs or fs,exec.
    #[arg(long, value_name = "LIST")]
    toolsets: Option<String>,
    /// How long a call waits for a person; by default 45 seconds.
    #[arg(long, value_name = "S")]
    hold_s: Option<String>,
    /// The host's plan socket; by default as llmsh finds it.
    #[arg(long, value_name = "PATH")]
    socket: Option<String>,
    /// Goes on where an endpoint wants a person to look first (openai).
    #[arg(long)]
    acknowledge_safety_checks: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dialect {
    /// The Messages API.
    Anthropic,
    /// The Responses API.
    Openai,
}

/// Why the task could not be brought to an end, in a sentence for the person.
#[derive(Debug)]
struct Failure(String);

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(text) => {
            println!("{}", printable(&text));
            ExitCode::SUCCESS
        }
        Err(Failure(why)) => {
            say(&format!("agent: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, Failure> {
    let mut host = Host::start(args)?;
    let mut api = api::open(args, host::tools(args)?)?;
    work(api.as_mut(), &mut host, args.max_turns)
}

/// The loop: ask the model, have done what it wants, tell it what came of it.
fn work(api: &mut dyn Api, host: &mut Host, max_turns: u32) -> Result<String, Failure> {
    for _ in 0..max_turns {
        let items = api.ask()?;
        let (text, calls) = api.read(&items);
        if calls.is_empty() {
            return Ok(text);
        }
        if !text.is_empty() {
            say(&text);
        }
        for (name, params) in calls {
            say_line(&format!("-> {name} {params}"));
        }
        let results = host.carry_out(&items)?;
        for result in &results {
            say_line(&format!("<- {}", api.outcome(result)));
        }
        api.tell(results);
    }
    Err(Failure(format!("the task was not done after {max_turns} turns; --max-turns allows more")))
}
