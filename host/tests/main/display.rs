//! The display of a daemon: its own one lives and ends with it, and programs get at it by policy only.

use std::os::unix::fs::PermissionsExt;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::client::{act, code, plan, run, with};
use crate::daemon::{Daemon, Place, refusal};
use crate::process::{children, wait_for};

/// Programs that a test runs on the display may run, and ask nobody.
const POLICY: &str = r#"
permit (principal, action in Action::"observe", resource in Roots::"read");
permit (principal, action in Action::"run", resource);
permit (principal, action in [Action::"observe", Action::"inject"], resource in Display::"virtual");
"#;

pub(crate) fn own() -> Place {
    Place::new().tables("[display]\nvirtual = \"800x600\"")
}

pub(crate) fn describe(daemon: &Daemon) -> Value {
    let mut answer = daemon.ask(&plan("d", &[act("host.describe", json!({"actions": []}))]));
    answer["results"][0]["output"]["display"].take()
}

/// The process of that name which the daemon started.
pub(crate) fn started(daemon: &Daemon, name: &str) -> Option<Pid> {
    let stat = children(daemon.pid()).into_iter().find(|stat| stat.contains(&format!("({name})")))?;
    Pid::from_raw(stat.split(' ').next()?.parse().ok()?)
}

fn is_gone(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

pub(crate) fn on_display(argv: &[&str]) -> Value {
    act("exec.run", json!({"argv": argv, "display": true}))
}

/// What `xdpyinfo` says of the display, which it was let at.
fn dimensions(daemon: &Daemon) -> Value {
    let answer = daemon.ask(&plan("size", &[on_display(&["/usr/bin/xdpyinfo"])]));
    let text = answer["results"][0]["output"]["stdout"]["text"].as_str().unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("dimensions:")).unwrap_or_default();
    json!(line.split_whitespace().next())
}

#[test]
fn a_daemon_with_a_virtual_display_has_one_of_that_size_and_says_so() {
    let daemon = own().set_policy(POLICY).start();
    let display = describe(&daemon);
    assert_eq!(display["id"], "virtual", "{display:#}");
    assert!(display["name"].as_str().unwrap().starts_with(':'), "{display:#}");
    assert_eq!(display.get("authority"), None);
    assert_eq!(dimensions(&daemon), "800x600");
    let mode = |name: &str| daemon.state().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("display"), mode("display/Xauthority")], [0o700, 0o600]);
    let [server, manager] = ["Xvfb", "openbox"].map(|name| started(&daemon, name).unwrap());
    let started = daemon.stop().records();
    assert_eq!(started[0]["data"]["display"]["id"], "virtual", "{:#}", started[0]);
    assert!(is_gone(server) && is_gone(manager));
}

/// The kernel does it: nothing of the daemon runs any more that could.
#[test]
fn a_virtual_display_dies_with_a_daemon_that_is_killed() {
    let daemon = own().start();
    let [server, manager] = ["Xvfb", "openbox"].map(|name| started(&daemon, name).unwrap());
    let place = daemon.kill9();
    wait_for("server and window manager to end", || (is_gone(server) && is_gone(manager)).then_some(()));
    place.start().stop();
}

#[test]
fn a_virtual_display_that_dies_comes_back_under_its_name() {
    let daemon = own().set_policy(POLICY).start();
    let before = describe(&daemon);
    for name in ["Xvfb", "openbox", "Xvfb"] {
        let [server, manager] = ["Xvfb", "openbox"].map(|name| started(&daemon, name).unwrap());
        let (killed, other) = if name == "Xvfb" { (server, manager) } else { (manager, server) };
        kill_process(killed, Signal::KILL).unwrap();
        wait_for("another one", || started(&daemon, name).filter(|found| *found != killed));
        assert_eq!(is_gone(other), name == "Xvfb", "a server that lives keeps its windows");
        wait_for("its window manager", || started(&daemon, "openbox").filter(|pid| *pid != manager));
        wait_for("the display", || (dimensions(&daemon) == "800x600").then_some(()));
    }
    assert_eq!(describe(&daemon), before);
    wait_for("both", || started(&daemon, "Xvfb").and(started(&daemon, "openbox")));
    daemon.stop();
}

/// An interrupt from the terminal reaches the daemon's whole process group, of which the display is none.
#[test]
fn an_interrupt_ends_the_daemon_before_its_display() {
    let daemon = own().start();
    for name in ["Xvfb", "openbox"] {
        let pid = started(&daemon, name).unwrap();
        assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid, "{name}");
    }
    daemon.signal(Signal::INT);
    daemon.stopped();
}

#[test]
fn a_display_that_cannot_be_had_keeps_the_daemon_from_starting() {
    let refused = |place: Place, words: &[&str]| {
        let said = place.start_refused();
        assert!(words.iter().all(|word| said.contains(word)), "expected {words:?}: {said}");
        assert!(!place.plan_socket().exists());
    };
    let empty = tempfile::tempdir().unwrap();
    refused(own().env("PATH", empty.path().to_str().unwrap()), &["Xvfb", "apt-get install xvfb openbox"]);
    refused(Place::new().tables("[display]\nvirtual = \"63x800\""), &["line", "63x800", "64 to 16384"]);
    refused(Place::new().tables("[display]\nsize = \"800x600\""), &["line", "size"]);
    refused(Place::new().tables("[display]\nname = \"elsewhere:0\""), &["elsewhere:0", "--virtual-display"]);
    refused(Place::new().tables("[display]\nname = \":0\"\nvirtual = \"80x80\""), &["display", "both"]);
    refused(Place::new().tables("[display]\nname = \"env\""), &["DISPLAY", "WAYLAND_DISPLAY"]);
    let place = Place::new();
    let mut both = place.command();
    both.args(["--virtual-display", "800x600", "--display", ":0"]);
    assert!(refusal(both).contains("cannot be used with"));
    let mut huge = place.command();
    huge.args(["--virtual-display", "800x600000"]);
    assert!(refusal(huge).contains("64 to 16384"));
}

/// Nobody is asked whether the display is there: the capabilities answer for that.
#[test]
fn a_display_that_exists_is_described_by_its_name() {
    let daemon = Place::new().tables("[display]\nname = \"env\"").env("DISPLAY", ":54321").start();
    assert_eq!(describe(&daemon), json!({"id": ":54321", "name": ":54321"}));
    daemon.stop();
    let place = Place::new().tables("[display]\nvirtual = \"800x600\"");
    let mut command = place.command();
    command.args(["--display", ":54321"]);
    let daemon = Daemon::spawn(place, command);
    assert_eq!(describe(&daemon)["name"], ":54321", "a flag stands over what is configured");
    daemon.stop();
    let daemon = Daemon::start();
    assert_eq!(describe(&daemon), Value::Null);
    daemon.stop();
}

/// D10: neither by the environment, nor by the display's number, which is easily guessed.
#[test]
fn a_program_reaches_the_display_where_its_plan_asks_and_policy_allows_it() {
    let daemon = own().set_policy(POLICY).start();
    let name = describe(&daemon)["name"].as_str().unwrap().to_owned();
    let outcome = |action: Value| {
        let answer = daemon.ask(&plan("d10", &[action]));
        assert_eq!(code(&answer), "", "{answer:#}");
        answer["results"][0]["output"].clone()
    };
    let without = outcome(run(&["/usr/bin/xdpyinfo"]));
    assert_eq!(without["exit_code"], 1, "{without:#}");
    for address in
        [name.clone(), format!("unix{name}"), format!("localhost{name}"), format!("127.0.0.1{name}")]
    {
        let guessed = outcome(run(&["/usr/bin/xdpyinfo", "-display", &address]));
        assert_eq!(guessed["exit_code"], 1, "{address}: {guessed:#}");
    }
    let with = outcome(on_display(&["/usr/bin/xdpyinfo"]));
    assert_eq!(with["exit_code"], 0, "{with:#}");
    daemon.stop();
}

/// D10
#[test]
fn the_presets_let_no_program_at_a_display_but_the_virtual_one_and_there_a_human_decides() {
    for (policy, display, expected) in [
        ("strict", "virtual = \"800x600\"", "policy_denied"),
        ("workspace", "virtual = \"800x600\"", "policy_denied"),
        ("virtual-desktop", "name = \":54321\"", "policy_denied"),
        ("virtual-desktop", "virtual = \"800x600\"", "confirmation_required"),
    ] {
        let place = Place::new().tables(&format!("[display]\n{display}"));
        let mut command = place.command();
        command.args(["--policy", &format!("preset:{policy}")]);
        let daemon = Daemon::spawn(place, command);
        let frame = plan("d10", &[on_display(&["/usr/bin/xdpyinfo"])]);
        assert_eq!(code(&daemon.ask(&frame)), expected, "{policy}, {display}");
        if expected == "confirmation_required" {
            let token = daemon.token_for(&with(frame.clone(), json!({"request_id": "again"})));
            let answer = daemon.ask(&crate::client::confirmed(&frame, &token));
            assert_eq!(answer["results"][0]["output"]["exit_code"], 0, "{answer:#}");
        }
        daemon.stop();
    }
}

/// P11: its descriptors stay with the daemon.
#[test]
fn a_program_inherits_nothing_of_the_virtual_display() {
    let daemon = own().set_policy(POLICY).start();
    let answer = daemon.ask(&plan("p11", &[run(&["/bin/ls", "/proc/self/fd"])]));
    let text = answer["results"][0]["output"]["stdout"]["text"].as_str().unwrap();
    // 3 is the directory that ls reads.
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{answer:#}");
    daemon.stop();
}
