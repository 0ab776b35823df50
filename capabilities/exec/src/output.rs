//! What the actions answer.

use llm_os_core::Text;
use schemars::JsonSchema;
use serde::Serialize;

use crate::sandbox::Containment;

/// What the actions answer.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// How a program ended and what it wrote.
    Run(Ran),
    /// How the programs of a pipe ended, and what the last one wrote.
    Pipe(Piped),
    /// The name of a program that goes on.
    Start(Started),
    /// What a program wrote, and how it stands.
    Read(Read),
    /// How much a program was given to read.
    Write(Wrote),
    /// The program that was sent a signal.
    Signal(Signalled),
    /// How a program ended.
    Stop(Stopped),
    /// The programs that go on.
    List(Listed),
}

/// How a program ended and what it wrote. Neither `exit_code` nor `signal` is there where it was killed at its deadline.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ran {
    /// The exit code, where the program exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal, where one ended the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// What it wrote to its standard output.
    pub stdout: Text,
    /// What it wrote to its standard error.
    pub stderr: Text,
    /// What held it while it ran.
    pub contained: Containment,
    /// What varies from run to run.
    pub meta: Meta,
}

/// A program that was started and goes on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Started {
    /// Its name in later actions of the same session.
    pub handle: String,
    /// What holds it.
    pub contained: Containment,
}

/// A part of what a program wrote, and how it stands.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Read {
    /// What it wrote from `after` on; `bytes` counts all that is kept from there, and `truncated` says that there is more.
    pub output: Text,
    /// The `after` of what comes next.
    pub next: u64,
    /// How many bytes it wrote so far.
    pub bytes: u64,
    /// Whether it wrote more than is kept: what came after the beginning that is kept is lost.
    pub full: bool,
    /// Whether it runs, or how it ended.
    pub state: State,
    /// What its terminal shows, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screen: Option<Screen>,
}

/// How a program stands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct State {
    /// Whether it runs.
    pub running: bool,
    /// The exit code, where the program exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal, where one ended the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// Why it was killed with all that it started, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed: Option<Killed>,
}

/// Why a program was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Killed {
    /// Its time was up.
    Deadline,
    /// It was stopped.
    Stopped,
    /// It reached a limit that `[capabilities.exec.sandbox]` sets.
    Limit,
    /// Somebody else killed it.
    Outside,
}

/// What a terminal shows.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Screen {
    /// Its rows from the top, without the spaces at their ends.
    pub rows: Vec<String>,
    /// Its cursor.
    pub cursor: Cursor,
}

/// Where the cursor of a terminal is, counted from 0.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cursor {
    /// From the top.
    pub row: u16,
    /// From the left.
    pub column: u16,
    /// Whether the program hides it.
    pub hidden: bool,
}

/// How much of an input a program was given.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Wrote {
    /// How many bytes it can read now, or has read.
    pub bytes: u64,
}

/// A program that was sent a signal.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Signalled {
    /// Its handle.
    pub handle: String,
}

/// A program that was ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Stopped {
    /// How many bytes it wrote.
    pub bytes: u64,
    /// How it ended: by itself, where it had before.
    pub state: State,
}

/// The programs of a session that go on, or ended and were not stopped.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// Each of them, the oldest first.
    pub handles: Vec<Listing>,
}

/// One program that was started.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listing {
    /// Its name in later actions of the same session.
    pub handle: String,
    /// What was started.
    pub argv: Vec<String>,
    /// Whether it has a terminal.
    pub pty: bool,
    /// How many bytes it wrote so far.
    pub bytes: u64,
    /// Whether it runs, or how it ended.
    pub state: State,
}

/// A signal that ended a program.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Signal {
    /// The number.
    pub number: i32,
    /// The name, such as `SIGKILL`.
    pub name: String,
}

/// Time and memory of a run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Meta {
    /// From the start to the end, in microseconds.
    pub duration_us: u64,
    /// Processor time of the whole process tree in its programs, in microseconds.
    pub user_us: u64,
    /// Processor time of the whole process tree in the kernel, in microseconds.
    pub system_us: u64,
    /// The most memory that one process of the tree held at once. Never less than what the host itself holds, since
    /// a process begins as its copy (getrusage(2)).
    pub max_rss_bytes: u64,
}

/// How the programs of a pipe ended, and what the last one wrote.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Piped {
    /// Each program, in order.
    pub stages: Vec<Staged>,
    /// What the last one wrote to its standard output, where no file was named for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Text>,
    /// The file that was written, where one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_file: Option<Written>,
    /// What varies from run to run.
    pub meta: PipeMeta,
}

/// How one program of a pipe ended. Neither `exit_code` nor `signal` is there where it was killed with the pipe.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Staged {
    /// The exit code, where the program exited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal, where one ended the program: SIGPIPE where the next one read no further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// What it wrote to its standard error.
    pub stderr: Text,
    /// What held it while it ran.
    pub contained: Containment,
    /// What varies from run to run.
    pub meta: Meta,
}

/// A file that holds the output of a pipe.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Written {
    /// Its real path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// The time of a pipe.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PipeMeta {
    /// From the start of the first program to the end of the last, in microseconds.
    pub duration_us: u64,
}

impl Signal {
    pub(crate) fn new(number: i32) -> Self {
        const NAMES: [(i32, &str); 19] = [
            (libc::SIGHUP, "SIGHUP"),
            (libc::SIGINT, "SIGINT"),
            (libc::SIGQUIT, "SIGQUIT"),
            (libc::SIGILL, "SIGILL"),
            (libc::SIGTRAP, "SIGTRAP"),
            (libc::SIGABRT, "SIGABRT"),
            (libc::SIGBUS, "SIGBUS"),
            (libc::SIGFPE, "SIGFPE"),
            (libc::SIGKILL, "SIGKILL"),
            (libc::SIGUSR1, "SIGUSR1"),
            (libc::SIGSEGV, "SIGSEGV"),
            (libc::SIGUSR2, "SIGUSR2"),
            (libc::SIGPIPE, "SIGPIPE"),
            (libc::SIGALRM, "SIGALRM"),
            (libc::SIGTERM, "SIGTERM"),
            (libc::SIGXCPU, "SIGXCPU"),
            (libc::SIGXFSZ, "SIGXFSZ"),
            (libc::SIGVTALRM, "SIGVTALRM"),
            (libc::SIGSYS, "SIGSYS"),
        ];
        let name = NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned());
        Self { number, name: name.unwrap_or_else(|| format!("signal {number}")) }
    }

    /// The limit that this signal tells of (setrlimit(2)).
    pub(crate) fn limit(&self) -> Option<&'static str> {
        match self.number {
            libc::SIGXCPU => Some("the limit of its processor time, cpu_s"),
            libc::SIGXFSZ => Some("the limit of the length of a file, file_bytes"),
            _ => None,
        }
    }
}
