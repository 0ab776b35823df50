//! The life of the init: all that runs between `clone3` in the host and `execveat` of the program.
//!
//! It runs in a copy of a host of many threads, where only async-signal-safe calls (signal-safety(7)) are sound: nothing
//! here allocates, locks or panics.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr::{self, null_mut};

use super::{ENDED, Exec, NO_FD, Plan, READY, REPORT, Stage};

/// The life of process 1.
///
/// # Safety
///
/// Runs in the copy that `clone3` made and calls nothing that is not async-signal-safe.
pub(super) unsafe fn init(plan: &Plan) -> ! {
    // SAFETY: as this function's own.
    unsafe {
        let told = match set_up(plan) {
            Err(failed) => Err(failed),
            Ok(_) if plan.program.is_none() => Ok((READY, 0)),
            Ok(children) => reap_until_the_end(plan, children).map(|status| (ENDED, status)),
        };
        let (what, value) = told.unwrap_or_else(|(stage, errno)| (stage as i32, errno));
        let ([a, b, c, d], [e, f, g, h]) = (what.to_ne_bytes(), value.to_ne_bytes());
        let bytes = [a, b, c, d, e, f, g, h];
        libc::write(plan.report, bytes.as_ptr().cast(), REPORT);
        libc::_exit(0)
    }
}

/// A stage that failed, with its errno.
type Failed = (Stage, c_int);

/// Turns the copy of the host into an init; yields a descriptor that tells of its children.
unsafe fn set_up(plan: &Plan) -> Result<RawFd, Failed> {
    // SAFETY: as `init`; what is passed lives on this stack or in the plan.
    unsafe {
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const default, null_mut());
        }
        // A host that is not dumpable may not write the maps of its copy either (proc(5), "Files and directories").
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        for (file, text) in plan.maps.iter().flatten() {
            let fd = done(Stage::UserMap, libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
            let bytes = text.as_bytes();
            let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
            done(Stage::UserMap, if written < 0 { -1 } else { 0 })?;
            libc::close(fd);
        }
        close_all_but(&plan.keep)?;
        done(Stage::SetUp, libc::setsid())?;
        done(Stage::SetUp, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        // The init holds a copy of the host's memory: nobody of the same user may look into it.
        done(Stage::SetUp, libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
        libc::prctl(libc::PR_SET_NAME, c"llm-os-init".as_ptr());
        let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        done(Stage::SetUp, libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core))?;
        libc::umask(0o022);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        done(Stage::SetUp, libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC))
    }
}

/// Starts the program and reaps until it ended, or the host is gone.
unsafe fn reap_until_the_end(plan: &Plan, children: RawFd) -> Result<c_int, Failed> {
    // SAFETY: as `init`; what is passed lives on this stack or in the plan.
    unsafe {
        let program = start_program(plan)?;
        let mut keep = [plan.report, children];
        keep.sort_unstable();
        close_all_but(&keep)?;
        loop {
            let mut status = 0;
            match libc::waitpid(-1, &raw mut status, libc::WNOHANG) {
                pid if pid == program => return Ok(status),
                pid if pid > 0 => continue,
                _ => {}
            }
            // The pipe's other end closes when the host dies or gives the tree up. PR_SET_PDEATHSIG would not do: it
            // follows the thread that cloned, and threads of a pool end early.
            let mut events = [
                libc::pollfd { fd: plan.report, events: 0, revents: 0 },
                libc::pollfd { fd: children, events: libc::POLLIN, revents: 0 },
            ];
            libc::poll(events.as_mut_ptr(), 2, -1);
            if events[0].revents != 0 {
                libc::_exit(0);
            }
            let mut info = [0_u8; size_of::<libc::signalfd_siginfo>()];
            libc::read(children, info.as_mut_ptr().cast(), info.len());
        }
    }
}

/// What the process of the program needs; it shares the init's memory until it executes.
struct Start<'a> {
    exec: &'a Exec,
    failed: Option<Failed>,
}

unsafe fn start_program(plan: &Plan) -> Result<libc::pid_t, Failed> {
    #[repr(align(16))]
    struct Stack([MaybeUninit<u8>; 16 * 1024]);
    let Some(exec) = &plan.program else { return Err((Stage::Clone, libc::EINVAL)) };
    let mut start = Start { exec, failed: None };
    let mut stack = Stack([MaybeUninit::uninit(); 16 * 1024]);
    // SAFETY: CLONE_VFORK suspends the init until the process executed or ended, so that the stack and `start` outlive
    // their use and nothing runs beside it; the stack grows down from its end, which is aligned to 16 bytes.
    let pid = unsafe {
        let top = stack.0.as_mut_ptr_range().end;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        libc::clone(become_program, top.cast(), flags, (&raw mut start).cast())
    };
    let pid = done(Stage::Clone, pid)?;
    // SAFETY: `start` is alive; it is read as the kernel left it after the other process wrote to it.
    match unsafe { ptr::read_volatile(&raw const start.failed) } {
        Some(failed) => Err(failed),
        None => Ok(pid),
    }
}

extern "C" fn become_program(start: *mut c_void) -> c_int {
    // SAFETY: `start_program` passes its `Start`, which it does not touch until this process executed or ended.
    let start = unsafe { &mut *start.cast::<Start<'_>>() };
    // SAFETY: as `init`.
    if let Err(failed) = unsafe { place_and_exec(start.exec) } {
        start.failed = Some(failed);
    }
    127
}

/// Returns only where it failed.
unsafe fn place_and_exec(exec: &Exec) -> Result<(), Failed> {
    // SAFETY: as `init`; the pointers lead into texts that the host holds while it clones, whole in the copy.
    unsafe {
        done(Stage::Place, libc::fchdir(exec.cwd))?;
        for (wanted, source) in (0..).zip(exec.streams) {
            if source != NO_FD {
                done(Stage::Place, libc::dup2(source, wanted))?;
            }
        }
        contain()?;
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, null_mut());
        let (empty, at) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
        libc::syscall(libc::SYS_execveat, exec.image, empty, exec.argv, exec.env, at);
        Err((Stage::Exec, *libc::__errno_location()))
    }
}

/// The one place for what confines a program further: Landlock, seccomp and other namespaces.
///
/// It runs in the program's own process, the last thing before it executes, when no new privileges can be gained.
/// So far the PID namespace, the closed descriptors and the empty environment are all there is.
fn contain() -> Result<(), Failed> {
    Ok(())
}

/// Closes every descriptor but those in `keep`, which is in ascending order.
unsafe fn close_all_but(keep: &[RawFd]) -> Result<(), Failed> {
    let close = |first: u32, last: u32| {
        // SAFETY: nothing else in this copy of the host uses its descriptors any more.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        done(Stage::SetUp, if closed < 0 { -1 } else { 0 })
    };
    let mut next = 0;
    for fd in keep.iter().filter(|fd| **fd != NO_FD) {
        let fd = fd.cast_unsigned();
        if fd > next {
            close(next, fd - 1)?;
        }
        next = fd + 1;
    }
    close(next, u32::MAX)?;
    Ok(())
}

fn done(stage: Stage, result: c_int) -> Result<c_int, Failed> {
    // SAFETY: the address of this thread's errno is always valid.
    if result < 0 { Err((stage, unsafe { *libc::__errno_location() })) } else { Ok(result) }
}
