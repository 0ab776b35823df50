//! What is offered: `--toolsets`, `--read-only`, `--hide-denied`.

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::mcp::speaker::{POLICY, Speaker};

fn code(answer: &Value) -> &Value {
    &answer["error"]["code"]
}

#[test]
fn toolsets_leave_out_other_capabilities_and_refuse_their_calls() {
    let daemon = Daemon::start(POLICY, "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp", "--toolsets", "fs,monitor"]));
    let names: Vec<_> = speaker.tools().into_keys().collect();
    let is_chosen = |name: &String| name == "plan" || name.starts_with("fs_") || name.starts_with("monitor_");
    assert!(names.iter().all(is_chosen) && names.contains(&"fs_read".to_owned()), "{names:?}");
    let run = json!({"argv": ["/bin/true"], "reason": "run it"});
    let answer = speaker.call("exec_run", &run);
    assert_eq!(code(&answer), -32602, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("--toolsets fs,monitor"), "{answer}");
    let actions = json!([{"action": "exec.run", "params": {"argv": ["/bin/true"]}, "reason": "run it"}]);
    let answer = speaker.call("plan", &json!({"actions": actions}));
    assert_eq!(answer["result"]["structuredContent"]["path"], "$.actions[0].action", "{answer}");
    assert!(!daemon.records().iter().any(|record| record.to_string().contains("exec.run")));
}

#[test]
fn an_unknown_toolset_is_wrong_usage_that_names_what_there_is() {
    let daemon = Daemon::start(POLICY, "");
    let ran = daemon.llmsh(&["mcp", "--toolsets", "fs,network"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("\"network\"") && ran.stderr.contains("exec, fs, keyboard"), "{ran:?}");
}

#[test]
fn read_only_offers_what_only_observes_and_refuses_the_rest() {
    let daemon = Daemon::start("permit (principal, action, resource);", "");
    let mut speaker = Speaker::new(&mut daemon.command(&["mcp", "--read-only"]));
    let tools = speaker.tools();
    assert!(
        tools.contains_key("fs_read") && !tools.contains_key("fs_write") && !tools.contains_key("exec_run")
    );
    assert!(tools.values().all(|tool| tool["annotations"]["readOnlyHint"] == true));
    let params = json!({"path": daemon.path("w/note.txt"), "mode": "create", "content": "hi"});
    let mut arguments = params.clone();
    arguments["reason"] = json!("keep it");
    let answer = speaker.call("fs_write", &arguments);
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains("--read-only"), "{answer}");
    let mut plan = json!({"actions": [
        {"action": "fs.stat", "params": {"path": daemon.path("w")}, "reason": "look"},
        {"action": "fs.write", "params": params, "reason": "keep it"},
    ]});
    let answer = speaker.call("plan", &plan);
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains("fs.write"), "{answer}");
    plan["mode"] = json!("plan_only");
    let answer = speaker.call("plan", &plan);
    assert_eq!(answer["result"]["structuredContent"]["results"][1]["status"], "planned", "{answer}");
    assert!(!daemon.path("w/note.txt").exists());
    let answer = speaker.call("fs_stat", &json!({"path": daemon.path("w"), "reason": "look"}));
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    assert_eq!(code(&speaker.call("fs_nothing", &json!({"reason": "look"}))), -32602);
}

#[test]
fn hide_denied_leaves_out_what_the_policy_refuses_and_what_cannot_be_used() {
    let policy = "permit (principal, action in Action::\"observe\", resource);";
    let daemon = Daemon::start(policy, "");
    let all = Speaker::new(&mut daemon.command(&["mcp"])).tools();
    assert!(all.contains_key("fs_write") && all.contains_key("mouse_click"));
    let shown = Speaker::new(&mut daemon.command(&["mcp", "--hide-denied"])).tools();
    assert!(shown.contains_key("fs_read"));
    assert!(!shown.contains_key("fs_write") && !shown.contains_key("mouse_click"), "{:?}", shown.keys());
}
