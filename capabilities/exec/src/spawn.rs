//! Starts a program as a process tree of its own, contained. All `unsafe` of this crate is here and below.
//!
//! ```text
//! host ── clone ──> launcher, which puts a view together, one for each kind of program
//!   ├──── clone(CLONE_PARENT | CLONE_NEWPID | ...) ──> init, made ahead, contained, waiting for its one program
//!   │                                                   └─ clone(CLONE_VM | CLONE_VFORK) ──> the program, by execveat
//! ```
//!
//! Launcher and init are copies of the host that never execute anything else. The init starts the program, reaps what is
//! orphaned, reports how the program ended, and exits. When a namespace's init is gone the kernel kills whatever is left in
//! it, so that nothing survives the program, or a kill of the init.
//!
//! Everything that a copy needs is prepared in [`Blueprint`] and [`spec`] before, since it may not even allocate.
#![allow(unsafe_code)]

pub(crate) mod blueprint;
mod init;
mod kernel;
mod launcher;
mod spec;

use std::ffi::{CStr, CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

use crate::sandbox::Group;
use blueprint::Blueprint;
pub(crate) use kernel::landlock_abi;

/// In which namespaces a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Isolation {
    /// A PID namespace, for a host that may make one.
    Pid,
    /// A PID namespace in a user namespace, in which the user stays who they are.
    UserAndPid,
    /// None, where none can be made: the init adopts what is orphaned, and kills what its Landlock domain lets it reach.
    Subreaper,
}

/// What is started, with what.
pub(crate) struct Program<'a> {
    /// The file that runs, and nothing else than this file.
    pub(crate) image: BorrowedFd<'a>,
    /// Its arguments, with its name.
    pub(crate) argv: &'a [CString],
    /// Its whole environment.
    pub(crate) env: &'a [CString],
    /// The directory it starts in, by its real path.
    pub(crate) directory: &'a CStr,
    /// Device and inode of that directory.
    pub(crate) directory_identity: (u64, u64),
    /// Descriptors 0, 1 and 2.
    pub(crate) stdio: [BorrowedFd<'a>; 3],
    /// For an interpreter, descriptor 3: its script.
    pub(crate) script: Option<BorrowedFd<'a>>,
    /// Descriptor 0 is a terminal that becomes its controlling one.
    pub(crate) tty: bool,
}

/// A process tree that runs.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Of the init: readable once the whole tree is dead, to be killed and waited for by it.
    pub(crate) pidfd: OwnedFd,
    /// Holds a [`Report`]; does not block. The tree dies when this is closed.
    pub(crate) report: OwnedFd,
    /// The control group that it is in, to be dropped after it is dead.
    pub(crate) group: Option<Group>,
    /// Readable once the program runs, or is known not to: the init closes its end then.
    pub(crate) started: OwnedFd,
}

/// What an init or a launcher tells the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The program ended with this wait status (wait(2)), nothing that came of it is left, and all of it used this.
    Ended(c_int, Usage),
    /// The program was not started, or the launcher is of no use.
    Failed(Failed),
    /// The launcher is ready, or made an init.
    Ready,
}

/// A step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) stage: Stage,
    /// The number of the step within the stage, where it has steps.
    pub(crate) at: u8,
    pub(crate) errno: c_int,
}

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Mapping the user into the new user namespace.
    UserMap,
    /// Closing descriptors, leaving the session, giving up capabilities.
    SetUp,
    /// Cloning what a view shows.
    Source,
    /// Putting a view together.
    View,
    /// Setting limits.
    Limits,
    /// Enforcing Landlock.
    Landlock,
    /// Enforcing the filter of system calls.
    Seccomp,
    /// Looking whether what is covered still is.
    Covers,
    /// Entering the directory and putting the standard streams in place.
    Place,
    /// Making a process.
    Clone,
    /// Executing the program.
    Exec,
}

const STAGES: [Stage; 11] = [
    Stage::UserMap,
    Stage::SetUp,
    Stage::Source,
    Stage::View,
    Stage::Limits,
    Stage::Landlock,
    Stage::Seccomp,
    Stage::Covers,
    Stage::Place,
    Stage::Clone,
    Stage::Exec,
];

impl Failed {
    fn new(stage: Stage, errno: c_int) -> Self {
        Self { stage, at: 0, errno }
    }

    /// Names the step.
    fn at(mut self, at: usize) -> Self {
        self.at = u8::try_from(at).unwrap_or(u8::MAX);
        self
    }

    fn bytes(self) -> [u8; REPORT] {
        report_bytes(self.stage as i32 | (i32::from(self.at) << 8), self.errno)
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        let e = io::Error::from_raw_os_error(failed.errno);
        io::Error::new(e.kind(), format!("{:?}, step {}: {e}", failed.stage, failed.at))
    }
}

/// A launcher; it ends with the host, or once this is dropped.
pub(crate) struct Launcher {
    pidfd: Option<OwnedFd>,
    socket: OwnedFd,
}

/// An init that waits for its program; it ends once this is dropped.
pub(crate) struct Init {
    pidfd: OwnedFd,
    control: OwnedFd,
}

impl Launcher {
    /// Starts one and waits until it has put its view together.
    ///
    /// # Errors
    ///
    /// What cannot be had on this machine.
    pub(crate) fn start(blueprint: &Blueprint) -> io::Result<Result<Self, Failed>> {
        let flags = SocketFlags::CLOEXEC;
        let (own, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let its = above_stdio(its)?;
        let pidfd = clone_launcher(blueprint, its.as_raw_fd())?;
        drop(its);
        let launcher = Self { pidfd: Some(pidfd), socket: own };
        Ok(match launcher.answer()?.0 {
            Report::Failed(failed) => Err(failed),
            Report::Ready | Report::Ended(..) => Ok(launcher),
        })
    }

    /// Orders an init, in the control group whose `cgroup.procs` this is; yields the end of it that the host keeps.
    pub(crate) fn order(&self, group: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
        let (own, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let group = group.map(|group| group.as_raw_fd());
        let fds: Vec<_> = [its.as_raw_fd()].into_iter().chain(group).collect();
        kernel::send(self.socket.as_raw_fd(), [0; 8], &fds).map_err(io::Error::from_raw_os_error)?;
        Ok(own)
    }

    /// Waits for the init that was ordered first.
    pub(crate) fn collect(&self, control: OwnedFd) -> io::Result<Init> {
        match self.answer()? {
            (Report::Ready, Some(pidfd)) => Ok(Init { pidfd, control }),
            (Report::Failed(failed), _) => Err(failed.into()),
            _ => Err(io::Error::other("the launcher answered without an init")),
        }
    }

    fn answer(&self) -> io::Result<(Report, Option<OwnedFd>)> {
        let gone = || io::Error::other("the launcher was killed");
        let message = kernel::receive(self.socket.as_raw_fd()).ok_or_else(gone)?;
        // SAFETY: the kernel put this descriptor into this process for this message alone.
        let pidfd = (message.count > 0).then(|| unsafe { OwnedFd::from_raw_fd(message.fds[0]) });
        Ok((parse(message.bytes).ok_or_else(gone)?, pidfd))
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if let Some(pidfd) = self.pidfd.take() {
            end_in_background(pidfd, None);
        }
    }
}

impl Init {
    /// Hands over its program. What goes wrong from then on is told by the tree's [`Report`].
    pub(crate) fn run(self, program: &Program<'_>, group: Option<Group>) -> io::Result<Tree> {
        let Self { pidfd, control } = self;
        let flags = if program.tty { spec::TTY } else { 0 };
        let Program { image, argv, env, directory, directory_identity, stdio, script, .. } = program;
        let spec = spec::write(argv, env, directory, *directory_identity, flags)?;
        let (report, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let [stdin, stdout, stderr] = stdio.map(|fd| fd.as_raw_fd());
        let mut fds = vec![spec.as_raw_fd(), write.as_raw_fd(), image.as_raw_fd(), stdin, stdout, stderr];
        fds.extend(script.map(|script| script.as_raw_fd()));
        match kernel::send(control.as_raw_fd(), [0; 8], &fds) {
            Ok(()) => Ok(Tree { pidfd, report, group, started: control }),
            Err(errno) => {
                end_in_background(pidfd, group);
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    /// Reaps one that has no program to run: it ends as soon as it is alone.
    pub(crate) fn dismiss(self, group: Option<Group>) {
        let Self { pidfd, control } = self;
        drop(control);
        end_in_background(pidfd, group);
    }
}

/// Kills the whole tree at once. An init without a namespace is asked to, since it alone knows what it adopted.
pub(crate) fn kill(pidfd: &OwnedFd, isolation: Isolation) {
    let signal = match isolation {
        Isolation::Pid | Isolation::UserAndPid => rustix::process::Signal::KILL,
        Isolation::Subreaper => rustix::process::Signal::TERM,
    };
    // It fails only where the tree is dead already.
    let _ = rustix::process::pidfd_send_signal(pidfd, signal);
}

/// Ends a tree and reaps it without keeping anyone waiting; a thread, since the runtime may be gone.
pub(crate) fn end_in_background(pidfd: OwnedFd, group: Option<Group>) {
    if let Some(group) = &group {
        group.kill();
    }
    let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
    let reaper = std::thread::Builder::new().name("exec-reaper".to_owned());
    let reap = move || {
        let waited = wait(&pidfd, 0);
        drop(group);
        waited
    };
    if let Err(e) = reaper.spawn(reap) {
        tracing::error!(error = %e, "A killed process is not reaped, since no thread could be started.");
    }
}

/// Registers a descriptor with the runtime, such as that of a tree: readable once the whole of it is dead.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: an owned descriptor stays open and the same until the AsyncFd, which owns it, is dropped or gives it back.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(AsyncFdRegisterError::into_parts)
}

/// Reaps the init of a tree and tells what the whole tree used; nothing while it is not dead, where `options` say
/// `WNOHANG` (waitid(2)).
pub(crate) fn wait(pidfd: &OwnedFd, options: c_int) -> io::Result<Option<Usage>> {
    // SAFETY: both are plain data for which zero is a value.
    let (mut info, mut usage): (libc::siginfo_t, libc::rusage) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let flags = libc::WEXITED | options;
    // SAFETY: the kernel fills both, which live until it returns. The call without glibc has the resources as well.
    let done = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_raw_fd(),
            &raw mut info,
            flags,
            &raw mut usage,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: after waitid it is the process, or zero where none is dead yet.
    if unsafe { info.si_pid() } == 0 {
        return Ok(None);
    }
    Ok(Some(Usage::of(&usage)))
}

/// What a tree used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) max_rss_bytes: u64,
}

impl Usage {
    fn of(usage: &libc::rusage) -> Self {
        let micros = |time: libc::timeval| u64::try_from(time.tv_sec * 1_000_000 + time.tv_usec).unwrap_or(0);
        Self {
            user_us: micros(usage.ru_utime),
            system_us: micros(usage.ru_stime),
            max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        }
    }
}

/// What the init told, if it did.
pub(crate) fn report(pipe: &OwnedFd) -> io::Result<Option<Report>> {
    let mut bytes = [0; ENDED_REPORT];
    match rustix::io::read(pipe, &mut bytes) {
        Ok(REPORT) => Ok(bytes.first_chunk().and_then(|bytes| parse(*bytes))),
        Ok(ENDED_REPORT) => Ok(parse_ended(&bytes)),
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A report on the wire: what (a [`Stage`] with its step, [`ENDED`] or [`READY`]) and a value (an errno or a wait status).
const REPORT: usize = 8;
/// The report of an end: [`ENDED`], a wait status, and the three numbers of a [`Usage`].
const ENDED_REPORT: usize = REPORT + 3 * 8;
const ENDED: i32 = 100;
const READY: i32 = 101;

fn report_bytes(what: i32, value: i32) -> [u8; REPORT] {
    let ([a, b, c, d], [e, f, g, h]) = (what.to_ne_bytes(), value.to_ne_bytes());
    [a, b, c, d, e, f, g, h]
}

fn ended_bytes(status: c_int, usage: Usage) -> [u8; ENDED_REPORT] {
    let mut bytes = [0; ENDED_REPORT];
    let (report, used) = bytes.split_at_mut(REPORT);
    report.copy_from_slice(&report_bytes(ENDED, status));
    let Usage { user_us, system_us, max_rss_bytes } = usage;
    for (at, number) in used.chunks_exact_mut(8).zip([user_us, system_us, max_rss_bytes]) {
        at.copy_from_slice(&number.to_ne_bytes());
    }
    bytes
}

fn parse_ended(bytes: &[u8; ENDED_REPORT]) -> Option<Report> {
    let (report, used) = bytes.split_at(REPORT);
    let mut numbers =
        used.chunks_exact(8).filter_map(|number| Some(u64::from_ne_bytes(*number.first_chunk()?)));
    let usage =
        Usage { user_us: numbers.next()?, system_us: numbers.next()?, max_rss_bytes: numbers.next()? };
    let [a, b, c, d, e, f, g, h] = *report.first_chunk()?;
    let is_ended = i32::from_ne_bytes([a, b, c, d]) == ENDED;
    is_ended.then(|| Report::Ended(i32::from_ne_bytes([e, f, g, h]), usage))
}

fn parse([a, b, c, d, e, f, g, h]: [u8; REPORT]) -> Option<Report> {
    let (what, value) = (i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]));
    match what {
        READY => Some(Report::Ready),
        failed => {
            let stage = STAGES.into_iter().find(|stage| *stage as i32 == failed & 0xff)?;
            Some(Report::Failed(Failed::new(stage, value).at(usize::try_from(failed >> 8).ok()?)))
        }
    }
}

/// The highest descriptor of a program.
const HIGHEST: RawFd = 3;
const NO_FD: RawFd = -1;

/// Moves a descriptor away from those that a program gets, so that putting one in place never closes another.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > HIGHEST { Ok(fd) } else { Ok(rustix::io::fcntl_dupfd_cloexec(fd, HIGHEST + 1)?) }
}

/// The maps by which the user stays who they are in a user namespace (user_namespaces(7)).
pub(crate) fn own_maps() -> [(&'static CStr, CString); 3] {
    let map = |id: u32| CString::new(format!("{id} {id} 1")).expect("digits");
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    [
        (c"/proc/self/setgroups", c"deny".to_owned()),
        (c"/proc/self/uid_map", map(uid)),
        (c"/proc/self/gid_map", map(gid)),
    ]
}

fn clone_launcher(blueprint: &Blueprint, socket: RawFd) -> io::Result<OwnedFd> {
    let mut flags = 0;
    if blueprint.isolation == Isolation::UserAndPid {
        flags |= libc::CLONE_NEWUSER;
    }
    if blueprint.view.is_some() {
        flags |= libc::CLONE_NEWNS;
    }
    if !blueprint.network && blueprint.isolation != Isolation::Subreaper {
        flags |= libc::CLONE_NEWNET;
    }
    // With every signal blocked no handler of the host runs in the copy, which would write into pipes that both share.
    // SAFETY: plain data for which zero is a value.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: changes the mask of this thread alone; both sets live on this stack.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
    }
    // SAFETY: the copy goes on in `launcher`, which keeps to async-signal-safe calls and never returns.
    let made = match unsafe { kernel::fork(flags) } {
        // SAFETY: this is the copy, with one thread, as `launcher` requires.
        Ok(None) => unsafe { launcher::launcher(blueprint, socket) },
        // SAFETY: the kernel stored a new descriptor, which nothing else owns.
        Ok(Some(pidfd)) => Ok(unsafe { OwnedFd::from_raw_fd(pidfd) }),
        Err(failed) => Err(io::Error::from(failed)),
    };
    // SAFETY: restores what the call above stored.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, null_mut()) };
    made
}
