//! The host, asked over as many connections as there are calls at once.
//!
//! The host answers the frames of one connection in order, so a call has a connection for itself while it runs. Dropping an
//! exchange closes its connection, and the host cancels what runs for a connection that is gone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::answer::Answer;
use crate::connection::{Host, MAX_ANSWER, is_open, no_answer, question};
use crate::exit::Failure;

/// How many connections are kept while nobody calls.
const IDLE: usize = 8;

/// The connections to one host.
#[derive(Debug)]
pub(crate) struct Pool {
    socket: PathBuf,
    option: &'static str,
    opened: AtomicU64,
    /// The oldest is taken first: what the host holds for a connection, such as a key that is down, is then still there for the
    /// next of several calls that come one after another.
    idle: Mutex<BTreeMap<u64, UnixStream>>,
}

impl Pool {
    pub(crate) fn new(host: &Host) -> Self {
        let (socket, option) = host.place();
        let socket = socket.to_owned();
        Self { socket, option, opened: AtomicU64::default(), idle: Mutex::default() }
    }

    /// Sends one frame, which has no LF, and returns the answer's line without its own.
    ///
    /// A plan whose connection breaks once it was sent is never sent again, since nobody knows whether it ran.
    pub(crate) async fn exchange(&self, frame: &[u8]) -> Result<String, Failure> {
        let (number, mut stream) = self.connection().await?;
        // A frame beyond the limit is answered before it is read to its end: the answer counts, not the broken pipe.
        let written = stream.write_all(&[frame, b"\n"].concat()).await;
        let mut line = Vec::with_capacity(16 * 1024);
        let read = loop {
            if line.len() as u64 > MAX_ANSWER {
                return Err(no_answer(&self.socket, "the answer is too long"));
            }
            line.reserve(line.len().max(16 * 1024));
            match stream.read_buf(&mut line).await {
                Ok(0) => break Ok(()),
                Ok(_) if line.ends_with(b"\n") => break Ok(()),
                Ok(_) => {}
                Err(e) => break Err(e),
            }
        };
        if line.pop() != Some(b'\n') {
            let why =
                written.and(read).err().map_or("the connection was closed".to_owned(), |e| e.to_string());
            return Err(no_answer(&self.socket, &why));
        }
        self.keep(number, stream);
        String::from_utf8(line).map_err(|_| no_answer(&self.socket, "what came is not UTF-8"))
    }

    /// Asks a question of the protocol and returns the output of its one result.
    pub(crate) async fn ask(
        &self,
        verb: &str,
        params: &impl Serialize,
        session: &str,
    ) -> Result<String, Failure> {
        let line = self.exchange(&question(verb, params, Some(session))).await?;
        let answer: Answer = serde_json::from_str(&line)
            .map_err(|e| no_answer(&self.socket, &format!("its answer is not one of protocol 1 ({e})")))?;
        if let Some(error) = answer.failed() {
            return Err(Failure::Refused { code: error.code, message: error.message });
        }
        let output = answer.results.into_iter().next().and_then(|result| result.output);
        Ok(output.ok_or_else(|| no_answer(&self.socket, "its answer has no output"))?.get().to_owned())
    }

    /// One that waits and is still open, else a new one.
    async fn connection(&self) -> Result<(u64, UnixStream), Failure> {
        while let Some((number, stream)) = self.lock().pop_first() {
            if is_open(&stream) {
                return Ok((number, stream));
            }
        }
        let stream = UnixStream::connect(&self.socket).await;
        let no_host = |source| Failure::NoHost { socket: self.socket.clone(), option: self.option, source };
        Ok((self.opened.fetch_add(1, Ordering::Relaxed), stream.map_err(no_host)?))
    }

    fn keep(&self, number: u64, stream: UnixStream) {
        let mut idle = self.lock();
        idle.insert(number, stream);
        if idle.len() > IDLE {
            idle.pop_last();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, UnixStream>> {
        self.idle.lock().expect("no one panics while holding it")
    }
}
