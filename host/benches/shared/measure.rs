//! What both benchmarks count with.

use std::io::Write as _;
use std::time::Duration;

/// Whether every action of an answer succeeded, by its first.
pub(crate) fn is_ok(answer: &[u8]) -> bool {
    let ok: &[u8] = br#""status":"ok""#;
    answer[..answer.len().min(8192)].windows(ok.len()).any(|window| window == ok)
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Appends a record the way every floor that keeps a log does.
pub(crate) fn append_durably(log: &std::fs::File, records: usize) {
    let mut log = log;
    log.write_all(&vec![b'x'; RECORD * records]).unwrap();
    log.sync_data().unwrap();
}

/// The bytes of a floor's record.
pub(crate) const RECORD: usize = 500;
