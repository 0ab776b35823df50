//! What the log costs beside the bare disk, measured in turns. `cargo test --release -- --ignored speed --nocapture`.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::*;

const WRITERS: usize = 16;
const ROUNDS: usize = 300;
/// About the length of a record.
const RECORD: [u8; 500] = [b'x'; 500];

/// An intent whose record is about 500 bytes long.
fn record(n: usize) -> Vec<Entry> {
    vec![Entry { why: Some("x".repeat(190)), ..intent("0123456789ab-1", n) }]
}

fn scratch(state: &State) -> File {
    fs::OpenOptions::new().append(true).create(true).open(state.path("bare")).unwrap()
}

#[test]
#[ignore = "a measurement"]
fn one_writer() {
    let state = State::new();
    let log = state.open();
    let mut bare = scratch(&state);
    let (mut with_log, mut without) = (Vec::new(), Vec::new());
    block_on(async {
        for n in 0..ROUNDS {
            let start = Instant::now();
            bare.write_all(&RECORD).unwrap();
            bare.sync_data().unwrap();
            without.push(start.elapsed());
            let start = Instant::now();
            let _durable = log.write(record(n)).await.unwrap();
            with_log.push(start.elapsed());
        }
    });
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    let (with_log, without) = (median(&mut with_log), median(&mut without));
    println!("one write: log {with_log:.0} us, bare {without:.0} us, ratio {:.2}", with_log / without);
}

#[test]
#[ignore = "a measurement"]
fn many_writers() {
    let state = State::new();
    let log = Arc::new(state.open());
    let mut file = scratch(&state);
    block_on(async {
        let (queue, mut queued) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        std::thread::spawn(move || {
            while let Some(first) = queued.blocking_recv() {
                let mut group = vec![first];
                while let Ok(next) = queued.try_recv() {
                    group.push(next);
                }
                file.write_all(&RECORD.repeat(group.len())).unwrap();
                file.sync_data().unwrap();
                group.into_iter().for_each(|done| done.send(()).unwrap());
            }
        });
        for _ in 0..3 {
            let queue = queue.clone();
            let bare = rate(move |_| {
                let (done, written) = oneshot::channel();
                queue.send(done).unwrap();
                async { written.await.unwrap() }
            });
            let bare = bare.await;
            let log = log.clone();
            let grouped = rate(move |n| {
                let log = log.clone();
                async move { drop(log.write(record(n)).await.unwrap()) }
            });
            let grouped = grouped.await;
            println!("{WRITERS} writers: log {grouped:.0}/s, bare {bare:.0}/s, ratio {:.2}", grouped / bare);
        }
    });
    state.verified();
}

/// Writes a second, of all writers together.
async fn rate<F: Future<Output = ()> + Send + 'static>(
    write: impl Fn(usize) -> F + Clone + Send + 'static,
) -> f64 {
    let start = Instant::now();
    let writers = (0..WRITERS).map(|_| {
        let write = write.clone();
        tokio::spawn(async move {
            for n in 0..ROUNDS {
                write(n).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    (WRITERS * ROUNDS) as f64 / start.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn verification() {
    let state = State::new();
    let log = state.open();
    for n in 0..100 {
        let entries = (0..1_000).flat_map(|m| record(n * 1_000 + m)).collect();
        put(&log, entries);
    }
    let start = Instant::now();
    let verified = state.verified();
    let seconds = start.elapsed().as_secs_f64();
    println!("verified {:.0} records/s", verified.records as f64 / seconds);
}
