//! Approvals that are signed: `llmsh` beside a real host, a real `ssh-keygen` and a real `ssh-agent`.

mod log;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::peer::{Peer, Ran, run, told};
use crate::pty::Pty;

const ASKS: &str = "permit (principal, action, resource) when { context.confirmed };";

/// Keys in a folder of their own, made and used by the real programs.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    #[allow(clippy::disallowed_methods, reason = "ssh-keygen is what approvers sign with")]
    fn keygen(&self, args: &[&str]) {
        let output = Command::new("ssh-keygen").args(args).stdin(Stdio::null()).output();
        let output = output.expect("ssh-keygen is missing: apt-get install openssh-client");
        assert!(output.status.success(), "{args:?}: {output:?}");
    }

    /// Makes a key, and gives its line in a list of signers.
    fn line(&self, name: &str, kind: &str, passphrase: &str) -> String {
        self.keygen(&["-q", "-N", passphrase, "-t", kind, "-f", &self.path(name)]);
        let public = fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        format!("{name}@example.org {public}")
    }

    /// A list of signers.
    fn list(&self, name: &str, lines: &[String]) -> String {
        let path = self.path(name);
        fs::write(&path, lines.concat()).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }
}

/// A host on which every plan asks, and Ann, with each type of key, approves.
fn host(keys: &Keys, lines: &[String]) -> Daemon {
    let list = keys.list("approvers", lines);
    Daemon::start(ASKS, &format!("[confirmation]\napprovers = \"{list}\""))
}

/// Has a plan held that writes a file, and gives its id.
fn held(daemon: &Daemon, name: &str) -> String {
    let path = format!("path={}", daemon.path(&format!("w/{name}")).to_str().unwrap());
    let ran = daemon.llmsh(&["do", "fs.write", &path, "mode=create", "content=hi", "--reason", "keep it"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    answer["error"]["details"]["pending_id"].as_str().unwrap().to_owned()
}

fn llmsh(daemon: &Daemon, args: &[&str], stdin: &str) -> Ran {
    run(daemon.command(args).env("PATH", "/usr/bin:/bin"), stdin)
}

fn refused(ran: &Ran, words: &str) {
    assert!(
        ran.code == 3 && ran.stdout.is_empty() && ran.stderr.contains(words),
        "expected {words:?}: {ran:?}"
    );
}

/// Runs it with its three ends on a terminal of its own, and types what is asked for.
fn at_a_terminal(command: &mut Command, answers: &[(&str, &str)]) -> (i32, String) {
    let mut pty = Pty::open();
    command.stdin(pty.side()).stderr(pty.side()).stdout(pty.side());
    let mut child = command.spawn().unwrap();
    // The command keeps its ends, and the terminal would never end.
    command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
    let terminal = &mut pty.terminal;
    let (mut screen, mut asked, mut answers) = (String::new(), 0, answers.iter());
    let mut next = answers.next();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = terminal.read(&mut chunk) {
        screen += &String::from_utf8_lossy(&chunk[..count]);
        if let Some((question, answer)) = next
            && screen[asked..].contains(question)
        {
            asked = screen.len();
            terminal.write_all(answer.as_bytes()).unwrap();
            next = answers.next();
        }
    }
    (child.wait().unwrap().code().unwrap_or(-1), screen)
}

#[test]
fn each_type_of_key_signs_what_was_shown() {
    let keys = Keys::new();
    let kinds = ["ed25519", "ecdsa", "rsa"];
    let daemon = host(&keys, &kinds.map(|kind| keys.line(kind, kind, "")));
    for kind in kinds {
        let id = held(&daemon, kind);
        let ran = llmsh(&daemon, &["approve", &id, "--yes", "--sign-with", &keys.path(kind)], "");
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1, "the token alone: {ran:?}");
        assert!(ran.stderr.contains("What is signed:\n  | llm-os approval 1\n"), "{ran:?}");
        assert!(ran.stderr.contains(&format!("  | plan: {id}\n")), "{ran:?}");
    }
    let approved = daemon.records().into_iter().filter(|record| record["event"] == "approved");
    let signers: Vec<_> =
        approved.map(|record| record["data"]["signature"]["principals"][0].clone()).collect();
    assert_eq!(signers, ["ed25519@example.org", "ecdsa@example.org", "rsa@example.org"]);
}

#[test]
fn an_approval_without_a_signature_is_told_how_it_is_signed() {
    let keys = Keys::new();
    let daemon = host(&keys, &[keys.line("ann", "ed25519", "")]);
    let id = held(&daemon, "x");
    refused(&llmsh(&daemon, &["approve", &id, "--yes"], ""), &format!("llmsh approve {id} --sign-with KEY"));
    keys.line("eve", "ed25519", "");
    let eve = llmsh(&daemon, &["approve", &id, "--yes", "--sign-with", &keys.path("eve")], "");
    refused(&eve, "is not one of the approvers'");
    let none = llmsh(&daemon, &["approve", &id, "--yes", "--sign-with", &keys.path("nobody")], "");
    refused(&none, "ssh-keygen made no signature");
    let missing = daemon
        .command(&["approve", &id, "--yes", "--sign-with", &keys.path("ann")])
        .env("PATH", "/nowhere")
        .output();
    assert!(String::from_utf8(missing.unwrap().stderr).unwrap().contains("apt-get install openssh-client"));
    assert_eq!(daemon.pending().len(), 1, "it still waits");
}

#[test]
fn a_key_in_an_agent_signs_by_its_public_half() {
    let keys = Keys::new();
    let daemon = host(&keys, &[keys.line("ann", "ed25519", "")]);
    let agent = Agent::start(&keys);
    agent.add(&keys.path("ann"));
    fs::remove_file(keys.path("ann")).unwrap();
    let id = held(&daemon, "x");
    let public = keys.path("ann.pub");
    let args = ["approve", &id, "--yes", "--sign-with", &public];
    refused(&llmsh(&daemon, &args, ""), "ssh-keygen made no signature");
    let ran = run(daemon.command(&args).env("PATH", "/usr/bin:/bin").env("SSH_AUTH_SOCK", &agent.socket), "");
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// A real `ssh-agent` that ends with this value.
struct Agent {
    socket: PathBuf,
    child: std::process::Child,
}

impl Agent {
    #[allow(clippy::disallowed_methods, reason = "the agent is started here")]
    fn start(keys: &Keys) -> Self {
        let socket = keys.0.path().join("agent");
        let mut command = Command::new("ssh-agent");
        command
            .arg("-D")
            .arg("-a")
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("ssh-agent is missing: apt-get install openssh-client");
        // It tells its socket once it listens.
        let mut first = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        Self { socket, child }
    }

    #[allow(clippy::disallowed_methods, reason = "what fills the agent")]
    fn add(&self, key: &str) {
        let added = Command::new("ssh-add").args(["-q", key]).env("SSH_AUTH_SOCK", &self.socket).status();
        assert!(added.unwrap().success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

#[test]
fn a_passphrase_is_asked_for_on_the_terminal_after_the_yes() {
    let keys = Keys::new();
    let daemon = host(&keys, &[keys.line("ann", "ed25519", "correct horse")]);
    let id = held(&daemon, "x");
    let key = keys.path("ann");
    // A terminal of its own that controls it, where ssh-keygen asks.
    let approve = |answers: &[(&str, &str)]| {
        let mut command = daemon.command(&["approve", &id, "--sign-with", &key]);
        command.env("PATH", "/usr/bin:/bin");
        at_a_terminal(&mut in_own_session(&command), answers)
    };
    let (code, screen) = approve(&[("[y/N]", "\n")]);
    assert!(code == 3 && !screen.contains("passphrase"), "{code}: {screen}");
    let (code, screen) = approve(&[("[y/N]", "y\n"), ("passphrase", "wrong\n")]);
    assert!(code == 3 && screen.contains("ssh-keygen made no signature"), "{code}: {screen}");
    let (code, screen) = approve(&[("[y/N]", "y\n"), ("passphrase", "correct horse\n")]);
    assert!(code == 0 && screen.contains("approved: it runs once"), "{code}: {screen}");
    assert!(!screen.contains("correct horse"), "{screen}");
}

/// The same program with a controlling terminal: its stdin.
#[allow(
    clippy::disallowed_methods,
    reason = "setsid(1) makes the terminal of the test the one that ssh-keygen asks on"
)]
fn in_own_session(command: &Command) -> Command {
    let mut own = Command::new("setsid");
    own.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args()).env_clear();
    own.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    own.current_dir(command.get_current_dir().unwrap());
    own
}

#[test]
fn a_key_that_is_elsewhere_signs_what_is_printed() {
    let keys = Keys::new();
    let daemon = host(&keys, &[keys.line("ann", "ed25519", "")]);
    for (name, by) in [("file", keys.path("p.txt.sig")), ("stdin", "-".to_owned())] {
        let id = held(&daemon, name);
        let printed = llmsh(&daemon, &["approve", &id, "--statement"], "");
        assert_eq!(printed.code, 0, "{printed:?}");
        assert!(printed.stdout.starts_with("llm-os approval 1\ndecision: approve\n"), "{printed:?}");
        assert!(printed.stderr.contains("| {\"content\":\"hi\""), "the plan is shown: {printed:?}");
        let shown = llmsh(&daemon, &["approve", &id, "--statement"], "");
        assert_eq!(shown.stdout, printed.stdout, "it decided nothing, and is the same again");
        fs::write(keys.path("p.txt"), &printed.stdout).unwrap();
        let _ = fs::remove_file(keys.path("p.txt.sig"));
        keys.keygen(&["-q", "-Y", "sign", "-f", &keys.path("ann"), "-n", "llm-os", &keys.path("p.txt")]);
        let pasted = fs::read_to_string(keys.path("p.txt.sig")).unwrap().replace('\n', "\r\n");
        let ran = llmsh(&daemon, &["approve", &id, "--signature", &by], &format!("\n{pasted}\r\n$ "));
        assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{ran:?}");
    }
    let id = held(&daemon, "another");
    let old = llmsh(&daemon, &["approve", &id, "--signature", &keys.path("p.txt.sig")], "");
    refused(&old, "signed another text");
    assert_eq!(llmsh(&daemon, &["approve", &id, "--signature", "/nonexistent"], "").code, 2);
    refused(&llmsh(&daemon, &["approve", &id, "--signature", "-"], "no signature"), "not a signature");
}

#[test]
fn a_plan_of_a_file_is_held_and_signed_in_one_step() {
    let keys = Keys::new();
    let daemon = host(&keys, &[keys.line("ann", "ed25519", "")]);
    let plan = json!({"request_id": "r", "version": "1", "mode": "execute", "actions": [
        {"action": "fs.write", "params": {"path": daemon.path("w/x"), "content": "hi", "mode": "create"}, "reason": "keep it"}]});
    let file = keys.path("plan.json");
    fs::write(&file, plan.to_string()).unwrap();
    let ran = llmsh(&daemon, &["approve", "--plan", &file, "--yes", "--sign-with", &keys.path("ann")], "");
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{ran:?}");
}

/// The client makes the statement anew from the plan that it showed, and signs nothing else.
#[test]
fn a_host_that_has_another_text_signed_than_it_shows_gets_no_signature() {
    let keys = Keys::new();
    let daemon = host(&keys, &[keys.line("ann", "ed25519", "")]);
    let id = held(&daemon, "x");
    let shown = llmsh(&daemon, &["approve", &id, "--statement"], "").stdout;
    let held: Value = ask(&daemon, &id);
    assert_eq!(held["signature"]["once"], shown);
    let sha256 = held["sha256"].as_str().unwrap().to_owned();
    let uid = format!("user: {}", held["uid"]);
    let spoilt = [
        ("once", shown.replace(&sha256, &"0".repeat(64))),
        ("once", shown.replace(&id, "p-0000000000000000")),
        ("once", shown.replace(&uid, "user: 4242")),
        ("once", shown.replace("decision: approve", "decision: approve for this session")),
        ("once", format!("{shown}note: and everything else\n")),
        ("once", "rm -rf /\n".to_owned()),
        ("namespace", "git".to_owned()),
    ];
    for (field, text) in spoilt {
        let mut other = held.clone();
        other["signature"][field] = json!(text);
        let peer = Peer::new(move |_, _| told(&other));
        let mut command = peer.command(&["approve", &id, "--yes", "--sign-with", &keys.path("ann")]);
        let ran = run(command.env("PATH", "/usr/bin:/bin"), "");
        assert!(ran.code == 5 && ran.stderr.contains("not signed, and not approved"), "{text}: {ran:?}");
        assert_eq!(peer.lines().len(), 1, "nothing was approved");
        let printed = run(peer.command(&["approve", &id, "--statement"]).env("PATH", "/usr/bin:/bin"), "");
        assert!(printed.code == 5 && printed.stdout.is_empty(), "{printed:?}");
    }
}

/// What the host shows of a held plan.
fn ask(daemon: &Daemon, id: &str) -> Value {
    use std::io::{BufRead, BufReader};
    let mut stream = std::os::unix::net::UnixStream::connect(daemon.path("approval/approval.sock")).unwrap();
    let question = json!({"request_id": "a", "version": "1", "mode": "execute",
        "actions": [{"action": "host.pending", "params": {"pending_id": id}, "reason": "look"}]});
    stream.write_all(format!("{question}\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str::<Value>(&line).unwrap()["results"][0]["output"].clone()
}

#[test]
fn a_host_that_asks_for_no_signature_gets_none() {
    let daemon = Daemon::start(ASKS, "");
    let id = held(&daemon, "x");
    for more in [&["--sign-with", "key", "--yes"][..], &["--statement"], &["--signature", "-"]] {
        let ran = llmsh(&daemon, &[&["approve", &id], more].concat(), "");
        assert!(ran.code == 2 && ran.stderr.contains("asks for no signature"), "{ran:?}");
    }
    daemon.approve(&id);
}
