//! What a plan promises: decided as a whole, judged again on its way, the same answer for the same plan.

use std::fs;

use serde_json::{Value, json};

use crate::client::{act, asking, code, confirmed, plan, read, run, stable, with, write};
use crate::daemon::Daemon;
use crate::records::of;

fn statuses(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap()).collect()
}

#[test]
fn what_is_only_planned_touches_nothing() {
    let daemon = Daemon::start();
    let actions = [
        write(&daemon.path("w/CANARY"), "x"),
        run(&["/bin/touch", daemon.path("w/CANARY").to_str().unwrap()]),
        write(&daemon.path("w/never/CANARY"), "x"),
    ];
    let answer = daemon.ask(&with(plan("planned", &actions), json!({"mode": "plan_only"})));
    assert_eq!(answer["executed"], false);
    assert_eq!(answer["error"], Value::Null);
    assert_eq!(statuses(&answer), ["planned", "planned", "planned"]);
    let decisions: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["decision"].clone()).collect();
    assert_eq!(decisions, ["allow", "confirm", "deny"], "{answer:#}");
    assert_eq!(answer["results"][0]["policies"][0]["policy"], "work");
    assert_eq!(answer["results"][0]["effects"][0]["verb"], "change");
    assert_eq!(daemon.ask_approver("host.pending", json!({}))["pending"], json!([]), "nothing is held");
    let records = daemon.stop().records();
    assert_eq!(of(&records, "planned", Some("planned")).len(), 3);
    assert!(of(&records, "intent", None).is_empty());
}

#[test]
fn a_later_action_sees_what_an_earlier_one_did() {
    let daemon = Daemon::start();
    let file = daemon.path("w/file");
    let appended = act("fs.write", json!({"path": file, "content": " and read", "mode": "append"}));
    let first = daemon.ask(&plan("write", &[write(&file, "written"), appended.clone(), read(&file)]));
    if code(&first) == "not_found" {
        panic!("what a plan creates itself must be readable in it: {first:#}");
    }
    assert_eq!(statuses(&first), ["ok", "ok", "ok"], "{first:#}");
    assert_eq!(first["results"][2]["output"]["content"]["text"], "written and read");
    daemon.stop();
}

#[test]
fn the_first_failure_stops_the_plan() {
    let daemon = Daemon::start();
    let (first, canary) = (daemon.path("w/first"), daemon.path("w/CANARY"));
    let failing = act("exec.run", json!({"argv": ["/bin/sleep", "not a number"], "expect_exit": [0]}));
    let answer = daemon.ask(&plan("stops", &[write(&first, "x"), failing, write(&canary, "x")]));
    assert_eq!(statuses(&answer), ["ok", "failed", "not_run"], "{answer:#}");
    assert_eq!(answer["results"][1]["error"]["code"], "exec_failed");
    assert_eq!(answer["results"][1]["output"]["exit_code"], 1, "what was delivered before is there");
    assert_eq!(answer["executed"], true);
    assert!(first.exists());
    let records = daemon.stop().records();
    assert_eq!(of(&records, "intent", Some("stops")).len(), 2);
}

#[test]
fn a_program_does_not_run_in_the_plan_that_changed_it() {
    let daemon = Daemon::start();
    let program = daemon.path("w/program");
    fs::copy("/bin/echo", &program).unwrap();
    let script = format!("#!/bin/sh\ntouch {}\n", daemon.path("w/CANARY").display());
    let replaced = act("fs.write", json!({"path": program, "content": script, "mode": "replace"}));
    let frame = plan("own", &[replaced, run(&[program.to_str().unwrap()])]);
    let token = daemon.token_for(&frame);
    let answer = daemon.ask(&confirmed(&frame, &token));
    assert_eq!(code(&answer), "policy_denied", "{answer:#}");
    assert_eq!(statuses(&answer), ["ok", "not_run"]);
    assert_eq!(fs::read_to_string(&program).unwrap(), script);
    daemon.stop();
}

/// A plan that was allowed as it stood does not get more than that by what it does on the way.
#[test]
fn a_plan_stops_where_its_own_doing_would_need_a_human() {
    let daemon = Daemon::start();
    let (file, link) = (daemon.path("w/file"), daemon.path("w/link"));
    fs::write(&file, "x").unwrap();
    // A second name makes every effect on the file ask.
    let linked = run(&["/bin/ln", file.to_str().unwrap(), link.to_str().unwrap()]);
    let replace = act("fs.write", json!({"path": file, "content": "new", "mode": "replace"}));
    let alone =
        daemon.ask(&with(plan("alone", std::slice::from_ref(&replace)), json!({"mode": "plan_only"})));
    assert_eq!(alone["results"][0]["decision"], "allow");
    let frame = plan("grows", &[linked, replace]);
    let token = daemon.token_for(&frame);
    let answer = daemon.ask(&confirmed(&frame, &token));
    assert_eq!(code(&answer), "confirmation_stale", "{answer:#}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
    daemon.stop();
}

#[test]
fn the_same_plan_gets_the_same_answer() {
    let daemon = Daemon::start();
    fs::write(daemon.path("r/file"), "content").unwrap();
    let plans = [
        plan(
            "same",
            &[
                run(&["/bin/echo", "hi"]),
                read(&daemon.path("r/file")),
                act("fs.list", json!({"path": daemon.path("r")})),
            ],
        ),
        with(
            plan("same", &[run(&["/bin/ls"]), write(&daemon.path("w/x"), "x")]),
            json!({"mode": "plan_only"}),
        ),
        plan("same", &[write(&daemon.path("w/never/x"), "x")]),
        plan("same", &[read(&daemon.path("w/../r/file"))]),
        plan("same", &[act("fs.raed", json!({}))]),
        plan("same", &[act("host.describe", json!({}))]),
        plan("same", &[act("fs.stat", json!({"path": daemon.path("r/file")}))]),
    ];
    for frame in plans {
        let (first, second) = (daemon.ask(&frame), daemon.ask(&frame));
        assert_eq!(stable(first.clone()).to_string(), stable(second).to_string());
        assert_eq!(stable(daemon.connect().ask(&frame)), stable(first), "on a connection of its own as well");
    }
    let held = plan("same", &[asking(run(&["/bin/echo"]))]);
    let unnamed = |mut answer: Value| {
        answer["error"]["details"]["pending_id"].take();
        stable(answer)
    };
    assert_eq!(unnamed(daemon.hold(&held).1), unnamed(daemon.hold(&held).1));
    daemon.stop();
}

#[test]
fn the_receipt_is_the_hash_of_the_last_record_of_the_plan() {
    let daemon = Daemon::start();
    let answer = daemon.ask(&plan("receipt", &[run(&["/bin/true"]), run(&["/bin/true"])]));
    let place = daemon.stop();
    let bytes = crate::records::bytes(&place.state());
    let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
    let [first, last] =
        [0, 1].map(|n| usize::try_from(answer["meta"]["audit"][n].as_u64().unwrap()).unwrap());
    let link = llm_os_core::audit::Link::to(lines[last - 1]);
    assert_eq!(answer["meta"]["receipt"], link.as_str());
    let records = &place.records()[first - 1..last];
    let events: Vec<_> = records.iter().map(|r| r["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["intent", "outcome", "intent", "outcome"], "{answer:#}");
    assert!(records.iter().all(|record| record["run"] == answer["meta"]["run"]));
}

/// A secret param is in the record as length and digest; the policy and the program saw it whole.
#[test]
fn contents_and_inputs_are_not_in_the_record() {
    let daemon = Daemon::start();
    let file = daemon.path("w/file");
    let secret = "correct horse battery staple";
    let input = act("exec.run", json!({"argv": ["/bin/echo"], "stdin": secret, "env": {"LANG": secret}}));
    let answer = daemon.ask(&plan("secret", &[write(&file, secret), read(&file), input]));
    assert_eq!(fs::read_to_string(&file).unwrap(), secret, "{answer:#}");
    let place = daemon.stop();
    let log = String::from_utf8(crate::records::bytes(&place.state())).unwrap();
    assert!(!log.contains("horse"), "{log}");
    assert!(log.contains("hmac"), "{log}");
}
