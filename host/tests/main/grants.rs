//! Class C: what a session may do again since a human said so, and what it may not.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::{act, asking, code, plan, run, with, write};
use crate::daemon::{Daemon, Place};
use crate::records::of;

fn in_session(frame: Value, session: &str) -> Value {
    with(frame, json!({"session_id": session}))
}

fn touch(path: &Path) -> Value {
    in_session(plan("touch", &[run(&["/usr/bin/touch", path.to_str().unwrap()])]), "s-1")
}

fn showing(frame: &Value, secret: &str) -> Value {
    with(frame.clone(), json!({"confirmation": {"session_secret": secret}}))
}

/// Has a plan held and approved for its session: the id of the grant, and the session's secret.
#[track_caller]
fn granted(daemon: &Daemon, frame: &Value) -> (String, String) {
    let (pending_id, answer) = daemon.hold(frame);
    let shown = daemon.ask_approver("host.pending", json!({"pending_id": pending_id}));
    assert_eq!(shown["grantable"], true, "{shown:#}");
    let params = json!({"pending_id": pending_id, "sha256": shown["sha256"], "session": true});
    let approved = daemon.ask_approver("host.approve", params);
    assert_eq!(approved["grant"]["permits"], shown["grant"], "{approved:#}");
    let wait = json!({"pending_id": pending_id, "wait_secret": answer["meta"]["wait_secret"], "wait_ms": 0});
    let decision = daemon.ask(&plan("wait", &[act("host.await_confirmation", wait)]));
    let secret = &decision["results"][0]["output"]["session_secret"];
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{decision:#}")).to_owned();
    (text(&approved["grant"]["grant_id"]), text(secret))
}

#[track_caller]
fn runs(daemon: &Daemon, frame: &Value) {
    let answer = daemon.ask(frame);
    assert_eq!((code(&answer), &answer["results"][0]["status"]), ("", &json!("ok")), "{answer:#}");
}

#[track_caller]
fn asks(daemon: &Daemon, frame: &Value) {
    let answer = daemon.ask(frame);
    assert_eq!(code(&answer), "confirmation_required", "{answer:#}");
}

#[test]
fn what_a_session_was_granted_runs_again_without_asking_and_the_record_names_the_grant() {
    let daemon = Daemon::start();
    let frame = touch(&daemon.path("w/mark"));
    let (grant, secret) = granted(&daemon, &frame);
    for reason in ["again", "and once more"] {
        let mut frame = showing(&frame, &secret);
        frame["actions"][0]["reason"] = json!(reason);
        runs(&daemon, &frame);
    }
    let listed = daemon.ask_approver("host.grants", json!({}));
    let listed = &listed["grants"][0];
    assert_eq!(
        (&listed["grant_id"], &listed["used"], &listed["session_id"]),
        (&json!(grant), &json!(2), &json!("s-1"))
    );
    assert!(listed["permits"][0].as_str().unwrap().contains("/usr/bin/touch"), "{listed:#}");
    let records = daemon.stop().records();
    let intents = of(&records, "intent", Some("touch"));
    assert_eq!(intents.len(), 2);
    for intent in intents {
        assert_eq!(intent["decision"]["approved"]["grant"], grant, "{intent:#}");
        assert_eq!(intent["decision"]["decision"], "confirm");
    }
    let recorded = of(&records, "granted", None)[0];
    assert_eq!(recorded["data"]["grant_id"], grant);
    assert_eq!(recorded["data"]["expires_in_s"], 3_600);
}

#[test]
fn anything_else_asks() {
    let daemon = Daemon::start();
    let frame = touch(&daemon.path("w/mark"));
    let (_, secret) = granted(&daemon, &frame);
    asks(&daemon, &frame);
    asks(&daemon, &showing(&touch(&daemon.path("w/other")), &secret));
    asks(&daemon, &showing(&in_session(frame.clone(), "s-2"), &secret));
    asks(&daemon, &showing(&frame, &format!("{secret}A")));
    asks(&daemon, &showing(&frame, "A"));
    let mut twice = frame.clone();
    let action = run(&["/usr/bin/touch", daemon.path("w/new").to_str().unwrap()]);
    twice["actions"].as_array_mut().unwrap().push(action);
    asks(&daemon, &showing(&twice, &secret));
    let mut recoverable = frame.clone();
    recoverable["actions"][0]["recovery"] = json!("remove it");
    asks(&daemon, &showing(&recoverable, &secret));
    runs(&daemon, &showing(&frame, &secret));
    daemon.stop();
}

/// C05.
#[test]
fn a_grant_lifts_no_deny() {
    let daemon = Daemon::start();
    let (_, secret) = granted(&daemon, &touch(&daemon.path("w/mark")));
    let denied = in_session(plan("denied", &[write(&daemon.path("w/never/CANARY"), "x")]), "s-1");
    assert_eq!(code(&daemon.ask(&showing(&denied, &secret))), "policy_denied");
    let mut both = touch(&daemon.path("w/mark"));
    both["actions"].as_array_mut().unwrap().push(write(&daemon.path("w/never/CANARY"), "x"));
    let answer = daemon.ask(&showing(&both, &secret));
    assert_eq!((code(&answer), &answer["executed"]), ("policy_denied", &json!(false)));
    daemon.stop();
}

#[test]
fn what_always_asks_is_granted_to_no_session() {
    let daemon = Daemon::start();
    let python = run(&["/usr/bin/python3", "-c", "pass"]);
    let mark = daemon.path("w/mark");
    let nobody = plan("anonymous", &[run(&["/usr/bin/touch", mark.to_str().unwrap()])]);
    for (frame, why) in [
        (in_session(plan("danger", &[asking(run(&["/bin/echo"]))]), "s-1"), "danger"),
        (in_session(plan("python", &[python]), "s-1"), "asks a human each time"),
        (nobody, "no session"),
    ] {
        let (pending_id, _) = daemon.hold(&frame);
        let shown = daemon.ask_approver("host.pending", json!({"pending_id": pending_id}));
        assert_eq!(shown["grantable"], false, "{shown:#}");
        assert!(shown["not_grantable"].as_str().unwrap().contains(why), "{shown:#}");
        let params = json!({"pending_id": pending_id, "sha256": shown["sha256"], "session": true});
        assert_eq!(code(&daemon.ask_approver("host.approve", params)), "validation_failed");
        daemon.approve(&pending_id);
    }
    let records = daemon.stop().records();
    assert!(of(&records, "granted", None).is_empty());
}

/// An interpreter beside something that was granted: what always asks is not swept along.
#[test]
fn a_plan_that_always_asks_is_held_whatever_else_in_it_was_granted() {
    let daemon = Daemon::start();
    let frame = touch(&daemon.path("w/mark"));
    let (_, secret) = granted(&daemon, &frame);
    let mut dangerous = frame.clone();
    dangerous["actions"][0]["danger"] = json!("the mark is new");
    asks(&daemon, &showing(&dangerous, &secret));
    daemon.stop();
}

#[test]
fn a_revoked_grant_asks_again() {
    let daemon = Daemon::start();
    let frame = touch(&daemon.path("w/mark"));
    let (grant, secret) = granted(&daemon, &frame);
    runs(&daemon, &showing(&frame, &secret));
    assert_eq!(daemon.ask_approver("host.revoke", json!({"grant_id": grant}))["revoked"], true);
    asks(&daemon, &showing(&frame, &secret));
    assert_eq!(daemon.ask_approver("host.grants", json!({}))["grants"], json!([]));
    let again = daemon.ask_approver("host.revoke", json!({"grant_id": grant}));
    assert_eq!(code(&again), "validation_failed", "{again:#}");
    let records = daemon.stop().records();
    assert_eq!(of(&records, "revoked", None)[0]["data"]["grant_id"], grant);
}

#[test]
fn grants_end_with_the_policy_a_halt_and_the_host() {
    let mut daemon = Daemon::start();
    let frame = touch(&daemon.path("w/mark"));
    let (_, secret) = granted(&daemon, &frame);
    daemon.ask_approver("host.reload", json!({}));
    asks(&daemon, &showing(&frame, &secret));
    let (_, secret) = granted(&daemon, &frame);
    daemon.ask_approver("host.halt", json!({}));
    daemon.ask_approver("host.resume", json!({}));
    asks(&daemon, &showing(&frame, &secret));
    let (_, secret) = granted(&daemon, &frame);
    daemon = daemon.stop().start();
    asks(&daemon, &showing(&frame, &secret));
    daemon.stop();
}

#[test]
fn a_grant_expires() {
    let daemon = Place::new().tables("[confirmation]\ngrant_s = 1").start();
    let frame = touch(&daemon.path("w/mark"));
    let (_, secret) = granted(&daemon, &frame);
    crate::process::wait_for("the end of the grant", || {
        daemon.ask_approver("host.grants", json!({}))["grants"].as_array().unwrap().is_empty().then_some(())
    });
    asks(&daemon, &showing(&frame, &secret));
    daemon.stop();
}

#[test]
fn a_session_has_one_secret_for_all_its_grants() {
    let daemon = Daemon::start();
    let (one, other) = (touch(&daemon.path("w/one")), touch(&daemon.path("w/other")));
    let (_, secret) = granted(&daemon, &one);
    let (_, same) = granted(&daemon, &showing(&other, &secret));
    assert_eq!(secret, same);
    let mut both = one.clone();
    both["actions"].as_array_mut().unwrap().push(other["actions"][0].clone());
    runs(&daemon, &showing(&both, &secret));
    daemon.stop();
}

/// What changes a file that was granted replaces it each time: the same path is the same file.
#[test]
fn a_file_is_the_same_by_its_path_and_a_program_by_its_content() {
    let place = Place::new()
        .set_policy("@id(\"ask\") permit (principal, action, resource) when { context.confirmed };");
    let daemon = place.start();
    let mut write = write(&daemon.path("w/note"), "x");
    write["params"]["mode"] = json!("replace");
    fs::write(daemon.path("w/note"), "before").unwrap();
    let frame = in_session(plan("write", &[write]), "s-1");
    let (_, secret) = granted(&daemon, &frame);
    fs::remove_file(daemon.path("w/note")).unwrap();
    fs::write(daemon.path("w/note"), "another one").unwrap();
    runs(&daemon, &showing(&frame, &secret));
    assert_eq!(fs::read_to_string(daemon.path("w/note")).unwrap(), "x");
    fs::remove_file(daemon.path("w/note")).unwrap();
    std::os::unix::fs::symlink(daemon.path("w/elsewhere"), daemon.path("w/note")).unwrap();
    let answer = daemon.ask(&showing(&frame, &secret));
    assert_eq!(answer["executed"], false, "{answer:#}");
    daemon.stop();
}

/// C06: nothing on the plan socket makes, lists or ends a grant.
#[test]
fn the_plan_socket_knows_no_grants() {
    let daemon = Daemon::start();
    for verb in ["host.grants", "host.revoke", "host.approve"] {
        let answer = daemon.ask(&plan("grants", &[act(verb, json!({}))]));
        assert_eq!(code(&answer), "unknown_action", "{answer:#}");
    }
    let both = json!({"confirmation": {}});
    assert_eq!(code(&daemon.ask(&with(touch(&daemon.path("w/x")), both))), "validation_failed");
    daemon.stop();
}

/// Only what the human confirmed runs as confirmed: a program that the policy allows reaches no more beside it.
#[test]
fn what_the_policy_allows_gets_nothing_of_the_grant() {
    let daemon = Daemon::start();
    let mut frame = touch(&daemon.path("w/mark"));
    frame["actions"].as_array_mut().unwrap().push(run(&["/bin/true"]));
    let (grant, secret) = granted(&daemon, &frame);
    let answer = daemon.ask(&showing(&frame, &secret));
    let contained = |index: usize| answer["results"][index]["output"]["contained"]["execute"].clone();
    assert_eq!((contained(0), contained(1)), (json!(true), json!(false)), "{answer:#}");
    let records = daemon.stop().records();
    let intents = of(&records, "intent", Some("touch"));
    assert_eq!(intents[0]["decision"]["approved"]["grant"], grant);
    assert_eq!(intents[1]["decision"].get("approved"), None, "{:#}", intents[1]);
}

/// What asks only since the plan itself changed the world was confirmed by nobody.
#[test]
fn what_begins_to_ask_while_the_plan_runs_stops_it() {
    let place = Place::new().set_policy(
        r#"
@id("look") permit (principal, action in Action::"observe", resource);
@id("new") permit (principal, action == Action::"fs.write/change", resource) when { !context.exists };
@id("ask") permit (principal, action, resource) when { context.confirmed };
"#,
    );
    let daemon = place.start();
    let mut replace = write(&daemon.path("w/new"), "second");
    replace["params"]["mode"] = json!("replace");
    let mut frame = touch(&daemon.path("w/mark"));
    frame["actions"].as_array_mut().unwrap().extend([write(&daemon.path("w/new"), "first"), replace]);
    let (_, secret) = granted(&daemon, &frame);
    let answer = daemon.ask(&showing(&frame, &secret));
    assert_eq!(code(&answer), "confirmation_stale", "{answer:#}");
    assert_eq!(fs::read_to_string(daemon.path("w/new")).unwrap(), "first");
    daemon.stop();
}
