//! `llmsh send`: what goes out, what is printed, and the exit codes.

use std::io::Write;

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
