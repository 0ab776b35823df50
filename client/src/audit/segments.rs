//! Reads the segments of a log line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use llm_os_core::audit::{segment_number, written};

use crate::exit::Failure;

/// More than any record: what is longer was not written by a host, and is given in pieces.
const LONGEST: u64 = 16 << 20;

/// The segments of a directory, oldest first.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let names = std::fs::read_dir(dir).map_err(|e| unreadable(dir, &e))?;
    let mut segments = Vec::new();
    for name in names {
        let path = name.map_err(|e| unreadable(dir, &e))?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(segment_number);
        segments.extend(number.map(|number| (number, path)));
    }
    segments.sort();
    if segments.is_empty() {
        return Err(Failure::Usage(format!(
            "there is no audit log in {}; name its directory",
            dir.display()
        )));
    }
    Ok(segments.into_iter().map(|(_, path)| path).collect())
}

/// One segment that is being read.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    file: BufReader<File>,
    line: Vec<u8>,
}

/// What a segment goes on with.
pub(super) enum Next<'a> {
    /// A line, without its LF.
    Line(&'a [u8]),
    /// Bytes at the end that no LF ends.
    Rest,
    End,
}

impl Segment {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|e| unreadable(path, &e))?;
        Ok(Self { path: path.to_owned(), file: BufReader::with_capacity(1 << 20, file), line: Vec::new() })
    }

    pub(super) fn next(&mut self) -> Result<Next<'_>, Failure> {
        self.line.clear();
        let read = Read::take(&mut self.file, LONGEST).read_until(b'\n', &mut self.line);
        read.map_err(|e| unreadable(&self.path, &e))?;
        if self.line.ends_with(b"\n") {
            return Ok(Next::Line(&self.line[..self.line.len() - 1]));
        }
        // A segment in use ends with zeros, which its next records fill.
        let rest = written(&self.line).len();
        if rest == 0 && !self.line.is_empty() {
            self.again()?;
        }
        Ok(if rest == 0 { Next::End } else { Next::Rest })
    }

    /// Steps back before bytes that no LF ended yet.
    pub(super) fn again(&mut self) -> Result<(), Failure> {
        let back = i64::try_from(self.line.len()).unwrap_or(0);
        self.file.seek(SeekFrom::Current(-back)).map_err(|e| unreadable(&self.path, &e))?;
        // It is before them now, and steps back no further.
        self.line.clear();
        Ok(())
    }
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Usage(format!(
        "cannot read {}: {error}; name the directory of the log, as a user who may read it",
        path.display()
    ))
}
