//! The way to llm-osd: one `llmsh computer`, which takes the model's output line by line and answers in kind.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use clap::ValueEnum;
use serde_json::Value;

use crate::{Args, Failure};

/// It ends when this is dropped.
pub(crate) struct Host {
    child: Child,
    /// `None` once it is to end.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// What the API is told that there is: the computer, and those actions of the host that its policy may allow.
pub(crate) fn tools(args: &Args) -> Result<Value, Failure> {
    let mut command = computer(args);
    add(command.arg("--tools"), [("--tool", &args.tool), ("--toolsets", &args.toolsets)]);
    let ran = command.stderr(Stdio::inherit()).output().map_err(unstartable)?;
    if !ran.status.success() {
        return Err(Failure("llmsh computer --tools failed; what it said stands above".to_owned()));
    }
    serde_json::from_slice(&ran.stdout).map_err(misunderstood)
}

impl Host {
    pub(crate) fn start(args: &Args) -> Result<Self, Failure> {
        let mut command = computer(args);
        add(&mut command, [("--hold-s", &args.hold_s)]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(unstartable)?;
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        Ok(Self { stdin: child.stdin.take(), stdout, child })
    }

    /// Has done what the model wants. Every call gets its result, also one that was refused or waits for a human.
    pub(crate) fn carry_out(&mut self, items: &[Value]) -> Result<Vec<Value>, Failure> {
        let mut line = serde_json::to_string(items).map_err(misunderstood)?;
        line.push('\n');
        // Where it ended already, the next line is none.
        let _ = self.stdin.as_mut().map(|stdin| stdin.write_all(line.as_bytes()));
        line.clear();
        match self.stdout.read_line(&mut line) {
            Ok(1..) => match serde_json::from_str(&line).map_err(misunderstood)? {
                Value::Array(results) => Ok(results),
                refused => Err(Failure(format!("llmsh computer cannot go on: {refused}"))),
            },
            _ => Err(Failure("llmsh computer ended; what it said stands above".to_owned())),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "llmsh is the way to the host")]
fn computer(args: &Args) -> Command {
    let mut command = Command::new("llmsh");
    let dialect = args.api.to_possible_value().expect("each has a name");
    command.args(["computer", "--dialect", dialect.get_name()]);
    add(&mut command, [("--socket", &args.socket)]);
    // The key is for the endpoint, and for nobody else.
    let is_key = |name: &OsStr| name.as_encoded_bytes().ends_with(b"_API_KEY");
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_key(name)) {
        command.env_remove(name);
    }
    command
}

/// Adds those options that have a value.
fn add<const N: usize>(command: &mut Command, options: [(&str, &Option<String>); N]) {
    for (name, value) in options {
        command.args(value.iter().flat_map(|value| [name, value]));
    }
}

fn unstartable(e: std::io::Error) -> Failure {
    Failure(format!("llmsh cannot be started: {e}; put the directory that it is in into PATH"))
}

fn misunderstood(e: serde_json::Error) -> Failure {
    Failure(format!("llmsh computer and this agent do not understand each other: {e}"))
}
