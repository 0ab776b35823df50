//! From the start of a plan to its end: cancelled, left alone, sent twice, or overtaken by the end of the host.

use std::fs;
use std::io::Read;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, Signal};
use serde_json::{Value, json};

use crate::client::{act, code, plan, run, with, write};
use crate::daemon::{Daemon, Place};
use crate::process::{children, wait_for};
use crate::records::of;

fn sleep(id: &str, seconds: &str) -> Value {
    plan(id, &[run(&["/bin/sleep", seconds])])
}

fn in_session(frame: Value, session: &str) -> Value {
    with(frame, json!({"session_id": session}))
}

fn cancel(request_id: &str) -> Value {
    plan("cancel", &[act("host.cancel", json!({"request_id": request_id}))])
}

fn cancelled(answer: &Value) -> u64 {
    answer["results"][0]["output"]["cancelled"].as_u64().unwrap_or_else(|| panic!("{answer:#}"))
}

#[test]
fn a_running_plan_is_cancelled_by_its_own_session_and_by_no_other() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.send(&in_session(
        plan("long", &[run(&["/bin/sleep", "60"]), write(&daemon.path("w/CANARY"), "x")]),
        "mine",
    ));
    daemon.recorded("intent", "long");
    assert_eq!(cancelled(&daemon.ask(&cancel("long"))), 0);
    assert_eq!(cancelled(&daemon.ask(&in_session(cancel("long"), "other"))), 0);
    assert_eq!(cancelled(&daemon.ask(&in_session(cancel("longer"), "mine"))), 0);
    wait_for("the program", || (children(daemon.pid()).len() == 1).then_some(()));
    assert_eq!(cancelled(&daemon.ask(&in_session(cancel("long"), "mine"))), 1);
    let answer = client.answer();
    assert_eq!(code(&answer), "cancelled", "{answer:#}");
    assert_eq!(answer["results"][0]["status"], "failed");
    assert_eq!(answer["results"][1]["status"], "not_run");
    drop(client);
    let records = daemon.stop().records();
    assert_eq!(of(&records, "cancelled", Some("long")).len(), 3, "every try is recorded");
    let outcome = of(&records, "outcome", Some("long"))[0];
    assert_eq!(outcome["outcome"]["code"], "cancelled", "{outcome:#}");
}

#[test]
fn a_client_that_is_gone_cancels_what_runs_for_it() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.send(&sleep("gone", "60"));
    daemon.recorded("intent", "gone");
    drop(client);
    let outcome = &daemon.recorded("outcome", "gone")[0];
    assert_eq!(outcome["outcome"]["code"], "cancelled", "{outcome:#}");
    daemon.stop();
}

#[test]
fn a_client_that_only_finished_speaking_gets_its_answers() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.send(&sleep("half", "0.2"));
    client.send(&plan("next", &[run(&["/bin/echo", "hi"])]));
    client.finish();
    let answer = client.answer();
    assert_eq!((code(&answer), &answer["results"][0]["status"]), ("", &json!("ok")), "{answer:#}");
    assert_eq!(client.answer()["results"][0]["output"]["stdout"]["text"], "hi\n");
    assert!(client.is_closed());
    daemon.stop();
}

#[test]
fn a_started_program_outlives_its_connection_and_belongs_to_its_session() {
    let daemon = Place::new().set_policy("permit (principal, action, resource);").start();
    let start = act("exec.start", json!({"argv": ["/bin/cat"]}));
    let mut client = daemon.connect();
    let started = client.ask(&in_session(plan("start", &[start]), "mine"));
    assert_eq!(code(&started), "", "{started:#}");
    let handle = &started["results"][0]["output"]["handle"];
    drop(client);
    let ask = |session: &str, verb: &str, more: Value| {
        let mut params = json!({"handle": handle});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        daemon.ask(&in_session(plan("next", &[act(&format!("exec.{verb}"), params)]), session))
    };
    assert_eq!(code(&ask("other", "write", json!({"data": "x"}))), "exec_no_handle");
    assert_eq!(code(&ask("mine", "write", json!({"data": "still here\n"}))), "");
    let read = ask("mine", "read", json!({"wait_ms": 20_000}));
    assert_eq!(read["results"][0]["output"]["output"]["text"], "still here\n", "{read:#}");
    assert_eq!(code(&ask("other", "stop", json!({}))), "exec_no_handle");
    assert_eq!(children(daemon.pid()).len(), 1);
    assert_eq!(code(&ask("mine", "stop", json!({}))), "");
    daemon.stop();
}

#[test]
fn a_started_program_ends_with_the_host() {
    let daemon = Place::new().set_policy("permit (principal, action, resource);").start();
    // Its reader sees the end of the file once the program is dead.
    let fifo = daemon.path("w/fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let started = daemon.ask(&plan("start", &[act("exec.start", json!({"argv": ["/usr/bin/tee", fifo]}))]));
    assert_eq!(code(&started), "", "{started:#}");
    let mut reader = fs::File::open(&fifo).unwrap();
    daemon.signal(Signal::TERM);
    let place = daemon.stopped();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert_eq!(fs::read_dir(place.state().join("exec")).unwrap().count(), 0);
}

/// S03
#[test]
fn what_a_client_sent_before_it_left_is_recorded_to_its_end() {
    let daemon = Daemon::start();
    for n in 0..20 {
        let mut client = daemon.connect();
        client.send(&plan(&format!("left-{n}"), &[write(&daemon.path(&format!("w/{n}")), "x")]));
    }
    for n in 0..20 {
        let outcome = &daemon.recorded("outcome", &format!("left-{n}"))[0];
        assert_eq!(outcome["outcome"]["status"], "ok", "{outcome:#}");
        assert!(daemon.path(&format!("w/{n}")).exists());
    }
    daemon.stop();
}

#[test]
fn a_request_marked_once_runs_once_for_its_user_and_session() {
    let daemon = Daemon::start();
    let append = |name: &str, session: &str| {
        let path = daemon.path(&format!("w/{name}"));
        let written = act("fs.write", json!({"path": path, "content": "x", "mode": "append"}));
        in_session(with(plan(name, &[written]), json!({"once": true})), session)
    };
    for name in ["a", "b", "failed"] {
        fs::write(daemon.path(&format!("w/{name}")), "").unwrap();
    }
    assert_eq!(code(&daemon.ask(&append("a", "s-1"))), "");
    assert_eq!(code(&daemon.ask(&append("a", "s-2"))), "", "another session's");
    assert_eq!(code(&daemon.ask(&append("b", "s-1"))), "", "another request");
    let failing = act("exec.run", json!({"argv": ["/bin/sleep", "x"], "expect_exit": [0]}));
    let failing = with(plan("failed", &[failing]), json!({"once": true}));
    assert_eq!(code(&daemon.ask(&failing)), "exec_failed");
    let frames = (append("a", "s-1"), append("a", "s-2"));

    let check = |daemon: &Daemon| {
        for frame in [&frames.0, &frames.1] {
            let again = daemon.ask(frame);
            assert_eq!(code(&again), "duplicate_request", "{again:#}");
            assert_eq!(again["executed"], false);
            assert!(
                again["error"]["details"].to_string().contains("\"ok\""),
                "the earlier outcome: {again:#}"
            );
        }
        let again = daemon.ask(&failing);
        assert_eq!(code(&again), "duplicate_request", "{again:#}");
        assert!(again["error"]["details"].to_string().contains("\"exec_failed\""), "{again:#}");
    };
    check(&daemon);
    let daemon = daemon.stop().start();
    check(&daemon);
    let daemon = daemon.kill9().start();
    check(&daemon);
    assert_eq!(fs::read_to_string(daemon.path("w/a")).unwrap(), "xx");
    let unmarked = with(frames.0.clone(), json!({"once": false}));
    assert_eq!(code(&daemon.ask(&unmarked)), "", "what is not marked may run again");
    daemon.stop();
}

/// A request that was interrupted may have had its effect: it does not run again by itself.
#[test]
fn a_request_marked_once_that_was_interrupted_does_not_run_again() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.send(&with(sleep("cut", "60"), json!({"once": true})));
    daemon.recorded("intent", "cut");
    let daemon = daemon.kill9().start();
    let again = daemon.ask(&with(sleep("cut", "60"), json!({"once": true})));
    assert_eq!(code(&again), "duplicate_request", "{again:#}");
    daemon.stop();
}

#[test]
fn a_host_told_to_stop_lets_what_runs_end_and_answers_it() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    let mut idle = daemon.connect();
    client.send(&plan("ends", &[run(&["/bin/sleep", "1"]), write(&daemon.path("w/after"), "x")]));
    daemon.recorded("intent", "ends");
    daemon.signal(Signal::TERM);
    let answer = client.answer();
    assert_eq!(code(&answer), "", "{answer:#}");
    assert!(client.is_closed());
    assert!(idle.is_closed());
    let place = daemon.stopped();
    assert!(place.path("w/after").exists());
    assert_eq!(of(&place.records(), "outcome", Some("ends")).len(), 2);
}

#[test]
fn a_host_told_to_stop_starts_nothing_that_waits() {
    let daemon = Place::new().tables("[limits]\nrunning = 1").start();
    let mut runs = daemon.connect();
    runs.send(&sleep("runs", "1"));
    daemon.recorded("intent", "runs");
    let mut waits = daemon.connect();
    waits.send(&plan("waits", &[write(&daemon.path("w/CANARY"), "x")]));
    daemon.signal(Signal::TERM);
    assert_eq!(code(&runs.answer()), "");
    // Refused, or, where its frame was not read yet, not heard.
    let answer = waits.line().map(|line| serde_json::from_str::<Value>(&line).unwrap());
    assert!(answer.as_ref().is_none_or(|answer| code(answer) == "halted"), "{answer:#?}");
    daemon.stopped();
}

#[test]
fn a_host_told_to_stop_waits_only_so_long() {
    let daemon = Place::new().tables("[limits]\nstop_s = 1").start();
    let mut client = daemon.connect();
    client.send(&sleep("long", "60"));
    daemon.recorded("intent", "long");
    let start = Instant::now();
    daemon.signal(Signal::INT);
    assert_eq!(code(&client.answer()), "cancelled");
    daemon.stopped();
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[test]
fn a_host_told_twice_cancels_what_runs() {
    let daemon = Place::new().tables("[limits]\nstop_s = 600").start();
    let mut client = daemon.connect();
    client.send(&sleep("long", "60"));
    daemon.recorded("intent", "long");
    daemon.signal(Signal::TERM);
    wait_for("the first signal to be seen", || daemon.said().contains("stopping").then_some(()));
    daemon.signal(Signal::TERM);
    assert_eq!(code(&client.answer()), "cancelled");
    daemon.stopped();
}

#[test]
fn a_plan_ends_at_its_deadline() {
    let daemon = Place::new().tables("[limits]\nplan_s = 1").start();
    let answer =
        daemon.ask(&plan("late", &[run(&["/bin/sleep", "60"]), write(&daemon.path("w/CANARY"), "x")]));
    assert_eq!(code(&answer), "deadline_exceeded", "{answer:#}");
    assert_eq!(answer["results"][1]["status"], "not_run");
    daemon.stop();
}

/// P12. Guards: the places of the queue; whatever becomes of a plan, what it held is closed and reaped.
#[test]
fn a_thousand_plans_at_once_run_or_are_busy_and_leave_nothing() {
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let daemon = Place::new().tables("[limits]\nconnections = 1100\nrunning = 4\nqueued = 16").start();
    let mut clients: Vec<_> = (0..1_000).map(|_| daemon.connect()).collect();
    let one = plan("p12", &[run(&["/bin/echo"])]);
    clients.iter_mut().for_each(|client| client.send(&one));
    let answers: Vec<_> = clients.iter_mut().map(|client| code(&client.answer()).to_owned()).collect();
    let count = |expected: &str| answers.iter().filter(|answer| *answer == expected).count();
    assert_eq!(count("") + count("busy"), 1_000, "{answers:?}");
    assert!(count("") >= 20 && count("busy") > 0, "{} ran", count(""));
    drop(clients);
    daemon.wait_until_quiet();
    daemon.stop();
}

/// P12. Guard: the places of the queue.
#[test]
fn more_plans_than_places_wait_and_more_than_may_wait_are_busy() {
    let daemon = Place::new().tables("[limits]\nrunning = 2\nqueued = 3").start();
    let mut clients: Vec<_> = (0..5)
        .map(|n| {
            let mut client = daemon.connect();
            client.send(&sleep(&format!("q{n}"), "60"));
            client
        })
        .collect();
    wait_for("two to run", || (of(&daemon.records(), "intent", None).len() == 2).then_some(()));
    let busy = wait_for("the queue to be full", || {
        let mut client = daemon.connect();
        client.send(&with(sleep("more", "0"), json!({})));
        let answer = client.answer();
        (code(&answer) == "busy").then_some(answer)
    });
    assert_eq!(busy["executed"], false);
    assert_eq!(daemon.ask(&crate::daemon::ping())["executed"], true, "the host's own verbs need no place");
    // Those that wait run once there is a place, in the order in which they came.
    let mut left: Vec<String> = (0..5).map(|n| format!("q{n}")).collect();
    wait_for("each to run", || {
        left.retain(|id| cancelled(&daemon.ask(&cancel(id))) == 0);
        left.is_empty().then_some(())
    });
    for client in &mut clients {
        assert_eq!(code(&client.answer()), "cancelled");
    }
    drop(clients);
    daemon.stop();
}

/// A03, P10
#[test]
fn a_host_that_was_killed_marks_what_it_interrupted() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.send(&plan("cut", &[write(&daemon.path("w/done"), "x"), run(&["/bin/sleep", "60"])]));
    wait_for("both intents", || (of(&daemon.records(), "intent", Some("cut")).len() == 2).then_some(()));
    let left = wait_for("the program", || children(daemon.pid()).into_iter().next());
    let init = left.split(' ').next().unwrap().to_owned();
    let place = daemon.kill9();
    assert!(client.is_closed());
    wait_for("the program to end with its host", || {
        let stat = fs::read_to_string(format!("/proc/{init}/stat"));
        stat.is_err().then_some(()).or(stat.is_ok_and(|stat| stat.contains(") Z ")).then_some(()))
    });
    let daemon = place.start();
    let records = daemon.stop().records();
    let interrupted = of(&records, "interrupted", Some("cut"));
    assert_eq!(interrupted.len(), 1, "{interrupted:#?}");
    assert_eq!(of(&records, "outcome", Some("cut")).len(), 1);
}

/// A03: at any moment. Files show which actions had their effect; each has its intent, and each intent an end.
#[test]
fn a_host_that_is_killed_at_any_moment_leaves_a_log_that_verifies() {
    let mut place = Place::new();
    let mut sent = 0;
    for round in 0..6_u64 {
        let daemon = place.start();
        let socket = daemon.plan_socket();
        let folder = daemon.path("w");
        let flood = std::thread::spawn(move || {
            let mut client = crate::client::Client::connect(&socket);
            for n in sent.. {
                let frame = plan(&format!("n{n}"), &[write(&folder.join(n.to_string()), "x")]);
                if client.try_send_bytes(format!("{frame}\n").as_bytes()).is_err() || client.line().is_none()
                {
                    return n + 1;
                }
            }
            unreachable!("the host is killed")
        });
        let wanted = usize::try_from(round * 7 + 3).unwrap();
        wait_for("some plans", || (of(&daemon.records(), "outcome", None).len() >= wanted).then_some(()));
        place = daemon.kill9();
        sent = flood.join().unwrap();
    }
    let place = place.start().stop();
    let records = place.records();
    for n in 0..sent {
        let intents = of(&records, "intent", Some(&format!("n{n}"))).len();
        assert!(!place.path(&format!("w/{n}")).exists() || intents == 1, "{n} has no intent");
    }
}
