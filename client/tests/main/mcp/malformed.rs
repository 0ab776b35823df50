//! What is no message, and hosts that are not there.

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::mcp::speaker::{POLICY, Speaker};
use crate::peer::{Peer, command, described, refused};

fn code(answer: &Value) -> &Value {
    &answer["error"]["code"]
}

#[test]
fn malformed_messages_are_answered_and_the_server_stays_up() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::silent(&mut daemon.command(&["mcp"]));
    speaker.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    speaker.say("nonsense");
    assert_eq!(code(&speaker.hear()), -32700);
    speaker.initialize(&json!({}));
    speaker.say(&"x".repeat((4 << 20) + 1));
    assert_eq!(code(&speaker.hear()), -32600);
    speaker.say("{\"jsonrpc\":\"2.0\",\"id\":77,\"method\":");
    assert_eq!(code(&speaker.hear()), -32700);
    speaker.say(r#"{"jsonrpc":"2.0","id":"q","method":[]}"#);
    let answer = speaker.hear();
    assert_eq!((code(&answer), &answer["id"]), (&json!(-32600), &json!("q")));
    assert_eq!(code(&speaker.ask("no/such/method", &json!({}))), -32601);
    assert_eq!(code(&speaker.ask("tools/call", &json!({"name": 7}))), -32602);
    assert_eq!(code(&speaker.call("fs_reead", &json!({"reason": "look"}))), -32602);
    assert_eq!(code(&speaker.call("fs", &json!({"reason": "look"}))), -32602);
    assert!(speaker.tools().contains_key("fs_read"));
}

#[test]
fn what_comes_before_a_session_does_not_end_the_server() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::silent(&mut daemon.command(&["mcp"]));
    let early = [
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        r#"{"jsonrpc":"2.0","id":9,"result":{}}"#,
    ];
    early.into_iter().for_each(|line| speaker.say(line));
    assert_eq!(speaker.ask("ping", &json!({}))["result"], json!({}));
    early.into_iter().for_each(|line| speaker.say(line));
    assert_eq!(code(&speaker.ask("tools/list", &json!({}))), -32602);
    early.into_iter().for_each(|line| speaker.say(line));
    speaker.initialize(&json!({}));
    assert!(speaker.tools().contains_key("fs_read"));
}

#[test]
fn what_is_said_to_the_host_itself_is_no_tool() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp"]));
    let params = json!({"pending_id": "p-1", "wait_secret": "s", "wait_ms": 0});
    for tool in ["host_halt", "host_approve", "host_await_confirmation", "host_describe"] {
        assert_eq!(code(&speaker.call(tool, &params)), -32602, "{tool}");
    }
    let halt = json!({"actions": [{"action": "host.halt", "params": {}, "reason": "stop"}]});
    let answer = speaker.call("plan", &halt);
    assert_eq!(answer["result"]["structuredContent"]["path"], "$.actions[0].action", "{answer}");
    assert!(!daemon.records().iter().any(|record| record["event"] == "halted"));
}

#[test]
fn arguments_are_judged_by_the_host_and_its_words_come_back() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp"]));
    let answer = speaker.call("fs_stat", &json!({"path": daemon.path("r")}));
    let result = &answer["result"];
    assert_eq!(result["isError"], true, "{answer}");
    assert_eq!(result["structuredContent"]["code"], "parse_failed");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("missing field `reason`") && text.contains("$.actions[0]"), "{text}");
    let answer = speaker.call("fs_stat", &json!({"path": 7, "reason": "look"}));
    assert_eq!(answer["result"]["structuredContent"]["path"], "$.actions[0].params.path", "{answer}");
    let long = json!({"path": "x".repeat(70_000), "reason": "look"});
    let answer = speaker.call("fs_stat", &long);
    assert_eq!(answer["result"]["structuredContent"]["code"], "request_too_large", "{answer}");
    let answer = speaker.call("fs_stat", &json!({"path": daemon.path("r"), "reason": "look"}));
    assert_eq!(answer["result"]["isError"], false, "{answer}");
}

#[test]
fn a_host_that_is_away_is_named_and_one_that_comes_back_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let mut speaker = Speaker::new(&mut command(&socket, dir.path(), &["mcp"]));
    let answer = speaker.ask("tools/list", &json!({}));
    assert_eq!(code(&answer), -32603);
    assert!(answer["error"]["message"].as_str().unwrap().contains("start it with: llm-osd"), "{answer}");
    let answer = speaker.call("fs_read", &json!({"reason": "look"}));
    assert_eq!(answer["result"]["structuredContent"]["code"], "no_host", "{answer}");

    let peer = Peer::new(|_, _| described("fs.read", &json!({"type": "object"})));
    std::os::unix::fs::symlink(peer.socket(), &socket).unwrap();
    assert_eq!(speaker.ask("tools/list", &json!({}))["result"]["tools"][0]["name"], "fs_read");
}

#[test]
fn a_plan_whose_connection_breaks_is_not_sent_again_and_the_next_one_has_a_new_connection() {
    use std::io::{BufRead, BufReader};
    let peer = Peer::raw(|stream, frames| {
        let mut frame = String::new();
        BufReader::new(&stream).read_line(&mut frame).unwrap();
        frames.lock().unwrap().push(frame);
    });
    let mut speaker = Speaker::new(&mut peer.command(&["mcp"]));
    for sent in 1..=2 {
        let answer = speaker.call("fs_read", &json!({"reason": "look"}));
        assert_eq!(answer["result"]["structuredContent"]["code"], "no_answer", "{answer}");
        assert_eq!(peer.frames().len(), sent);
    }
}

#[test]
fn a_connection_that_the_host_closed_between_two_calls_is_noticed() {
    use std::io::{BufRead, BufReader, Write};
    let peer = Peer::raw(|stream, frames| {
        let mut frame = String::new();
        BufReader::new(&stream).read_line(&mut frame).unwrap();
        frames.lock().unwrap().push(frame);
        (&stream).write_all(format!("{}\n", refused("policy_denied")).as_bytes()).unwrap();
    });
    let mut speaker = Speaker::new(&mut peer.command(&["mcp"]));
    for _ in 0..3 {
        let answer = speaker.call("fs_read", &json!({"reason": "look"}));
        assert_eq!(answer["result"]["structuredContent"]["code"], "policy_denied", "{answer}");
    }
}
