//! Class C: what a token is good for, and what it is not.

use serde_json::{Value, json};

use crate::client::{act, asking, code, confirmed, plan, read, run, with, write};
use crate::daemon::{Daemon, Place};
use crate::records::of;

fn echo(text: &str) -> Value {
    plan("echo", &[asking(run(&["/bin/echo", text]))])
}

/// C01
#[test]
fn a_token_is_good_for_one_execution() {
    let daemon = Daemon::start();
    let frame = echo("once");
    let token = daemon.token_for(&frame);
    let answer = daemon.ask(&confirmed(&frame, &token));
    assert_eq!(answer["results"][0]["output"]["stdout"]["text"], "once\n", "{answer:#}");
    let again = daemon.ask(&confirmed(&frame, &token));
    assert_eq!(code(&again), "confirmation_invalid");
    assert_eq!(again["error"]["path"], "$.confirmation.token");
    assert_eq!(again["executed"], false);
    let records = daemon.stop().records();
    assert_eq!(of(&records, "intent", Some("echo")).len(), 1);
    assert_eq!(of(&records, "token_used", Some("echo")).len(), 1);
    let intent = of(&records, "intent", Some("echo"))[0];
    assert_eq!(intent["decision"]["approved"]["approver"], rustix::process::geteuid().as_raw(), "{intent:#}");
}

/// C02
#[test]
fn a_token_for_another_plan_is_refused_and_burnt() {
    let daemon = Daemon::start();
    let approved = echo("approved");
    let others = [
        echo("approvee"),
        with(approved.clone(), json!({"session_id": "another"})),
        plan("echo", &[asking(run(&["/bin/echo", "approved"])), run(&["/bin/echo"])]),
        plan("echo", &[with(asking(run(&["/bin/echo", "approved"])), json!({"reason": "another reason"}))]),
    ];
    for other in others {
        let token = daemon.token_for(&approved);
        let answer = daemon.ask(&confirmed(&other, &token));
        assert_eq!(code(&answer), "confirmation_invalid", "{answer:#}");
        assert_eq!(answer["executed"], false);
        let burnt = daemon.ask(&confirmed(&approved, &token));
        assert_eq!(code(&burnt), "confirmation_invalid", "{burnt:#}");
    }
    let records = daemon.stop().records();
    assert!(of(&records, "intent", None).is_empty());
    assert!(of(&records, "token_burnt", None).len() >= 4);
}

/// The id of a request only correlates: the same plan under another one is the same plan.
#[test]
fn a_token_covers_the_plan_and_not_its_request_id() {
    let daemon = Daemon::start();
    let token = daemon.token_for(&echo("hi"));
    let renamed = with(echo("hi"), json!({"request_id": "renamed"}));
    assert_eq!(code(&daemon.ask(&confirmed(&renamed, &token))), "");
    daemon.stop();
}

/// C03. That a token ends 120 s after its approval is tested beside its clock, in `approvals.rs`.
#[test]
fn a_token_from_before_a_restart_is_refused() {
    let daemon = Daemon::start();
    let token = daemon.token_for(&echo("hi"));
    let daemon = daemon.stop().start();
    assert_eq!(code(&daemon.ask(&confirmed(&echo("hi"), &token))), "confirmation_invalid");
    assert_eq!(daemon.ask_approver("host.pending", json!({}))["pending"], json!([]));
    daemon.stop();
}

/// C04
#[test]
fn guessed_tokens_are_refused_byte_by_byte_and_then_for_a_while() {
    let daemon = Daemon::start();
    let frame = echo("guess");
    let token = daemon.token_for(&frame);
    let flipped =
        token.chars().map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
    let guesses = [
        "i-understand".to_owned(),
        String::new(),
        format!(" {token} "),
        format!("{token}\n"),
        token[..token.len() - 1].to_owned(),
        format!("{token}="),
        flipped.collect(),
        "../../token".to_owned(),
        "\0".to_owned(),
    ];
    for guess in &guesses {
        let answer = daemon.ask(&confirmed(&frame, guess));
        assert_eq!(code(&answer), "confirmation_invalid", "{guess:?}: {answer:#}");
    }
    assert_eq!(code(&daemon.ask(&confirmed(&frame, &"x".repeat(257)))), "validation_failed");
    assert_eq!(code(&daemon.ask(&confirmed(&frame, "the tenth"))), "confirmation_invalid");
    let locked = daemon.ask(&confirmed(&frame, &token));
    assert_eq!(code(&locked), "confirmation_invalid", "{locked:#}");
    assert!(locked["error"]["message"].as_str().unwrap().contains("too many"), "{locked:#}");
    let records = daemon.stop().records();
    assert!(of(&records, "intent", None).is_empty());
}

/// C05
#[test]
fn what_is_denied_stays_denied_with_a_token() {
    let daemon = Daemon::start();
    let denied = plan("denied", &[write(&daemon.path("w/never/CANARY"), "x")]);
    let token = daemon.token_for(&echo("hi"));
    for frame in [denied.clone(), confirmed(&denied, &token)] {
        let answer = daemon.ask(&frame);
        assert_eq!(code(&answer), "policy_denied", "{answer:#}");
        let error = &answer["error"];
        assert!(error["message"].as_str().unwrap().contains("never (nobody touches it)"), "{error:#}");
        assert_eq!(answer["results"][0]["decision"], "deny");
    }
    let uid = rustix::process::geteuid().as_raw();
    let held = daemon.ask_approver("host.hold", json!({"plan": denied, "uid": uid}));
    assert_eq!(code(&held), "policy_denied", "{held:#}");
    daemon.stop();
}

/// C06
#[test]
fn the_plan_socket_has_no_verb_that_approves() {
    let daemon = Daemon::start();
    let (pending_id, _) = daemon.hold(&echo("hi"));
    let shown = daemon.ask_approver("host.pending", json!({"pending_id": pending_id}));
    let params = json!({"pending_id": pending_id, "sha256": shown["sha256"]});
    for (verb, params) in [
        ("host.approve", params.clone()),
        ("host.deny", json!({"pending_id": pending_id})),
        ("host.pending", json!({})),
        ("host.reload", json!({})),
        ("host.hold", json!({"plan": echo("x"), "uid": 0})),
    ] {
        assert_eq!(code(&daemon.ask(&plan("c06", &[act(verb, params)]))), "unknown_action", "{verb}");
    }
    let beside = daemon.ask(&plan("c06", &[run(&["/bin/echo"]), act("host.approve", params)]));
    assert_eq!(code(&beside), "validation_failed", "{beside:#}");
    let sent = daemon.approver().ask(&plan("c06", &[write(&daemon.path("w/CANARY"), "x")]));
    assert_eq!(code(&sent), "policy_denied", "the approval socket takes no plans: {sent:#}");
    daemon.stop();
}

/// C06
#[test]
fn a_user_who_is_not_an_approver_is_refused_on_the_approval_socket() {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let place =
        Place::new().keys(&format!("plan_uids = [{uid}]\napprover_uids = [{}]\nsocket_gid = {gid}", uid + 1));
    let daemon = place.start();
    let mut client = daemon.approver();
    let answer = client.answer();
    assert_eq!(code(&answer), "policy_denied", "refused before a byte is sent: {answer:#}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("approver_uids"), "{answer:#}");
    assert!(client.is_closed());
    daemon.stop();
}

/// C07, F20
#[test]
fn the_hosts_own_files_are_denied_whatever_the_policy_says() {
    let place = Place::new().set_policy("permit (principal, action, resource);");
    let whole = place.path("");
    let root = format!("[[roots]]\npath = \"{}\"\nmode = \"write\"", whole.display());
    let daemon = place.tables(&root).start();
    std::os::unix::fs::symlink(daemon.state(), daemon.path("w/link")).unwrap();
    let mut own = vec![daemon.path("llm-osd.toml"), daemon.path("policy.cedar"), daemon.plan_socket()];
    own.extend(crate::records::segments(&daemon.state()));
    own.push(daemon.path("w/link"));
    for path in own {
        let destroyed = act("fs.remove", json!({"path": path, "recursive": true}));
        let replaced = act("fs.write", json!({"path": path, "content": "x", "mode": "replace"}));
        for action in [read(&path), replaced, destroyed] {
            let asked = daemon.ask(&plan("own", std::slice::from_ref(&action)));
            if path.ends_with("w/link") && action["action"] == "fs.remove" {
                // The link itself is the caller's.
                continue;
            }
            assert_ne!(code(&asked), "", "{action}: {asked:#}");
            assert_eq!(asked["executed"], false, "{action}: {asked:#}");
        }
    }
    let above = act("fs.move", json!({"from": daemon.state(), "to": daemon.path("w/state")}));
    assert_eq!(code(&daemon.ask(&plan("own", &[above]))), "policy_denied");
    daemon.stop();
}

/// C14
#[test]
fn a_plan_is_decided_as_a_whole_before_any_of_it_runs() {
    let daemon = Daemon::start();
    let harmless = write(&daemon.path("w/CANARY"), "x");
    let denied = write(&daemon.path("w/never/x"), "x");
    let answer = daemon.ask(&plan("c14", &[harmless.clone(), denied]));
    assert_eq!(code(&answer), "policy_denied");
    assert_eq!(answer["error"]["path"].as_str().map(|path| &path[..12]), Some("$.actions[1]"), "{answer:#}");
    let statuses =
        |answer: &Value| answer["results"].as_array().unwrap().iter().all(|r| r["status"] == "not_run");
    assert!(statuses(&answer), "{answer:#}");
    let (_, answer) = daemon.hold(&plan("c14", &[harmless.clone(), asking(run(&["/bin/echo"]))]));
    assert!(statuses(&answer), "{answer:#}");
    let unknown = daemon.ask(&plan("c14", &[harmless.clone(), act("fs.explode", json!({}))]));
    assert_eq!(code(&unknown), "unknown_action");
    let malformed = daemon.ask(&plan("c14", &[harmless, act("fs.read", json!({"path": "relative"}))]));
    assert_eq!(code(&malformed), "validation_failed");
    let records = daemon.stop().records();
    assert!(of(&records, "intent", None).is_empty());
}
