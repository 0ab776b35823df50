//! The whole road through `llm-osd`, measured beside the least that could be done for the same request.
//!
//! - Both sides are processes of their own behind a Unix socket: the daemon as it is released, and a floor
//!   ([`floors`]), which is this binary started again with the name of a floor.
//! - Both sides take turns within every round, on the same file system, so that what the machine does meanwhile meets
//!   both. What counts is their ratio, round by round.
//! - Nothing is made easier for the daemon: its policy, its log and its limits are the defaults, with one program and
//!   one directory allowed.
//!
//! Run it by `scripts/bench`; docs/benchmarks.md says what came out.
#![allow(clippy::disallowed_methods, reason = "starts the daemon, and programs the way anybody would")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops with what was in its way")]

#[allow(dead_code, reason = "shared with the other benchmark")]
#[path = "../shared/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the other benchmark")]
#[path = "../shared/daemon.rs"]
mod daemon;
mod floors;
mod forest;
#[path = "../shared/machine.rs"]
mod machine;
#[path = "../shared/measure.rs"]
mod measure;
#[path = "../shared/table.rs"]
mod table;

use std::time::Instant;

use client::Connection;
use daemon::{Daemon, Places};
use floors::{Floor, FloorServer};
use forest::Forest;
use measure::{is_ok, median, micros};
use table::{Bar, Measured, Table};

/// How often both sides take turns.
const ROUNDS: usize = 15;
const CONNECTIONS: usize = 16;

fn main() {
    if let Some(floor) = floors::asked_for() {
        return floors::serve(floor);
    }
    let places = Places::new();
    println!("{}", machine::facts(places.data()));
    let mut table = Table::default();
    starts(&places, &mut table);
    {
        let daemon = Daemon::start(&places);
        latency(&places, &daemon, &mut table, Request::Ping, Floor::Echo, 1.5, 400);
        latency(&places, &daemon, &mut table, Request::Read, Floor::Read, 1.25, 100);
        latency(&places, &daemon, &mut table, Request::Exec, Floor::Spawn, 2.0, 40);
        for forest in [Forest::OneFolder, Forest::HundredFolders] {
            forest.plant(&places);
            latency(&places, &daemon, &mut table, Request::Search(forest), Floor::Walk, 2.0, 20);
        }
        rates(&places, &daemon, &mut table);
        table.note(format!(
            "Resident memory of the daemon after all of this: {:.1} MiB.",
            mib(daemon.resident())
        ));
    }
    println!("{table}");
}

/// What is asked of the daemon.
#[derive(Clone, Copy)]
enum Request {
    Ping,
    Read,
    Stat,
    Exec,
    Search(Forest),
}

impl Request {
    fn name(self) -> &'static str {
        match self {
            Self::Ping => "`host.ping`, one connection",
            Self::Read => "`fs.read` of 4 KiB, one connection",
            Self::Stat => "`fs.stat`, 16 connections",
            Self::Exec => "`exec.run /bin/true`, one connection",
            Self::Search(Forest::OneFolder) => "`fs.search` for 5 names among 10,000 in one folder",
            Self::Search(Forest::HundredFolders) => "`fs.search` for 5 names among 10,000 in 100 folders",
        }
    }

    fn line(self, places: &Places) -> Vec<u8> {
        let file = places.file();
        let path = file.to_str().unwrap();
        let (action, params) = match self {
            Self::Ping => ("host.ping", "{}".to_owned()),
            Self::Read => ("fs.read", format!(r#"{{"path":"{path}"}}"#)),
            Self::Stat => ("fs.stat", format!(r#"{{"path":"{path}"}}"#)),
            Self::Exec => ("exec.run", r#"{"argv":["/bin/true"]}"#.to_owned()),
            Self::Search(forest) => ("fs.search", forest.search(places)),
        };
        format!(
            concat!(
                r#"{{"request_id":"r-1","session_id":"bench","version":"1","mode":"execute","#,
                r#""actions":[{{"action":"{}","params":{},"reason":"measure the road"}}]}}"#,
                "\n"
            ),
            action, params
        )
        .into_bytes()
    }
}

/// The time of one request on a connection that is kept open, `each` times on each side in every round.
fn latency(
    places: &Places,
    daemon: &Daemon,
    table: &mut Table,
    request: Request,
    floor: Floor,
    bar: f64,
    each: usize,
) {
    const TURNS: usize = 4;
    let server = FloorServer::start(places, floor);
    let line = request.line(places);
    let (mut bare, mut ours) = (Connection::open(&server.socket), Connection::open(&daemon.socket));
    for _ in 0..each {
        bare.ask(&line);
        let answer = ours.ask(&line);
        assert!(is_ok(answer), "{}", String::from_utf8_lossy(answer));
    }
    let mut measured = Measured::default();
    for _ in 0..ROUNDS {
        let (mut floor_times, mut our_times) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            floor_times.extend((0..each / TURNS).map(|_| bare.time(&line)));
            our_times.extend((0..each / TURNS).map(|_| ours.time(&line)));
        }
        measured.round(micros(median(floor_times)), micros(median(our_times)));
    }
    assert!(is_ok(ours.ask(&line)));
    table.row(request.name(), floor.name(), "us", measured, Bar::AtMost(bar));
}

/// Requests per second over 16 connections, against both floors in the same rounds.
fn rates(places: &Places, daemon: &Daemon, table: &mut Table) {
    const EACH: usize = 150;
    let (group, single) =
        (FloorServer::start(places, Floor::GroupCommit), FloorServer::start(places, Floor::SyncEach));
    let line = Request::Stat.line(places);
    let connect = |socket| (0..CONNECTIONS).map(|_| Connection::open(socket)).collect::<Vec<_>>();
    let (mut groups, mut singles, mut ours) =
        (connect(&group.socket), connect(&single.socket), connect(&daemon.socket));
    for connections in [&mut groups, &mut singles, &mut ours] {
        client::rate(connections, &line, EACH);
    }
    assert!(is_ok(ours[0].ask(&line)));
    let (mut to_group, mut to_single) = (Measured::default(), Measured::default());
    for _ in 0..ROUNDS {
        let group = client::rate(&mut groups, &line, EACH);
        let our = client::rate(&mut ours, &line, EACH);
        let single = client::rate(&mut singles, &line, EACH);
        to_group.round(group, our);
        to_single.round(single, our);
    }
    table.row(Request::Stat.name(), Floor::GroupCommit.name(), "/s", to_group, Bar::AtLeast(0.7));
    table.row(Request::Stat.name(), Floor::SyncEach.name(), "/s", to_single, Bar::AtLeast(4.0));
}

/// From the start of the daemon on an empty state directory to its first answered ping, and what it then holds.
fn starts(places: &Places, table: &mut Table) {
    let ping = Request::Ping.line(places);
    let (mut times, mut resident) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        places.forget_state();
        let start = Instant::now();
        let daemon = Daemon::start(places);
        assert!(is_ok(Connection::open(&daemon.socket).ask(&ping)));
        times.push(micros(start.elapsed()) / 1000.0);
        resident.push(mib(daemon.resident()));
    }
    table.absolute("start on an empty state directory to the first answered ping", "ms", &times, 50.0);
    table.absolute("resident memory, idle after that ping", "MiB", &resident, 25.0);
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
