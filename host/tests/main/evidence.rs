//! Evidence beside the log, and previews for approvers: what is kept, who gets it, and what happens where it cannot be.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{act, asking, code, confirmed, plan, read, run, with, write};
use crate::daemon::{Daemon, Place};
use crate::desktop::EVERYTHING;
use crate::display::own;
use crate::process::wait_for;
use crate::records::of;

fn keeping() -> Place {
    Place::new().tables("[audit]\nevidence = true")
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn at(place: &Place, sha256: &str) -> PathBuf {
    place.state().join("evidence").join(&sha256[..2]).join(sha256)
}

/// Everything that is kept, by name.
fn kept(place: &Place) -> Vec<PathBuf> {
    let below = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<_> =
        below(&place.state().join("evidence")).flat_map(|inner| below(&inner).collect::<Vec<_>>()).collect();
    all.sort();
    all
}

/// The evidence of that name in a record, which is kept as it says.
#[track_caller]
fn evidence(place: &Place, record: &Value, name: &str) -> Vec<u8> {
    let named: Vec<_> =
        record["evidence"].as_array().into_iter().flatten().filter(|one| one["name"] == name).collect();
    assert_eq!(named.len(), 1, "{name}: {record:#}");
    let bytes = fs::read(at(place, named[0]["sha256"].as_str().unwrap())).unwrap();
    assert_eq!(
        (sha256(&bytes), json!(bytes.len())),
        (named[0]["sha256"].as_str().unwrap().to_owned(), named[0]["bytes"].clone())
    );
    bytes
}

fn outcome(daemon: &Daemon, request: &str) -> Value {
    daemon.recorded("outcome", request).pop().unwrap()
}

fn previews(daemon: &Daemon, pending_id: &str) -> Value {
    daemon.ask_approver("host.pending", json!({"pending_id": pending_id}))["previews"].take()
}

/// Applies a unified diff by its line numbers.
fn patched(old: &str, diff: &str) -> String {
    let (old_lines, mut out, mut at) = (old.split_inclusive('\n').collect::<Vec<_>>(), String::new(), 0);
    let mut last_sign = " ";
    for line in diff.split_inclusive('\n').skip(2) {
        if line.starts_with('\\') {
            if last_sign != "-" {
                out.pop();
            }
        } else if let Some(header) = line.strip_prefix("@@ -") {
            let range = header.split(' ').next().unwrap();
            let (start, len) = range.split_once(',').unwrap_or((range, "1"));
            let start: usize = start.parse().unwrap();
            let start = if len == "0" { start } else { start - 1 };
            old_lines[at..start].iter().for_each(|line| out.push_str(line));
            at = start;
        } else {
            let (sign, text) = line.split_at(1);
            last_sign = sign;
            at += usize::from(sign != "+");
            out.push_str(if sign == "-" { "" } else { text });
        }
    }
    old_lines[at..].iter().for_each(|line| out.push_str(line));
    out
}

#[test]
fn by_default_nothing_is_kept_and_approvers_are_shown_diffs_all_the_same() {
    let daemon = Daemon::start();
    let file = daemon.path("w/f");
    assert_eq!(code(&daemon.ask(&plan("write", &[write(&file, "new\n")]))), "");
    let (held, _) = daemon.hold(&plan("held", &[asking(run(&["/bin/true"]))]));
    assert_eq!(previews(&daemon, &held), json!([[]]));
    let replace = act("fs.write", json!({"path": file, "content": "newer\n", "mode": "replace"}));
    let (held, _) = daemon.hold(&plan("held", &[asking(replace)]));
    let shown = previews(&daemon, &held);
    assert_eq!(
        shown[0][0]["text"]["text"],
        format!("--- {0}\n+++ {0}\n@@ -1 +1 @@\n-new\n+newer\n", file.display())
    );
    let refused = daemon.ask_approver("host.evidence", json!({"sha256": "0".repeat(64)}));
    assert_eq!(code(&refused), "unavailable", "{refused:#}");
    let place = daemon.stop();
    assert!(!place.state().join("evidence").exists());
    assert!(place.records().iter().all(|record| record.get("evidence").is_none()));
}

#[test]
fn what_an_action_answers_is_kept_whole_and_an_approver_gets_it() {
    let daemon = keeping().start();
    let answer = daemon.ask(&plan("echo", &[run(&["/bin/echo", "said"]), read(&daemon.path("w/absent"))]));
    assert_eq!(code(&answer), "not_found", "{answer:#}");
    let outcomes = daemon.recorded("outcome", "echo");
    let bytes = evidence(&daemon, &outcomes[0], "output");
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), answer["results"][0]["output"]);
    assert_eq!(outcomes[0]["evidence"][0]["media_type"], "application/json");
    assert_eq!(outcomes[0]["outcome"]["output_bytes"], bytes.len());
    assert_eq!(outcomes[1].get("evidence"), None, "nothing came out of it");
    let got = daemon.ask_approver("host.evidence", json!({"sha256": sha256(&bytes)}));
    assert_eq!(
        (&got["media_type"], &got["bytes"]),
        (&json!("application/json"), &json!(bytes.len())),
        "{got:#}"
    );
    assert_eq!(got["sha256"], sha256(&bytes));
    let on_plan_socket = daemon.ask(&plan("x", &[act("host.evidence", json!({"sha256": sha256(&bytes)}))]));
    assert_eq!(code(&on_plan_socket), "unknown_action", "only who approves gets it");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let file = at(&daemon, &sha256(&bytes));
    let folder = file.parent().unwrap();
    assert_eq!([mode(&file), mode(folder), mode(folder.parent().unwrap())], [0o600, 0o700, 0o700]);
    daemon.stop();
}

/// Each change is shown before as it is recorded after, and the diff applied to what was there gives what is there.
#[test]
fn what_the_approver_is_shown_is_what_then_happens_to_each_file() {
    let daemon = keeping().start();
    let (file, other) = (daemon.path("w/f"), daemon.path("w/other"));
    let (old, from) = ("one\ntwo\nthree", "two\nfour\n");
    let cases = [
        (
            "fs.write",
            json!({"path": file, "content": "two\r\nthree", "mode": "replace"}),
            Some("two\r\nthree"),
        ),
        (
            "fs.write",
            json!({"path": file, "content": "\nmore\n", "mode": "append"}),
            Some("one\ntwo\nthree\nmore\n"),
        ),
        ("fs.edit", json!({"path": file, "old": "two\n", "new": ""}), Some("one\nthree")),
        ("fs.copy", json!({"from": other, "to": file, "replace": true}), Some(from)),
        ("fs.move", json!({"from": other, "to": file, "replace": true}), Some(from)),
        ("fs.remove", json!({"path": file}), None),
    ];
    for (number, (action, params, new)) in cases.into_iter().enumerate() {
        fs::write(&file, old).unwrap();
        fs::write(&other, from).unwrap();
        let id = format!("change-{number}");
        let frame = plan(&id, &[asking(act(action, params))]);
        let (pending_id, _) = daemon.hold(&frame);
        let shown = previews(&daemon, &pending_id);
        assert_eq!(
            (&shown[0][0]["name"], &shown[0][0]["media_type"]),
            (&json!("diff"), &json!("text/x-diff"))
        );
        let diff = shown[0][0]["text"]["text"].as_str().unwrap_or_else(|| panic!("{action}: {shown:#}"));
        assert_eq!(patched(old, diff), new.unwrap_or_default(), "{action}: {diff}");
        let answer = daemon.ask(&confirmed(&frame, &daemon.approve(&pending_id)));
        assert_eq!(code(&answer), "", "{answer:#}");
        assert_eq!(fs::read_to_string(&file).ok().as_deref(), new, "{action}");
        assert_eq!(evidence(&daemon, &outcome(&daemon, &id), "diff"), diff.as_bytes(), "{action}");
        assert_eq!(evidence(&daemon, &daemon.recorded("held", &id)[0], "diff"), diff.as_bytes(), "{action}");
    }
    let created = daemon.ask(&plan("create", &[write(&daemon.path("w/new"), "x\n")]));
    assert_eq!(code(&created), "");
    let diff = evidence(&daemon, &outcome(&daemon, "create"), "diff");
    assert!(diff.starts_with(b"--- /dev/null\n"), "{}", String::from_utf8_lossy(&diff));
    daemon.stop();
}

#[test]
fn what_is_no_text_or_long_is_told_by_length_and_digest() {
    let daemon = keeping().start();
    let file = daemon.path("w/f");
    let long = vec![b'a'; (1 << 20) + 1];
    fs::write(&file, &long).unwrap();
    let replace = act("fs.write", json!({"path": file, "content_base64": "/w==", "mode": "replace"}));
    let answer = daemon.ask(&plan("binary", &[replace]));
    assert_eq!(code(&answer), "", "{answer:#}");
    let diff = String::from_utf8(evidence(&daemon, &outcome(&daemon, "binary"), "diff")).unwrap();
    assert_eq!(diff.lines().count(), 3, "{diff}");
    assert!(diff.contains(&sha256(&long)) && diff.contains(&sha256(b"\xff")), "{diff}");
    daemon.stop();
}

/// What an earlier action changes is not shown as it is now: it will be something else by then.
#[test]
fn what_an_earlier_action_of_the_plan_may_change_is_not_shown() {
    let daemon = keeping().start();
    let (file, other) = (daemon.path("w/f"), daemon.path("w/other"));
    fs::write(&file, "harmless\n").unwrap();
    let copy = |from: &Path| act("fs.copy", json!({"from": from, "to": daemon.path("w/target")}));
    let replace = act("fs.write", json!({"path": file, "content": "harmful\n", "mode": "replace"}));
    let shown = |actions: &[Value]| previews(&daemon, &daemon.hold(&plan("two", actions)).0);
    let two = shown(&[asking(replace.clone()), copy(&file)]);
    assert!(two[0][0]["text"]["text"].as_str().unwrap().contains("+harmful"));
    assert!(two[1][0]["missing"].as_str().unwrap().contains("earlier action"), "{two:#}");
    let program = shown(&[asking(run(&["/bin/true"])), copy(&file)]);
    assert!(program[1][0]["missing"].as_str().unwrap().contains("a program"), "{program:#}");
    fs::write(&other, "other\n").unwrap();
    let apart = shown(&[asking(replace), copy(&other)]);
    assert!(apart[1][0]["text"]["text"].as_str().unwrap().contains("+other"), "{apart:#}");
    let absent = shown(&[asking(act("fs.remove", json!({"path": daemon.path("w/absent")})))]);
    assert!(absent[0][0]["missing"].as_str().unwrap().contains("does not exist"), "{absent:#}");
    daemon.stop();
}

#[test]
fn a_long_diff_is_cut_for_the_approver_and_kept_whole() {
    let daemon = keeping().tables("[limits]\nrequest_bytes = 1_000_000").start();
    let file = daemon.path("w/f");
    let content = "é".repeat(300 << 10 >> 1);
    let frame = plan("long", &[asking(write(&file, &content))]);
    let (pending_id, _) = daemon.hold(&frame);
    let text = previews(&daemon, &pending_id)[0][0]["text"].take();
    assert_eq!((&text["truncated"], &text["encoding"]), (&json!(true), &json!("utf-8")));
    let shown = text["text"].as_str().unwrap();
    assert!(shown.len() <= 256 << 10 && shown.len() > 250 << 10, "{}", shown.len());
    let whole = evidence(&daemon, &daemon.recorded("held", "long")[0], "diff");
    assert_eq!(text["bytes"], whole.len());
    assert!(whole.starts_with(shown.as_bytes()));
    daemon.stop();
}

/// Whoever may change a file need not be one who may read it: what is in it is for the approver, and not in the log.
#[test]
fn a_diff_is_shown_to_the_approver_and_to_nobody_else() {
    let place = keeping().set_policy(
        r#"@id("write-asks") permit (principal, action in Action::"change", resource) when { context.confirmed };"#,
    );
    let file = place.path("w/f");
    fs::write(&file, "hidden-content\n").unwrap();
    let daemon = place.start();
    assert_eq!(code(&daemon.ask(&plan("look", &[read(&file)]))), "policy_denied");
    let replace = act("fs.write", json!({"path": file, "content": "new\n", "mode": "replace"}));
    let (pending_id, answer) = daemon.hold(&plan("blind", &[replace]));
    assert!(
        !answer.to_string().contains("hidden-content") && !answer.to_string().contains("previews"),
        "{answer:#}"
    );
    let shown = previews(&daemon, &pending_id);
    assert!(shown[0][0]["text"]["text"].as_str().unwrap().contains("-hidden-content"), "{shown:#}");
    let place = daemon.stop();
    assert!(!json!(place.records()).to_string().contains("hidden-content"));
}

#[test]
fn a_plan_that_is_held_before_it_is_sent_is_shown_and_recorded_with_its_diff() {
    let daemon = keeping().start();
    let uid = rustix::process::geteuid().as_raw();
    let frame = plan("later", &[asking(write(&daemon.path("w/f"), "new\n"))]);
    let held = daemon.ask_approver("host.hold", json!({"plan": frame, "uid": uid}));
    let diff =
        held["previews"][0][0]["text"]["text"].as_str().unwrap_or_else(|| panic!("{held:#}")).to_owned();
    assert!(diff.ends_with("+new\n"), "{diff}");
    let records = daemon.stop();
    let all = records.records();
    assert_eq!(evidence(&records, of(&all, "held", Some("later"))[0], "diff"), diff.as_bytes());
}

#[test]
fn the_oldest_goes_first_and_never_more_is_kept_than_the_quota() {
    let place = Place::new().tables("[audit]\nevidence = true\nevidence_quota = 65_536");
    fs::write(place.path("r/long"), vec![b'a'; 70_000]).unwrap();
    let daemon = place.start();
    let look = |daemon: &Daemon, n: usize| {
        let (id, path) = (format!("look-{n}"), daemon.path("r").join(n.to_string()));
        fs::write(&path, "").unwrap();
        assert_eq!(code(&daemon.ask(&plan(&id, &[read(&path)]))), "");
        outcome(daemon, &id)["evidence"][0]["sha256"].as_str().unwrap().to_owned()
    };
    let names: Vec<_> = (0..20).map(|n| look(&daemon, n)).collect();
    assert_eq!(kept(&daemon).len(), 16);
    assert!(!at(&daemon, &names[3]).exists() && at(&daemon, &names[4]).exists());
    // What is named again is as young as what is new.
    assert_eq!(look(&daemon, 4), names[4]);
    look(&daemon, 20);
    assert!(at(&daemon, &names[4]).exists() && !at(&daemon, &names[5]).exists());
    let answer = daemon
        .ask(&plan("long", &[act("fs.read", json!({"path": daemon.path("r/long"), "max_bytes": 70_000}))]));
    assert_eq!(code(&answer), "", "it is done all the same");
    let outcome = outcome(&daemon, "long");
    assert!(outcome["data"]["evidence_missing"].as_str().unwrap().contains("evidence_quota"), "{outcome:#}");
    assert_eq!(outcome.get("evidence"), None);
    assert_eq!(kept(&daemon).len(), 16, "nothing went away for what cannot be kept");
    let place = daemon.stop();
    // More than fits by another hand: the next start lets go of the oldest.
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for n in 0..3 {
        let bytes = format!("old {n}");
        let path = at(&place, &sha256(bytes.as_bytes()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o700)).unwrap();
        fs::write(&path, bytes).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    }
    let daemon = place.start();
    assert_eq!(kept(&daemon).len(), 16);
    assert!(at(&daemon, &names[4]).exists() && !at(&daemon, &sha256(b"old 0")).exists());
    daemon.stop();
}

#[test]
fn what_is_older_than_the_retention_goes_away_while_the_host_runs_and_when_it_starts() {
    let place = Place::new().tables("[audit]\nevidence = true\nevidence_retention = \"2s\"");
    let daemon = place.start();
    daemon.ask(&plan("echo", &[run(&["/bin/echo", "x"])]));
    assert_eq!(kept(&daemon).len(), 1);
    wait_for("the evidence to go away", || kept(&daemon).is_empty().then_some(()));
    daemon.ask(&plan("echo", &[run(&["/bin/echo", "y"])]));
    let place = daemon.stop();
    for path in kept(&place) {
        let old = SystemTime::now() - Duration::from_secs(100);
        File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
    let daemon = place.start();
    assert_eq!(kept(&daemon), Vec::<PathBuf>::new());
    daemon.stop();
}

#[test]
fn what_is_damaged_counts_as_missing_and_is_written_anew() {
    let daemon = keeping().start();
    fs::write(daemon.path("r/f"), "content").unwrap();
    let look = plan("look", &[read(&daemon.path("r/f"))]);
    daemon.ask(&look);
    let bytes = evidence(&daemon, &outcome(&daemon, "look"), "output");
    let (name, path) = (sha256(&bytes), at(&daemon, &sha256(&bytes)));
    let ask = |sha256: &str| daemon.ask_approver("host.evidence", json!({"sha256": sha256}));
    // As a crash may leave it: the length is right, the content is not.
    fs::write(&path, vec![0; bytes.len()]).unwrap();
    let answer = ask(&name);
    assert_eq!(code(&answer), "unavailable");
    assert!(answer["error"]["message"].as_str().unwrap().contains("damaged"), "{answer:#}");
    daemon.ask(&look);
    assert!(fs::read(&path).unwrap() == bytes);
    fs::remove_file(&path).unwrap();
    assert_eq!(code(&ask(&name)), "validation_failed", "it is gone");
    daemon.ask(&look);
    assert!(fs::read(&path).unwrap() == bytes, "and comes back once it is named again");
    for wrong in ["", "x", "../../audit.key", &name.to_uppercase(), &format!("{name}0")] {
        let answer = ask(wrong);
        assert_eq!(answer["error"]["path"], "$.actions[0].params.sha256", "{answer:#}");
    }
    let place = daemon.stop();
    // After a restart nothing is taken for whole that this host did not write.
    fs::write(&path, "damaged").unwrap();
    let part = path.with_extension("1.part");
    fs::write(&part, "torn").unwrap();
    let daemon = place.start();
    assert!(!part.exists(), "what a host was writing when it ended is removed");
    daemon.ask(&look);
    assert!(fs::read(&path).unwrap() == bytes);
    daemon.stop();
}

#[test]
fn an_answer_is_no_longer_than_the_limit() {
    let place = Place::new().tables("[audit]\nevidence = true\n[limits]\nresponse_bytes = 65_536");
    let daemon = place.start();
    let text = "x".repeat(60_000);
    assert_eq!(code(&daemon.ask(&plan("long", &[run(&["/bin/echo", &text])]))), "");
    let name = outcome(&daemon, "long")["evidence"][0]["sha256"].as_str().unwrap().to_owned();
    assert_eq!(code(&daemon.ask_approver("host.evidence", json!({"sha256": name}))), "response_too_large");
    daemon.stop();
}

/// The limit of the size of files stands for a full disk: the log's own file stays below it.
#[test]
#[allow(clippy::disallowed_methods, reason = "the daemon is what is tested")]
fn a_full_disk_fails_no_action_and_the_record_says_what_is_missing() {
    let place = keeping();
    fs::write(place.path("r/long"), vec![b'a'; 2 << 20]).unwrap();
    let daemon_command = place.command();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    command.arg(daemon_command.get_program()).args(daemon_command.get_args());
    command.env_clear().envs(daemon_command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let daemon = Daemon::spawn(place, command);
    let limit = Some(1 << 20);
    let daemon_itself = Pid::from_raw(daemon.pid().cast_signed());
    prlimit(daemon_itself, Resource::Fsize, Rlimit { current: limit, maximum: limit }).unwrap();
    let long = act("fs.read", json!({"path": daemon.path("r/long"), "max_bytes": 2 << 20}));
    let answer = daemon.ask(&plan("long", &[long]));
    assert_eq!(code(&answer), "", "{:#}", answer["error"]);
    let record = outcome(&daemon, "long");
    assert_eq!(record.get("evidence"), None);
    assert!(
        record["data"]["evidence_missing"].as_str().unwrap().contains("could not be written"),
        "{record:#}"
    );
    assert!(daemon.said().contains("evidence could not be kept"), "{}", daemon.said());
    assert_eq!(kept(&daemon), Vec::<PathBuf>::new(), "nothing torn is left");
    fs::write(daemon.path("r/short"), "short").unwrap();
    daemon.ask(&plan("short", &[read(&daemon.path("r/short"))]));
    evidence(&daemon, &outcome(&daemon, "short"), "output");
    daemon.stop();
}

#[test]
fn a_store_that_cannot_be_opened_keeps_the_host_from_starting() {
    let place = keeping();
    fs::create_dir_all(place.state()).unwrap();
    fs::set_permissions(place.state(), Permissions::from_mode(0o700)).unwrap();
    let folder = place.state().join("evidence");
    fs::write(&folder, "").unwrap();
    let said = place.start_refused();
    assert!(said.contains("evidence cannot be kept"), "{said}");
    fs::remove_file(&folder).unwrap();
    fs::create_dir_all(folder.join("ab")).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    assert!(place.start_refused().contains("mode 0755"));
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(folder.join("ab"), Permissions::from_mode(0o777)).unwrap();
    assert!(place.start_refused().contains("mode 0777"));
    fs::set_permissions(folder.join("ab"), Permissions::from_mode(0o700)).unwrap();
    place.start().stop();
}

/// The state directory is protected, whatever the policy and the roots say.
#[test]
fn no_plan_reaches_the_store() {
    let place = keeping().set_policy(EVERYTHING);
    let whole = place.path("");
    let root = format!(
        "[[roots]]\npath = \"{}\"\nmode = \"write\"",
        whole.display().to_string().trim_end_matches('/')
    );
    let daemon = place.tables(&root).start();
    daemon.ask(&plan("echo", &[run(&["/bin/echo", "kept"])]));
    let bytes = evidence(&daemon, &outcome(&daemon, "echo"), "output");
    let file = at(&daemon, &sha256(&bytes));
    let folder = file.parent().unwrap();
    for action in [
        read(&file),
        act("fs.remove", json!({"path": folder, "recursive": true})),
        act("fs.list", json!({"path": daemon.state().join("evidence")})),
        act("fs.write", json!({"path": folder.join("x"), "content": "", "mode": "create"})),
        act("fs.copy", json!({"from": folder, "to": daemon.path("w/out"), "recursive": true})),
    ] {
        let answer = daemon.ask(&plan("reach", &[action]));
        assert_eq!(code(&answer), "policy_denied", "{answer:#}");
    }
    let cat = daemon.ask(&plan("cat", &[run(&["/bin/cat", file.to_str().unwrap()])]));
    let output = &cat["results"][0]["output"];
    assert!(output["exit_code"] == 1 && output["stdout"]["text"] == "", "{cat:#}");
    assert_eq!(fs::read(&file).unwrap(), bytes);
    daemon.stop();
}

fn in_session(id: &str, session: &str, action: Value) -> Value {
    with(plan(id, &[action]), json!({"session_id": session}))
}

/// A click is shown and recorded in the picture that its session saw last, at the pixel where it goes.
#[test]
fn a_click_is_shown_in_the_picture_that_its_session_captured() {
    let place = own().tables("[audit]\nevidence = true").set_policy(EVERYTHING);
    let daemon = place.start();
    let click = |x: i64, y: i64| act("mouse.click", json!({"x": x, "y": y}));
    let shown = |session: &str, action: Value| {
        let mut shown = previews(&daemon, &daemon.hold(&in_session("click", session, asking(action))).0);
        shown[0].take()
    };
    let unseen = shown("s-1", click(200, 100));
    assert_eq!(unseen[0]["name"], "picture");
    assert!(unseen[0]["missing"].as_str().unwrap().contains("captured"), "{unseen:#}");
    let captured =
        daemon.ask(&in_session("capture", "s-1", act("monitor.capture", json!({"max_edge": 400}))));
    let picture = &captured["results"][0]["output"]["picture"];
    assert_eq!(code(&captured), "", "{captured:#}");
    let expected = json!([{
        "name": "picture", "media_type": "image/png", "bytes": picture["bytes"], "sha256": picture["sha256"], "point": [100, 50],
    }]);
    assert_eq!(shown("s-1", click(200, 100)), expected);
    assert_eq!(daemon.recorded("held", "click").last().unwrap()["evidence"], expected);
    let name = picture["sha256"].as_str().unwrap();
    assert_eq!(daemon.ask_approver("host.evidence", json!({"sha256": name})), *picture);
    assert!(shown("s-2", click(200, 100))[0]["missing"].is_string(), "another session saw nothing");
    let drag = shown("s-1", act("mouse.drag", json!({"path": [[200, 100], [300, 100], [400, 200]]})));
    assert_eq!((&drag[0]["point"], &drag[1]["point"]), (&json!([100, 50]), &json!([200, 100])), "{drag:#}");

    let clicked = daemon.ask(&in_session("run", "s-1", click(200, 100)));
    assert_eq!(code(&clicked), "", "{clicked:#}");
    assert_eq!(daemon.recorded("intent", "run")[0]["evidence"], expected);

    let part = json!({"target": {"region": {"x": 0, "y": 0, "width": 100, "height": 100}}});
    daemon.ask(&in_session("capture", "s-1", act("monitor.capture", part)));
    let beside = shown("s-1", click(200, 100));
    assert!(beside[0]["missing"].as_str().unwrap().contains("does not show (200, 100)"), "{beside:#}");
    // A zoom is not what points are meant in.
    let zoom = json!({"region": {"x": 0, "y": 0, "width": 400, "height": 300}});
    assert_eq!(code(&daemon.ask(&in_session("zoom", "s-1", act("monitor.zoom", zoom)))), "");
    assert!(shown("s-1", click(200, 100))[0]["missing"].is_string());
    daemon.stop();
}

#[test]
fn a_picture_that_is_no_longer_kept_is_not_named() {
    let place = own().tables("[audit]\nevidence = true\nevidence_quota = 65_536").set_policy(EVERYTHING);
    let daemon = place.start();
    let part = json!({"target": {"region": {"x": 0, "y": 0, "width": 64, "height": 64}}});
    assert_eq!(code(&daemon.ask(&plan("capture", &[act("monitor.capture", part)]))), "");
    let click = plan("click", &[asking(act("mouse.click", json!({"x": 1, "y": 1})))]);
    assert_eq!(previews(&daemon, &daemon.hold(&click).0)[0][0]["point"], json!([1, 1]));
    for n in 0..16 {
        daemon.ask(&plan("push", &[run(&["/bin/echo", &n.to_string()])]));
    }
    let shown = previews(&daemon, &daemon.hold(&click).0);
    assert!(shown[0][0]["missing"].as_str().unwrap().contains("no picture is kept"), "{shown:#}");
    daemon.stop();
}

#[test]
fn what_is_typed_and_what_a_plan_asks_for_is_never_kept() {
    let place = own().tables("[audit]\nevidence = true").set_policy(EVERYTHING);
    let daemon = place.start();
    let secret = "hunter2-and-more";
    // Nothing may have the focus, and then nothing is typed; neither leaves the text in the store.
    daemon.ask(&plan("type", &[act("keyboard.type", json!({"text": secret}))]));
    let params = json!({"argv": ["/bin/true"], "stdin": secret});
    assert_eq!(code(&daemon.ask(&plan("stdin", &[act("exec.run", params)]))), "");
    let (held, _) = daemon.hold(&plan("held", &[asking(act("keyboard.type", json!({"text": secret})))]));
    assert_eq!(previews(&daemon, &held), json!([[]]));
    for path in kept(&daemon) {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{}", path.display());
    }
    daemon.stop();
}

#[test]
fn doctor_tells_whether_evidence_is_kept_and_how_much() {
    let doctor = |place: &Place, name: &str| {
        let output = place.command_of(&["doctor", "--json"]).stdout(Stdio::piped()).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = said["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("{said:#}"))
    };
    let off = doctor(&Place::new(), "evidence");
    assert!(off["held"] == false && off["required"] == false, "{off:#}");
    let place = Place::new().tables("[audit]\nevidence = true\nevidence_retention = \"30days\"");
    assert_eq!(doctor(&place, "evidence")["detail"], "0 kept, 0 of at most 1073741824 bytes, for 30days");
    let daemon = place.start();
    daemon.ask(&plan("echo", &[run(&["/bin/echo", "x"])]));
    let place = daemon.stop();
    assert_eq!(doctor(&place, "evidence")["detail"], "1 kept, 4096 of at most 1073741824 bytes, for 30days");
    fs::set_permissions(place.state().join("evidence"), Permissions::from_mode(0o755)).unwrap();
    let open = doctor(&place, "state");
    assert!(open["held"] == false && open["detail"].as_str().unwrap().contains("mode 0755"), "{open:#}");
}
