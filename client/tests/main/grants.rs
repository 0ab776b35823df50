//! "The same again for this session": what the human sees of it, and how this program's ways in use it. A real host.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::mcp::speaker::{POLICY, Speaker};
use crate::peer::Ran;

fn approve_for_session(daemon: &Daemon) -> Ran {
    let ran = daemon.llmsh(&["approve", &daemon.waiting(), "--for-session", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

fn arguments(daemon: &Daemon) -> Value {
    json!({"path": daemon.path("w/note.txt"), "mode": "replace", "content": "hi", "reason": "keep it"})
}

fn started() -> Daemon {
    let daemon = Daemon::start(POLICY, "");
    fs::write(daemon.path("w/note.txt"), "before").unwrap();
    daemon
}

fn grants(daemon: &Daemon) -> Vec<Value> {
    let ran = daemon.llmsh(&["grants"]);
    let listed: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{ran:?}: {e}"));
    listed["grants"].as_array().unwrap().clone()
}

fn plan(daemon: &Daemon, id: &str) -> String {
    let Value::Object(mut params) = arguments(daemon) else { unreachable!() };
    let reason = params.remove("reason");
    let action = json!({"action": "fs.write", "params": params, "reason": reason});
    json!({"request_id": id, "session_id": "s-1", "version": "1", "mode": "execute", "actions": [action]})
        .to_string()
}

#[test]
fn plans_of_one_file_are_asked_about_once_and_the_grant_is_shown_listed_and_revoked() {
    let daemon = started();
    let file = daemon.path("plans.jsonl");
    fs::write(&file, format!("{}\n{}\n", plan(&daemon, "r-1"), plan(&daemon, "r-2"))).unwrap();
    let mut send = daemon.command(&["send", file.to_str().unwrap(), "--wait"]);
    let child = send.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let ran = approve_for_session(&daemon);
    assert!(ran.stderr.contains("again exactly: fs.write {"), "{}", ran.stderr);
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout.matches("\"status\":\"ok\"").count(), 2, "{stdout}");
    let listed = &grants(&daemon)[0];
    assert_eq!((&listed["used"], &listed["session_id"]), (&json!(1), &json!("s-1")), "{listed}");
    let id = listed["grant_id"].as_str().unwrap();
    assert!(ran.stderr.contains(&format!("llmsh revoke {id}")), "{}", ran.stderr);
    // C08
    assert!(!stdout.contains("session_secret") && !stderr.contains("session_secret"));
    assert_eq!(daemon.llmsh(&["revoke", id]).code, 0);
    assert!(grants(&daemon).is_empty());
    let again = daemon.llmsh(&["revoke", id]);
    assert_eq!(again.code, 3, "{again:?}");
    assert!(again.stderr.contains("llmsh grants"), "{again:?}");
}

#[test]
fn a_client_of_mcp_is_asked_about_once() {
    let daemon = started();
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp", "--hold-s", "30"]));
    let id = speaker.start_call("fs_write", &arguments(&daemon));
    approve_for_session(&daemon);
    let first = speaker.answer(id);
    assert_eq!(first["result"]["isError"], false, "{first}");
    let second = speaker.call("fs_write", &arguments(&daemon));
    assert_eq!(second["result"]["isError"], false, "{second}");
    // C08: no model learns the secret.
    assert!(!format!("{first}{second}{:?}", speaker.heard).contains("secret"));
    let mut other = Speaker::new(&mut daemon.command(&["mcp", "--hold-s", "0"]));
    let asked = other.call("fs_write", &arguments(&daemon));
    assert_eq!(asked["result"]["structuredContent"]["code"], "confirmation_required", "{asked}");
}

#[test]
fn tool_calls_of_a_model_are_asked_about_once() {
    let daemon = started();
    let call = |id: &str| {
        json!({"type": "tool_use", "id": id, "name": "fs_write", "input": arguments(&daemon)}).to_string()
    };
    let mut command = daemon.command(&["computer", "--dialect", "anthropic"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = format!("{}\n{}\n", call("t-1"), call("t-2"));
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    approve_for_session(&daemon);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    assert!(!stdout.contains("confirmation_required") && !stdout.contains("secret"), "{stdout}");
    assert_eq!(grants(&daemon)[0]["used"], 1);
}

#[test]
fn what_cannot_be_granted_says_why_and_is_not_approved() {
    let daemon = started();
    let path = daemon.path("w/note.txt");
    let path = format!("path={}", path.to_str().unwrap());
    let write = ["do", "fs.write", &path, "mode=replace", "content=hi", "--reason", "keep it"];
    assert_eq!(daemon.llmsh(&write).code, 4);
    let id = daemon.waiting();
    let ran = daemon.llmsh(&["approve", &id, "--for-session", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.stderr.contains("names no session") && ran.stderr.contains("without --for-session"),
        "{ran:?}"
    );
    assert_eq!(daemon.pending().len(), 1);
}
