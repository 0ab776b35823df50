//! Plans in a file: one, or several one after another.

use std::io::{BufRead, Read};
use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::error::Category;

use crate::exit::Failure;

/// Beyond this, what is not a JSON text yet is sent as it is, to be refused as too large: no plan is that long.
const MAX_PLAN: usize = 1 << 18;

/// Reads frames as they come: a producer may wait for the answer to one plan before it writes the next.
pub(crate) struct Frames<R> {
    lines: R,
    /// Whether the last frame was cut, so that the rest of its line is no plan.
    cut: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(lines: R) -> Self {
        Self { lines, cut: false }
    }
}

impl Frames<Box<dyn BufRead>> {
    /// Opens a file, or stdin for `-`.
    pub(crate) fn open(file: &Path) -> Result<Self, Failure> {
        if file.as_os_str() == "-" {
            return Ok(Self::new(Box::new(std::io::stdin().lock())));
        }
        let opened = std::fs::File::open(file).map_err(|e| unreadable(file, &e))?;
        Ok(Self::new(Box::new(std::io::BufReader::new(opened))))
    }
}

/// The message for a file that cannot be read.
pub(crate) fn unreadable(file: &Path, e: &std::io::Error) -> Failure {
    Failure::Usage(format!("cannot read {}: {e}; nothing was sent", file.display()))
}

impl<R: BufRead> Iterator for Frames<R> {
    type Item = std::io::Result<Vec<u8>>;

    /// The next plan as one line. It ends where its JSON ends, so that one plan may stand on many lines.
    ///
    /// This does not judge: what is not JSON becomes a frame as well, for the host to refuse and record.
    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::take(&mut self.cut)
            && let Err(e) = self.lines.skip_until(b'\n')
        {
            return Some(Err(e));
        }
        let mut frame = Vec::new();
        loop {
            let room = (MAX_PLAN - frame.len()) as u64 + 1;
            match self.lines.by_ref().take(room).read_until(b'\n', &mut frame) {
                Err(e) => return Some(Err(e)),
                Ok(0) if frame.iter().all(u8::is_ascii_whitespace) => return None,
                Ok(0) => return Some(Ok(one_line(frame))),
                Ok(_) if frame.iter().all(u8::is_ascii_whitespace) => frame.clear(),
                Ok(_) if frame.len() > MAX_PLAN => {
                    self.cut = !frame.ends_with(b"\n");
                    return Some(Ok(one_line(frame)));
                }
                Ok(_) if is_whole(&frame) => return Some(Ok(one_line(frame))),
                Ok(_) => {}
            }
        }
    }
}

/// Whether no further line could make this a JSON text, or it is one.
fn is_whole(frame: &[u8]) -> bool {
    !matches!(serde_json::from_slice::<IgnoredAny>(frame), Err(e) if e.classify() == Category::Eof)
}

/// Puts a text on one line without making it right or wrong: a tab is white space between JSON tokens and an error
/// inside a string, exactly as the line feed was.
pub(crate) fn one_line(mut frame: Vec<u8>) -> Vec<u8> {
    frame.truncate(frame.trim_ascii_end().len());
    for byte in frame.iter_mut().filter(|byte| **byte == b'\n') {
        *byte = b'\t';
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &[&str]) {
        let frames: Vec<_> = Frames::new(input.as_bytes()).map(|frame| frame.unwrap()).collect();
        let frames: Vec<_> = frames.iter().map(|frame| std::str::from_utf8(frame).unwrap()).collect();
        assert_eq!(frames, expected, "{input:?}");
    }

    #[test]
    fn one_plan_on_many_lines_and_many_plans_on_a_line_each() {
        check("{\"a\":1}\n", &["{\"a\":1}"]);
        check("{\"a\":1}\n\n{\"b\":2}\r\n{\"c\":3}", &["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"]);
        check("{\n \"a\": [\n 1]\n}\n{\"b\":2}\n", &["{\t \"a\": [\t 1]\t}", "{\"b\":2}"]);
        check("", &[]);
        check(" \n\n", &[]);
    }

    #[test]
    fn what_is_not_json_is_sent_for_the_host_to_refuse() {
        check("nonsense\n{\"b\":2}\n", &["nonsense", "{\"b\":2}"]);
        check("{\"a\":1}x\n", &["{\"a\":1}x"]);
        check("{\"a\":", &["{\"a\":"]);
    }

    #[test]
    fn a_line_feed_inside_a_string_stays_an_error() {
        let frame = Frames::new(b"{\"a\":\"x\ny\"}".as_slice()).next().unwrap().unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(&frame).is_err());
        assert!(!frame.contains(&b'\n'));
    }

    #[test]
    fn a_line_that_is_too_long_is_one_frame_and_its_rest_is_none() {
        let input = format!("{}{{\"b\":2}}\n{{\"c\":3}}\n", "[".repeat(MAX_PLAN + 1));
        let frames: Vec<_> = Frames::new(input.as_bytes()).map(|frame| frame.unwrap()).collect();
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_PLAN + 1, 7]);
    }
}
