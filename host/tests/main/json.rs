//! Class J: frames that are not what they seem. Each would write a CANARY, which the policy allows, if it were read
//! in any lenient way.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{code, plan, write};
use crate::daemon::{Daemon, Place};
use crate::process::memory_kib;
use crate::records::of;

/// What a row expects of an answer.
struct Expected {
    code: &'static str,
    path: Option<&'static str>,
    /// Words of the message.
    message: &'static str,
}

const fn refused(code: &'static str, path: Option<&'static str>, message: &'static str) -> Expected {
    Expected { code, path, message }
}

/// An envelope with this list of actions.
fn envelope(actions: &str) -> Vec<u8> {
    format!(r#"{{"request_id":"j","version":"1","mode":"execute","actions":{actions}}}"#).into_bytes()
}

/// A valid frame, with one piece of it replaced.
fn altered(valid: &str, from: &str, to: &str) -> Vec<u8> {
    assert!(valid.contains(from), "{valid}");
    valid.replacen(from, to, 1).into_bytes()
}

/// The same with bytes in a string that are no UTF-8.
fn invalid_utf8(valid: &str) -> Vec<u8> {
    let at = valid.find("CANARY").unwrap();
    [&valid.as_bytes()[..at], b"\xff\xfe", &valid.as_bytes()[at..]].concat()
}

fn echo(params: &str) -> Vec<u8> {
    envelope(&format!(r#"[{{"action":"exec.run","params":{params},"reason":"x"}}]"#))
}

fn read(params: &str) -> Vec<u8> {
    envelope(&format!(r#"[{{"action":"fs.read","params":{params},"reason":"x"}}]"#))
}

fn rows(valid: &str) -> Vec<(&'static str, Vec<u8>, Expected)> {
    const PARSE: &str = "parse_failed";
    const INVALID: &str = "validation_failed";
    let parse = |path, message| refused(PARSE, path, message);
    let invalid = |path, message| refused(INVALID, Some(path), message);
    let argv0 = "$.actions[0].params.argv[0]";
    let argv = "$.actions[0].params.argv";
    let timeout = "$.actions[0].params.timeout_ms";
    let mut rows = vec![
        ("J01", invalid_utf8(valid), parse(None, "")),
        ("J02", [b"\xef\xbb\xbf", valid.as_bytes()].concat(), parse(Some("$"), "")),
        ("J03", [valid.as_bytes(), b"}x"].concat(), parse(None, "")),
        ("J03", [valid.as_bytes(), valid.as_bytes()].concat(), parse(None, "")),
        (
            "J04",
            altered(valid, "\"mode\":\"execute\"", "\"mode\":\"plan_only\",\"mode\":\"execute\""),
            parse(Some("$"), "duplicate"),
        ),
        (
            "J05",
            echo(r#"{"argv":["/bin/echo"],"env":{"LANG":"C","LANG":"x"}}"#),
            parse(Some("$.actions[0].params.env"), "duplicate"),
        ),
        (
            "J06",
            altered(valid, "\"mode\":\"execute\"", "\"confirmed\":true,\"mode\":\"execute\""),
            parse(Some("$"), "\"confirmed\""),
        ),
        (
            "J07",
            echo(r#"{"argv":["/bin/echo"],"shell":true}"#),
            parse(Some("$.actions[0].params"), "\"shell\""),
        ),
        (
            "J12",
            read(r#"{"path":"/x","max_bytes":18446744073709551615}"#),
            invalid("$.actions[0].params.max_bytes", ""),
        ),
        (
            "J13",
            echo(r#"{"argv":["/bin/echo"],"timeout_ms":9007199254740993}"#),
            invalid(timeout, "9007199254740993"),
        ),
        ("J13", echo(r#"{"argv":["/bin/echo"],"timeout_ms":1.5}"#), parse(Some(timeout), "1.5")),
        ("J13", echo(r#"{"argv":["/bin/echo"],"timeout_ms":NaN}"#), parse(None, "")),
        ("J14", read(r#"{"path":"/\ud800"}"#), parse(None, "")),
        ("J15", read(r#"{"path":"a\u0000/../../etc/passwd"}"#), invalid("$.actions[0].params.path", "")),
        ("J15", read(r#"{"path":"/a\u0000/../../etc/passwd"}"#), invalid("$.actions[0].params.path", "NUL")),
        ("J15", echo(r#"{"argv":["/bin/echo\u0000x"]}"#), invalid(argv0, "NUL")),
        ("J16", echo(r#"{"argv":"rm -rf x"}"#), parse(Some(argv), "array")),
        ("J16", echo(r#"{"argv":[null]}"#), parse(Some(argv0), "null")),
        ("J16", echo(r#"{"argv":[["a"]]}"#), parse(Some(argv0), "string")),
        ("J16", echo(r#"["/bin/echo"]"#), parse(Some("$.actions[0].params"), "object")),
        ("J17", echo(r#"{"argv":[]}"#), invalid(argv, "")),
        ("J17", echo(r#"{"argv":[""]}"#), invalid(argv0, "absolute")),
        ("J18", altered(valid, "\"execute\"", "\"Execute\""), parse(Some("$.mode"), "Execute")),
        ("J18", altered(valid, "\"execute\"", "\"EXECUTE\""), parse(Some("$.mode"), "EXECUTE")),
        ("J18", altered(valid, "\"execute\"", "\"execute \""), parse(Some("$.mode"), "execute ")),
        ("J18", altered(valid, "fs.write", "Fs.write"), parse(Some("$.actions[0].action"), "Fs.write")),
        ("J18", altered(valid, "fs.write", " fs.write"), parse(Some("$.actions[0].action"), " fs.write")),
        ("J19", altered(valid, "\"version\":\"1\"", "\"version\":\"999\""), invalid("$.version", "999")),
        (
            "J19",
            altered(valid, "\"version\":\"1\"", "\"version\":\"\""),
            invalid("$.version", "expected \"1\""),
        ),
        ("J19", altered(valid, ",\"version\":\"1\"", ""), invalid("$.version", "no version")),
        ("J19", altered(valid, "\"version\":\"1\"", "\"version\":1"), parse(Some("$.version"), "")),
        (
            "J20",
            envelope(&format!("[{}]", [r#"{"action":"exec.run","params":{},"reason":"x"}"#; 1000].join(","))),
            invalid("$.actions", "1000"),
        ),
        ("J20", envelope("[]"), invalid("$.actions", "0")),
        ("J21", altered(valid, "\"j\"", "\"../../x\""), invalid("$.request_id", "../../x")),
        ("J21", altered(valid, "\"j\"", &format!("\"{}\"", "x".repeat(4096))), invalid("$.request_id", "")),
        ("J21", altered(valid, "\"j\"", "\"a\\nb\""), invalid("$.request_id", "")),
        (
            "J21",
            altered(valid, "\"mode\":\"execute\"", "\"session_id\":\"../../x\",\"mode\":\"execute\""),
            invalid("$.session_id", "../../x"),
        ),
        ("blank reason", altered(valid, "\"a test\"", "\" \""), invalid("$.actions[0].reason", "")),
        (
            "null",
            altered(valid, "\"mode\":\"execute\"", "\"session_id\":null,\"mode\":\"execute\""),
            parse(Some("$.session_id"), "null"),
        ),
        ("array as plan", br#"["j","s","1","execute",[]]"#.to_vec(), parse(Some("$"), "")),
        ("empty line", Vec::new(), parse(Some("$"), "")),
        (
            "unknown action",
            altered(valid, "fs.write", "fs.wirte"),
            refused("unknown_action", Some("$.actions[0]"), "host.describe"),
        ),
    ];
    for number in ["1e400", "-1", "1.0", "-0", "18446744073709551616", "1e2", "\"1\""] {
        let frame = echo(&format!(r#"{{"argv":["/bin/echo"],"timeout_ms":{number}}}"#));
        rows.push(("J11", frame, parse(None, "")));
    }
    rows
}

#[test]
fn frames_that_are_not_exactly_a_plan_are_refused_where_they_are_wrong_and_recorded() {
    let daemon = Daemon::start();
    let frame = plan("j", &[write(&daemon.path("w/CANARY"), "x")]).to_string();
    let mut client = daemon.connect();
    let rows = rows(&frame);
    for (id, bytes, expected) in &rows {
        client.send_bytes(&[bytes.as_slice(), b"\n"].concat());
        let answer = client.answer();
        let context = format!("{id}: {}\n{answer:#}", bytes.escape_ascii());
        assert_eq!(code(&answer), expected.code, "{context}");
        assert_eq!(answer["executed"], false, "{context}");
        let error = &answer["error"];
        assert!(
            expected.path.is_none_or(|path| error["path"] == path),
            "expected {:?}: {context}",
            expected.path
        );
        assert!(
            error["message"].as_str().unwrap().contains(expected.message),
            "{:?}: {context}",
            expected.message
        );
    }
    drop(client);
    let place = daemon.stop();
    let records = place.records();
    assert!(of(&records, "intent", None).is_empty());
    let told: u64 = of(&records, "summary", None).iter().map(|summary| counted(summary)).sum();
    assert_eq!(of(&records, "refused", None).len() as u64 + told, rows.len() as u64, "A09: none is silent");
}

/// How many refusals a summary stands for.
pub(crate) fn counted(summary: &Value) -> u64 {
    let numbers = summary["data"].as_object().unwrap().values().filter_map(Value::as_u64);
    numbers.max().unwrap_or_else(|| panic!("{summary:#}"))
}

/// J08
#[test]
fn nesting_without_end_is_refused_at_once() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    for open in ["[", "{\"a\":"] {
        let start = Instant::now();
        client.send_bytes(&[open.repeat(60_000 / open.len()).as_bytes(), b"\n"].concat());
        let answer = client.answer();
        assert_eq!(code(&answer), "parse_failed", "{answer:#}");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
    drop(client);
    daemon.stop();
}

/// J09
#[test]
fn a_frame_of_the_limit_is_read_and_one_byte_more_is_not() {
    let daemon = Daemon::start();
    let frame = plan("j09", &[write(&daemon.path("w/full"), "x")]).to_string();
    let full = |bytes: usize| [frame.as_bytes(), " ".repeat(bytes - frame.len()).as_bytes(), b"\n"].concat();
    let mut client = daemon.connect();
    client.send_bytes(&full(65_536));
    assert_eq!(client.answer()["executed"], true);
    client.send_bytes(&full(65_537));
    let answer = client.answer();
    assert_eq!(code(&answer), "request_too_large", "{answer:#}");
    assert_eq!(answer["request_id"], Value::Null);
    assert!(client.is_closed());
    daemon.stop();
}

/// J10
#[test]
fn a_stream_without_end_is_answered_and_closed_and_not_held() {
    let daemon = Daemon::start();
    for _ in 0..4 {
        assert_eq!(code(&daemon.ask(&json!({}))), "parse_failed");
    }
    let before = memory_kib(daemon.pid(), "VmHWM");
    let mut client = daemon.connect();
    let block = vec![b'x'; 1 << 20];
    let start = Instant::now();
    let sent = (0..10_240).take_while(|_| client.try_send_bytes(&block).is_ok()).count();
    assert!(sent < 10_240, "it took 10 GiB");
    assert_eq!(code(&client.answer()), "request_too_large");
    assert!(client.is_closed());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let grown = memory_kib(daemon.pid(), "VmHWM") - before;
    assert!(grown < 1024, "{grown} KiB");
    daemon.stop();
}

/// J22
#[test]
fn a_frame_without_its_end_never_runs() {
    let place = Place::new().tables("[limits]\nframe_ms = 300");
    let daemon = place.start();
    let frame = plan("j22", &[write(&daemon.path("w/CANARY"), "x")]).to_string();
    let mut stalled = daemon.connect();
    stalled.send_bytes(frame.as_bytes());
    assert_eq!(code(&stalled.answer()), "deadline_exceeded");
    assert!(stalled.is_closed());
    let mut ended = daemon.connect();
    ended.send_bytes(frame.as_bytes());
    ended.finish();
    assert_eq!(code(&ended.answer()), "parse_failed");
    assert!(ended.is_closed());
    let place = daemon.stop();
    assert!(of(&place.records(), "intent", None).is_empty());
}

#[test]
fn frames_sent_one_after_another_are_answered_in_order() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    let frame =
        |n: usize| format!("{}\n", plan(&format!("p{n}"), &[crate::client::run(&["/bin/echo", "x"])]));
    let frames: String = (0..20).map(frame).collect();
    client.send_bytes(format!("{frames}not json\n{}", frame(20)).as_bytes());
    for n in 0..20 {
        assert_eq!(client.answer()["request_id"], format!("p{n}"));
    }
    assert_eq!(code(&client.answer()), "parse_failed");
    assert_eq!(client.answer()["request_id"], "p20");
    drop(client);
    daemon.stop();
}
