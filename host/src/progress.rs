//! A bar on stderr for what takes longer than a second, where a human looks at it.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What ends sooner shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far something is.
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
}

impl Progress {
    /// Something of so many bytes.
    pub(crate) fn of_bytes(what: &'static str, bytes: u64) -> Self {
        Self::new(what, bytes, "{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
    }

    /// So many things.
    pub(crate) fn of_things(what: &'static str, count: usize) -> Self {
        Self::new(what, count as u64, "{msg} {wide_bar} {pos}/{len} {eta}")
    }

    fn new(what: &'static str, length: u64, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_message(what);
        Self { bar, began: Instant::now() }
    }

    /// So much more of it is done.
    pub(crate) fn add(&self, done: u64) {
        self.bar.inc(done);
        if self.bar.is_hidden() && self.began.elapsed() > PATIENCE && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
