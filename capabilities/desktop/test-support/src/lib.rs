//! A display of their own for the tests of the desktop capabilities, with real programs on it.
//!
//! ```no_run
//! use llm_os_desktop_test_support::TestDisplay;
//!
//! let display = TestDisplay::start();
//! let xterm = display.xterm_reader();
//! display.focus(xterm.window.id);
//! // ... type "hello" and a newline ...
//! assert_eq!(xterm.read_until("\r"), "hello\r");
//! ```
//!
//! Needs `Xvfb`, `openbox`, `xterm`, `setxkbmap` and `/usr/bin/python3` with GTK 3 and Tk; a
//! [`TestCompositor`] needs `sway`, `foot` and `wev`. Whatever was started ends with
//! the value that stands for it, and with the thread that started it at the latest, even when that is killed.

mod compositor;
mod picture;
mod process;
mod programs;
mod server;
mod shown;

use std::time::{Duration, Instant};

pub use compositor::{TestCompositor, Transcript};
pub use picture::Picture;
pub use process::Program;
pub use programs::{Canvas, PointerEvent, Reader};
pub use server::TestDisplay;
pub use shown::{Area, Shown};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// Where there is none after 20 seconds; `what` was waited for.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "in {PATIENCE:?} there was not: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}
