//! Clients of others: the official one for Python, and the inspector.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::mcp::http::Served;
use crate::mcp::speaker::{POLICY, peer};

/// The Python client, told line by line what to do.
struct Python {
    child: Child,
    write: ChildStdin,
    read: BufReader<ChildStdout>,
    version: String,
}

impl Python {
    #[allow(clippy::disallowed_methods, reason = "the client of others is started here")]
    fn new(config: &Value) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/talk.py");
        let mut child = Command::new(peer("python/bin/python"))
            .arg(script)
            .arg(config.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let write = child.stdin.take().unwrap();
        let read = BufReader::new(child.stdout.take().unwrap());
        let mut python = Self { child, write, read, version: String::new() };
        python.version = python.hear()["version"].as_str().unwrap().to_owned();
        python
    }

    fn stdio(daemon: &Daemon, args: &[&str], mode: &str, elicit: Option<&str>) -> Self {
        let mut config = json!({
            "command": env!("CARGO_BIN_EXE_llmsh"), "args": ([&["mcp"], args].concat()), "mode": mode,
            "env": {"LLM_OSD_SOCKET": daemon.path("plan/plan.sock")},
        });
        if let Some(answer) = elicit {
            config["elicit"] = json!(answer);
        }
        Self::new(&config)
    }

    fn http(served: &Served, mode: &str, elicit: &str) -> Self {
        let url = format!("http://{}/mcp", served.address);
        Self::new(&json!({"url": url, "token": served.token, "mode": mode, "elicit": elicit}))
    }

    fn say(&mut self, step: &Value) {
        writeln!(self.write, "{step}").unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.read.read_line(&mut line).unwrap() > 0, "the client ended");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    fn ask(&mut self, step: &Value) -> Value {
        self.say(step);
        self.hear()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PICTURES: &str = "permit (principal, action in Action::\"observe\", resource in Display::\"virtual\");";

fn daemon() -> Daemon {
    let daemon = Daemon::start(&format!("{POLICY}{PICTURES}"), "[display]\nvirtual = \"640x480\"");
    std::fs::write(daemon.path("r/note.txt"), "hello").unwrap();
    daemon
}

/// Everything that a client does, by one road. The client checks structured content against the schemas itself.
fn walk(daemon: &Daemon, python: &mut Python) {
    let tools = python.ask(&json!({"list": true}));
    let names: Vec<_> = tools["tools"]
        .as_array()
        .unwrap_or_else(|| panic!("{tools}"))
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert!(names.contains(&&json!("fs_read")) && names.contains(&&json!("plan")), "{names:?}");

    let read = json!({"path": daemon.path("r/note.txt"), "reason": "see it"});
    let read = python.ask(&json!({"call": "fs_read", "arguments": read}));
    assert_eq!(read["result"]["structuredContent"]["content"]["text"], "hello", "{read}");

    let picture = python.ask(&json!({"call": "monitor_capture", "arguments": {"reason": "look"}}));
    assert_eq!(picture["result"]["content"][1]["mimeType"], "image/png", "{picture:.300}");

    let failed = python
        .ask(&json!({"call": "fs_read", "arguments": {"path": daemon.path("r/none"), "reason": "see"}}));
    assert_eq!(failed["result"]["isError"], true, "{failed}");
    let unknown = python.ask(&json!({"call": "fs_nothing", "arguments": {"reason": "see"}}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");

    let sleep = |seconds: &str| json!({"argv": ["/bin/sleep", seconds], "reason": "wait"});
    let slept = python.ask(&json!({"call": "exec_run", "arguments": sleep("2.5"), "progress": true}));
    assert!(slept["progress"].as_array().unwrap().len() >= 2, "{slept}");
    let taken =
        python.ask(&json!({"call": "exec_run", "arguments": sleep("50"), "progress": true, "cancel": true}));
    assert_eq!(taken["cancelled"], true, "{taken}");
    let began = std::time::Instant::now();
    while !daemon.records().iter().any(|record| record["outcome"]["code"] == "cancelled") {
        assert!(began.elapsed().as_secs() < 20, "{:?}", daemon.records());
    }

    let write =
        json!({"path": daemon.path("w/note.txt"), "mode": "create", "content": "hi", "reason": "keep it"});
    let write = json!({"call": "fs_write", "arguments": write});
    let held = python.ask(&write);
    assert_eq!(held["result"]["structuredContent"]["code"], "confirmation_required", "{held}");
    assert_eq!(held["told"].as_array().unwrap().len(), 1, "{held}");
    assert!(!daemon.path("w/note.txt").exists());
    daemon.approve(held["result"]["structuredContent"]["pending_id"].as_str().unwrap());
    let done = python.ask(&write);
    assert_eq!(done["result"]["isError"], false, "{done}");
    assert_eq!(std::fs::read_to_string(daemon.path("w/note.txt")).unwrap(), "hi");
}

#[test]
fn the_python_client_does_everything_over_stdio() {
    let daemon = daemon();
    let mut python = Python::stdio(&daemon, &["--hold-s", "1"], "legacy", Some("accept"));
    assert_eq!(python.version, "2025-11-25");
    walk(&daemon, &mut python);
}

#[test]
fn the_python_client_does_everything_over_stdio_in_the_newest_version() {
    let daemon = daemon();
    let mut python = Python::stdio(&daemon, &["--hold-s", "1"], "auto", Some("accept"));
    assert_eq!(python.version, "2026-07-28");
    walk(&daemon, &mut python);
}

#[test]
fn the_python_client_does_everything_over_http() {
    let daemon = daemon();
    let served = Served::new(&daemon, &["--hold-s", "1"]);
    walk(&daemon, &mut Python::http(&served, "legacy", "accept"));
}

#[test]
fn the_python_client_does_everything_over_http_in_the_newest_version() {
    let daemon = daemon();
    let served = Served::new(&daemon, &["--hold-s", "1"]);
    walk(&daemon, &mut Python::http(&served, "auto", "decline"));
}

#[test]
fn a_client_that_takes_no_elicitations_is_held_all_the_same() {
    let daemon = daemon();
    for mode in ["legacy", "auto"] {
        let mut python = Python::stdio(&daemon, &["--hold-s", "0"], mode, None);
        let write =
            json!({"path": daemon.path("w/x"), "mode": "create", "content": mode, "reason": "keep it"});
        let held = python.ask(&json!({"call": "fs_write", "arguments": write}));
        assert_eq!(held["result"]["structuredContent"]["code"], "confirmation_required", "{held}");
    }
}

/// The inspector without its window.
#[allow(clippy::disallowed_methods, reason = "the client of others is started here")]
fn inspect(daemon: &Daemon, args: &[&str]) -> Value {
    let home = daemon.path("home");
    let output = Command::new(peer("node_modules/.bin/node"))
        .arg(peer("node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"))
        .args(["--cli", env!("CARGO_BIN_EXE_llmsh"), "mcp", "-e"])
        .arg(format!("LLM_OSD_SOCKET={}", daemon.path("plan/plan.sock").display()))
        .args(args)
        .env("HOME", home)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout} {stderr}"))
}

#[test]
fn the_inspector_lists_and_calls_tools() {
    let daemon = daemon();
    let listed = inspect(&daemon, &["--method", "tools/list"]);
    let tools = listed["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
    assert!(tools.iter().any(|tool| tool["name"] == "fs_read"), "{listed:.300}");
    let path = format!("path={}", daemon.path("r/note.txt").display());
    let args =
        ["--method", "tools/call", "--tool-name", "fs_read", "--tool-arg", &path, "--tool-arg", "reason=see"];
    let called = inspect(&daemon, &args);
    assert_eq!(called["structuredContent"]["content"]["text"], "hello", "{called}");
}
