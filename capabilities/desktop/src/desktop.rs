//! The display of a host: one thread owns the connection, reconnects, and does one piece of work after another.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;

use llm_os_core::{Check, Code, ConnectionId, Context, Display, Fault, Setup};

use crate::other;
use crate::x11::Session;

/// How long a display may take for one piece of work, before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a piece of work did not succeed.
#[derive(Debug)]
pub enum Trouble {
    /// The connection is gone, or was never there; the next piece of work connects anew.
    Lost(String),
    /// What the caller is told.
    Fault(Fault),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Trouble::Fault(fault)
    }
}

/// What drives a display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// An X server.
    X11,
    /// A Wayland compositor, or the desktop of another platform.
    Other,
}

impl Backend {
    /// What drives a display of this name.
    pub fn of(display: &Display) -> Self {
        let name = &display.name;
        let is_wayland = name.starts_with("wayland") || name.starts_with('/');
        if is_wayland || !cfg!(target_os = "linux") { Backend::Other } else { Backend::X11 }
    }
}

const NO_DISPLAY: &str = "the host drives no display: start it with --virtual-display 1280x800 for one of its own, or with \
                          --display NAME for one that exists";

type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// The one display of a host, shared by the capabilities that drive it.
pub struct Desktop {
    display: Display,
    jobs: Mutex<mpsc::Sender<Job>>,
    turn: tokio::sync::Mutex<()>,
}

/// The right to send input: one action at a time has it, so that the letters of two plans never mix.
pub struct Turn<'a>(#[allow(dead_code)] tokio::sync::MutexGuard<'a, ()>);

static OPEN: LazyLock<Mutex<HashMap<String, Weak<Desktop>>>> = LazyLock::new(Mutex::default);

impl Desktop {
    /// The display that the operator gave; the same one for every capability of this process. Its thread
    /// connects meanwhile; nobody waits for that.
    ///
    /// # Errors
    ///
    /// `unavailable` where there is none, with what to do.
    pub fn open(setup: &Setup) -> Result<Arc<Self>, Fault> {
        let Some(display) = &setup.display else {
            return Err(Fault::new(Code::UNAVAILABLE, NO_DISPLAY));
        };
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desktop) = open.get(&display.name).and_then(Weak::upgrade) {
            return Ok(desktop);
        }
        let (jobs, queue) = mpsc::channel();
        let mut worker = Worker { display: display.clone(), session: None, other: None };
        std::thread::Builder::new()
            .name("display".to_owned())
            .spawn(move || queue.into_iter().for_each(|job: Job| job(&mut worker)))
            .map_err(|e| Fault::new(Code::UNAVAILABLE, "no thread for the display").log(e.to_string()))?;
        let desktop = Arc::new(Self {
            display: display.clone(),
            jobs: Mutex::new(jobs),
            turn: tokio::sync::Mutex::default(),
        });
        open.insert(display.name.clone(), Arc::downgrade(&desktop));
        if desktop.backend() == Backend::X11 {
            // Connecting releases what a host that was killed left pressed: at once, and not only before the first
            // action. Where it fails the first action says why.
            let _ = desktop.queue(Box::new(|worker| drop(worker.work(|_: &mut Session| Ok(())))));
        }
        Ok(desktop)
    }

    /// Whether the display that the operator gave can be reached, for `llm-osd doctor`.
    pub fn check(setup: &Setup) -> Check {
        let Some(display) = &setup.display else { return Check::lacking("display", NO_DISPLAY) };
        let reached = match Backend::of(display) {
            Backend::X11 => Session::look(display).map(drop),
            Backend::Other => other::Session::connect(display).map(drop),
        };
        match reached {
            Ok(()) => Check::held("display", display.name.as_str()),
            Err(fault) => Check::lacking("display", fault.message),
        }
    }

    /// The display.
    pub fn display(&self) -> &Display {
        &self.display
    }

    /// What drives it.
    pub fn backend(&self) -> Backend {
        Backend::of(&self.display)
    }

    /// Works on the X session and waits for the result, without yielding: for `resolve`, which only looks.
    ///
    /// # Errors
    ///
    /// What the work gives; `unavailable` where the display cannot be reached or does not answer in two seconds.
    pub fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Fault> {
        self.look_on(work)
    }

    /// The same on a display of [`Backend::Other`].
    ///
    /// # Errors
    ///
    /// As [`Desktop::look`].
    pub fn look_other<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut other::Session) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Fault> {
        self.look_on(work)
    }

    /// The same for `execute`: the thread works while the task waits, and goes on where the task is dropped.
    ///
    /// # Errors
    ///
    /// As [`Desktop::look`].
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Fault> {
        self.work_on(work).await
    }

    /// The same on a display of [`Backend::Other`].
    ///
    /// # Errors
    ///
    /// As [`Desktop::look`].
    pub async fn work_other<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut other::Session) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Fault> {
        self.work_on(work).await
    }

    /// Lets the thread work later without anybody to wait for it: for what must be done when a task is dropped.
    pub fn later(&self, work: impl FnOnce(&mut Session) -> Result<(), Trouble> + Send + 'static) {
        let _ = self.queue(Box::new(move |worker| {
            // Without a session there is nothing to undo.
            if worker.session.is_some() {
                let _ = worker.work(work);
            }
        }));
    }

    /// The same on a display of [`Backend::Other`].
    pub fn later_other(
        &self,
        work: impl FnOnce(&mut other::Session) -> Result<(), Trouble> + Send + 'static,
    ) {
        let _ = self.queue(Box::new(move |worker| {
            if worker.other.is_some() {
                let _ = worker.work(work);
            }
        }));
    }

    /// Waits for the right to send input.
    ///
    /// # Errors
    ///
    /// Why the action is to stop, where that comes first.
    pub async fn turn(&self, cx: &Context) -> Result<Turn<'_>, Fault> {
        tokio::select! {
            biased;
            turn = self.turn.lock() => Ok(Turn(turn)),
            () = cx.cancelled() => {
                Err(cx.stopped().unwrap_or_else(|| Fault::new(Code::CANCELLED, "the plan was cancelled")))
            }
        }
    }

    /// Lets go of every key and button that plans of this connection hold down. Waits for at most a second.
    pub fn release(&self, connection: ConnectionId) {
        self.release_of(move |holder| holder == connection);
    }

    /// The same for all connections.
    pub fn release_all(&self) {
        self.release_of(|_| true);
    }

    fn release_of(&self, is_one: impl Fn(ConnectionId) -> bool + Send + 'static) {
        let (give, take) = mpsc::sync_channel(1);
        let queued = self.queue(Box::new(move |worker| {
            if let Some(session) = &mut worker.session
                && session.release(&is_one).is_err()
            {
                worker.session = None;
            }
            if let Some(session) = &mut worker.other
                && session.release(|holder, _| is_one(holder)).is_err()
            {
                worker.other = None;
            }
            let _ = give.send(());
        }));
        if queued.is_ok() {
            let _ = take.recv_timeout(Duration::from_secs(1));
        }
    }

    fn look_on<S: Driven, T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Fault> {
        let (give, take) = mpsc::sync_channel(1);
        self.queue(Box::new(move |worker| {
            let _ = give.send(worker.work(work));
        }))?;
        take.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(self.hung()))
    }

    async fn work_on<S: Driven, T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Fault> {
        let (give, take) = tokio::sync::oneshot::channel();
        self.queue(Box::new(move |worker| {
            let _ = give.send(worker.work(work));
        }))?;
        match tokio::time::timeout(PATIENCE, take).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(self.hung()),
        }
    }

    fn queue(&self, job: Job) -> Result<(), Fault> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.send(job).map_err(|_| Fault::new(Code::UNAVAILABLE, "the thread of the display ended"))
    }

    fn hung(&self) -> Fault {
        let message = format!("the display {} does not answer; is it stopped?", self.display.name);
        Fault::new(Code::UNAVAILABLE, message)
    }
}

/// The thread's own.
struct Worker {
    display: Display,
    session: Option<Session>,
    other: Option<other::Session>,
}

/// A session of either kind.
trait Driven: Sized {
    fn connect(display: &Display) -> Result<Self, Fault>;
    fn of(worker: &mut Worker) -> &mut Option<Self>;
}

impl Driven for Session {
    fn connect(display: &Display) -> Result<Self, Fault> {
        Session::connect(display)
    }

    fn of(worker: &mut Worker) -> &mut Option<Self> {
        &mut worker.session
    }
}

impl Driven for other::Session {
    fn connect(display: &Display) -> Result<Self, Fault> {
        other::Session::connect(display)
    }

    fn of(worker: &mut Worker) -> &mut Option<Self> {
        &mut worker.other
    }
}

impl Worker {
    fn work<S: Driven, T>(&mut self, work: impl FnOnce(&mut S) -> Result<T, Trouble>) -> Result<T, Fault> {
        let session = match S::of(self).take() {
            Some(session) => session,
            None => S::connect(&self.display)?,
        };
        let session = S::of(self).insert(session);
        let done = catch_unwind(AssertUnwindSafe(|| work(session)));
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Trouble::Fault(fault))) => Err(fault),
            Ok(Err(Trouble::Lost(why))) => {
                // Dropping the connection ends its server grab.
                *S::of(self) = None;
                let message =
                    format!("the connection to the display {} was lost; try again", self.display.name);
                Err(Fault::new(Code::UNAVAILABLE, message).log(why))
            }
            Err(panic) => {
                *S::of(self) = None;
                Err(Fault::new(Code::CAPABILITY_FAULT, "the display's thread panicked").log(told(&*panic)))
            }
        }
    }
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

impl Worker {
    /// Lets go of everything, and gives back what was lent.
    fn end(&mut self) {
        if let Some(mut session) = self.session.take() {
            let _ = session.release(|_| true);
            let _ = session.give_back();
        }
        if let Some(mut session) = self.other.take() {
            let _ = session.release(|_, _| true);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

impl Drop for Desktop {
    /// Waits for the thread for at most a second and a half: the process may end right after, and the thread with it.
    fn drop(&mut self) {
        let (give, take) = mpsc::sync_channel(1);
        let queued = self.queue(Box::new(move |worker| {
            worker.end();
            let _ = give.send(());
        }));
        if queued.is_ok() {
            let _ = take.recv_timeout(Duration::from_millis(1500));
        }
    }
}
