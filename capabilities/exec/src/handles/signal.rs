//! Signals to a program whose init alone the host knows.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Sends a signal to the program that an init started; nothing else is ever sent one.
///
/// # Errors
///
/// `ESRCH` where the program ended.
pub(crate) fn send(init: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    Ok(pidfd_send_signal(program_of(init)?, signal)?)
}

/// The program is the first child of its init, which adopts others only after it.
fn program_of(init: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    let number_of_init = || -> io::Result<String> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", init.as_raw_fd()))?;
        let number = info.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
        number.filter(|number| *number != "-1").map(str::to_owned).ok_or_else(gone)
    };
    let init = number_of_init()?;
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children"))?;
    let number = children.split(' ').next().and_then(|pid| pid.parse().ok()).ok_or_else(gone)?;
    let program = pidfd_open(Pid::from_raw(number).ok_or_else(gone)?, PidfdFlags::empty())?;
    // The number may have become another process's before it was opened; then its parent is another one, or this init is
    // gone by now.
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat"))?;
    let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
    if parent == Some(init.as_str()) && number_of_init()? == init { Ok(program) } else { Err(gone()) }
}
