//! Programs that go on after the plan that started them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use llm_os_core::{Decision, Kind, Profile, Setup, Verb};
use llm_os_exec::Exec;
use llm_os_test_support::World;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Lifeline, dies_with_its_host, probe};

/// A world with a state directory.
struct Place {
    world: World,
    state: TempDir,
}

impl Place {
    fn new() -> Self {
        Self::configured(json!({}))
    }

    fn configured(handles: Value) -> Self {
        let state = tempfile::tempdir().unwrap();
        let setup = Setup { state: Some(state.path().to_owned()), ..Setup::default() };
        let (world, unavailable) = World::set_up::<Exec>(json!({"handles": handles}), setup);
        assert_eq!(unavailable, None);
        Self { world, state }
    }

    /// Starts a program, confirmed where it asks, and gives its handle.
    fn start(&self, argv: &[&str], more: Value) -> String {
        let mut params = json!({"argv": argv});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.world.send_confirmed("exec.start", params);
        let output = ok(&answer);
        self.world.matches_schema("exec.start", output);
        output["handle"].as_str().unwrap().to_owned()
    }

    fn act(&self, verb: &str, handle: &str, more: Value) -> Value {
        let mut params = json!({"handle": handle});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let action = format!("exec.{verb}");
        let answer = self.world.send_confirmed(&action, params);
        if let Some(output) = answer["results"][0].get("output").filter(|_| code(&answer).is_empty()) {
            self.world.matches_schema(&action, output);
        }
        answer
    }

    /// Reads until the text is there, or the program ended.
    fn read_until(&self, handle: &str, text: &str) -> String {
        let (mut seen, mut after) = (String::new(), json!(0));
        while !seen.contains(text) {
            let answer = self.act("read", handle, json!({"after": after, "wait_ms": 10_000}));
            let output = ok(&answer);
            seen += output["output"]["text"].as_str().unwrap();
            after = output["next"].clone();
            assert!(output["state"]["running"] == true || seen.contains(text), "{seen:?}, then {output:#}");
        }
        seen
    }

    /// Waits until the program ended, and gives the whole of its output and how it ended.
    fn ended(&self, handle: &str) -> (String, Value) {
        let (mut seen, mut after) = (String::new(), json!(0));
        loop {
            let answer = self.act("read", handle, json!({"after": after, "wait_ms": 10_000}));
            let output = ok(&answer);
            seen += output["output"]["text"].as_str().unwrap();
            after = output["next"].clone();
            if output["state"]["running"] == false && output["output"]["bytes"] == 0 {
                return (seen, output.clone());
            }
        }
    }

    fn listed(&self) -> Vec<String> {
        let answer = self.world.send("exec.list", json!({}));
        let handles = ok(&answer)["handles"].as_array().unwrap();
        handles.iter().map(|handle| handle["handle"].as_str().unwrap().to_owned()).collect()
    }

    fn spools(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.state.path().join("exec")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Sends one action of another session.
    fn in_session(&self, session: &str, action: &str, params: Value) -> Value {
        let actions = json!([{"action": action, "params": params, "reason": "a test"}]);
        let plan = json!({"request_id": "t-1", "session_id": session, "version": "1", "mode": "execute", "actions": actions});
        self.world.send_frame(plan.to_string().as_bytes())
    }
}

#[track_caller]
fn ok(answer: &Value) -> &Value {
    assert_eq!(code(answer), "", "{answer:#}");
    &answer["results"][0]["output"]
}

fn code(answer: &Value) -> &str {
    let failed = answer["results"][0]["error"]["code"].as_str();
    answer["error"]["code"].as_str().or(failed).unwrap_or_default()
}

#[test]
fn a_program_goes_on_and_what_it_wrote_is_read_by_offset() {
    let place = Place::new();
    let handle = place.start(&["/bin/cat"], json!({}));
    assert_eq!(ok(&place.act("write", &handle, json!({"data": "one\n"}))), &json!({"bytes": 4}));
    assert_eq!(place.read_until(&handle, "one\n"), "one\n");
    ok(&place.act("write", &handle, json!({"data": "two\n", "end": true})));
    let (text, last) = place.ended(&handle);
    assert_eq!(
        (text.as_str(), &last["state"], &last["bytes"]),
        ("one\ntwo\n", &json!({"running": false, "exit_code": 0}), &json!(8))
    );
    for (after, most, text, next) in [(0, 100, "one\ntwo\n", 8), (4, 2, "tw", 6), (8, 100, "", 8)] {
        let answer = place.act("read", &handle, json!({"after": after, "max_bytes": most}));
        let output = ok(&answer);
        assert_eq!((&output["output"]["text"], &output["next"]), (&json!(text), &json!(next)), "{output:#}");
        assert_eq!(output["output"]["bytes"], 8 - after);
    }
    let beyond = place.act("read", &handle, json!({"after": 9}));
    assert_eq!(code(&beyond), "validation_failed", "{beyond:#}");
    let written = place.act("write", &handle, json!({"data": "x"}));
    assert_eq!(code(&written), "exec_ended", "{written:#}");
    assert_eq!(ok(&place.act("stop", &handle, json!({})))["state"]["exit_code"], 0);
    assert_eq!(place.spools(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_written_to_both_outputs_comes_in_one_order() {
    let place = Place::new();
    let script = "for n in 1 2 3; do echo out$n; echo err$n >&2; done";
    let handle = place.start(&["/bin/sh", "-c", script], json!({}));
    assert_eq!(place.ended(&handle).0, "out1\nerr1\nout2\nerr2\nout3\nerr3\n");
}

#[test]
fn a_character_is_never_cut() {
    let place = Place::new();
    let handle = place.start(&["/bin/echo", "-n", "aéz"], json!({}));
    place.ended(&handle);
    let read = |after: u64, most: u64| {
        ok(&place.act("read", &handle, json!({"after": after, "max_bytes": most}))).clone()
    };
    let cut = read(0, 2);
    assert_eq!(
        (&cut["output"]["text"], &cut["next"], &cut["output"]["truncated"]),
        (&json!("a"), &json!(1), &json!(true))
    );
    assert_eq!(read(1, 2)["output"]["text"], "é");
    assert_eq!(read(1, 1)["output"]["encoding"], "base64");
}

#[test]
fn the_output_is_kept_in_a_bounded_file_of_the_host_alone_and_the_rest_is_counted() {
    let place = Place::configured(json!({"output_bytes": 1000}));
    let handle = place.start(&["/usr/bin/seq", "1", "1000"], json!({}));
    let (text, last) = place.ended(&handle);
    assert_eq!((text.len(), &last["bytes"], &last["full"]), (1000, &json!(3893), &json!(true)));
    assert!(text.starts_with("1\n2\n"));
    let spool = &place.spools()[0];
    let metadata = spool.metadata().unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (1000, 0o600));
}

#[test]
fn a_program_that_cannot_be_started_has_no_handle() {
    let place = Place::new();
    let broken = place.world.root().join("broken");
    std::fs::write(&broken, b"\x7fELF and nothing more").unwrap();
    std::fs::set_permissions(&broken, PermissionsExt::from_mode(0o755)).unwrap();
    let answer = place.world.send_confirmed("exec.start", json!({"argv": [broken]}));
    assert_eq!(code(&answer), "exec_failed", "{answer:#}");
    assert!(place.listed().is_empty() && place.spools().is_empty());
}

#[test]
fn another_session_s_handle_is_none() {
    let place = Place::new();
    let handle = place.start(&["/bin/cat"], json!({}));
    let (there, nowhere) = (json!({"handle": handle}), json!({"handle": "h-77"}));
    for (action, more) in [
        ("exec.read", json!({})),
        ("exec.write", json!({"data": "x"})),
        ("exec.signal", json!({"signal": "SIGKILL"})),
        ("exec.stop", json!({})),
    ] {
        let params = |handle: &Value| {
            let mut params = handle.clone();
            params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            params
        };
        let text = |mut answer: Value| {
            answer["meta"].take();
            answer.to_string().replace(&handle, "H").replace("h-77", "H")
        };
        let other = place.in_session("other", action, params(&there));
        assert_eq!(code(&other), "exec_no_handle", "{other:#}");
        assert_eq!(text(other), text(place.in_session("other", action, params(&nowhere))));
    }
    assert_eq!(ok(&place.in_session("other", "exec.list", json!({})))["handles"], json!([]));
    let own = place.in_session("other", "exec.start", json!({"argv": ["/bin/cat"]}));
    assert_eq!(ok(&own)["handle"], handle, "each session counts for itself");
    ok(&place.in_session("other", "exec.stop", json!({"handle": handle})));
    assert_eq!(place.listed(), std::slice::from_ref(&handle));
    ok(&place.act("write", &handle, json!({"data": "still here\n"})));
    place.read_until(&handle, "still here\n");
}

#[test]
fn a_user_has_only_so_many() {
    let place = Place::configured(json!({"max_per_user": 2}));
    let first = place.start(&["/bin/cat"], json!({}));
    let other = place.in_session("other", "exec.start", json!({"argv": ["/bin/cat"]}));
    ok(&other);
    let third = place.world.send("exec.start", json!({"argv": ["/bin/cat"]}));
    assert_eq!(code(&third), "busy", "{third:#}");
    ok(&place.act("stop", &first, json!({})));
    assert_eq!(place.start(&["/bin/cat"], json!({})), "h-1", "the session had none left");
}

#[test]
fn a_program_is_killed_with_all_that_it_started_when_it_is_stopped() {
    let place = Place::new();
    let lifeline = Lifeline::new(&place.world, "alive");
    let watch = lifeline.watch();
    let handle = place.start(&[&probe(), "daemon-and-wait", lifeline.path()], json!({}));
    let answer = place.act("stop", &handle, json!({}));
    assert_eq!(ok(&answer)["state"], json!({"running": false, "killed": "stopped"}));
    // It may have been killed before it opened the FIFO.
    drop(rustix::fs::open(lifeline.path(), rustix::fs::OFlags::RDWR, 0.into()).unwrap());
    watch.join().unwrap();
    assert!(place.listed().is_empty() && place.spools().is_empty());
    assert_eq!(code(&place.act("read", &handle, json!({}))), "exec_no_handle");
}

#[test]
fn a_program_is_killed_when_its_time_is_up_and_its_output_stays() {
    let place = Place::new();
    let handle = place.start(&[&probe(), "stubborn", "/dev/null"], json!({"timeout_ms": 500}));
    let (text, last) = place.ended(&handle);
    assert_eq!(
        (text.as_str(), &last["state"]),
        ("begun\n", &json!({"running": false, "killed": "deadline"}))
    );
}

#[test]
fn a_handle_that_nobody_asks_for_is_forgotten_with_its_program() {
    let place = Place::configured(json!({"idle_s": 1}));
    let lifeline = Lifeline::new(&place.world, "alive");
    let watch = lifeline.watch();
    place.start(&[&probe(), "stubborn", lifeline.path()], json!({}));
    assert_eq!(watch.join().unwrap(), b"r");
    let forgotten = Instant::now() + Duration::from_secs(10);
    while !place.listed().is_empty() {
        assert!(Instant::now() < forgotten);
        std::thread::yield_now();
    }
    assert!(place.spools().is_empty());
}

#[test]
fn a_signal_reaches_the_program_and_nothing_else() {
    let place = Place::new();
    let script =
        "trap 'echo usr1' USR1; trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let handle = place.start(&["/bin/sh", "-c", script], json!({}));
    place.read_until(&handle, "ready\n");
    assert_eq!(ok(&place.act("signal", &handle, json!({"signal": "SIGUSR1"}))), &json!({"handle": handle}));
    place.read_until(&handle, "usr1\n");
    ok(&place.act("signal", &handle, json!({"signal": "SIGTERM"})));
    let (text, last) = place.ended(&handle);
    assert_eq!((text.as_str(), &last["state"]["exit_code"]), ("ready\nusr1\nbye\n", &json!(7)));
    let late = place.act("signal", &handle, json!({"signal": "SIGTERM"}));
    assert_eq!(code(&late), "exec_ended", "{late:#}");
    let unknown = place.act("signal", &handle, json!({"signal": "SIGSEGV"}));
    assert_eq!(code(&unknown), "parse_failed", "{unknown:#}");
}

#[test]
fn a_read_waits_for_output_for_as_long_as_it_is_told() {
    let place = Place::new();
    let handle = place.start(&["/bin/cat"], json!({}));
    let started = Instant::now();
    let answer = place.act("read", &handle, json!({"wait_ms": 200}));
    assert!(started.elapsed() >= Duration::from_millis(200));
    let output = ok(&answer);
    assert_eq!((&output["output"]["bytes"], &output["state"]["running"]), (&json!(0), &json!(true)));
    let params = json!({"handle": handle, "wait_ms": 60_000});
    let cancelled = place
        .world
        .send_and_cancel("exec.read", params, async { tokio::time::sleep(Duration::from_millis(50)).await });
    assert_eq!(code(&cancelled), "cancelled", "{cancelled:#}");
}

#[test]
fn an_input_that_is_not_read_is_told_as_far_as_it_went() {
    let place = Place::new();
    let handle = place.start(&["/bin/sleep", "60"], json!({}));
    let data = "x".repeat(60_000);
    ok(&place.act("write", &handle, json!({"data": data})));
    let answer = place.act("write", &handle, json!({"data": data, "wait_ms": 100}));
    assert_eq!(code(&answer), "exec_input_full", "{answer:#}");
    let written = answer["results"][0]["output"]["bytes"].as_u64().unwrap();
    assert!(0 < written && written < 60_000, "{answer:#}");
}

/// The program that asks when it is started asks for each input as well; reading, signals and stopping do not.
#[test]
fn giving_input_is_judged_as_running_the_program() {
    let place = Place::new();
    let shell = place.start(&["/bin/sh"], json!({}));
    let input = json!({"handle": shell, "data": "echo $((6*7))\n"});
    place.world.refused("exec.write", input.clone(), "confirmation_required");
    ok(&place.act("write", &shell, json!({"data": "echo $((6*7))\n"})));
    ok(&place.world.send("exec.read", json!({"handle": shell, "wait_ms": 10_000})));
    assert_eq!(place.read_until(&shell, "42\n"), "42\n");
    let cat = place.start(&["/bin/cat", "-n"], json!({}));
    place.world.judge(|query| match (query.effect.verb, query.effect.resource.kind) {
        (Verb::Run, _) => Decision::Deny,
        (Verb::Change, Kind::Handle) => Decision::Allow,
        _ => Decision::Allow,
    });
    place.world.refused("exec.write", json!({"handle": cat, "data": "x\n"}), "policy_denied");
    ok(&place.world.send("exec.signal", json!({"handle": shell, "signal": "SIGTERM"})));
    ok(&place.world.send("exec.stop", json!({"handle": shell})));
}

#[test]
fn input_stands_in_no_record() {
    let place = Place::new();
    let handle = place.start(&["/bin/cat"], json!({}));
    ok(&place.act("write", &handle, json!({"data": "hunter2\n"})));
    place.read_until(&handle, "hunter2\n");
    let records = serde_json::to_string(&place.world.records()).unwrap();
    assert!(!records.contains("hunter2"), "{records}");
    assert!(records.contains("\"handle\":\"h-1\""), "{records}");
}

#[test]
fn a_confirmation_is_for_one_handle_and_not_for_the_next_of_its_name() {
    let place = Place::new();
    let handle = place.start(&["/bin/sh"], json!({}));
    let actions = json!([{"action": "exec.write", "reason": "a test", "params": {"handle": handle, "data": "exit 1\n"}}]);
    let held = place.world.send_plan(actions.clone(), None);
    let token = held["error"]["details"]["pending_id"].as_str().unwrap().to_owned();
    ok(&place.act("stop", &handle, json!({})));
    assert_eq!(place.start(&["/bin/sh"], json!({})), handle);
    let answer = place.world.send_plan(actions, Some(&token));
    assert_eq!(code(&answer), "confirmation_stale", "{answer:#}");
}

#[test]
fn a_terminal_is_the_program_s_own() {
    let place = Place::new();
    let handle = place.start(&[&probe(), "self"], json!({"pty": true}));
    let (text, _) = place.ended(&handle);
    assert!(text.contains(" tty=1\n") && text.starts_with("pid=2 ppid=1 "), "{text}");
    let fds = place.start(&[&probe(), "fds"], json!({"pty": true}));
    assert_eq!(place.ended(&fds).0, "0\n1\n2\n");
}

#[test]
fn what_is_typed_into_a_terminal_is_input_and_signals() {
    let place = Place::new();
    let script = "stty -echo; trap 'echo interrupted; exit 9' INT; read line; echo \"got $line\"; tput setaf 1; echo red; \
                  while :; do sleep 0.05; done";
    let handle = place.start(&["/bin/bash", "-c", script], json!({"pty": true}));
    ok(&place.act("write", &handle, json!({"data": "a line\n"})));
    let text = place.read_until(&handle, "red\n");
    assert!(text.contains("got a line\n") && !text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
    ok(&place.act("write", &handle, json!({"data": "\u{3}"})));
    let (text, last) = place.ended(&handle);
    assert!(text.ends_with("interrupted\n"), "{text:?}");
    assert_eq!(last["state"]["exit_code"], 9);
    let again = place.start(&["/bin/cat"], json!({"pty": true}));
    ok(&place.act("write", &again, json!({"data": "x\n", "end": true})));
    assert_eq!(place.ended(&again).1["state"]["exit_code"], 0);
}

#[test]
fn a_screen_is_rendered_where_it_is_asked_for() {
    let place = Place::new();
    let drawn = "\\033[2J\\033[3;5Hhere\\033[1;1Htop";
    let handle = place.start(&["/usr/bin/printf", drawn], json!({"pty": true}));
    place.ended(&handle);
    let answer = place.act("read", &handle, json!({"screen": true}));
    let screen = &ok(&answer)["screen"];
    assert_eq!((&screen["rows"][0], &screen["rows"][2]), (&json!("top"), &json!("    here")));
    assert_eq!(screen["cursor"], json!({"row": 0, "column": 3, "hidden": false}));
    let piped = place.start(&["/bin/cat"], json!({}));
    assert_eq!(code(&place.act("read", &piped, json!({"screen": true}))), "validation_failed");
}

#[test]
fn an_open_connection_is_not_needed() {
    let place = Place::new();
    let handle = place.start(&["/bin/cat"], json!({}));
    place.world.disconnect();
    ok(&place.act("write", &handle, json!({"data": "still here\n"})));
    place.read_until(&handle, "still here\n");
}

#[test]
fn a_halt_ends_what_everybody_started() {
    let place = Place::new();
    let lifelines = ["a", "b"].map(|name| Lifeline::new(&place.world, name));
    let watches = lifelines.each_ref().map(Lifeline::watch);
    let handle = place.start(&["/usr/bin/tee", lifelines[0].path()], json!({}));
    let other = json!({"argv": ["/usr/bin/tee", lifelines[1].path()]});
    ok(&place.in_session("other", "exec.start", other));
    // What tee writes it writes to files that it has opened.
    for session in ["mine", "other"] {
        let data = json!({"handle": handle, "data": "x"});
        let act = |verb: &str, params: Value| match session {
            "mine" => place.world.send(verb, params),
            other => place.in_session(other, verb, params),
        };
        ok(&act("exec.write", data));
        ok(&act("exec.read", json!({"handle": handle, "wait_ms": 20_000})));
    }
    place.world.halt();
    // Nothing is left that could write; whether tee came to write to its file before is not told.
    for watch in watches {
        watch.join().unwrap();
    }
    assert_eq!(place.listed(), Vec::<String>::new());
    assert_eq!(code(&place.act("read", &handle, json!({}))), "exec_no_handle");
}

#[test]
fn without_a_state_directory_nothing_can_be_started() {
    let world = World::of::<Exec>();
    assert!(world.lacks("exec.start").unwrap().contains("no state directory"));
    assert_eq!(world.lacks("exec.run"), None);
    let answer = world.refused("exec.start", json!({"argv": ["/bin/cat"]}), "unavailable");
    assert!(answer.to_string().contains("no state directory"), "{answer:#}");
}

#[test]
fn what_a_killed_host_left_is_removed_at_the_start_of_the_next() {
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("exec")).unwrap();
    std::fs::write(state.path().join("exec/output-1-1"), "secret").unwrap();
    let setup = Setup { state: Some(state.path().to_owned()), ..Setup::default() };
    World::set_up::<Exec>(json!({}), setup);
    assert_eq!(std::fs::read_dir(state.path().join("exec")).unwrap().count(), 0);
}

/// P10, for a program that nobody waits for.
#[test]
fn a_host_that_is_killed_takes_along_what_it_started() {
    dies_with_its_host("start::in_a_host_that_will_be_killed");
}

#[test]
#[ignore = "a part of a_host_that_is_killed_takes_along_what_it_started, which kills it"]
fn in_a_host_that_will_be_killed() {
    let lifeline = std::env::var("LIFELINE").unwrap();
    let folder = Path::new(&lifeline).parent().unwrap().to_owned();
    let place = Place::new();
    place.world.adds_to_reach(Profile { write: vec![folder], ..Profile::default() });
    place.start(&[&probe(), "stubborn", &lifeline], json!({}));
    std::thread::sleep(Duration::from_secs(60));
}
