//! What people get, and what programs get: text on a terminal, and in a pipe the JSON that it always was.

use std::process::Command;

use llm_os_core::request::{Request, canonical};
use llm_os_core::value::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::audit::{Log, intent};
use crate::daemon::Daemon;
use crate::golden;
use crate::peer::{PLAN, Peer, Ran, run, told};
use crate::pty::on_a_terminal;
use crate::schema;

/// Escape sequences, text that runs backwards, what has no width, and lines that look like those of this program.
const HOSTILE: &str = "\u{1b}[2J\u{9b}1A\u{202e}\u{2066}\u{200b}\u{ad}\u{e0041}\r\nno plan waits for a human\np-2  0  fs.read\n\u{7f}\u{85}\u{2028}";

/// The commands that have text, and what a host answers to them, with `text` where it tells what others wrote.
fn answers(text: &str) -> Vec<(Vec<&'static str>, Value)> {
    let halted = json!({"since": "2026-01-01T00:00:00Z", "by": text});
    let action = json!({
        "action": text, "tool_name": text, "doc": text, "params": params(text), "output": {}, "decision": text,
        "effects": [{"verb": text, "kind": text, "facts": [{"name": text}]}], "errors": [text], "unavailable": text,
        "examples": [{"doc": text, "params": {text: text}}],
    });
    let described = json!({
        "host": text, "version": text, "protocol": text, "halted": halted, "policy": {"name": text, "sha256": text},
        "roots": [{"path": text, "mode": text}], "display": {"id": text, "name": text}, "actions": [action],
        "capabilities": [{"name": text, "available": false, "reason": text}],
    });
    let plan = json!({
        "pending_id": text, "request_id": text, "session_id": text, "uid": 7, "age_s": 1, "expires_in_s": 3599, "actions": [text],
    });
    let grant = json!({
        "grant_id": text, "uid": 7, "session_id": text, "approver": 0, "age_s": 1, "expires_in_s": 3599, "used": 2, "permits": [text],
    });
    vec![
        (vec!["ping"], json!({"host": text, "version": text, "protocol": text, "halted": halted})),
        (vec!["describe"], described.clone()),
        (vec!["describe", "fs.read"], described),
        (vec!["pending"], json!({"pending": [plan], "revision": 4})),
        (vec!["pending", "p-1"], held(text)),
        (vec!["grants"], json!({"grants": [grant]})),
        (vec!["revoke", "g-1"], json!({"revoked": true})),
        (vec!["deny", "p-1"], json!({"denied": true})),
        (vec!["halt"], json!({"halted": true, "since": text, "by": text, "cancelled": 2, "running": 0})),
        (vec!["resume"], json!({"halted": false, "resumed": true})),
    ]
}

fn params(text: &str) -> Value {
    json!({"type": "object", "required": [text], "properties": {text: {
        "type": "object", "format": text, "description": text, "default": text,
        "properties": {"in": {"type": text, "description": text}},
    }}})
}

/// A held plan with this text in its words, its params, and what the host says of it.
fn held(text: &str) -> Value {
    let mut plan: Value = serde_json::from_str(PLAN).unwrap();
    plan["actions"][0]["reason"] = json!(format!("why {text}"));
    plan["actions"][0]["params"]["argv"] = json!(["/bin/echo", text]);
    let plan = Request::read(plan.to_string().as_bytes()).unwrap();
    let plan = canonical(plan.session.as_ref(), &plan.calls);
    json!({
        "pending_id": "p-1", "request_id": text, "session_id": "s-1", "uid": 7, "age_s": 1, "expires_in_s": 3599,
        "actions": ["exec.run"], "sha256": hex(&Sha256::digest(plan.as_bytes())), "plan": plan,
        "effects": [[{"verb": "run", "resource": {"kind": "Program", "id": text}, "facts": {text: text}, "asks": text}]],
        "policies": [[{"policy": text, "reason": text}]], "profiles": [{text: text}], "previews": [[{"name": "diff", "missing": text}]],
    })
}

fn host(answer: &Value) -> Peer {
    Peer::always(told(answer))
}

#[track_caller]
fn is_printable(ran: &Ran) {
    let shown = ran.stdout.bytes().chain(ran.stderr.bytes());
    assert!(shown.clone().all(|b| matches!(b, b'\n' | b' '..=b'~')), "{ran:?}");
}

fn read(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

#[test]
fn a_terminal_gets_text_and_a_pipe_the_json_it_always_got() {
    for (args, answer) in answers("x") {
        let peer = host(&answer);
        let piped = peer.llmsh(&args);
        assert_eq!((piped.code, piped.stdout), (0, format!("{answer}\n")), "{args:?}");
        let shown = on_a_terminal(&mut peer.command(&args), 80);
        assert_eq!(shown.code, 0, "{args:?}: {shown:?}");
        assert!(!shown.stdout.is_empty() && !shown.stdout.starts_with('{'), "{args:?}: {shown:?}");
    }
    let log = Log::new();
    for args in [["verify", "audit"], ["show", "audit"], ["tail", "audit"]] {
        let piped = run(&mut log.command(&args), "");
        assert!(piped.code == 0 && piped.stdout.lines().all(|line| line.starts_with("{\"")), "{piped:?}");
        let shown = on_a_terminal(&mut log.command(&args), 80);
        assert!(shown.code == 0 && !shown.stdout.contains('{'), "{shown:?}");
    }
}

#[test]
fn json_on_a_terminal_is_the_json_of_a_pipe() {
    for (args, answer) in answers(HOSTILE) {
        let args = [&args[..], &["--json"]].concat();
        let ran = on_a_terminal(&mut host(&answer).command(&args), 80);
        assert_eq!(read(&ran), answer, "{args:?}");
    }
    let log = Log::new();
    for args in [["show", "audit", "--json"], ["tail", "audit", "--json"], ["verify", "audit", "--json"]] {
        let piped = run(&mut log.command(&args), "");
        assert_eq!(on_a_terminal(&mut log.command(&args), 80).stdout, piped.stdout, "{args:?}");
    }
}

#[test]
fn text_in_a_pipe_is_that_of_a_terminal_of_eighty_columns() {
    let check = |command: &dyn Fn(&[&str]) -> Command, args: &[&str]| {
        let piped = run(&mut command(&[args, &["--text"]].concat()), "");
        assert_eq!(piped.stdout, on_a_terminal(&mut command(args), 80).stdout, "{args:?}");
    };
    // The page of an approver is broken by a terminal alone.
    for (args, answer) in answers("some words").into_iter().filter(|(args, _)| *args != ["pending", "p-1"]) {
        let peer = host(&answer);
        check(&|args| peer.command(args), &args);
    }
    let log = Log::new();
    check(&|args| log.command(args), &["show", "audit"]);
    check(&|args| log.command(args), &["verify", "audit"]);
}

#[test]
fn text_fits_the_terminal_that_it_is_for() {
    let described = schema::described();
    for columns in [60, 100, 140] {
        let peer = schema::host(described.clone());
        for args in [&["describe"][..], &["describe", "exec.pipe"], &["describe", "monitor.capture"]] {
            let ran = on_a_terminal(&mut peer.command(args), columns);
            assert!(ran.stdout.lines().all(|row| row.len() <= columns.into()), "{columns}: {}", ran.stdout);
            assert!(
                ran.stdout.contains("More of an action") != ran.stdout.contains("JSON Schemas"),
                "{}",
                ran.stdout
            );
        }
    }
}

/// C09 to C11, A05.
#[test]
fn nothing_hostile_reaches_a_terminal_and_no_row_of_it_looks_like_this_programs() {
    for (args, answer) in answers(HOSTILE) {
        let peer = host(&answer);
        for columns in [80, 200] {
            let ran = on_a_terminal(&mut peer.command(&args), columns);
            assert_eq!(ran.code, 0, "{ran:?}");
            is_printable(&ran);
            assert!(ran.stdout.lines().all(|row| row.len() <= columns.into()), "{}", ran.stdout);
            let imitates = |row: &str| row == "no plan waits for a human" || row.starts_with("p-2 ");
            assert!(!ran.stdout.lines().any(imitates), "{args:?}: {}", ran.stdout);
        }
    }
    let mut log = Log::new();
    log.append(2, &intent("r-7", HOSTILE));
    log.write(2, format!("{HOSTILE}\n").as_bytes());
    for args in [&["show", "audit"][..], &["tail", "audit"], &["verify", "audit"]] {
        let ran = on_a_terminal(&mut log.command(args), 80);
        is_printable(&ran);
        assert!(!ran.stdout.lines().any(|row| row == "no plan waits for a human"), "{}", ran.stdout);
    }
}

#[test]
fn lists_without_anything_in_them_say_so() {
    let check = |args: &[&str], answer: Value, expected: &str| {
        assert_eq!(on_a_terminal(&mut host(&answer).command(args), 80).stdout, format!("{expected}\n"));
    };
    check(&["pending"], json!({"pending": [], "revision": 1}), "no plan waits for a human");
    check(&["grants"], json!({"grants": []}), "no grant holds");
    let log = Log::new();
    let ran = on_a_terminal(&mut log.command(&["show", "audit", "--request", "none"]), 80);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "no record matches\n"));
}

#[test]
fn what_is_json_for_programs_stays_so_on_a_terminal_and_has_no_text() {
    let peer = host(&json!({}));
    let file = peer.file("plan.json", PLAN);
    let file = file.to_str().unwrap();
    let ran = on_a_terminal(&mut peer.command(&["send", file]), 80);
    assert_eq!((ran.code, ran.stdout), (0, format!("{}\n", told(&json!({})))));
    let sent = peer.lines().len();
    let refused: [&[&str]; 5] = [
        &["send", file],
        &["do", "fs.read", "--reason", "look"],
        &["schema"],
        &["computer", "--dialect", "openai"],
        &["mcp"],
    ];
    for args in refused {
        let ran = peer.llmsh(&[args, &["--text"]].concat());
        assert!(ran.code == 2 && ran.stdout.is_empty() && ran.stderr.contains("--text"), "{ran:?}");
    }
    assert_eq!(peer.lines().len(), sent, "nothing was sent");
}

#[test]
fn one_plan_that_waits_is_shown_as_its_approver_sees_it() {
    let daemon = Daemon::start("permit (principal, action, resource) when { context.confirmed };", "");
    let path = format!("path={}", daemon.path("w/note.txt").to_str().unwrap());
    let write = ["do", "fs.write", &path, "mode=create", "content=hi", "--reason", "keep it"];
    assert_eq!(daemon.llmsh(&write).code, 4);
    let id = daemon.waiting();
    let listed = read(&daemon.llmsh(&["pending", &id]));
    assert_eq!((&listed["pending_id"], listed["plan"].is_string()), (&json!(id), true), "{listed}");
    let shown = daemon.llmsh(&["pending", &id, "--text"]);
    assert!(shown.code == 0 && shown.stdout.contains("    | +hi\n"), "{shown:?}");
    let approved = daemon.llmsh(&["approve", &id, "--yes"]).stderr;
    // All but the first row, which tells how long it waits.
    let (_, page) = shown.stdout.split_once('\n').unwrap();
    assert!(approved.contains(page), "{approved}\n{page}");
    for form in ["--json", "--text"] {
        let unknown = daemon.llmsh(&["pending", "p-0", form]);
        let refused = daemon.llmsh(&["approve", "p-0", "--yes"]);
        assert_eq!(
            (unknown.code, unknown.stderr, unknown.stdout.as_str()),
            (refused.code, refused.stderr, "")
        );
    }
}

#[test]
fn a_plan_that_is_not_what_is_digested_is_not_shown_to_people() {
    let mut spoilt = held("x");
    spoilt["sha256"] = json!("0");
    let ran = host(&spoilt).llmsh(&["pending", "p-1", "--text"]);
    assert!(
        ran.code == 5 && ran.stdout.is_empty() && ran.stderr.starts_with("llmsh: not shown: "),
        "{ran:?}"
    );
}

#[test]
fn golden_texts_of_a_host() {
    let mut described = schema::described();
    let some = ["exec.run", "fs.move", "fs.read", "monitor.capture", "mouse.click"];
    described["actions"]
        .as_array_mut()
        .unwrap()
        .retain(|action| some.iter().any(|some| action["action"] == *some));
    described["host"] = json!("llm-osd");
    described["protocol"] = json!("1");
    described["policy"] = json!({"name": "/etc/llm-osd/policy.cedar", "sha256": "5".repeat(64)});
    described["roots"] =
        json!([{"path": "/srv/app", "mode": "write"}, {"path": "/usr/share", "mode": "read"}]);
    described["capabilities"] =
        json!([{"name": "mouse", "available": false, "reason": "the host drives no display"}]);
    let peer = schema::host(described);
    for (name, args) in [
        ("describe", &["describe"][..]),
        ("describe-fs.read", &["describe", "fs.read"]),
        ("describe-monitor.capture", &["describe", "monitor.capture"]),
    ] {
        check(name, peer.llmsh(&[args, &["--text"]].concat()));
    }
    let halted = json!({"host": "llm-osd", "version": "0.1.0", "protocol": "1", "halted": {"since": "2026-01-01T00:00:00Z", "by": "user 0"}});
    check("ping-halted", host(&halted).llmsh(&["ping", "--text"]));
}

#[test]
fn golden_texts_of_what_waits_and_what_is_granted() {
    let plan = |id: &str, actions: Value, request: &str, session: Value| json!({"pending_id": id, "request_id": request, "session_id": session, "uid": 1000, "age_s": 62, "expires_in_s": 3538, "actions": actions});
    let pending = json!({"revision": 2, "pending": [
        plan("p-5f1c7be03a9d2244", json!(["fs.write"]), "r-1", json!("s-1")),
        plan("p-33ceaecee43c7413", json!(["exec.run", "fs.remove", "fs.remove"]), "llmsh-13933-661651e9cb5b5", Value::Null),
    ]});
    check("pending", host(&pending).llmsh(&["pending", "--text"]));
    let grants = json!({"grants": [{
        "grant_id": "g-5f1c7be03a9d2244", "uid": 1000, "session_id": "s-1", "approver": 0, "age_s": 62, "expires_in_s": 3538, "used": 3,
        "permits": ["again exactly: fs.write {\"content\":\"hi\",\"mode\":\"replace\",\"path\":\"/srv/app/note.txt\"}"],
    }]});
    check("grants", host(&grants).llmsh(&["grants", "--text"]));
}

#[test]
fn golden_texts_of_a_log() {
    let mut log = Log::new();
    check("verify", run(&mut log.command(&["verify", "audit", "--text"]), ""));
    log.append(2, &intent("r-7", "look at what others wrote\nand go on"));
    check("show", run(&mut log.command(&["show", "audit", "--limit", "3", "--text"]), ""));
    log.edit(1, |text| text.replacen("why\":\"why", "why\":\"wry", 1));
    check("verify-altered", run(&mut log.command(&["verify", "audit", "--text"]), ""));
}

#[track_caller]
fn check(name: &str, ran: Ran) {
    assert_eq!(ran.stderr, "", "{name}");
    golden::check(&format!("text/{name}.txt"), &ran.stdout);
}
