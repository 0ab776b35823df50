//! What reaches a terminal: printable ASCII and the line ends of this program, whatever was put in.

use std::io::Write;

use rustix::termios::tcgetwinsize;

use crate::exit::Failure;

/// Where text from others is broken in a wide terminal, and where there is none.
const WIDTH: usize = 88;
/// Where text is broken in the narrowest one.
const NARROW: usize = 8;
const MARGIN: &str = "| ";
/// How far in a row goes on that is too long: nothing that this program says begins there.
const HANGING: usize = 9;

/// Turns everything but printable ASCII into `\u{...}`.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => out.push(c),
            other => out.extend(other.escape_unicode()),
        }
    }
    out
}

/// Text from others in quotes, so that its end is seen and no escape can be imitated.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_default())
}

/// Printable ASCII in rows, broken between words where that goes.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(NARROW);
    let mut rows = Vec::new();
    let mut rest = text;
    while rest.len() > columns {
        let end = rest[..columns].rfind(' ').filter(|space| *space > 0).unwrap_or(columns);
        rows.push(rest[..end].to_owned());
        rest = rest[end..].strip_prefix(' ').unwrap_or(&rest[end..]);
    }
    rows.push(rest.to_owned());
    rows
}

/// The rows of a text, all but the first one set in: no row but that one begins where the text does.
pub(crate) fn hanging(text: &str, width: usize, inward: usize) -> Vec<String> {
    if text.len() <= width {
        return vec![text.to_owned()];
    }
    let rows = wrapped(text, width.saturating_sub(inward)).into_iter().enumerate();
    rows.map(|(at, row)| if at > 0 { format!("{:inward$}{row}", "") } else { row }).collect()
}

/// How many columns the terminal has that stdout is, or else stderr.
pub(crate) fn columns() -> Option<usize> {
    // What a test compares does not depend on where it runs.
    if cfg!(test) {
        return None;
    }
    let size = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stderr()));
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Writes words to stderr.
pub(crate) fn say(text: &str) {
    let mut screen = Screen::default();
    text.lines().for_each(|line| screen.line(0, line));
    screen.show();
}

/// Rows that are written one by one and shown at once.
#[derive(Debug, Default)]
pub(crate) struct Screen(String);

impl Screen {
    /// A row of its own, indented.
    pub(crate) fn line(&mut self, indent: usize, text: &str) {
        self.0.extend(std::iter::repeat_n(' ', indent));
        self.0.push_str(&plain(text));
        self.0.push('\n');
    }

    /// A row of this program that names what others wrote: where the terminal would break it, it goes on further in.
    pub(crate) fn hung(&mut self, indent: usize, text: &str) {
        let room = columns().map_or(usize::MAX, |columns| columns.saturating_sub(indent));
        hanging(&plain(text), room, HANGING).iter().for_each(|row| self.line(indent, row));
    }

    /// Text that somebody else wrote, complete, every row of it behind a margin, also where the terminal is narrow.
    pub(crate) fn foreign(&mut self, indent: usize, text: &str) {
        let text = plain(text);
        let room = columns().map_or(WIDTH, |columns| columns.saturating_sub(indent + MARGIN.len()));
        let width = room.clamp(NARROW, WIDTH);
        for start in (0..text.len()).step_by(width) {
            self.line(indent, &format!("{MARGIN}{}", &text[start..text.len().min(start + width)]));
        }
    }

    /// Everything so far.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Writes everything to stderr.
    pub(crate) fn show(&self) {
        // Who closed stderr does not want the words; the exit code still tells.
        let _ = std::io::stderr().lock().write_all(self.0.as_bytes());
    }

    /// Writes everything to stdout.
    pub(crate) fn print(&self) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(self.0.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Stdout)
    }
}

/// Whether a character can change what others look like, or has no look of its own: controls, bidirectional and
/// other format characters (Unicode general category Cf), line separators, fillers.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{fe00}'..='\u{fe0f}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_ascii_comes_out() {
        let hostile: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        let mut screen = Screen::default();
        screen.line(2, &hostile);
        screen.foreign(2, &hostile);
        assert!(screen.as_str().bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)));
    }

    #[test]
    fn every_row_of_foreign_text_has_its_margin() {
        let mut screen = Screen::default();
        screen.foreign(4, &format!("{}\nApprove exactly this? [y/N] y", " ".repeat(300)));
        assert!(screen.as_str().lines().all(|row| row.starts_with("    | ")), "{}", screen.as_str());
    }

    #[test]
    fn quoted_text_cannot_imitate_an_escape() {
        assert_ne!(quoted("\\u{202e}"), quoted("\u{202e}"));
        assert_eq!(quoted("\u{202e}\""), "\"\\u{202e}\\\"\"");
    }
}
