//! The streams: what is no call, a host that is away, a client that goes.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::computer::talk::{Talk, computer_call, desktop, member, respond, text};
use crate::peer::Peer;

fn lines(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_that_holds_no_call_gets_the_error_of_anthropics_api_and_the_next_one_is_read() {
    let rows = [
        ("nonsense", "expected ident"),
        ("{\"type\":\"tool_use\"", "EOF"),
        ("5", "invalid type"),
        ("{}", "neither type nor content"),
        ("{\"type\":\"text\",\"text\":\"a\"}", "the line's type is \"text\""),
        ("{\"type\":\"tool_use\",\"name\":\"screenshot\",\"input\":{}}", "has no id"),
        ("{\"type\":\"tool_use\",\"id\":\"\",\"name\":\"screenshot\",\"input\":{}}", "has no id"),
        ("{\"type\":\"tool_use\",\"id\":5,\"name\":\"screenshot\",\"input\":{}}", "expected a string"),
        ("{\"type\":\"tool_use\",\"id\":\"t\",\"input\":{}}", "has no name"),
        (
            "[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"type\",\"toolset_name\":\"computer\",\"input\":{\"text\":\"a\"}},{\"type\":\"tool_use\"}]",
            "has no id",
        ),
        ("{\"role\":\"assistant\",\"content\":[5]}", "invalid type"),
        (
            "{\"type\":\"message\",\"stop_reason\":\"max_tokens\",\"content\":[{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"type\",\"toolset_name\":\"computer\",\"input\":{\"text\":\"rm\"}}]}",
            "cut off",
        ),
    ];
    let peer = desktop(None);
    let input =
        rows.map(|(line, _)| line).join("\n") + "\n\n  \n[]\n{\"role\":\"assistant\",\"content\":\"hi\"}";
    let ran = peer.llmsh_with(&["computer", "--dialect", "anthropic"], &input);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let answers = lines(&ran.stdout);
    assert_eq!(answers.len(), rows.len() + 2);
    for (answer, (line, expected)) in answers.iter().zip(rows) {
        assert_eq!(
            (&answer["type"], &answer["error"]["type"]),
            (&json!("error"), &json!("invalid_request_error")),
            "{line}"
        );
        assert!(answer["error"]["message"].as_str().unwrap().contains(expected), "{line}: {answer}");
    }
    assert_eq!(answers[rows.len()..], [json!([]), json!([])], "a message without calls has no results");
    assert!(peer.frames().is_empty(), "nothing of such a line is done");
}

#[test]
fn a_line_that_holds_no_call_gets_the_error_of_openais_api() {
    let rows = [
        ("nonsense", "expected ident"),
        ("{}", "neither type nor output"),
        ("{\"type\":\"message\"}", "the line's type is \"message\""),
        ("{\"type\":\"computer_call\",\"actions\":[]}", "has no call_id"),
        ("{\"type\":\"computer_call\",\"call_id\":\"c\"}", "has no action and no actions"),
        ("{\"type\":\"computer_call\",\"call_id\":\"c\",\"actions\":{}}", "expected a sequence"),
        ("{\"type\":\"function_call\",\"call_id\":\"c\",\"arguments\":\"{}\"}", "has no name"),
        (
            "{\"type\":\"computer_call\",\"call_id\":\"c\",\"status\":\"incomplete\",\"actions\":[{\"type\":\"type\",\"text\":\"rm\"}]}",
            "cut off",
        ),
        ("{\"type\":\"function_call\",\"name\":\"fs_read\",\"arguments\":\"{}\"}", "has no call_id"),
    ];
    let peer = desktop(None);
    let ran = peer.llmsh_with(&["computer", "--dialect", "openai"], &rows.map(|(line, _)| line).join("\n"));
    for (answer, (line, expected)) in lines(&ran.stdout).iter().zip(rows) {
        let error = &answer["error"];
        assert_eq!(
            (&error["type"], &error["param"], &error["code"]),
            (&json!("invalid_request_error"), &Value::Null, &Value::Null),
            "{line}"
        );
        assert!(error["message"].as_str().unwrap().contains(expected), "{line}: {answer}");
    }
    assert_eq!(lines(&ran.stdout).len(), rows.len());
    assert!(peer.frames().is_empty(), "nothing of such a line is done");
}

#[test]
fn a_line_beyond_the_limit_is_refused_and_its_rest_is_no_line() {
    let input = format!("{}\n[]\n", "[".repeat((16 << 20) + 70_000));
    let ran = desktop(None).llmsh_with(&["computer", "--dialect", "anthropic"], &input);
    let answers = lines(&ran.stdout);
    assert!(answers[0]["error"]["message"].as_str().unwrap().contains("longer than"), "{}", answers[0]);
    assert_eq!(answers[1..], [json!([])]);
}

#[test]
fn all_lines_are_answered_before_the_end_of_stdin_ends_it() {
    let call = member("t", "left_click", json!({})).to_string();
    let ran =
        desktop(None).llmsh_with(&["computer", "--dialect", "anthropic"], &format!("{call}\n{call}\n{call}"));
    assert_eq!((ran.code, lines(&ran.stdout).len()), (0, 3));
}

#[test]
fn a_host_that_is_away_is_said_with_how_to_start_it_and_found_once_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let start = |dialect: &str| {
        Talk::start(&mut crate::peer::command(&socket, dir.path(), &["computer", "--dialect", dialect]))
    };
    let mut anthropic = start("anthropic");
    let result = anthropic.ask(&member("t", "left_click", json!({})));
    assert!(result["is_error"] == true && text(&result).contains("start it with: llm-osd"), "{result}");
    let mut openai = start("openai");
    let error = openai.ask(&computer_call("c", json!([{"type": "click", "x": 1, "y": 2}])));
    let message = error["error"]["message"].as_str().unwrap();
    assert_eq!(
        (&error["error"]["code"], message.matches("start it with: llm-osd").count()),
        (&json!("no_screenshot"), 1),
        "{error}"
    );
    let items =
        openai.ask(&json!({"type": "function_call", "call_id": "c", "name": "fs_read", "arguments": "{}"}));
    assert!(items[0]["output"].as_str().unwrap().contains("start it with: llm-osd"), "{items}");
    let peer = desktop(None);
    std::os::unix::fs::symlink(peer.socket(), &socket).unwrap();
    assert_eq!(text(&anthropic.ask(&member("t", "left_click", json!({})))), "OK");
}

/// A host that reads one frame, says so, and says once more when the connection ends.
fn silent() -> (Peer, mpsc::Receiver<&'static str>) {
    let (tell, told) = mpsc::channel();
    let peer = Peer::raw(move |stream, _| {
        let mut frames = BufReader::new(stream);
        frames.read_line(&mut String::new()).unwrap();
        tell.send("asked").unwrap();
        let mut rest = Vec::new();
        frames.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
        tell.send("gone").unwrap();
    });
    (peer, told)
}

#[test]
fn a_client_that_goes_away_while_something_runs_ends_the_connection() {
    let (peer, told) = silent();
    let mut talk = Talk::start(&mut peer.command(&["computer", "--dialect", "anthropic"]));
    talk.say(&member("t", "wait", json!({"duration": 300})));
    assert_eq!(told.recv().unwrap(), "asked");
    talk.go_away();
    assert_eq!(told.recv().unwrap(), "gone");
    let (code, stderr) = talk.end(false);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("whoever reads the answers is gone"), "{stderr}");
}

#[test]
fn a_client_that_goes_away_between_two_calls_ends_the_program_and_what_it_holds() {
    let (tell, told) = mpsc::channel();
    let peer = Peer::raw(move |stream, _| {
        let mut frames = BufReader::new(&stream);
        let mut frame = String::new();
        frames.read_line(&mut frame).unwrap();
        let answer = respond(&serde_json::from_str(&frame).unwrap(), None);
        std::io::Write::write_all(&mut (&stream), format!("{answer}\n").as_bytes()).unwrap();
        frames.read_to_end(&mut Vec::new()).unwrap();
        tell.send("gone").unwrap();
    });
    let mut talk = Talk::start(&mut peer.command(&["computer", "--dialect", "anthropic"]));
    assert_eq!(text(&talk.ask(&member("t", "left_mouse_down", json!({})))), "OK");
    talk.go_away();
    assert_eq!(told.recv().unwrap(), "gone");
    assert_eq!(talk.end(false).0, Some(1));
}

#[test]
fn a_signal_ends_the_connection() {
    let (peer, told) = silent();
    let mut talk = Talk::start(&mut peer.command(&["computer", "--dialect", "openai"]));
    talk.say(&computer_call("c", json!([{"type": "wait"}])));
    assert_eq!(told.recv().unwrap(), "asked");
    kill_process(talk.pid(), Signal::TERM).unwrap();
    assert_eq!(told.recv().unwrap(), "gone");
    talk.end(false);
}
