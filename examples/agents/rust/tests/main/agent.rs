//! The two agents, and how one ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::dialect::Dialect;
use crate::endpoint::Endpoint;
use crate::host::{Host, beside};

/// What the agent authenticates itself with.
pub(crate) const KEY: &str = "the-key-of-the-test";

pub(crate) const TASK: &str = "write hello into the editor and save a note";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Agent {
    Python,
    Rust,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a test for both agents, and for each with both APIs.
pub(crate) fn each(test: impl Fn(Agent, Dialect)) {
    for agent in [Agent::Python, Agent::Rust] {
        for dialect in [Dialect::Anthropic, Dialect::Openai] {
            println!("{agent:?}, {dialect:?}");
            test(agent, dialect);
        }
    }
}

impl Agent {
    /// Has it work on the task, with the endpoint in the place of the vendor's.
    pub(crate) fn run(self, host: &Host, endpoint: &Endpoint, more: &[&str]) -> Ran {
        run(self.command(host, endpoint, more))
    }

    pub(crate) fn command(self, host: &Host, endpoint: &Endpoint, more: &[&str]) -> Command {
        let mut command = self.bare();
        let (api, key, base) = match endpoint.dialect {
            Dialect::Anthropic => ("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
            Dialect::Openai => ("openai", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        };
        command.args([TASK, "--api", api, "--model", "a-model"]).args(more);
        command.env_clear().env("PATH", path_of(&[&folder()])).env("LLM_OSD_SOCKET", host.plan_socket());
        command.env(key, KEY).env(base, endpoint.base());
        command
    }

    #[allow(clippy::disallowed_methods, reason = "the program under test is started here")]
    fn bare(self) -> Command {
        match self {
            Agent::Rust => Command::new(env!("CARGO_BIN_EXE_llm-os-agent")),
            Agent::Python => {
                let mut command = Command::new("/usr/bin/python3");
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("python").join("agent.py"));
                command
            }
        }
    }
}

pub(crate) fn run(mut command: Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A value of `PATH` that begins with these folders.
pub(crate) fn path_of(folders: &[&Path]) -> String {
    let system = ["/usr/bin", "/bin"].map(Path::new);
    let all: Vec<_> = folders.iter().chain(&system).map(|folder| folder.to_str().unwrap()).collect();
    all.join(":")
}

/// The folder that llmsh is built into.
fn folder() -> PathBuf {
    beside("llmsh").parent().unwrap().to_owned()
}
