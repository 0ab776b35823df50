//! Approvals that are signed, with keys and signatures of the real `ssh-keygen`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::client::{asking, code, confirmed, plan, read, run};
use crate::daemon::{Daemon, Place};
use crate::records::of;

fn echo(text: &str) -> Value {
    plan("echo", &[asking(run(&["/bin/echo", text]))])
}

/// `ssh-keygen` with these arguments, in a folder; what it printed.
#[allow(clippy::disallowed_methods, reason = "ssh-keygen is what approvers sign with")]
fn keygen(folder: &Place, args: &[&str]) -> String {
    let mut command = Command::new("ssh-keygen");
    command.args(args).current_dir(folder.path("keys")).stdin(Stdio::null());
    let output = command.output().expect("ssh-keygen is missing: apt-get install openssh-client");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes a key; the line of its public half without the comment.
fn key(place: &Place, name: &str, kind: &str) -> String {
    fs::create_dir_all(place.path("keys")).unwrap();
    keygen(place, &["-q", "-N", "", "-t", kind, "-f", name]);
    let line = fs::read_to_string(place.path(&format!("keys/{name}.pub"))).unwrap();
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn fingerprint(place: &Place, name: &str) -> String {
    keygen(place, &["-lf", &format!("{name}.pub")]).split(' ').nth(1).unwrap().to_owned()
}

fn sign_for(place: &Place, name: &str, namespace: &str, text: &str) -> String {
    fs::write(place.path("keys/text"), text).unwrap();
    let _ = fs::remove_file(place.path("keys/text.sig"));
    keygen(place, &["-q", "-Y", "sign", "-n", namespace, "-f", name, "text"]);
    fs::read_to_string(place.path("keys/text.sig")).unwrap()
}

fn sign(place: &Place, name: &str, text: &Value) -> String {
    sign_for(place, name, "llm-os", text.as_str().unwrap())
}

/// Writes the file of approvers, as nobody else can.
fn set_approvers(place: &Place, lines: &str) -> PathBuf {
    let file = place.path("approvers");
    fs::write(&file, lines).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    file
}

/// A place whose configuration names the file of approvers.
fn place() -> Place {
    Place::new().tables("[confirmation]\napprovers = \"approvers\"")
}

/// A host that Ann must sign for.
fn of_ann() -> Daemon {
    let place = place();
    let ann = key(&place, "ann", "ed25519");
    set_approvers(&place, &format!("ann@example.org {ann}\n"));
    place.start()
}

fn shown(daemon: &Daemon, id: &str) -> Value {
    daemon.ask_approver("host.pending", json!({"pending_id": id}))
}

fn approve(daemon: &Daemon, id: &str, signature: Option<&str>) -> Value {
    let mut params = json!({"pending_id": id, "sha256": shown(daemon, id)["sha256"]});
    if let Some(signature) = signature {
        params["signature"] = json!(signature);
    }
    daemon.ask_approver("host.approve", params)
}

/// It is refused in these words, is told what to do, and the plan still waits.
#[track_caller]
fn refused(daemon: &Daemon, id: &str, signature: Option<&str>, words: &str) -> Value {
    let answer = approve(daemon, id, signature);
    assert_eq!(code(&answer), "confirmation_invalid", "{answer:#}");
    assert_eq!(answer["error"]["path"], "$.actions[0].params.signature");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains(words), "expected {words:?}: {message}");
    assert_eq!(shown(daemon, id)["pending_id"], id, "it still waits");
    answer
}

#[test]
fn a_signed_approval_lets_the_plan_run_and_is_recorded_with_all_that_proves_it() {
    let place = place();
    let lines = [("ann", "ed25519"), ("bob", "ecdsa"), ("cy", "rsa")]
        .map(|(name, kind)| format!("{name}@example.org {}\n", key(&place, name, kind)));
    set_approvers(&place, &lines.concat());
    let daemon = place.start();
    for name in ["ann", "bob", "cy"] {
        let frame = plan(name, &[asking(run(&["/bin/echo", name]))]);
        let (id, _) = daemon.hold(&frame);
        let question = shown(&daemon, &id)["signature"].clone();
        assert_eq!(question["namespace"], "llm-os");
        let text = question["once"].as_str().unwrap();
        let host = fs::read_to_string(daemon.state().join("audit.pub")).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let start = format!("llm-os approval 1\ndecision: approve\nplan: {id}\nuser: {uid}\nsha256: ");
        assert!(text.starts_with(&start) && text.ends_with(&format!("host: {host}")), "{text}");
        assert!(text.contains(shown(&daemon, &id)["sha256"].as_str().unwrap()), "{text}");
        assert_eq!(shown(&daemon, &id)["signature"], question, "it does not change while the plan waits");
        let armored = sign(&daemon, name, &question["once"]);
        let approved = approve(&daemon, &id, Some(&armored));
        let token = approved["token"].as_str().unwrap_or_else(|| panic!("{approved:#}"));
        assert_eq!(code(&daemon.ask(&confirmed(&frame, token))), "");
        let record = &daemon.recorded("approved", name)[0]["data"];
        let expected = json!({
            "statement": text, "armored": armored, "fingerprint": fingerprint(&daemon, name),
            "principals": [format!("{name}@example.org")],
        });
        assert_eq!(record["signature"], expected, "{record:#}");
        let intent = &daemon.recorded("intent", name)[0];
        assert_eq!(intent["decision"]["approved"]["signer"], fingerprint(&daemon, name), "{intent:#}");
    }
    let records = daemon.stop().records();
    let start = &of(&records, "start", None)[0]["data"]["approvers"];
    assert_eq!(start[1]["principals"], json!(["bob@example.org"]), "{start:#}");
}

#[test]
fn without_a_signature_the_socket_approves_nothing() {
    let daemon = of_ann();
    let (id, _) = daemon.hold(&echo("x"));
    let refusal = refused(&daemon, &id, None, "approvals on this host are signed: llmsh approve p-");
    assert!(refusal["error"]["message"].as_str().unwrap().ends_with("--sign-with KEY"), "{refusal:#}");
    refused(&daemon, &id, Some(""), "not a signature");
    assert_eq!(
        daemon.ask_approver("host.deny", json!({"pending_id": id}))["denied"],
        true,
        "a no needs none"
    );
    let records = daemon.stop().records();
    assert!(of(&records, "approved", None).is_empty());
}

/// Each slip has its own words, and is recorded.
#[test]
fn a_signature_that_does_not_count_says_why_and_leaves_the_plan_waiting() {
    let place = place();
    let line = |name: &str, options: &str| format!("{name} {options} {}\n", key(&place, name, "ed25519"));
    let lines = [
        line("ann", ""),
        line("old", "valid-before=\"20200101Z\""),
        line("new", "valid-after=\"29990101Z\""),
        line("git", "namespaces=\"git\""),
    ];
    key(&place, "eve", "ed25519");
    set_approvers(&place, &lines.concat());
    let daemon = place.start();
    let (id, _) = daemon.hold(&echo("x"));
    let (other, _) = daemon.hold(&echo("another"));
    let question = shown(&daemon, &id)["signature"].clone();
    let text = question["once"].as_str().unwrap();
    let by = |name: &str| sign(&daemon, name, &question["once"]);
    refused(
        &daemon,
        &id,
        Some(&sign_for(&daemon, "ann", "git", text)),
        "namespace \"git\", expected \"llm-os\"",
    );
    refused(&daemon, &id, Some(&by("old")), "was valid until 2020-01-01T00:00:00Z");
    refused(&daemon, &id, Some(&by("new")), "is not valid before 2999-01-01T00:00:00Z");
    refused(&daemon, &id, Some(&by("git")), "namespaces=\"git\"");
    let eve = refused(&daemon, &id, Some(&by("eve")), &fingerprint(&daemon, "eve"));
    assert_eq!(eve["error"]["details"]["fingerprint"], fingerprint(&daemon, "eve"), "{eve:#}");
    let of_other = sign(&daemon, "ann", &shown(&daemon, &other)["signature"]["once"]);
    refused(&daemon, &id, Some(&of_other), "signed another text");
    let for_session = sign(&daemon, "ann", &question["session"]);
    refused(&daemon, &id, Some(&for_session), "approves for the session, and the request is to approve once");
    let altered = by("ann").replace("U1NIU0lH", "U1NIU0lI");
    refused(&daemon, &id, Some(&altered), "not a signature");
    let approved = approve(&daemon, &id, Some(&by("ann")));
    assert!(approved["token"].is_string(), "a slip is no denial: {approved:#}");
    let records = daemon.stop().records();
    let refusals = of(&records, "refused", None);
    let about = |refusal: &&&Value| refusal["data"]["pending_id"] == id.as_str();
    assert_eq!(refusals.iter().filter(about).count(), 8, "{refusals:#?}");
    let eve = fingerprint_of(&refusals, 4);
    assert!(eve.starts_with("SHA256:"), "{refusals:#?}");
}

fn fingerprint_of(refusals: &[&Value], index: usize) -> String {
    refusals[index]["data"]["fingerprint"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_signature_is_good_for_one_held_plan_on_one_host() {
    let daemon = of_ann();
    let frame = echo("x");
    let (id, _) = daemon.hold(&frame);
    let shown_first = shown(&daemon, &id);
    let armored = sign(&daemon, "ann", &shown_first["signature"]["once"]);
    let token = approve(&daemon, &id, Some(&armored))["token"].as_str().unwrap().to_owned();
    let again = json!({"pending_id": id, "sha256": shown_first["sha256"], "signature": armored});
    let again = daemon.ask_approver("host.approve", again);
    assert_eq!(code(&again), "validation_failed", "it does not wait any more: {again:#}");
    let (same, _) = daemon.hold(&frame);
    refused(&daemon, &same, Some(&armored), "signed another text");
    assert_eq!(code(&daemon.ask(&confirmed(&frame, &token))), "");
    assert_eq!(code(&daemon.ask(&confirmed(&frame, &token))), "confirmation_invalid");
    let place = daemon.stop();
    let daemon = place.start();
    let (after, _) = daemon.hold(&frame);
    refused(&daemon, &after, Some(&armored), "signed another text");
    daemon.stop();
}

/// Whoever verifies the log goes by the time of the record, which is written a moment later.
#[test]
fn a_key_that_is_about_to_end_approves_nothing_any_more() {
    let daemon = of_ann();
    let public = fs::read_to_string(daemon.path("keys/ann.pub")).unwrap();
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    let soon = humantime::format_rfc3339_seconds(soon).to_string().replace(['-', ':', 'T'], "");
    set_approvers(&daemon, &format!("ann valid-before=\"{soon}\" {public}"));
    assert!(daemon.ask_approver("host.reload", json!({}))["policy_sha256"].is_string());
    let (id, _) = daemon.hold(&echo("x"));
    let armored = sign(&daemon, "ann", &shown(&daemon, &id)["signature"]["once"]);
    refused(&daemon, &id, Some(&armored), "was valid until");
    daemon.stop();
}

#[test]
fn refused_signatures_are_slowed_down() {
    let daemon = of_ann();
    let (id, _) = daemon.hold(&echo("x"));
    for _ in 0..10 {
        refused(&daemon, &id, Some("x"), "not a signature");
    }
    let right = sign(&daemon, "ann", &shown(&daemon, &id)["signature"]["once"]);
    let answer = approve(&daemon, &id, Some(&right));
    assert_eq!(code(&answer), "busy", "{answer:#}");
    assert_eq!(
        daemon.ask_approver("host.deny", json!({"pending_id": id}))["denied"],
        true,
        "a no is never late"
    );
    daemon.stop();
}

#[test]
fn a_signature_that_nobody_asked_for_is_refused() {
    let daemon = Daemon::start();
    let (id, _) = daemon.hold(&echo("x"));
    assert_eq!(shown(&daemon, &id)["signature"], Value::Null);
    let answer = approve(&daemon, &id, Some("-----BEGIN SSH SIGNATURE-----"));
    assert_eq!(code(&answer), "validation_failed", "{answer:#}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("nobody asked"), "{answer:#}");
    assert!(approve(&daemon, &id, None)["token"].is_string());
    daemon.stop();
}

#[test]
fn a_plan_that_was_not_sent_yet_is_signed_for_as_well() {
    let daemon = of_ann();
    let uid = rustix::process::geteuid().as_raw();
    let frame = echo("later");
    let held = daemon.ask_approver("host.hold", json!({"plan": frame, "uid": uid}));
    let id = held["pending_id"].as_str().unwrap();
    let armored = sign(&daemon, "ann", &held["signature"]["once"]);
    let approved = approve(&daemon, id, Some(&armored));
    assert_eq!(code(&daemon.ask(&confirmed(&frame, approved["token"].as_str().unwrap()))), "");
    daemon.stop();
}

#[test]
fn a_reload_reads_the_approvers_anew_and_keeps_the_old_ones_where_they_are_refused() {
    let daemon = of_ann();
    let bob = key(&daemon, "bob", "ed25519");
    set_approvers(&daemon, "ann@example.org ssh-ed25519 AAAA\n");
    let refusal = daemon.ask_approver("host.reload", json!({}));
    assert_eq!(code(&refusal), "validation_failed", "{refusal:#}");
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(message.contains("line 1") && message.contains("the old one"), "{message}");
    let (id, _) = daemon.hold(&echo("x"));
    let text = shown(&daemon, &id)["signature"]["once"].clone();
    assert!(approve(&daemon, &id, Some(&sign(&daemon, "ann", &text)))["token"].is_string());

    set_approvers(&daemon, &format!("bob@example.org {bob}\n"));
    assert!(daemon.ask_approver("host.reload", json!({}))["policy_sha256"].is_string());
    let (id, _) = daemon.hold(&echo("x"));
    let text = shown(&daemon, &id)["signature"]["once"].clone();
    refused(&daemon, &id, Some(&sign(&daemon, "ann", &text)), "is not one of the approvers'");
    assert!(approve(&daemon, &id, Some(&sign(&daemon, "bob", &text)))["token"].is_string());
    fs::remove_file(daemon.path("approvers")).unwrap();
    assert_eq!(
        code(&daemon.ask_approver("host.reload", json!({}))),
        "validation_failed",
        "it is never let go of"
    );
    let records = daemon.stop().records();
    let loaded = of(&records, "policy_loaded", None);
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0]["data"]["approvers"][0]["principals"], json!(["bob@example.org"]));
}

#[test]
fn a_file_of_approvers_that_is_not_understood_or_not_safe_keeps_the_host_from_starting() {
    let place = place();
    let ann = key(&place, "ann", "ed25519");
    let says = |words: &str| {
        let said = place.start_refused();
        assert!(
            said.contains("confirmation.approvers") && said.contains(words),
            "expected {words:?}: {said}"
        );
    };
    says("approvers: No such file");
    set_approvers(&place, "");
    says("names no key");
    set_approvers(&place, &format!("# ann\n* {ann}\n"));
    says("line 2: found the principal \"*\"");
    set_approvers(&place, &format!("ann cert-authority {ann}\n"));
    says("line 1: cert-authority is not supported");
    let file = set_approvers(&place, &format!("ann {ann}\n"));
    for mode in [0o664, 0o646] {
        fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        says(&format!("mode {mode:04o}); run: chmod go-w"));
    }
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o777)).unwrap();
    says("mode 0777); run: chmod go-w");
    fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    says("expected a regular file");
    fs::remove_dir(&file).unwrap();
    set_approvers(&place, &format!("ann {ann}\n"));
    place.start().stop();
}

/// The file lies below a root for writing, and the policy lets everything there be changed.
#[test]
fn no_plan_reaches_the_file_of_approvers() {
    let place = Place::new().tables("[confirmation]\napprovers = \"w/approvers\"");
    let ann = key(&place, "ann", "ed25519");
    let file = place.path("w/approvers");
    fs::write(&file, format!("ann {ann}\n")).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    fs::set_permissions(place.path("w"), PermissionsExt::from_mode(0o755)).unwrap();
    let daemon = place.start();
    for action in [read(&file), crate::client::write(&file, "eve ssh-ed25519 AAAA")] {
        let answer = daemon.ask(&plan("reach", &[action]));
        assert_eq!(code(&answer), "policy_denied", "{answer:#}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("ann {ann}\n"));
    daemon.stop();
}

#[test]
fn doctor_tells_whether_approvals_are_signed_and_by_whom() {
    let check = |place: &Place| {
        let output = place.command_of(&["doctor", "--json"]).stdout(Stdio::piped()).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = said["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["name"] == "approvers").unwrap().clone();
        (said["would_start"].as_bool().unwrap(), found)
    };
    let (would_start, found) = check(&Place::new());
    assert!(would_start && found["held"] == false && found["required"] == false, "{found:#}");
    assert!(found["detail"].as_str().unwrap().contains("approvals are not signed"), "{found:#}");
    let place = place();
    let ann = key(&place, "ann", "ed25519");
    set_approvers(&place, &format!("ann@example.org {ann}\n"));
    let (would_start, found) = check(&place);
    assert!(would_start && found["held"] == true && found["required"] == true, "{found:#}");
    let who = format!("ann@example.org ({})", fingerprint(&place, "ann"));
    assert!(found["detail"].as_str().unwrap().contains(&who), "{found:#}");
    set_approvers(&place, "ann@example.org ssh-dss AAAA\n");
    let (would_start, found) = check(&place);
    assert!(
        !would_start && found["held"] == false && found["detail"].as_str().unwrap().contains("line 1"),
        "{found:#}"
    );
}
