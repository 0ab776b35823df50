//! Lists and calls of tools, against a real host.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::mcp::speaker::{POLICY, Speaker};
use crate::peer::{Peer, told};

fn read(daemon: &Daemon) -> Value {
    fs::write(daemon.path("r/note.txt"), "hello").unwrap();
    json!({"path": daemon.path("r/note.txt"), "reason": "see it"})
}

#[test]
fn the_tools_are_those_of_the_host_with_schemas_and_hints() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp"]));
    let tools = speaker.tools();
    let described: Value = serde_json::from_str(&daemon.llmsh(&["describe"]).stdout).unwrap();
    let described =
        described["results"][0]["output"]["actions"].as_array().or(described["actions"].as_array());
    let names: Vec<_> =
        described.unwrap().iter().map(|action| action["tool_name"].as_str().unwrap()).collect();
    assert!(names.len() > 30 && names.iter().all(|name| tools.contains_key(*name)));
    assert_eq!(tools.len(), names.len() + 1);
    for (name, tool) in &tools {
        for schema in ["inputSchema", "outputSchema"] {
            assert_eq!(tool[schema]["type"], "object", "{name}");
            jsonschema::validator_for(&tool[schema]).unwrap_or_else(|e| panic!("{name} {schema}: {e}"));
        }
        for text in ["title", "description"] {
            assert!(!tool[text].as_str().unwrap().is_empty(), "{name}");
        }
        let required = &tool["inputSchema"]["required"];
        let is_plan = name == "plan";
        assert!(is_plan || required.as_array().unwrap().contains(&json!("reason")), "{name}: {required}");
    }
    let hints = |name: &str| tools[name]["annotations"].clone();
    assert_eq!(
        hints("fs_read"),
        json!({"readOnlyHint": true, "idempotentHint": true, "openWorldHint": false})
    );
    assert_eq!(hints("fs_remove")["destructiveHint"], true);
    assert_eq!(
        hints("fs_mkdir"),
        json!({"readOnlyHint": false, "destructiveHint": false, "openWorldHint": false})
    );
    assert_eq!(hints("exec_run")["openWorldHint"], true);
}

#[test]
fn a_call_is_answered_with_the_output_twice_and_recorded_with_its_reason() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp"]));
    let tools = speaker.tools();
    let result = speaker.call("fs_read", &read(&daemon))["result"].take();
    assert_eq!(result["isError"], false, "{result}");
    assert_eq!(result["structuredContent"]["content"]["text"], "hello");
    let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, result["structuredContent"]);
    let schema = jsonschema::validator_for(&tools["fs_read"]["outputSchema"]).unwrap();
    assert!(schema.is_valid(&result["structuredContent"]));
    let missing = json!({"path": daemon.path("r/none"), "reason": "see it"});
    let failed = speaker.call("fs_read", &missing)["result"].take();
    assert_eq!(failed["isError"], true, "{failed}");
    assert!(schema.is_valid(&failed["structuredContent"]), "{failed}");
    let records = daemon.records();
    let read = records.iter().filter(|record| record.to_string().contains("see it")).count();
    assert!(read >= 2, "{records:?}");
    let session = |record: &Value| record["session_id"].as_str().map(str::to_owned);
    let sessions: std::collections::BTreeSet<_> = records.iter().filter_map(session).collect();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert!(sessions.first().unwrap().starts_with("mcp-"), "{sessions:?}");
}

#[test]
fn it_serves_sockets_as_well_as_pipes() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::on_sockets(&mut daemon.command(&["mcp"]));
    assert!(speaker.tools().contains_key("fs_read"));
    assert_eq!(speaker.call("fs_read", &read(&daemon))["result"]["isError"], false);
    speaker.hang_up();
}

#[test]
fn a_picture_comes_as_an_image_and_once() {
    let policy = format!(
        "{POLICY}permit (principal, action in Action::\"observe\", resource in Display::\"virtual\");"
    );
    let daemon = Daemon::start(&policy, "[display]\nvirtual = \"640x480\"");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp"]));
    let tools = speaker.tools();
    let result = speaker.call("monitor_capture", &json!({"reason": "look"}))["result"].take();
    let image = &result["content"][1];
    assert_eq!((&image["type"], &image["mimeType"]), (&json!("image"), &json!("image/png")), "{result:.300}");
    let bytes = STANDARD.decode(image["data"].as_str().unwrap()).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    assert_eq!(result["structuredContent"]["picture"]["data"], "image block 1 of this result");
    assert!(!result["content"][0]["text"].as_str().unwrap().contains(image["data"].as_str().unwrap()));
    let schema = jsonschema::validator_for(&tools["monitor_capture"]["outputSchema"]).unwrap();
    assert!(schema.is_valid(&result["structuredContent"]));
}

#[test]
fn a_whole_plan_runs_in_order_and_tells_of_each_action() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp"]));
    let stat =
        |name: &str| json!({"action": "fs.stat", "params": {"path": daemon.path(name)}, "reason": "look"});
    let result =
        speaker.call("plan", &json!({"actions": [stat("r"), stat("r/none"), stat("w")]}))["result"].take();
    let statuses: Vec<_> =
        result["structuredContent"]["results"].as_array().unwrap().iter().map(|r| &r["status"]).collect();
    assert_eq!(statuses, ["ok", "failed", "not_run"], "{result}");
    assert_eq!(result["isError"], true);
    let schema = jsonschema::validator_for(&speaker.tools()["plan"]["outputSchema"]).unwrap();
    assert!(schema.is_valid(&result["structuredContent"]));
    let planned =
        speaker.call("plan", &json!({"actions": [stat("r")], "mode": "plan_only"}))["result"].take();
    assert_eq!(planned["structuredContent"]["results"][0]["status"], "planned", "{planned}");
    assert_eq!(planned["isError"], false);
    let wrong =
        speaker.call("plan", &json!({"actions": [stat("r")], "confirmation": {"token": "x"}}))["result"]
            .take();
    assert!(wrong["content"][0]["text"].as_str().unwrap().contains("confirmation"), "{wrong}");
}

/// A program that runs until somebody stops it.
fn sleeper() -> Value {
    json!({"argv": ["/bin/sleep", "60"], "reason": "wait"})
}

/// Waits until the log has a record of that kind.
fn recorded(daemon: &Daemon, wanted: impl Fn(&Value) -> bool) {
    let began = Instant::now();
    while !daemon.records().iter().any(&wanted) {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", daemon.records());
    }
}

fn is_started(record: &Value) -> bool {
    record["event"] == "intent" && record["what"]["action"] == "exec.run"
}

fn is_cancelled(record: &Value) -> bool {
    record["outcome"]["code"] == "cancelled"
}

#[test]
fn a_call_that_is_taken_back_is_cancelled_and_others_go_on() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp"]));
    let id = speaker.start_call("exec_run", &sleeper());
    recorded(&daemon, is_started);
    // Another call does not wait behind it.
    assert_eq!(speaker.call("fs_read", &read(&daemon))["result"]["isError"], false);
    let back = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
    speaker.say(&back.to_string());
    recorded(&daemon, is_cancelled);
    assert_eq!(speaker.call("fs_read", &read(&daemon))["result"]["isError"], false);
    assert!(speaker.heard.iter().all(|message| message["id"] != json!(id)), "{:?}", speaker.heard);
}

#[test]
fn a_client_that_goes_away_cancels_its_calls_and_the_server_ends() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp"]));
    let began = Instant::now();
    speaker.start_call("exec_run", &sleeper());
    recorded(&daemon, is_started);
    speaker.hang_up();
    let rest = speaker.rest();
    assert!(rest.contains("cancelled"), "{rest}");
    assert_eq!(speaker.child.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(30));
    recorded(&daemon, is_cancelled);
}

#[test]
fn answers_that_are_on_their_way_reach_a_client_that_closed_stdin() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp"]));
    speaker.start_call("fs_read", &read(&daemon));
    speaker.hang_up();
    let rest = speaker.rest();
    assert!(rest.contains("hello"), "{rest}");
}

#[test]
fn a_client_that_asks_for_it_is_told_every_second_that_its_call_runs() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp"]));
    let call = json!({"name": "exec_run", "arguments": {"argv": ["/bin/sleep", "2.5"], "reason": "wait"}, "_meta": {"progressToken": "t"}});
    let answer = speaker.ask("tools/call", &call);
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    let told: Vec<_> =
        speaker.heard.iter().filter(|message| message["method"] == "notifications/progress").collect();
    assert!(told.len() >= 2, "{:?}", speaker.heard);
    assert!(told.iter().all(|message| message["params"]["progressToken"] == "t"));
    let progress: Vec<_> =
        told.iter().map(|message| message["params"]["progress"].as_f64().unwrap()).collect();
    assert!(progress[0] >= 1.0 && progress.is_sorted(), "{progress:?}");
}

#[test]
fn calls_one_after_another_share_a_connection() {
    let peer = Peer::raw(|stream, frames| {
        frames.lock().unwrap().push("\"connected\"".to_owned());
        let mut lines = BufReader::new(&stream).lines();
        while let Some(Ok(_)) = lines.next() {
            (&stream).write_all(format!("{}\n", told(&json!({"a": 1}))).as_bytes()).unwrap();
        }
    });
    let mut speaker = Speaker::new(&mut peer.command(&["mcp"]));
    for _ in 0..5 {
        assert_eq!(speaker.call("fs_read", &json!({"reason": "look"}))["result"]["isError"], false);
    }
    assert_eq!(peer.lines().len(), 1);
}
