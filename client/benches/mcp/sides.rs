//! What is measured, and the places that it works on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::asked::Server;
use crate::floor;

const POLICY: &str = include_str!("../../../examples/policies/strict.cedar");

/// Sockets where their paths stay short, all else on the file system of the build.
pub(crate) struct Places {
    sockets: TempDir,
    data: TempDir,
}

impl Places {
    pub(crate) fn new() -> Self {
        let data = tempfile::Builder::new().prefix("mcp-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let places = Self { sockets: tempfile::tempdir().unwrap(), data };
        fs::create_dir(places.files()).unwrap();
        let text = "The quick brown fox jumps over the lazy dog.\n".chars().cycle().take(4096);
        fs::write(places.file(), text.collect::<String>()).unwrap();
        fs::write(places.data().join("bench.cedar"), POLICY).unwrap();
        places
    }

    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    fn files(&self) -> PathBuf {
        self.data().canonicalize().unwrap().join("files")
    }

    fn file(&self) -> PathBuf {
        self.files().join("four-kib.txt")
    }

    fn socket(&self) -> PathBuf {
        self.sockets.path().join("plan/plan.sock")
    }
}

/// The host behind `llmsh mcp`; it ends when this is dropped.
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts it, and waits until it answers.
    pub(crate) fn start(places: &Places) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_llmsh")).with_file_name("llm-osd");
        assert!(program.exists(), "{} is missing; build it with: cargo build --release", program.display());
        let process = Command::new(program)
            .env_clear()
            .env("HOME", places.data())
            .env("RUST_LOG", "warn")
            .arg("--socket")
            .arg(places.socket())
            .arg("--approval-socket")
            .arg(places.sockets.path().join("approval/approval.sock"))
            .arg("--state-dir")
            .arg(places.data().join("state"))
            .arg("--policy")
            .arg(places.data().join("bench.cedar"))
            .arg("--root")
            .arg(format!("{}:write", places.files().display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(places.socket()).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the host does not listen");
            std::thread::sleep(Duration::from_millis(1));
        }
        Self(process)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        );
        let _ = self.0.wait();
    }
}

/// One of those that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Bare,
    Filesystem,
    Codex,
    DesktopCommander,
}

impl Side {
    pub(crate) const OTHERS: [Self; 4] = [Self::Bare, Self::Filesystem, Self::Codex, Self::DesktopCommander];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "`llmsh mcp` and its host",
            Self::Bare => "a bare rmcp server: read, append, `fdatasync`",
            Self::Filesystem => "@modelcontextprotocol/server-filesystem 2026.8.31",
            Self::Codex => "`codex app-server` (@openai/codex 0.171.0)",
            Self::DesktopCommander => "@wonderwhy-er/desktop-commander 0.2.52",
        }
    }

    /// Calls in a round.
    pub(crate) fn calls(self) -> usize {
        // It takes tens of milliseconds for each.
        if self == Self::DesktopCommander { 12 } else { 100 }
    }

    /// Whether it speaks MCP.
    pub(crate) fn has_tools(self) -> bool {
        self != Self::Codex
    }

    /// Starts it, and sees that it reads what is there.
    pub(crate) fn open(self, places: &Places) -> Server {
        let mut server = self.start(places);
        let answer = server.sample();
        assert!(answer.len() > 4096, "{}: {answer}", self.name());
        server
    }

    pub(crate) fn start(self, places: &Places) -> Server {
        let file = places.file();
        let tool = |name: &str| {
            let mut arguments = json!({"path": file});
            if self == Self::Ours {
                arguments["reason"] = json!("measure the road");
            }
            ("tools/call", json!({"name": name, "arguments": arguments}))
        };
        match self {
            Self::Ours => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_llmsh"));
                command.arg("mcp").arg("--socket").arg(places.socket());
                Server::start(&mut command, tool("fs_read"))
            }
            Self::Bare => {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.env(floor::MARK, places.data().join("floor.log"));
                Server::start(&mut command, tool("read"))
            }
            Self::Filesystem => {
                let mut command = node("@modelcontextprotocol/server-filesystem/dist/index.js", places);
                command.arg(places.files());
                Server::start(&mut command, tool("read_text_file"))
            }
            Self::DesktopCommander => {
                let mut command = node("@wonderwhy-er/desktop-commander/dist/index.js", places);
                command.arg("--no-onboarding");
                Server::start(&mut command, tool("read_file"))
            }
            Self::Codex => {
                let mut command = node("@openai/codex/bin/codex.js", places);
                command.arg("app-server");
                Server::start(&mut command, ("fs/readFile", json!({"path": file})))
            }
        }
    }
}

/// A program of others, with a home of its own.
fn node(script: &str, places: &Places) -> Command {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/mcp-servers/node_modules");
    let script = modules.join(script);
    assert!(script.exists(), "{} is missing; scripts/bench installs it", script.display());
    let mut command = Command::new("node");
    command.arg(script).env("HOME", places.data()).current_dir(places.files());
    command
}
