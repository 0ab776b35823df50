//! Class C: how a plan is held, shown, decided and waited for.

use std::fs;

use serde_json::{Value, json};

use crate::client::{act, asking, code, confirmed, plan, run, with, write};
use crate::daemon::{Daemon, Place};
use crate::records::of;

fn echo(text: &str) -> Value {
    plan("echo", &[asking(run(&["/bin/echo", text]))])
}

fn wait(pending_id: &str, secret: &Value, wait_ms: u64) -> Value {
    let params = json!({"pending_id": pending_id, "wait_secret": secret, "wait_ms": wait_ms});
    plan("wait", &[act("host.await_confirmation", params)])
}

fn decision(answer: &Value) -> &Value {
    &answer["results"][0]["output"]["decision"]
}

/// What the approver sees is what is digested, and what runs.
#[test]
fn a_held_plan_is_shown_with_every_byte_that_would_run() {
    let daemon = Daemon::start();
    let hostile = "a\u{1b}[2K\r\u{202e}\"}\n{\"seq\":1";
    let frame = with(plan("shown", &[asking(run(&["/bin/echo", hostile]))]), json!({"session_id": "s-1"}));
    let (pending_id, answer) = daemon.hold(&frame);
    assert_eq!(answer["results"][0]["decision"], "confirm");
    let listed = daemon.ask_approver("host.pending", json!({}));
    assert_eq!(listed["pending"][0]["pending_id"], pending_id);
    assert_eq!(listed["pending"][0]["uid"], rustix::process::geteuid().as_raw());
    let shown = daemon.ask_approver("host.pending", json!({"pending_id": pending_id}));
    let canonical = shown["plan"].as_str().unwrap();
    let parsed: Value = serde_json::from_str(canonical).unwrap();
    assert_eq!(parsed, json!({"version": "1", "session_id": "s-1", "actions": frame["actions"]}));
    use sha2::Digest;
    let sha256: String = sha2::Sha256::digest(canonical).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown["sha256"], sha256);
    assert_eq!(shown["effects"][0], answer["results"][0]["effects"]);
    let wrong = json!({"pending_id": pending_id, "sha256": "0".repeat(64)});
    let refused = daemon.ask_approver("host.approve", wrong);
    assert_eq!(code(&refused), "validation_failed", "what was shown is not what is held: {refused:#}");
    let token = daemon.approve(&pending_id);
    let answer = daemon.ask(&confirmed(&frame, &token));
    assert_eq!(answer["results"][0]["output"]["stdout"]["text"], format!("{hostile}\n"));
    daemon.stop();
}

#[test]
fn who_waits_for_a_decision_gets_the_token_and_nobody_else_does() {
    let daemon = Daemon::start();
    let frame = echo("awaited");
    let (pending_id, answer) = daemon.hold(&frame);
    let secret = &answer["meta"]["wait_secret"];
    let mut waiting = daemon.connect();
    waiting.send(&wait(&pending_id, secret, 60_000));
    assert_eq!(decision(&daemon.ask(&wait(&pending_id, secret, 0))), "pending");
    for wrong in [json!("0".repeat(32)), json!("")] {
        assert_eq!(decision(&daemon.ask(&wait(&pending_id, &wrong, 0))), "expired");
    }
    assert_eq!(code(&daemon.ask(&wait(&pending_id, secret, 120_001))), "validation_failed");
    let token = daemon.approve(&pending_id);
    let awaited = waiting.answer();
    assert_eq!(decision(&awaited), "approved");
    assert_eq!(awaited["results"][0]["output"]["token"], token);
    drop(waiting);
    assert_eq!(code(&daemon.ask(&confirmed(&frame, &token))), "");
    daemon.stop();
}

/// C16
#[test]
fn only_a_yes_is_a_yes() {
    let daemon = Daemon::start();
    let (denied, answer) = daemon.hold(&echo("no"));
    let mut waiting = daemon.connect();
    waiting.send(&wait(&denied, &answer["meta"]["wait_secret"], 60_000));
    assert_eq!(daemon.ask_approver("host.deny", json!({"pending_id": denied}))["denied"], true);
    assert_eq!(decision(&waiting.answer()), "denied");
    let late = daemon.ask_approver("host.approve", json!({"pending_id": denied, "sha256": ""}));
    assert_eq!(code(&late), "validation_failed", "a denied plan is not approved later: {late:#}");

    let (left, answer) = daemon.hold(&echo("left"));
    let mut approver = daemon.approver();
    approver.ask(&plan("look", &[act("host.pending", json!({"pending_id": left}))]));
    drop(approver);
    let mut died = daemon.approver();
    died.send_bytes(b"{\"request_id\":\"approve\",\"version\":");
    drop(died);
    assert_eq!(decision(&daemon.ask(&wait(&left, &answer["meta"]["wait_secret"], 0))), "pending");
    drop(waiting);
    let records = daemon.stop().records();
    assert!(of(&records, "intent", None).is_empty());
    assert_eq!(of(&records, "denied", Some("echo")).len(), 1);
    assert!(of(&records, "approved", None).is_empty());
}

/// C15
#[test]
fn a_user_has_only_so_many_plans_waiting() {
    let daemon = Place::new().tables("[confirmation]\nmax_pending = 3").start();
    let held: Vec<String> = (0..3).map(|n| daemon.hold(&echo(&n.to_string())).0).collect();
    let more = daemon.ask(&echo("one more"));
    assert_eq!(code(&more), "busy", "{more:#}");
    assert_eq!(daemon.ask_approver("host.pending", json!({}))["pending"].as_array().unwrap().len(), 3);
    daemon.ask_approver("host.deny", json!({"pending_id": held[0]}));
    daemon.hold(&echo("one more"));
    daemon.stop();
}

#[test]
fn a_plan_that_was_not_sent_yet_is_approved_for_one_user() {
    let daemon = Daemon::start();
    let uid = rustix::process::geteuid().as_raw();
    let frame = echo("later");
    let hold = |uid: u32| daemon.ask_approver("host.hold", json!({"plan": frame, "uid": uid}));
    let held = hold(uid);
    assert_eq!(held["uid"], uid, "{held:#}");
    let token = daemon.approve(held["pending_id"].as_str().unwrap());
    assert_eq!(code(&daemon.ask(&confirmed(&frame, &token))), "");
    let for_another = daemon.approve(hold(uid + 1)["pending_id"].as_str().unwrap());
    assert_eq!(code(&daemon.ask(&confirmed(&frame, &for_another))), "confirmation_invalid");
    let allowed = json!({"plan": plan("x", &[run(&["/bin/echo"])]), "uid": uid});
    assert_eq!(code(&daemon.ask_approver("host.hold", allowed)), "validation_failed");
    let broken = daemon.ask_approver("host.hold", json!({"plan": {"request_id": "x"}, "uid": uid}));
    assert_eq!(code(&broken), "parse_failed");
    assert!(broken["error"]["path"].as_str().unwrap().starts_with("$.actions[0].params.plan"), "{broken:#}");
    daemon.stop();
}

/// C02, E22: the human confirmed that file, not that name.
#[test]
fn a_target_that_was_exchanged_after_the_approval_is_not_touched() {
    let daemon = Daemon::start();
    let (file, other) = (daemon.path("w/file"), daemon.path("w/other"));
    fs::write(&file, "judged").unwrap();
    let action = asking(act("fs.write", json!({"path": file, "content": "new", "mode": "replace"})));
    let frame = plan("swap", &[action]);
    let token = daemon.token_for(&frame);
    fs::write(&other, "precious").unwrap();
    fs::rename(&other, &file).unwrap();
    let answer = daemon.ask(&confirmed(&frame, &token));
    assert_eq!(code(&answer), "confirmation_stale", "{answer:#}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(code(&daemon.ask(&confirmed(&frame, &token))), "confirmation_invalid", "it is burnt");
    let records = daemon.stop().records();
    assert_eq!(of(&records, "token_burnt", Some("swap")).len(), 1);
}

#[test]
fn a_program_that_was_exchanged_after_the_approval_does_not_run() {
    let daemon = Daemon::start();
    let program = daemon.path("w/program");
    fs::copy("/bin/echo", &program).unwrap();
    let frame = plan("swap", &[run(&[program.to_str().unwrap(), "CANARY"])]);
    let token = daemon.token_for(&frame);
    fs::remove_file(&program).unwrap();
    fs::copy("/bin/touch", &program).unwrap();
    let answer = daemon.ask(&confirmed(&frame, &token));
    assert_eq!(code(&answer), "confirmation_stale", "{answer:#}");
    let unchanged = daemon.token_for(&frame);
    assert!(unchanged.len() > 20);
    daemon.stop();
}

#[test]
fn a_reloaded_policy_drops_what_was_held_and_approved_under_the_old_one() {
    let daemon = Daemon::start();
    let (waiting, answer) = daemon.hold(&echo("waits"));
    let approved = daemon.token_for(&echo("approved"));
    let policy = daemon.path("policy.cedar");
    let old = fs::read_to_string(&policy).unwrap();

    fs::write(&policy, "permit (principal, action == Action::\"exec.explode\", resource);").unwrap();
    let refused = daemon.ask_approver("host.reload", json!({}));
    assert_eq!(code(&refused), "validation_failed", "{refused:#}");
    assert_eq!(daemon.ask_approver("host.pending", json!({}))["pending"].as_array().unwrap().len(), 1);
    assert_eq!(code(&daemon.ask(&plan("still", &[run(&["/bin/echo"])]))), "", "the old policy stays");

    fs::write(&policy, old.replace("Program::\"/bin/echo\"", "Program::\"/bin/false\"")).unwrap();
    let mut waiter = daemon.connect();
    waiter.send(&wait(&waiting, &answer["meta"]["wait_secret"], 60_000));
    let reloaded = daemon.ask_approver("host.reload", json!({}));
    assert_eq!(reloaded["policy_sha256"].as_str().map(str::len), Some(64), "{reloaded:#}");
    assert_eq!(decision(&waiter.answer()), "expired");
    assert_eq!(code(&daemon.ask(&confirmed(&echo("approved"), &approved))), "confirmation_invalid");
    assert_eq!(daemon.ask_approver("host.pending", json!({}))["pending"], json!([]));
    assert_eq!(code(&daemon.ask(&plan("now", &[run(&["/bin/echo"])]))), "confirmation_required");
    drop(waiter);
    let records = daemon.stop().records();
    let loaded = of(&records, "policy_loaded", None);
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0]["data"]["policy_sha256"], reloaded["policy_sha256"]);
    let decided = of(&records, "held", Some("now"))[0];
    assert_eq!(decided["decision"]["policy_sha256"], reloaded["policy_sha256"]);
}

/// An action that only its own words call dangerous is held as well, and with it the plan.
#[test]
fn a_stated_danger_asks_although_the_policy_allows() {
    let daemon = Daemon::start();
    let file = daemon.path("w/file");
    let frame = plan("danger", &[asking(write(&file, "x"))]);
    let token = daemon.token_for(&frame);
    assert!(!file.exists());
    assert_eq!(code(&daemon.ask(&confirmed(&frame, &token))), "");
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    daemon.stop();
}

#[test]
fn an_approver_who_waits_hears_of_a_held_plan_of_its_decision_and_of_the_end_of_the_host() {
    let daemon = Daemon::start();
    let listed = daemon.ask_approver("host.pending", json!({}));
    assert_eq!(listed["pending"], json!([]));
    let mut approver = daemon.approver();
    let mut revision = listed["revision"].clone();
    let mut wait = |approver: &mut crate::client::Client, meanwhile: &mut dyn FnMut()| {
        let params = json!({"after": revision, "wait_ms": 120_000});
        approver.send(&plan("watch", &[act("host.pending", params)]));
        meanwhile();
        let answer = approver.answer();
        let output = answer["results"][0]["output"].clone();
        assert_ne!(output["revision"], revision, "{answer:#}");
        revision = output["revision"].clone();
        output["pending"].as_array().unwrap().len()
    };
    let mut held = String::new();
    assert_eq!(wait(&mut approver, &mut || held = daemon.hold(&echo("watched")).0), 1);
    let mut deny = || drop(daemon.ask_approver("host.deny", json!({"pending_id": held})));
    assert_eq!(wait(&mut approver, &mut deny), 0);
    let known = daemon.ask_approver("host.pending", json!({}))["revision"].clone();
    let too_long = json!({"after": known, "wait_ms": 120_001});
    assert_eq!(code(&daemon.ask_approver("host.pending", too_long)), "validation_failed");
    let both = json!({"after": known, "pending_id": held});
    assert_eq!(code(&daemon.ask_approver("host.pending", both)), "validation_failed");
    approver.send(&plan("watch", &[act("host.pending", json!({"after": known, "wait_ms": 120_000}))]));
    daemon.signal(rustix::process::Signal::TERM);
    if let Some(line) = approver.line() {
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["results"][0]["output"]["revision"], known, "{answer:#}");
        assert!(approver.is_closed());
    }
    daemon.stopped();
}
