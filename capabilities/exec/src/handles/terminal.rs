//! A terminal for a program: the pseudoterminal, the plain text of what the program writes to it, and its screen.
//!
//! Both parsers are built without the standard library's collections: a control string without an end then takes a
//! buffer of fixed size, where else it would fill the memory of the host.

use std::io;
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::output::{Cursor, Screen};

const ROWS: NonZeroU16 = NonZeroU16::new(24).expect("not zero");
const COLUMNS: NonZeroU16 = NonZeroU16::new(80).expect("not zero");

/// Opens a pseudoterminal: the end of the host, which does not block, and the end of the program.
pub(crate) fn open() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let own = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&own)?;
    // By the descriptor and not by a name, which could be another one's in a mount namespace.
    let its = rustix::pty::ioctl_tiocgptpeer(&own, flags)?;
    let size = Winsize { ws_row: ROWS.get(), ws_col: COLUMNS.get(), ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&own, size)?;
    rustix::fs::fcntl_setfl(&own, rustix::fs::fcntl_getfl(&own)? | OFlags::NONBLOCK)?;
    Ok((own, its))
}

/// What a terminal shows, and shows as text.
pub(crate) struct Terminal {
    sequences: vte::Parser,
    plain: Plain,
    screen: vt100::Parser,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        Self { sequences: vte::Parser::new(), plain: Plain::default(), screen: blank() }
    }

    /// Draws what a program wrote, and yields the text of it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        // What a program writes may find a fault in what draws it: it then starts with an empty screen.
        if catch_unwind(AssertUnwindSafe(|| self.screen.process(bytes))).is_err() {
            self.screen = blank();
        }
        self.sequences.advance(&mut self.plain, bytes);
        std::mem::take(&mut self.plain.text).into_bytes()
    }

    pub(crate) fn screen(&self) -> Screen {
        let screen = self.screen.screen();
        let (row, column) = screen.cursor_position();
        let rows = screen.rows(0, COLUMNS.get()).map(|row| row.trim_end().to_owned()).collect();
        Screen { rows, cursor: Cursor { row, column, hidden: screen.hide_cursor() } }
    }
}

fn blank() -> vt100::Parser {
    vt100::Parser::new(ROWS, COLUMNS, 0)
}

/// Text without escape sequences. A return to the beginning of a line ends the line, whatever follows.
#[derive(Default)]
struct Plain {
    text: String,
    returned: bool,
}

impl vte::Perform for Plain {
    fn print(&mut self, character: char) {
        if std::mem::take(&mut self.returned) {
            self.text.push('\n');
        }
        self.text.push(character);
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => {
                self.returned = false;
                self.text.push('\n');
            }
            b'\t' => self.print('\t'),
            b'\r' => self.returned = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(parts: &[&str]) -> String {
        let mut terminal = Terminal::new();
        let bytes: Vec<u8> = parts.iter().flat_map(|part| terminal.take(part.as_bytes())).collect();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_text_of_a_terminal_has_no_escape_sequences() {
        for (written, text) in [
            (&["a\x1b[31mred\x1b[0m b\r\n"][..], "ared b\n"),
            (&["\x1b]0;title\x07x\x1b]8;;http://e/\x1b\\y\x1b]8;;\x1b\\"], "xy"),
            (&["a\x1b", "[3", "1mb"], "ab"),
            (&["10%\r20%\r\r\ndone\x08\x07"], "10%\n20%\ndone"),
            (&["\x1bPq#1\x1b\\\x1b(0\x1b[?1049ha\tb"], "a\tb"),
            (&["\u{e9}\u{1f600}"], "\u{e9}\u{1f600}"),
        ] {
            assert_eq!(plain(written), text, "{written:?}");
        }
    }

    #[test]
    fn a_screen_is_what_was_drawn_on_it() {
        let mut terminal = Terminal::new();
        terminal.take(b"old\x1b[2J\x1b[3;5Hhere\x1b[1;1Htop");
        let screen = terminal.screen();
        assert_eq!(
            (screen.rows.len(), screen.rows[0].as_str(), screen.rows[2].as_str()),
            (24, "top", "    here")
        );
        assert_eq!((screen.cursor.row, screen.cursor.column), (0, 3));
    }

    /// Fails, by the memory that it takes, where the parsers are built with the standard library.
    #[test]
    fn a_control_string_without_an_end_does_not_fill_the_memory() {
        let resident = || -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let mut terminal = Terminal::new();
        terminal.take(b"\x1b]0;");
        let before = resident();
        let part = vec![b'x'; 1024 * 1024];
        for _ in 0..64 {
            assert!(terminal.take(&part).is_empty());
        }
        assert!(resident() < before + 32 * 1024, "{} KiB", resident() - before);
    }
}
