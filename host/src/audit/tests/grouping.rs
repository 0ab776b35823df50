//! Many writers, one disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;

use super::*;
use crate::audit::disk::{Closed, Directory, Disk};

/// A disk that tells of each sync before it does it, and waits for the word to.
struct Gated {
    disk: Directory,
    syncs: Arc<AtomicUsize>,
    entered: Sender<()>,
    go_on: Receiver<()>,
}

impl Disk for Gated {
    fn create(&mut self, number: u32) -> io::Result<()> {
        self.disk.create(number)
    }

    fn check(&self) -> io::Result<()> {
        self.disk.check()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.entered.send(()).unwrap();
        self.go_on.recv().map_err(|_| io::Error::other("the test is over"))?;
        self.disk.sync()
    }

    fn trim(&mut self) -> io::Result<()> {
        self.disk.trim()
    }

    fn closed(&self) -> io::Result<Vec<Closed>> {
        self.disk.closed()
    }

    fn remove(&mut self, number: u32) -> io::Result<()> {
        self.disk.remove(number)
    }
}

struct Gate {
    log: Arc<Log>,
    syncs: Arc<AtomicUsize>,
    entered: Receiver<()>,
    go_on: Sender<()>,
}

fn gated(state: &State) -> Gate {
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = syncs.clone();
    let (entered_tx, entered) = channel();
    let (go_on, go_on_rx) = channel();
    let options =
        Options { segment_bytes: 64 << 20, checkpoint_records: 1_024, readers: None, retention: None };
    let log = Log::open_on(state.0.path(), options, move |disk| {
        Box::new(Gated { disk, syncs, entered: entered_tx, go_on: go_on_rx })
    });
    Gate { log: Arc::new(log.unwrap()), syncs: counted, entered, go_on }
}

#[test]
fn who_comes_while_the_disk_is_busy_shares_the_next_sync() {
    let state = State::new();
    let Gate { log, syncs, entered, go_on } = gated(&state);
    block_on(async {
        let first = log.clone();
        let first = tokio::spawn(async move { first.write(vec![intent("first", 0)]).await });
        entered.recv().unwrap();
        let mut others = Vec::new();
        for n in 0..10 {
            let mut write = Box::pin(log.write(vec![intent("other", n), outcome("other", n)]));
            let poll = std::future::poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await;
            assert!(poll.is_pending());
            others.push(write);
        }
        go_on.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap().last, 1);
        entered.recv().unwrap();
        go_on.send(()).unwrap();
        for (n, other) in (0..).zip(others) {
            let durable = other.await.unwrap();
            assert_eq!((durable.first, durable.last), (2 + 2 * n, 3 + 2 * n));
        }
    });
    assert_eq!(syncs.load(Ordering::Relaxed), 2);
    state.verified();
}

/// S03: the caller went away while its record was waiting for the disk.
#[test]
fn what_was_handed_over_is_recorded_though_nobody_waits_for_it() {
    let state = State::new();
    let Gate { log, entered, go_on, .. } = gated(&state);
    block_on(async {
        let first = log.clone();
        let first = tokio::spawn(async move { first.write(vec![intent("first", 0)]).await });
        entered.recv().unwrap();
        let mut gone = Box::pin(log.write(vec![intent("gone", 0)]));
        let poll = std::future::poll_fn(|cx| Poll::Ready(gone.as_mut().poll(cx))).await;
        assert!(poll.is_pending());
        drop(gone);
        go_on.send(()).unwrap();
        let _durable = first.await.unwrap().unwrap();
        entered.recv().unwrap();
        go_on.send(()).unwrap();
        let last = log.clone();
        let last = tokio::spawn(async move { last.write(vec![intent("last", 0)]).await });
        entered.recv().unwrap();
        go_on.send(()).unwrap();
        assert_eq!(last.await.unwrap().unwrap().last, 3);
    });
    assert_eq!(state.records()[1]["run"], "gone");
}

#[test]
fn who_waits_when_the_disk_fails_is_told_so() {
    let state = State::new();
    let Gate { log, entered, go_on, .. } = gated(&state);
    block_on(async {
        let first = log.clone();
        let first = tokio::spawn(async move { first.write(vec![intent("first", 0)]).await });
        entered.recv().unwrap();
        let mut waits = Box::pin(log.write(vec![intent("waits", 0)]));
        let poll = std::future::poll_fn(|cx| Poll::Ready(waits.as_mut().poll(cx))).await;
        assert!(poll.is_pending());
        drop(go_on);
        assert_eq!(first.await.unwrap().unwrap_err().code, Code::AUDIT_UNAVAILABLE);
        assert_eq!(waits.await.unwrap_err().code, Code::AUDIT_UNAVAILABLE);
    });
}

#[test]
fn many_writers_get_places_of_their_own() {
    let state = State::new();
    let log = Arc::new(state.open_with(20_000, 16).unwrap());
    let places = block_on(async {
        let writers = (0..16).map(|writer| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut places = Vec::new();
                for n in 0..50 {
                    let run = format!("{writer}-{n}");
                    let durable = log.write(vec![intent(&run, 0), outcome(&run, 0)]).await.unwrap();
                    places.push((run, durable));
                }
                places
            })
        });
        let mut places = Vec::new();
        for writer in writers.collect::<Vec<_>>() {
            places.extend(writer.await.unwrap());
        }
        places
    });
    block_on(log.close()).unwrap();
    state.verified();
    let records = state.records();
    for (run, durable) in places {
        let at = usize::try_from(durable.first).unwrap() - 1;
        assert_eq!((&records[at]["run"], &records[at]["event"]), (&json!(run), &json!("intent")));
        assert_eq!((&records[at + 1]["run"], &records[at + 1]["event"]), (&json!(run), &json!("outcome")));
        assert_eq!(durable.last, durable.first + 1);
    }
}

/// A09.
#[test]
fn what_is_noted_is_written_by_itself_or_with_the_next_write() {
    let state = State::new();
    let Gate { log, entered, go_on, .. } = gated(&state);
    block_on(async {
        log.note(vec![Entry::new(Event::Refused)]).unwrap();
        // Nobody writes: the timer does.
        let (entered, go_on) = tokio::task::spawn_blocking(move || {
            entered.recv().unwrap();
            go_on.send(()).unwrap();
            (entered, go_on)
        })
        .await
        .unwrap();
        log.note(vec![Entry::new(Event::Refused)]).unwrap();
        let writer = log.clone();
        let writer = tokio::spawn(async move { writer.write(vec![intent("a", 0)]).await });
        entered.recv().unwrap();
        go_on.send(()).unwrap();
        let durable = writer.await.unwrap().unwrap();
        assert_eq!(durable.first, 3);
    });
    assert_eq!(state.events(), ["refused", "refused", "intent"]);
}

/// A09.
#[test]
fn a_flood_of_refusals_is_counted_in_a_summary() {
    let state = State::new();
    let log = state.open();
    block_on(async {
        for _ in 0..500 {
            log.note(vec![Entry::new(Event::Refused)]).unwrap();
        }
        log.close().await.unwrap();
    });
    let records = state.records();
    let recorded = records.iter().filter(|record| record["event"] == "refused").count() as u64;
    let counted = records.iter().filter(|record| record["event"] == "summary");
    let counted: u64 = counted.map(|record| record["data"]["not_recorded"].as_u64().unwrap()).sum();
    assert_eq!(recorded + counted, 500);
    assert!(counted > 0);
    assert_eq!(state.events().last().unwrap(), "checkpoint");
}
