//! A real `llm-osd` on a private place, and what must hold of it after every test.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, act, plan, with};
use crate::process::{PATIENCE, children, descriptors, launched, wait_for};
use crate::records;

/// The policy of most tests: look below the roots, change below the write root, run four programs; a human decides
/// about the rest, and `never` is denied to everyone.
const POLICY: &str = r#"
@id("look") permit (principal, action in Action::"observe", resource in Roots::"read");
@id("work") permit (principal, action in Action::"change", resource in Roots::"write");
@id("programs") permit (principal, action in Action::"run", resource)
when {
  resource == Program::"/bin/echo" || resource == Program::"/bin/sleep" ||
  resource == Program::"/bin/true" || resource == Program::"/usr/bin/printenv"
};
@id("ask") permit (
  principal, action in [Action::"observe", Action::"change", Action::"destroy", Action::"run"], resource
) when { context.confirmed };
@id("never") @reason("nobody touches it") forbid (principal, action, resource in Path::"PLACE/w/never");
"#;

/// The folder that a daemon lives in: roots `r` (read) and `w` (write), policy, configuration, sockets, state.
#[derive(Clone)]
pub(crate) struct Place {
    dir: Rc<TempDir>,
    /// Top-level keys of the configuration.
    keys: String,
    /// Tables of the configuration.
    tables: String,
    env: Vec<(String, String)>,
    /// Tokens and wait secrets that were given out: they stand nowhere else.
    secrets: Rc<RefCell<Vec<String>>>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("llm-osd-").tempdir().unwrap();
        // Other users must be able to reach what lies inside, where a test lets them.
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for name in ["r", "w", "w/never"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let place = Self {
            dir: Rc::new(dir),
            keys: String::new(),
            tables: String::new(),
            env: Vec::new(),
            secrets: Rc::default(),
        };
        place.set_policy(POLICY)
    }

    /// Replaces the policy; `PLACE` in it is this folder.
    pub(crate) fn set_policy(self, cedar: &str) -> Self {
        fs::write(self.path("policy.cedar"), cedar.replace("PLACE", self.dir.path().to_str().unwrap()))
            .unwrap();
        self
    }

    /// Adds `key = value` lines.
    pub(crate) fn keys(mut self, lines: &str) -> Self {
        self.keys += &format!("{lines}\n");
        self
    }

    /// Adds tables such as `[limits]`.
    pub(crate) fn tables(mut self, lines: &str) -> Self {
        self.tables += &format!("{lines}\n");
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn plan_socket(&self) -> PathBuf {
        self.path("plan/plan.sock")
    }

    pub(crate) fn approval_socket(&self) -> PathBuf {
        self.path("approval/approval.sock")
    }

    pub(crate) fn records(&self) -> Vec<Value> {
        records::records(&self.state())
    }

    /// Writes the configuration and gives the command that runs the daemon on it.
    pub(crate) fn command(&self) -> Command {
        self.command_of(&[])
    }

    /// The same for a subcommand.
    pub(crate) fn command_of(&self, subcommand: &[&str]) -> Command {
        let place = self.path("");
        let place = place.to_str().unwrap().trim_end_matches('/');
        let config = format!(
            "socket = \"{place}/plan/plan.sock\"\napproval_socket = \"{place}/approval/approval.sock\"\n\
             state_dir = \"{place}/state\"\npolicy = \"{place}/policy.cedar\"\n{}\n\
             [[roots]]\npath = \"{place}/r\"\nmode = \"read\"\n\
             [[roots]]\npath = \"{place}/w\"\nmode = \"write\"\n{}",
            self.keys, self.tables
        );
        fs::write(self.path("llm-osd.toml"), config).unwrap();
        let mut command = bare_command(&self.path("home"));
        command
            .args(subcommand)
            .arg("--config")
            .arg(self.path("llm-osd.toml"))
            .envs(self.env.iter().cloned());
        command
    }

    pub(crate) fn start(self) -> Daemon {
        let command = self.command();
        Daemon::spawn(self, command)
    }

    /// Starts a daemon that must refuse to run, and gives what it says.
    pub(crate) fn start_refused(&self) -> String {
        refusal(self.command())
    }

    fn keep_secret(&self, secret: &str) {
        self.secrets.borrow_mut().push(secret.to_owned());
    }
}

/// The daemon without arguments, in a home of its own.
#[allow(clippy::disallowed_methods, reason = "the daemon is what is tested")]
pub(crate) fn bare_command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-osd"));
    fs::create_dir_all(home).unwrap();
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").current_dir(home);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Runs a daemon that must refuse to start, and gives what it says.
#[track_caller]
pub(crate) fn refusal(mut command: Command) -> String {
    let mut child = command.spawn().unwrap();
    let status = wait_or_kill(&mut child);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(status.is_some_and(|status| !status.success()), "it started: {said}");
    said
}

fn wait_or_kill(child: &mut Child) -> Option<ExitStatus> {
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// A running daemon.
pub(crate) struct Daemon {
    place: Place,
    child: Child,
    said: Arc<Mutex<String>>,
    listening: Option<JoinHandle<()>>,
    /// What was open before the first connection.
    descriptors: Vec<String>,
    /// What it started for itself.
    children: usize,
    ended: bool,
}

impl std::ops::Deref for Daemon {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Daemon {
    /// A daemon with the policy and roots of most tests.
    pub(crate) fn start() -> Self {
        Place::new().start()
    }

    pub(crate) fn spawn(place: Place, mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let said = Arc::new(Mutex::new(String::new()));
        let (ready, is_ready) = mpsc::channel();
        let heard = said.clone();
        let listening = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = if line.contains("ready") { ready.send(()) } else { Ok(()) };
                *heard.lock().unwrap() += &(line + "\n");
            }
        });
        if is_ready.recv_timeout(PATIENCE).is_err() {
            let _ = (child.kill(), child.wait());
            panic!("the daemon did not start: {}", said.lock().unwrap());
        }
        let mut daemon = Self {
            place,
            child,
            said,
            listening: Some(listening),
            descriptors: Vec::new(),
            children: 0,
            ended: false,
        };
        // After an answer everything that is opened once is open.
        let mut approver = daemon.approver();
        let _ = approver.try_send_bytes(format!("{}\n", ping()).as_bytes());
        assert!(approver.line().is_some());
        drop(approver);
        daemon.descriptors = wait_for("the first connection to be closed", || {
            let open = descriptors(daemon.pid());
            let streams = fs::read_to_string("/proc/net/unix").unwrap();
            // A line's sixth field is 03 where a stream is connected; its last is the path, on the host's side.
            let path = daemon.approval_socket().to_string_lossy().into_owned();
            let connected =
                |line: &str| line.ends_with(&path) && line.split_whitespace().nth(5) == Some("03");
            (!streams.lines().any(connected)).then_some(open)
        });
        daemon.children = children(daemon.pid()).len();
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.plan_socket())
    }

    pub(crate) fn approver(&self) -> Client {
        Client::connect(&self.approval_socket())
    }

    /// Sends one frame on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, frame: &Value) -> Value {
        let answer = self.connect().ask(frame);
        if let Some(secret) = answer["meta"]["wait_secret"].as_str() {
            self.place.keep_secret(secret);
        }
        if let Some(secret) = answer["results"][0]["output"]["session_secret"].as_str() {
            self.place.keep_secret(secret);
        }
        answer
    }

    /// One verb on the approval socket; its output, or the whole answer where it is refused.
    #[track_caller]
    pub(crate) fn ask_approver(&self, verb: &str, params: Value) -> Value {
        let mut answer = self.approver().ask(&plan("approver", &[act(verb, params)]));
        let Some(output) = answer.pointer_mut("/results/0/output").map(Value::take) else { return answer };
        if let Some(token) = output["token"].as_str() {
            self.place.keep_secret(token);
        }
        output
    }

    /// Sends a plan that must be held, and gives the id of the held plan and the whole answer.
    #[track_caller]
    pub(crate) fn hold(&self, frame: &Value) -> (String, Value) {
        let answer = self.ask(frame);
        assert_eq!(answer["error"]["code"], "confirmation_required", "{answer:#}");
        assert_eq!(answer["executed"], false);
        (answer["error"]["details"]["pending_id"].as_str().unwrap().to_owned(), answer)
    }

    /// Approves a held plan as it is shown; the token.
    #[track_caller]
    pub(crate) fn approve(&self, pending_id: &str) -> String {
        let shown = self.ask_approver("host.pending", json!({"pending_id": pending_id}));
        let params = json!({"pending_id": pending_id, "sha256": shown["sha256"]});
        let approved = self.ask_approver("host.approve", params);
        approved["token"].as_str().unwrap_or_else(|| panic!("{approved:#}")).to_owned()
    }

    /// Has a plan held and approved, and gives the token.
    #[track_caller]
    pub(crate) fn token_for(&self, frame: &Value) -> String {
        self.approve(&self.hold(frame).0)
    }

    /// The records of one event about one request, once there is any.
    #[track_caller]
    pub(crate) fn recorded(&self, event: &str, request: &str) -> Vec<Value> {
        wait_for(&format!("{event} of {request}"), || {
            let all = self.records();
            let found: Vec<_> = records::of(&all, event, Some(request)).into_iter().cloned().collect();
            (!found.is_empty()).then_some(found)
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Whether no more is open than before the first connection, and no more children are left. The launchers of programs
    /// and the inits that wait for one stay, each with two descriptors.
    #[track_caller]
    pub(crate) fn wait_until_quiet(&self) {
        let mut left = (Vec::new(), Vec::new());
        let quiet = |left: &mut (Vec<_>, Vec<_>)| {
            *left = (descriptors(self.pid()), children(self.pid()));
            let most = self.descriptors.len() + 2 * launched(self.pid());
            (left.0.len() <= most && left.1.len() <= self.children).then_some(())
        };
        let deadline = std::time::Instant::now() + PATIENCE;
        while quiet(&mut left).is_none() {
            assert!(
                std::time::Instant::now() < deadline,
                "left over: {left:#?}, before: {:#?}",
                self.descriptors
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Holds what must be true after every test, stops the daemon in order, and gives its place for another start.
    #[track_caller]
    pub(crate) fn stop(self) -> Place {
        assert_eq!(self.ask(&ping())["results"][0]["output"]["host"], "llm-osd");
        self.wait_until_quiet();
        self.signal(Signal::TERM);
        self.stopped()
    }

    /// The same once it was told to stop.
    #[track_caller]
    pub(crate) fn stopped(self) -> Place {
        let place = self.settled();
        assert!(!place.plan_socket().exists() && !place.approval_socket().exists());
        place
    }

    /// The same where its sockets are not its own.
    #[track_caller]
    pub(crate) fn settled(mut self) -> Place {
        let status = wait_or_kill(&mut self.child);
        self.ended = true;
        self.listening.take().unwrap().join().unwrap();
        let said = self.said();
        assert!(status.is_some_and(|status| status.success()), "{status:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        let place = self.place.clone();
        let verified = records::verify(&place.state());
        assert!(verified.covers_end(), "{verified:?}");
        records::assert_settled(&place.records());
        assert_no_secret(&place, &said);
        assert_no_canary(&place.path(""));
        place
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill9(mut self) -> Place {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.ended = true;
        self.place.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let _ = (self.child.kill(), self.child.wait());
        assert!(std::thread::panicking(), "a test ends its daemon by stop or kill9");
        eprintln!("the daemon said:\n{}", self.said());
    }
}

/// `host.ping`.
pub(crate) fn ping() -> Value {
    with(plan("ping", &[act("host.ping", json!({}))]), json!({}))
}

fn assert_no_secret(place: &Place, said: &str) {
    let log = String::from_utf8(records::bytes(&place.state())).expect("the log is ASCII");
    assert!(log.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "the log is printable");
    for secret in place.secrets.borrow().iter() {
        assert!(!log.contains(secret.as_str()), "the log holds a token or a wait secret");
        assert!(!said.contains(secret.as_str()), "stderr holds a token or a wait secret");
    }
}

fn assert_no_canary(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        assert_ne!(entry.file_name(), "CANARY", "{}", entry.path().display());
        if entry.file_type().unwrap().is_dir() {
            assert_no_canary(&entry.path());
        }
    }
}
