//! A call that a human must confirm.

use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::computer::talk::{Talk, computer_call, host_tool, member, respond, text};
use crate::peer::{Peer, answer, refused, told};

const TOKEN: &str = "dG9rZW4";

/// A host that holds every click, and decides in this order, each time it is asked.
fn holding(decisions: Vec<Value>) -> Peer {
    let asked = AtomicUsize::new(0);
    Peer::new(move |action, frame| match action {
        "host.await_confirmation" => {
            let decision = decisions.get(asked.fetch_add(1, Ordering::Relaxed));
            decision.map_or_else(|| refused("validation_failed"), told)
        }
        "mouse.click" | "fs.remove" | "keyboard.down" if frame["confirmation"]["token"] != TOKEN => {
            let error =
                json!({"code": "confirmation_required", "message": "asks", "details": {"pending_id": "p-1"}});
            answer(&json!([{"action": action, "status": "not_run"}]), &error)
                .replace("\"duration_us\":7", "\"duration_us\":7,\"wait_secret\":\"w-1\"")
        }
        _ => respond(frame, None),
    })
}

fn start(peer: &Peer, dialect: &str, hold_s: &str) -> Talk {
    Talk::start(&mut peer.command(&["computer", "--dialect", dialect, "--hold-s", hold_s]))
}

fn click() -> Value {
    member("t", "left_click", json!({}))
}

fn actions(peer: &Peer) -> Vec<String> {
    peer.frames().iter().map(|frame| frame["actions"][0]["action"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_call_that_a_human_approves_runs_with_the_token_and_tells_it_to_nobody() {
    let peer = holding(vec![json!({"decision": "pending"}), json!({"decision": "approved", "token": TOKEN})]);
    let mut talk = start(&peer, "anthropic", "60");
    let result = talk.ask(&click());
    assert_eq!((text(&result), result.get("is_error")), ("OK", None));
    let frames = peer.frames();
    assert_eq!(
        actions(&peer),
        ["mouse.click", "host.await_confirmation", "host.await_confirmation", "mouse.click"]
    );
    assert_eq!(frames[0]["actions"], frames[3]["actions"]);
    assert_eq!(frames[1]["session_id"], frames[0]["session_id"], "the wait is the same caller's");
    assert_eq!(frames[1]["actions"][0]["params"]["wait_secret"], "w-1");
    let (code, stderr) = talk.end(true);
    assert_eq!(code, Some(0));
    assert!(stderr.contains("llmsh approve p-1"), "{stderr}");
    assert!(!stderr.contains(TOKEN) && !stderr.contains("w-1") && !result.to_string().contains(TOKEN));
}

#[test]
fn a_call_that_nobody_decides_about_is_told_and_the_same_call_goes_on_waiting() {
    let pending = || json!({"decision": "pending"});
    let peer = holding(vec![pending(), pending(), json!({"decision": "approved", "token": TOKEN})]);
    let mut talk = start(&peer, "anthropic", "0");
    for _ in 0..2 {
        let result = talk.ask(&click());
        assert_eq!(result["is_error"], true);
        for part in ["confirmation_required", "p-1", "llmsh approve p-1", "The same action again"] {
            assert!(text(&result).contains(part), "{part}: {result}");
        }
    }
    assert_eq!(text(&talk.ask(&click())), "OK");
    let wait = "host.await_confirmation";
    assert_eq!(actions(&peer), ["mouse.click", wait, wait, wait, "mouse.click"], "it is held once");
    // Used up: the next one asks a human again.
    talk.ask(&click());
    assert_eq!(actions(&peer)[5..], ["mouse.click", wait]);
}

#[test]
fn another_call_is_another_plan() {
    let pending = || json!({"decision": "pending"});
    let peer = holding(vec![pending(), pending(), pending()]);
    let mut talk = start(&peer, "anthropic", "0");
    let remove = |path: &str| host_tool("t", "fs_remove", json!({"path": path, "reason": "tidy"}));
    for call in [remove("/a"), remove("/b"), remove("/a")] {
        assert_eq!(talk.ask(&call)["is_error"], true);
    }
    let wait = "host.await_confirmation";
    assert_eq!(actions(&peer), ["fs.remove", wait, "fs.remove", wait, wait]);
}

#[test]
fn keys_of_a_plan_that_is_held_are_not_released_since_none_is_down() {
    let peer = holding(vec![json!({"decision": "pending"})]);
    let call = computer_call("c", json!([{"type": "move", "x": 1, "y": 2, "keys": ["CTRL"]}]));
    start(&peer, "openai", "0").ask(&call);
    let expected = ["monitor.list", "keyboard.down", "host.await_confirmation", "monitor.wait"];
    assert_eq!(actions(&peer), expected);
}

#[test]
fn a_call_that_a_human_denies_or_lets_expire_is_told_as_that() {
    for (decision, expected) in [("denied", "a human denied it"), ("expired", "nobody decided in time")] {
        let peer = holding(vec![json!({"decision": decision}), json!({"decision": decision})]);
        let result = start(&peer, "anthropic", "60").ask(&click());
        assert!(result["is_error"] == true && text(&result).contains(expected), "{result}");
        let call = computer_call("c", json!([{"type": "click", "x": 1, "y": 2}]));
        let items = start(&peer, "openai", "60").ask(&call);
        assert_eq!(items[0]["type"], "computer_call_output");
        assert!(items[1]["content"][0]["text"].as_str().unwrap().contains(expected), "{items}");
    }
}

#[test]
fn it_never_connects_to_the_approval_socket_and_asks_for_nothing_of_an_approver() {
    let peer = holding(vec![json!({"decision": "approved", "token": TOKEN}), json!({"decision": "pending"})]);
    let approval = peer.dir.path().join("approval");
    let listener = UnixListener::bind(&approval).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut command = peer.command(&["computer", "--dialect", "anthropic", "--hold-s", "0"]);
    let mut talk = Talk::start(command.env("LLM_OSD_APPROVAL_SOCKET", &approval));
    talk.ask(&click());
    talk.ask(&click());
    let before = peer.frames().len();
    for verb in
        ["host_approve", "host_deny", "host_reload", "host_resume", "host_await_confirmation", "host_halt"]
    {
        let result = talk.ask(&host_tool("t", verb, json!({"pending_id": "p-1", "reason": "x"})));
        assert!(text(&result).contains("there is no tool"), "{result}");
    }
    assert_eq!(peer.frames().len(), before, "verbs of the protocol are no tools");
    talk.end(true);
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}
