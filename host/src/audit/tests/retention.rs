//! What is kept no longer.

use std::time::Duration;

use llm_os_core::audit::{Problem, ProblemKind};

use super::*;

/// Every closed segment is older.
const NOTHING: Option<Duration> = Some(Duration::from_nanos(1));

fn open(state: &State, retention: Option<Duration>) -> Log {
    let options = Options { segment_bytes: 1_500, checkpoint_records: 4, readers: None, retention };
    Log::open(state.0.path(), options).unwrap()
}

/// A log of several segments.
fn filled() -> State {
    let state = State::new();
    let log = open(&state, None);
    for n in 0..12 {
        put(&log, vec![intent("a", n), outcome("a", n)]);
    }
    drop(log);
    assert!(state.segments().len() > 3);
    state
}

fn checked(state: &State) -> Result<Verified, Problem> {
    let key = PublicKey::parse(&fs::read_to_string(state.path("audit.pub")).unwrap()).unwrap();
    let mut verifier = Verifier::new().key(key);
    for line in state.bytes().split_inclusive(|b| *b == b'\n') {
        verifier.line(line.strip_suffix(b"\n").unwrap())?;
    }
    verifier.finish(b"")
}

#[test]
fn everything_is_kept_unless_retention_is_set_or_while_it_is_young() {
    let state = filled();
    let before = state.segments();
    drop(open(&state, None));
    drop(open(&state, Some(Duration::from_secs(3_600))));
    assert_eq!(state.segments(), before);
}

#[test]
fn a_start_removes_old_segments_but_the_current_one_and_the_rest_verifies() {
    let state = filled();
    let (records, current) = (state.records(), state.last());
    drop(open(&state, NOTHING));
    assert_eq!(state.segments(), [current]);
    let verified = state.verified();
    let first = state.records()[0]["seq"].as_u64().unwrap();
    assert_eq!(verified.retired, first - 1);
    assert!(verified.covers_end() && verified.retired + verified.records > records.len() as u64);
    let said = state.records().into_iter().find(|record| record["event"] == "retired").unwrap();
    assert_eq!(said["data"]["seq"], first - 1);
    assert_eq!(said["data"]["segments"][0]["name"], "audit-00000001.jsonl");
}

#[test]
fn a_rotation_and_the_hourly_round_remove_them_as_well() {
    let state = State::new();
    let log = open(&state, NOTHING);
    for n in 0..24 {
        put(&log, vec![intent("a", n), outcome("a", n)]);
        assert_eq!(state.segments().len(), 1);
    }
    drop(log);
    state.verified();

    let state = filled();
    let log = open(&state, Some(Duration::from_millis(200)));
    while log_is_longer(&state) {
        block_on(log.retire()).unwrap();
    }
    block_on(log.close()).unwrap();
    assert!(state.verified().retired > 0);
}

fn log_is_longer(state: &State) -> bool {
    state.segments().len() > 1
}

/// A06: wherever the removals are cut short the log verifies, and the next start goes on.
#[test]
fn a_crash_between_the_record_and_any_removal_leaves_a_log_that_verifies() {
    let state = filled();
    let old: Vec<_> = state.segments().iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    drop(open(&state, NOTHING));
    for removed in 0..old.len() {
        for (path, bytes) in &old[removed..old.len() - 1] {
            fs::write(path, bytes).unwrap();
            fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
        }
        for (path, _) in &old[..removed.min(old.len() - 1)] {
            let _ = fs::remove_file(path);
        }
        assert!(state.verified().covers_end(), "{removed} removed");
    }
    for (path, bytes) in &old[1..old.len() - 1] {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    drop(open(&state, NOTHING));
    assert_eq!(state.segments().len(), 1);
    state.verified();
}

/// A06: what nobody retired, or another end than the one that was retired, is missing.
#[test]
fn a_beginning_that_no_signed_record_covers_is_a_gap() {
    let state = filled();
    fs::remove_file(&state.segments()[0]).unwrap();
    let first = state.records()[0]["seq"].as_u64().unwrap();
    let gap = |to| Err(Problem { seq: 1, kind: ProblemKind::Gap { to } });
    assert_eq!(checked(&state), gap(first - 1));

    let state = filled();
    drop(open(&state, NOTHING));
    let retired = state.verified().retired;
    let (path, bytes) = (state.last(), fs::read(state.last()).unwrap());
    // One record more than was retired.
    let second = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    fs::write(&path, &bytes[second..]).unwrap();
    assert_eq!(checked(&state), gap(retired + 1));
    // The record that says so, without a checkpoint after it.
    let lines: Vec<_> = bytes.split_inclusive(|b| *b == b'\n').collect();
    let said = lines.iter().position(|line| String::from_utf8_lossy(line).contains("\"retired\"")).unwrap();
    fs::write(&path, lines[..=said].concat()).unwrap();
    assert_eq!(checked(&state), gap(retired));
}
