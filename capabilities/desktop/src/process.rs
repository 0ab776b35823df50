//! What the kernel knows of the process behind a window (proc(5)).

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A process, as far as it may be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// The real path of its program.
    pub(crate) executable: Option<PathBuf>,
    /// Its user.
    pub(crate) uid: Option<u32>,
    /// When it began, in clock ticks after boot: with the pid this names one process for ever.
    pub(crate) started: Option<u64>,
    /// Whether it holds the master of a pseudoterminal (pts(4)), which is what makes a terminal emulator.
    pub(crate) terminal: bool,
    /// Whether it, or what it started, is `llmsh`, which shows confirmations and their tokens.
    pub(crate) approves: bool,
}

impl Process {
    /// `None` where the process cannot be inspected.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let executable = fs::read_link(dir.join("exe")).ok()?;
        Some(Self {
            executable: Some(executable),
            uid: dir.metadata().ok().map(|found| found.uid()),
            started: started(&dir),
            terminal: holds_pty_master(&dir)?,
            approves: approves(pid, 0),
        })
    }
}

/// Field 22 of `stat`; the name in field 2 may hold anything, so it is counted from the last parenthesis.
fn started(dir: &Path) -> Option<u64> {
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn holds_pty_master(dir: &Path) -> Option<bool> {
    let open = fs::read_dir(dir.join("fd")).ok()?;
    let targets = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    Some(targets.into_iter().any(|target| target.as_os_str().as_bytes().ends_with(b"/ptmx")))
}

/// Looks through the process and everything below it. What cannot be looked through may be one, unless it is gone.
fn approves(pid: u32, depth: u32) -> bool {
    const DEEPEST: u32 = 16;
    let dir = PathBuf::from(format!("/proc/{pid}"));
    if fs::read_link(dir.join("exe")).is_ok_and(|exe| exe.file_name().is_some_and(|name| name == "llmsh")) {
        return true;
    }
    if depth == DEEPEST {
        return true;
    }
    let threads = match fs::read_dir(dir.join("task")) {
        Ok(threads) => threads,
        Err(error) => return !is_gone(&error),
    };
    threads.flatten().any(|thread| match children(&thread.path().join("children")) {
        Ok(children) => children
            .split_ascii_whitespace()
            .filter_map(|child| child.parse().ok())
            .any(|child| approves(child, depth + 1)),
        Err(error) => !is_gone(&error),
    })
}

/// The kernel skips a child where the one before it in the list ends in the middle of a reading. Such a one is in no
/// later reading, so the first of two equal readings skipped nothing.
fn children(file: &Path) -> io::Result<String> {
    const MOST_READINGS: usize = 64;
    let mut before = fs::read_to_string(file)?;
    for _ in 0..MOST_READINGS {
        let now = fs::read_to_string(file)?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    Err(io::Error::other("the children change all the time"))
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known_and_is_no_terminal() {
        let own = Process::of(std::process::id()).unwrap();
        assert_eq!(own.executable, std::env::current_exe().ok());
        assert!(own.started.is_some() && !own.terminal && !own.approves);
    }

    #[test]
    fn a_child_is_never_missed_while_those_before_it_end() {
        // The shell reaps its children in the order in which they end; the last one in the kernel's list stays.
        let script = "for n in 1 2 3 4 5 6 7 8 9; do for m in 0 1 2 3 4 5 6 7 8 9; do for k in 1 2 3; do \
             sleep 1.$n$m$k & done; done; done; sleep 9 & echo $!; wait";
        #[expect(clippy::disallowed_methods, reason = "tests start real programs, which nothing contains")]
        let mut shell = std::process::Command::new("/bin/sh")
            .args(["-c", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut last = String::new();
        let mut out = io::BufReader::new(shell.stdout.take().unwrap());
        io::BufRead::read_line(&mut out, &mut last).unwrap();
        let (pid, last) = (shell.id(), last.trim());
        let file = PathBuf::from(format!("/proc/{pid}/task/{pid}/children"));
        loop {
            let children = children(&file).unwrap();
            let children: Vec<_> = children.split_ascii_whitespace().collect();
            assert!(children.contains(&last), "missed among {}", children.len());
            if children.len() == 1 {
                break;
            }
        }
        let last = rustix::process::Pid::from_raw(last.parse().unwrap()).unwrap();
        rustix::process::kill_process(last, rustix::process::Signal::KILL).unwrap();
        assert!(shell.wait().is_ok());
    }

    #[test]
    fn a_process_that_is_gone_is_unknown() {
        assert_eq!(Process::of(u32::MAX), None);
    }
}
