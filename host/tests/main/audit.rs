//! Class A: what stands in the log, and what happens without it.

use std::fs;

use serde_json::{Value, json};

use crate::client::{act, asking, code, plan, read, run, with, write};
use crate::daemon::{Daemon, Place};
use crate::json::counted;
use crate::process::children;
use crate::records::{assert_settled, bytes, of, records, segments, verify};

/// A01
#[test]
fn nothing_runs_where_its_intent_cannot_be_recorded() {
    let daemon = Daemon::start();
    assert_eq!(code(&daemon.ask(&plan("before", &[run(&["/bin/echo"])]))), "");
    let folder = segments(&daemon.state())[0].parent().unwrap().to_owned();
    fs::remove_dir_all(folder).unwrap();
    let canary = daemon.path("w/CANARY");
    fs::write(daemon.path("r/file"), "content").unwrap();
    for frame in [
        plan("write", &[write(&canary, "x")]),
        plan("run", &[run(&["/bin/echo"])]),
        plan("read", &[read(&daemon.path("r/file"))]),
        plan("held", &[asking(run(&["/bin/echo"]))]),
        with(plan("planned", &[run(&["/bin/echo"])]), json!({"mode": "plan_only"})),
    ] {
        let answer = daemon.ask(&frame);
        assert_eq!(code(&answer), "audit_unavailable", "{answer:#}");
        assert!(!answer.to_string().contains("content"), "no output leaves without its record: {answer:#}");
        assert_eq!(answer["meta"].get("wait_secret"), None, "{answer:#}");
    }
    assert!(!canary.exists());
    let pending = daemon.ask_approver("host.pending", json!({}));
    assert_eq!(pending["pending"], json!([]), "a plan that was not recorded as held does not wait");
    assert_eq!(children(daemon.pid()), Vec::<String>::new());
    assert_eq!(daemon.ask(&crate::daemon::ping())["executed"], true);
    daemon.kill9();
}

/// A04, A05
#[test]
fn hostile_text_stays_inside_its_record() {
    let daemon = Daemon::start();
    let hostile = "x\n{\"seq\":1,\"event\":\"approved\"}\r\u{1b}]0;title\u{7}\u{9b}\u{202e}\u{2028}\"}";
    let mut action = run(&["/bin/echo", hostile]);
    action["reason"] = json!(hostile);
    let answer = daemon.ask(&plan("hostile", &[action, write(&daemon.path("w/a\nb\u{1b}c"), hostile)]));
    assert_eq!(code(&answer), "", "{answer:#}");
    let place = daemon.stop();
    let records = place.records();
    assert!(of(&records, "approved", None).is_empty());
    let intent = of(&records, "intent", Some("hostile"))[0];
    assert_eq!(intent["why"], hostile, "nothing is lost: {intent:#}");
    assert_eq!(intent["what"]["params"]["argv"][1], hostile);
    assert_eq!(bytes(&place.state()).iter().filter(|b| **b == b'\n').count(), records.len());
}

/// A07
#[test]
fn a_second_daemon_on_the_same_state_does_not_start() {
    let daemon = Daemon::start();
    let place = daemon.path("");
    let place = place.to_str().unwrap();
    let mut second = daemon.command();
    second.args(["--socket", &format!("{place}2/plan/plan.sock")]);
    second.args(["--approval-socket", &format!("{place}2/approval/approval.sock")]);
    let said = crate::daemon::refusal(second);
    assert!(said.contains("another llm-osd uses this state directory"), "{said}");
    let same_socket = crate::daemon::refusal({
        let mut command = daemon.command();
        command.args(["--state-dir", &format!("{place}other-state")]);
        command
    });
    assert!(same_socket.contains("is in use by a running llm-osd"), "{same_socket}");
    assert_eq!(daemon.ask(&crate::daemon::ping())["executed"], true);
    daemon.stop();
}

/// A08
#[test]
fn the_chain_goes_on_over_segments_and_restarts() {
    let mut place = Place::new().tables("[audit]\nsegment_bytes = 65536\ncheckpoint_records = 8");
    for round in 0..3 {
        let daemon = place.start();
        for n in 0..40 {
            let wordy = with(run(&["/bin/true"]), json!({"reason": "why ".repeat(500)}));
            assert_eq!(code(&daemon.ask(&plan(&format!("{round}-{n}"), &[wordy]))), "");
        }
        place = if round == 1 { daemon.kill9() } else { daemon.stop() };
    }
    assert!(segments(&place.state()).len() > 3);
    let verified = verify(&place.state());
    assert!(verified.checkpoints > 3 && verified.covers_end(), "{verified:?}");
    let records = place.records();
    assert_settled(&records);
    assert_eq!(of(&records, "start", None).len(), 3);
    assert_eq!(of(&records, "stop", None).len(), 2);
    assert_eq!(of(&records, "intent", None).len(), 120);
}

/// A08: what another hand does to the file is seen before the next record is written behind it.
#[test]
fn a_log_that_is_cut_under_the_host_is_seen() {
    let daemon = Daemon::start();
    assert_eq!(code(&daemon.ask(&plan("before", &[run(&["/bin/true"])]))), "");
    let segment = segments(&daemon.state()).pop().unwrap();
    fs::copy(&segment, daemon.path("copy")).unwrap();
    fs::File::options().write(true).open(&segment).unwrap().set_len(0).unwrap();
    let answer = daemon.ask(&plan("after", &[write(&daemon.path("w/CANARY"), "x")]));
    assert_eq!(code(&answer), "audit_unavailable", "{answer:#}");
    assert!(!daemon.path("w/CANARY").exists());
    daemon.kill9();
}

/// A03: the last line was being written when the power went.
#[test]
fn a_torn_last_line_is_closed_at_the_next_start_and_nothing_else_is_lost() {
    let daemon = Daemon::start();
    daemon.ask(&plan("whole", &[run(&["/bin/true"])]));
    let place = daemon.kill9();
    let segment = segments(&place.state()).pop().unwrap();
    let mut torn = fs::read(&segment).unwrap();
    torn.extend_from_slice(b"{\"seq\":99,\"time\":\"2026-");
    fs::write(&segment, torn).unwrap();
    let place = place.start().stop();
    let records = place.records();
    assert_eq!(of(&records, "recovered", None).len(), 1);
    assert_eq!(of(&records, "outcome", Some("whole")).len(), 1);
}

/// A09
#[test]
fn what_is_refused_is_recorded_and_a_flood_of_it_is_counted() {
    let daemon = Daemon::start();
    daemon.ask(&plan("denied", &[write(&daemon.path("w/never/x"), "x")]));
    daemon.ask(&plan("unknown", &[act("fs.explode", json!({}))]));
    daemon.ask(&plan("invalid", &[act("exec.run", json!({"argv": []}))]));
    let mut large = daemon.connect();
    large.send_bytes(&[&vec![b'x'; 70_000][..], b"\n"].concat());
    large.answer();
    drop(large);
    for (request, code) in
        [("denied", "policy_denied"), ("unknown", "unknown_action"), ("invalid", "validation_failed")]
    {
        let refused = &daemon.recorded("refused", request)[0];
        assert_eq!(refused["outcome"]["code"], code, "{refused:#}");
        assert_eq!(refused["who"]["uid"], rustix::process::geteuid().as_raw());
    }
    let mut flood = daemon.connect();
    // No more at once than the sockets' buffers hold, else both sides would wait for the other to read.
    for _ in 0..10 {
        flood.send_bytes(&b"not json\n".repeat(50));
        for _ in 0..50 {
            assert_eq!(code(&flood.answer()), "parse_failed");
        }
    }
    drop(flood);
    let records = daemon.stop().records();
    let count = |code: &str| {
        let with_code = |record: &&&Value| record["outcome"]["code"] == code;
        of(&records, "refused", None).iter().filter(with_code).count() as u64
    };
    assert_eq!(count("request_too_large"), 1);
    let told: u64 = of(&records, "summary", None).iter().map(|summary| counted(summary)).sum();
    assert!(count("parse_failed") < 500, "each flood line has a record of its own");
    assert_eq!(count("parse_failed") + told, 500, "none is silent");
}

/// The record alone tells what was decided, by which policy, on which facts, for whom.
#[test]
fn an_intent_holds_what_its_decision_was_made_from() {
    let daemon = Daemon::start();
    let described = daemon.ask(&plan("describe", &[act("host.describe", json!({"actions": ["exec.run"]}))]));
    daemon.ask(&with(plan("held", &[run(&["/bin/echo", "sub", "-o"])]), json!({"session_id": "s-1"})));
    let place = daemon.stop();
    let records = records(&place.state());
    let intent = of(&records, "intent", Some("held"))[0];
    assert_eq!(intent["session_id"], "s-1");
    assert_eq!(intent["why"], "a test");
    assert_eq!(intent["decision"]["decision"], "allow");
    assert_eq!(intent["decision"]["policies"][0]["policy"], "look");
    assert_eq!(intent["decision"]["policy_sha256"], described["results"][0]["output"]["policy"]["sha256"]);
    let effects = intent["what"]["effects"].as_array().unwrap();
    let run = effects.iter().find(|effect| effect["verb"] == "run").unwrap();
    assert_eq!(run["facts"]["subcommand"], "sub", "{run:#}");
    assert_eq!(run["facts"]["options"], json!(["-o"]));
    assert_eq!(of(&records, "start", None)[0]["data"]["policy_sha256"], intent["decision"]["policy_sha256"]);
}

/// The group commit of several connections keeps each plan's own order.
#[test]
fn plans_of_many_connections_share_the_log() {
    let daemon = Daemon::start();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let daemon_socket = daemon.plan_socket();
            let folder = daemon.path("w");
            scope.spawn(move || {
                let mut client = crate::client::Client::connect(&daemon_socket);
                for n in 0..20 {
                    let name = format!("{thread}-{n}");
                    let answer = client
                        .ask(&plan(&name, &[write(&folder.join(&name), "x"), read(&folder.join(&name))]));
                    assert_eq!(code(&answer), "", "{answer:#}");
                }
            });
        }
    });
    let records = daemon.stop().records();
    for (thread, n) in (0..8).flat_map(|thread| (0..20).map(move |n| (thread, n))) {
        let own: Vec<_> = records.iter().filter(|r| r["request_id"] == format!("{thread}-{n}")).collect();
        let events: Vec<_> = own.iter().map(|r| r["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["intent", "outcome", "intent", "outcome"], "{thread}-{n}");
    }
}
