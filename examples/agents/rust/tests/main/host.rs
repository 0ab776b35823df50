//! A real `llm-osd` on a private place.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Ran, run};

/// How long anything may take that a test waits for; reached only where a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A binary of the workspace, which builds all into one folder.
pub(crate) fn beside(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_llm-os-agent")).with_file_name(name);
    assert!(path.exists(), "{} is missing; build it with: cargo build --bin {name}", path.display());
    path
}

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A host with the write root `w`. It ends when this is dropped.
pub(crate) struct Host {
    place: TempDir,
    child: Child,
}

impl Host {
    /// With a display of its own, and the policy for one.
    pub(crate) fn with_display() -> Self {
        Self::start(place(), &["--policy", "preset:virtual-desktop", "--virtual-display", "1280x800"])
    }

    /// Without a display, on a policy.
    pub(crate) fn on(policy: &str) -> Self {
        let place = place();
        let file = place.path().join("policy.cedar");
        fs::write(&file, policy).unwrap();
        Self::start(place, &["--policy", file.to_str().unwrap()])
    }

    #[allow(clippy::disallowed_methods, reason = "the host is started here")]
    fn start(place: TempDir, arguments: &[&str]) -> Self {
        let at = place.path().to_str().unwrap();
        let mut command = Command::new(beside("llm-osd"));
        command.args(arguments).env_clear().env("HOME", at).env("PATH", "/usr/bin:/bin");
        command.args(["--socket", &format!("{at}/plan/plan.sock"), "--state-dir", &format!("{at}/state")]);
        command.args(["--approval-socket", &format!("{at}/approval/approval.sock")]);
        command.args(["--root", &format!("{at}/w:write")]);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.lines().last().unwrap_or_default().contains("ready") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "the host did not start: {said}");
        }
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self { place, child }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn plan_socket(&self) -> PathBuf {
        self.path("plan/plan.sock")
    }

    /// What a person does at another terminal.
    pub(crate) fn llmsh(&self, arguments: &[&str]) -> Ran {
        run(self.llmsh_command(arguments))
    }

    #[allow(clippy::disallowed_methods, reason = "llmsh is started here")]
    fn llmsh_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(beside("llmsh"));
        command.args(arguments).env_clear().env("LLM_OSD_SOCKET", self.plan_socket());
        command.env("LLM_OSD_APPROVAL_SOCKET", self.path("approval/approval.sock"));
        command
    }

    /// What waits for a person.
    pub(crate) fn pending(&self) -> Vec<Value> {
        let ran = self.llmsh(&["pending"]);
        let pending: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{ran:?}: {e}"));
        pending["pending"].as_array().unwrap().clone()
    }

    /// Waits for a plan that needs a person, and approves it.
    pub(crate) fn approve_next(&self) {
        let held = wait_for("a held plan", || self.pending().first().cloned());
        let ran = self.llmsh(&["approve", held["pending_id"].as_str().unwrap(), "--yes"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }

    /// Starts a program on the display, as a person lets it.
    pub(crate) fn open(&self, argv: &[&str]) {
        let argv = format!("argv:={}", json!(argv));
        let arguments =
            ["do", "exec.start", &argv, "display:=true", "--reason", "something to work with", "--wait"];
        std::thread::scope(|scope| {
            let opening = scope.spawn(|| self.llmsh(&arguments));
            self.approve_next();
            let ran = opening.join().unwrap();
            assert_eq!(ran.code, Some(0), "{ran:?}");
        });
    }

    /// The records of the log, oldest first, of a log that verifies.
    pub(crate) fn records(&self) -> Vec<Value> {
        let log = self.path("state/audit");
        let ran = self.llmsh(&["audit", "verify", log.to_str().unwrap()]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let ran = self.llmsh(&["audit", "show", log.to_str().unwrap()]);
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// A folder for a host to live in.
fn place() -> TempDir {
    let place = tempfile::Builder::new().prefix("llm-os-agent-").tempdir().unwrap();
    fs::create_dir(place.path().join("w")).unwrap();
    place
}
