//! The reader of lists of approvers refuses in printable text, and takes each line for what it is alone; a signature
//! counts by a key of the list, in its time, for the statement that was signed.
//!
//! Input: the bytes of a list, in which 1 and 2 stand for keys that sign.
#![no_main]

mod approver;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use approver::{Approver, assert_printable, at, now, statement};
use libfuzzer_sys::fuzz_target;
use llm_os_core::approval::{SignatureError, Signers, SignersError, Statement};

/// Somebody who may be in a list.
struct Known {
    key: String,
    fingerprint: String,
    /// What this key signed.
    signature: String,
}

static KNOWN: LazyLock<[Known; 2]> = LazyLock::new(|| {
    [1, 2].map(|seed| {
        let approver = Approver::from_seed(seed);
        Known {
            key: approver.key(),
            fingerprint: approver.fingerprint(),
            signature: approver.sign(&statement()),
        }
    })
});

fuzz_target!(|input: &[u8]| {
    let list = with_keys(input);
    let whole = Signers::read(&list);
    if let Err(refused) = &whole {
        assert_printable(&refused.to_string());
    }
    means_the_same_line_by_line(&list, &whole);
    if let Ok(signers) = &whole {
        KNOWN.iter().for_each(|known| counts_for_its_own_statement(signers, known));
    }
});

fn with_keys(input: &[u8]) -> Vec<u8> {
    let mut list = Vec::with_capacity(input.len());
    for byte in input {
        match byte {
            1 | 2 => list.extend_from_slice(KNOWN[usize::from(*byte) - 1].key.as_bytes()),
            other => list.push(*other),
        }
    }
    list
}

fn means_the_same_line_by_line(list: &[u8], whole: &Result<Signers, SignersError>) {
    let lines: Vec<_> = list.split(|byte| *byte == b'\n').collect();
    let taken = match whole {
        Err(SignersError::Line { line, .. }) => &lines[..line - 1],
        Err(SignersError::Nobody(_)) | Ok(_) => &lines[..],
    };
    let mut people = Vec::new();
    for line in taken {
        match Signers::read(line) {
            Ok(alone) => people.extend(alone.people()),
            Err(SignersError::Nobody(_)) => {}
            Err(refused) => panic!("taken with others only: {refused}"),
        }
    }
    match whole {
        Ok(signers) => {
            assert_eq!(signers.people().collect::<Vec<_>>(), people);
            let keys: BTreeSet<_> = people.iter().map(|by| &by.fingerprint).collect();
            assert_eq!(keys.len(), people.len(), "a key stands on two lines");
        }
        Err(SignersError::Nobody(_)) => assert!(people.is_empty()),
        Err(SignersError::Line { why, .. }) => {
            let line = lines[taken.len()];
            match Signers::read(line) {
                Err(SignersError::Line { line: 1, why: alone }) => assert_eq!(alone, *why),
                // Its key stands on an earlier line.
                _ => assert!(taken.iter().any(|earlier| is_second(earlier, line)), "{why}"),
            }
        }
    }
}

/// Whether a line is refused for what is on this one.
fn is_second(earlier: &[u8], line: &[u8]) -> bool {
    matches!(
        Signers::read(&[earlier, b"\n", line].concat()),
        Err(SignersError::Line { line: 2, why }) if why.contains("already")
    )
}

fn counts_for_its_own_statement(signers: &Signers, known: &Known) {
    let person = signers.people().find(|by| by.fingerprint == known.fingerprint);
    match (signers.verify(&statement(), &known.signature, now()), person) {
        (Ok(by), person) => assert_eq!(Some(by), person),
        (Err(refused), Some(_)) => {
            let is_time =
                matches!(refused, SignatureError::NotYetValid { .. } | SignatureError::KeyExpired { .. });
            assert!(is_time, "{refused}");
            assert_printable(&refused.to_string());
        }
        (Err(refused), None) => {
            let is_unknown =
                matches!(refused, SignatureError::UnknownKey { .. } | SignatureError::KeyNamespace { .. });
            assert!(is_unknown, "{refused}");
            assert_printable(&refused.to_string());
        }
    }
    let other = Statement { session: true, ..statement() };
    assert!(signers.verify(&other, &known.signature, now()).is_err(), "another statement");
    assert!(signers.verify(&statement(), &known.signature, at("2026-11-29T01:00:01Z")).is_err(), "too late");
}
