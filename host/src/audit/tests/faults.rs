//! A disk that fails at its k-th operation (A02).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::audit::disk::{Closed, Directory, Disk};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    /// The operation fails.
    Error(Errno),
    /// Half of it is done, then it fails.
    Half(Errno),
    /// Half of it is done, and that is what it says.
    Short,
}

struct Faulty {
    disk: Directory,
    operations: Arc<AtomicUsize>,
    fail_at: usize,
    failure: Failure,
}

impl Faulty {
    fn fails(&self) -> Option<Failure> {
        (self.operations.fetch_add(1, Ordering::Relaxed) == self.fail_at).then_some(self.failure)
    }

    fn error(&self) -> io::Result<()> {
        match self.fails() {
            Some(Failure::Error(e) | Failure::Half(e)) => Err(e.into()),
            Some(Failure::Short) | None => Ok(()),
        }
    }
}

impl Disk for Faulty {
    fn create(&mut self, number: u32) -> io::Result<()> {
        self.error()?;
        self.disk.create(number)
    }

    fn check(&self) -> io::Result<()> {
        self.disk.check()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.fails() {
            None => self.disk.append(bytes),
            Some(Failure::Error(e)) => Err(e.into()),
            Some(Failure::Short) => self.disk.append(&bytes[..bytes.len().div_ceil(2)]),
            Some(Failure::Half(e)) => {
                self.disk.append(&bytes[..bytes.len() / 2])?;
                Err(e.into())
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.error()?;
        self.disk.sync()
    }

    fn trim(&mut self) -> io::Result<()> {
        self.error()?;
        self.disk.trim()
    }

    fn closed(&self) -> io::Result<Vec<Closed>> {
        self.disk.closed()
    }

    fn remove(&mut self, number: u32) -> io::Result<()> {
        self.error()?;
        self.disk.remove(number)
    }
}

/// Writes until a write fails, with a failure at operation `k`: what was promised, and how many operations there were.
fn run(state: &State, fail_at: usize, failure: Failure) -> (Vec<Durable>, bool, usize) {
    run_keeping(state, fail_at, failure, None)
}

fn run_keeping(
    state: &State,
    fail_at: usize,
    failure: Failure,
    retention: Option<Duration>,
) -> (Vec<Durable>, bool, usize) {
    let operations = Arc::new(AtomicUsize::new(0));
    let counted = operations.clone();
    let options = Options { segment_bytes: 1_500, checkpoint_records: 4, readers: None, retention };
    let log = Log::open_on(state.0.path(), options, move |disk| {
        Box::new(Faulty { disk, operations, fail_at, failure })
    });
    let Ok(log) = log else { return (Vec::new(), true, counted.load(Ordering::Relaxed)) };
    let mut promised = Vec::new();
    let mut failed = false;
    for n in 0..8 {
        match write(&log, vec![intent("a", n), outcome("a", n)]) {
            Ok(durable) => {
                assert!(!failed, "a write was promised after one that failed");
                promised.push(durable);
            }
            Err(fault) => {
                assert_eq!(fault.code, Code::AUDIT_UNAVAILABLE);
                failed = true;
            }
        }
    }
    (promised, failed, counted.load(Ordering::Relaxed))
}

#[test]
fn wherever_the_disk_fails_what_was_promised_is_there_and_nothing_more_is_promised() {
    let (promised, failed, operations) = run(&State::new(), usize::MAX, Failure::Short);
    assert!(!failed && promised.len() == 8 && operations > 20, "{operations}");
    let failures = [
        Failure::Error(Errno::NOSPC),
        Failure::Error(Errno::IO),
        Failure::Error(Errno::ROFS),
        Failure::Half(Errno::NOSPC),
        Failure::Half(Errno::IO),
    ];
    for failure in failures {
        for fail_at in 0..operations {
            let state = State::new();
            let (promised, failed, _) = run(&state, fail_at, failure);
            assert!(failed, "{failure:?} at {fail_at} was not noticed");
            drop(state.open());
            state.verified();
            let bytes = state.bytes();
            for durable in promised {
                let line =
                    bytes.split(|b| *b == b'\n').nth(usize::try_from(durable.last).unwrap() - 1).unwrap();
                assert_eq!(
                    llm_os_core::audit::Link::to(line).as_str(),
                    durable.receipt,
                    "{failure:?} at {fail_at}"
                );
            }
        }
    }
}

#[test]
fn a_short_or_interrupted_write_is_completed() {
    let (.., operations) = run(&State::new(), usize::MAX, Failure::Short);
    for fail_at in 0..operations {
        let state = State::new();
        let (promised, failed, _) = run(&state, fail_at, Failure::Short);
        assert!(!failed && promised.len() == 8);
        state.verified();
    }
    // The second operation is the first append.
    let state = State::new();
    let (promised, failed, _) = run(&state, 1, Failure::Error(Errno::INTR));
    assert!(!failed && promised.len() == 8);
    state.verified();
}

#[test]
fn wherever_the_disk_fails_while_old_segments_go_the_log_verifies_and_the_next_start_goes_on() {
    let keep = Some(Duration::from_nanos(1));
    let (_, failed, operations) = run_keeping(&State::new(), usize::MAX, Failure::Short, keep);
    assert!(!failed);
    for failure in [Failure::Error(Errno::IO), Failure::Half(Errno::NOSPC)] {
        for fail_at in 0..operations {
            let state = State::new();
            let (_, failed, _) = run_keeping(&state, fail_at, failure, keep);
            assert!(failed, "{failure:?} at {fail_at} was not noticed");
            let options =
                Options { segment_bytes: 1_500, checkpoint_records: 4, readers: None, retention: keep };
            let log = Log::open(state.0.path(), options).unwrap();
            put(&log, vec![intent("b", 0), outcome("b", 0)]);
            drop(log);
            state.verified();
        }
    }
}
