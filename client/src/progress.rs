//! How far a long reading is, for whoever watches stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// What is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bar on stderr that appears on a terminal alone, and only after a second. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    start: Instant,
    watched: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For so many bytes. `quiet` where stdout and stderr may be one terminal, which the bar would spoil.
    pub(crate) fn new(what: &'static str, total: u64, quiet: bool) -> Self {
        let watched = !quiet && std::io::stderr().is_terminal();
        Self { what, total, done: 0, start: Instant::now(), watched, bar: None }
    }

    /// So many bytes more are done.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if self.watched && self.bar.is_none() && self.start.elapsed() > PATIENCE {
            self.bar = Some(bar(self.what, self.total));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, total: u64) -> ProgressBar {
    let template = "{msg} [{bar:30}] {bytes} of {total_bytes}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_message(what)
}
