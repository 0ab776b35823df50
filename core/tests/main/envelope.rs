//! Hostile frames (class J of the attack list): each is refused with its code and path, and none has a second reading.

use llm_os_core::json::{Json, MAX_DEPTH};
use llm_os_core::request::{Request, canonical};
use proptest::prelude::*;
use serde::Deserialize;

/// A good frame, to be spoilt in one place.
const GOOD: &str = r#"{"request_id":"r-1","session_id":"s-1","version":"1","mode":"execute","actions":[{"action":"exec.run","params":{"argv":["/bin/echo"]},"reason":"greet"}]}"#;

/// The code and path that a frame is refused with.
fn refusal(frame: &[u8]) -> (String, String) {
    let shown = frame.escape_ascii().to_string();
    let fault = Request::read(frame).expect_err(&shown).fault;
    (fault.code.as_str().to_owned(), fault.path.unwrap_or_default())
}

/// Spoils the good frame by replacing `from`, and checks the refusal.
fn check(from: &str, to: &str, code: &str, path: &str) {
    let frame = GOOD.replacen(from, to, 1);
    assert_ne!(frame, GOOD, "{from} is not in the good frame");
    assert_eq!(refusal(frame.as_bytes()), (code.to_owned(), path.to_owned()), "{frame}");
}

#[test]
fn the_good_frame_is_good() {
    let request = Request::read(GOOD.as_bytes()).unwrap();
    assert_eq!(request.calls[0].params.canonical(), r#"{"argv":["/bin/echo"]}"#);
}

#[test]
fn bytes_that_are_not_utf8_are_never_decoded() {
    // J01
    let at = GOOD.find("/bin").unwrap();
    let frame = [&GOOD.as_bytes()[..at], b"\xff\xfe", &GOOD.as_bytes()[at..]].concat();
    assert_eq!(refusal(&frame), ("parse_failed".to_owned(), "$".to_owned()));
}

#[test]
fn a_byte_order_mark_is_refused() {
    // J02
    check("{\"request_id", "\u{feff}{\"request_id", "parse_failed", "$");
}

#[test]
fn bytes_after_a_valid_plan_refuse_all_of_it() {
    // J03
    for rest in ["}x", "{}", ",", "\0", "//"] {
        assert_eq!(refusal(format!("{GOOD}{rest}").as_bytes()).0, "parse_failed", "{rest}");
    }
}

#[test]
fn a_field_that_is_stated_twice_is_refused_at_every_depth() {
    // J04, J05
    check("\"mode\":", "\"mode\":\"plan_only\",\"mode\":", "parse_failed", "$");
    check("\"reason\":", "\"reason\":\"x\",\"reason\":", "parse_failed", "$.actions[0]");
    check(
        "\"argv\":",
        "\"env\":{\"LANG\":\"C\",\"L\\u0041NG\":\"x\"},\"argv\":",
        "parse_failed",
        "$.actions[0].params.env",
    );
}

#[test]
fn a_field_that_is_not_known_is_refused() {
    // J06, J07; what is inside `params` each capability refuses by its types
    check("\"mode\":", "\"confirmed\":true,\"mode\":", "parse_failed", "$");
    check("\"reason\":", "\"shell\":true,\"reason\":", "parse_failed", "$.actions[0]");
    check(
        "\"mode\":",
        "\"confirmation\":{\"token\":\"t\",\"ok\":1},\"mode\":",
        "parse_failed",
        "$.confirmation",
    );
}

#[test]
fn a_field_that_is_missing_is_refused() {
    for field in ["\"request_id\":\"r-1\",", "\"mode\":\"execute\","] {
        check(field, "", "parse_failed", "$");
    }
    check(",\"reason\":\"greet\"", "", "parse_failed", "$.actions[0]");
    check("\"params\":{\"argv\":[\"/bin/echo\"]},", "", "parse_failed", "$.actions[0]");
}

#[test]
fn endless_nesting_is_refused_without_a_deep_stack() {
    // J08
    for frame in ["[".repeat(30_000), "{\"a\":".repeat(13_000)] {
        assert_eq!(refusal(frame.as_bytes()).0, "parse_failed");
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Json::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert!(Json::parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
}

#[test]
fn numbers_are_never_rounded_or_clamped() {
    // J11, J13
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Params {
        #[expect(dead_code, reason = "only whether it is accepted is asked")]
        max_bytes: u64,
    }
    let read = |number: &str| {
        let json = Json::parse(format!("{{\"max_bytes\":{number}}}").as_bytes())?;
        json.read::<Params>()
    };
    for wrong in [
        "1e400",
        "-1",
        "1.0",
        "-0",
        "1.5",
        "1e3",
        "18446744073709551616",
        "9007199254740993.0",
        "NaN",
        "01",
        "+1",
        "\"1\"",
    ] {
        let error = read(wrong).expect_err(wrong);
        assert!(["$", "$.max_bytes"].contains(&error.path().as_str()), "{wrong}: {error}");
    }
    for right in ["0", "9007199254740993", "18446744073709551615"] {
        assert_eq!(Json::parse(right.as_bytes()).unwrap().canonical(), right);
        assert!(read(right).is_ok(), "{right}");
    }
}

#[test]
fn a_lone_surrogate_is_refused() {
    // J14
    for lone in ["\\ud800", "\\udc00", "\\ud800x", "\\udc00\\ud800"] {
        let frame = GOOD.replace("/bin/echo", lone);
        assert_eq!(refusal(frame.as_bytes()).0, "parse_failed", "{lone}");
    }
}

#[test]
fn another_type_than_the_one_asked_for_is_refused() {
    // J16
    check("\"r-1\"", "1", "parse_failed", "$.request_id");
    check("\"s-1\"", "null", "parse_failed", "$.session_id");
    check("{\"argv\":[\"/bin/echo\"]}", "[\"/bin/echo\"]", "parse_failed", "$.actions[0].params");
    check("{\"argv\":[\"/bin/echo\"]}", "{\"argv\":[null]}", "parse_failed", "$.actions[0].params.argv[0]");
    check("\"mode\":", "\"once\":1,\"mode\":", "parse_failed", "$.once");
    let positional = r#"["r-1","s-1","1","execute",[],{},false]"#;
    assert_eq!(refusal(positional.as_bytes()), ("parse_failed".to_owned(), "$".to_owned()));
    let action = r#"["exec.run",{"argv":["/bin/echo"]},"greet"]"#;
    check(
        r#"{"action":"exec.run","params":{"argv":["/bin/echo"]},"reason":"greet"}"#,
        action,
        "parse_failed",
        "$.actions[0]",
    );
}

#[test]
fn no_case_is_folded_and_nothing_is_trimmed() {
    // J18
    for mode in ["Execute", "EXECUTE", "execute ", " execute", "", "plan-only"] {
        check("\"execute\"", &format!("\"{mode}\""), "parse_failed", "$.mode");
    }
    for action in ["Exec.run", "exec.run ", "exec.Run", "exec", "exec.run.x", "exec/run", "\u{435}xec.run"] {
        check("\"exec.run\"", &format!("\"{action}\""), "parse_failed", "$.actions[0].action");
    }
    check("\"mode\"", "\"Mode\"", "parse_failed", "$");
}

#[test]
fn only_this_version_is_spoken() {
    // J19
    for version in ["\"999\"", "\"\"", "\"1.0\"", "\" 1\""] {
        check("\"version\":\"1\"", &format!("\"version\":{version}"), "validation_failed", "$.version");
    }
    check("\"version\":\"1\",", "", "validation_failed", "$.version");
    check("\"version\":\"1\"", "\"version\":1", "parse_failed", "$.version");
}

#[test]
fn a_plan_has_1_to_64_actions() {
    // J20
    let action = r#"{"action":"a.b","params":{},"reason":"x"}"#;
    let plan = |count: usize| {
        format!(
            r#"{{"request_id":"r","version":"1","mode":"execute","actions":[{}]}}"#,
            vec![action; count].join(",")
        )
    };
    assert!(Request::read(plan(64).as_bytes()).is_ok());
    for count in [0, 65, 1_500] {
        assert_eq!(
            refusal(plan(count).as_bytes()),
            ("validation_failed".to_owned(), "$.actions".to_owned()),
            "{count}"
        );
    }
}

#[test]
fn ids_are_plain_and_a_wrong_one_is_not_echoed() {
    // J21
    for id in ["../../x", &"a".repeat(4096), "a\\nb", "", " a", "-a", "a/b", "\\u0000"] {
        check("\"r-1\"", &format!("\"{id}\""), "validation_failed", "$.request_id");
        check("\"s-1\"", &format!("\"{id}\""), "validation_failed", "$.session_id");
        let frame = GOOD.replacen("r-1", id, 1);
        let unread = Request::read(frame.as_bytes()).unwrap_err();
        assert_eq!((unread.id, unread.session.unwrap().as_str()), (None, "s-1"), "{id}");
    }
}

#[test]
fn the_ids_of_a_refused_frame_are_echoed_where_they_can_be_read() {
    let unread = Request::read(GOOD.replace("execute", "Execute").as_bytes()).unwrap_err();
    assert_eq!(unread.id.unwrap().as_str(), "r-1");
    let twice = GOOD.replacen("\"mode\"", "\"request_id\":\"r-2\",\"mode\"", 1);
    assert!(Request::read(twice.as_bytes()).unwrap_err().id.is_none(), "two ids are none");
}

#[test]
fn messages_show_hostile_text_escaped_and_cut() {
    let frame = GOOD.replace("execute", &format!("\\u001b[2J\u{202e}{}", "x".repeat(500)));
    let fault = Request::read(frame.as_bytes()).unwrap_err().fault;
    assert!(
        fault.message.bytes().all(|b| (b' '..=b'~').contains(&b)) && fault.message.len() < 300,
        "{}",
        fault.message
    );
}

#[test]
fn a_wrong_token_is_not_repeated_in_the_answer() {
    // C08
    for token in ["4711", "[\"hunter2\"]", "{\"a\":\"hunter2\"}"] {
        let frame = GOOD.replace("\"mode\"", &format!("\"confirmation\":{{\"token\":{token}}},\"mode\""));
        let fault = Request::read(frame.as_bytes()).unwrap_err().fault;
        assert!(
            !format!("{fault:?}").contains("hunter2") && !format!("{fault:?}").contains("4711"),
            "{fault:?}"
        );
    }
}

/// JSON as a caller may write it.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_filter("JSON has no NaN", |n| n.is_finite()).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_canonical_form_is_ascii_and_reads_back_as_the_same(value in any_json()) {
        let parsed = Json::parse(value.to_string().as_bytes()).unwrap();
        let canonical = parsed.canonical();
        prop_assert!(canonical.bytes().all(|b| (b' '..=b'~').contains(&b)), "{}", canonical);
        prop_assert_eq!(&Json::parse(canonical.as_bytes()).unwrap(), &parsed);
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&canonical).unwrap(), value);
    }

    #[test]
    fn a_number_is_read_as_what_it_says_and_reads_back_as_the_same(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
        let text = format!("{number:e}");
        let parsed = Json::parse(text.as_bytes()).unwrap();
        if let Json::Float(read) = parsed {
            prop_assert_eq!(read.to_bits(), number.to_bits());
        }
        prop_assert_eq!(&Json::parse(parsed.canonical().as_bytes()).unwrap(), &parsed);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::read(&bytes);
    }

    #[test]
    fn one_changed_byte_is_refused_or_shows_in_the_canonical_form(at in 0..GOOD.len(), byte in 0x20u8..0x7f) {
        let plan = |frame: &[u8]| {
            let request = Request::read(frame).ok()?;
            Some((request.id, request.mode, request.once, canonical(request.session.as_ref(), &request.calls)))
        };
        let mut frame = GOOD.as_bytes().to_vec();
        prop_assume!(frame[at] != byte);
        frame[at] = byte;
        prop_assert!(plan(&frame) != plan(GOOD.as_bytes()), "{}", frame.escape_ascii());
    }
}
