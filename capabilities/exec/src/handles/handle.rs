//! One program that goes on: who it belongs to, what it wrote, and what ends it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use llm_os_core::{Effect, Fact, Identity, Kind, Principal, Resource, Text, Verb};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::spool::Spool;
use super::terminal::Terminal;
use crate::answer;
use crate::output::{Killed, Listing, Screen, State};
use crate::run::{CHUNK, End, LEFT, Running};
use crate::spawn::{self, Isolation};

/// The end of an input that is typed into a terminal (termios(3), `VEOF`).
const END_OF_INPUT: &[u8] = b"\x04";

/// A program that was started, as its owner knows it.
pub(crate) struct Handle {
    pub(crate) id: String,
    /// Tells it from every other one that ever had its id.
    pub(crate) serial: u64,
    pub(crate) owner: Principal,
    pub(crate) argv: Vec<String>,
    /// The effects of running it, as they were judged when it was started.
    pub(crate) runs: Vec<Effect>,
    pub(crate) pty: bool,
    pub(crate) init: OwnedFd,
    pub(crate) isolation: Isolation,
    pub(crate) written: Mutex<Written>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) input: tokio::sync::Mutex<Input>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) used: Mutex<Instant>,
}

/// What a program wrote.
pub(crate) struct Written {
    pub(crate) spool: Spool,
    pub(crate) terminal: Option<Terminal>,
}

/// How far a program is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) kept: u64,
    pub(crate) seen: u64,
    /// How it ended, once it did.
    pub(crate) ended: Option<State>,
}

/// Where a program's input comes from.
pub(crate) enum Input {
    Pipe(Sender),
    Terminal(Arc<AsyncFd<OwnedFd>>),
    Ended,
}

/// Where a program's output goes to.
pub(crate) enum Source {
    Pipe(Receiver),
    Terminal(Arc<AsyncFd<OwnedFd>>),
}

impl Handle {
    /// Attends to the program until it is forgotten: keeps what it writes, and kills it when its time is up.
    pub(crate) async fn attend(
        &self,
        mut running: Running,
        mut source: Source,
        deadline: Instant,
        idle: Duration,
    ) {
        let reading = async {
            let mut chunk = vec![0; CHUNK];
            while let Ok(length @ 1..) = source.read(&mut chunk).await {
                self.take(&chunk[..length]);
            }
            Ok(())
        };
        let stop = async {
            tokio::select! {
                () = self.given_up(idle) => End::Stopped,
                () = sleep_until(deadline) => End::TimedOut,
            }
        };
        let ended = running.attend(reading, stop).await;
        let mut chunk = vec![0; CHUNK];
        for _ in 0..LEFT {
            match source.read_now(&mut chunk) {
                Ok(length @ 1..) => self.take(&chunk[..length]),
                Ok(0) | Err(_) => break,
            }
        }
        let state = match ended {
            Ok((end, settled)) => state(end, settled.out_of_memory),
            Err(fault) => {
                tracing::error!(%fault, "How a program ended is not known.");
                state(End::Lost, false)
            }
        };
        self.progress.send_modify(|progress| progress.ended = Some(state));
        // Who still writes to it has the lock, for a while.
        tokio::select! {
            () = async { *self.input.lock().await = Input::Ended } => self.given_up(idle).await,
            () = self.given_up(idle) => {}
        }
    }

    /// Resolves once the handle is stopped, or was not used for so long.
    async fn given_up(&self, idle: Duration) {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = async {
                loop {
                    let until = *held(&self.used) + idle;
                    if until <= Instant::now() {
                        break;
                    }
                    sleep_until(until).await;
                }
            } => {}
        }
    }

    fn take(&self, bytes: &[u8]) {
        let mut written = held(&self.written);
        let Written { spool, terminal } = &mut *written;
        match terminal {
            Some(terminal) => spool.take(&terminal.take(bytes)),
            None => spool.take(bytes),
        }
        let (kept, seen) = (spool.kept(), spool.seen());
        drop(written);
        self.progress.send_modify(|progress| {
            progress.kept = kept;
            progress.seen = seen;
        });
    }

    /// Notes that an action is about it.
    pub(crate) fn touch(&self) {
        *held(&self.used) = Instant::now();
    }

    /// Kills it at once and lets it be forgotten.
    pub(crate) fn kill(&self) {
        spawn::kill(&self.init, self.isolation);
        self.stop.send_replace(true);
    }

    pub(crate) fn state(&self) -> State {
        let running = State { running: true, exit_code: None, signal: None, killed: None };
        self.progress.borrow().ended.clone().unwrap_or(running)
    }

    /// A part of what it wrote, and where the next part begins. A character that is not complete yet is left for the next.
    pub(crate) fn read(&self, after: u64, most: usize) -> io::Result<(Text, u64)> {
        let written = held(&self.written);
        let mut part = written.spool.read(after, most)?;
        let there = written.spool.kept() - after;
        drop(written);
        if let Err(e) = std::str::from_utf8(&part)
            && e.error_len().is_none()
            && e.valid_up_to() > 0
        {
            part.truncate(e.valid_up_to());
        }
        let length = part.len() as u64;
        // Taken as whole, so that nothing more is cut off it.
        let text = Text { bytes: there, truncated: length < there, ..Text::from(part) };
        Ok((text, after + length))
    }

    pub(crate) fn screen(&self) -> Option<Screen> {
        held(&self.written).terminal.as_ref().map(Terminal::screen)
    }

    pub(crate) fn listing(&self) -> Listing {
        let bytes = self.progress.borrow().seen;
        Listing {
            handle: self.id.clone(),
            argv: self.argv.clone(),
            pty: self.pty,
            bytes,
            state: self.state(),
        }
    }

    /// The effect of doing something with it.
    pub(crate) fn effect(&self, verb: Verb) -> Effect {
        let program = self.runs.first().map(|run| run.resource.id.clone()).unwrap_or_default();
        Effect::new(verb, Resource::new(Kind::Handle, &self.id), Identity::new(self.serial.to_string()))
            .fact("program", Fact::Text(program))
    }
}

impl Input {
    /// Writes all of `bytes`, counting what was written.
    pub(crate) async fn write(&mut self, mut bytes: &[u8], end: bool, count: &mut u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match self {
                Input::Pipe(pipe) => pipe.write(bytes).await?,
                Input::Terminal(terminal) => write_to(terminal, bytes).await?,
                Input::Ended => return Err(io::ErrorKind::BrokenPipe.into()),
            };
            *count += written as u64;
            bytes = &bytes[written..];
        }
        match self {
            Input::Pipe(_) if end => *self = Input::Ended,
            Input::Terminal(terminal) if end => {
                write_to(terminal, END_OF_INPUT).await?;
            }
            Input::Pipe(_) | Input::Terminal(_) => {}
            Input::Ended => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(())
    }
}

async fn write_to(terminal: &AsyncFd<OwnedFd>, bytes: &[u8]) -> io::Result<usize> {
    terminal.async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, bytes)?)).await
}

impl Source {
    async fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Pipe(pipe) => pipe.read(chunk).await,
            Source::Terminal(terminal) => {
                terminal.async_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, &mut *chunk)?)).await
            }
        }
    }

    /// The same without waiting.
    fn read_now(&self, chunk: &mut [u8]) -> io::Result<usize> {
        let fd = match self {
            Source::Pipe(pipe) => Receiver::as_fd(pipe),
            Source::Terminal(terminal) => terminal.get_ref().as_fd(),
        };
        Ok(rustix::io::read(fd, chunk)?)
    }
}

fn state(end: End, out_of_memory: bool) -> State {
    let (exit_code, signal) = answer::ending(end);
    let is_limited = out_of_memory || signal.as_ref().is_some_and(|signal| signal.limit().is_some());
    let killed = match end {
        End::Ended(_) | End::Lost if is_limited => Some(Killed::Limit),
        End::Ended(_) => None,
        End::TimedOut => Some(Killed::Deadline),
        End::Stopped | End::GivenUp => Some(Killed::Stopped),
        End::Lost => Some(Killed::Outside),
    };
    State { running: false, exit_code, signal, killed }
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
