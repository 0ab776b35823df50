//! `exec.pipe`: several programs, each judged and held on its own, with a pipe between each two.
//!
//! They are started from the last to the first, each once the one after it runs: none writes to a program that could not
//! be started, and one that cannot be started takes with it only programs that had nothing to read yet.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use llm_os_core::{Context, Effectful, Effects, Fault, Secret, Text};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::EXEC_FAILED;
use crate::answer::{self, Ended};
use crate::command::Command;
use crate::output::{PipeMeta, Piped, Staged, Written};
use crate::params::in_stage;
use crate::run::{self, Capture, End, Kept, Refused, Running, Settled, Sink};
use crate::sandbox::{Containment, Sandbox};
use crate::target::{Filling, Target};

/// A pipe, ready to be judged and then to run.
pub(crate) struct Pipe {
    /// The programs, each with the exit codes that count as its success.
    pub(crate) stages: Vec<(Command, Option<Vec<i32>>)>,
    pub(crate) stdin: Option<Secret>,
    pub(crate) file: Option<Target>,
    /// The longest file.
    pub(crate) file_bytes: u64,
    pub(crate) timeout: Duration,
    /// Of the last stdout, and of each stderr.
    pub(crate) output_bytes: usize,
}

/// What becomes of the last standard output.
enum Last {
    Text(Kept),
    File(Box<Filling>),
}

impl Sink for Last {
    fn take(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        match self {
            Last::Text(kept) => kept.take(chunk),
            Last::File(filling) => filling.take(chunk),
        }
    }
}

/// A program of the pipe that was started.
struct Started {
    running: Running,
    stderr: Capture<Kept>,
    /// Of the last one.
    stdout: Option<Capture<Last>>,
}

/// What came of it.
struct Done {
    end: End,
    settled: Settled,
    stderr: Text,
    last: Option<Last>,
    duration: Duration,
}

impl Pipe {
    /// The effects of every stage, and of the file. What two stages share, such as their directory, is stated once.
    pub(crate) fn effects(&self) -> Effects {
        let mut stages = self.stages.iter().map(|(command, _)| command.effects());
        let mut effects = stages.next().expect("stages were validated");
        let of_file = self.file.iter().map(Target::effect);
        for effect in stages.flat_map(|stage| stage.as_slice().to_vec()).chain(of_file) {
            if !effects.as_slice().contains(&effect) {
                effects = effects.and(effect);
            }
        }
        effects
    }

    pub(crate) async fn execute(mut self, sandbox: &Sandbox, cx: &Context) -> Result<Piped, Fault> {
        let last = match self.file.take() {
            Some(target) => {
                Last::File(Box::new(target.fill(self.file_bytes).map_err(|fault| fault.at("stdout_file"))?))
            }
            None => Last::Text(Kept::new(self.output_bytes)),
        };
        let started = Instant::now();
        let (programs, contained) = self.start(last, sandbox, cx).await?;
        cx.note("contained", serde_json::to_value(&contained).unwrap_or_default());
        let ended = self.attend(programs, started, cx.cancelled()).await;
        self.answer(ended, contained, started, cx)
    }

    /// Starts every stage, the last one first, and each once the one after it runs.
    async fn start(
        &self,
        last: Last,
        sandbox: &Sandbox,
        cx: &Context,
    ) -> Result<(Vec<Started>, Vec<Containment>), Fault> {
        let input = run::input(self.stdin.as_ref());
        let mut stdins = vec![input.map_err(|e| run::failed("its input cannot be held ready", e))?];
        let mut stdouts: Vec<OwnedFd> = Vec::new();
        for _ in 1..self.stages.len() {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| run::no_pipe(e.into()))?;
            stdins.push(read);
            stdouts.push(write);
        }
        let (last, end) = Capture::pipe(last).map_err(run::no_pipe)?;
        stdouts.push(end);
        let (mut last, mut programs, mut layers) = (Some(last), Vec::<Started>::new(), Vec::new());
        let streams = stdins.into_iter().zip(stdouts);
        let stages = self.stages.iter().zip(streams).enumerate().collect::<Vec<_>>();
        for (at, ((command, _), (stdin, stdout))) in stages.into_iter().rev() {
            let (stderr, stderr_end) = Capture::pipe(Kept::new(self.output_bytes)).map_err(run::no_pipe)?;
            let stdio = [stdin.as_fd(), stdout.as_fd(), stderr_end.as_fd()];
            let profile = cx.profile_of(&command.effects());
            let contain = || sandbox.contain(cx, &profile, command.display.as_ref());
            let started = run::start(command, stdio, false, contain).await;
            match started {
                Ok((running, contained)) => {
                    programs.push(Started { running, stderr, stdout: last.take() });
                    layers.push(contained);
                }
                Err(fault) => {
                    for Started { running, .. } in programs {
                        running.end().await;
                    }
                    return Err(in_stage(at, fault));
                }
            }
        }
        programs.reverse();
        layers.reverse();
        Ok((programs, layers))
    }

    /// Waits for all of them; what remains is killed once the time is up, the plan is stopped, or the file cannot
    /// take more.
    async fn attend(
        &self,
        programs: Vec<Started>,
        started: Instant,
        stop: impl Future<Output = ()>,
    ) -> Vec<Result<Done, Fault>> {
        let (end_all, told) = watch::channel(None);
        let count = programs.len();
        // Dropped with this future, it kills what still runs.
        let mut tasks = JoinSet::new();
        for (at, program) in programs.into_iter().enumerate() {
            let told = told.clone();
            tasks.spawn(async move { (at, program.attend(told, started).await) });
        }
        let mut ended: Vec<_> = std::iter::repeat_with(|| None).take(count).collect();
        let mut stop = std::pin::pin!(async {
            tokio::select! {
                biased;
                () = stop => End::Stopped,
                () = tokio::time::sleep(self.timeout) => End::TimedOut,
            }
        });
        loop {
            tokio::select! {
                biased;
                joined = tasks.join_next() => match joined {
                    None => break,
                    Some(Ok((at, done))) => {
                        let is_over = done.as_ref().map_or(true, |done| done.end == End::GivenUp);
                        if is_over && end_all.borrow().is_none() {
                            end_all.send_replace(Some(End::GivenUp));
                        }
                        ended[at] = Some(done);
                    }
                    Some(Err(e)) => std::panic::resume_unwind(e.into_panic()),
                },
                end = &mut stop, if end_all.borrow().is_none() => {
                    end_all.send_replace(Some(end));
                }
            }
        }
        ended.into_iter().map(|done| done.expect("every task was joined")).collect()
    }

    fn answer(
        self,
        ended: Vec<Result<Done, Fault>>,
        contained: Vec<Containment>,
        started: Instant,
        cx: &Context,
    ) -> Result<Piped, Fault> {
        let mut fault = None;
        let mut piped = Piped {
            stages: Vec::new(),
            stdout: None,
            stdout_file: None,
            meta: PipeMeta { duration_us: answer::micros(started.elapsed()) },
        };
        let mut file = None;
        let mut is_success = false;
        let stages = self.stages.iter().zip(contained).zip(ended).enumerate();
        for (at, (((_, expect_exit), contained), done)) in stages {
            let Done { end, settled, stderr, last, duration } = done.map_err(|fault| in_stage(at, fault))?;
            let (exit_code, signal) = answer::ending(end);
            is_success = exit_code == Some(0) || expect_exit.is_some();
            let ended = Ended {
                end,
                out_of_memory: settled.out_of_memory,
                expect_exit: expect_exit.as_deref(),
                timeout: self.timeout,
            };
            let own = if end == End::GivenUp { None } else { ended.fault(|| cx.stopped()) };
            fault = fault.or(own.map(|fault| in_stage(at, fault)));
            match last {
                None => {}
                Some(Last::Text(kept)) => piped.stdout = Some(kept.text()),
                Some(Last::File(mut filling)) => {
                    fault = filling.take_failure().map(|fault| fault.at("stdout_file")).or(fault);
                    file = Some(filling);
                }
            }
            let meta = answer::meta(settled.usage, duration);
            piped.stages.push(Staged { exit_code, signal, stderr, contained, meta });
        }
        if let (None, Some(filling)) = (&fault, file) {
            if is_success {
                match filling.publish() {
                    Ok((path, bytes)) => piped.stdout_file = Some(Written { path, bytes }),
                    Err(failed) => fault = Some(failed.at("stdout_file")),
                }
            } else {
                let message = "the last program did not succeed, so that no file was written; if it did, name its exit \
                               code in its expect_exit";
                fault = Some(in_stage(self.stages.len() - 1, Fault::new(EXEC_FAILED, message)));
            }
        }
        match fault {
            Some(fault) => Err(fault.delivered(&piped)),
            None => Ok(piped),
        }
    }
}

impl Started {
    async fn attend(self, mut told: watch::Receiver<Option<End>>, started: Instant) -> Result<Done, Fault> {
        let Self { mut running, mut stderr, mut stdout } = self;
        let reading = async {
            let last = async {
                match &mut stdout {
                    Some(stdout) => stdout.read_all().await,
                    None => Ok(()),
                }
            };
            tokio::try_join!(stderr.read_all(), last).map(drop)
        };
        // The sender is gone only where this task is as well.
        let stop = async {
            told.wait_for(Option::is_some).await.map_or(End::GivenUp, |end| end.unwrap_or(End::GivenUp))
        };
        let (end, settled) = running.attend(reading, stop).await?;
        stderr.read_rest();
        if let Some(stdout) = &mut stdout {
            stdout.read_rest();
        }
        let (stderr, last) = (stderr.to.text(), stdout.map(|stdout| stdout.to));
        Ok(Done { end, settled, stderr, last, duration: started.elapsed() })
    }
}
