//! The log as a whole, on real files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use llm_os_core::audit::{
    Entry, Event, Outcome, PublicKey, Verified, Verifier, What, segment_number, written,
};
use llm_os_core::name::Id;
use llm_os_core::pipeline::{Durable, Ledger};
use llm_os_core::{Code, Fault};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Log, OpenError, Options};

mod crash;
mod faults;
mod grouping;
mod retention;
mod speed;

/// A state directory.
struct State(TempDir);

impl State {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Log {
        self.open_with(64 << 20, 1_024).unwrap()
    }

    fn open_with(&self, segment_bytes: u64, checkpoint_records: u64) -> Result<Log, OpenError> {
        Log::open(
            self.0.path(),
            Options { segment_bytes, checkpoint_records, readers: None, retention: None },
        )
    }

    fn refusal(&self) -> OpenError {
        self.open_with(64 << 20, 1_024).err().expect("a refusal")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn segments(&self) -> Vec<PathBuf> {
        let names = fs::read_dir(self.path("audit")).unwrap().map(|entry| entry.unwrap().path());
        let is_segment =
            |path: &PathBuf| segment_number(path.file_name().unwrap().to_str().unwrap()).is_some();
        let mut segments: Vec<_> = names.filter(is_segment).collect();
        segments.sort();
        segments
    }

    fn last(&self) -> PathBuf {
        self.segments().pop().unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        self.segments().iter().flat_map(|path| written(&fs::read(path).unwrap()).to_vec()).collect()
    }

    fn records(&self) -> Vec<Value> {
        let bytes = self.bytes();
        let lines = bytes.split_inclusive(|b| *b == b'\n');
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    fn events(&self) -> Vec<String> {
        self.records().iter().map(|record| record["event"].as_str().unwrap().to_owned()).collect()
    }

    /// Verifies the log as `llmsh audit verify` does.
    #[track_caller]
    fn verified(&self) -> Verified {
        let key = PublicKey::parse(&fs::read_to_string(self.path("audit.pub")).unwrap()).unwrap();
        let mut verifier = Verifier::new().key(key);
        let bytes = self.bytes();
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        for line in bytes[..whole].split_inclusive(|b| *b == b'\n') {
            verifier.line(line.strip_suffix(b"\n").unwrap()).unwrap();
        }
        verifier.finish(&bytes[whole..]).unwrap()
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(future)
}

fn write(log: &Log, entries: Vec<Entry>) -> Result<Durable, Fault> {
    block_on(log.write(entries))
}

fn put(log: &Log, entries: Vec<Entry>) {
    let _durable = write(log, entries).unwrap();
}

fn intent(run: &str, index: usize) -> Entry {
    let what =
        What { action: "fs.write".to_owned(), index, params: None, danger: false, effects: Vec::new() };
    Entry {
        request_id: Id::new("r-1"),
        run: Some(run.to_owned()),
        what: Some(what),
        ..Entry::new(Event::Intent)
    }
}

fn outcome(run: &str, index: usize) -> Entry {
    Entry {
        run: Some(run.to_owned()),
        outcome: Some(Outcome::new("ok")),
        data: Some(json!({"index": index})),
        ..Entry::new(Event::Outcome)
    }
}

#[test]
fn everything_belongs_to_the_host_alone() {
    let state = State::new();
    put(&state.open(), vec![Entry::new(Event::Start)]);
    let mode = |name: &str| fs::metadata(state.path(name)).unwrap().mode() & 0o777;
    assert_eq!(mode("audit"), 0o700);
    for name in ["audit/audit-00000001.jsonl", "audit/lock", "audit.key", "digest.key", "once"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

/// A07.
#[test]
fn a_second_host_on_one_log_does_not_start() {
    let state = State::new();
    let log = state.open();
    assert!(matches!(state.refusal(), OpenError::Locked { .. }));
    drop(log);
    state.open();
}

#[test]
fn a_receipt_names_the_last_record_of_its_group() {
    let state = State::new();
    let log = state.open();
    put(&log, vec![Entry::new(Event::Start)]);
    let durable = write(&log, vec![intent("a", 0), outcome("a", 0)]).unwrap();
    assert_eq!((durable.first, durable.last), (2, 3));
    assert_eq!(state.verified().head.unwrap().as_str(), durable.receipt);
}

#[test]
fn an_orderly_stop_is_covered_to_its_end_and_gone_on_after() {
    let state = State::new();
    for _ in 0..2 {
        let log = state.open();
        put(&log, vec![Entry::new(Event::Start)]);
        block_on(log.close()).unwrap();
        assert!(state.verified().covers_end());
        assert_eq!(write(&log, vec![intent("a", 0)]).unwrap_err().code, Code::AUDIT_UNAVAILABLE);
        assert_eq!(log.note(vec![intent("a", 0)]).unwrap_err().code, Code::AUDIT_UNAVAILABLE);
    }
    assert_eq!(state.events(), ["start", "stop", "checkpoint", "start", "stop", "checkpoint"]);
}

#[test]
fn an_intent_without_outcome_is_marked_once_at_the_next_start() {
    let state = State::new();
    let log = state.open();
    put(&log, vec![intent("a", 0), outcome("a", 0), intent("a", 1)]);
    drop(log);
    drop(state.open());
    drop(state.open());
    assert_eq!(state.events(), ["intent", "outcome", "intent", "interrupted"]);
    let marked = &state.records()[3];
    assert_eq!(marked["run"], "a");
    assert_eq!(marked["request_id"], "r-1");
    assert_eq!(marked["data"], json!({"index": 1, "action": "fs.write", "intent_seq": 3}));
    state.verified();
}

#[test]
fn an_intent_that_is_open_at_an_orderly_stop_is_marked_there() {
    let state = State::new();
    let log = state.open();
    put(&log, vec![intent("a", 0)]);
    block_on(log.close()).unwrap();
    assert_eq!(state.events(), ["intent", "interrupted", "stop", "checkpoint"]);
}

/// A08.
#[test]
fn the_chain_goes_on_across_segments() {
    let state = State::new();
    let log = state.open_with(2_000, 1_024).unwrap();
    put(&log, vec![intent("long", 0)]);
    for n in 0..40 {
        put(&log, vec![intent("a", n), outcome("a", n)]);
    }
    drop(log);
    let segments = state.segments();
    assert!(segments.len() > 5, "{segments:?}");
    for pair in segments.windows(2) {
        let last = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().last().unwrap().to_owned();
        let first: Value =
            serde_json::from_str(fs::read_to_string(&pair[1]).unwrap().lines().next().unwrap()).unwrap();
        assert!(last(&pair[0]).contains("\"event\":\"checkpoint\""));
        assert_eq!(first["event"], "rotated");
        assert_eq!(first["data"]["previous"], pair[0].file_name().unwrap().to_str().unwrap());
        assert_eq!(first["data"]["head"], first["prev"]);
    }
    state.verified();
    // What was open before the rotations is still known to be.
    drop(state.open());
    let records = state.records();
    let marked: Vec<_> = records.iter().filter(|record| record["event"] == "interrupted").collect();
    assert_eq!(marked.len(), 1);
    assert_eq!((&marked[0]["run"], &marked[0]["data"]["intent_seq"]), (&json!("long"), &json!(1)));
}

/// A08: what copytruncate, a deletion or a rename of the segment under the host leads to.
#[test]
fn a_hand_on_the_segment_stops_the_log_until_the_next_start() {
    type Hand = fn(&PathBuf);
    let hands: [(&str, Hand); 5] = [
        ("cut", |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap()),
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("renamed", |path| fs::rename(path, path.with_extension("1")).unwrap()),
        ("replaced", |path| {
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).unwrap();
            fs::rename(&copy, path).unwrap();
        }),
        ("written to", |path| fs::write(path, [fs::read(path).unwrap(), b"{}\n".to_vec()].concat()).unwrap()),
    ];
    for (name, hand) in hands {
        let state = State::new();
        let log = state.open();
        put(&log, vec![Entry::new(Event::Start)]);
        hand(&state.last());
        for _ in 0..2 {
            let fault = write(&log, vec![intent("a", 0)]).unwrap_err();
            assert_eq!(fault.code, Code::AUDIT_UNAVAILABLE, "{name}");
        }
    }
}

/// A01.
#[test]
fn a_deleted_directory_stops_the_log() {
    let state = State::new();
    let log = state.open();
    put(&log, vec![Entry::new(Event::Start)]);
    fs::remove_dir_all(state.path("audit")).unwrap();
    assert_eq!(write(&log, vec![intent("a", 0)]).unwrap_err().code, Code::AUDIT_UNAVAILABLE);
}

#[test]
fn a_torn_end_is_moved_away_and_closed() {
    let long = [b"{\"seq\":2,".as_slice(), &[b'x'; 70_000]].concat();
    // The second block of a write may reach the disk before its first.
    let hole = [[0; 5_000].as_slice(), b"\"prev\":\"\"}\n"].concat();
    for torn in [b"{\"seq\":2,\"ti".as_slice(), b"not a record\n", b"x\ny\nz", &long, &hole] {
        let state = State::new();
        let log = state.open();
        put(&log, vec![Entry::new(Event::Start)]);
        drop(log);
        let whole = state.bytes();
        fs::write(state.last(), [&whole, torn].concat()).unwrap();
        let log = state.open();
        put(&log, vec![intent("a", 0)]);
        assert_eq!(state.events(), ["start", "recovered", "intent"]);
        assert_eq!(fs::read(state.path("audit/torn-2.bin")).unwrap(), torn);
        assert_eq!(state.records()[1]["data"]["bytes"], torn.len());
        state.verified();
    }
}

#[test]
fn zeros_ahead_of_the_records_are_room_and_not_torn() {
    let state = State::new();
    let log = state.open();
    put(&log, vec![Entry::new(Event::Start)]);
    let length = || fs::metadata(state.last()).unwrap().len();
    let (written, room) = (state.bytes().len() as u64, length());
    assert!(room > written + 100_000, "{room}");
    drop(log);
    let log = state.open();
    put(&log, vec![intent("a", 0)]);
    assert_eq!((state.events(), length()), (vec!["start".to_owned(), "intent".to_owned()], room));
    block_on(log.close()).unwrap();
    assert_eq!(length(), state.bytes().len() as u64, "an orderly end cuts them off");
    state.verified();
}

#[test]
fn what_was_altered_before_a_checkpoint_is_not_taken_for_torn() {
    let state = State::new();
    let log = state.open_with(64 << 20, 2).unwrap();
    put(&log, vec![intent("a", 0), outcome("a", 0)]);
    put(&log, vec![intent("b", 0)]);
    drop(log);
    let altered = fs::read_to_string(state.last()).unwrap().replacen("fs.write", "fs.wrote", 1);
    fs::write(state.last(), &altered).unwrap();
    assert!(matches!(state.refusal(), OpenError::Altered { seq: 2, .. }));
    assert_eq!(fs::read_to_string(state.last()).unwrap(), altered);
}

#[test]
fn a_rotation_that_was_cut_short_is_completed() {
    let state = State::new();
    let log = state.open();
    put(&log, vec![intent("a", 0)]);
    drop(log);
    let empty = state.path("audit/audit-00000002.jsonl");
    fs::write(&empty, "").unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o600)).unwrap();
    drop(state.open());
    assert_eq!(state.events(), ["intent", "rotated", "interrupted"]);
    state.verified();
}

#[test]
fn checkpoints_come_after_so_many_records() {
    let state = State::new();
    let log = state.open_with(64 << 20, 10).unwrap();
    for n in 0..25 {
        put(&log, vec![intent("a", n)]);
    }
    let verified = state.verified();
    assert_eq!((verified.records, verified.checkpoints, verified.covered), (27, 2, 22));
}

#[test]
fn a_log_whose_key_is_gone_is_not_gone_on_with() {
    let state = State::new();
    put(&state.open(), vec![Entry::new(Event::Start)]);
    fs::remove_file(state.path("audit.key")).unwrap();
    assert!(matches!(state.refusal(), OpenError::KeyGone { .. }));
}

#[test]
fn what_others_can_reach_is_refused() {
    for (name, mode) in
        [("audit", 0o755), ("audit.key", 0o640), ("once", 0o602), ("audit/audit-00000001.jsonl", 0o660)]
    {
        let state = State::new();
        put(&state.open(), vec![Entry::new(Event::Start)]);
        fs::set_permissions(state.path(name), fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(state.refusal(), OpenError::Unsafe { .. }), "{name}");
    }
    let state = State::new();
    put(&state.open(), vec![Entry::new(Event::Start)]);
    fs::hard_link(state.last(), state.path("other-name")).unwrap();
    assert!(matches!(state.refusal(), OpenError::Unsafe { .. }));
    let state = State::new();
    std::os::unix::fs::symlink("/dev/null", state.path("digest.key")).unwrap();
    assert!(matches!(state.refusal(), OpenError::Io { .. }));
}

#[test]
fn a_digest_stays_the_same_and_is_another_under_another_key() {
    let (state, other) = (State::new(), State::new());
    let digest = state.open().digest(b"1234");
    assert_eq!(state.open().digest(b"1234"), digest);
    assert_ne!(state.open().digest(b"1235"), digest);
    assert_ne!(other.open().digest(b"1234"), digest);
    assert_eq!(digest.len(), 64);
}
