//! What a person waits for: a log of 1 GiB verified and searched, and the page about a session, made and opened.
//!
//! - The logs are written by the host's own code for records, chained and in segments of its size; the pictures are of the size of a
//!   screen. The programs are those of the release profile, started as a person starts them.
//! - Beside verifying stands `sha256sum` over the same files, which compares nothing, and beside searching `grep -F`, which parses nothing.
//! - The page is opened from the disk by a headless Chromium, which itself says when it painted first.
//!
//! Run it by `scripts/bench`; docs/benchmarks.md says what came out.
#![allow(clippy::disallowed_methods, reason = "starts the programs the way a person would")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops with what was in its way")]

mod browser;
mod log;
#[path = "../../../host/benches/shared/machine.rs"]
mod machine;
#[allow(dead_code, reason = "shared with the benchmarks of the host")]
#[path = "../../../host/benches/shared/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with the benchmarks of the host")]
#[path = "../../../host/benches/shared/table.rs"]
mod table;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use browser::Browser;
use log::Log;
use table::{Bar, Measured, Table};

/// How often each is done.
const ROUNDS: usize = 3;
/// Bytes of the log that is verified and searched.
const LONG: u64 = 1 << 30;
/// Actions and pictures of the session that is reported.
const ACTIONS: usize = 10_000;
const PICTURES: usize = 200;

fn main() {
    let place = TempDir::new().unwrap();
    println!("{}", machine::facts(place.path()));
    let mut table = Table::default();
    long(&place.path().join("long"), &mut table);
    page(&place.path().join("session"), &mut table);
    println!("{table}");
}

/// A log that is longer than anybody would hold in memory, beside the least that could be done with its bytes.
fn long(place: &Path, table: &mut Table) {
    let log = Log::write(place, |log| log.bytes() < LONG);
    let dir = log.dir();
    let (mut verified, mut shown, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let (mut beside_sum, mut beside_grep) = (Measured::default(), Measured::default());
    let request = log.request(log.records() / 4);
    for _ in 0..ROUNDS {
        let verify = run(&["audit", "verify", dir.to_str().unwrap()]).time;
        let sum = over(&dir, &["sha256sum"]);
        verified.push(verify.as_secs_f64() * 1e6 / log.records() as f64);
        beside_sum.round(millis(sum), millis(verify));
        let show = run(&["audit", "show", dir.to_str().unwrap(), "--request", &request]);
        assert!(show.stdout.lines().count() > 0, "nothing was found");
        let grep = over(&dir, &["grep", "-hF", &request]);
        shown.push(show.time.as_secs_f64());
        beside_grep.round(millis(grep), millis(show.time));
        memory.push(show.peak_kib as f64 / 1024.0);
    }
    table.absolute("`audit verify`, a record", "us", &verified, 2.0);
    table.row("`audit verify` of 1 GiB", "`sha256sum`", "ms", beside_sum, Bar::AtMost(2.0));
    table.absolute("`audit show --request` over 1 GiB", "s", &shown, 10.0);
    table.row("`audit show --request` over 1 GiB", "`grep -F`", "ms", beside_grep, Bar::AtMost(2.0));
    table.absolute("its memory", "MiB", &memory, 64.0);
    table.note(format!("the long log has {} records in {} bytes", log.records(), log.bytes()));
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How long a program takes over the segments of a log.
fn over(dir: &Path, command: &[&str]) -> Duration {
    let mut segments: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let start = Instant::now();
    let ran =
        Command::new(command[0]).args(&command[1..]).args(segments).env("LC_ALL", "C").output().unwrap();
    let time = start.elapsed();
    assert!(ran.status.success(), "{command:?}");
    time
}

/// The page about a session.
fn page(place: &Path, table: &mut Table) {
    let log = Log::write(place, |log| log.actions() < ACTIONS);
    log.keep_pictures(PICTURES);
    let page = place.join("report.html");
    let (dir, mut made, mut painted, mut opened) = (log.dir(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let args = ["audit", "report", dir.to_str().unwrap(), "-o", page.to_str().unwrap()];
        made.push(run(&args).time.as_secs_f64());
        let (first, all) = Browser::start().opens(&page);
        painted.push(millis(first));
        opened.push(millis(all));
    }
    table.absolute("`audit report`, 10,000 actions and 200 pictures", "s", &made, 5.0);
    table.absolute("first paint of that page", "ms", &painted, 1_000.0);
    table.absolute("all of it read and laid out", "ms", &opened, 5_000.0);
    table.note(format!("the page has {} bytes", fs::metadata(&page).unwrap().len()));
}

/// How a program ran.
struct Ran {
    time: Duration,
    peak_kib: u64,
    stdout: String,
}

fn run(args: &[&str]) -> Ran {
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmsh"));
    let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut stdout = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || std::io::read_to_string(&mut stdout).unwrap());
    let mut peak_kib = 0;
    while child.try_wait().unwrap().is_none() {
        let told = fs::read_to_string(&status).unwrap_or_default();
        let peak = told.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak_kib = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak_kib);
        std::thread::sleep(Duration::from_millis(2));
    }
    let time = start.elapsed();
    assert!(child.wait().unwrap().success(), "{args:?}");
    Ran { time, peak_kib, stdout: reading.join().unwrap() }
}
