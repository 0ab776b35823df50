//! What `/proc` tells of a daemon, and waiting for a condition.

use std::fs;
use std::time::{Duration, Instant};

/// How long anything may take that a test waits for; reached only where a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The descriptors that a process has open, as what they lead to.
pub(crate) fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries
        .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_string_lossy().into_owned()))
        .collect()
}

/// The processes whose parent is `pid`, by pid and name.
///
/// Without those that stay: launchers of programs, and inits that have no program yet.
pub(crate) fn children(pid: u32) -> Vec<String> {
    let stats = stats();
    let is_alone = |stat: &str| stats.iter().all(|other| parent(other) != number(stat));
    let is_ready =
        |stat: &str| stat.contains("(llm-os-launch)") || (stat.contains("(llm-os-init)") && is_alone(stat));
    let pid = pid.to_string();
    stats.iter().filter(|stat| parent(stat) == pid && !is_ready(stat)).cloned().collect()
}

/// How many launchers and inits a process has.
pub(crate) fn launched(pid: u32) -> usize {
    let pid = pid.to_string();
    stats().iter().filter(|stat| parent(stat) == pid && stat.contains("(llm-os-")).count()
}

/// `/proc/PID/stat` of every process.
fn stats() -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok()).collect()
}

fn number(stat: &str) -> &str {
    stat.split(' ').next().unwrap_or_default()
}

fn parent(stat: &str) -> &str {
    stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').nth(1).unwrap_or_default()
}

/// A field of `/proc/PID/status` in KiB.
pub(crate) fn memory_kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Processor time used so far, in clock ticks (proc_pid_stat(5)).
pub(crate) fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
