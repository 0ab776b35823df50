//! A real `llm-osd` on a private place, for what only a real host can show.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peer::Ran;

/// The binary beside the one under test: the workspace builds both into one folder.
pub(crate) fn binary() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_llmsh")).with_file_name("llm-osd");
    assert!(path.exists(), "{} is missing; build it with: cargo build -p llm-os-host", path.display());
    path
}

/// A host with the roots `r` (read) and `w` (write). It ends when this is dropped.
pub(crate) struct Daemon {
    dir: TempDir,
    child: Child,
}

impl Daemon {
    /// Starts it on a policy, in which `PLACE` is its folder, and on further lines of configuration.
    #[allow(clippy::disallowed_methods, reason = "the host is started here")]
    pub(crate) fn start(policy: &str, config: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("llmsh-").tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        for name in ["r", "w", "home"] {
            fs::create_dir(place.join(name)).unwrap();
        }
        let place = place.to_str().unwrap();
        fs::write(dir.path().join("policy.cedar"), policy.replace("PLACE", place)).unwrap();
        let config = format!(
            "socket = \"{place}/plan/plan.sock\"\napproval_socket = \"{place}/approval/approval.sock\"\n\
             state_dir = \"{place}/state\"\npolicy = \"{place}/policy.cedar\"\n\
             [[roots]]\npath = \"{place}/r\"\nmode = \"read\"\n[[roots]]\npath = \"{place}/w\"\nmode = \"write\"\n{config}\n"
        );
        fs::write(dir.path().join("llm-osd.toml"), config).unwrap();
        let mut command = Command::new(binary());
        command.env_clear().env("HOME", dir.path().join("home")).env("PATH", "/usr/bin:/bin");
        command.arg("--config").arg(dir.path().join("llm-osd.toml"));
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.lines().last().unwrap_or_default().contains("ready") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "the host did not start: {said}");
        }
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self { dir, child }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// The program under test, with both sockets named by the environment.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = crate::peer::command(&self.path("plan/plan.sock"), self.dir.path(), args);
        command.env("LLM_OSD_APPROVAL_SOCKET", self.path("approval/approval.sock"));
        command
    }

    pub(crate) fn llmsh(&self, args: &[&str]) -> Ran {
        crate::peer::run(&mut self.command(args), "")
    }

    /// The records of the log, oldest first.
    pub(crate) fn records(&self) -> Vec<Value> {
        let ran = self.llmsh(&["audit", "show", self.path("state/audit").to_str().unwrap()]);
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What waits for an approver.
    pub(crate) fn pending(&self) -> Vec<Value> {
        let ran = self.llmsh(&["pending"]);
        let pending: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{ran:?}: {e}"));
        pending["pending"].as_array().unwrap_or_else(|| panic!("{pending}")).clone()
    }

    /// The plan that waits, as soon as one does.
    pub(crate) fn waiting(&self) -> String {
        let began = std::time::Instant::now();
        loop {
            if let Some(plan) = self.pending().first() {
                return plan["pending_id"].as_str().unwrap().to_owned();
            }
            assert!(began.elapsed().as_secs() < 20, "nothing waits");
        }
    }

    /// Approves a held plan, as an approver does.
    pub(crate) fn approve(&self, pending_id: &str) {
        let ran = self.llmsh(&["approve", pending_id, "--yes"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

#[test]
fn a_held_plan_is_approved_on_the_approval_socket_and_recorded() {
    let daemon = Daemon::start("permit (principal, action, resource) when { context.confirmed };", "");
    let path = daemon.path("w/note.txt");
    let path = format!("path={}", path.to_str().unwrap());
    let write = ["do", "fs.write", &path, "mode=create", "content=hi", "--reason", "keep it"];
    let ran = daemon.llmsh(&write);
    assert_eq!(ran.code, 4, "{ran:?}");
    let id = daemon.pending()[0]["pending_id"].as_str().unwrap().to_owned();
    daemon.approve(&id);
    assert!(
        daemon.records().iter().any(|record| record["event"] == json!("approved")),
        "{:?}",
        daemon.records()
    );
    assert!(daemon.pid() > 0);
}
