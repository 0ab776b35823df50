//! From another machine: a real `sshd`, and the host beside it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::mcp::speaker::{POLICY, Speaker};

const PATIENCE: Duration = Duration::from_secs(20);

/// An `sshd` of this user on a free port, with keys of its own. It ends when this is dropped.
pub(crate) struct Server {
    dir: TempDir,
    port: u16,
    child: Child,
}

#[allow(clippy::disallowed_methods, reason = "ssh is started here")]
impl Server {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for key in ["host", "user"] {
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]).status();
            assert!(made.unwrap().success());
        }
        fs::copy(at("user.pub"), at("authorized_keys")).unwrap();
        // Where root's sshd puts those that are not logged in yet; sshd(8) wants it to be there.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PermitRootLogin prohibit-password\nPasswordAuthentication no\n",
            at("host"),
            at("authorized_keys")
        );
        fs::write(at("sshd_config"), config).unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        let child =
            command.args(["-D", "-e", "-f", &at("sshd_config")]).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { dir, port, child };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "sshd does not listen on port {port}");
            std::thread::yield_now();
        }
        server
    }

    /// `ssh [-tt] box llmsh ...`, with the sockets of a host.
    pub(crate) fn llmsh(&self, daemon: &Daemon, terminal: bool, args: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        command
            .args(["-o", "LogLevel=ERROR", "-o", "IdentitiesOnly=yes", "-i"])
            .arg(self.dir.path().join("user"));
        command.args(["-p", &self.port.to_string()]);
        if terminal {
            command.arg("-tt");
        }
        let socket = |path: &str| daemon.path(path).to_str().unwrap().to_owned();
        command.arg("127.0.0.1").arg(env!("CARGO_BIN_EXE_llmsh"));
        command.args([
            "--socket",
            &socket("plan/plan.sock"),
            "--approval-socket",
            &socket("approval/approval.sock"),
        ]);
        command.args(args);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hold(daemon: &Daemon, name: &str) -> String {
    let path = format!("path={}", daemon.path(name).to_str().unwrap());
    let ran = daemon.llmsh(&["do", "fs.write", &path, "mode=create", "content=hi", "--reason", "keep it"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    daemon.pending().last().unwrap()["pending_id"].as_str().unwrap().to_owned()
}

/// What a question over ssh is answered with, and what came of it.
fn answered(server: &Server, daemon: &Daemon, id: &str, answer: Option<&[u8]>) -> (Option<i32>, String) {
    let mut command = server.llmsh(daemon, true, &["approve", id]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take(), child.stdout.take().unwrap());
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stdout.read(&mut chunk) {
        seen.extend_from_slice(&chunk[..count]);
        if seen.ends_with(b"[y/N] ")
            && let Some(mut open) = stdin.take()
        {
            match answer {
                Some(answer) => {
                    open.write_all(answer).unwrap();
                    stdin = Some(open);
                    seen.push(b'\n');
                }
                None => child.kill().unwrap(),
            }
        }
    }
    (child.wait().unwrap().code(), String::from_utf8_lossy(&seen).into_owned())
}

#[test]
fn a_held_plan_is_approved_over_ssh() {
    let (server, daemon) = (Server::start(), Daemon::start(POLICY, ""));
    let id = hold(&daemon, "w/note.txt");
    let (code, seen) = answered(&server, &daemon, &id, Some(b"y\n"));
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("\"mode\":\"create\""), "{seen}");
    assert!(daemon.records().iter().any(|record| record["event"] == "approved"));
}

/// C16.
#[test]
fn a_connection_that_is_lost_at_the_question_approved_nothing() {
    let (server, daemon) = (Server::start(), Daemon::start(POLICY, ""));
    let id = hold(&daemon, "w/note.txt");
    let (code, seen) = answered(&server, &daemon, &id, None);
    assert_eq!(code, None, "{seen}");
    assert_eq!(daemon.pending()[0]["pending_id"], json!(id));
    assert!(daemon.records().iter().all(|record| record["event"] != "approved"));
}

#[test]
fn tools_are_served_over_ssh() {
    let (server, daemon) = (Server::start(), Daemon::start(POLICY, ""));
    fs::write(daemon.path("r/note.txt"), "hello").unwrap();
    let mut speaker = Speaker::new(&mut server.llmsh(&daemon, false, &["mcp", "--toolsets", "fs"]));
    let answer = speaker.call("fs_read", &json!({"path": daemon.path("r/note.txt"), "reason": "see it"}));
    assert_eq!(answer["result"]["structuredContent"]["content"]["text"], "hello", "{answer}");
}
