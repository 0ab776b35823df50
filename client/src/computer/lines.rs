//! stdin line by line, for as long as somebody reads stdout.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use crate::exit::Failure;
use crate::output;

/// The longest line that is read: a model's message, which may hold much that is no call.
const MAX_LINE: usize = 16 << 20;

/// How much is read at once.
const CHUNK: usize = 1 << 16;

/// The lines of stdin. Nothing is read ahead of what is asked for but the rest of a chunk.
pub(crate) struct Lines {
    stdin: File,
    read: Vec<u8>,
    is_at_end: bool,
}

impl Lines {
    pub(crate) fn of_stdin() -> Result<Self, Failure> {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| unreadable(&e))?;
        Ok(Self { stdin: stdin.into(), read: Vec::new(), is_at_end: false })
    }

    /// The next line that is not blank, without its LF; an error of the inner kind where it is too long.
    pub(crate) fn next(&mut self) -> Result<Option<Result<Vec<u8>, String>>, Failure> {
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            if line.is_err() || line.as_ref().is_ok_and(|line| !line.iter().all(u8::is_ascii_whitespace)) {
                return Ok(Some(line));
            }
        }
    }

    fn line(&mut self) -> Result<Option<Result<Vec<u8>, String>>, Failure> {
        let mut searched = 0;
        let mut is_too_long = false;
        loop {
            if let Some(end) = self.read[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.pop();
                return Ok(Some(fitting(line, is_too_long)));
            }
            is_too_long |= self.read.len() > MAX_LINE;
            if is_too_long {
                self.read.clear();
            }
            searched = self.read.len();
            if self.is_at_end {
                let line = std::mem::take(&mut self.read);
                return Ok((is_too_long || !line.is_empty()).then(|| fitting(line, is_too_long)));
            }
            output::until_readable(self.stdin.as_fd())?;
            let start = self.read.len();
            self.read.resize(start + CHUNK, 0);
            let count = self.stdin.read(&mut self.read[start..]).map_err(|e| unreadable(&e))?;
            self.read.truncate(start + count);
            self.is_at_end = count == 0;
        }
    }
}

fn fitting(line: Vec<u8>, is_too_long: bool) -> Result<Vec<u8>, String> {
    if is_too_long || line.len() > MAX_LINE {
        return Err(format!("the line is longer than {MAX_LINE} bytes"));
    }
    Ok(line)
}

fn unreadable(e: &std::io::Error) -> Failure {
    Failure::Usage(format!("cannot read stdin: {e}"))
}
