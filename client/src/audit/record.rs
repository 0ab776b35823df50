//! A record of the log, for people: a row that says what happened, and below it what belongs to that.

use llm_os_core::audit::{Line, printable};
use serde_json::Value;

use crate::audit::about;
use crate::screen::{Screen, quoted};
use crate::text::{Table, heading, word};

/// How much is shown of one value.
const SHOWN: usize = 400;
/// How far what belongs to a record is set in.
const INDENT: usize = 8;

/// Shows a line of the log, whoever wrote it.
pub(super) fn show(line: &[u8], screen: &mut Screen) {
    let record = Line::read(line).and_then(|line| serde_json::from_slice::<Value>(line.bytes).ok());
    let Some(record) = record else {
        screen.line(0, "not a record:");
        screen.foreign(INDENT, &cut(&printable(line)));
        return;
    };
    heading(INDENT, &head(&record), screen);
    let mut rows = Table::bare();
    decision(&record["decision"], &mut rows);
    outcome(&record["outcome"], &mut rows);
    request(&record, &mut rows);
    who(&record["who"], &mut rows);
    what(&record, &mut rows);
    evidence(&record["evidence"], &mut rows);
    data(&record, &mut rows);
    rows.write(INDENT, screen);
}

/// Its number and time, what happened, to which actions, and how that was decided or ended.
fn head(record: &Value) -> String {
    let [seq, time, event] = ["seq", "time", "event"].map(|name| of(&record[name]));
    let end = [&record["decision"]["decision"], &record["outcome"]["status"]];
    let end = end.into_iter().filter(|end| **end != record["event"]).filter_map(Value::as_str).map(word);
    let row =
        [format!("{seq:<6}"), time, format!("{event:<12}")].into_iter().chain(actions(record)).chain(end);
    row.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

fn actions(record: &Value) -> Option<String> {
    let names: Vec<_> = about::actions(record).map(word).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn decision(decision: &Value, rows: &mut Table<2>) {
    for policy in decision["policies"].as_array().into_iter().flatten() {
        let reason = policy["reason"].as_str().map_or("(it states no reason)".to_owned(), quoted);
        row(rows, "policy", &format!("{}: {reason}", of(&policy["policy"])));
    }
    let approved = &decision["approved"];
    if approved.is_object() {
        let [id, uid, time] = ["pending_id", "approver", "time"].map(|name| of(&approved[name]));
        let mut told = vec![format!("{id} by user {uid} at {time}")];
        told.extend(named(approved, &[("by grant ", "grant"), ("signed by ", "signer")]));
        list(rows, "approved", &told);
    }
}

fn outcome(outcome: &Value, rows: &mut Table<2>) {
    let mut told = named(outcome, &[("", "code"), ("at ", "path")]);
    told.extend(outcome["duration_us"].as_u64().map(|us| format!("{}.{:03} ms", us / 1000, us % 1000)));
    told.extend(outcome["output_bytes"].as_u64().map(|bytes| format!("{bytes} bytes of output")));
    list(rows, "outcome", &told);
}

fn request(record: &Value, rows: &mut Table<2>) {
    let mut told = named(record, &[("", "request_id"), ("session ", "session_id"), ("run ", "run")]);
    told.extend(about::index(record).map(|index| format!("action {}", index.saturating_add(1))));
    list(rows, "request", &told);
}

fn who(who: &Value, rows: &mut Table<2>) {
    list(rows, "who", &named(who, &[("user ", "uid"), ("process ", "pid"), ("", "exe")]));
}

fn what(record: &Value, rows: &mut Table<2>) {
    if let Some(why) = record["why"].as_str() {
        row(rows, "why", &quoted(why));
    }
    let what = &record["what"];
    if !what["params"].is_null() {
        row(rows, "params", &what["params"].to_string());
    }
    if what["danger"] == true {
        row(rows, "danger", "the requester stated one");
    }
    for effect in what["effects"].as_array().into_iter().flatten() {
        let resource = &effect["resource"];
        let id = resource["id"].as_str().map(quoted).unwrap_or_default();
        row(rows, "effect", &format!("{} {} {id}", of(&effect["verb"]), of(&resource["kind"])));
    }
}

fn evidence(kept: &Value, rows: &mut Table<2>) {
    for item in kept.as_array().into_iter().flatten() {
        let [name, media_type, bytes, sha256] =
            ["name", "media_type", "bytes", "sha256"].map(|name| of(&item[name]));
        row(rows, "kept", &format!("{name}, {media_type}, {bytes} bytes, SHA-256 {sha256}"));
    }
}

/// What belongs to this event alone, and is not told already.
fn data(record: &Value, rows: &mut Table<2>) {
    for (name, value) in record["data"].as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "index" | "action" | "actions") {
            row(rows, "data", &format!("{} = {}", word(name), of(value)));
        }
    }
}

/// The fields that are there, each behind its words.
fn named(value: &Value, fields: &[(&str, &str)]) -> Vec<String> {
    let there = fields.iter().filter(|(_, name)| !value[name].is_null());
    there.map(|(words, name)| format!("{words}{}", of(&value[name]))).collect()
}

fn list(rows: &mut Table<2>, name: &str, told: &[String]) {
    if !told.is_empty() {
        row(rows, name, &told.join(", "));
    }
}

fn row(rows: &mut Table<2>, name: &str, text: &str) {
    rows.row([name.to_owned(), cut(text)]);
}

/// One word for a value: a text as [`word`] has it, a digest or a signature by its beginning, all else as JSON.
fn of(value: &Value) -> String {
    match value.as_str() {
        Some(hex) if hex.len() >= 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("{}...", &hex[..16])
        }
        Some(text) => word(text),
        None => value.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} ({} bytes more: --json)", &text[..end], text.len() - end),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(record: &Value) -> String {
        let mut screen = Screen::default();
        show(record.to_string().as_bytes(), &mut screen);
        screen.as_str().to_owned()
    }

    fn record(more: &Value) -> Value {
        let mut record = json!({"seq": 7, "time": "2026-11-23T05:54:01.123456Z", "event": "intent", "request_id": "r-1", "session_id": null});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record["prev"] = json!("0".repeat(64));
        record
    }

    #[test]
    fn a_record_says_what_happened_and_what_belongs_to_it() {
        let text = shown(&record(&json!({
            "who": {"uid": 7, "gid": 7, "pid": 9, "exe": "/bin/a b"}, "why": "look", "run": "a-1",
            "what": {"action": "fs.read", "index": 0, "params": {"path": "/w"}, "danger": true,
                     "effects": [{"verb": "observe", "resource": {"kind": "Path", "id": "/w"}, "facts": {}}]},
            "decision": {"decision": "confirm", "policies": [{"policy": "ask", "reason": "a human decides"}],
                         "approved": {"pending_id": "p-1", "approver": 0, "time": "T", "signer": "SHA256:x"}},
        })));
        let expected = r#"7       2026-11-23T05:54:01.123456Z  intent        fs.read  confirm
        policy    ask: "a human decides"
        approved  p-1 by user 0 at T, signed by SHA256:x
        request   r-1, run a-1, action 1
        who       user 7, process 9, "/bin/a b"
        why       "look"
        params    {"path":"/w"}
        danger    the requester stated one
        effect    observe Path "/w"
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn an_outcome_says_how_it_ended() {
        let text = shown(&record(&json!({
            "event": "outcome", "outcome": {"status": "failed", "code": "read_failed", "duration_us": 1002, "output_bytes": 4},
            "data": {"index": 1, "next": "x"},
        })));
        let expected = r#"7       2026-11-23T05:54:01.123456Z  outcome       failed
        outcome  read_failed, 1.002 ms, 4 bytes of output
        request  r-1, action 2
        data     next = x
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_record_of_any_shape_is_shown_as_printable_ascii_in_rows_that_are_set_in() {
        let hostile = "\u{1b}[2J\u{202e}\u{200b}\n8       2026-11-23T05:54:01Z  approved\n";
        let within = json!([hostile, {hostile: hostile}, 1, null]);
        let names = [
            "who",
            "what",
            "why",
            "run",
            "decision",
            "outcome",
            "evidence",
            "data",
            "request_id",
            "event",
            "time",
        ];
        let mut records: Vec<Value> =
            names.iter().flat_map(|name| [json!({*name: hostile}), json!({*name: within})]).collect();
        records.push(json!({"what": {"action": hostile, "effects": within}, "data": {"actions": within, hostile: hostile}}));
        records.push(
            json!({"decision": {"decision": hostile, "policies": within, "approved": {hostile: hostile}}}),
        );
        for more in &records {
            let text = shown(&record(more));
            assert!(text.bytes().all(|b| matches!(b, b'\n' | b' '..=b'~')), "{text}");
            let begun = text.lines().filter(|row| !row.starts_with("        ")).count();
            assert_eq!(begun, 1, "{text}");
        }
        let mut screen = Screen::default();
        show(hostile.as_bytes(), &mut screen);
        assert!(screen.as_str().starts_with("not a record:\n        | "), "{}", screen.as_str());
    }

    #[test]
    fn a_long_value_is_cut_and_that_is_said() {
        let text = shown(&record(&json!({"why": "x".repeat(2000)})));
        assert!(text.contains("bytes more: --json)") && text.len() < 1000, "{text}");
    }
}
