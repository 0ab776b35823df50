//! Somebody else who exchanges two names while a test acts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// How often names are exchanged during a test, unless `LLM_OS_RACE_SWAPS` says otherwise: `scripts/long` asks for a
/// million.
const SWAPS: u64 = 10_000;

/// How many actions run during a test at least: where exchanging is fast, enough of them meet it.
const ACTIONS: usize = 200;

/// A thread that exchanges two names (`RENAME_EXCHANGE`, renameat2(2)) as fast as it can, until it is dropped.
pub struct Swapper {
    stop: Arc<AtomicBool>,
    swaps: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Swapper {
    /// Begins, and returns once it has exchanged them. What cannot be exchanged for a while, since an action took one of
    /// them away, is tried again.
    ///
    /// # Panics
    ///
    /// Where the thread cannot be started.
    pub fn between(one: impl Into<PathBuf>, other: impl Into<PathBuf>) -> Self {
        let (one, other) = (one.into(), other.into());
        let (stop, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (stop, swaps) = (stop.clone(), swaps.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        let swapper = Self { stop, swaps, thread: Some(thread) };
        while swapper.swaps() == 0 && !swapper.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            std::thread::yield_now();
        }
        swapper
    }

    /// Acts again and again until enough was exchanged and enough was tried; the action gets its number. Tells how often
    /// the names were exchanged.
    ///
    /// # Panics
    ///
    /// Where `LLM_OS_RACE_SWAPS` is no number.
    pub fn while_it_swaps(self, mut action: impl FnMut(usize)) -> u64 {
        let wanted =
            std::env::var("LLM_OS_RACE_SWAPS").map_or(SWAPS, |text| text.parse().expect("a number of swaps"));
        let mut actions = 0;
        while actions < ACTIONS || self.swaps() < wanted {
            action(actions);
            actions += 1;
        }
        let swaps = self.swaps();
        println!("{actions} actions while the names were exchanged {swaps} times");
        swaps
    }

    fn swaps(&self) -> u64 {
        self.swaps.load(Ordering::Relaxed)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
