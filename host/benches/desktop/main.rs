//! Keyboard, mouse and screen through `llm-osd`, measured beside the least that an X client could do and beside the
//! programs that agents use today (xdotool, scrot).
//!
//! - The display is a real X server (Xvfb) with real programs; what was typed and clicked is read back from them.
//! - The daemon is as it is released: every action is judged, its window checked under a server grab, its record
//!   durable before the event is sent. Nothing of this happens on the other side.
//! - Both sides take turns in every round.
//!
//! Run it by `scripts/bench`; docs/benchmarks.md says what came out.
#![allow(clippy::disallowed_methods, reason = "starts the daemon and its peers the way anybody would")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops with what was in its way")]

#[allow(dead_code, reason = "shared with the other benchmark")]
#[path = "../shared/client.rs"]
mod client;
mod host;
#[path = "../shared/machine.rs"]
mod machine;
#[path = "../shared/measure.rs"]
mod measure;
mod pointing;
mod screen;
#[allow(dead_code, reason = "shared with the other benchmark")]
#[path = "../shared/table.rs"]
mod table;
mod typing;

use table::Table;

fn main() {
    let data = tempfile::Builder::new().prefix("desktop-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    println!("{}", machine::facts(data.path()));
    let mut table = Table::default();
    typing::measure(&mut table);
    pointing::measure(&mut table, data.path());
    screen::measure(&mut table);
    println!("{table}");
}
