//! The side that asks: blocking, a line of JSON-RPC and the line that answers it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A server that runs; it ends when this is dropped.
pub(crate) struct Server {
    process: Child,
    write: ChildStdin,
    read: BufReader<ChildStdout>,
    line: String,
    last: u64,
    /// How the 4 KiB are read.
    call: (&'static str, Value),
}

impl Server {
    /// Starts it and shakes hands.
    pub(crate) fn start(command: &mut Command, call: (&'static str, Value)) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let write = process.stdin.take().unwrap();
        let read = BufReader::with_capacity(1 << 16, process.stdout.take().unwrap());
        let mut server = Self { process, write, read, line: String::new(), last: 0, call };
        let client = json!({"name": "bench", "title": "bench", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
        server.ask("initialize", &params);
        server.write.write_all(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n").unwrap();
        server
    }

    /// Reads the file once.
    pub(crate) fn read(&mut self) -> Duration {
        let (method, params) = self.call.clone();
        let line = self.request(method, &params);
        let start = Instant::now();
        self.send(&line);
        self.answer();
        start.elapsed()
    }

    /// Asks for the tools.
    pub(crate) fn list(&mut self) {
        self.ask("tools/list", &json!({}));
    }

    /// What an answer to the reading call is, to be looked at.
    pub(crate) fn sample(&mut self) -> String {
        let (method, params) = self.call.clone();
        self.ask(method, &params);
        self.line.clone()
    }

    fn ask(&mut self, method: &str, params: &Value) {
        let line = self.request(method, params);
        self.send(&line);
        self.answer();
    }

    fn request(&mut self, method: &str, params: &Value) -> Vec<u8> {
        self.last += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params});
        format!("{request}\n").into_bytes()
    }

    fn send(&mut self, line: &[u8]) {
        self.write.write_all(line).unwrap();
    }

    /// Waits for the answer; what a server tells unasked has no number.
    fn answer(&mut self) {
        let mark = format!("\"id\":{}", self.last);
        loop {
            self.line.clear();
            assert!(self.read.read_line(&mut self.line).unwrap() > 0, "the server ended");
            let (head, tail) = (self.line.len().min(64), self.line.len().saturating_sub(64));
            let near = |part: &[u8]| part.windows(mark.len()).any(|window| window == mark.as_bytes());
            if near(&self.line.as_bytes()[..head]) || near(&self.line.as_bytes()[tail..]) {
                return;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
