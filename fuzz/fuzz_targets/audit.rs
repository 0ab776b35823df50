//! What the reader of the audit log verifies is a chain, whoever wrote it; and of a log that a host wrote no byte can be
//! another one.
//!
//! Input: with a zero first, the bytes of a log; otherwise which byte of a log is changed and to what, and the texts that
//! stand in its records.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llm_os_core::audit::{
    Body, Chain, Entry, Event, Line, Link, Problem, Signer, Verified, Verifier, printable, written,
};
use llm_os_core::name::Id;
use sha2::{Digest, Sha256};

const TIME: &str = "2026-11-23T05:54:01.123456Z";

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::from_seed(&[7; 32]));

fuzz_target!(|input: &[u8]| {
    match input {
        [0, log @ ..] => anything(log),
        [value, high, low, texts @ ..] => {
            one_byte(*value, usize::from(u16::from_be_bytes([*high, *low])), texts)
        }
        _ => {}
    }
});

fn anything(log: &[u8]) {
    for line in log.split(|byte| *byte == b'\n') {
        let shown = printable(line);
        assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown}");
        if let Some(record) = Line::read(line) {
            assert_eq!(shown.as_bytes(), line);
            assert!(line.starts_with(format!("{{\"seq\":{},", record.seq).as_bytes()));
        }
    }
    let mut verifier = Verifier::new();
    let (lines, rest) = split(log);
    let taken = lines.iter().try_for_each(|line| verifier.line(line).map(drop));
    if taken.and_then(|()| verifier.finish(rest)).is_ok() {
        assert!(is_chained(&lines) && written(rest).is_empty(), "{}", String::from_utf8_lossy(log));
    }
}

/// What a chain is by its definition.
fn is_chained(lines: &[&[u8]]) -> bool {
    let mut before = "0".repeat(64);
    lines.iter().enumerate().all(|(index, line)| {
        let (begin, end) = (format!("{{\"seq\":{},", index + 1), format!(",\"prev\":\"{before}\"}}"));
        before = Sha256::digest(line).iter().map(|byte| format!("{byte:02x}")).collect();
        line.starts_with(begin.as_bytes()) && line.ends_with(end.as_bytes())
    })
}

/// A log with a record for each line of the texts, signed at its end and after each third one.
fn log_of(texts: &[u8]) -> Vec<u8> {
    let (mut chain, mut log) = (Chain::default(), Vec::new());
    for (index, text) in texts.split(|byte| *byte == b'\n').take(12).enumerate() {
        let text = String::from_utf8_lossy(text).into_owned();
        let entry = Entry {
            request_id: Id::new(&text),
            data: serde_json::from_str(&text).ok(),
            why: Some(text),
            ..Entry::new(Event::ALL[index])
        };
        chain.append(&Body::of(&entry), TIME, &mut log);
        if index % 3 == 2 {
            chain.checkpoint(&SIGNER, TIME, &mut log);
        }
    }
    chain.checkpoint(&SIGNER, TIME, &mut log);
    log
}

fn one_byte(value: u8, at: usize, texts: &[u8]) {
    let log = log_of(texts);
    let (lines, _) = split(&log);
    let verified =
        verify(&log).unwrap_or_else(|problem| panic!("{problem}: {}", String::from_utf8_lossy(&log)));
    assert!(verified.covers_end() && verified.records == lines.len() as u64 && is_chained(&lines));
    for line in &lines {
        serde_json::from_slice::<serde::de::IgnoredAny>(line).expect("a record is JSON");
    }
    // Cut after any record, it lacks the receipt of the last one.
    let last = Link::to(lines[lines.len() - 1]);
    let mut cut = Verifier::new().key(SIGNER.public()).expect(last);
    for line in &lines[..at % lines.len()] {
        cut.line(line).expect("what is left verifies");
    }
    cut.finish(b"").expect_err("the end is missing");

    let at = at % log.len();
    let record = log[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
    let mut other = log;
    other[at] ^= value;
    let found = verify(&other).map_err(|problem| problem.seq);
    assert_eq!(found, Err(record), "{}", String::from_utf8_lossy(&other));
}

fn verify(log: &[u8]) -> Result<Verified, Problem> {
    let (lines, rest) = split(log);
    let mut verifier = Verifier::new().key(SIGNER.public());
    lines.iter().try_for_each(|line| verifier.line(line).map(drop))?;
    verifier.finish(rest)
}

fn split(log: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut lines: Vec<_> = log.split(|byte| *byte == b'\n').collect();
    let rest = lines.pop().unwrap_or_default();
    (lines, rest)
}
