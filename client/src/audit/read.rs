//! Reads a whole log: one thread reads ahead, the other takes the lines.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use llm_os_core::audit::written;

use crate::audit::segments::unreadable;
use crate::exit::Failure;
use crate::progress::Progress;

/// What is read at once.
const BLOCK: usize = 1 << 20;
/// How many blocks are read ahead.
const AHEAD: usize = 4;
/// More than any record: what is longer was not written by a host, and is given in pieces.
const LONGEST: usize = 16 << 20;

/// A line, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// The segment's place in the list that was given.
    pub(super) segment: usize,
    /// From 1.
    pub(super) line: u64,
    /// Without its LF.
    pub(super) bytes: &'a [u8],
    /// Whether no LF ends it: the segment ends within it.
    pub(super) torn: bool,
}

impl Piece<'_> {
    /// Where it stands, in words.
    pub(super) fn place(&self, segments: &[PathBuf]) -> String {
        let name = segments[self.segment].file_name().unwrap_or_default().to_string_lossy();
        format!("line {} of {name}", self.line)
    }
}

/// Gives every line of the segments to `take`, in order, until it breaks off.
///
/// # Errors
///
/// A segment that cannot be read, and what `take` says.
pub(super) fn each<T>(
    segments: &[PathBuf],
    progress: &mut Progress,
    take: &mut dyn FnMut(Piece<'_>) -> Result<ControlFlow<T>, Failure>,
) -> Result<Option<T>, Failure> {
    std::thread::scope(|scope| {
        let (send, blocks) = sync_channel(AHEAD);
        let (back, spare) = sync_channel(AHEAD + 2);
        scope.spawn(move || {
            for (segment, path) in segments.iter().enumerate() {
                let read = File::open(path).map_err(|e| unreadable(path, &e)).and_then(|file| {
                    blocks_of(file, segment, &send, &spare).map_err(|e| unreadable(path, &e))
                });
                match read {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(failure) => {
                        // Where nobody takes it, nobody asks any more.
                        let _ = send.send(Err(failure));
                        return;
                    }
                }
            }
        });
        let (mut current, mut line) = (0, 0);
        for block in blocks {
            let Block { segment, bytes, read, torn } = block?;
            if segment != current {
                (current, line) = (segment, 0);
            }
            progress.add(read);
            let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            for bytes in lines.split(|b| *b == b'\n').filter(|_| !bytes.is_empty()) {
                line += 1;
                if let ControlFlow::Break(end) = take(Piece { segment, line, bytes, torn })? {
                    return Ok(Some(end));
                }
            }
            // A reader that is done needs no buffer back.
            let _ = back.try_send(bytes);
        }
        Ok(None)
    })
}

/// Whole lines, or what no LF ends.
struct Block {
    segment: usize,
    bytes: Vec<u8>,
    /// How much of the file was read for it.
    read: u64,
    torn: bool,
}

type Blocks = SyncSender<Result<Block, Failure>>;

/// Sends a segment. `false` where nobody takes it any more.
fn blocks_of(
    mut file: File,
    segment: usize,
    send: &Blocks,
    spare: &Receiver<Vec<u8>>,
) -> std::io::Result<bool> {
    let mut carried = Vec::new();
    loop {
        let mut bytes = spare.try_recv().unwrap_or_default();
        bytes.clear();
        bytes.reserve(BLOCK + carried.len());
        bytes.append(&mut carried);
        let read = Read::by_ref(&mut file).take(BLOCK as u64).read_to_end(&mut bytes)?;
        let block = |bytes, torn| Ok(Block { segment, bytes, read: read as u64, torn });
        if read == 0 {
            bytes.truncate(written(&bytes).len());
            return Ok(send.send(block(bytes, true)).is_ok());
        }
        match bytes.iter().rposition(|b| *b == b'\n') {
            Some(end) => carried.extend_from_slice(&bytes[end + 1..]),
            None if bytes.len() < LONGEST => std::mem::swap(&mut carried, &mut bytes),
            None => {}
        }
        bytes.truncate(bytes.len() - if bytes.is_empty() { 0 } else { carried.len() });
        if send.send(block(bytes, false)).is_err() {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(contents: &[&[u8]]) -> Vec<(usize, u64, Vec<u8>, bool)> {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..contents.len()).map(|n| dir.path().join(n.to_string())).collect();
        for (path, content) in paths.iter().zip(contents) {
            std::fs::write(path, content).unwrap();
        }
        let mut taken = Vec::new();
        let ended = each::<()>(&paths, &mut Progress::new("test", 0, true), &mut |piece| {
            taken.push((piece.segment, piece.line, piece.bytes.to_vec(), piece.torn));
            Ok(ControlFlow::Continue(()))
        });
        assert_eq!(ended.unwrap(), None);
        taken
    }

    #[test]
    fn every_line_comes_with_its_place_and_the_zeros_after_the_last_are_none() {
        let expected = [
            (0, 1, b"a".to_vec(), false),
            (0, 2, b"".to_vec(), false),
            (0, 3, b"b".to_vec(), true),
            (1, 1, b"c".to_vec(), false),
        ];
        assert_eq!(lines(&[b"a\n\nb", b"c\n\0\0\0"]), expected);
        assert_eq!(lines(&[b"", b"\n"]), [(1, 1, b"".to_vec(), false)]);
    }

    #[test]
    fn lines_that_cross_blocks_stay_whole() {
        let long = vec![b'x'; 3 * BLOCK / 2];
        let content = [&long[..], b"\n", &long[..], b"\nend\n"].concat();
        let expected = [(0, 1, long.clone(), false), (0, 2, long, false), (0, 3, b"end".to_vec(), false)];
        assert!(lines(&[&content]) == expected);
    }

    #[test]
    fn a_reading_that_is_broken_off_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "x\n".repeat(8 << 20)).unwrap();
        let mut take = |piece: Piece<'_>| Ok(ControlFlow::Break(piece.line));
        assert_eq!(each(&[path], &mut Progress::new("test", 0, true), &mut take).unwrap(), Some(1));
    }
}
