//! Starts a program as a process tree of its own. All `unsafe` of this crate is here and in [`init`].
//!
//! ```text
//! host ── clone3(CLONE_NEWPID) ──> init, process 1 of a new PID namespace
//!                                    └─ clone(CLONE_VM | CLONE_VFORK) ──> the program, by execveat
//! ```
//!
//! The init is a copy of the host that never executes anything else: it sets itself up, starts the program, reaps
//! what is orphaned, reports how the program ended, and exits. When a namespace's init is gone the kernel kills
//! whatever is left in it, so that nothing survives the program, or a kill of the init.
//!
//! Everything that the init needs is prepared in [`Plan`] before, since it may not even allocate.
#![allow(unsafe_code)]

mod init;

use std::ffi::{CStr, CString, c_char, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

/// In which namespaces a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// A PID namespace, for a host that may make one.
    Pid,
    /// A PID namespace in a user namespace, in which the user stays who they are.
    UserAndPid,
}

/// What is started, with what.
pub(crate) struct Program<'a> {
    /// The file that runs, and nothing else than this file.
    pub(crate) image: BorrowedFd<'a>,
    /// Its arguments, with its name.
    pub(crate) argv: &'a CStrings,
    /// Its whole environment.
    pub(crate) env: &'a CStrings,
    /// The directory it starts in.
    pub(crate) cwd: BorrowedFd<'a>,
    /// Descriptors 0, 1 and 2.
    pub(crate) stdio: [BorrowedFd<'a>; 3],
    /// For an interpreter, descriptor 3: its script.
    pub(crate) script: Option<BorrowedFd<'a>>,
}

/// A process tree that runs.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Of the init: readable once the whole tree is dead, to be killed and waited for by it.
    pub(crate) pidfd: OwnedFd,
    /// Holds [`Report`]; does not block. The tree dies when this is closed.
    pub(crate) report: OwnedFd,
}

/// What the init tells the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The program ended with this wait status (wait(2)).
    Ended(c_int),
    /// The program was not started.
    Failed(Stage, c_int),
    /// The namespaces could be made ([`probe`]).
    Ready,
}

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Mapping the user into the new user namespace.
    UserMap,
    /// Closing descriptors, leaving the session, setting limits.
    SetUp,
    /// Entering the directory and putting the standard streams in place.
    Place,
    /// Making the process of the program.
    Clone,
    /// Executing it.
    Exec,
}

/// Texts as execve(2) takes them.
pub(crate) struct CStrings {
    /// Into `texts`, ended by a null pointer.
    pointers: Vec<*const c_char>,
    _texts: Vec<CString>,
}

// SAFETY: the pointers lead into the texts beside them, which are never changed and move with them (their bytes are
// on the heap).
unsafe impl Send for CStrings {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for CStrings {}

impl CStrings {
    pub(crate) fn new(texts: Vec<CString>) -> Self {
        let pointers = texts.iter().map(|text| text.as_ptr()).chain([null()]).collect();
        Self { pointers, _texts: texts }
    }
}

/// Starts a program. What goes wrong after the tree exists is told by its [`Report`].
pub(crate) fn spawn(program: &Program<'_>, isolation: Isolation) -> io::Result<Tree> {
    start(Some(program), isolation)
}

/// Makes the namespaces for nothing, to see whether that works.
pub(crate) fn probe(isolation: Isolation) -> io::Result<Report> {
    let tree = start(None, isolation)?;
    wait(&tree.pidfd, 0)?;
    report(&tree)?.ok_or_else(|| io::Error::other("the init was killed"))
}

fn start(program: Option<&Program<'_>>, isolation: Isolation) -> io::Result<Tree> {
    let (report, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let write = above_stdio(write)?;
    let kept: Vec<OwnedFd>;
    let mut plan = Plan::new(&write, isolation)?;
    if let Some(Program { image, argv, env, cwd, stdio: [stdin, stdout, stderr], script }) = program {
        let sources = [image, cwd, stdin, stdout, stderr].into_iter().chain(script);
        let low = sources.clone().any(|fd| fd.as_raw_fd() <= HIGHEST);
        kept = if low {
            sources.clone().map(|fd| above_stdio(fd.try_clone_to_owned()?)).collect::<io::Result<_>>()?
        } else {
            Vec::new()
        };
        let number = |at: usize, fd: &BorrowedFd<'_>| kept.get(at).map_or(fd.as_raw_fd(), AsRawFd::as_raw_fd);
        let numbers: Vec<RawFd> = sources.enumerate().map(|(at, fd)| number(at, fd)).collect();
        plan.keep[1..=numbers.len()].copy_from_slice(&numbers);
        plan.program = Some(Exec {
            image: numbers[0],
            cwd: numbers[1],
            streams: [numbers[2], numbers[3], numbers[4], numbers.get(5).copied().unwrap_or(NO_FD)],
            argv: argv.pointers.as_ptr(),
            env: env.pointers.as_ptr(),
        });
    }
    plan.keep.sort_unstable();
    let pidfd = clone_init(&plan)?;
    Ok(Tree { pidfd, report })
}

/// Kills the whole tree at once.
pub(crate) fn kill(pidfd: &OwnedFd) {
    // It fails only where the tree is dead already.
    let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
}

/// Registers a tree with the runtime: readable once the whole of it is dead.
pub(crate) fn watch(pidfd: OwnedFd) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: an owned descriptor stays open and the same until the AsyncFd, which owns it, is dropped or gives it back.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }
        .map_err(AsyncFdRegisterError::into_parts)
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
    check(done)?;
    // SAFETY: after waitid it is the process, or zero where none is dead yet.
    if unsafe { info.si_pid() } == 0 {
        return Ok(None);
    }
    let micros = |time: libc::timeval| u64::try_from(time.tv_sec * 1_000_000 + time.tv_usec).unwrap_or(0);
    Ok(Some(Usage {
        user_us: micros(usage.ru_utime),
        system_us: micros(usage.ru_stime),
        max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    }))
}

/// What a tree used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) max_rss_bytes: u64,
}

/// What the init told, if it did.
pub(crate) fn report(tree: &Tree) -> io::Result<Option<Report>> {
    let mut bytes = [0; REPORT];
    match rustix::io::read(&tree.report, &mut bytes) {
        Ok(REPORT) => {}
        Ok(_) | Err(rustix::io::Errno::AGAIN) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let [a, b, c, d, e, f, g, h] = bytes;
    let (what, value) = (i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h]));
    let stages = [Stage::UserMap, Stage::SetUp, Stage::Place, Stage::Clone, Stage::Exec];
    Ok(match what {
        ENDED => Some(Report::Ended(value)),
        READY => Some(Report::Ready),
        stage => stages.into_iter().find(|s| *s as i32 == stage).map(|stage| Report::Failed(stage, value)),
    })
}

/// A report on the wire: what (a [`Stage`], [`ENDED`] or [`READY`]) and a value (an errno or a wait status).
const REPORT: usize = 8;
const ENDED: i32 = 100;
const READY: i32 = 101;

/// The highest descriptor of a program.
const HIGHEST: RawFd = 3;
const NO_FD: RawFd = -1;

/// Moves a descriptor away from those that a program gets, so that putting one in place never closes another.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > HIGHEST { Ok(fd) } else { Ok(rustix::io::fcntl_dupfd_cloexec(fd, HIGHEST + 1)?) }
}

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Everything the init needs, ready before it exists.
struct Plan {
    program: Option<Exec>,
    report: RawFd,
    /// What stays open in the init until the program runs, in ascending order; unused places are [`NO_FD`].
    keep: [RawFd; 7],
    maps: Option<[(&'static CStr, CString); 3]>,
}

/// The program, as numbers and pointers into the host's copy.
struct Exec {
    image: RawFd,
    cwd: RawFd,
    streams: [RawFd; 4],
    argv: *const *const c_char,
    env: *const *const c_char,
}

impl Plan {
    fn new(report: &OwnedFd, isolation: Isolation) -> io::Result<Self> {
        let maps = (isolation == Isolation::UserAndPid).then(|| {
            let map = |id: u32| CString::new(format!("{id} {id} 1")).expect("digits");
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            [
                (c"/proc/self/setgroups", c"deny".to_owned()),
                (c"/proc/self/uid_map", map(uid)),
                (c"/proc/self/gid_map", map(gid)),
            ]
        });
        let mut keep = [NO_FD; 7];
        keep[0] = report.as_raw_fd();
        Ok(Self { program: None, report: report.as_raw_fd(), keep, maps })
    }
}

fn clone_init(plan: &Plan) -> io::Result<OwnedFd> {
    let mut pidfd: c_int = NO_FD;
    // SAFETY: plain data for which zero is a value, here "no flag, no address".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    let user = if plan.maps.is_some() { libc::CLONE_NEWUSER } else { 0 };
    args.flags = u64::from((libc::CLONE_PIDFD | libc::CLONE_NEWPID | user).cast_unsigned());
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // With every signal blocked no handler of the host runs in the copy, which would write into pipes that both share.
    // SAFETY: plain data for which zero is a value.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: changes the mask of this thread alone; both sets live on this stack.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
    }
    // SAFETY: without CLONE_VM this is fork(2): the copy goes on here with its own memory, in which `plan` is whole, and
    // `init` keeps to async-signal-safe calls and never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    if pid == 0 {
        // SAFETY: this is the copy, with one thread, as `init` requires.
        unsafe { init::init(plan) }
    }
    let made = check(pid);
    // SAFETY: restores what the call above stored.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, null_mut()) };
    made?;
    // SAFETY: clone3 succeeded and CLONE_PIDFD stored a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(pidfd) })
}
