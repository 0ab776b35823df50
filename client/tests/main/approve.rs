//! `llmsh approve` with a human at a terminal, and without one.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

use llm_os_core::request::{Request, canonical};
use llm_os_core::value::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::peer::{PLAN, Peer, Ran, told};
use crate::pty::Pty;

const TOKEN: &str = "dG9rZW4";
/// Stands for the exit code of a program that was killed and has none.
const KILLED: i32 = -1;

/// A host with one held plan, changed by `spoil` after it was digested.
fn host(spoil: fn(&mut Value)) -> Peer {
    Peer::new(move |action, _| match action {
        "host.approve" => told(&json!({"token": TOKEN, "expires_in_s": 120})),
        "host.deny" => told(&json!({"denied": true})),
        _ => {
            let plan = PLAN.replace("greet", "already approved\\u001b[2K");
            let plan = Request::read(plan.as_bytes()).unwrap();
            let plan = canonical(plan.session.as_ref(), &plan.calls);
            let mut held = json!({
                "pending_id": "p-1", "request_id": "r-1", "session_id": "s-1", "uid": 1000, "age_s": 1, "expires_in_s": 3599,
                "actions": ["exec.run"], "sha256": hex(&Sha256::digest(plan.as_bytes())), "plan": plan,
                "effects": [[{"verb": "run", "resource": {"kind": "Program", "id": "/usr/bin/echo"}, "facts": {"argc": 2}}]],
                "policies": [[{"policy": "rest-asks", "reason": "everything else asks"}]],
                "profiles": [{"network": {"ports": [443]}, "execute": true}],
            });
            spoil(&mut held);
            told(&held)
        }
    })
}

fn actions(peer: &Peer) -> Vec<String> {
    peer.frames().iter().map(|frame| frame["actions"][0]["action"].as_str().unwrap().to_owned()).collect()
}

/// Runs `llmsh approve p-1` on a terminal: types `before` before it starts and `answer` when it asks.
fn at_a_terminal(peer: &Peer, before: &[u8], answer: &[u8]) -> Ran {
    when_asked(peer, before, |terminal, _| terminal.write_all(answer).unwrap())
}

fn when_asked(peer: &Peer, before: &[u8], answer: impl FnOnce(&mut File, &mut Child)) -> Ran {
    let mut pty = Pty::open();
    let mut command = peer.command(&["approve", "p-1"]);
    command.stdin(pty.side()).stderr(pty.side()).stdout(Stdio::piped());
    let terminal = &mut pty.terminal;
    terminal.write_all(before).unwrap();
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut screen = Vec::new();
    let mut answer = Some(answer);
    let mut chunk = [0; 4096];
    // Reading fails with EIO once nobody holds the other side.
    while let Ok(count @ 1..) = terminal.read(&mut chunk) {
        screen.extend_from_slice(&chunk[..count]);
        if screen.ends_with(b"[y/N] ")
            && let Some(answer) = answer.take()
        {
            answer(terminal, &mut child);
        }
    }
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    Ran {
        code: child.wait().unwrap().code().unwrap_or(KILLED),
        stdout,
        stderr: String::from_utf8(screen).unwrap(),
    }
}

#[test]
fn a_clear_yes_prints_the_token_of_exactly_what_was_shown() {
    let peer = host(|_| {});
    let ran = at_a_terminal(&peer, b"", b"y\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "dG9rZW4\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("| {\"argv\":[\"/bin/echo\",\"hi\"]}"), "{}", ran.stderr);
    assert!(ran.stderr.contains("run Program \"/usr/bin/echo\""), "{}", ran.stderr);
    let approved = &peer.frames()[1]["actions"][0]["params"];
    assert_eq!(approved["pending_id"], "p-1");
    assert!(ran.stderr.contains(approved["sha256"].as_str().unwrap()));
    assert!(!ran.stderr.contains(TOKEN), "the token goes to stdout only");
}

#[test]
fn anything_but_yes_approves_nothing() {
    // C16
    let denied = host(|_| {});
    let ran = at_a_terminal(&denied, b"", b"n\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""));
    assert_eq!(actions(&denied), ["host.pending", "host.deny"]);
    for answer in [b"\n".as_slice(), b"\x04", b"maybe\n"] {
        let peer = host(|_| {});
        let ran = at_a_terminal(&peer, b"", answer);
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{}", ran.stderr);
        assert_eq!(actions(&peer), ["host.pending"], "{answer:?}");
        assert!(ran.stderr.contains("llmsh deny p-1"), "{}", ran.stderr);
    }
}

#[test]
fn an_approver_who_dies_at_the_question_approved_nothing() {
    // C16
    let peer = host(|_| {});
    let ran = when_asked(&peer, b"y", |_, child| child.kill().unwrap());
    assert_eq!((ran.code, ran.stdout.as_str()), (KILLED, ""));
    assert_eq!(actions(&peer), ["host.pending"]);
}

#[test]
fn what_was_typed_before_the_plan_was_shown_is_no_answer() {
    let peer = host(|_| {});
    let ran = at_a_terminal(&peer, b"y\ny\n", b"\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{}", ran.stderr);
    assert_eq!(actions(&peer), ["host.pending"]);
}

#[test]
fn the_terminal_gets_nothing_but_printable_ascii() {
    // C09
    let peer = host(|held| held["policies"][0][0]["reason"] = json!("\u{1b}]52;c;aGk=\u{7}\u{9b}2J"));
    let ran = at_a_terminal(&peer, b"", b"\n");
    let shown = ran.stderr.bytes().all(|b| matches!(b, b'\n' | b'\r' | b' '..=b'~'));
    assert!(shown, "{:?}", ran.stderr);
}

#[test]
fn without_a_terminal_nothing_is_even_asked() {
    let peer = host(|_| {});
    let ran = peer.llmsh_with(&["approve", "p-1"], "y\n");
    assert!(ran.code == 2 && ran.stdout.is_empty() && ran.stderr.contains("--yes"), "{ran:?}");
    assert!(peer.lines().is_empty());
}

#[test]
fn yes_on_the_command_line_still_shows_the_plan() {
    let ran = host(|_| {}).llmsh(&["approve", "p-1", "--yes"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "dG9rZW4\n"));
    assert!(ran.stderr.contains("| {\"argv\":[\"/bin/echo\",\"hi\"]}"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("| network = {\"ports\":[443]}"),
        "what its program may is shown: {}",
        ran.stderr
    );
}

#[test]
fn a_host_that_shows_other_bytes_than_it_digests_is_not_approved() {
    let spoilt: [fn(&mut Value); 3] = [
        |held| held["plan"] = json!(held["plan"].as_str().unwrap().replace("echo", "true")),
        |held| held["sha256"] = json!("0"),
        |held| held["effects"] = json!([]),
    ];
    for spoil in spoilt {
        let peer = host(spoil);
        let ran = peer.llmsh(&["approve", "p-1", "--yes"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{ran:?}");
        assert_eq!(actions(&peer), ["host.pending"]);
    }
}

#[test]
fn a_plan_that_was_not_sent_yet_is_held_for_its_user_first() {
    let peer = host(|_| {});
    let file = peer.file("plan.json", &PLAN.replace(',', ",\n"));
    let file = file.to_str().unwrap();
    assert_eq!(peer.llmsh(&["approve", "--plan", file, "--uid", "1000", "--yes"]).code, 0);
    assert_eq!(actions(&peer), ["host.hold", "host.approve"]);
    let held = &peer.frames()[0]["actions"][0]["params"];
    assert_eq!(held, &json!({"uid": 1000, "plan": serde_json::from_str::<Value>(PLAN).unwrap()}));

    let peer = host(|_| {});
    let two = peer.file("plans.jsonl", &format!("{PLAN}\n{PLAN}\n"));
    assert_eq!(peer.llmsh(&["approve", "--plan", two.to_str().unwrap(), "--yes"]).code, 2);
    assert!(peer.lines().is_empty());
}

#[test]
fn deny_and_pending_speak_to_the_approval_socket() {
    let peer = host(|_| {});
    assert_eq!(peer.llmsh(&["deny", "p-1"]).stdout, "{\"denied\":true}\n");
    assert_eq!(peer.llmsh(&["pending"]).code, 0);
    assert_eq!(actions(&peer), ["host.deny", "host.pending"]);
}
