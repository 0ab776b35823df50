//! A launcher with an init that is made ahead, so that a program does not wait for its containment.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::group::{Group, Groups};
use crate::spawn::blueprint::Blueprint;
use crate::spawn::{Init, Launcher, Program, Tree};

/// The programs of one kind start here.
pub(crate) struct Pool {
    inits: Mutex<Inits>,
    whole: AtomicBool,
}

struct Inits {
    launcher: Launcher,
    groups: Option<Arc<Groups>>,
    /// The host's ends of inits that were ordered and not collected, with the groups that they are in.
    ordered: VecDeque<(OwnedFd, Option<Group>)>,
}

impl Pool {
    /// Starts the launcher and orders the first init.
    pub(crate) fn start(blueprint: &Blueprint, groups: Option<Arc<Groups>>) -> io::Result<Self> {
        let launcher = Launcher::start(blueprint)??;
        let mut inits = Inits { launcher, groups, ordered: VecDeque::new() };
        inits.order()?;
        Ok(Self { inits: Mutex::new(inits), whole: AtomicBool::new(true) })
    }

    /// Starts a program in the init that is ready, and has the next one made meanwhile.
    pub(crate) fn start_program(&self, program: &Program<'_>) -> io::Result<Tree> {
        let start = || self.take().and_then(|(init, group)| init.run(program, group));
        // Somebody killed an init that waited: another one is no worse.
        let started = start().or_else(|_| start());
        if started.is_err() {
            self.give_up();
        }
        started
    }

    fn take(&self) -> io::Result<(Init, Option<Group>)> {
        let mut inits = self.inits.lock().unwrap_or_else(PoisonError::into_inner);
        if inits.ordered.is_empty() {
            inits.order()?;
        }
        let taken = inits.collect();
        if inits.ordered.is_empty() {
            inits.order()?;
        }
        taken
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

impl Inits {
    fn order(&mut self) -> io::Result<()> {
        let group = self.groups.as_ref().map(|groups| groups.make()).transpose()?;
        let control = self.launcher.order(group.as_ref().map(Group::processes))?;
        self.ordered.push_back((control, group));
        Ok(())
    }

    fn collect(&mut self) -> io::Result<(Init, Option<Group>)> {
        let (control, group) = self.ordered.pop_front().ok_or(io::ErrorKind::NotFound)?;
        Ok((self.launcher.collect(control)?, group))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let inits = self.inits.get_mut().unwrap_or_else(PoisonError::into_inner);
        while !inits.ordered.is_empty() {
            if let Ok((init, group)) = inits.collect() {
                init.dismiss(group);
            }
        }
    }
}
