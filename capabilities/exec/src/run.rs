//! Runs one program to its end, its deadline, or the end of its plan, whichever comes first.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::time::{Duration, Instant};

use llm_os_core::{Context, Effectful, Effects, Fault, Secret, Text};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe::Receiver;

use crate::answer::{self, Ended};
use crate::command::Command;
use crate::output::Ran;
use crate::sandbox::{Contained, Containment, Group, Sandbox};
use crate::spawn::{self, Failed, Isolation, Report, Stage, Tree, Usage};
use crate::{EXEC_FAILED, image};

/// How long a killed tree may take to be gone before the answer leaves without it.
const GRACE: Duration = Duration::from_millis(400);
/// How much is read from a pipe at once.
pub(crate) const CHUNK: usize = 64 * 1024;
/// As much as a pipe can hold (`/proc/sys/fs/pipe-max-size`), in chunks: what may be left when a tree is dead.
pub(crate) const LEFT: usize = 16;

/// `exec.run`, ready to be judged and then to run.
pub(crate) struct Run {
    pub(crate) command: Command,
    pub(crate) stdin: Option<Secret>,
    pub(crate) timeout: Duration,
    /// Of stdout, and of stderr.
    pub(crate) output_bytes: usize,
    pub(crate) expect_exit: Option<Vec<i32>>,
}

/// What came of a program.
struct Outcome {
    end: End,
    stdout: Text,
    stderr: Text,
    usage: Usage,
    /// Killed because the action used more memory than it may.
    out_of_memory: bool,
    duration: Duration,
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
    /// Killed because the program that it works with failed, or what it wrote could not be kept.
    GivenUp,
}

/// Why a program did not run.
struct NotRun {
    /// What was to keep it from something is not in force any more; made anew it will be.
    is_stale: bool,
    fault: Fault,
}

impl From<Fault> for NotRun {
    fn from(fault: Fault) -> Self {
        Self { is_stale: false, fault }
    }
}

impl Run {
    pub(crate) fn effects(&self) -> Effects {
        self.command.effects()
    }

    pub(crate) async fn execute(self, sandbox: &Sandbox, cx: &Context) -> Result<Ran, Fault> {
        let display = self.command.display.as_ref();
        let contained = sandbox.contain(cx, cx.profile(), display)?;
        cx.note("contained", serde_json::to_value(&contained.containment).unwrap_or_default());
        let outcome = match self.once(&contained, cx.cancelled()).await {
            Err(refused) if refused.is_stale => {
                let anew = sandbox.contain(cx, cx.profile(), display)?;
                self.once(&anew, cx.cancelled()).await
            }
            outcome => outcome,
        };
        let outcome = outcome.map_err(|refused| refused.fault)?;
        let Outcome { end, stdout, stderr, usage, out_of_memory, duration } = outcome;
        let (exit_code, signal) = answer::ending(end);
        let meta = answer::meta(usage, duration);
        let ran = Ran { exit_code, signal, stdout, stderr, contained: contained.containment, meta };
        let (expect_exit, timeout) = (self.expect_exit.as_deref(), self.timeout);
        match (Ended { end, out_of_memory, expect_exit, timeout }).fault(|| cx.stopped()) {
            Some(fault) => Err(fault.delivered(&ran)),
            None => Ok(ran),
        }
    }

    /// Runs it; once the future is dropped the whole tree is killed.
    async fn once(&self, contained: &Contained, stop: impl Future<Output = ()>) -> Result<Outcome, NotRun> {
        let started = Instant::now();
        let stdin = input(self.stdin.as_ref()).map_err(|e| failed("its input cannot be held ready", e))?;
        let (mut stdout, stdout_end) = Capture::pipe(Kept::new(self.output_bytes)).map_err(no_pipe)?;
        let (mut stderr, stderr_end) = Capture::pipe(Kept::new(self.output_bytes)).map_err(no_pipe)?;
        let stdio = [stdin.as_fd(), stdout_end.as_fd(), stderr_end.as_fd()];
        let mut running = Running::start(&self.command, stdio, false, contained)?;
        drop((stdout_end, stderr_end));
        let reading = async { tokio::try_join!(stdout.read_all(), stderr.read_all()).map(drop) };
        let stop = async {
            tokio::select! {
                biased;
                () = stop => End::Stopped,
                () = tokio::time::sleep(self.timeout) => End::TimedOut,
            }
        };
        let (end, settled) = running.attend(reading, stop).await?;
        stdout.read_rest();
        stderr.read_rest();
        if let Some(failed) = settled.not_started() {
            return Err(did_not_start(failed, contained));
        }
        Ok(Outcome {
            end,
            stdout: stdout.to.text(),
            stderr: stderr.to.text(),
            usage: settled.usage,
            out_of_memory: settled.out_of_memory,
            duration: started.elapsed(),
        })
    }
}

/// The standard input of a program that is given all of it.
pub(crate) fn input(text: Option<&Secret>) -> io::Result<OwnedFd> {
    match text {
        Some(text) => image::seal_bytes(text.expose().as_bytes()),
        None => Ok(rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?),
    }
}

/// Nothing could be started.
pub(crate) fn failed(what: &str, e: io::Error) -> Fault {
    Fault::new(EXEC_FAILED, format!("nothing was started: {what}: {e}"))
}

pub(crate) fn no_pipe(e: io::Error) -> Fault {
    failed("no pipe could be made", e)
}

fn did_not_start(failed: Failed, contained: &Contained) -> NotRun {
    contained.take_note_of(failed);
    NotRun { is_stale: failed.stage == Stage::Covers, fault: not_started(failed) }
}

/// Starts a program that goes on, and waits until it runs. Where what was to hold it is not in force any more, it is held
/// anew, once.
pub(crate) async fn start(
    command: &Command,
    stdio: [BorrowedFd<'_>; 3],
    tty: bool,
    contain: impl Fn() -> Result<Contained, Fault>,
) -> Result<(Running, Containment), Fault> {
    let mut again = true;
    loop {
        let contained = contain()?;
        let mut running = Running::start(command, stdio, tty, &contained)?;
        match running.runs(&contained).await {
            Ok(()) => return Ok((running, contained.containment)),
            Err(refused) if refused.is_stale && again => again = false,
            Err(refused) => return Err(refused.fault),
        }
    }
}

/// What is told of a program that could not be started.
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
pub(crate) struct Running(Option<Watched>);

struct Watched {
    pidfd: AsyncFd<OwnedFd>,
    report: AsyncFd<OwnedFd>,
    /// The report, where it was read already.
    told: Option<Report>,
    group: Option<Group>,
    /// See [`Tree::started`].
    started: OwnedFd,
    isolation: Isolation,
}

/// What is known of a tree that is dead.
#[derive(Default)]
pub(crate) struct Settled {
    report: Option<Report>,
    pub(crate) usage: Usage,
    pub(crate) out_of_memory: bool,
}

impl Settled {
    /// Why the program was never started, if so.
    fn not_started(&self) -> Option<Failed> {
        match self.report {
            Some(Report::Failed(failed)) => Some(failed),
            Some(Report::Ended(..) | Report::Ready) | None => None,
        }
    }
}

impl Running {
    /// Starts a program with these standard streams; with `tty` the first is a terminal that becomes its controlling one.
    fn start(
        command: &Command,
        stdio: [BorrowedFd<'_>; 3],
        tty: bool,
        contained: &Contained,
    ) -> Result<Self, Fault> {
        let tree = command.spawn(stdio, tty, contained).map_err(|e| failed("no process could be made", e))?;
        let Tree { pidfd, report, group, started } = tree;
        let isolation = contained.isolation;
        let watch = |fd| spawn::watch(fd, Interest::READABLE);
        let unwatched = |pidfd, group, e| {
            spawn::end_in_background(pidfd, group);
            Err(failed("its process cannot be watched", e))
        };
        match (watch(pidfd), watch(report)) {
            (Ok(pidfd), Ok(report)) => {
                Ok(Self(Some(Watched { pidfd, report, told: None, group, started, isolation })))
            }
            (Ok(pidfd), Err((_, e))) => unwatched(pidfd.into_inner(), group, e),
            (Err((pidfd, e)), _) => unwatched(pidfd, group, e),
        }
    }

    /// Resolves once the program runs, or, with the whole tree dead, why it does not.
    async fn runs(&mut self, contained: &Contained) -> Result<(), NotRun> {
        let Some(Watched { started, .. }) = &self.0 else { return Ok(()) };
        let not_known = |e| NotRun::from(failed("its start is not known", e));
        let started = started.try_clone().map_err(not_known)?;
        let started = spawn::watch(started, Interest::READABLE).map_err(|(_, e)| not_known(e))?;
        let _ = started.readable().await.map_err(not_known)?;
        let Some(Watched { pidfd, report, told, .. }) = &mut self.0 else { return Ok(()) };
        *told = spawn::report(report.get_ref()).map_err(not_known)?;
        match told {
            Some(Report::Failed(failed)) => {
                // The init that told it ends.
                let _ = pidfd.readable().await;
                Err(did_not_start(*failed, contained))
            }
            Some(Report::Ended(..) | Report::Ready) | None => Ok(()),
        }
    }

    /// Waits until it ended by itself, `stop` says to kill it, or `reading` that what it writes cannot be kept. Then the
    /// whole tree is dead.
    pub(crate) async fn attend(
        &mut self,
        reading: impl Future<Output = Result<(), Refused>>,
        stop: impl Future<Output = End>,
    ) -> Result<(End, Settled), Fault> {
        let end = {
            let (mut reading, mut stop, mut open) = (pin!(reading), pin!(stop), true);
            loop {
                tokio::select! {
                    biased;
                    () = self.ended() => break End::Lost,
                    end = &mut stop => break end,
                    read = &mut reading, if open => match read {
                        Ok(()) => open = false,
                        Err(Refused) => break End::GivenUp,
                    },
                }
            }
        };
        if end != End::Lost {
            self.end().await;
        }
        let settled = self.settle().map_err(|e| failed("its end is not known", e))?;
        match settled.report {
            Some(Report::Ended(status, _)) if end == End::Lost => Ok((End::Ended(status), settled)),
            _ => Ok((end, settled)),
        }
    }

    /// Its init, to be killed or asked about by another than who attends to it.
    pub(crate) fn init(&self) -> io::Result<(OwnedFd, Isolation)> {
        let Some(Watched { pidfd, isolation, .. }) = &self.0 else {
            return Err(io::ErrorKind::NotFound.into());
        };
        Ok((pidfd.get_ref().try_clone()?, *isolation))
    }

    /// Kills the whole tree, and waits until it is dead.
    pub(crate) async fn end(&self) {
        self.kill();
        if tokio::time::timeout(GRACE, self.dead()).await.is_err() {
            tracing::error!("A killed process tree is still there; it is left to be reaped.");
        }
    }

    /// Resolves once every process of the program is gone, so that only its init is left, if at all.
    async fn ended(&mut self) {
        if let Some(Watched { report, told, group, .. }) = &mut self.0 {
            if told.is_none() {
                let _ = report.readable().await;
                *told = spawn::report(report.get_ref()).unwrap_or_default();
            }
            // A control group can be removed only once its last process is gone.
            if matches!(told, Some(Report::Ended(..))) && group.is_none() {
                return;
            }
        }
        self.dead().await;
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
        let Some(Watched { pidfd, report, told, group, .. }) = self.0.take() else {
            return Ok(Settled::default());
        };
        let report = if told.is_some() { told } else { spawn::report(report.get_ref())? };
        let out_of_memory = group.as_ref().is_some_and(Group::ran_out_of_memory);
        if let Some(Report::Ended(_, usage)) = report
            && group.is_none()
        {
            tokio::spawn(async move {
                // Its init ends by itself.
                let _ = pidfd.readable().await;
                let _ = spawn::wait(pidfd.get_ref(), libc::WNOHANG);
            });
            return Ok(Settled { report, usage, out_of_memory });
        }
        let pidfd = pidfd.into_inner();
        let usage = match spawn::wait(&pidfd, libc::WNOHANG) {
            Ok(Some(usage)) => usage,
            Ok(None) => {
                spawn::end_in_background(pidfd, group);
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

/// What becomes of an output.
pub(crate) trait Sink {
    /// Takes what was read.
    fn take(&mut self, chunk: &[u8]) -> Result<(), Refused>;
}

/// An output cannot be kept, and nothing more of it is wanted.
pub(crate) struct Refused;

/// An output that is read to its end.
pub(crate) struct Capture<S> {
    pipe: Receiver,
    pub(crate) to: S,
}

impl<S: Sink> Capture<S> {
    /// A pipe, and the end of it that a program gets.
    pub(crate) fn pipe(to: S) -> io::Result<(Self, OwnedFd)> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Self { pipe: Receiver::from_owned_fd(read)?, to }, write))
    }

    /// Reads to the end, so that the program never waits for a reader.
    pub(crate) async fn read_all(&mut self) -> Result<(), Refused> {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = self.pipe.read(&mut chunk).await {
            self.to.take(&chunk[..length])?;
        }
        Ok(())
    }

    /// Reads what is there once the tree is dead. A descriptor that left the tree could be written to without end.
    pub(crate) fn read_rest(&mut self) {
        let mut chunk = vec![0; CHUNK];
        for _ in 0..LEFT {
            match rustix::io::read(self.pipe.as_fd(), &mut chunk) {
                Ok(length @ 1..) if self.to.take(&chunk[..length]).is_ok() => {}
                Ok(_) | Err(_) => break,
            }
        }
    }
}

/// The beginning of an output, and its length: what is beyond the limit is counted and dropped.
pub(crate) struct Kept {
    bytes: Vec<u8>,
    limit: usize,
    seen: u64,
}

impl Kept {
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, seen: 0 }
    }

    pub(crate) fn text(self) -> Text {
        Text::new(self.bytes, self.seen)
    }
}

impl Sink for Kept {
    fn take(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        self.seen += chunk.len() as u64;
        self.bytes.extend_from_slice(&chunk[..chunk.len().min(self.limit - self.bytes.len())]);
        Ok(())
    }
}
