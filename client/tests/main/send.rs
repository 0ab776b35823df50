//! `llmsh send`: what goes out, what is printed, and the exit codes.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::peer::{PLAN, Peer, answer, command, refused, run};

fn ok() -> String {
    answer(&json!([{"action": "exec.run", "status": "ok", "output": {"exit_code": 0}}]), &Value::Null)
}

#[test]
fn a_plan_goes_out_and_its_answer_is_printed_byte_for_byte() {
    let line = ok().replace("\"exit_code\":0", "\"z\":1.50,\"a\":\"\u{202e}\"");
    let peer = Peer::always(line.clone());
    let ran = peer.llmsh_with(&["send", "-"], PLAN);
    assert_eq!((ran.code, ran.stdout, ran.stderr.as_str()), (0, format!("{line}\n"), ""));
    assert_eq!(peer.lines(), [format!("{PLAN}\n")]);
}

#[test]
fn the_exit_code_tells_how_it_ended() {
    let cases = [
        (
            3,
            vec!["parse_failed", "validation_failed", "request_too_large", "unknown_action", "policy_denied"],
        ),
        (3, vec!["confirmation_invalid", "confirmation_stale", "duplicate_request"]),
        (4, vec!["confirmation_required"]),
        (6, vec!["audit_unavailable", "busy", "deadline_exceeded", "halted"]),
        (1, vec!["cancelled", "unavailable", "exec_failed"]),
    ];
    for (code, errors) in cases {
        for error in errors {
            let ran = Peer::always(refused(error)).llmsh_with(&["send", "-"], PLAN);
            assert_eq!(ran.code, code, "{error}: {ran:?}");
            assert_eq!(ran.stdout, format!("{}\n", refused(error)));
            assert!(ran.stderr.starts_with(&format!("{error} at $.actions[0]: because\n")), "{ran:?}");
        }
    }
}

#[test]
fn an_action_that_failed_is_1() {
    let results = json!([{"action": "exec.run", "status": "failed", "error": {"code": "exec_failed", "message": "no"}}]);
    assert_eq!(Peer::always(answer(&results, &Value::Null)).llmsh_with(&["send", "-"], PLAN).code, 1);
}

#[test]
fn the_plans_of_a_file_share_a_connection_and_one_that_was_closed_between_them_is_made_anew() {
    let plans = [PLAN, PLAN, PLAN].join("\n");
    // How many connections there are where the host closes each after so many answers.
    let connections = |answers: usize| {
        let (closed, gone) = std::sync::mpsc::channel();
        let peer = Peer::raw(move |stream, remember| {
            remember.lock().unwrap().push("connected".to_owned());
            for _frame in BufReader::new(&stream).lines().take(answers) {
                (&stream).write_all(format!("{}\n", ok()).as_bytes()).unwrap();
            }
            drop(stream);
            closed.send(()).unwrap();
        });
        let mut child = peer.command(&["send", "-"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, mut printed) =
            (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        for plan in plans.lines() {
            writeln!(stdin, "{plan}").unwrap();
            let mut answer = String::new();
            printed.read_line(&mut answer).unwrap();
            assert_eq!(answer.trim_end(), ok());
            if answers == 1 {
                gone.recv().unwrap();
            }
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());
        peer.lines().len()
    };
    assert_eq!(connections(usize::MAX), 1);
    assert_eq!(connections(1), 3);
}

#[test]
fn pictures_are_saved_where_asked_for() {
    let output =
        json!({"picture": {"media_type": "image/png", "encoding": "base64", "data": "aGk=", "bytes": 2}});
    let peer = Peer::always(answer(
        &json!([{"action": "monitor.capture", "status": "ok", "output": output}]),
        &Value::Null,
    ));
    let ran = peer.llmsh_with(&["send", "-", "--save", "out"], PLAN);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains(r#""file":"out/r-1-1.png""#) && !ran.stdout.contains("aGk="), "{ran:?}");
    assert_eq!(std::fs::read(peer.dir.path().join("out/r-1-1.png")).unwrap(), b"hi");
}

#[test]
fn json_lines_stop_at_the_first_plan_that_does_not_end_well() {
    let peer =
        || Peer::new(|_, frame| if frame["request_id"] == "bad" { refused("policy_denied") } else { ok() });
    let plan = |id: &str| PLAN.replace("r-1", id);
    let plans = [plan("a"), plan("bad"), plan("b"), "nonsense".to_owned()].join("\n");
    let sent = |peer: &Peer| peer.lines().len();

    let stops = peer();
    let ran = stops.llmsh_with(&["send", "-"], &plans);
    assert_eq!((ran.code, sent(&stops), ran.stdout.lines().count()), (3, 2, 2));

    let goes_on = peer();
    let ran = goes_on.llmsh_with(&["send", "-", "--keep-going"], &plans);
    assert_eq!((ran.code, sent(&goes_on), ran.stdout.lines().count()), (3, 4, 4));
}

#[test]
fn a_plan_on_many_lines_is_one_frame() {
    let peer = Peer::always(ok());
    let pretty = PLAN.replace(',', ",\n  ");
    let file = peer.file("plan.json", &pretty);
    assert_eq!(peer.llmsh(&["send", file.to_str().unwrap()]).code, 0);
    assert_eq!(peer.frames(), [serde_json::from_str::<Value>(PLAN).unwrap()]);
}

#[test]
fn a_dry_run_never_sends_a_plan_to_run() {
    for decision in ["allow", "confirm", "deny"] {
        let results = json!([{"action": "exec.run", "status": "planned", "decision": decision}]);
        let peer = Peer::always(answer(&results, &Value::Null));
        let ran = peer.llmsh_with(&["send", "--dry-run", "-"], PLAN);
        assert_eq!(ran.code, 0, "the question was answered: {ran:?}");
        assert_eq!(peer.frames()[0]["mode"], "plan_only");
    }
    let peer = Peer::always(ok());
    let ran = peer.llmsh_with(&["send", "--dry-run", "-"], "[\"execute\"]");
    assert_eq!((ran.code, peer.lines().len()), (2, 0), "{ran:?}");
}

#[test]
fn a_stable_answer_is_the_same_each_time() {
    let line = |us: u32| {
        let results =
            json!([{"action": "a.b", "status": "ok", "output": {"exit_code": 0, "meta": {"user_us": us}}}]);
        answer(&results, &Value::Null).replace("\"duration_us\":7", &format!("\"duration_us\":{us}"))
    };
    let print = |us| Peer::always(line(us)).llmsh_with(&["send", "--stable", "-"], PLAN).stdout;
    assert_eq!(print(1), print(2));
    let order = ["request_id", "session_id", "version", "executed", "results", "error"]
        .map(|k| print(1).find(k).unwrap());
    assert!(order.is_sorted() && !print(1).contains("meta"), "{}", print(1));
}

#[test]
fn pretty_output_is_the_same_json() {
    let ran = Peer::always(ok()).llmsh_with(&["send", "--pretty", "-"], PLAN);
    assert!(ran.stdout.starts_with("{\n  \"request_id\": \"r-1\",\n"), "{}", ran.stdout);
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(read(&ran.stdout), read(&ok()));
}

#[test]
fn a_host_that_is_not_there_is_5_with_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(&mut command(&dir.path().join("none"), dir.path(), &["send", "-"]), PLAN);
    assert_eq!((ran.code, ran.stdout.as_str()), (5, ""));
    assert!(
        ran.stderr.contains("start it with: llm-osd") && ran.stderr.contains("LLM_OSD_SOCKET"),
        "{ran:?}"
    );
}

#[test]
fn a_host_that_goes_away_or_answers_something_else_is_5() {
    let gone = Peer::raw(|_, _| {});
    assert_eq!(gone.llmsh_with(&["send", "-"], PLAN).code, 5);
    for line in ["HTTP/1.1 400", "{}", "[]", "null"] {
        let ran = Peer::always(line).llmsh_with(&["send", "-"], PLAN);
        assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{line}");
    }
}

#[test]
fn an_answer_that_comes_before_the_frame_was_read_counts() {
    let peer = Peer::raw(|mut stream, _| {
        writeln!(stream, "{}", refused("request_too_large")).unwrap();
    });
    let long = PLAN.replace("hi", &"x".repeat(4 << 20));
    let ran = peer.llmsh_with(&["send", "-"], &long);
    assert_eq!((ran.code, ran.stdout), (3, format!("{}\n", refused("request_too_large"))));
}

#[test]
fn wrong_files_are_usage_errors_and_nothing_is_sent() {
    let peer = Peer::always(ok());
    for args in [["send", "/nonexistent/plan.json"], ["send", "."], ["send", "--no-such-flag"]] {
        assert_eq!(peer.llmsh(&args).code, 2, "{args:?}");
    }
    assert_eq!(peer.llmsh_with(&["send", "-"], " \n").code, 2);
    assert_eq!(peer.llmsh(&["send", "-", "--wait", "--dry-run"]).code, 2);
    assert!(peer.lines().is_empty());
}

#[test]
fn what_a_host_says_reaches_stderr_as_printable_ascii() {
    // C09
    let hostile =
        refused("policy_denied").replace("because", "\\u001b[2K\u{9b}2J\u{202e}\\r\\nllmsh: approved");
    let ran = Peer::always(hostile).llmsh_with(&["send", "-"], PLAN);
    assert!(ran.stderr.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}
