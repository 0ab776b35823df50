//! The questions that a caller asks about a host.

use serde_json::{Value, json};

use crate::peer::{Peer, refused, told};

#[test]
fn ping_prints_who_answers() {
    let peer = Peer::always(told(&json!({"host": "llm-osd", "version": "0.1.0", "protocol": "1"})));
    let ran = peer.llmsh(&["ping"]);
    assert_eq!(ran.code, 0);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["protocol"], "1");
    assert_eq!(peer.frames()[0]["actions"][0]["action"], "host.ping");
}

#[test]
fn describe_asks_for_one_action_or_all() {
    let peer = Peer::always(told(&json!({"actions": []})));
    peer.llmsh(&["describe"]);
    peer.llmsh(&["describe", "fs.read"]);
    let params: Vec<_> = peer.frames().iter().map(|frame| frame["actions"][0]["params"].clone()).collect();
    assert_eq!(params, [json!({}), json!({"actions": ["fs.read"]})]);
}

#[test]
fn a_question_that_is_refused_has_its_exit_code_and_no_output() {
    for (code, exit) in [("unknown_action", 3), ("busy", 6)] {
        let ran = Peer::always(refused(code)).llmsh(&["describe", "fs.slurp"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (exit, ""), "{code}");
        assert!(ran.stderr.contains(code), "{}", ran.stderr);
    }
}

#[test]
fn the_schema_of_a_plan_is_put_together_from_what_the_host_describes() {
    let params =
        json!({"type": "object", "properties": {"argv": {"type": "array"}}, "additionalProperties": false});
    let peer = Peer::always(told(
        &json!({"version": "0.1.0", "actions": [{"action": "exec.run", "tool_name": "exec_run",
            "doc": "Runs.", "params": params, "output": {}, "effects": [], "decision": "depends"}]}),
    ));
    let schema = serde_json::from_str(&peer.llmsh(&["schema"]).stdout).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let plan: Value = serde_json::from_str(crate::peer::PLAN).unwrap();
    assert!(schema.is_valid(&plan));
    let text = plan.to_string();
    for (from, to) in [
        ("exec.run", "exec.ran"),
        ("argv", "argw"),
        ("\"1\"", "\"2\""),
        ("\"r-1\"", "\"/\""),
        ("reason", "raison"),
    ] {
        let wrong: Value = serde_json::from_str(&text.replace(from, to)).unwrap();
        assert!(!schema.is_valid(&wrong), "{wrong}");
    }
}

#[test]
fn completions_are_printed_without_a_host() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = crate::peer::command(&dir.path().join("none"), dir.path(), &["completions", "bash"]);
    let ran = crate::peer::run(&mut command, "");
    assert!(ran.code == 0 && ran.stdout.contains("llmsh") && ran.stderr.is_empty());
}

#[test]
fn help_and_version_go_to_stdout_and_mistakes_to_stderr() {
    let peer = Peer::always("");
    for args in [["--help"].as_slice(), &["--version"], &["help", "approve"]] {
        let ran = peer.llmsh(args);
        assert!(ran.code == 0 && !ran.stdout.is_empty() && ran.stderr.is_empty(), "{args:?}");
    }
    for args in [[].as_slice(), &["sned"], &["approve"], &["approve", "p-1", "--uid", "1"]] {
        let ran = peer.llmsh(args);
        assert!(ran.code == 2 && ran.stdout.is_empty() && !ran.stderr.is_empty(), "{args:?}");
    }
}
