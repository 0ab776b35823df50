//! The stop for everything: nothing in between, nothing left, nothing forgotten.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use llm_os_desktop_test_support::TestDisplay;
use serde_json::{Value, json};
use x11rb::protocol::xproto::{ConnectionExt as _, KEY_PRESS_EVENT, KEY_RELEASE_EVENT};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::reexports::x11rb_protocol::parse_display::parse_display;
use x11rb::rust_connection::{DefaultStream, RustConnection};

use crate::client::{Client, act, asking, code, confirmed, plan, run, with, write};
use crate::daemon::{Daemon, Place};
use crate::desktop::{EVERYTHING, holding, is_held, on};
use crate::display::describe;
use crate::process::{children, wait_for};
use crate::records::of;

fn verb(name: &str) -> Value {
    plan(name, &[act(name, json!({}))])
}

/// Halts by the plan socket; the output.
#[track_caller]
fn halt(daemon: &Daemon) -> Value {
    let mut answer = daemon.ask(&verb("host.halt"));
    assert_eq!(code(&answer), "", "{answer:#}");
    answer["results"][0]["output"].take()
}

#[track_caller]
fn resume(daemon: &Daemon) {
    let output = daemon.ask_approver("host.resume", json!({}));
    assert_eq!(output, json!({"halted": false, "resumed": true}));
}

fn echo(id: &str) -> Value {
    plan(id, &[run(&["/bin/echo", "hi"])])
}

#[track_caller]
fn refused(daemon: &Daemon, frame: &Value) {
    let answer = daemon.ask(frame);
    assert_eq!(code(&answer), "halted", "{answer:#}");
    assert_eq!(answer["executed"], false);
    assert!(answer["error"]["message"].as_str().unwrap().contains("llmsh resume"), "{answer:#}");
}

#[test]
fn a_halt_kills_what_runs_and_refuses_what_comes_until_it_is_resumed() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.send(&plan("long", &[run(&["/bin/sleep", "60"]), write(&daemon.path("w/CANARY"), "x")]));
    wait_for("the program", || (children(daemon.pid()).len() == 1).then_some(()));
    let output = halt(&daemon);
    assert_eq!(children(daemon.pid()), [] as [String; 0], "nothing is left once it is answered");
    assert_eq!(
        (&output["halted"], &output["cancelled"], &output["running"]),
        (&json!(true), &json!(1), &json!(0))
    );
    let answer = client.answer();
    assert_eq!(code(&answer), "cancelled", "{answer:#}");
    assert_eq!(answer["results"][1]["status"], "not_run");
    refused(&daemon, &echo("after"));
    refused(&daemon, &with(echo("after"), json!({"mode": "plan_only"})));
    refused(&daemon, &plan("after", &[write(&daemon.path("w/CANARY"), "x")]));
    for described in [verb("host.ping"), plan("d", &[act("host.describe", json!({"actions": []}))])] {
        let halted = daemon.ask(&described)["results"][0]["output"]["halted"].clone();
        assert_eq!((&halted["by"], &halted["since"]), (&output["by"], &output["since"]), "{halted:#}");
    }
    assert_eq!(halt(&daemon)["since"], output["since"], "it is halted since the first halt");
    resume(&daemon);
    assert_eq!(daemon.ask_approver("host.resume", json!({}))["resumed"], false);
    assert_eq!(daemon.ask(&verb("host.ping"))["results"][0]["output"].get("halted"), None);
    assert_eq!(code(&daemon.ask(&echo("again"))), "");
    drop(client);
    let records = daemon.stop().records();
    let halts = of(&records, "halted", None);
    assert_eq!(halts.len(), 2);
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(
        (&halts[0]["who"]["uid"], &halts[0]["data"]["cancelled"]),
        (&json!(own), &json!(1)),
        "{halts:#?}"
    );
    assert_eq!((&halts[0]["why"], &halts[1]["data"]["cancelled"]), (&json!("a test"), &json!(0)));
    let resumed = of(&records, "resumed", None);
    assert_eq!((resumed.len(), &resumed[0]["who"]["uid"]), (1, &json!(own)), "{resumed:#?}");
    assert_eq!(of(&records, "refused", Some("after")).len(), 3, "each refusal is recorded");
}

#[test]
fn a_program_that_was_left_running_ends_and_is_not_back_when_it_is_resumed() {
    let daemon = Daemon::start();
    let started = daemon.ask(&plan("start", &[act("exec.start", json!({"argv": ["/bin/sleep", "60"]}))]));
    assert_eq!(code(&started), "", "{started:#}");
    assert_eq!(children(daemon.pid()).len(), 1);
    halt(&daemon);
    wait_for("the program to end", || children(daemon.pid()).is_empty().then_some(()));
    resume(&daemon);
    let handle = &started["results"][0]["output"]["handle"];
    let read = daemon.ask(&plan("read", &[act("exec.read", json!({"handle": handle}))]));
    assert_eq!(code(&read), "exec_no_handle", "{read:#}");
    assert_eq!(children(daemon.pid()), [] as [String; 0]);
    daemon.stop();
}

#[test]
fn only_the_approval_socket_resumes_and_both_halt() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ask_approver("host.halt", json!({}))["halted"], true);
    let answer = daemon.ask(&verb("host.resume"));
    assert_eq!(code(&answer), "unknown_action", "{answer:#}");
    refused(&daemon, &echo("after"));
    resume(&daemon);
    halt(&daemon);
    refused(&daemon, &echo("after"));
    daemon.stop();
}

#[test]
fn what_waits_for_a_human_is_dropped_and_nothing_is_approved_meanwhile() {
    let daemon = Daemon::start();
    let frame = plan("held", &[asking(write(&daemon.path("w/CANARY"), "x"))]);
    let (pending, answer) = daemon.hold(&frame);
    let token = daemon.token_for(&with(frame.clone(), json!({"request_id": "approved"})));
    let mut waiting = daemon.connect();
    let params =
        json!({"pending_id": pending, "wait_secret": answer["meta"]["wait_secret"], "wait_ms": 120_000});
    waiting.send(&plan("wait", &[act("host.await_confirmation", params)]));
    // The next frame of an answered connection is read: this one has been.
    halt(&daemon);
    let waited = waiting.answer();
    let decision = &waited["results"][0]["output"]["decision"];
    assert!(code(&waited) == "halted" || decision == "expired", "{waited:#}");
    assert_eq!(daemon.ask_approver("host.pending", json!({}))["pending"], json!([]));
    for (verb, params) in [
        ("host.approve", json!({"pending_id": pending, "sha256": ""})),
        ("host.hold", json!({"uid": rustix::process::geteuid().as_raw(), "plan": frame})),
    ] {
        assert_eq!(code(&daemon.ask_approver(verb, params)), "halted", "{verb}");
    }
    refused(&daemon, &confirmed(&frame, &token));
    resume(&daemon);
    assert_eq!(
        code(&daemon.ask(&confirmed(&frame, &token))),
        "confirmation_invalid",
        "it does not come back"
    );
    drop(waiting);
    daemon.stop();
}

#[test]
fn plans_that_wait_for_a_place_are_refused_at_once() {
    let daemon = Place::new().tables("[limits]\nrunning = 1").start();
    let mut runs = daemon.connect();
    runs.send(&plan("runs", &[run(&["/bin/sleep", "60"])]));
    daemon.recorded("intent", "runs");
    let mut waits = daemon.connect();
    waits.send(&plan("waits", &[write(&daemon.path("w/CANARY"), "x")]));
    halt(&daemon);
    assert_eq!((code(&runs.answer()), code(&waits.answer())), ("cancelled", "halted"));
    drop((runs, waits));
    daemon.stop();
}

/// Each file shows that its plan ran. None appears once the halt is answered, and each plan was either run, cancelled or
/// refused.
#[test]
fn between_what_is_cancelled_and_what_is_refused_there_is_no_window() {
    let daemon = Place::new().tables("[limits]\nrunning = 8").start();
    for round in 0..8 {
        let (socket, folder) = (daemon.plan_socket(), daemon.path("w"));
        let over = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let floods: Vec<_> = (0..12)
                .map(|flood| {
                    let (socket, folder, over) = (&socket, &folder, &over);
                    scope.spawn(move || {
                        let mut client = Client::connect(socket);
                        let mut codes = Vec::new();
                        for n in 0.. {
                            let name = format!("r{round}-{flood}-{n}");
                            // Writing takes two steps, so that a halt comes in the middle of plans as well.
                            let steps = [
                                write(&folder.join(&name), "x"),
                                write(&folder.join(name.clone() + "b"), "x"),
                            ];
                            let begun_after = over.load(Ordering::SeqCst);
                            let answer = client.ask(&plan(&name, &steps));
                            let ended = code(&answer).to_owned();
                            assert!(["", "cancelled", "halted"].contains(&ended.as_str()), "{answer:#}");
                            assert!(!begun_after || ended == "halted", "it began after the halt: {answer:#}");
                            let is_last = ended == "halted" && begun_after;
                            codes.push(ended);
                            if is_last {
                                return codes;
                            }
                        }
                        unreachable!("the host is halted")
                    })
                })
                .collect();
            wait_for("some plans", || {
                let begun = fs::read_dir(&folder).unwrap().flatten();
                (begun.filter(|e| e.file_name().to_string_lossy().starts_with(&format!("r{round}-"))).count()
                    > 12)
                    .then_some(())
            });
            let output = halt(&daemon);
            let files = fs::read_dir(&folder).unwrap().count();
            over.store(true, Ordering::SeqCst);
            assert_eq!(output["running"], 0, "{output:#}");
            let codes: Vec<String> = floods.into_iter().flat_map(|flood| flood.join().unwrap()).collect();
            assert_eq!(
                fs::read_dir(&folder).unwrap().count(),
                files,
                "something ran after the halt was answered"
            );
            codes
        });
        assert!(seen.iter().any(|code| code == "halted"), "{seen:?}");
        resume(&daemon);
    }
    daemon.stop();
}

#[test]
fn halts_and_resumes_at_once_end_in_one_of_the_two_and_never_half() {
    let daemon = Daemon::start();
    let (plans, approvals) = (daemon.plan_socket(), daemon.approval_socket());
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| Client::connect(&plans).ask(&verb("host.halt")));
                scope.spawn(|| Client::connect(&approvals).ask(&verb("host.resume")));
            }
        });
        let is_halted = daemon.ask(&verb("host.ping"))["results"][0]["output"].get("halted").is_some();
        assert_eq!(daemon.state().join("halted").exists(), is_halted);
        assert_eq!(code(&daemon.ask(&echo("x"))) == "halted", is_halted);
    }
    daemon.stop();
}

#[test]
fn a_halt_survives_the_end_of_the_host_however_it_comes() {
    let daemon = Daemon::start();
    let output = halt(&daemon);
    let mode = fs::metadata(daemon.state().join("halted")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    let daemon = daemon.stop().start();
    refused(&daemon, &echo("stopped"));
    let daemon = daemon.kill9().start();
    refused(&daemon, &echo("killed"));
    assert!(daemon.said().contains("llmsh resume"), "{}", daemon.said());
    resume(&daemon);
    let daemon = daemon.kill9().start();
    assert_eq!(code(&daemon.ask(&echo("resumed"))), "");
    let records = daemon.stop().records();
    let starts: Vec<_> =
        of(&records, "start", None).iter().map(|start| start["data"]["halted"].clone()).collect();
    let halted = json!({"since": output["since"], "by": output["by"]});
    assert_eq!(starts, [Value::Null, halted.clone(), halted, Value::Null]);
}

#[test]
fn a_halt_file_that_says_nothing_halts_as_well() {
    let place = Daemon::start().stop();
    let file = place.state().join("halted");
    for garbled in [b"".as_slice(), b"no", b"\xff\xfe", br#"{"by":"user 7","resumed":true}"#] {
        fs::write(&file, garbled).unwrap();
        let daemon = place.clone().start();
        refused(&daemon, &echo("garbled"));
        resume(&daemon);
        assert!(!file.exists());
        assert_eq!(code(&daemon.ask(&echo("x"))), "");
        daemon.stop();
    }
    fs::create_dir(&file).unwrap();
    let daemon = place.clone().start();
    let answer = daemon.ask_approver("host.resume", json!({}));
    assert_eq!(code(&answer), "unavailable", "{answer:#}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("stays halted"), "{answer:#}");
    refused(&daemon, &echo("unremovable"));
    fs::remove_dir(&file).unwrap();
    resume(&daemon);
    daemon.stop();
}

#[test]
fn a_halt_that_cannot_be_kept_says_so_and_halts() {
    let daemon = Daemon::start();
    fs::create_dir(daemon.state().join("halted")).unwrap();
    let answer = daemon.ask(&verb("host.halt"));
    assert_eq!(code(&answer), "unavailable", "{answer:#}");
    assert!(
        answer["error"]["message"].as_str().unwrap().starts_with("the host is halted, but"),
        "{answer:#}"
    );
    refused(&daemon, &echo("x"));
    daemon.stop();
}

#[test]
fn keys_and_buttons_that_are_held_go_up() {
    let display = TestDisplay::start();
    let text = display.tk_text();
    display.focus(text.window.id);
    let daemon = on(&display, EVERYTHING);
    let mut client = daemon.connect();
    let answer = client.ask(&plan("hold", &holding()));
    assert_eq!(code(&answer), "", "{answer:#}");
    assert!(is_held(&display));
    halt(&daemon);
    assert!(!is_held(&display), "they are up once the halt is answered");
    // The connection is still there: it was not its end that released them.
    assert_eq!(code(&client.ask(&plan("hold", &holding()))), "halted");
    drop(client);
    daemon.stop();
}

/// A person before the display: another client, which presses the keys by XTEST.
struct Human(RustConnection);

impl Human {
    /// At the display of the daemon's own, by the cookie that it made.
    fn at_display_of(daemon: &Daemon) -> Self {
        let name = describe(daemon)["name"].as_str().unwrap().to_owned();
        let address = parse_display(Some(&name)).unwrap();
        let (stream, _) =
            address.connect_instruction().find_map(|at| DefaultStream::connect(&at).ok()).unwrap();
        let entry = fs::read(daemon.state().join("display/Xauthority")).unwrap();
        let cookie = entry[entry.len() - 16..].to_vec();
        let name = b"MIT-MAGIC-COOKIE-1".to_vec();
        Self(RustConnection::connect_to_stream_with_auth_info(stream, 0, name, cookie).unwrap())
    }

    /// Control, Alt and the key with this symbol.
    fn press_chord(&self, symbol: u32) {
        let map = self.0.get_keyboard_mapping(8, 248).unwrap().reply().unwrap();
        let code = |symbol: u32| {
            let mut rows = map.keysyms.chunks(map.keysyms_per_keycode.into());
            u8::try_from(8 + rows.position(|row| row[0] == symbol).unwrap()).unwrap()
        };
        let codes = [0xffe3, 0xffe9, symbol].map(code);
        let key = |kind, code| self.0.xtest_fake_input(kind, code, 0, 0, 0, 0, 0).unwrap().check().unwrap();
        codes.iter().for_each(|code| key(KEY_PRESS_EVENT, *code));
        codes.iter().rev().for_each(|code| key(KEY_RELEASE_EVENT, *code));
    }
}

const PAUSE: u32 = 0xff13;
const F9: u32 = 0xffc6;

#[test]
fn the_chord_of_a_human_halts_the_host() {
    let place = crate::display::own().tables("halt_chord = \"ctrl+alt+Pause\"");
    let daemon = place.start();
    let human = Human::at_display_of(&daemon);
    let mut client = daemon.connect();
    client.send(&plan("long", &[run(&["/bin/sleep", "60"])]));
    wait_for("the program", || (!sleeping(&daemon).is_empty()).then_some(()));
    human.press_chord(PAUSE);
    assert_eq!(code(&client.answer()), "cancelled");
    wait_for("the halt to be recorded", || {
        let records = daemon.records();
        let halts = of(&records, "halted", None);
        halts.first().map(|halt| assert_eq!(halt["data"]["by"], "the key chord ctrl+alt+Pause", "{halt:#}"))
    });
    assert_eq!(sleeping(&daemon), [] as [String; 0]);
    refused(&daemon, &echo("after"));
    // Pressed on a halted host it changes nothing; on one that was resumed it halts again.
    human.press_chord(PAUSE);
    wait_for("the host to be resumed", || {
        (daemon.ask_approver("host.resume", json!({}))["resumed"] == true).then_some(())
    });
    assert_eq!(code(&daemon.ask(&echo("resumed"))), "");
    human.press_chord(PAUSE);
    wait_for("the second halt", || (code(&daemon.ask(&echo("again"))) == "halted").then_some(()));
    drop((client, human));
    daemon.stop();
}

fn sleeping(daemon: &Daemon) -> Vec<String> {
    children(daemon.pid())
        .into_iter()
        .filter(|stat| !stat.contains("(Xvfb)") && !stat.contains("(openbox)"))
        .collect()
}

#[test]
fn a_chord_that_cannot_be_had_keeps_the_daemon_from_starting() {
    let refused = |place: Place, words: &[&str]| {
        let said = place.start_refused();
        assert!(words.iter().all(|word| said.contains(word)), "expected {words:?}: {said}");
        assert!(!place.plan_socket().exists());
    };
    let own = |keys: &str| crate::display::own().tables(&format!("halt_chord = \"{keys}\""));
    refused(Place::new().tables("[display]\nhalt_chord = \"ctrl+alt+Pause\""), &["halt_chord", "no display"]);
    refused(own("ctrl+alt+Pasue"), &["Pasue", "did you mean"]);
    refused(own("ctrl+alt"), &["ctrl+alt", "one other key"]);
    let display = TestDisplay::start();
    let first = chorded(&display, "ctrl+alt+F9").start();
    refused(chorded(&display, "ctrl+alt+F9"), &["ctrl+alt+F9", "another program has taken"]);
    chorded(&display, "ctrl+alt+F8").start().stop();
    Human(display.connect()).press_chord(F9);
    wait_for("the halt", || (code(&first.ask(&echo("x"))) == "halted").then_some(()));
    first.stop();
}

fn chorded(display: &TestDisplay, keys: &str) -> Place {
    let display = display.display();
    let tables = format!("[display]\nname = \"{}\"\nhalt_chord = \"{keys}\"", display.name);
    Place::new().env("XAUTHORITY", display.authority.unwrap().to_str().unwrap()).tables(&tables)
}
