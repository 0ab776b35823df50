//! Programs that go on after the plan that started them: each belongs to the user and session that started it, is
//! attended to by a task of its own, and ends when it is stopped, its time is up, or nobody asked for it for long.
//!
//! The ids count from 1 for each owner: they tell nothing of others, and another's is never looked at.

mod handle;
mod signal;
mod spool;
mod terminal;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use llm_os_core::error::excerpt;
use llm_os_core::{
    Code, Context, Effect, Effectful, Effects, Fault, Identity, Kind, Principal, Resource, Secret, Setup,
    Verb,
};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::action::SignalName;
use crate::command::Command;
use crate::config::HandlesConfig;
use crate::output::{Listed, Read, Signalled, Started, Stopped, Wrote};
use crate::sandbox::Sandbox;
use crate::{EXEC_ENDED, EXEC_FAILED, EXEC_INPUT_FULL, EXEC_NO_HANDLE, run, spawn};

use handle::{Handle, Input, Progress, Source, Written, held};
use spool::Directory;
use terminal::Terminal;

/// All programs that go on.
#[derive(Clone)]
pub(crate) struct Handles(Arc<Inner>);

struct Inner {
    config: HandlesConfig,
    /// Where their output is kept, or why it cannot be.
    directory: Result<Directory, String>,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    handles: Vec<Arc<Handle>>,
    /// By user: how many are being started.
    starting: HashMap<u32, u64>,
    /// The last number of each owner that has handles.
    numbers: HashMap<Principal, u64>,
    serial: u64,
    /// How often all were stopped.
    stops: u64,
}

/// `exec.start`, ready to be judged and then to run.
pub(crate) struct Start {
    pub(crate) command: Command,
    pub(crate) pty: bool,
    pub(crate) timeout: Duration,
}

/// What is done with a handle.
pub(crate) struct Use {
    handle: Arc<Handle>,
    pub(crate) what: What,
}

/// One action on a handle.
pub(crate) enum What {
    Read { after: u64, most: usize, wait: Duration, screen: bool },
    Write { data: Option<Secret>, end: bool, wait: Duration },
    Signal(SignalName),
    Stop,
}

impl Handles {
    pub(crate) fn open(config: HandlesConfig, setup: &Setup) -> Self {
        let directory = match &setup.state {
            Some(state) => Directory::open(state).map_err(|e| format!("{}/exec: {e}", state.display())),
            None => Err("the host has no state directory".to_owned()),
        };
        Self(Arc::new(Inner { config, directory, all: Mutex::default() }))
    }

    /// Why no program can be started here, if so.
    pub(crate) fn lacks(&self) -> Option<String> {
        let why = self.0.directory.as_ref().err()?;
        Some(format!("the output of programs that go on cannot be kept: {why}"))
    }

    /// Kills all of them, whoever they belong to, and forgets them; one that is being started does not come to run on.
    pub(crate) fn stop_all(&self) {
        let mut all = held(&self.0.all);
        all.stops += 1;
        std::mem::take(&mut all.handles).iter().for_each(|handle| handle.kill());
    }

    /// What `asker` will do with the handle that they know by this id. Another's is none.
    ///
    /// # Errors
    ///
    /// `exec_no_handle`.
    pub(crate) fn find(&self, asker: &Principal, id: &str, what: What) -> Result<Use, Fault> {
        let all = held(&self.0.all);
        let handle = all.handles.iter().find(|handle| handle.owner == *asker && handle.id == id);
        let handle = handle.cloned().ok_or_else(|| no_handle(id))?;
        drop(all);
        if let What::Read { screen: true, .. } = what
            && !handle.pty
        {
            let message = format!("\"{id}\" has no terminal: start the program with \"pty\"");
            return Err(Fault::invalid("screen", message));
        }
        Ok(Use { handle, what })
    }

    /// The effect of looking through one's own.
    pub(crate) fn list_effect() -> Effect {
        Effect::new(Verb::Observe, Resource::new(Kind::Handle, "*"), Identity::of_id())
    }

    pub(crate) fn list(&self, cx: &Context) -> Listed {
        let all = held(&self.0.all);
        let own = all.handles.iter().filter(|handle| handle.owner == *cx.principal());
        Listed { handles: own.map(|handle| handle.listing()).collect() }
    }

    pub(crate) async fn start(
        &self,
        start: Start,
        sandbox: &Sandbox,
        cx: &Context,
    ) -> Result<Started, Fault> {
        let Start { command, pty, timeout } = start;
        let directory = self
            .0
            .directory
            .as_ref()
            .map_err(|_| Fault::new(Code::UNAVAILABLE, self.lacks().unwrap_or_default()))?;
        let slot = Slot::reserve(self, cx.principal().uid)?;
        let spool = directory.spool(slot.serial, self.0.config.output_bytes).map_err(|e| {
            Fault::new(EXEC_FAILED, format!("nothing was started: its output cannot be kept: {e}"))
        })?;
        let streams = Streams::open(pty).map_err(|e| run::failed("it cannot be given its streams", e))?;
        let [stdin, stdout] = &streams.its;
        let contain = || sandbox.contain(cx, cx.profile(), command.display.as_ref());
        let stdio = [stdin.as_fd(), stdout.as_fd(), stdout.as_fd()];
        let (running, contained) = run::start(&command, stdio, pty, contain).await?;
        let (init, isolation) =
            running.init().map_err(|e| run::failed("its process cannot be watched", e))?;
        let Streams { its, input, source } = streams;
        drop(its);
        let runs = command.effects().as_slice().to_vec();
        let handle = self.add(slot, cx.principal(), |id, serial| Handle {
            id,
            serial,
            owner: cx.principal().clone(),
            argv: command.argv().to_vec(),
            runs: runs.into_iter().filter(|effect| effect.verb == Verb::Run).collect(),
            pty,
            init,
            isolation,
            written: Mutex::new(Written { spool, terminal: pty.then(Terminal::new) }),
            progress: watch::Sender::new(Progress::default()),
            input: tokio::sync::Mutex::new(input),
            stop: watch::Sender::new(false),
            used: Mutex::new(Instant::now()),
        })?;
        cx.note("handle", handle.id.as_str());
        cx.note("contained", serde_json::to_value(&contained).unwrap_or_default());
        let id = handle.id.clone();
        let (handles, idle) = (self.clone(), Duration::from_secs(self.0.config.idle_s.get()));
        tokio::spawn(async move {
            handle.attend(running, source, Instant::now() + timeout, idle).await;
            handles.forget(&handle);
        });
        Ok(Started { handle: id, contained })
    }

    fn add(
        &self,
        slot: Slot,
        owner: &Principal,
        make: impl FnOnce(String, u64) -> Handle,
    ) -> Result<Arc<Handle>, Fault> {
        let mut all = held(&self.0.all);
        if all.stops != slot.stops {
            return Err(Fault::new(Code::HALTED, "all programs were stopped while this one was started"));
        }
        let number = all.numbers.entry(owner.clone()).or_default();
        *number += 1;
        let handle = Arc::new(make(format!("h-{number}"), slot.serial));
        all.handles.push(handle.clone());
        Ok(handle)
    }

    fn forget(&self, handle: &Arc<Handle>) {
        let mut all = held(&self.0.all);
        all.handles.retain(|other| !Arc::ptr_eq(other, handle));
        held(&handle.written).spool.remove();
        if all.handles.iter().all(|other| other.owner != handle.owner) {
            all.numbers.remove(&handle.owner);
        }
    }
}

/// The right to start one more program.
struct Slot {
    handles: Handles,
    uid: u32,
    serial: u64,
    stops: u64,
}

impl Slot {
    fn reserve(handles: &Handles, uid: u32) -> Result<Self, Fault> {
        let mut all = held(&handles.0.all);
        let running = all.handles.iter().filter(|handle| handle.owner.uid == uid).count() as u64;
        let starting = all.starting.get(&uid).copied().unwrap_or_default();
        let most = handles.0.config.max_per_user;
        if running + starting >= most {
            let message = format!(
                "this user has {most} programs that go on, which is the most (capabilities.exec.handles.max_per_user): \
                 exec.list lists those of a session, exec.stop ends one"
            );
            return Err(Fault::new(Code::BUSY, message));
        }
        *all.starting.entry(uid).or_default() += 1;
        all.serial += 1;
        let (serial, stops) = (all.serial, all.stops);
        drop(all);
        Ok(Self { handles: handles.clone(), uid, serial, stops })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut all = held(&self.handles.0.all);
        if let Some(starting) = all.starting.get_mut(&self.uid) {
            *starting -= 1;
            if *starting == 0 {
                all.starting.remove(&self.uid);
            }
        }
    }
}

/// The standard streams of a program, and the ends of them that the host keeps.
struct Streams {
    /// Its input, and its output and errors.
    its: [OwnedFd; 2],
    input: Input,
    source: Source,
}

impl Streams {
    fn open(pty: bool) -> io::Result<Self> {
        if pty {
            let (own, its) = terminal::open()?;
            let own = spawn::watch(own, Interest::READABLE | Interest::WRITABLE).map_err(|(_, e)| e)?;
            let own = Arc::new(own);
            let its = [its.try_clone()?, its];
            return Ok(Self { its, input: Input::Terminal(own.clone()), source: Source::Terminal(own) });
        }
        let (stdin, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (output, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let input = Input::Pipe(Sender::from_owned_fd(input)?);
        let source = Source::Pipe(Receiver::from_owned_fd(output)?);
        Ok(Self { its: [stdin, stdout], input, source })
    }
}

impl Start {
    pub(crate) fn effects(&self) -> Effects {
        self.command.effects()
    }
}

impl Use {
    /// What is done with it. Giving a program input is judged as running it, so that what asks asks.
    pub(crate) fn effects(&self) -> Effects {
        let Self { handle, what } = self;
        match what {
            What::Read { .. } => Effects::one(handle.effect(Verb::Observe)),
            What::Write { .. } => handle
                .runs
                .iter()
                .fold(Effects::one(handle.effect(Verb::Change)), |effects, run| effects.and(run.clone())),
            What::Signal(_) => Effects::one(handle.effect(Verb::Change)),
            What::Stop => Effects::one(handle.effect(Verb::Destroy)),
        }
    }

    /// Reads from `after` on, once something is there.
    pub(crate) async fn read(
        &self,
        (after, most): (u64, usize),
        wait: Duration,
        screen: bool,
        cx: &Context,
    ) -> Result<Read, Fault> {
        let Self { handle, .. } = self;
        handle.touch();
        let mut progress = handle.progress.subscribe();
        tokio::select! {
            biased;
            // The sender is held here.
            _ = progress.wait_for(|progress| progress.kept > after || progress.ended.is_some()) => {}
            () = cx.cancelled() => return Err(stopped(cx)),
            () = tokio::time::sleep(wait) => {}
        }
        handle.touch();
        // The state is taken first: where the program ended, everything that it wrote is there.
        let state = handle.state();
        let Progress { kept, seen, .. } = *progress.borrow();
        if after > kept {
            let message = format!("found {after}, expected at most {kept}, which is how much is kept");
            return Err(Fault::invalid("after", message));
        }
        let read = handle.read(after, most);
        let (output, next) =
            read.map_err(|e| Fault::new(EXEC_FAILED, format!("its output cannot be read: {e}")))?;
        let screen = screen.then(|| handle.screen()).flatten();
        Ok(Read { output, next, bytes: seen, full: seen > kept, state, screen })
    }

    /// Writes for at most so long.
    pub(crate) async fn write(
        &self,
        data: Option<&Secret>,
        end: bool,
        wait: Duration,
        cx: &Context,
    ) -> Result<Wrote, Fault> {
        let Self { handle, .. } = self;
        handle.touch();
        let bytes = data.map_or(b"".as_slice(), |data| data.expose().as_bytes());
        let mut count = 0;
        let ended = tokio::select! {
            biased;
            ended = async { handle.input.lock().await.write(bytes, end, &mut count).await } => ended.map_err(|e| match e.kind() {
                io::ErrorKind::BrokenPipe => ended_already(handle),
                _ => Fault::new(EXEC_FAILED, format!("its input cannot be written: {e}")),
            }),
            () = cx.cancelled() => Err(stopped(cx)),
            () = tokio::time::sleep(wait) => {
                let message = format!("the program reads too slowly: it was given a part in {} ms", wait.as_millis());
                Err(Fault::new(EXEC_INPUT_FULL, message))
            }
        };
        handle.touch();
        let wrote = Wrote { bytes: count };
        match ended {
            Ok(()) => Ok(wrote),
            Err(fault) => Err(fault.delivered(&wrote)),
        }
    }

    pub(crate) fn signal(&self, signal: SignalName) -> Result<Signalled, Fault> {
        use rustix::process::Signal;
        let Self { handle, .. } = self;
        handle.touch();
        let signal = match signal {
            SignalName::Cont => Signal::CONT,
            SignalName::Hup => Signal::HUP,
            SignalName::Int => Signal::INT,
            SignalName::Kill => Signal::KILL,
            SignalName::Quit => Signal::QUIT,
            SignalName::Stop => Signal::STOP,
            SignalName::Term => Signal::TERM,
            SignalName::Usr1 => Signal::USR1,
            SignalName::Usr2 => Signal::USR2,
        };
        match signal::send(handle.init.as_fd(), signal) {
            Ok(()) => Ok(Signalled { handle: handle.id.clone() }),
            Err(e) => Err(ended_already(handle).log(e.to_string())),
        }
    }

    pub(crate) async fn stop(&self, handles: &Handles, cx: &Context) -> Result<Stopped, Fault> {
        let Self { handle, .. } = self;
        let mut progress = handle.progress.subscribe();
        // Its task kills it, so that how it ended is told as it was where it ended before.
        handle.stop.send_replace(true);
        tokio::select! {
            biased;
            _ = progress.wait_for(|progress| progress.ended.is_some()) => {}
            () = cx.cancelled() => return Err(stopped(cx)),
        }
        handles.forget(handle);
        Ok(Stopped { bytes: progress.borrow().seen, state: handle.state() })
    }
}

pub(crate) fn no_handle(id: &str) -> Fault {
    let message = format!("this session has no handle \"{}\": exec.list lists what it has", excerpt(id));
    Fault::new(EXEC_NO_HANDLE, message).at("handle")
}

fn ended_already(handle: &Handle) -> Fault {
    let message = format!("the program of \"{}\" takes no more: it ended, or its input did", handle.id);
    Fault::new(EXEC_ENDED, message)
}

fn stopped(cx: &Context) -> Fault {
    cx.stopped().unwrap_or_else(|| Fault::new(Code::CANCELLED, "the plan was stopped"))
}
