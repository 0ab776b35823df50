//! Runs one program to its end, its deadline, or the end of its plan, whichever comes first.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::time::{Duration, Instant};

use llm_os_core::{Fault, Text};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Receiver;

use crate::EXEC_FAILED;
use crate::command::Command;
use crate::sandbox::{Contained, Group};
use crate::spawn::{self, Failed, Isolation, Report, Stage, Tree, Usage};

/// How long a killed tree may take to be gone before the answer leaves without it.
const GRACE: Duration = Duration::from_millis(400);
/// How much is read from a pipe at once.
const CHUNK: usize = 64 * 1024;
/// As much as a pipe can hold (`/proc/sys/fs/pipe-max-size`), in chunks: what may be left when a tree is dead.
const LEFT: usize = 16;

/// What came of a program.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) stdout: Text,
    pub(crate) stderr: Text,
    pub(crate) usage: Usage,
    /// Killed because the action used more memory than it may.
    pub(crate) out_of_memory: bool,
    pub(crate) duration: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this wait status.
    Ended(i32),
    /// Killed when its time was up.
    TimedOut,
    /// Killed because its plan was stopped.
    Stopped,
    /// Killed by somebody else, together with its init.
    Lost,
}

/// Why a program did not run.
#[derive(Debug)]
pub(crate) struct NotRun {
    /// What was to keep it from something is not in force any more; made anew it will be.
    pub(crate) is_stale: bool,
    pub(crate) fault: Fault,
}

impl From<Fault> for NotRun {
    fn from(fault: Fault) -> Self {
        Self { is_stale: false, fault }
    }
}

/// Runs a program; once the future is dropped the whole tree is killed.
pub(crate) async fn run(
    command: &Command,
    contained: &Contained,
    stop: impl Future<Output = ()>,
) -> Result<Outcome, NotRun> {
    let started = Instant::now();
    let failed =
        |what: &str, e: io::Error| Fault::new(EXEC_FAILED, format!("nothing was started: {what}: {e}"));
    let capture = || -> io::Result<_> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Capture::new(read, command.output_bytes)?, write))
    };
    let (mut stdout, stdout_end) = capture().map_err(|e| failed("no pipe could be made", e))?;
    let (mut stderr, stderr_end) = capture().map_err(|e| failed("no pipe could be made", e))?;
    let tree = command
        .spawn([stdout_end.as_fd(), stderr_end.as_fd()], contained)
        .map_err(|e| failed("no process could be made", e))?;
    drop((stdout_end, stderr_end));
    let mut running =
        Running::new(tree, contained.isolation).map_err(|e| failed("its process cannot be watched", e))?;

    let mut end = {
        let mut reading = pin!(async { tokio::join!(stdout.read_all(), stderr.read_all()) });
        let (mut stop, mut timer) = (pin!(stop), pin!(tokio::time::sleep(command.timeout)));
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                () = running.dead() => break End::Lost,
                () = &mut stop => break End::Stopped,
                () = &mut timer => break End::TimedOut,
                _ = &mut reading, if open => open = false,
            }
        }
    };
    if end != End::Lost {
        running.kill();
        if tokio::time::timeout(GRACE, running.dead()).await.is_err() {
            tracing::error!(?end, "A killed process tree is still there; it is left to be reaped.");
        }
    }
    let Settled { report, usage, out_of_memory } =
        running.settle().map_err(|e| failed("its end is not known", e))?;
    stdout.read_rest();
    stderr.read_rest();
    match report {
        Some(Report::Failed(failed)) => {
            if matches!(failed.stage, Stage::Place | Stage::Covers) {
                contained.is_stale();
            }
            return Err(NotRun { is_stale: failed.stage == Stage::Covers, fault: not_started(failed) });
        }
        Some(Report::Ended(status)) if end == End::Lost => end = End::Ended(status),
        _ => {}
    }
    Ok(Outcome {
        end,
        stdout: stdout.text(),
        stderr: stderr.text(),
        usage,
        out_of_memory,
        duration: started.elapsed(),
    })
}

fn not_started(failed: Failed) -> Fault {
    let Failed { stage, errno, .. } = failed;
    let e = io::Error::from_raw_os_error(errno);
    let message = match (stage, errno) {
        (Stage::Exec, libc::EACCES) => {
            "the program was not started: the host's user may not execute it".to_owned()
        }
        (Stage::Exec, libc::ENOENT) => {
            "the program was not started: the dynamic loader that its file names does not \
             exist, or is not where programs are let"
                .to_owned()
        }
        (Stage::Exec, _) => format!("the program was not started: {e}"),
        (Stage::Place, libc::ENOENT | libc::EACCES) => {
            "the program was not started: its directory is not among those \
             that the policy lets programs read"
                .to_owned()
        }
        (Stage::Place, libc::ESTALE) => {
            "the program was not started: its directory was replaced; send the plan again".to_owned()
        }
        (Stage::Covers, _) => {
            "the program was not started: a file that it must not see was replaced meanwhile; send the plan again".to_owned()
        }
        (Stage::Place, _) => format!("the program was not started: its directory cannot be entered: {e}"),
        (
            Stage::UserMap
            | Stage::SetUp
            | Stage::Source
            | Stage::View
            | Stage::Limits
            | Stage::Landlock
            | Stage::Seccomp
            | Stage::Clone,
            _,
        ) => format!("the program was not started: it could not be contained: {e}"),
    };
    Fault::new(EXEC_FAILED, message).log(io::Error::from(failed).to_string())
}

/// A tree that runs: dropped, it is killed and reaped.
struct Running(Option<Watched>);

struct Watched {
    pidfd: AsyncFd<OwnedFd>,
    report: OwnedFd,
    group: Option<Group>,
    isolation: Isolation,
}

/// What is known of a tree that is dead.
#[derive(Default)]
struct Settled {
    report: Option<Report>,
    usage: Usage,
    out_of_memory: bool,
}

impl Running {
    fn new(tree: Tree, isolation: Isolation) -> io::Result<Self> {
        let Tree { pidfd, report, group } = tree;
        match spawn::watch(pidfd) {
            Ok(pidfd) => Ok(Self(Some(Watched { pidfd, report, group, isolation }))),
            Err((pidfd, e)) => {
                spawn::end_in_background(pidfd, group);
                Err(e)
            }
        }
    }

    /// Resolves once every process of the tree is gone.
    async fn dead(&self) {
        if let Some(watched) = &self.0 {
            // Watching fails only where the runtime is shutting down, and then this future is dropped with it.
            let _ = watched.pidfd.readable().await;
        }
    }

    fn kill(&self) {
        if let Some(watched) = &self.0 {
            spawn::kill(watched.pidfd.get_ref(), watched.isolation);
            watched.group.iter().for_each(Group::kill);
        }
    }

    /// Reaps a tree that is dead; leaves one that is not to the background.
    fn settle(&mut self) -> io::Result<Settled> {
        let Some(Watched { pidfd, report, group, .. }) = self.0.take() else { return Ok(Settled::default()) };
        let tree = Tree { pidfd: pidfd.into_inner(), report, group };
        let report = spawn::report(&tree)?;
        let out_of_memory = tree.group.as_ref().is_some_and(Group::ran_out_of_memory);
        let usage = match spawn::wait(&tree.pidfd, libc::WNOHANG) {
            Ok(Some(usage)) => usage,
            Ok(None) => {
                spawn::end_in_background(tree.pidfd, tree.group);
                Usage::default()
            }
            // Where the host was started with SIGCHLD ignored, the kernel reaped it already.
            Err(e) if e.raw_os_error() == Some(libc::ECHILD) => Usage::default(),
            Err(e) => return Err(e),
        };
        Ok(Settled { report, usage, out_of_memory })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(Watched { pidfd, group, .. }) = self.0.take() {
            spawn::end_in_background(pidfd.into_inner(), group);
        }
    }
}

/// The beginning of an output, and its length.
struct Capture {
    pipe: Receiver,
    kept: Vec<u8>,
    limit: usize,
    seen: u64,
}

impl Capture {
    fn new(pipe: OwnedFd, limit: usize) -> io::Result<Self> {
        Ok(Self { pipe: Receiver::from_owned_fd(pipe)?, kept: Vec::new(), limit, seen: 0 })
    }

    /// Reads to the end: what is beyond the limit is counted and dropped, so that the program never waits for a reader.
    async fn read_all(&mut self) {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = self.pipe.read(&mut chunk).await {
            self.take(&chunk[..length]);
        }
    }

    /// Reads what is there once the tree is dead. A descriptor that left the tree could be written to without end.
    fn read_rest(&mut self) {
        let mut chunk = vec![0; CHUNK];
        for _ in 0..LEFT {
            match rustix::io::read(self.pipe.as_fd(), &mut chunk) {
                Ok(length @ 1..) => self.take(&chunk[..length]),
                Ok(0) | Err(_) => break,
            }
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        self.seen += chunk.len() as u64;
        self.kept.extend_from_slice(&chunk[..chunk.len().min(self.limit - self.kept.len())]);
    }

    fn text(self) -> Text {
        Text::new(self.kept, self.seen)
    }
}
