//! The screen of an approver on another machine, through a real `sshd`: `ssh -t box llmsh approve`.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::decisions::{Caller, almost_approved, events};
use super::*;
use crate::ssh::Server;

/// How long a program may take to end.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// The screen of an approver who logs in at the host's machine.
fn log_in(server: &Server, daemon: &Daemon) -> Tmux {
    let command = server.llmsh(daemon, true, &["approve"]);
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let variables = [("TERM", "screen-256color"), ("PATH", "/usr/bin:/bin")];
    Tmux::start((100, 30), &daemon.path("home"), &variables, &words)
}

/// The screens of this host's approvers, wherever they were started from.
fn screens(daemon: &Daemon) -> Vec<Pid> {
    let program = fs::canonicalize(env!("CARGO_BIN_EXE_llmsh")).unwrap();
    let socket = daemon.path("approval/approval.sock");
    let is_one = |process: &Path| {
        let words = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
        let mut words = words.split('\0');
        fs::read_link(process.join("exe")).is_ok_and(|exe| exe == program)
            && words.any(|word| Path::new(word) == socket)
            && words.any(|word| word == "approve")
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let pid = |process: &Path| process.file_name()?.to_str()?.parse().ok().and_then(Pid::from_raw);
    processes.filter(|process| is_one(process)).filter_map(|process| pid(&process)).collect()
}

#[track_caller]
fn wait_for_its_end(process: &OwnedFd) {
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    assert_eq!(poll(&mut ended, Some(&PATIENCE)), Ok(1), "llmsh approve runs on without its terminal");
}

#[test]
fn what_is_approved_on_the_screen_over_ssh_runs() {
    let (server, daemon) = (Server::start(), host());
    let tmux = log_in(&server, &daemon);
    tmux.until_it_says("nothing waits");
    let path = daemon.path("w/note.txt");
    let caller = Caller::writes(&daemon, &path);
    read_to_the_end(&tmux);
    ask(&tmux, "a");
    answer(&tmux, "yes");
    tmux.until_it_says("was approved here: it runs once, within 120 s");
    assert_eq!((caller.code(), fs::read_to_string(&path).unwrap().as_str()), (0, "hi"));
    assert_eq!(events(&daemon), ["approved"]);
    tmux.press(&["q"]);
    let left = tmux.until_it_says("icanon");
    assert!(left.contains("exit=0") && !left.contains("-icanon") && left.contains(" echo "), "{left}");
}

/// C16: with the whole word typed, and only Enter missing.
#[test]
fn a_connection_or_terminal_that_is_lost_at_the_question_approves_nothing_and_ends_the_screen() {
    let ways: [fn(&Tmux); 2] =
        [|tmux| kill_process(Pid::from_raw(tmux.pid()).unwrap(), Signal::KILL).unwrap(), |tmux| tmux.close()];
    let server = Server::start();
    for lose in ways {
        let daemon = host();
        let path = daemon.path("w/note.txt");
        let tmux = almost_approved(&daemon, &path, || log_in(&server, &daemon));
        let [screen] = screens(&daemon)[..] else { panic!("{:?}", screens(&daemon)) };
        let screen = pidfd_open(screen, PidfdFlags::empty()).unwrap();
        lose(&tmux);
        wait_for_its_end(&screen);
        assert_eq!(screens(&daemon), []);
        assert_eq!((daemon.pending().len(), events(&daemon), path.exists()), (1, Vec::new(), false));
    }
}
