//! Calls that a human must confirm.

use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::mcp::speaker::{POLICY, Speaker};

fn write(daemon: &Daemon, content: &str) -> Value {
    json!({"path": daemon.path("w/note.txt"), "mode": "create", "content": content, "reason": "keep it"})
}

fn pending_id(answer: &Value) -> String {
    let structured = &answer["result"]["structuredContent"];
    assert_eq!(structured["code"], "confirmation_required", "{answer}");
    structured["pending_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_call_that_is_approved_while_it_waits_runs() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp", "--hold-s", "30"]));
    let id = speaker.start_call("fs_write", &write(&daemon, "hi"));
    daemon.approve(&daemon.waiting());
    let answer = speaker.answer(id);
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    assert_eq!(std::fs::read_to_string(daemon.path("w/note.txt")).unwrap(), "hi");
}

#[test]
fn a_call_that_nobody_decides_is_answered_and_the_same_call_runs_once_approved() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp", "--hold-s", "1"]));
    let began = std::time::Instant::now();
    let answer = speaker.call("fs_write", &write(&daemon, "hi"));
    assert!((1..20).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let id = pending_id(&answer);
    assert_eq!(answer["result"]["isError"], true);
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains(&format!("llmsh approve {id}")), "{text}");
    // The same call, its arguments in another order, waits for the same plan.
    let Value::Object(arguments) = write(&daemon, "hi") else { unreachable!() };
    let turned = Value::Object(arguments.into_iter().rev().collect());
    assert_eq!(pending_id(&speaker.call("fs_write", &turned)), id);
    assert_eq!(daemon.pending().len(), 1);
    // Another one does not.
    assert_ne!(pending_id(&speaker.call("fs_write", &write(&daemon, "other"))), id);
    daemon.approve(&id);
    let answer = speaker.call("fs_write", &write(&daemon, "hi"));
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    assert_eq!(std::fs::read_to_string(daemon.path("w/note.txt")).unwrap(), "hi");
    // An approval is good for one run.
    std::fs::remove_file(daemon.path("w/note.txt")).unwrap();
    assert_ne!(pending_id(&speaker.call("fs_write", &write(&daemon, "hi"))), id);
}

#[test]
fn a_denial_is_told_and_forgotten() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp", "--hold-s", "0"]));
    let id = pending_id(&speaker.call("fs_write", &write(&daemon, "hi")));
    assert_eq!(daemon.llmsh(&["deny", &id]).code, 0);
    let answer = speaker.call("fs_write", &write(&daemon, "hi"));
    assert_eq!(answer["result"]["structuredContent"]["code"], "policy_denied", "{answer}");
    assert!(
        answer["result"]["content"][0]["text"].as_str().unwrap().contains("a human denied it"),
        "{answer}"
    );
    assert_ne!(pending_id(&speaker.call("fs_write", &write(&daemon, "hi"))), id);
    assert!(!daemon.path("w/note.txt").exists());
}

#[test]
fn a_wait_that_is_taken_back_is_remembered() {
    let daemon = Daemon::start(POLICY, "");
    let can = json!({"elicitation": {}});
    let mut speaker = Speaker::able(&mut daemon.command(&["mcp", "--hold-s", "45"]), &can);
    let call = speaker.start_call("fs_write", &write(&daemon, "hi"));
    // It asks once it has the host's answer.
    speaker.hear();
    let id = daemon.waiting();
    let back = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": call}});
    speaker.say(&back.to_string());
    daemon.approve(&id);
    let answer = speaker.call("fs_write", &write(&daemon, "hi"));
    assert_eq!(answer["result"]["isError"], false, "{answer}");
}

#[test]
fn a_whole_plan_is_held_and_approved_as_one() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp", "--hold-s", "0"]));
    let params = json!({"path": daemon.path("w/note.txt"), "mode": "create", "content": "hi"});
    let plan = json!({"actions": [
        {"action": "fs.stat", "params": {"path": daemon.path("w")}, "reason": "look"},
        {"action": "fs.write", "params": params, "reason": "keep it"},
    ]});
    daemon.approve(&pending_id(&speaker.call("plan", &plan)));
    let answer = speaker.call("plan", &plan);
    assert_eq!(answer["result"]["structuredContent"]["results"][1]["status"], "ok", "{answer}");
}

/// Whatever a client answers to an elicitation, it confirms nothing.
#[test]
fn an_elicitation_tells_and_its_answer_decides_nothing() {
    let daemon = Daemon::start(POLICY, "");
    for (number, action) in ["accept", "decline", "cancel"].into_iter().enumerate() {
        let can = json!({"elicitation": {}});
        let mut speaker = Speaker::able(&mut daemon.command(&["mcp", "--hold-s", "1"]), &can);
        let arguments = write(&daemon, &number.to_string());
        let call = speaker.start_call("fs_write", &arguments);
        let asked = speaker.hear();
        assert_eq!(asked["method"], "elicitation/create", "{asked}");
        let message = asked["params"]["message"].as_str().unwrap();
        let said = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": action, "content": {"confirmed": true}}});
        speaker.say(&said.to_string());
        let answer = speaker.answer(call);
        let id = pending_id(&answer);
        assert!(message.contains(&format!("llmsh approve {id}")), "{message}");
        assert!(!daemon.path("w/note.txt").exists());
        // The human is told once.
        assert_eq!(pending_id(&speaker.call("fs_write", &arguments)), id);
        assert!(speaker.heard.is_empty(), "{:?}", speaker.heard);
    }
    let events: Vec<_> = daemon.records().iter().map(|record| record["event"].clone()).collect();
    assert!(!events.contains(&json!("approved")), "{events:?}");
}

#[test]
fn a_question_is_taken_back_once_it_was_decided_elsewhere() {
    let daemon = Daemon::start(POLICY, "");
    let can = json!({"elicitation": {"form": {}}});
    let mut speaker = Speaker::able(&mut daemon.command(&["mcp"]), &can);
    let call = speaker.start_call("fs_write", &write(&daemon, "hi"));
    let asked = speaker.hear();
    daemon.approve(&daemon.waiting());
    let answer = speaker.answer(call);
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    let back = &speaker.heard[0];
    assert_eq!(
        (&back["method"], &back["params"]["requestId"]),
        (&json!("notifications/cancelled"), &asked["id"])
    );
}

/// Version 2026-07-28 has no requests of servers: the call is answered with the question, and comes again.
#[test]
fn a_newer_client_is_told_by_an_answer_and_decides_nothing_either() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::silent(&mut daemon.command(&["mcp", "--hold-s", "0"]));
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    });
    let mut params = json!({"name": "fs_write", "arguments": write(&daemon, "hi"), "_meta": meta});
    let answer = speaker.ask("tools/call", &params);
    assert_eq!(answer["result"]["resultType"], "input_required", "{answer}");
    let message = answer["result"]["inputRequests"]["held"]["params"]["message"].as_str().unwrap();
    let id = daemon.pending()[0]["pending_id"].as_str().unwrap().to_owned();
    assert!(message.contains(&id), "{message}");
    params["inputResponses"] = json!({"held": {"action": "accept", "content": {"confirmed": true}}});
    params["requestState"] = json!(id);
    assert_eq!(pending_id(&speaker.ask("tools/call", &params)), id);
    assert!(!daemon.path("w/note.txt").exists());
    daemon.approve(&id);
    let answer = speaker.ask("tools/call", &params);
    assert_eq!(answer["result"]["isError"], false, "{answer}");
}

/// The socket where plans are approved belongs to the test, which must never see anybody come.
#[test]
fn the_approval_socket_is_never_opened() {
    let daemon = Daemon::start(POLICY, "");
    let socket = daemon.path("trap.sock");
    let trap = UnixListener::bind(&socket).unwrap();
    trap.set_nonblocking(true).unwrap();
    let mut command = daemon.command(&["mcp", "--hold-s", "1", "--start-host", "--toolsets", "fs"]);
    command.env("LLM_OSD_APPROVAL_SOCKET", &socket);
    let mut speaker = Speaker::able(&mut command, &json!({"elicitation": {}}));
    speaker.tools();
    let call = speaker.start_call("fs_write", &write(&daemon, "hi"));
    let asked = speaker.hear();
    speaker.say(
        &json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {}}})
            .to_string(),
    );
    pending_id(&speaker.answer(call));
    pending_id(&speaker.call("fs_write", &write(&daemon, "hi")));
    speaker.hang_up();
    speaker.rest();
    assert_eq!(trap.accept().map(drop).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
