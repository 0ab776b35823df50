//! A policy over a past of 100,000 decisions: how long a person waits for what it would have decided, and for what can be
//! learned from it.
//!
//! The log is written by a host of the release profile, asked to plan and not to run. Two pasts are judged: one in which the same
//! few questions come again and again, as an agent's do, and one in which no two are alike. No human approved any of it: what
//! learning takes is to read all that nothing is learned from.
//!
//! Run it by `scripts/bench`; docs/benchmarks.md says what came out.
#![allow(clippy::disallowed_methods, reason = "starts the programs the way a person would")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops with what was in its way")]

#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "../shared/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "../shared/daemon.rs"]
mod daemon;
#[path = "../shared/machine.rs"]
mod machine;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "../shared/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "../shared/table.rs"]
mod table;

use std::process::{Command, Stdio};
use std::time::Instant;

use client::Connection;
use daemon::{Daemon, Places};
use serde_json::{Value, json};
use table::Table;

const ROUNDS: usize = 3;
const DECISIONS: usize = 100_000;
/// As many as a plan may have.
const ACTIONS: usize = 64;
/// Files that the past of few questions is about.
const FILES: usize = 50;

fn main() {
    let mut table = Table::default();
    let mut said = false;
    for (past, names) in [("few questions again and again", FILES), ("no two alike", DECISIONS)] {
        let places = Places::new();
        if !std::mem::replace(&mut said, true) {
            println!("{}", machine::facts(places.data()));
        }
        record(&places, names);
        for (what, args, most) in [
            ("backtest", &["backtest", "preset:workspace"][..], 20.0),
            ("learn", &["learn", "--policy", "preset:strict"][..], 20.0),
        ] {
            let times: Vec<_> = (0..ROUNDS).map(|_| seconds(&places, args)).collect();
            table.absolute(&format!("`policy {what}` over 100,000 decisions, {past}"), "s", &times, most);
        }
    }
    println!("{table}");
}

/// Has a host decide about writes to so many different files.
fn record(places: &Places, names: usize) {
    let daemon = Daemon::start(places);
    let mut connection = Connection::open(&daemon.socket);
    for plan in 0..DECISIONS.div_ceil(ACTIONS) {
        let actions: Vec<_> = (plan * ACTIONS..(plan + 1) * ACTIONS)
            .map(|n| {
                let path = places.files().join(format!("new-{}", n % names));
                json!({"action": "fs.write", "params": {"path": path, "mode": "create", "content": "x"}, "reason": "a benchmark"})
            })
            .collect();
        let frame = json!({"version": "1", "request_id": format!("r-{plan}"), "mode": "plan_only", "actions": actions});
        let answer = connection.ask(format!("{frame}\n").as_bytes());
        let answer: Value = serde_json::from_slice(answer).unwrap();
        assert!(answer["error"].is_null(), "{answer:#}");
    }
}

/// How long one of the policy commands takes over what was recorded.
fn seconds(places: &Places, args: &[&str]) -> f64 {
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-osd"));
    command.arg("policy").args(args).arg("--audit").arg(places.data().join("state/audit"));
    let status = command.env("HOME", places.data()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    // 1 says that something would change.
    assert!(status.unwrap().code().is_some_and(|code| code < 2));
    start.elapsed().as_secs_f64()
}
