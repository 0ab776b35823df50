//! A launcher with an init that is made ahead, so that a program does not wait for its containment.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::spawn::blueprint::Blueprint;
use crate::spawn::{Init, Launcher, Program, Tree};

/// The programs of one kind start here.
pub(crate) struct Pool {
    inits: Mutex<Inits>,
    whole: AtomicBool,
}

struct Inits {
    launcher: Launcher,
    /// The host's ends of inits that were ordered and not collected.
    ordered: VecDeque<OwnedFd>,
}

impl Pool {
    /// Starts the launcher and orders the first init.
    pub(crate) fn start(blueprint: &Blueprint) -> io::Result<Self> {
        let launcher = Launcher::start(blueprint)??;
        let ordered = VecDeque::from([launcher.order()?]);
        Ok(Self { inits: Mutex::new(Inits { launcher, ordered }), whole: AtomicBool::new(true) })
    }

    /// Starts a program in the init that is ready, and has the next one made meanwhile.
    pub(crate) fn start_program(&self, program: &Program<'_>) -> io::Result<Tree> {
        let started = self.take().and_then(|init| init.run(program));
        // Somebody killed an init that waited: another one is no worse.
        let started = started.or_else(|_| self.take()?.run(program));
        if started.is_err() {
            self.give_up();
        }
        started
    }

    fn take(&self) -> io::Result<Init> {
        let mut inits = self.inits.lock().unwrap_or_else(PoisonError::into_inner);
        let first = inits.ordered.pop_front().map_or_else(|| inits.launcher.order(), Ok)?;
        let init = inits.launcher.collect(first)?;
        if inits.ordered.is_empty() {
            let next = inits.launcher.order()?;
            inits.ordered.push_back(next);
        }
        Ok(init)
    }

    /// Whether programs can be started here.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Relaxed)
    }

    /// Lets nobody start a program here any more.
    pub(crate) fn give_up(&self) {
        self.whole.store(false, Ordering::Relaxed);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let inits = self.inits.get_mut().unwrap_or_else(PoisonError::into_inner);
        while let Some(control) = inits.ordered.pop_front() {
            if let Ok(init) = inits.launcher.collect(control) {
                init.dismiss();
            }
        }
    }
}
