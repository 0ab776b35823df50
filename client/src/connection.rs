//! The sockets: where they are, and one exchange over them.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::answer::Answer;
use crate::exit::Failure;
use crate::frames::one_line;
use crate::granted::Granted;
use crate::output;

/// The longest answer that is read; a host's default limit is 32 MiB.
pub(crate) const MAX_ANSWER: u64 = 1 << 30;

/// The sockets that the command line names.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// `--socket`.
    pub(crate) plan: Option<PathBuf>,
    /// `--approval-socket`.
    pub(crate) approval: Option<PathBuf>,
}

impl Sockets {
    /// Where plans go.
    pub(crate) fn plan(&self) -> Result<Host, Failure> {
        let socket = find(self.plan.as_deref(), "LLM_OSD_SOCKET", "plan/plan.sock", variable);
        let option = "--socket or LLM_OSD_SOCKET";
        socket.map(|socket| Host::new(socket, option)).ok_or_else(|| nowhere(option))
    }

    /// Where approvers decide.
    pub(crate) fn approval(&self) -> Result<Host, Failure> {
        let place = "approval/approval.sock";
        let socket = find(self.approval.as_deref(), "LLM_OSD_APPROVAL_SOCKET", place, variable);
        let option = "--approval-socket or LLM_OSD_APPROVAL_SOCKET";
        socket.map(|socket| Host::new(socket, option)).ok_or_else(|| nowhere(option))
    }

    /// The approval socket, if it is named and not only found.
    pub(crate) fn named_approval(&self) -> Option<PathBuf> {
        let stated =
            || variable("LLM_OSD_APPROVAL_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.approval.clone().or_else(stated)
    }

    /// Asks what both sockets take. The approval socket comes first, since no flood of plans fills it; where only one of the
    /// two is named, the other one may be another host's, and is left alone.
    pub(crate) fn ask_either<T>(&self, ask: impl Fn(Host) -> Result<T, Failure>) -> Result<T, Failure> {
        let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
        let plan = self.plan.is_some() || is_set("LLM_OSD_SOCKET");
        let approval = self.approval.is_some() || is_set("LLM_OSD_APPROVAL_SOCKET");
        match (approval, plan) {
            (true, false) => self.approval().and_then(ask),
            (false, true) => self.plan().and_then(ask),
            (true, true) | (false, false) => {
                self.approval().and_then(&ask).or_else(|_| self.plan().and_then(&ask))
            }
        }
    }
}

/// A variable of the environment; a home directory is known without one.
fn variable(name: &str) -> Option<OsString> {
    if name == "HOME" { std::env::home_dir().map(PathBuf::into_os_string) } else { std::env::var_os(name) }
}

fn nowhere(option: &str) -> Failure {
    Failure::Usage(format!(
        "neither XDG_RUNTIME_DIR, XDG_STATE_HOME nor HOME is set; name the socket by {option}"
    ))
}

/// The option, else the variable, else the place that `PROTOCOL.md` states. XDG asks to ignore relative directories.
fn find(
    option: Option<&Path>,
    variable: &str,
    place: &str,
    env: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    let named = option.map(Path::to_path_buf);
    let stated = || env(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let absolute = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let runtime = || absolute("XDG_RUNTIME_DIR").map(|dir| dir.join("llm-osd"));
    let state = || {
        let home = || absolute("HOME").map(|home| home.join(".local/state"));
        absolute("XDG_STATE_HOME").or_else(home).map(|state| state.join("llm-osd/run"))
    };
    named.or_else(stated).or_else(|| runtime().or_else(state).map(|base| base.join(place)))
}

/// A host, by its socket.
#[derive(Debug)]
pub(crate) struct Host {
    socket: PathBuf,
    option: &'static str,
    /// What the host holds for a connection, such as a key that is down, lasts as long as this.
    connection: RefCell<Option<UnixStream>>,
    /// Whether what runs is cancelled once nobody reads stdout.
    ends_with_stdout: bool,
    /// What this host granted the sessions of this process.
    pub(crate) granted: Granted,
}

impl Host {
    fn new(socket: PathBuf, option: &'static str) -> Self {
        let (connection, granted) = (RefCell::default(), Granted::default());
        Self { socket, option, connection, ends_with_stdout: false, granted }
    }

    /// The same host, on a connection of its own.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.socket.clone(), self.option)
    }

    /// From now on, whoever reads stdout and goes away while an answer is awaited ends the connection, and with it what
    /// runs.
    pub(crate) fn ends_with_stdout(self) -> Self {
        Self { ends_with_stdout: true, ..self }
    }

    /// Where it is looked for, and the option that names another place.
    pub(crate) fn place(&self) -> (&Path, &'static str) {
        (&self.socket, self.option)
    }

    /// Sends one frame and returns the answer's line, without its LF.
    ///
    /// All frames share a connection. One that the host closed between two plans is noticed before anything is sent; a
    /// plan whose connection breaks later is never sent again, since nobody knows whether it ran.
    pub(crate) fn exchange(&self, frame: &[u8]) -> Result<String, Failure> {
        let no_host = |source| Failure::NoHost { socket: self.socket.clone(), option: self.option, source };
        let kept = self.connection.take().filter(is_open);
        let mut stream = kept.map_or_else(|| UnixStream::connect(&self.socket).map_err(no_host), Ok)?;
        // A frame beyond the limit is answered before it is read to its end: the answer counts, not the broken pipe.
        let written = stream.write_all(frame).and_then(|()| stream.write_all(b"\n"));
        if self.ends_with_stdout {
            output::until_readable(stream.as_fd())?;
        }
        let mut line = Vec::new();
        let read = BufReader::new(&stream).take(MAX_ANSWER).read_until(b'\n', &mut line);
        if line.pop() != Some(b'\n') {
            let why = written
                .and(read.map(drop))
                .err()
                .map_or("the connection was closed".to_owned(), |e| e.to_string());
            return Err(self.no_answer(&why));
        }
        self.connection.replace(Some(stream));
        String::from_utf8(line).map_err(|_| self.no_answer("what came is not UTF-8"))
    }

    /// Asks a question of the protocol, alone in its frame, and returns the output of its one result.
    pub(crate) fn ask(
        &self,
        verb: &str,
        params: &impl Serialize,
        session: Option<&str>,
    ) -> Result<Box<RawValue>, Failure> {
        let answer = self.read(&self.exchange(&question(verb, params, session))?)?;
        match (answer.failed(), answer.results.into_iter().next().and_then(|result| result.output)) {
            (Some(error), _) => Err(Failure::Refused { code: error.code, message: error.message }),
            (None, Some(output)) => Ok(output),
            (None, None) => Err(self.no_answer("its answer has no output")),
        }
    }

    /// Reads an answer's line.
    pub(crate) fn read(&self, line: &str) -> Result<Answer, Failure> {
        serde_json::from_str(line)
            .map_err(|e| self.no_answer(&format!("its answer is not one of protocol 1 ({e})")))
    }

    fn no_answer(&self, why: &str) -> Failure {
        no_answer(&self.socket, why)
    }
}

/// The failure of an exchange that began.
pub(crate) fn no_answer(socket: &Path, why: &str) -> Failure {
    let socket = socket.display();
    Failure::NoAnswer(format!(
        "no answer from {socket}: {why}; what ran, if anything, tells: llmsh audit show"
    ))
}

/// Whether the host has neither closed a connection nor said anything unasked on it.
pub(crate) fn is_open(stream: &impl AsFd) -> bool {
    let mut waiting = [PollFd::new(stream, PollFlags::IN)];
    matches!(poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

/// The frame that asks one verb of the protocol, without its LF.
pub(crate) fn question(verb: &str, params: &impl Serialize, session: Option<&str>) -> Vec<u8> {
    let question = Question {
        request_id: &format!("llmsh-{}", std::process::id()),
        session_id: session,
        version: llm_os_core::VERSION,
        mode: "execute",
        actions: [QuestionAction { action: verb, params, reason: "asked by llmsh" }],
    };
    one_line(serde_json::to_vec(&question).expect("a question holds no map with other keys than strings"))
}

/// A request of one verb of the protocol.
#[derive(Serialize)]
struct Question<'a, P> {
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    version: &'a str,
    mode: &'a str,
    actions: [QuestionAction<'a, P>; 1],
}

#[derive(Serialize)]
struct QuestionAction<'a, P> {
    action: &'a str,
    params: P,
    reason: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(option: Option<&str>, env: &[(&str, &str)], expected: Option<&str>) {
        let get = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value));
        let found = find(option.map(Path::new), "LLM_OSD_SOCKET", "plan/plan.sock", get);
        assert_eq!(found.as_deref(), expected.map(Path::new), "{option:?} {env:?}");
    }

    #[test]
    fn the_socket_is_named_by_option_then_variable_then_place() {
        let run = ("XDG_RUNTIME_DIR", "/run/user/7");
        let home = ("HOME", "/home/ann");
        check(Some("/a"), &[("LLM_OSD_SOCKET", "/b"), run], Some("/a"));
        check(None, &[("LLM_OSD_SOCKET", "/b"), run], Some("/b"));
        check(None, &[("LLM_OSD_SOCKET", ""), run], Some("/run/user/7/llm-osd/plan/plan.sock"));
        check(None, &[("XDG_STATE_HOME", "/s"), home], Some("/s/llm-osd/run/plan/plan.sock"));
        check(None, &[home], Some("/home/ann/.local/state/llm-osd/run/plan/plan.sock"));
    }

    #[test]
    fn a_relative_directory_in_the_environment_is_ignored() {
        check(
            None,
            &[("XDG_RUNTIME_DIR", "run"), ("XDG_STATE_HOME", "s"), ("HOME", "/h")],
            Some("/h/.local/state/llm-osd/run/plan/plan.sock"),
        );
        check(None, &[("HOME", "h")], None);
    }
}
