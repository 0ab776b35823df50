//! The side that asks: blocking, one thread for each connection, the same for both sides.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: UnixStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects as soon as somebody listens.
    pub(crate) fn open(socket: &Path) -> Self {
        let start = Instant::now();
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Self { stream, answer: vec![0; 64 * 1024] },
                Err(e) if start.elapsed() > PATIENCE => panic!("{}: {e}", socket.display()),
                Err(_) => std::thread::sleep(Duration::from_micros(100)),
            }
        }
    }

    /// Sends a line and waits for the line that answers it.
    pub(crate) fn ask(&mut self, line: &[u8]) -> &[u8] {
        self.send(line);
        self.answer()
    }

    /// Sends a line.
    pub(crate) fn send(&mut self, line: &[u8]) {
        self.stream.write_all(line).unwrap();
    }

    /// Waits for the line that answers one that was sent.
    pub(crate) fn answer(&mut self) -> &[u8] {
        let mut length = 0;
        loop {
            if length == self.answer.len() {
                self.answer.resize(2 * length, 0);
            }
            match self.stream.read(&mut self.answer[length..]).unwrap() {
                0 => panic!("the connection was closed after {length} bytes of an answer"),
                more => length += more,
            }
            if self.answer[length - 1] == b'\n' {
                return &self.answer[..length];
            }
        }
    }

    pub(crate) fn time(&mut self, line: &[u8]) -> Duration {
        let start = Instant::now();
        self.ask(line);
        start.elapsed()
    }
}

/// Answers per second where every connection asks `each` times, one after another.
pub(crate) fn rate(connections: &mut [Connection], line: &[u8], each: usize) -> f64 {
    let requests = connections.len() * each;
    let gate = Barrier::new(connections.len() + 1);
    let seconds = std::thread::scope(|scope| {
        for connection in connections {
            scope.spawn(|| {
                gate.wait();
                for _ in 0..each {
                    connection.ask(line);
                }
                gate.wait();
            });
        }
        gate.wait();
        let start = Instant::now();
        gate.wait();
        start.elapsed().as_secs_f64()
    });
    requests as f64 / seconds
}
