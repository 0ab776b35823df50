//! What was measured on.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use crate::measure::{append_durably, median, micros};

/// The machine in a few lines of Markdown, with what its disk needs to make 500 bytes durable.
pub(crate) fn facts(data: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let threads = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let mut facts = String::new();
    let _ = writeln!(facts, "- CPU: {}, {threads} threads", model.trim_start_matches(['\t', ' ', ':']));
    let _ = writeln!(facts, "- Kernel: Linux {}", read("/proc/sys/kernel/osrelease").trim());
    let _ = writeln!(facts, "- File system: {}", file_system(data, &read("/proc/mounts")));
    let _ = writeln!(facts, "- Load before the run: {}", read("/proc/loadavg").trim());
    let _ = writeln!(facts, "- `fdatasync` after an append of 500 bytes: {:.0} us", sync_micros(data));
    facts
}

/// The type of the mount that a path lies on.
fn file_system(path: &Path, mounts: &str) -> String {
    let path = path.canonicalize().unwrap();
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let longest = mounts.filter(|(at, _)| path.starts_with(at)).max_by_key(|(at, _)| at.len());
    longest.map_or("unknown", |(_, kind)| kind).to_owned()
}

fn sync_micros(data: &Path) -> f64 {
    let log = File::options().append(true).create(true).open(data.join("sync.log")).unwrap();
    let times = (0..500).map(|_| {
        let start = Instant::now();
        append_durably(&log, 1);
        start.elapsed()
    });
    micros(median(times.collect()))
}
