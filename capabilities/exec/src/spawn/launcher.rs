//! The life of a launcher: a copy of the host that builds one view, and then makes an init whenever the host asks for one.
//!
//! It is small and stays so, whatever the host grows to: making a process costs by the memory that it has. An init is
//! the host's own child (`CLONE_PARENT`), so that the host waits for it and kills it.

use std::os::fd::RawFd;

use super::blueprint::Blueprint;
use super::{Failed, Isolation, Stage, init, kernel, report_bytes};

/// Runs until the host closes its end of the socket.
///
/// # Safety
///
/// Runs in the copy that [`kernel::fork`] made, with one thread.
pub(super) unsafe fn launcher(blueprint: &Blueprint, socket: RawFd) -> ! {
    let hello = match prepare(blueprint, socket) {
        Ok(()) => report_bytes(super::READY, 0),
        Err(failed) => failed.bytes(),
    };
    let heard = kernel::send(socket, hello, &[]);
    while heard.is_ok()
        && hello == report_bytes(super::READY, 0)
        && let Some(order) = kernel::receive(socket)
    {
        let [control, group, ..] = order.fds;
        let answer = match make_init(blueprint, control, group) {
            Ok(pidfd) => {
                let sent = kernel::send(socket, report_bytes(super::READY, 0), &[pidfd]);
                // SAFETY: `make_init` yields a descriptor that nothing else owns.
                unsafe { libc::close(pidfd) };
                sent
            }
            Err(failed) => kernel::send(socket, failed.bytes(), &[]),
        };
        // SAFETY: the order came with descriptors of this process's own, or NO_FD.
        unsafe {
            libc::close(control);
            libc::close(group);
        }
        if answer.is_err() {
            break;
        }
    }
    // SAFETY: ends this process alone.
    unsafe { libc::_exit(0) }
}

fn prepare(blueprint: &Blueprint, socket: RawFd) -> Result<(), Failed> {
    kernel::default_signals();
    // SAFETY: prctl and open with plain numbers and texts that live.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"llm-os-launch".as_ptr());
        // A host that is not dumpable may not write the maps of its copy either (proc(5), "Files and directories").
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        for (file, text) in blueprint.maps.iter().flatten() {
            kernel::write_file(Stage::UserMap, file, text.to_bytes())?;
        }
        kernel::close_all_but(&[socket])?;
        // The lowest descriptors are taken, so that what comes by the socket never lies where a program's own will.
        while kernel::done(Stage::SetUp, libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC))?
            < super::HIGHEST
        {}
    }
    if let Some(view) = &blueprint.view {
        kernel::build(view)?;
    }
    if let Some(landlock) = &blueprint.landlock {
        kernel::open_rules(landlock, false);
    }
    // SAFETY: as above. It holds a copy of the host's memory: nobody of the same user may look into it.
    unsafe { kernel::done(Stage::SetUp, libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0)).map(drop) }
}

fn make_init(blueprint: &Blueprint, control: RawFd, group: RawFd) -> Result<RawFd, Failed> {
    let mut flags = libc::CLONE_PARENT;
    if blueprint.isolation != Isolation::Subreaper {
        flags |= libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    }
    if blueprint.view.is_some() {
        flags |= libc::CLONE_NEWNS;
    }
    // SAFETY: the copy goes on in `init`, which keeps to async-signal-safe calls and never returns.
    unsafe {
        match kernel::fork(flags)? {
            Some(pidfd) => Ok(pidfd),
            None => init::init(blueprint, control, group),
        }
    }
}
