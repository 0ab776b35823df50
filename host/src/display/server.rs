//! A display of the host's own: an X server without a screen, and a small window manager.
//!
//! ```text
//! thread "virtual-display" ── setpriv --pdeathsig KILL Xvfb      tells its number once it takes clients
//!                          └─ setpriv --pdeathsig KILL openbox   runs a command once it manages windows
//! ```
//!
//! - Both end with the host, however it ends: the kernel kills them when the thread that started them is gone, and that
//!   thread lives as long as the host.
//! - Either is started again when it dies, under the same number and with the same cookie.
//! - Xvfb takes clients with the cookie only. It listens on the abstract socket of its number too: X libraries try that
//!   one first, and a name that is free could be taken by any other user, who would then be told what is typed.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use llm_os_core::Display;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::files::Files;
use super::{DisplayError, Size};

/// How long a program may take to be ready.
const START: Duration = Duration::from_secs(20);
/// How long a program may take to end by itself once it is told to.
const STOP: Duration = Duration::from_secs(2);
/// The pause before a program that died is started again; it doubles each time, up to the longest.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Where the search for a free number begins, so that the low ones are left to displays with a person before them, and
/// how far it is spread, so that the display of a host that was killed is not at once that of another.
const FIRST_NUMBER: u32 = 100;
const NUMBERS: u32 = 800;
/// What lived longer than this died of something new.
const STEADY: Duration = Duration::from_secs(10);

/// The display, which ends when this is dropped.
pub(crate) struct VirtualDisplay {
    pub(crate) display: Display,
    /// The thread ends once this is closed.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl VirtualDisplay {
    /// Starts it and waits until it can be used.
    ///
    /// # Errors
    ///
    /// A program that is missing or does not start, or files that cannot be written.
    pub(crate) fn start(size: Size, state: &Path) -> Result<Self, DisplayError> {
        let programs = Programs::find()?;
        let files = Files::write(state)?;
        let authority = Some(files.authority.clone());
        let failed = |source| DisplayError::Io { path: state.to_owned(), source };
        let (stopped, stop) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        let (ready, is_ready) = mpsc::channel();
        let keeper = Keeper { programs, files, size, number: None, stopped, ready: Some(ready) };
        let thread = std::thread::Builder::new().name("virtual-display".to_owned());
        let thread = thread.spawn(move || keeper.keep()).map_err(failed)?;
        let number = is_ready.recv().unwrap_or_else(|_| {
            Err(DisplayError::Program { program: XVFB, why: "was not started".to_owned() })
        })?;
        let display = Display { id: "virtual".to_owned(), name: format!(":{number}"), authority };
        Ok(Self { display, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for VirtualDisplay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it was told on stderr already.
            let _ = thread.join();
        }
    }
}

const XVFB: &str = "Xvfb";
const OPENBOX: &str = "openbox";

/// Where the programs are.
struct Programs {
    xvfb: PathBuf,
    openbox: PathBuf,
    setpriv: PathBuf,
    echo: PathBuf,
}

impl Programs {
    fn find() -> Result<Self, DisplayError> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
        let find = |program: &'static str, package| {
            let directories = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
            let found = directories.map(|directory| directory.join(program)).find(|file| file.is_file());
            found.ok_or(DisplayError::Missing { program, package })
        };
        Ok(Self {
            xvfb: find(XVFB, "xvfb openbox")?,
            openbox: find(OPENBOX, "xvfb openbox")?,
            setpriv: find("setpriv", "util-linux")?,
            echo: find("echo", "coreutils")?,
        })
    }
}

/// The thread's own.
struct Keeper {
    programs: Programs,
    files: Files,
    size: Size,
    /// The number of the display, once it has one.
    number: Option<u32>,
    /// Readable, being closed on the other side, once the display is to end.
    stopped: OwnedFd,
    /// Told once of the number, or of why there is none.
    ready: Option<mpsc::Sender<Result<u32, DisplayError>>>,
}

impl Keeper {
    fn keep(mut self) {
        let mut pause = PAUSE;
        loop {
            let begun = Instant::now();
            match self.run() {
                Ok(()) => return,
                Err(error) => match self.ready.take() {
                    Some(ready) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                    None => tracing::warn!("{error}; starting it again"),
                },
            }
            pause = if begun.elapsed() > STEADY { PAUSE } else { LONGEST_PAUSE.min(pause * 2) };
            if self.is_told_to_stop_within(pause) {
                return;
            }
        }
    }

    /// Runs server and window manager until the display is to end, or the server died, which is an error.
    fn run(&mut self) -> Result<(), DisplayError> {
        let mut server = self.start_server()?;
        let mut pause = PAUSE;
        loop {
            let begun = Instant::now();
            let ended = self.run_manager(&server);
            // A manager ends with its server, and may be seen to do so first.
            pause = if begun.elapsed() > STEADY { PAUSE } else { LONGEST_PAUSE.min(pause * 2) };
            let _ = wait(&[self.stopped.as_fd(), server.pidfd.as_fd()], Some(pause));
            if self.is_told_to_stop_within(Duration::ZERO) {
                return Ok(());
            }
            if let Some(why) = server.ended() {
                return Err(DisplayError::Program { program: XVFB, why });
            }
            // A server that lives keeps its windows.
            match ended {
                Err(error) if self.ready.is_some() => return Err(error),
                Err(error) => tracing::warn!("{error}; starting it again"),
                Ok(()) => {}
            }
        }
    }

    /// Runs the window manager until the display is to end, or one of both programs died: where that is this one, it is
    /// an error.
    fn run_manager(&mut self, server: &Program) -> Result<(), DisplayError> {
        let mut manager = self.start_manager()?;
        if let (Some(ready), Some(number)) = (self.ready.take(), self.number) {
            let _ = ready.send(Ok(number));
        }
        let _ = wait(&[self.stopped.as_fd(), server.pidfd.as_fd(), manager.pidfd.as_fd()], None);
        match manager.ended() {
            Some(why) => Err(DisplayError::Program { program: OPENBOX, why }),
            None => Ok(()),
        }
    }

    /// Starts it under the number that it had, or under one that is free.
    fn start_server(&mut self) -> Result<Program, DisplayError> {
        if let Some(number) = self.number {
            return self.start_server_as(number);
        }
        let first = FIRST_NUMBER + std::process::id() % NUMBERS;
        let mut free = (first..FIRST_NUMBER + 2 * NUMBERS).filter(|number| is_free(*number));
        loop {
            let Some(number) = free.next() else {
                let why = format!("finds no free number from :{first} on");
                return Err(DisplayError::Program { program: XVFB, why });
            };
            match self.start_server_as(number) {
                // Another server took it meanwhile.
                Err(_) if !is_free(number) => {}
                started => {
                    self.number = Some(number);
                    return started;
                }
            }
        }
    }

    fn start_server_as(&self, number: u32) -> Result<Program, DisplayError> {
        let (name, screen) = (format!(":{number}"), format!("{}x{}x24", self.size.width, self.size.height));
        let mut arguments: Vec<OsString> =
            vec!["-auth".into(), self.files.authority.clone().into_os_string()];
        // It tells its number on its standard output once it takes clients.
        let fixed =
            [&name, "-displayfd", "1", "-screen", "0", &screen, "-noreset", "-nolisten", "tcp", "-s", "0"];
        arguments.extend(fixed.map(OsString::from));
        let mut server = self.start(XVFB, &self.programs.xvfb, &arguments)?;
        server.wait_for(self.stopped.as_fd(), |line| (line.parse() == Ok(number)).then_some(()))?;
        Ok(server)
    }

    fn start_manager(&self) -> Result<Program, DisplayError> {
        let startup = format!("{} ready", self.programs.echo.display());
        let arguments =
            ["--sm-disable", "--config-file", &self.files.openbox.to_string_lossy(), "--startup", &startup]
                .map(OsString::from);
        let mut manager = self.start(OPENBOX, &self.programs.openbox, &arguments)?;
        manager.wait_for(self.stopped.as_fd(), |line| (line == "ready").then_some(()))?;
        Ok(manager)
    }

    #[expect(clippy::disallowed_methods, reason = "programs of the operator's installation, not of a plan")]
    fn start(
        &self,
        name: &'static str,
        program: &Path,
        arguments: &[OsString],
    ) -> Result<Program, DisplayError> {
        let mut command = Command::new(&self.programs.setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.env("HOME", &self.files.directory).env("XAUTHORITY", &self.files.authority);
        if let Some(number) = self.number {
            command.env("DISPLAY", format!(":{number}"));
        }
        command.current_dir(&self.files.directory);
        // An interrupt from the terminal is for the host, which then ends its display after what uses it.
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed =
            |e: io::Error| DisplayError::Program { program: name, why: format!("cannot be started: {e}") };
        Program::of(name, command.spawn().map_err(failed)?).map_err(failed)
    }

    fn is_told_to_stop_within(&self, time: Duration) -> bool {
        wait(&[self.stopped.as_fd()], Some(time)).is_ok_and(|ready| ready)
    }
}

/// A program that runs; it is ended when this is dropped.
struct Program {
    name: &'static str,
    child: Child,
    /// Readable once it ended.
    pidfd: OwnedFd,
    said: Arc<Mutex<String>>,
}

impl Program {
    fn of(name: &'static str, mut child: Child) -> io::Result<Self> {
        let pidfd = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = (child.kill(), child.wait());
                return Err(error.into());
            }
        };
        let program = Self { name, child, pidfd, said: Arc::default() };
        Ok(program)
    }

    /// Logs what it says, and keeps the last of it.
    fn listen(&self, mut to: impl Read + Send + 'static) -> io::Result<()> {
        let (name, said) = (self.name, self.said.clone());
        let listen = move || {
            let mut chunk = [0; 1024];
            while let Ok(length @ 1..) = to.read(&mut chunk) {
                let text = String::from_utf8_lossy(&chunk[..length]).trim().replace('\n', "; ");
                tracing::debug!(program = name, "{text}");
                *said.lock().unwrap_or_else(PoisonError::into_inner) = text;
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(listen).map(drop)
    }

    /// Waits for a line of its standard output that is what is wanted.
    fn wait_for<T>(
        &mut self,
        stopped: BorrowedFd<'_>,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<T, DisplayError> {
        let name = self.name;
        let failed = |why: String| DisplayError::Program { program: name, why };
        let (Some(mut stdout), Some(stderr)) = (self.child.stdout.take(), self.child.stderr.take()) else {
            return Err(failed("has no output".to_owned()));
        };
        self.listen(stderr).map_err(|e| failed(e.to_string()))?;
        let (deadline, mut text) = (Instant::now() + START, String::new());
        loop {
            if let Some(found) =
                text.split_inclusive('\n').filter(|l| l.ends_with('\n')).find_map(|l| wanted(l.trim()))
            {
                self.listen(stdout).map_err(|e| failed(e.to_string()))?;
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let ready = wait(&[stdout.as_fd(), stopped], Some(left)).map_err(|e| failed(e.to_string()))?;
            if !ready || wait(&[stopped], Some(Duration::ZERO)).unwrap_or(true) {
                return Err(failed(format!("was not ready within {} s", START.as_secs())));
            }
            let mut chunk = [0; 1024];
            match stdout.read(&mut chunk) {
                Ok(0) | Err(_) => {
                    let _ = wait(&[self.pidfd.as_fd()], Some(STOP));
                    return Err(failed(self.ended().unwrap_or_else(|| "closed its output".to_owned())));
                }
                Ok(length) => text += &String::from_utf8_lossy(&chunk[..length]),
            }
        }
    }

    /// How it ended, if it did.
    fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Some(if said.is_empty() {
            format!("ended ({status})")
        } else {
            format!("ended ({status}), having said: {said}")
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It fails only where the program ended already.
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
        if !wait(&[self.pidfd.as_fd()], Some(STOP)).unwrap_or(false) {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Whether no server listens under this number; what a killed one left behind does not count.
fn is_free(number: u32) -> bool {
    let path = format!("/tmp/.X11-unix/X{number}");
    let unnamed =
        SocketAddr::from_abstract_name(&path).and_then(|address| UnixStream::connect_addr(&address));
    unnamed.is_err() && UnixStream::connect(&path).is_err()
}

/// Waits until one of them is readable or closed on the other side; whether that was within the time.
fn wait(any: &[BorrowedFd<'_>], time: Option<Duration>) -> io::Result<bool> {
    let mut waiting: Vec<_> = any.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let time = time.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    loop {
        match poll(&mut waiting, time.as_ref()) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
