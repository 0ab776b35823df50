//! `llmsh do`: a plan of one action from the command line.

use serde_json::{Value, json};

use crate::peer::{Peer, answer, described, refused};

/// A host with one action that takes a path, and this answer to plans.
fn host(plan: String) -> Peer {
    Peer::new(move |action, _| match action {
        "host.describe" => described(
            "fs.read",
            &json!({"type": "object", "properties": {
            "path": {"type": "string", "format": "path"}, "note": {"type": "string"}, "max_bytes": {"type": "integer"}}}),
        ),
        _ => plan.clone(),
    })
}

fn ok() -> String {
    answer(&json!([{"action": "fs.read", "status": "ok", "output": {}}]), &Value::Null)
}

#[test]
fn words_become_a_plan_of_one_action() {
    let peer = host(ok());
    peer.file("draft.txt", "two\nlines");
    let ran = peer.llmsh(&[
        "do",
        "fs.read",
        "path=README.md",
        "max_bytes:=[1,\n2]",
        "note=@draft.txt",
        "--reason",
        "look",
        "--danger",
        "none",
        "--session",
        "s-9",
    ]);
    assert_eq!((ran.code, ran.stdout), (0, format!("{}\n", ok())));
    let plan = &peer.frames()[1];
    let here = peer.dir.path().canonicalize().unwrap();
    let expected = json!([{
        "action": "fs.read", "reason": "look", "danger": "none",
        "params": {"path": here.join("README.md"), "max_bytes": [1, 2], "note": "two\nlines"},
    }]);
    assert_eq!(
        (&plan["actions"], &plan["session_id"], &plan["mode"]),
        (&expected, &json!("s-9"), &json!("execute"))
    );
}

#[test]
fn absolute_paths_and_other_strings_stay_as_they_are() {
    let peer = host(ok());
    peer.llmsh(&["do", "fs.read", "path=/a/../b", "--reason", "look"]);
    assert_eq!(peer.frames()[0]["actions"][0]["params"], json!({"path": "/a/../b"}), "and nothing was asked");
    let peer = host(ok());
    peer.llmsh(&["do", "fs.read", "note=README.md", "--reason", "look"]);
    assert_eq!(peer.frames()[1]["actions"][0]["params"], json!({"note": "README.md"}));
}

#[test]
fn an_action_that_the_host_does_not_know_is_refused_by_the_host() {
    let peer = Peer::always(refused("unknown_action"));
    let ran = peer.llmsh(&["do", "fs.slurp", "path=a", "--reason", "look"]);
    assert_eq!((ran.code, ran.stdout), (3, format!("{}\n", refused("unknown_action"))));
    assert!(ran.stderr.contains("llmsh describe"), "{}", ran.stderr);
    assert_eq!(peer.frames()[1]["actions"][0]["action"], "fs.slurp", "so that the refusal is recorded");
}

#[test]
fn a_string_where_json_was_meant_gets_a_hint() {
    let error =
        json!({"code": "parse_failed", "message": "found string", "path": "$.actions[0].params.max_bytes"});
    let peer = host(answer(&json!([]), &error));
    let ran = peer.llmsh(&["do", "fs.read", "path=/a", "max_bytes=10", "--reason", "look"]);
    assert!(ran.code == 3 && ran.stderr.contains("max_bytes:=... sends JSON"), "{ran:?}");
}

#[test]
fn wrong_words_are_usage_errors_and_nothing_is_sent() {
    let peer = host(ok());
    for params in
        [["path"].as_slice(), &["max_bytes:=ten"], &["path=/a", "path=/b"], &["note=@gone"], &["=x"]]
    {
        let args = [["do", "fs.read", "--reason", "look"].as_slice(), params].concat();
        let ran = peer.llmsh(&args);
        assert!(ran.code == 2 && ran.stderr.contains("nothing was sent"), "{params:?} {ran:?}");
    }
    assert_eq!(peer.llmsh(&["do", "fs.read", "path=/a"]).code, 2, "a reason is required");
    assert!(peer.lines().is_empty());
}
