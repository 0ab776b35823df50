//! `llm-osd doctor`: what it says is what a start then does.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use llm_os_desktop_test_support::TestDisplay;
use serde_json::{Value, json};

use crate::client::{act, code, plan};
use crate::daemon::{Daemon, Place, bare_command};
use crate::desktop::{EVERYTHING, holding, is_held, on};

/// Runs it; whether it says that the host would start, and each check by its name.
#[track_caller]
fn doctor(place: &Place) -> (bool, BTreeMap<String, Value>) {
    let output = place.command_of(&["doctor", "--json"]).stdout(Stdio::piped()).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let would_start = said["would_start"].as_bool().unwrap();
    assert_eq!(output.status.code(), Some(i32::from(!would_start)), "{said:#}");
    let name =
        |check: &Value| format!("{}.{}", check["of"].as_str().unwrap(), check["name"].as_str().unwrap());
    let checks = said["checks"].as_array().unwrap().iter();
    (would_start, checks.map(|check| (name(check), check.clone())).collect())
}

/// It says that the host would not start because of this check alone, in these words, and the host does not start.
#[track_caller]
fn agrees_on(place: &Place, name: &str, words: &str) {
    let (would_start, checks) = doctor(place);
    assert!(!would_start, "{name}: {checks:#?}");
    let stopping: Vec<_> =
        checks.iter().filter(|(_, check)| check["required"] == true && check["held"] == false).collect();
    assert_eq!(stopping.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [name], "{stopping:#?}");
    assert!(checks[name]["detail"].as_str().unwrap().contains(words), "{words}: {:#}", checks[name]);
    let said = place.start_refused();
    assert!(said.contains(words), "expected {words:?}: {said}");
}

fn sandbox(lines: &str) -> Place {
    Place::new().tables(&format!("[capabilities.exec.sandbox]\n{lines}"))
}

#[test]
fn a_machine_on_which_the_host_starts_is_told_layer_by_layer_and_left_as_it_is() {
    let place = Place::new();
    let (would_start, checks) = doctor(&place);
    assert!(would_start, "{checks:#?}");
    for required in [
        "host.configuration",
        "host.state",
        "host.plan_socket",
        "host.approval_socket",
        "host.policy",
        "host.policy_held",
        "host.roots",
    ] {
        let check = &checks[required];
        assert_eq!((&check["held"], &check["required"]), (&json!(true), &json!(true)), "{check:#}");
    }
    for (layer, required) in [
        ("no_new_privs", true),
        ("seccomp", true),
        ("landlock", true),
        ("landlock_abi", true),
        ("pid_namespace", false),
        ("mount_namespace", false),
        ("private_tmp", false),
        ("network_namespace", false),
        ("ipc_namespace", false),
        ("uts_namespace", false),
        ("user_namespace", false),
        ("limits", false),
        ("cgroup", false),
    ] {
        let check = &checks[&format!("exec.{layer}")];
        assert_eq!(check["required"], required, "{check:#}");
        assert!(check["held"] == true || !check["detail"].as_str().unwrap().is_empty(), "why not: {check:#}");
    }
    for capability in ["keyboard", "mouse", "monitor"] {
        let check = &checks[&format!("{capability}.display")];
        assert_eq!((&check["held"], &check["required"]), (&json!(false), &json!(false)), "{check:#}");
    }
    assert!(!place.state().exists() && !place.path("plan").exists(), "it makes nothing");
    let table = place.command_of(&["doctor"]).stdout(Stdio::piped()).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.ends_with("The host would start.\n"), "{table}");
    let landlock =
        table.lines().find(|line| line.contains(" landlock ") || line.ends_with(" landlock")).unwrap();
    assert!(landlock.starts_with("  held      required  landlock"), "{table}");
    place.start().stop();
}

/// Every layer for itself: what is told to be held can be required, and the host starts; what is not keeps it from that.
#[test]
fn what_it_says_of_a_layer_is_what_requiring_it_does() {
    let (_, checks) = doctor(&Place::new());
    let layers = checks.iter().filter_map(|(name, check)| Some((name.strip_prefix("exec.")?, check)));
    let layers = layers.filter(|(name, _)| !["landlock_abi", "private_tmp"].contains(name));
    let (held, lacking): (Vec<_>, Vec<_>) = layers.partition(|(_, check)| check["held"] == true);
    let held: Vec<_> = held.into_iter().map(|(name, _)| name).collect();
    let place = sandbox(&format!("require = {}", json!(held)));
    assert!(doctor(&place).0);
    place.start().stop();
    for (name, _) in lacking {
        agrees_on(&sandbox(&format!("require = [\"{name}\"]")), &format!("exec.{name}"), "");
    }
    agrees_on(&sandbox("landlock_abi = 99"), "exec.landlock_abi", "99");
}

#[test]
fn what_keeps_the_host_from_starting_is_what_it_names() {
    let missing = "[[roots]]\npath = \"/nonexistent\"\nmode = \"read\"";
    agrees_on(&Place::new().set_policy("not cedar"), "host.policy", "the policy is refused");
    agrees_on(&Place::new().tables(missing), "host.roots", "/nonexistent");
    agrees_on(&Place::new().tables("[limits]\nrunning = 0"), "host.configuration", "limits.running");
    agrees_on(&Place::new().tables("[audits]\n"), "host.configuration", "audits");
    agrees_on(&Place::new().keys("plan_uids = [4242]"), "host.configuration", "socket_gid");
    agrees_on(&Place::new().tables("[capabilities.exce]\nx = 1"), "exce.linked", "exce");
    let table = Place::new().tables("[capabilities.exec]\nenv_allow = [\"LD_PRELOAD\"]");
    agrees_on(&table, "exec.configuration", "LD_PRELOAD");
    let place = Place::new().tables("[display]\nhalt_chord = \"ctrl+alt+Pause\"");
    agrees_on(&place, "host.halt_chord", "display");

    let place = Place::new();
    fs::create_dir(place.state()).unwrap();
    fs::set_permissions(place.state(), PermissionsExt::from_mode(0o777)).unwrap();
    agrees_on(&place, "host.state", "0777");
    let place = Daemon::start().stop();
    fs::set_permissions(place.state().join("audit.key"), PermissionsExt::from_mode(0o644)).unwrap();
    agrees_on(&place, "host.state", "audit.key");
    let place = Place::new();
    fs::create_dir(place.path("plan")).unwrap();
    fs::write(place.plan_socket(), "precious").unwrap();
    agrees_on(&place, "host.plan_socket", "is not a socket");
    let place = Place::new();
    fs::write(place.path("approval"), "precious").unwrap();
    agrees_on(&place, "host.approval_socket", "approval");
}

#[test]
fn a_display_is_tried_where_one_is_configured() {
    let (would_start, checks) = doctor(&crate::display::own().tables("halt_chord = \"ctrl+alt+Pause\""));
    for check in
        ["host.display", "keyboard.display", "mouse.display", "monitor.display", "keyboard.halt_chord"]
    {
        assert_eq!(checks[check]["held"], true, "{:#}", checks[check]);
    }
    assert!(would_start);
    // The host starts without a display that it only drives.
    let (would_start, checks) = doctor(&Place::new().tables("[display]\nname = \":54321\""));
    assert!(would_start && checks["keyboard.display"]["held"] == false, "{checks:#?}");
    agrees_on(&crate::display::own().env("PATH", "/nowhere"), "host.display", "apt-get install xvfb openbox");
    let chord = crate::display::own().tables("halt_chord = \"ctrl+alt+Pasue\"");
    agrees_on(&chord, "keyboard.halt_chord", "Pasue");
}

/// The guard is what connects without letting go of what an earlier host left pressed.
#[test]
fn a_host_that_runs_is_left_alone() {
    let display = TestDisplay::start();
    let text = display.tk_text();
    display.focus(text.window.id);
    let daemon = on(&display, EVERYTHING);
    let mut client = daemon.connect();
    assert_eq!(code(&client.ask(&plan("hold", &holding()))), "");
    let (would_start, checks) = doctor(&daemon);
    assert!(would_start && checks["keyboard.display"]["held"] == true, "{checks:#?}");
    assert!(is_held(&display), "what is pressed stays so");
    assert_eq!(daemon.ask_approver("host.halt", json!({}))["halted"], true);
    let (would_start, checks) = doctor(&daemon);
    let halted = &checks["host.not_halted"];
    assert!(would_start && halted["held"] == false && halted["required"] == false, "{halted:#}");
    assert_eq!(code(&daemon.ask(&plan("x", &[act("monitor.list", json!({}))]))), "halted");
    drop(client);
    daemon.stop();
}

#[test]
fn flags_stand_after_the_subcommand() {
    let place = Place::new();
    let mut command = bare_command(&place.path("home"));
    let output = command.args(["--config", "/nonexistent", "doctor"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
