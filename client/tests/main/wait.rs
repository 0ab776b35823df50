//! `llmsh send --wait`: a held plan, a human, the same plan again.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::peer::{PLAN, Peer, answer, told};

const TOKEN: &str = "dG9rZW4";

fn held() -> String {
    let error = json!({"code": "confirmation_required", "message": "asks", "details": {"pending_id": "p-1"}});
    answer(&json!([{"action": "exec.run", "status": "not_run"}]), &error)
        .replace("\"duration_us\":7", "\"duration_us\":7,\"wait_secret\":\"w-1\"")
}

fn ok() -> String {
    answer(&json!([{"action": "exec.run", "status": "ok", "output": {}}]), &Value::Null)
}

/// A host that holds the plan, says `pending` once and then decides.
fn host(decision: Value) -> Peer {
    let rounds = AtomicUsize::new(0);
    Peer::new(move |action, frame| match action {
        "host.await_confirmation" if rounds.fetch_add(1, Ordering::Relaxed) == 0 => {
            told(&json!({"decision": "pending"}))
        }
        "host.await_confirmation" => told(&decision),
        _ if frame["confirmation"]["token"] == TOKEN => ok(),
        _ => held(),
    })
}

#[test]
fn an_approved_plan_is_sent_again_with_its_token() {
    let peer = host(json!({"decision": "approved", "token": TOKEN}));
    let ran = peer.llmsh_with(&["send", "--wait", "-"], PLAN);
    assert_eq!((ran.code, ran.stdout), (0, format!("{}\n", ok())));
    assert!(ran.stderr.contains("llmsh approve p-1"), "{}", ran.stderr);
    let frames = peer.frames();
    assert_eq!(frames.len(), 4);
    for round in &frames[1..3] {
        assert_eq!(round["session_id"], "s-1", "the wait is the same caller's");
        let params = &round["actions"][0]["params"];
        assert_eq!((&params["pending_id"], &params["wait_secret"]), (&json!("p-1"), &json!("w-1")));
        assert!(params["wait_ms"].as_u64().unwrap() <= 120_000);
    }
    let mut again = frames[3].clone();
    assert_eq!(again.as_object_mut().unwrap().remove("confirmation"), Some(json!({"token": TOKEN})));
    assert_eq!(again, frames[0], "the plan is the same");
}

#[test]
fn no_token_and_no_wait_secret_is_told_to_a_bystander() {
    // C08
    let ran =
        host(json!({"decision": "approved", "token": TOKEN})).llmsh_with(&["send", "--wait", "-"], PLAN);
    assert!(!ran.stderr.contains(TOKEN) && !ran.stderr.contains("w-1"), "{}", ran.stderr);
}

#[test]
fn a_denied_plan_is_refused_and_not_sent_again() {
    let peer = host(json!({"decision": "denied"}));
    let ran = peer.llmsh_with(&["send", "--wait", "-"], PLAN);
    assert_eq!((ran.code, ran.stdout, peer.lines().len()), (3, format!("{}\n", held()), 3));
}

#[test]
fn a_plan_that_nobody_decided_still_needs_confirmation() {
    let ran = host(json!({"decision": "expired"})).llmsh_with(&["send", "--wait", "-"], PLAN);
    assert_eq!(ran.code, 4);
}

#[test]
fn without_wait_the_answer_tells_how_to_go_on() {
    let peer = host(json!({"decision": "denied"}));
    let ran = peer.llmsh_with(&["send", "-"], PLAN);
    assert_eq!((ran.code, peer.lines().len()), (4, 1));
    assert!(ran.stderr.contains("llmsh approve p-1") && ran.stderr.contains("--wait"), "{}", ran.stderr);
}
