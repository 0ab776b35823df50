//! Who is at the other end of a socket.
//!
//! The uid is `SO_PEERCRED`'s and the process is a pidfd: `SO_PEERPIDFD` from Linux 6.5 on. Before that the pidfd is
//! opened by the pid of `SO_PEERCRED`, which could in theory have been given to another process in between; it can
//! then only lead to a refusal that the first process would not have got, or miss one for a process that connected
//! and died, since uids are decided by `SO_PEERCRED` alone.
//!
//! What `/proc` tells is used to refuse, never to let in, and only while the pidfd says that the process still lives.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use llm_os_core::audit::Who;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::UnixStream;

use super::pidfd::peer_pidfd;

/// The process at the other end.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) who: Who,
    pub(crate) place: Place,
}

/// Where the process lives, as seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the host's own PID namespace.
    Here,
    /// In another one, but not started by this host: an agent in a container.
    Elsewhere,
    /// Started by this host: a program of some plan.
    Child,
}

impl Peer {
    /// Identifies the peer.
    ///
    /// # Errors
    ///
    /// Where the process is gone, or the kernel does not say who it is.
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let pid = credentials.pid().unwrap_or(0);
        let pidfd = peer_pidfd(stream).or_else(|_| open_by_pid(pid))?;
        let place = place(&pidfd, pid)?;
        let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        let exe = exe.map(|path| path.to_string_lossy().into_owned());
        alive(&pidfd)?;
        Ok(Self { who: Who { uid: credentials.uid(), gid: credentials.gid(), pid, exe }, place })
    }
}

fn open_by_pid(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("the peer has no pid here"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// A pidfd is readable once its process ended (pidfd_open(2)).
fn alive(pidfd: &OwnedFd) -> io::Result<()> {
    let mut waiting = [PollFd::new(pidfd, PollFlags::IN)];
    match poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? {
        0 => Ok(()),
        _ => Err(io::Error::other("the peer is gone")),
    }
}

/// Reads the `NSpid` line of the pidfd (proc_pid_fdinfo(5)): one number means the host's own PID namespace.
fn place(pidfd: &OwnedFd, pid: i32) -> io::Result<Place> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pids = info.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let mut pids = pids
        .ok_or_else(|| io::Error::other("this kernel does not tell the peer's PID namespace"))?
        .split_whitespace();
    let here = pids.next().and_then(|pid| pid.parse::<i32>().ok()).unwrap_or(0);
    if here <= 0 {
        // Not a descendant of the host's namespace: it is beside or above it.
        return Ok(Place::Elsewhere);
    }
    match pids.next() {
        None => Ok(Place::Here),
        Some(_) if descends_from_us(pid)? => Ok(Place::Child),
        Some(_) => Ok(Place::Elsewhere),
    }
}

/// Follows the parents up. Programs of a plan keep their namespace's init, a child of this host, as an ancestor for as
/// long as they live.
fn descends_from_us(mut pid: i32) -> io::Result<bool> {
    let us = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    while pid > 1 {
        if pid == us {
            return Ok(true);
        }
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let parent = after_name.split(' ').nth(1).and_then(|field| field.parse().ok());
        pid = parent.ok_or_else(|| io::Error::other("/proc/PID/stat has another shape"))?;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_process_is_here() {
        let (a, _b) = UnixStream::pair().unwrap();
        let peer = Peer::of(&a).unwrap();
        assert_eq!(peer.place, Place::Here);
        assert_eq!(peer.who.pid, i32::try_from(std::process::id()).unwrap());
    }

    /// C06: what the sandbox lets no program do, to connect at all, is refused here as well.
    #[tokio::test]
    #[allow(clippy::disallowed_methods, reason = "a process in another namespace is what is tested")]
    async fn a_process_in_a_namespace_that_this_process_made_is_its_child() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let connect = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)";
        let mut child = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--pid", "--fork", "python3", "-c", connect])
            .arg(&path)
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(Peer::of(&stream).unwrap().place, Place::Child);
        drop(stream);
        child.wait().unwrap();
    }

    #[test]
    fn this_process_descends_from_itself_and_its_parent_does_not() {
        assert!(descends_from_us(std::process::id().try_into().unwrap()).unwrap());
        assert!(!descends_from_us(std::os::unix::process::parent_id().try_into().unwrap()).unwrap());
    }
}
