//! The audit record: what it holds, how it is written, chained, signed and verified. Reading and writing files is for
//! others.
//!
//! A log is a sequence of lines of printable ASCII, each one JSON object and one LF. The keys stand in this order; those
//! after `session_id` are left out where they say nothing, `seq`, `time`, `event`, the two ids and `prev` never are:
//!
//! ```json
//! {"seq":7,"time":"2026-11-23T05:54:01.123456Z","event":"intent","request_id":"r-1","session_id":null,
//!  "run":"...","who":{},"why":"...","what":{},"decision":{},"outcome":{},"evidence":[],"data":{},"prev":"<64 hex digits>"}
//! ```
//!
//! `seq` counts from 1 without a gap over all segments. `prev` is the SHA-256, in lower-case hexadecimal, of the exact
//! bytes of the line before, without its LF; the first line has 64 zeros. A line of the event `checkpoint` is signed
//! with Ed25519 over all of its own bytes, hence over the head and the count of everything before it.
//!
//! The segment in use is longer than what was [`written`] to it: zeros follow, which the next records fill.
//!
//! A log whose oldest segments were removed begins after record 1. It verifies only where a later `retired` record, covered by
//! a signed checkpoint, lists the end of a segment at which it begins: `data.segments` holds `name`, `seq` and `head` of each.
//!
//! What the chain alone cannot show is a cut at the end, or a change in the last line: a later checkpoint, or a receipt
//! that a caller kept, can.

mod checkpoint;
mod entry;
mod line;
mod verify;

pub use checkpoint::{PublicKey, Signer};
pub use entry::{Approved, Decided, Entry, Event, Evidence, Outcome, What, Who};
pub use line::{Body, Chain, Line, Link, printable};
pub use verify::{Problem, ProblemKind, Verified, Verifier};

/// The name of the segment with this number, counted from 1.
pub fn segment_name(number: u32) -> String {
    format!("audit-{number:08}.jsonl")
}

/// The number of the segment with this name.
pub fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The bytes of a segment, or of its end, without the zeros that no record filled yet. A record holds no zero byte.
pub fn written(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_are_segments() {
        assert_eq!(segment_number(&segment_name(1)), Some(1));
        assert_eq!(segment_number(&segment_name(123_456_789)), Some(123_456_789));
        for other in
            ["audit-1.jsonl", "audit-+0000001.jsonl", "audit-00000001.jsonl.gz", "lock", "audit-.jsonl"]
        {
            assert_eq!(segment_number(other), None, "{other}");
        }
    }
}
