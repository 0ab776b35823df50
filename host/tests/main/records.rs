//! The audit log on disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use llm_os_core::audit::{PublicKey, Verified, Verifier, segment_number};
use serde_json::Value;

/// The segments below a state directory, in order.
pub(crate) fn segments(state: &Path) -> Vec<PathBuf> {
    let mut segments = BTreeMap::new();
    let mut folders = vec![state.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            match segment_number(&name) {
                Some(number) => drop(segments.insert(number, entry.path())),
                None if entry.path().is_dir() => folders.push(entry.path()),
                None => {}
            }
        }
    }
    segments.into_values().collect()
}

/// Every byte of the log.
pub(crate) fn bytes(state: &Path) -> Vec<u8> {
    segments(state).iter().flat_map(|segment| fs::read(segment).unwrap()).collect()
}

/// The whole lines so far. A running host may be in the middle of another.
pub(crate) fn records(state: &Path) -> Vec<Value> {
    let bytes = bytes(state);
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e}: {}", line.escape_ascii())))
        .collect()
}

/// The records of one event, about one request where one is named.
pub(crate) fn of<'a>(records: &'a [Value], event: &str, request: Option<&str>) -> Vec<&'a Value> {
    let wanted =
        |record: &&Value| record["event"] == event && request.is_none_or(|id| record["request_id"] == id);
    records.iter().filter(wanted).collect()
}

/// Verifies the chain and its signatures.
#[track_caller]
pub(crate) fn verify(state: &Path) -> Verified {
    let folder = segments(state)[0].parent().unwrap().to_owned();
    let candidates = [folder.join("audit.pub"), state.join("audit.pub")];
    let key = candidates.iter().find_map(|path| fs::read_to_string(path).ok()).expect("a public key");
    let mut verifier = Verifier::new().key(PublicKey::parse(&key).expect("64 hexadecimal digits"));
    let bytes = bytes(state);
    let mut rest = bytes.as_slice();
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        verifier.line(&rest[..end]).unwrap_or_else(|problem| panic!("{problem}"));
        rest = &rest[end + 1..];
    }
    verifier.finish(rest).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Every intent has exactly one outcome, or one note that it was interrupted, and none comes without its intent.
#[track_caller]
pub(crate) fn assert_settled(records: &[Value]) {
    let key = |record: &Value| {
        let index = record["what"]["index"].as_u64().or(record["data"]["index"].as_u64());
        (record["run"].as_str().unwrap_or_default().to_owned(), index)
    };
    let mut open: BTreeMap<_, i32> = BTreeMap::new();
    for record in records {
        match record["event"].as_str().unwrap() {
            "intent" => *open.entry(key(record)).or_default() += 1,
            "outcome" | "interrupted" => *open.entry(key(record)).or_default() -= 1,
            _ => {}
        }
    }
    open.retain(|_, count| *count != 0);
    assert!(open.is_empty(), "intents and outcomes do not match: {open:?}");
}
