//! A call of a tool over stdio, measured beside a bare server of the same SDK and beside the servers that others ship.
//!
//! - Every side is a process of its own on a pair of pipes, asked by the same blocking client. The bare server is this binary
//!   started again ([`floor`]): it reads the file, appends 500 bytes and syncs them, and answers with the text.
//! - Two sides take turns within every round; what counts is the ratio, round by round.
//! - Nothing is made easier for `llmsh mcp`: behind it stands a host with the default policy, its log and its limits.
//!
//! Run it by `scripts/bench`, which installs the others below target/peers; docs/benchmarks.md says what came out.
#![allow(clippy::disallowed_methods, reason = "starts the servers the way any client would")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops with what was in its way")]

mod asked;
mod floor;
#[path = "../../../host/benches/shared/machine.rs"]
mod machine;
#[allow(dead_code, reason = "shared with the benchmarks of the host")]
#[path = "../../../host/benches/shared/measure.rs"]
mod measure;
mod sides;
#[allow(dead_code, reason = "shared with the benchmarks of the host")]
#[path = "../../../host/benches/shared/table.rs"]
mod table;

use std::time::Instant;

use measure::{median, micros};
use sides::{Daemon, Places, Side};
use table::{Bar, Measured, Table};

/// How often two sides are compared.
const ROUNDS: usize = 15;
/// In how many blocks.
const TURNS: usize = 4;
/// How often every server is started.
const STARTS: usize = 7;

fn main() {
    if std::env::var_os(floor::MARK).is_some() {
        return floor::serve();
    }
    let places = Places::new();
    let _daemon = Daemon::start(&places);
    println!("{}", machine::facts(places.data()));
    let mut table = Table::default();
    latency(&places, &mut table);
    starts(&places, &mut table);
    println!("{table}");
}

/// The time of one call on a connection that stays. Only the two that are compared run: some servers go on working for
/// minutes after they were started.
fn latency(places: &Places, table: &mut Table) {
    for side in Side::OTHERS {
        let (mut ours, mut theirs) = (Side::Ours.open(places), side.open(places));
        for _ in 0..side.calls() {
            ours.read();
            theirs.read();
        }
        let mut measured = Measured::default();
        for _ in 0..ROUNDS {
            let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
            for _ in 0..TURNS {
                our_times.extend((0..Side::Ours.calls() / TURNS).map(|_| ours.read()));
                their_times.extend((0..side.calls() / TURNS).map(|_| theirs.read()));
            }
            measured.round(micros(median(their_times)), micros(median(our_times)));
        }
        let bar = if side == Side::Bare { 1.5 } else { 1.0 };
        table.row("call of `fs_read`, 4 KiB", side.name(), "us", measured, Bar::AtMost(bar));
    }
}

/// From the start of a server to its first answered list of tools.
fn starts(places: &Places, table: &mut Table) {
    let time = |side: Side| {
        let start = Instant::now();
        let mut server = side.start(places);
        server.list();
        micros(start.elapsed()) / 1000.0
    };
    let lists: Vec<_> = Side::OTHERS.into_iter().filter(|side| side.has_tools()).collect();
    let mut absolute = Vec::new();
    let mut measured: Vec<_> = lists.iter().map(|_| Measured::default()).collect();
    for _ in 0..STARTS {
        let our = time(Side::Ours);
        absolute.push(our);
        for (side, measured) in lists.iter().zip(&mut measured) {
            measured.round(time(*side), our);
        }
    }
    table.absolute("start of `llmsh mcp` to the first answered `tools/list`", "ms", &absolute, 60.0);
    for (side, measured) in lists.into_iter().zip(measured).filter(|(side, _)| *side != Side::Bare) {
        table.row("start to the first answered `tools/list`", side.name(), "ms", measured, Bar::AtMost(1.0));
    }
}
