//! The life of an init: it contains itself with all that its blueprint says, waits for its one program, starts it, and
//! reaps until it ended.
//!
//! It is contained before it knows the program: what a program costs is then little more than starting it. It runs in a copy
//! of a host of many threads, where only async-signal-safe calls (signal-safety(7)) are sound: nothing here allocates,
//! locks or panics.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr::{self, null_mut};

use super::blueprint::Blueprint;
use super::kernel::{self, done};
use super::spec::{Header, TTY};
use super::{Failed, Isolation, NO_FD, Stage, Usage, ended_bytes};
use crate::sandbox::IMAGE;

/// The life of process 1.
///
/// # Safety
///
/// Runs in the copy that [`kernel::fork`] made, with one thread.
pub(super) unsafe fn init(blueprint: &Blueprint, control: RawFd, group: RawFd) -> ! {
    let contained = contain(blueprint, control, group);
    let Some(order) = kernel::receive(control) else {
        // SAFETY: ends this process alone: the host has no use for it any more.
        unsafe { libc::_exit(0) }
    };
    let [spec, report, rest @ ..] = order.fds;
    let told = contained.and_then(|children| {
        // SAFETY: the order came with descriptors of this process's own, in this order.
        unsafe { run(blueprint, children, spec, report, &rest) }
    });
    match told {
        Ok(status) => {
            // SAFETY: a number, and a structure of numbers on this stack for which zero is a value.
            let usage = unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
                Usage::of(&usage)
            };
            kernel::report(report, &ended_bytes(status, usage));
        }
        Err(failed) => kernel::report(report, &failed.bytes()),
    }
    // SAFETY: ends this process, and with it all that is left in its namespace.
    unsafe { libc::_exit(0) }
}

/// Takes on every layer of the containment, in the order in which each still can be; yields a descriptor that tells of
/// children.
fn contain(blueprint: &Blueprint, control: RawFd, group: RawFd) -> Result<RawFd, Failed> {
    // SAFETY: calls with plain numbers, and pointers into the blueprint or this stack.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"llm-os-init".as_ptr());
        done(Stage::SetUp, libc::setsid())?;
        if group != NO_FD {
            let joined = libc::write(group, c"0".as_ptr().cast(), 1);
            done(Stage::Limits, if joined < 0 { -1 } else { 0 })?;
        }
        if let Some(view) = &blueprint.view {
            for (at, op) in view.each.iter().enumerate() {
                kernel::apply(op, view, blueprint.processes.as_deref()).map_err(|failed| failed.at(at))?;
            }
        }
        if blueprint.isolation == Isolation::Subreaper {
            done(Stage::SetUp, libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))?;
        }
        libc::umask(0o022);
        for (resource, limit) in &blueprint.limits {
            done(Stage::Limits, libc::setrlimit(*resource, limit))?;
        }
        kernel::drop_capabilities()?;
        done(Stage::SetUp, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        done(Stage::SetUp, libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
        if let Some(landlock) = &blueprint.landlock {
            kernel::open_rules(landlock, true);
            kernel::restrict(landlock)?;
        }
        kernel::close_all_but(&[0, 1, 2, 3, control])?;
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        let children = done(Stage::SetUp, libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC))?;
        let filter = libc::sock_fprog {
            len: u16::try_from(blueprint.filter.len()).unwrap_or(u16::MAX),
            filter: blueprint.filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
        };
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        let filtered = libc::syscall(libc::SYS_seccomp, mode, 0, &raw const filter);
        done(Stage::Seccomp, if filtered < 0 { -1 } else { 0 })?;
        Ok(children)
    }
}

/// Starts the program and reaps until it ended, or the host is gone.
///
/// # Safety
///
/// `spec` is a file that [`super::spec`] wrote, and `rest` the image, the directory or not, and the streams.
unsafe fn run(
    blueprint: &Blueprint,
    children: RawFd,
    spec: RawFd,
    report: RawFd,
    rest: &[RawFd],
) -> Result<c_int, Failed> {
    let [image, stdin, stdout, stderr, script, ..] = *rest else {
        return Err(Failed::new(Stage::Place, libc::EINVAL));
    };
    // SAFETY: as this function's own; what is passed lives on this stack.
    unsafe {
        done(Stage::Place, libc::dup3(image, IMAGE, libc::O_CLOEXEC))?;
        let spec = Header::map(spec).ok_or(Failed::new(Stage::Place, libc::ENOMEM))?;
        if let Some(view) = &blueprint.view {
            kernel::check_covers(view)?;
        }
        let streams = [stdin, stdout, stderr, script];
        let program = start_program(&Start { spec, streams, failed: None })?;
        let mut keep = [report, children];
        keep.sort_unstable();
        kernel::close_all_but(&keep)?;
        loop {
            let mut status = 0;
            match libc::waitpid(-1, &raw mut status, libc::WNOHANG) {
                pid if pid == program => {
                    end_what_is_left();
                    return Ok(status);
                }
                pid if pid > 0 => continue,
                _ => {}
            }
            // The pipe's other end closes when the host dies or gives the tree up. PR_SET_PDEATHSIG would not do: it
            // follows the thread that cloned, and threads of a pool end early.
            let mut events = [
                libc::pollfd { fd: report, events: 0, revents: 0 },
                libc::pollfd { fd: children, events: libc::POLLIN, revents: 0 },
            ];
            libc::poll(events.as_mut_ptr(), 2, -1);
            let mut info: libc::signalfd_siginfo = std::mem::zeroed();
            if events[1].revents != 0 {
                libc::read(children, (&raw mut info).cast(), size_of::<libc::signalfd_siginfo>());
            }
            if events[0].revents != 0 || info.ssi_signo == libc::SIGTERM.cast_unsigned() {
                end_what_is_left();
                libc::_exit(0);
            }
        }
    }
}

/// Kills and reaps all that came of the program, so that nothing of it is there once its end is told. Signals reach no
/// further than the PID namespace, or, without one, than the Landlock domain (`LANDLOCK_SCOPE_SIGNAL`, without which
/// this isolation is not used).
fn end_what_is_left() {
    // SAFETY: kill and waitpid with plain numbers.
    unsafe {
        while libc::kill(-1, libc::SIGKILL) == 0 && libc::waitpid(-1, null_mut(), 0) > 0 {}
        while libc::waitpid(-1, null_mut(), 0) > 0 {}
    }
}

/// What the process of the program needs; it shares the init's memory until it executes.
struct Start<'a> {
    spec: Header<'a>,
    streams: [RawFd; 4],
    failed: Option<Failed>,
}

unsafe fn start_program(start: &Start<'_>) -> Result<libc::pid_t, Failed> {
    #[repr(align(16))]
    struct Stack([MaybeUninit<u8>; 16 * 1024]);
    let mut start = Start { spec: start.spec, streams: start.streams, failed: None };
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
    // SAFETY: the spec is mapped and whole.
    if let Err(failed) = unsafe { place_and_exec(start) } {
        start.failed = Some(failed);
    }
    127
}

/// Returns only where it failed.
unsafe fn place_and_exec(start: &Start<'_>) -> Result<(), Failed> {
    let Start { spec, streams, .. } = start;
    // SAFETY: the pointers lead into the mapped spec, which lives as long as the init.
    unsafe {
        // The directory is entered by its path, so that it is entered in the view, and must be the one that was judged.
        done(Stage::Place, libc::chdir(spec.directory()))?;
        let mut found: libc::stat = std::mem::zeroed();
        done(Stage::Place, libc::stat(c".".as_ptr(), &raw mut found))?;
        if (found.st_dev, found.st_ino) != spec.directory_identity() {
            return Err(Failed::new(Stage::Place, libc::ESTALE));
        }
        for (wanted, source) in (0..).zip(*streams) {
            if source != NO_FD {
                done(Stage::Place, libc::dup3(source, wanted, 0))?;
            }
        }
        if streams[3] == NO_FD {
            libc::close(3);
        }
        if spec.flags() & TTY != 0 {
            done(Stage::Place, libc::setsid())?;
            done(Stage::Place, libc::ioctl(0, libc::TIOCSCTTY, 0))?;
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, null_mut());
        let (empty, at): (*const c_char, _) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
        libc::syscall(libc::SYS_execveat, IMAGE, empty, spec.argv(), spec.env(), at);
        Err(Failed::new(Stage::Exec, *libc::__errno_location()))
    }
}
