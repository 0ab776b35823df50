//! A contained program through `llm-osd`, measured beside the bare program and beside what agents contain theirs with.
//!
//! - `llm-osd` is asked by a plan: it judges it, makes its record durable, and runs the program with every layer that
//!   this machine has. Nothing of the first two happens on the other sides.
//! - All sides take turns in every round, and run the same program.
//!
//! Run it by `scripts/bench`; docs/benchmarks.md says what came out.
#![allow(clippy::disallowed_methods, reason = "starts the daemon and its peers the way anybody would")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops with what was in its way")]

#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "../shared/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "../shared/daemon.rs"]
mod daemon;
#[path = "../shared/machine.rs"]
mod machine;
#[path = "../shared/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "../shared/table.rs"]
mod table;

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use client::Connection;
use daemon::{Daemon, Places};
use measure::{is_ok, median, micros};
use rustix::fs::{CWD, FileType, Mode};
use table::{Bar, Measured, Table};

/// How often the sides take turns.
const ROUNDS: usize = 15;
const PROGRAM: &str = "/usr/bin/true";

/// Another way to run the program, and what ours may cost beside it.
struct Peer {
    name: &'static str,
    argv: &'static [&'static str],
    bar: Bar,
    /// How often in a round.
    each: usize,
}

const PEERS: [Peer; 4] = [
    Peer { name: "`posix_spawn`, wait", argv: &[PROGRAM], bar: Bar::AtMost(3.0), each: 40 },
    Peer {
        name: "`bwrap --unshare-all`",
        argv: &["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", PROGRAM],
        bar: Bar::AtMost(0.5),
        each: 20,
    },
    Peer {
        name: "`codex sandbox`",
        argv: &["codex", "sandbox", "--", PROGRAM],
        bar: Bar::AtMost(1.0 / 15.0),
        each: 2,
    },
    Peer { name: "`srt`", argv: &["srt", PROGRAM], bar: Bar::AtMost(1.0 / 100.0), each: 1 },
];

fn main() {
    let places = Places::new();
    println!("{}", machine::facts(places.data()));
    let mut table = Table::default();
    let tree = places.files().join("tree");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/contained/tree.c");
    let compiled = Command::new("cc").args(["-O2", "-w", "-o"]).arg(&tree).arg(source).status().unwrap();
    assert!(compiled.success());
    places.permit(&format!(
        "permit (principal, action, resource in Roots::\"write\");\n\
         permit (principal, action in Action::\"run\", resource == Program::\"{}\");\n",
        tree.display()
    ));
    let daemon = Daemon::start(&places);
    let mut ours = Connection::open(&daemon.socket);
    let line = plan(&format!(r#"{{"argv":["{PROGRAM}"]}}"#));
    for _ in 0..100 {
        let answer = ours.ask(&line);
        assert!(is_ok(answer), "{}", String::from_utf8_lossy(answer));
    }
    let answer = String::from_utf8_lossy(ours.ask(&line)).into_owned();
    let layers = answer.split_once("\"layers\":").unwrap().1;
    table.note(format!("Layers: {}.", layers.split_once(']').unwrap().0.trim_start_matches('[')));
    for peer in &PEERS {
        beside(peer, &mut ours, &line, &mut table);
    }
    killed(&places, &mut ours, &mut table);
    println!("{table}");
}

/// Our times and a peer's, in turns.
fn beside(peer: &Peer, ours: &mut Connection, line: &[u8], table: &mut Table) {
    if let Err(why) = run(peer.argv) {
        return table.note(format!("{}: not measured, {why}.", peer.name));
    }
    let mut measured = Measured::default();
    for _ in 0..ROUNDS {
        let times = (0..peer.each).map(|_| {
            let start = Instant::now();
            run(peer.argv).unwrap();
            start.elapsed()
        });
        let theirs = median(times.collect());
        let our = median((0..40).map(|_| ours.time(line)).collect());
        measured.round(micros(theirs), micros(our));
    }
    assert!(is_ok(ours.ask(line)));
    table.row("`exec.run /bin/true`, contained", peer.name, "us", measured, peer.bar);
}

/// Runs it and waits: the standard library starts it by `posix_spawn`.
fn run(argv: &[&str]) -> Result<(), String> {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` ended with {status}", argv.join(" "))),
        Err(e) => Err(format!("`{}`: {e}", argv[0])),
    }
}

/// From the deadline of a tree of 1,000 processes until the last of them is gone, its start included.
fn killed(places: &Places, ours: &mut Connection, table: &mut Table) {
    const DEADLINE: Duration = Duration::from_secs(2);
    let (tree, fifo) = (places.files().join("tree"), places.files().join("alive"));
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let line = plan(&format!(
        r#"{{"argv":["{}","{}"],"timeout_ms":{}}}"#,
        tree.display(),
        fifo.display(),
        DEADLINE.as_millis()
    ));
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        ours.send(&line);
        let mut alive = Vec::new();
        File::open(&fifo).unwrap().read_to_end(&mut alive).unwrap();
        let gone = start.elapsed();
        assert_eq!(alive.len(), 1000, "{}", String::from_utf8_lossy(ours.answer()));
        let answer = String::from_utf8_lossy(ours.answer()).into_owned();
        assert!(answer.contains("exec_timed_out"), "{answer}");
        micros(gone.saturating_sub(DEADLINE)) / 1000.0
    });
    let times: Vec<_> = times.collect();
    table.absolute("a tree of 1,000 processes, from its deadline until all are gone", "ms", &times, 500.0);
}

fn plan(params: &str) -> Vec<u8> {
    format!(
        concat!(
            r#"{{"request_id":"r-1","session_id":"bench","version":"1","mode":"execute","#,
            r#""actions":[{{"action":"exec.run","params":{},"reason":"measure a contained program"}}]}}"#,
            "\n"
        ),
        params
    )
    .into_bytes()
}
