//! A host that is killed at any point (A03): this test binary runs itself and kills the copy.
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const STATE: &str = "AUDIT_CRASH_STATE";
/// What the copy tells before it waits to be killed.
const FAILPOINTS: [&str; 4] = ["start", "intent", "effect", "outcome"];

/// The copy: it tells each point that it reached, and goes on when it is told to.
#[test]
#[ignore = "run by the other tests of this module, in a process of its own"]
fn child() {
    let Some(state) = std::env::var_os(STATE) else { return };
    let state = Path::new(&state);
    let options = Options { segment_bytes: 2_000, checkpoint_records: 8, readers: None, retention: None };
    let log = Log::open(state, options).unwrap();
    let mut stdin = std::io::stdin().lines();
    let mut tell = |line: &str| {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "told {line}").unwrap();
        stdout.flush().unwrap();
        if stdin.next().is_none() {
            std::process::abort();
        }
    };
    for n in 0.. {
        tell("start");
        let receipt = write(&log, vec![intent("run", n)]).unwrap().receipt;
        tell(&format!("intent {receipt}"));
        fs::write(state.join(format!("effect-{n}")), "").unwrap();
        tell("effect");
        let receipt = write(&log, vec![outcome("run", n)]).unwrap().receipt;
        tell(&format!("outcome {receipt}"));
    }
}

/// Runs the copy until its `rounds`-th `point`, kills it there, or right after it was told to go on.
fn killed(state: &State, point: &str, rounds: usize, going_on: bool) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["audit::tests::crash::child", "--exact", "--ignored", "--nocapture"])
        .env(STATE, state.0.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut receipts = Vec::new();
    let mut reached = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The test harness writes before the first line, on the same one.
        let line = line.unwrap();
        let Some((_, told)) = line.split_once("told ") else { continue };
        let (told, receipt) = told.split_once(' ').unwrap_or((told, ""));
        receipts.extend((!receipt.is_empty()).then(|| receipt.to_owned()));
        reached += usize::from(told == point);
        let enough = reached == rounds;
        if !enough || going_on {
            stdin.write_all(b"\n").unwrap();
        }
        if enough {
            break;
        }
    }
    assert_eq!(reached, rounds, "the copy did not come to {point}");
    child.kill().unwrap();
    child.wait().unwrap();
    receipts
}

#[test]
fn killed_at_any_point_the_log_verifies_and_the_action_is_marked() {
    for point in FAILPOINTS {
        for rounds in [1, 5] {
            for going_on in [false, true] {
                let state = State::new();
                let receipts = killed(&state, point, rounds, going_on);
                drop(state.open());
                state.verified();
                let bytes = state.bytes();
                let lines: Vec<_> = bytes.split(|b| *b == b'\n').map(llm_os_core::audit::Link::to).collect();
                for receipt in receipts {
                    assert!(lines.iter().any(|link| link.as_str() == receipt), "{point}: a record is lost");
                }
                closed_and_complete(&state, point);
            }
        }
    }
}

/// Every effect has its intent; every intent its outcome, or the mark that it was interrupted.
fn closed_and_complete(state: &State, point: &str) {
    let records = state.records();
    let count = |event: &str, index: usize| {
        let of = |record: &&Value| {
            let index = json!(index);
            record["event"] == event && (record["what"]["index"] == index || record["data"]["index"] == index)
        };
        records.iter().filter(of).count()
    };
    for index in 0..10 {
        let intents = count("intent", index);
        assert_eq!(
            count("outcome", index) + count("interrupted", index),
            intents,
            "{point} {index}: {records:?}"
        );
        if state.path(&format!("effect-{index}")).exists() {
            assert_eq!(intents, 1, "{point}: an effect without its intent");
        }
    }
    assert!(count("interrupted", 0) + count("interrupted", 4) <= 1);
}
