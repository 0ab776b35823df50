//! The approvals of a log, verified by the keys that signed them.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use llm_os_core::audit::{Link, PublicKey, Signer, segment_number, written};
use serde_json::{Value, json};

use super::{ASKS, Keys, held, host, llmsh};
use crate::daemon::Daemon;
use crate::peer::Ran;

/// A log with an approval that was signed and used.
fn log(keys: &Keys) -> Daemon {
    let daemon = host(keys, &[keys.line("ann", "ed25519", ""), keys.line("bob", "ecdsa", "")]);
    for (name, key) in [("a", "ann"), ("b", "bob")] {
        let path = format!("path={}", daemon.path(&format!("w/{name}")).to_str().unwrap());
        let mut waiting = daemon.command(&[
            "do",
            "fs.write",
            &path,
            "mode=create",
            "content=hi",
            "--reason",
            "keep",
            "--wait",
        ]);
        let mut waiting = waiting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let id = loop {
            if let Some(first) = daemon.pending().first() {
                break first["pending_id"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < deadline, "nothing waits");
        };
        let ran = llmsh(&daemon, &["approve", &id, "--yes", "--sign-with", &keys.path(key)], "");
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(waiting.wait().unwrap().success());
    }
    daemon
}

fn verify(daemon: &Daemon, dir: &str, more: &[&str]) -> (Ran, Value) {
    let ran = daemon.llmsh(&[&["audit", "verify", dir], more].concat());
    let report = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    (ran, report)
}

#[test]
fn the_approvals_of_a_log_are_verified_by_the_keys_of_a_file() {
    let keys = Keys::new();
    let daemon = log(&keys);
    let dir = daemon.path("state/audit");
    let dir = dir.to_str().unwrap();
    let (ran, report) = verify(&daemon, dir, &[]);
    assert_eq!(report["approvals"], json!({"count": 2, "signed": 2, "verified": false}), "{ran:?}");
    assert!(ran.stderr.contains("give --signers FILE"), "{ran:?}");
    let (ran, report) = verify(&daemon, dir, &["--signers", &keys.path("approvers")]);
    assert_eq!(
        (ran.code, &report["approvals"]),
        (0, &json!({"count": 2, "signed": 2, "verified": true})),
        "{ran:?}"
    );

    let approvals: Vec<_> =
        daemon.records().into_iter().filter(|record| record["event"] == "approved").collect();
    let [ann, bob] = ["ann", "bob"].map(|name| {
        let public = fs::read_to_string(keys.path(&format!("{name}.pub"))).unwrap();
        move |options: &str| format!("{name} {options} {public}")
    });
    let check = |lines: &[String], seq: &Value, words: &str| {
        let list = keys.list("others", lines);
        let (ran, report) = verify(&daemon, dir, &["--signers", &list]);
        assert_eq!((ran.code, &report["problem"], &report["seq"]), (1, &json!("approval"), seq), "{ran:?}");
        assert!(report["message"].as_str().unwrap().contains(words), "expected {words:?}: {report:#}");
        assert!(ran.stderr.contains("the log does not verify"), "{ran:?}");
    };
    check(&[ann("")], &approvals[1]["seq"], "is not one of the approvers'");
    check(&[bob("")], &approvals[0]["seq"], "is not one of the approvers'");
    check(&[ann("valid-before=\"20200101Z\""), bob("")], &approvals[0]["seq"], "was valid until");
    check(&[ann(""), bob("valid-after=\"29990101Z\"")], &approvals[1]["seq"], "is not valid before");
    let wrong =
        daemon.llmsh(&["audit", "verify", dir, "--signers", &keys.list("wrong", &["ann\n".to_owned()])]);
    assert!(wrong.code == 2 && wrong.stderr.contains("line 1"), "{wrong:?}");
}

/// Which approvals nobody proves, page and exit code tell.
#[test]
fn the_page_marks_each_approval_that_no_key_of_a_file_signed() {
    let keys = Keys::new();
    let daemon = log(&keys);
    let (dir, page) = (daemon.path("state/audit"), daemon.path("page.html"));
    let report = |more: &[&str]| {
        let fixed = ["audit", "report", dir.to_str().unwrap(), "-o", page.to_str().unwrap()];
        let ran = daemon.llmsh(&[&fixed, more].concat());
        (ran.code, fs::read_to_string(&page).unwrap())
    };
    let (code, html) = report(&[]);
    assert!(code == 0 && html.contains("approvals: 2, 2 of them with a signature, which was not verified"));
    let (code, html) = report(&["--signers", &keys.path("approvers")]);
    assert!(code == 0 && html.contains("approvals: 2, each signed by a key of the file"));
    assert!(!html.contains("No person is proven"));

    let ann = format!("ann {}", fs::read_to_string(keys.path("ann.pub")).unwrap());
    let list = keys.list("ann-alone", &[ann]);
    let (code, html) = report(&["--signers", &list]);
    assert!(
        code == 1 && html.contains("<div class=\"verdict bad\"><p>no person is proven: record"),
        "{html}"
    );
    // Bob's approval, and what ran on it.
    assert_eq!(html.matches("<p class=break>No person is proven: ").count(), 2, "{html}");
    let (code, html) = report(&["--signers", &list, "--session", "nobody"]);
    assert!(
        code == 1 && html.contains("<p class=break>No person is proven: "),
        "a filter hides no mark: {html}"
    );
}

#[test]
fn an_approval_that_was_not_signed_is_found_in_a_log() {
    let keys = Keys::new();
    let list = keys.list("approvers", &[keys.line("ann", "ed25519", "")]);
    let daemon = Daemon::start(ASKS, "");
    daemon.approve(&held(&daemon, "x"));
    let dir = daemon.path("state/audit");
    let (ran, report) = verify(&daemon, dir.to_str().unwrap(), &[]);
    assert_eq!((ran.code, &report["approvals"]["signed"]), (0, &json!(0)), "{ran:?}");
    let (ran, report) = verify(&daemon, dir.to_str().unwrap(), &["--signers", &list]);
    assert!(ran.code == 1 && report["message"].as_str().unwrap().contains("is not signed"), "{report:#}");
}

/// Whoever has the host's own key can chain and sign anything, but not what an approver signed.
#[test]
fn a_log_that_was_written_anew_with_the_hosts_key_does_not_verify() {
    let keys = Keys::new();
    let daemon = log(&keys);
    let state = daemon.path("state");
    let seed: [u8; 32] = fs::read(state.join("audit.key")).unwrap().try_into().unwrap();
    let host = Signer::from_seed(&seed);
    let public = fs::read_to_string(state.join("audit.pub")).unwrap();
    assert_eq!(PublicKey::parse(&public), Some(host.public()));
    let entries = fs::read_dir(state.join("audit")).unwrap().flatten();
    let segment = entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().and_then(|name| name.to_str()).and_then(segment_number).is_some());
    let original = fs::read(segment.unwrap()).unwrap();
    let lines: Vec<String> =
        String::from_utf8(written(&original).to_vec()).unwrap().lines().map(str::to_owned).collect();
    let check = |edit: &dyn Fn(&mut Vec<String>), words: &str| {
        let mut lines: Vec<_> =
            lines.iter().filter(|line| !line.contains("\"event\":\"checkpoint\"")).cloned().collect();
        edit(&mut lines);
        let mut text = String::new();
        let mut head = Link::START;
        for (index, line) in lines.iter().enumerate() {
            let rest = &line[line.find(',').unwrap()..line.rfind(",\"prev\":").unwrap()];
            let line = format!("{{\"seq\":{}{rest},\"prev\":\"{}\"}}", index + 1, head.as_str());
            head = Link::to(line.as_bytes());
            text += &format!("{line}\n");
        }
        let forged = daemon.path("forged");
        let _ = fs::remove_dir_all(&forged);
        fs::create_dir_all(forged.join("audit")).unwrap();
        fs::write(forged.join("audit/audit-00000001.jsonl"), text).unwrap();
        fs::write(forged.join("audit.pub"), &public).unwrap();
        let dir = forged.join("audit");
        let (ran, _) = verify(&daemon, dir.to_str().unwrap(), &[]);
        assert_eq!(ran.code, 0, "the chain itself holds: {ran:?}");
        let (ran, report) = verify(&daemon, dir.to_str().unwrap(), &["--signers", &keys.path("approvers")]);
        match words {
            "" => assert_eq!(ran.code, 0, "{ran:?}"),
            words => {
                assert!(ran.code == 1 && report["problem"] == "approval", "{ran:?}");
                assert!(
                    report["message"].as_str().unwrap().contains(words),
                    "expected {words:?}: {report:#}"
                );
            }
        }
    };
    let at = |lines: &[String], event: &str, nth: usize| {
        let is = |line: &String| line.contains(&format!(",\"event\":\"{event}\","));
        lines.iter().enumerate().filter(|(_, line)| is(line)).nth(nth).unwrap().0
    };
    check(&|_| {}, "");
    check(&|lines| drop(lines.remove(at(lines, "approved", 0))), "no record before it is that approval");
    check(
        &|lines| {
            let (from, to) = (at(lines, "approved", 0), at(lines, "approved", 1));
            lines[to] = lines[from].clone();
        },
        "was approved before",
    );
    check(
        &|lines| {
            let approved = at(lines, "approved", 0);
            lines[approved] = lines[approved].replacen("\"plan_sha256\":\"", "\"plan_sha256\":\"0", 1);
        },
        "the statement of another plan",
    );
    check(
        &|lines| {
            let approved = at(lines, "approved", 0);
            lines[approved] =
                lines[approved].replacen("decision: approve", "decision: approve for this session", 1);
        },
        "signed another text",
    );
    check(
        &|lines| {
            let intent = at(lines, "intent", 0);
            let approved = lines[intent].find(",\"approved\":{").unwrap();
            let end = approved + lines[intent][approved..].find('}').unwrap() + 1;
            lines[intent].replace_range(approved..end, "");
        },
        "needed the approval of a human",
    );
    check(
        &|lines| {
            let mut again = lines[at(lines, "intent", 0)].clone();
            let run = again.find("\"run\":\"").unwrap() + 7;
            again.replace_range(run..=run, "X");
            lines.push(again);
        },
        "was for one run, and this is another",
    );
    check(
        &|lines| {
            let intent = at(lines, "intent", 1);
            let first = lines[at(lines, "intent", 0)].clone();
            let signer = first.find("\"signer\":\"").unwrap();
            let of_ann = first[signer..signer + 60].to_owned();
            let signer = lines[intent].find("\"signer\":\"").unwrap();
            lines[intent].replace_range(signer..signer + 60, &of_ann);
        },
        "another signer than the approval",
    );
}
