//! `PROTOCOL.md` is true: its examples are read by the code that the host runs.

use llm_os_core::Code;
use llm_os_core::request::{Request, canonical};
use serde_json::Value;

const PROTOCOL: &str = include_str!("../../PROTOCOL.md");

/// The fenced blocks with this info string: the line where each begins, its text, and what follows it.
fn blocks(info: &str) -> Vec<(usize, String, &'static str)> {
    let fence = format!("```{info}\n");
    let starts = PROTOCOL
        .match_indices(&fence)
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || PROTOCOL[..*at].ends_with('\n'));
    let found = starts.map(|at| {
        let (text, after) = PROTOCOL[at + fence.len()..].split_once("```\n").expect("an open fence");
        (PROTOCOL[..at].lines().count() + 1, text.to_owned(), after.trim_start())
    });
    found.collect()
}

/// A block on one line, as it would be sent.
fn frame(text: &str) -> String {
    text.trim_end().replace('\n', " ")
}

#[test]
fn every_request_of_the_page_is_accepted() {
    let requests = blocks("json request");
    assert!(requests.len() >= 12, "found {}", requests.len());
    for (line, text, _) in requests {
        if let Err(unread) = Request::read(frame(&text).as_bytes()) {
            panic!("PROTOCOL.md:{line}: {} at {:?}", unread.fault, unread.fault.path);
        }
    }
}

#[test]
fn every_invalid_request_of_the_page_is_refused_as_the_page_says() {
    let invalid = blocks("json invalid");
    assert!(invalid.len() >= 10, "found {}", invalid.len());
    for (line, text, after) in invalid {
        let fault = Request::read(frame(&text).as_bytes()).expect_err(&format!("PROTOCOL.md:{line}")).fault;
        let found = format!("`{}` at `{}`:", fault.code, fault.path.as_deref().unwrap_or_default());
        assert!(after.starts_with(&found), "PROTOCOL.md:{line}: {found} {}", fault.message);
    }
}

/// The keys of an object in the order they stand, seen from the positions of their first appearance.
fn in_order(text: &str, keys: &[&str]) -> bool {
    let at: Vec<_> = keys.iter().map(|key| text.find(&format!("\"{key}\":"))).collect();
    at.iter().all(Option::is_some) && at.is_sorted()
}

#[test]
fn every_answer_of_the_page_is_json_with_its_keys_in_order() {
    let answers = blocks("json response");
    assert!(answers.len() >= 4, "found {}", answers.len());
    for (line, text, _) in answers {
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("PROTOCOL.md:{line}: {e}"));
        let keys = ["request_id", "session_id", "version", "executed", "results", "error", "meta"];
        let found: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(found.len(), keys.len(), "PROTOCOL.md:{line}: {found:?}");
        // The results hold an `error` of their own, so what is looked at is all but them.
        let results = text.find("\"results\":").unwrap()..text.rfind("\"error\":").unwrap();
        assert!(in_order(&text[..results.start], &keys[..4]), "PROTOCOL.md:{line}");
        assert!(in_order(&text[results.end..], &keys[5..]), "PROTOCOL.md:{line}");
    }
}

#[test]
fn the_answers_that_the_host_writes_have_their_keys_in_the_order_of_the_page() {
    use llm_os_core::Fault;
    use llm_os_core::response::Response;
    let line = Response::refused(None, None, Fault::invalid("$.version", "wrong")).to_line();
    let line = String::from_utf8(line).unwrap();
    assert!(
        in_order(&line, &["request_id", "session_id", "version", "executed", "results", "error", "meta"]),
        "{line}"
    );
    assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
}

#[test]
fn the_table_of_error_codes_is_the_whole_set() {
    let table = PROTOCOL.split_once("### Error codes").unwrap().1.split_once("\n### ").unwrap().0;
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    let known: Vec<_> = Code::HOST.iter().map(|code| code.as_str()).collect();
    assert_eq!(rows.collect::<Vec<_>>(), known);
}

#[test]
fn every_error_code_has_one_exit_code() {
    let table = PROTOCOL.split_once("## Exit codes").unwrap().1;
    for code in Code::HOST {
        assert_eq!(table.matches(&format!("`{code}`")).count(), 1, "{code}");
    }
}

#[test]
fn the_statement_of_the_page_is_one_that_can_be_signed() {
    use llm_os_core::approval::Statement;
    let (line, text, _) = blocks("statement").swap_remove(0);
    assert!(Statement::read(&text).is_some_and(|read| read.to_string() == text), "PROTOCOL.md:{line}");
}

#[test]
fn the_canonical_form_of_the_page_is_the_one_of_the_code() {
    let (_, first, _) = blocks("json request").swap_remove(0);
    let (_, shown, _) = blocks("text").swap_remove(0);
    let request = Request::read(frame(&first).as_bytes()).unwrap();
    assert_eq!(canonical(request.session.as_ref(), &request.calls), shown.trim_end());
}
