//! A held plan as lines, the same for every screen that shows it.

use std::ops::Range;

use crate::held::Pictured;
use crate::screen::{Screen, plain};

/// How a line looks. None of them changes what stands on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A heading of this program.
    Head,
    /// What this program says.
    Text,
    /// What somebody else wrote: complete, every row of it behind a margin.
    Foreign,
    /// What must not be overlooked.
    Attention,
    /// Lines of a diff, with a margin as well.
    Added,
    Removed,
    Same,
}

impl Look {
    /// Whether every row stands behind a margin, which no text can imitate.
    pub(crate) fn has_margin(self) -> bool {
        match self {
            Look::Foreign | Look::Added | Look::Removed | Look::Same => true,
            Look::Head | Look::Text | Look::Attention => false,
        }
    }
}

/// A line: printable ASCII, whatever it was made from.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) indent: usize,
    pub(crate) look: Look,
    text: String,
    marks: Vec<Range<usize>>,
}

impl Line {
    fn new(indent: usize, look: Look, text: &str) -> Self {
        let is_diff = matches!(look, Look::Added | Look::Removed | Look::Same);
        let shown = plain(text);
        let marks = if is_diff { replaced(text) } else { escapes(&shown) };
        Self { indent, look, text: shown, marks }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where an escape stands for a character beyond printable ASCII.
    pub(crate) fn marks(&self) -> &[Range<usize>] {
        &self.marks
    }

    pub(super) fn write(&self, screen: &mut Screen) {
        if self.look.has_margin() {
            screen.foreign(self.indent, &self.text);
        } else {
            screen.hung(self.indent, &self.text);
        }
    }
}

/// Everything that is shown of one plan, the requester's words last.
#[derive(Debug, Default)]
pub(crate) struct Page {
    lines: Vec<Line>,
    words: usize,
    pictures: Vec<(usize, Pictured)>,
}

impl Page {
    pub(super) fn line(&mut self, indent: usize, look: Look, text: &str) {
        self.lines.push(Line::new(indent, look, text));
    }

    /// From here on nothing but the requester's words follows.
    pub(super) fn begin_words(&mut self) {
        self.words = self.lines.len();
    }

    /// A picture that belongs below the last line.
    pub(super) fn picture(&mut self, picture: Pictured) {
        self.pictures.push((self.lines.len().saturating_sub(1), picture));
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The line that the requester's words begin with.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// Pictures, each with the line that it stands below.
    pub(crate) fn pictures(&self) -> &[(usize, Pictured)] {
        &self.pictures
    }
}

/// The escapes of a JSON text or of a quoted one: `\u` that no other backslash escapes.
fn escapes(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = bytes[at..].iter().position(|b| *b == b'\\') {
        let start = at + offset;
        at = (start + 2).min(bytes.len());
        if bytes.get(start + 1) == Some(&b'u') {
            let end = match bytes.get(at) {
                Some(b'{') => {
                    bytes[at..].iter().position(|b| *b == b'}').map_or(at, |length| at + length + 1)
                }
                _ => (start + 6).min(bytes.len()),
            };
            found.push(start..end);
            at = end;
        }
    }
    found
}

/// Where [`plain`] put an escape in the place of a character.
fn replaced(text: &str) -> Vec<Range<usize>> {
    let mut at = 0;
    let ranges = text.chars().filter_map(|c| {
        let start = at;
        at += if matches!(c, ' '..='~') { 1 } else { c.escape_unicode().len() };
        (at - start > 1).then_some(start..at)
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_found_and_what_only_looks_like_one_is_not() {
        let marked = |look, text: &str| {
            let line = Line::new(0, look, text);
            line.marks().iter().map(|mark| line.text()[mark.clone()].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(marked(Look::Foreign, r#""a\u202eb\u001b[2K""#), [r"\u202e", r"\u001b"]);
        assert_eq!(marked(Look::Foreign, r#""a\\u202eb""#), [""; 0]);
        assert_eq!(marked(Look::Text, "run Program \"\\u{455}udo\""), ["\\u{455}"]);
        assert_eq!(marked(Look::Text, "broken \\u{12"), ["\\u"]);
        assert_eq!(marked(Look::Added, "+\u{202e}x\\u{202e}"), ["\\u{202e}"]);
    }
}
