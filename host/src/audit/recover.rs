//! The start: where the log ends, and what an unclean end left to close.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Take};

use llm_os_core::audit::{Chain, Entry, Event, Line, PublicKey, Signer};
use llm_os_core::value::hex;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::audit::disk::{Directory, Disk, END};
use crate::audit::files::at;
use crate::audit::writer::{Item, Open, Position, Writer};
use crate::audit::{OpenError, Options};

/// What there is to go on after.
#[derive(Debug, Default)]
pub(super) struct Found {
    position: Position,
    /// The segment ends with bytes that are no record.
    torn: bool,
}

/// Looks for the end of the log. After an orderly stop that is a look at two lines; else the last segment is read.
pub(super) fn find(directory: &Directory, key: &PublicKey) -> Result<Found, OpenError> {
    let Some(number) = directory.last() else { return Ok(Found::default()) };
    if let Some(position) = orderly(directory, number, key)? {
        return Ok(Found { position, torn: false });
    }
    let mut scan = Scan::of(directory, number, key)?;
    if scan.position.length == 0
        && let Some(before) = directory.before(number)
    {
        // The rotation was cut short before the new segment could say which intents are open.
        let previous = Scan::of(directory, before, key)?;
        if previous.torn {
            return Err(previous.altered(directory, before));
        }
        scan.position.chain = previous.position.chain;
        scan.position.open = previous.position.open;
    }
    if scan.torn && scan.covered {
        return Err(scan.altered(directory, number));
    }
    Ok(Found { position: scan.position, torn: scan.torn })
}

/// Closes what is open, and gives the writer that goes on.
pub(super) fn resume(
    mut directory: Directory,
    found: Found,
    signer: Signer,
    options: Options,
    wrap: impl FnOnce(Directory) -> Box<dyn Disk>,
) -> Result<Writer, OpenError> {
    let Found { mut position, torn } = found;
    let is_new = position.number == 0;
    position.number = position.number.max(1);
    let mut items = Vec::new();
    if torn {
        let seq = position.chain.seq() + 1;
        let name = format!("torn-{seq}.bin");
        let bytes = directory.cut(position.number, position.length, &name)?;
        tracing::warn!(
            bytes = bytes.len(),
            file = name,
            "the log ended within a record: its end was moved away"
        );
        let data = json!({"file": name, "bytes": bytes.len(), "sha256": hex(&Sha256::digest(&bytes))});
        items.push(Item::of(&Entry { data: Some(data), ..Entry::new(Event::Recovered) }));
    }
    items.extend(position.open.interrupted());
    let previous = directory.before(position.number).filter(|_| position.length == 0);
    if !is_new {
        directory.go_on(position.number, position.length)?;
    }
    let path = directory.segment_path(position.number);
    let mut disk = wrap(directory);
    if is_new {
        disk.create(position.number).map_err(at(&path))?;
    }
    let mut writer = Writer::new(disk, signer, options, position);
    if let Some(previous) = previous {
        writer.push_rotated(previous);
    }
    if !items.is_empty() {
        writer.commit(&items, std::iter::empty()).map_err(at(&path))?;
    }
    writer.retire().map_err(at(&path))?;
    Ok(writer)
}

/// The end of a log that was stopped in order: a stop, and a checkpoint that is signed.
fn orderly(directory: &Directory, number: u32, key: &PublicKey) -> Result<Option<Position>, OpenError> {
    let (_, length) = directory.read(number)?;
    let tail = directory.tail(number, END)?;
    let end = || {
        let mut lines = tail.strip_suffix(b"\n")?.rsplit(|b| *b == b'\n');
        let (checkpoint, stop) = (Line::read(lines.next()?)?, Line::read(lines.next()?)?);
        let in_order = stop.event == Event::Stop
            && checkpoint.event == Event::Checkpoint
            && checkpoint.prev == stop.link()
            && key.signed(&checkpoint);
        in_order.then(|| Chain::after(checkpoint.seq, checkpoint.link()))
    };
    Ok(end().map(|chain| Position { number, length, chain, uncovered: 0, open: Open::default() }))
}

/// A segment, read from its beginning to the first line that is not chained.
struct Scan {
    position: Position,
    torn: bool,
    /// A signed checkpoint stands behind that line: it was not torn, it was altered.
    covered: bool,
}

impl Scan {
    fn of(directory: &Directory, number: u32, key: &PublicKey) -> Result<Self, OpenError> {
        let (file, end) = directory.read(number)?;
        let mut chain = match directory.before(number) {
            Some(before) => end_of(&directory.tail(before, END)?),
            None => (number == 1).then(Chain::default),
        };
        let position = Position { number, ..Position::default() };
        let mut scan = Scan { position, torn: false, covered: false };
        let mut lines = Lines::of(file.take(end));
        while let Some(bytes) = lines.next().map_err(at(&directory.segment_path(number)))? {
            let line = bytes.strip_suffix(b"\n").and_then(Line::read);
            if scan.torn {
                scan.covered |= line.is_some_and(|line| line.event == Event::Checkpoint && key.signed(&line));
                continue;
            }
            // Without the segment before, the first line is taken at its word.
            let first = || line.map(|line| Chain::after(line.seq - 1, line.prev));
            let expected = chain.clone().or_else(first).unwrap_or_default();
            match line.filter(|line| line.seq == expected.seq() + 1 && line.prev == expected.head()) {
                Some(line) => {
                    chain = Some(Chain::after(line.seq, line.link()));
                    scan.position.length += bytes.len() as u64;
                    scan.position.uncovered += 1;
                    if line.event == Event::Checkpoint {
                        scan.position.uncovered = 0;
                    }
                    scan.position.open.follow(&line);
                }
                None => scan.torn = true,
            }
        }
        scan.position.chain = chain.unwrap_or_default();
        Ok(scan)
    }

    fn altered(&self, directory: &Directory, number: u32) -> OpenError {
        OpenError::Altered { path: directory.segment_path(number), seq: self.position.chain.seq() + 1 }
    }
}

/// The chain after the last line of a segment.
fn end_of(tail: &[u8]) -> Option<Chain> {
    let last = tail.strip_suffix(b"\n")?.rsplit(|b| *b == b'\n').next().and_then(Line::read)?;
    Some(Chain::after(last.seq, last.link()))
}

/// Lines with their LF, one at a time.
struct Lines {
    file: BufReader<Take<File>>,
    line: Vec<u8>,
}

impl Lines {
    fn of(file: Take<File>) -> Self {
        Self { file: BufReader::with_capacity(256 << 10, file), line: Vec::new() }
    }

    fn next(&mut self) -> std::io::Result<Option<&[u8]>> {
        self.line.clear();
        let read = self.file.read_until(b'\n', &mut self.line)?;
        Ok((read > 0).then_some(&self.line))
    }
}
