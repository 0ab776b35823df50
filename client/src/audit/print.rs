//! Prints records in the form that was chosen: to people each as it is found, to programs many at once.

use std::io::{BufWriter, IsTerminal, StdoutLock, Write};

use llm_os_core::audit::printable;

use crate::audit::record;
use crate::exit::Failure;
use crate::output::{Form, indented};
use crate::screen::Screen;

/// What is written at once.
const BLOCK: usize = 64 << 10;

/// Where records go. What it holds back is written by [`flush`](Self::flush).
pub(super) struct Printer {
    stdout: BufWriter<StdoutLock<'static>>,
    form: Form,
    to_terminal: bool,
    is_empty: bool,
}

impl Printer {
    pub(super) fn new(form: Form) -> Self {
        let stdout = std::io::stdout().lock();
        let to_terminal = stdout.is_terminal();
        Self { stdout: BufWriter::with_capacity(BLOCK, stdout), form, to_terminal, is_empty: true }
    }

    /// Prints a line of the log, whoever wrote it: printable ASCII.
    pub(super) fn record(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.is_empty = false;
        let written = match self.form {
            Form::Json => writeln!(self.stdout, "{}", printable(line)),
            Form::Pretty => writeln!(self.stdout, "{}", indented(&printable(line))),
            Form::Text => {
                let mut screen = Screen::default();
                record::show(line, &mut screen);
                self.stdout.write_all(screen.as_str().as_bytes())
            }
        };
        written.map_err(Failure::Stdout)?;
        if self.to_terminal { self.flush() } else { Ok(()) }
    }

    /// Tells people that there was nothing to print, if so.
    pub(super) fn end(mut self, none: &str) -> Result<(), Failure> {
        if self.is_empty && self.form == Form::Text {
            writeln!(self.stdout, "{none}").map_err(Failure::Stdout)?;
        }
        self.flush()
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(Failure::Stdout)
    }
}
