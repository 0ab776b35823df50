//! Verification: fed line by line, in constant memory, it names the first record that is not as it was written.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::audit::{Event, Line, Link, PublicKey, written};

/// Verifies a log from its first line on.
#[derive(Debug, Default)]
pub struct Verifier {
    key: Option<PublicKey>,
    expect: Option<Link>,
    /// The links that the last line holds and is.
    last: Option<(Link, Link)>,
    /// The log begins after its first record: the record before the first line, and the link to it.
    begin: Option<(u64, Link)>,
    /// The record that says that what is before `begin` was retired.
    retired: Option<u64>,
    /// The last line does not link to the one before: the next line tells which of the two was altered.
    broken: bool,
    verified: Verified,
}

/// What holds of a log that verifies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// How many records before them were retired, as a later record says.
    pub retired: u64,
    /// The link to the last one.
    pub head: Option<Link>,
    /// How many checkpoints there are.
    pub checkpoints: u64,
    /// The last record that a checkpoint covers whose signature was verified; itself included.
    pub covered: u64,
    /// The record that the expected receipt names.
    pub receipt: Option<u64>,
}

impl Verified {
    /// Whether a verified checkpoint covers the end: then nothing at all was altered.
    pub fn covers_end(&self) -> bool {
        self.records > 0 && self.covered == self.retired + self.records
    }
}

/// Why a log does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq}: {kind}")]
pub struct Problem {
    /// The first record that is not as it was written.
    pub seq: u64,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// It is not a record at all.
    #[error("the line is not a record")]
    Malformed,
    /// Records are missing.
    #[error("the records from here to {to} are missing")]
    Gap {
        /// The last that is missing.
        to: u64,
    },
    /// It has another number than its place.
    #[error("the line in its place has the number {found}")]
    Number {
        /// The number.
        found: u64,
    },
    /// Its bytes are not the ones that the next record links to, or its own link is not to the record before.
    #[error("it was altered: the chain breaks here")]
    Altered,
    /// It is a checkpoint, and not signed with the key.
    #[error("the checkpoint is not signed with this key")]
    Signature,
    /// The log ends within it.
    #[error(
        "the line is not complete: the host is writing it now, or was killed and closes it at its next start"
    )]
    Torn,
    /// The log ends before it, without the record that the receipt names.
    #[error(
        "the log ends before it and holds no record with the expected receipt: its end was cut off{}",
        if *retired { ", or the record is one of those at its beginning that were retired" } else { "" }
    )]
    NoReceipt {
        /// Whether the log begins after records that were retired: the record may be one of them.
        retired: bool,
    },
}

impl Verifier {
    /// Verifies the chain alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// Verifies the signatures of the checkpoints as well.
    #[must_use]
    pub fn key(mut self, key: PublicKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Looks for the record that a receipt names.
    #[must_use]
    pub fn expect(mut self, receipt: Link) -> Self {
        self.expect = Some(receipt);
        self
    }

    /// Takes the next line, without its LF, and gives it taken apart.
    ///
    /// # Errors
    ///
    /// The first record that is not as it was written. What comes after it says nothing any more.
    pub fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<Line<'a>, Problem> {
        let taken = self.take(bytes);
        // A first line that the second does not follow says nothing about where the log begins.
        taken.map_err(
            |problem| if self.verified.records < 2 { self.gap().unwrap_or(problem) } else { problem },
        )
    }

    /// The number of the last line.
    fn seq(&self) -> u64 {
        self.verified.retired + self.verified.records
    }

    /// What is missing at the beginning, as long as no signed record says that it was retired.
    fn gap(&self) -> Option<Problem> {
        let (to, _) = self.begin?;
        let said = self.retired.is_some_and(|at| self.key.is_none() || at < self.verified.covered);
        (!said).then(|| problem(1, ProblemKind::Gap { to }))
    }

    fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<Line<'a>, Problem> {
        let line = Line::read(bytes);
        if let Some(line) = line.filter(|line| self.last.is_none() && line.seq > 1) {
            self.begin = Some((line.seq - 1, line.prev));
            self.verified.retired = line.seq - 1;
        }
        let place = self.seq() + 1;
        if self.broken {
            // Where this line links to the last one, the last is whole, and the one before it was altered.
            let whole = line.is_some_and(|line| self.last.is_some_and(|(_, last)| line.prev == last));
            return Err(problem(if whole { place - 2 } else { place - 1 }, ProblemKind::Altered));
        }
        let line = line.ok_or_else(|| problem(place, ProblemKind::Malformed))?;
        let start = self.begin.map_or(Link::START, |(_, link)| link);
        let (before, head) = self.last.unwrap_or((start, start));
        let link = line.link();
        if line.seq != place {
            return Err(misplaced(&line, place, before, head, link));
        }
        let signed = self.check_signature(&line)?;
        if line.prev != head {
            if place == 1 || serde_json::from_slice::<IgnoredAny>(bytes).is_err() {
                return Err(problem(place, ProblemKind::Altered));
            }
            if signed {
                return Err(problem(place - 1, ProblemKind::Altered));
            }
            self.broken = true;
        }
        if signed {
            self.verified.covered = place;
        }
        if self.begin.is_some_and(|begin| retires(&line, begin)) && !self.broken {
            self.retired = Some(place);
        }
        if self.expect == Some(link) {
            self.verified.receipt = Some(place);
        }
        self.last = Some((line.prev, link));
        self.verified.records += 1;
        Ok(line)
    }

    /// Whether a checkpoint is signed with the key; any other line, and a log without a key, is not.
    fn check_signature(&mut self, line: &Line<'_>) -> Result<bool, Problem> {
        if line.event != Event::Checkpoint {
            return Ok(false);
        }
        self.verified.checkpoints += 1;
        match self.key {
            Some(key) if key.signed(line) => Ok(true),
            Some(_) => Err(problem(line.seq, ProblemKind::Signature)),
            None => Ok(false),
        }
    }

    /// The log ended. `rest` are the bytes after the last LF; zeros at their end say nothing, see [`written`].
    ///
    /// # Errors
    ///
    /// What only the end shows.
    pub fn finish(mut self, rest: &[u8]) -> Result<Verified, Problem> {
        let end = self.seq();
        if let Some(gap) = self.gap() {
            return Err(gap);
        }
        if self.broken {
            // Nothing tells whether the last record's link or the one before was altered: the earlier is named.
            return Err(problem(end - 1, ProblemKind::Altered));
        }
        if !written(rest).is_empty() {
            return Err(problem(end + 1, ProblemKind::Torn));
        }
        if self.expect.is_some() && self.verified.receipt.is_none() {
            let retired = self.verified.retired > 0;
            return Err(problem(end + 1, ProblemKind::NoReceipt { retired }));
        }
        self.verified.head = self.last.map(|(_, link)| link);
        Ok(self.verified)
    }
}

/// Whether a line says that the log up to this record was retired.
fn retires(line: &Line<'_>, (seq, head): (u64, Link)) -> bool {
    #[derive(Deserialize)]
    struct Retired {
        data: Segments,
    }
    #[derive(Deserialize)]
    struct Segments {
        segments: Vec<Segment>,
    }
    #[derive(Deserialize)]
    struct Segment {
        seq: u64,
        head: String,
    }
    let stated = || serde_json::from_slice::<Retired>(line.bytes).ok();
    let ends = |segment: &Segment| segment.seq == seq && segment.head == head.as_str();
    line.event == Event::Retired && stated().is_some_and(|line| line.data.segments.iter().any(ends))
}

fn problem(seq: u64, kind: ProblemKind) -> Problem {
    Problem { seq, kind }
}

/// A line that stands where another number is due; the links tell what was put in, taken out or altered.
fn misplaced(line: &Line<'_>, place: u64, before: Link, head: Link, link: Link) -> Problem {
    let found = line.seq;
    if line.prev == head {
        problem(place, ProblemKind::Number { found })
    } else if found > place {
        problem(place, ProblemKind::Gap { to: found - 1 })
    } else if found + 1 == place && line.prev == before && link != head {
        // Two lines with one number, after the same record: the first of them was put in.
        problem(found, ProblemKind::Altered)
    } else {
        problem(place, ProblemKind::Number { found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Body, Chain, Entry, Signer};
    use crate::name::Id;
    use proptest::prelude::*;

    const TIME: &str = "2026-11-23T05:54:01.123456Z";

    fn signer() -> Signer {
        Signer::from_seed(&[7; 32])
    }

    /// A log of records with these reasons, with a checkpoint after every third and at the end.
    fn log(reasons: &[&str]) -> Vec<Vec<u8>> {
        let mut chain = Chain::default();
        let mut out = Vec::new();
        for (n, reason) in reasons.iter().enumerate() {
            let entry = Entry {
                request_id: Id::new(&format!("r-{n}")),
                why: Some((*reason).to_owned()),
                ..Entry::new(Event::Intent)
            };
            chain.append(&Body::of(&entry), TIME, &mut out);
            if n % 3 == 2 {
                chain.checkpoint(&signer(), TIME, &mut out);
            }
        }
        chain.checkpoint(&signer(), TIME, &mut out);
        split(&out).0
    }

    fn split(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut lines: Vec<_> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        let rest = lines.pop().unwrap();
        (lines, rest)
    }

    fn verify_bytes(bytes: &[u8]) -> Result<Verified, Problem> {
        let (lines, rest) = split(bytes);
        verify(&lines, &rest)
    }

    fn verify(lines: &[Vec<u8>], rest: &[u8]) -> Result<Verified, Problem> {
        let mut verifier = Verifier::new().key(signer().public());
        lines.iter().try_for_each(|line| verifier.line(line).map(drop))?;
        verifier.finish(rest)
    }

    fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
        lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
    }

    /// A06, every position.
    #[test]
    fn any_flipped_bit_is_found_at_its_record() {
        let lines = log(&["one", "two", "three", "four"]);
        let bytes = joined(&lines);
        let mut record = 1;
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                let found = verify_bytes(&other).map_err(|problem| problem.seq);
                assert_eq!(found, Err(record), "bit {bit} of byte {at}: {}", String::from_utf8_lossy(&other));
            }
            record += u64::from(bytes[at] == b'\n');
        }
    }

    proptest! {
        /// A06.
        #[test]
        fn a_record_taken_out_is_found_at_its_place(count in 1_usize..12, at in any::<prop::sample::Index>()) {
            let mut lines = log(&vec!["x"; count]);
            let at = at.index(lines.len() - 1);
            lines.remove(at);
            let problem = verify(&lines, b"").unwrap_err();
            let place = at as u64 + 1;
            prop_assert_eq!(problem, Problem { seq: place, kind: ProblemKind::Gap { to: place } });
        }

        /// A06.
        #[test]
        fn two_records_that_change_places_are_found_at_the_first(
            count in 1_usize..12, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()
        ) {
            let mut lines = log(&vec!["x"; count]);
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            prop_assume!(a != b);
            lines.swap(a, b);
            prop_assert_eq!(verify(&lines, b"").unwrap_err().seq, a.min(b) as u64 + 1);
        }

        /// A06: a copy of any record, or a forged one that links to its place, put in anywhere.
        #[test]
        fn a_record_put_in_is_found_at_its_place(
            count in 1_usize..12, from in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), forged: bool
        ) {
            let original = log(&vec!["x"; count]);
            let at = at.index(original.len());
            let line = if forged {
                let head = at.checked_sub(1).map_or(Link::START, |before| Link::to(&original[before]));
                let mut out = Vec::new();
                Chain::after(at as u64, head).append(&Body::of(&Entry::new(Event::Outcome)), TIME, &mut out);
                out.pop();
                out
            } else {
                original[from.index(original.len())].clone()
            };
            let mut lines = original.clone();
            lines.insert(at, line);
            let first = lines.iter().zip(&original).position(|(a, b)| a != b).unwrap_or(original.len());
            prop_assert_eq!(verify(&lines, b"").unwrap_err().seq, first as u64 + 1);
        }

        /// A06, over records of any content.
        #[test]
        fn a_flipped_bit_in_any_content_is_found(
            reasons in prop::collection::vec(".{0,40}", 1..8), at in any::<prop::sample::Index>(), bit in 0_u32..8
        ) {
            let reasons: Vec<_> = reasons.iter().map(String::as_str).collect();
            let mut bytes = joined(&log(&reasons));
            let at = at.index(bytes.len());
            let record = bytes[..at].iter().filter(|b| **b == b'\n').count() as u64 + 1;
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(verify_bytes(&bytes).unwrap_err().seq, record);
        }
    }

    #[test]
    fn a_whole_log_verifies_and_is_covered_to_its_end() {
        let lines = log(&["a", "b", "c", "d"]);
        let verified = verify(&lines, b"").unwrap();
        assert_eq!((verified.records, verified.checkpoints, verified.covered), (6, 2, 6));
        assert!(verified.covers_end());
        assert_eq!(verified.head, Some(Link::to(&lines[5])));
    }

    #[test]
    fn a_cut_end_is_seen_by_the_receipt_that_is_missing() {
        let mut lines = log(&["a", "b", "c", "d"]);
        let receipt = Link::to(&lines[4]);
        let check = |lines: &[Vec<u8>]| {
            let mut verifier = Verifier::new().key(signer().public()).expect(receipt);
            lines.iter().try_for_each(|line| verifier.line(line).map(drop))?;
            verifier.finish(b"")
        };
        assert_eq!(check(&lines).unwrap().receipt, Some(5));
        lines.truncate(4);
        let cut = verify(&lines, b"").unwrap();
        assert_eq!(cut.covered, 4);
        assert_eq!(check(&lines), Err(Problem { seq: 5, kind: ProblemKind::NoReceipt { retired: false } }));
    }

    #[test]
    fn a_receipt_that_a_log_without_its_beginning_does_not_hold_may_be_of_what_was_retired() {
        let all = log(&["a", "b", "c", "d"]);
        let (seq, head) = (3, Link::to(&all[2]));
        let (mut chain, mut bytes) = (Chain::after(6, Link::to(&all[5])), joined(&all[3..]));
        let segments = serde_json::json!({"segments": [{"seq": seq, "head": head.as_str()}]});
        let said = Entry { data: Some(segments), ..Entry::new(Event::Retired) };
        chain.append(&Body::of(&said), TIME, &mut bytes);
        chain.checkpoint(&signer(), TIME, &mut bytes);
        let left = split(&bytes).0;
        let check = |receipt: Link| {
            let mut verifier = Verifier::new().key(signer().public()).expect(receipt);
            left.iter().try_for_each(|line| verifier.line(line).map(drop))?;
            verifier.finish(b"")
        };
        let kept = check(Link::to(&all[4])).unwrap();
        assert_eq!((kept.retired, kept.receipt), (seq, Some(5)));
        let problem = check(Link::to(&all[1])).unwrap_err();
        assert_eq!(problem, Problem { seq: 9, kind: ProblemKind::NoReceipt { retired: true } });
        let message = problem.to_string();
        assert!(
            message.contains("its end was cut off, or") && message.ends_with("were retired"),
            "{message}"
        );
        assert!(!ProblemKind::NoReceipt { retired: false }.to_string().contains("retired"));
    }

    #[test]
    fn an_incomplete_last_line_is_torn() {
        let lines = log(&["a"]);
        let rest = &lines[1][..20];
        assert_eq!(verify(&lines[..1], rest), Err(Problem { seq: 2, kind: ProblemKind::Torn }));
    }

    #[test]
    fn a_checkpoint_of_another_key_does_not_verify() {
        let mut verifier = Verifier::new().key(Signer::from_seed(&[8; 32]).public());
        let found = log(&["a"]).iter().try_for_each(|line| verifier.line(line).map(drop));
        assert_eq!(found, Err(Problem { seq: 2, kind: ProblemKind::Signature }));
    }

    #[test]
    fn without_a_key_nothing_counts_as_covered() {
        let mut verifier = Verifier::new();
        log(&["a"]).iter().for_each(|line| assert!(verifier.line(line).is_ok()));
        let verified = verifier.finish(b"").unwrap();
        assert_eq!((verified.checkpoints, verified.covered, verified.covers_end()), (1, 0, false));
    }
}
