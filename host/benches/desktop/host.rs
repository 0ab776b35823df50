//! A display with the daemon on it.

use std::fs;
use std::process::{Child, Command, Stdio};

use llm_os_desktop_test_support::TestDisplay;
use tempfile::TempDir;

use crate::client::Connection;
use crate::measure::is_ok;

/// The daemon as it is released, with a policy that permits its display.
pub(crate) struct Host {
    pub(crate) connection: Connection,
    process: Child,
    _sockets: TempDir,
    _data: TempDir,
}

impl Host {
    pub(crate) fn on(display: &TestDisplay) -> Self {
        let sockets = tempfile::tempdir().unwrap();
        let data = tempfile::Builder::new().prefix("host-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let shown = display.display();
        let policy = data.path().join("bench.cedar");
        let text = format!(
            "permit (principal, action in [Action::\"observe\", Action::\"inject\"], resource in Display::\"{}\");\n",
            shown.name
        );
        fs::write(&policy, text).unwrap();
        fs::create_dir(data.path().join("files")).unwrap();
        let socket = sockets.path().join("plan/plan.sock");
        let process = Command::new(env!("CARGO_BIN_EXE_llm-osd"))
            .env_clear()
            .env("HOME", data.path())
            .env("RUST_LOG", "warn")
            .env("XAUTHORITY", shown.authority.unwrap())
            .args(["--display", &shown.name])
            .arg("--socket")
            .arg(&socket)
            .arg("--approval-socket")
            .arg(sockets.path().join("approval/approval.sock"))
            .arg("--state-dir")
            .arg(data.path().join("state"))
            .arg("--policy")
            .arg(policy)
            .arg("--root")
            .arg(data.path().join("files"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let connection = Connection::open(&socket);
        Self { connection, process, _sockets: sockets, _data: data }
    }

    /// Sends one action and waits for its answer, which must be `ok`.
    pub(crate) fn run(&mut self, line: &[u8]) {
        let answer = self.connection.ask(line);
        assert!(is_ok(answer), "{}", String::from_utf8_lossy(answer));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// One action as a frame.
pub(crate) fn frame(action: &str, params: &serde_json::Value) -> Vec<u8> {
    let action = serde_json::json!({"action": action, "params": params, "reason": "measure the desktop"});
    let plan = serde_json::json!({"request_id": "r-1", "session_id": "bench", "version": "1", "mode": "execute", "actions": [action]});
    format!("{plan}\n").into_bytes()
}
