//! The log, verified and shown from its files.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use llm_os_core::audit::{Body, Chain, Entry, Event, Link, Signer, What, segment_name};
use llm_os_core::name::Id;
use rustix::fs::OFlags;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::peer::{Ran, command, run};

const TIME: &str = "2026-11-23T05:54:01.123456Z";

/// A state directory with a log in it.
pub(crate) struct Log {
    state: TempDir,
    chain: Chain,
}

impl Log {
    /// Two segments of three records and a checkpoint each: intents of fs.read, r-1 to r-6.
    pub(crate) fn new() -> Self {
        let state = TempDir::new().unwrap();
        std::fs::create_dir(state.path().join("audit")).unwrap();
        let mut log = Self { state, chain: Chain::default() };
        std::fs::write(log.state.path().join("audit.pub"), format!("{}\n", signer().public())).unwrap();
        for number in [1, 2] {
            for n in 1..=3 {
                log.append(number, &intent(&format!("r-{}", (number - 1) * 3 + n), "why"));
            }
            let mut line = Vec::new();
            log.chain.checkpoint(&signer(), TIME, &mut line);
            log.write(number, &line);
        }
        log
    }

    pub(crate) fn append(&mut self, number: u32, entry: &Entry) {
        let mut line = Vec::new();
        self.chain.append(&Body::of(entry), TIME, &mut line);
        self.write(number, &line);
    }

    pub(crate) fn write(&self, number: u32, bytes: &[u8]) {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(self.segment(number));
        file.unwrap().write_all(bytes).unwrap();
    }

    fn segment(&self, number: u32) -> PathBuf {
        self.state.path().join("audit").join(segment_name(number))
    }

    pub(crate) fn edit(&self, number: u32, edit: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.segment(number)).unwrap();
        std::fs::write(self.segment(number), edit(text)).unwrap();
    }

    fn llmsh(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args), "")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command(self.state.path(), self.state.path(), &[&["audit"], args].concat());
        command.env("HOME", "/nowhere");
        command
    }

    fn verify(&self, more: &[&str]) -> (i32, Value) {
        let ran = self.llmsh(&[&["verify", "audit"], more].concat());
        assert!(!ran.stderr.is_empty());
        (ran.code, serde_json::from_str(&ran.stdout).unwrap())
    }
}

fn signer() -> Signer {
    Signer::from_seed(&[7; 32])
}

pub(crate) fn intent(request: &str, why: &str) -> Entry {
    let what =
        What { action: "fs.read".to_owned(), index: 0, params: None, danger: false, effects: Vec::new() };
    Entry {
        request_id: Id::new(request),
        run: Some(request.to_owned()),
        why: Some(why.to_owned()),
        what: Some(what),
        ..Entry::new(Event::Intent)
    }
}

fn requests(ran: &Ran) -> Vec<Value> {
    ran.stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["request_id"].clone())
        .collect()
}

#[test]
fn a_whole_log_verifies_with_the_key_beside_it() {
    let log = Log::new();
    let (code, report) = log.verify(&[]);
    let expected = json!({
        "verifies": true, "records": 8, "segments": 2, "head": log.chain.head().as_str(), "checkpoints": 2,
        "covered": 8, "covers_end": true, "key": signer().public().to_string(),
    });
    assert_eq!((code, report), (0, expected));
}

#[test]
fn without_a_key_the_chain_alone_is_verified_and_that_is_said() {
    let log = Log::new();
    std::fs::remove_file(log.state.path().join("audit.pub")).unwrap();
    let ran = log.llmsh(&["verify", "audit"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["key"], &report["covered"]), (0, &Value::Null, &json!(0)));
    assert!(ran.stderr.contains("--pubkey"), "{}", ran.stderr);
}

#[test]
fn another_key_does_not_verify() {
    let log = Log::new();
    let other = log.state.path().join("other.pub");
    std::fs::write(&other, Signer::from_seed(&[8; 32]).public().to_string()).unwrap();
    let (code, report) = log.verify(&["--pubkey", other.to_str().unwrap()]);
    assert_eq!((code, &report["seq"], &report["problem"]), (1, &json!(4), &json!("signature")));
}

/// A06.
#[test]
fn what_was_altered_taken_out_or_torn_is_named_with_its_place() {
    let check = |change: fn(&Log), expected: Value| {
        let log = Log::new();
        change(&log);
        let (code, mut report) = log.verify(&[]);
        report.as_object_mut().unwrap().remove("message");
        assert_eq!((code, report), (1, expected));
    };
    let one = segment_name(1);
    let two = segment_name(2);
    check(
        |log| log.edit(1, |text| text.replacen("why\":\"why", "why\":\"wry", 1)),
        json!({"verifies": false, "seq": 1, "problem": "altered", "segment": one, "line": 3}),
    );
    check(
        |log| log.edit(2, |text| text.split_once('\n').unwrap().1.to_owned()),
        json!({"verifies": false, "seq": 5, "problem": "gap", "missing_to": 5, "segment": two, "line": 1}),
    );
    check(
        |log| std::fs::remove_file(log.segment(1)).unwrap(),
        json!({"verifies": false, "seq": 1, "problem": "gap", "missing_to": 4, "segment": two, "line": 1}),
    );
    check(
        |log| log.edit(2, |text| text[..text.len() - 5].to_owned()),
        json!({"verifies": false, "seq": 8, "problem": "torn", "segment": two, "line": 4}),
    );
    check(
        |log| log.edit(1, |text| text[..text.len() - 1].to_owned()),
        json!({"verifies": false, "seq": 4, "problem": "malformed", "segment": one, "line": 4}),
    );
}

#[test]
fn a_receipt_tells_whether_the_end_was_cut_off() {
    let mut log = Log::new();
    log.append(2, &intent("r-7", "why"));
    let receipt = log.chain.head().as_str().to_owned();
    let (code, report) = log.verify(&["--expect", &receipt]);
    assert_eq!((code, &report["receipt_seq"], &report["covers_end"]), (0, &json!(9), &json!(false)));
    log.edit(2, |text| text[..=text[..text.len() - 1].rfind('\n').unwrap()].to_owned());
    assert_eq!(log.verify(&[]).0, 0);
    let (code, report) = log.verify(&["--expect", &receipt]);
    assert_eq!((code, &report["problem"], &report["seq"]), (1, &json!("no_receipt"), &json!(9)));
    assert_eq!(log.llmsh(&["verify", "audit", "--expect", "abc"]).code, 2);
    let start = Link::START.as_str().to_owned();
    assert_eq!(log.verify(&["--expect", &start]).0, 1);
}

#[test]
fn a_directory_without_a_log_is_wrong_usage_with_the_next_step() {
    let log = Log::new();
    for dir in [".", "missing"] {
        let ran = log.llmsh(&["verify", dir]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
        assert!(ran.stderr.contains("name"), "{}", ran.stderr);
    }
}

#[test]
fn the_log_is_found_in_the_xdg_state_directory() {
    let log = Log::new();
    let base = TempDir::new().unwrap();
    std::fs::create_dir(base.path().join("llm-osd")).unwrap();
    std::os::unix::fs::symlink(log.state.path().join("audit"), base.path().join("llm-osd/audit")).unwrap();
    let mut command = command(log.state.path(), log.state.path(), &["audit", "tail", "-n", "1"]);
    let ran = run(command.env("HOME", "/nowhere").env("XDG_STATE_HOME", base.path()), "");
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{}", ran.stderr);
}

#[test]
fn show_prints_the_lines_that_match_as_they_are() {
    let log = Log::new();
    let all = log.llmsh(&["show", "audit"]);
    let files = [1, 2].map(|number| std::fs::read_to_string(log.segment(number)).unwrap()).concat();
    assert_eq!((all.code, all.stdout), (0, files));
    assert_eq!(requests(&log.llmsh(&["show", "audit", "--request", "r-5"])), ["r-5"]);
    assert_eq!(
        requests(&log.llmsh(&["show", "audit", "--action", "fs.read", "--limit", "2"])),
        ["r-5", "r-6"]
    );
    assert_eq!(requests(&log.llmsh(&["show", "audit", "--action", "fs.write"])), Vec::<Value>::new());
    assert_eq!(log.llmsh(&["show", "audit", "--since", "soon"]).code, 2);
}

/// A05: whoever wrote to the file.
#[test]
fn nothing_but_printable_ascii_is_shown() {
    let mut log = Log::new();
    log.append(2, &intent("r-7", "\u{1b}[2J\u{9b}\u{202e}\u{7f}\n"));
    log.write(2, b"\x1b[2J not a record\n");
    for args in [&["show", "audit"][..], &["tail", "audit"], &["tail", "audit", "-n", "1"]] {
        let ran = log.llmsh(args);
        assert!(
            ran.stdout.bytes().chain(ran.stderr.bytes()).all(|b| matches!(b, b'\n' | b' '..=b'~')),
            "{ran:?}"
        );
    }
    let shown = log.llmsh(&["show", "audit"]);
    assert_eq!(shown.code, 1);
    assert!(shown.stderr.contains("line 6"), "{}", shown.stderr);
}

#[test]
fn tail_prints_the_newest_across_segments() {
    let log = Log::new();
    let ran = log.llmsh(&["tail", "audit", "-n", "6"]);
    assert_eq!(
        requests(&ran),
        [json!("r-3"), json!(null), json!("r-4"), json!("r-5"), json!("r-6"), json!(null)]
    );
}

/// `llmsh audit tail -f`, from the newest record on. It ends when this is dropped.
struct Followed {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Followed {
    fn of(log: &Log) -> Self {
        let place = log.state.path();
        Self::start(command(place, place, &["audit", "tail", "audit", "-f", "-n", "1"]))
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_followed_log_goes_on_through_a_rotation() {
    let mut log = Log::new();
    let mut followed = Followed::of(&log);
    assert_eq!(followed.next()["event"], "checkpoint");
    let mut line = Vec::new();
    log.chain.append(&Body::of(&intent("r-7", "why")), TIME, &mut line);
    let (half, rest) = line.split_at(20);
    log.write(2, half);
    log.write(2, rest);
    assert_eq!(followed.next()["request_id"], "r-7");
    log.append(3, &intent("r-8", "why"));
    assert_eq!(followed.next()["request_id"], "r-8");
}

/// A host allocates what its next records fill; until then these are zeros.
#[test]
fn a_segment_in_use_is_followed_from_its_last_record_on() {
    let mut log = Log::new();
    let end = std::fs::metadata(log.segment(2)).unwrap().len();
    for zeros in [100, 100_000] {
        log.write(2, &vec![0; zeros]);
        let newest = log.llmsh(&["tail", "audit", "-n", "2"]);
        assert_eq!((newest.code, requests(&newest)), (0, vec![json!("r-6"), json!(null)]), "{newest:?}");
    }
    let mut followed = Followed::of(&log);
    assert_eq!(followed.next()["event"], "checkpoint");
    let mut line = Vec::new();
    log.chain.append(&Body::of(&intent("r-7", "why")), TIME, &mut line);
    let file = std::fs::OpenOptions::new().write(true).open(log.segment(2)).unwrap();
    file.write_all_at(&line, end).unwrap();
    assert_eq!(followed.next()["request_id"], "r-7");
}

#[test]
fn a_log_is_followed_no_longer_than_somebody_reads_it() {
    let log = Log::new();
    let mut child = log.command(&["tail", "audit", "-f", "-n", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(child.wait().unwrap().success() && line.ends_with("}\n"), "{line}");
}

/// The segment in use ends with zeros, ahead of the records that come.
#[test]
fn the_log_of_a_running_host_is_shown_and_followed() {
    let daemon = Daemon::start("permit (principal, action, resource);", "");
    let dir = daemon.path("state/audit");
    let dir = dir.to_str().unwrap();
    let whole = daemon.llmsh(&["audit", "show", dir]).stdout;
    let tail = daemon.llmsh(&["audit", "tail", dir]);
    assert_eq!((tail.code, tail.stdout), (0, whole.clone()), "{}", tail.stderr);
    let mut followed = Followed::start(daemon.command(&["audit", "tail", dir, "-f", "-n", "1"]));
    assert_eq!(followed.next(), serde_json::from_str::<Value>(whole.lines().last().unwrap()).unwrap());
    let told = ["do", "exec.run", "argv:=[\"/bin/true\"]", "--reason", "leave a record"];
    assert_eq!(daemon.llmsh(&told).code, 0);
    let events = [followed.next(), followed.next()].map(|record| record["event"].clone());
    assert_eq!(events, ["intent", "outcome"]);
}

/// Else a program that reads a long log would be woken for each of its records.
#[test]
fn many_records_are_written_at_once_and_none_is_kept_back() {
    let mut log = Log::new();
    (0..500).for_each(|n| log.append(2, &intent(&format!("m-{n}"), "why")));
    let (mut reader, writer) = std::io::pipe().unwrap();
    // What is written at once is read at once, up to the 4,096 bytes of a packet.
    rustix::fs::fcntl_setfl(&writer, OFlags::DIRECT).unwrap();
    let mut command = log.command(&["show", "audit"]);
    let mut child = command.stdout(writer).spawn().unwrap();
    drop(command);
    let (mut lines, mut packets, mut packet) = (0, 0, [0; 4096]);
    while let count @ 1.. = reader.read(&mut packet).unwrap() {
        lines += packet[..count].iter().filter(|b| **b == b'\n').count();
        packets += 1;
    }
    assert!(child.wait().unwrap().success());
    assert!(lines == 508 && packets < 100, "{lines} lines in {packets} packets");
}
