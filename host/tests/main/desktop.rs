//! A desktop through the whole daemon: real windows, real input, real pictures, and what is denied there.

use std::io::Write;
use std::path::Path;

use llm_os_desktop_test_support::TestDisplay;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use x11rb::protocol::xproto::ConnectionExt as _;

use crate::client::{Client, act, code, confirmed, plan};
use crate::daemon::{Daemon, Place};
use crate::display::{on_display, own, started};
use crate::process::wait_for;
use crate::records::of;

/// A window of a program that is no terminal. What is typed into it is in the file; how often it was clicked, and where
/// on the screen, is its title.
const WINDOW: &str = r#"
import os, sys, tkinter
def write(_=None):
    with open(sys.argv[1] + ".new", "w", encoding="utf-8", newline="") as file:
        file.write(text.get("1.0", "end-1c"))
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    text.edit_modified(False)
root = tkinter.Tk(className="Notes")
text = tkinter.Text(root)
text.pack()
text.focus_set()
text.bind("<<Modified>>", write)
text.bind("<Button-1>", lambda event: root.title(f"clicked {event.x_root} {event.y_root}"))
text.wait_visibility()
write()
root.mainloop()
"#;

fn preset(place: Place, name: &str) -> Daemon {
    let mut command = place.command();
    command.args(["--policy", &format!("preset:{name}")]);
    Daemon::spawn(place, command)
}

/// A daemon that drives a display which exists, and lives on without it.
pub(crate) fn on(display: &TestDisplay, policy: &str) -> Daemon {
    let Display { name, authority } = Display::of(display);
    let place = Place::new().env("XAUTHORITY", &authority).tables(&format!("[display]\nname = \"{name}\""));
    match policy.strip_prefix("preset:") {
        Some(policy) => preset(place, policy),
        None => place.set_policy(policy).start(),
    }
}

struct Display {
    name: String,
    authority: String,
}

impl Display {
    fn of(display: &TestDisplay) -> Self {
        let display = display.display();
        Self { name: display.name, authority: display.authority.unwrap().to_str().unwrap().to_owned() }
    }
}

pub(crate) const EVERYTHING: &str = "permit (principal, action, resource);";

/// Starts a program on the display, confirmed; it ends with the connection.
fn open(daemon: &Daemon, argv: &[&str]) -> Client {
    let frame = plan("open", &[on_display(argv)]);
    let token = daemon.token_for(&frame);
    let mut client = daemon.connect();
    client.send(&confirmed(&frame, &token));
    client
}

fn one(daemon: &Daemon, action: &str, params: Value) -> Value {
    daemon.ask(&plan("one", &[act(action, params)]))
}

#[track_caller]
fn done(daemon: &Daemon, action: &str, params: Value) -> Value {
    let mut answer = one(daemon, action, params);
    assert_eq!(code(&answer), "", "{answer:#}");
    answer["results"][0]["output"].take()
}

/// A window of this class that has the focus.
fn focused(daemon: &Daemon, class: &str) -> Value {
    wait_for("the window to have the focus", || {
        let answer = one(daemon, "monitor.windows", json!({}));
        let windows = answer["results"][0]["output"]["windows"].as_array()?.clone();
        windows.into_iter().find(|window| window["class"] == class && window["focused"] == true)
    })
}

#[track_caller]
fn denied(daemon: &Daemon, action: &str, params: Value, by: &str) {
    let answer = one(daemon, action, params);
    assert_eq!(code(&answer), "policy_denied", "{answer:#}");
    assert_eq!(answer["executed"], false);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains(by), "{message}");
}

#[test]
fn a_plan_types_clicks_and_takes_a_picture_on_the_virtual_display() {
    let daemon = preset(own(), "virtual-desktop");
    let (script, file) = (daemon.path("w/window.py"), daemon.path("w/typed"));
    std::fs::write(&script, WINDOW).unwrap();
    let program = open(&daemon, &["/usr/bin/python3", script.to_str().unwrap(), file.to_str().unwrap()]);
    let window = focused(&daemon, "Notes");
    assert_eq!(
        (&window["role"], &window["executable"].is_string()),
        (&json!("application"), &true),
        "{window:#}"
    );
    let at = |edge: &str, extent: &str| {
        window["rect"][edge].as_i64().unwrap() + window["rect"][extent].as_i64().unwrap() / 2
    };
    let (x, y) = (at("x", "width"), at("y", "height"));
    // It is written once the text can be clicked; the window around it is there before.
    wait_for("the text to be shown", || file.exists().then_some(()));
    done(&daemon, "mouse.click", json!({"x": x, "y": y}));
    let title = json!(format!("clicked {x} {y}"));
    wait_for("the click", || (focused(&daemon, "Notes")["title"] == title).then_some(()));
    // The program has seen the click, so that it is ready for keys as well.
    let text = "Grüße 日本語 🙂\n";
    done(&daemon, "keyboard.type", json!({"text": text, "controls": ["newline"]}));
    wait_for("the text", || (std::fs::read_to_string(&file).ok()? == text).then_some(()));
    let captured = done(&daemon, "monitor.capture", json!({}));
    assert_eq!((&captured["space"]["width"], &captured["space"]["height"]), (&json!(800), &json!(600)));
    let picture = &captured["picture"];
    assert_eq!(picture["media_type"], "image/png");
    drop(program);
    let records = daemon.stop().records();
    let log = json!(records).to_string();
    assert!(!log.contains("Grüße") && !log.contains("Gr\\u00fc"), "what was typed is no one's to read");
    let outcomes = of(&records, "outcome", Some("one"));
    let noted = outcomes
        .iter()
        .any(|outcome| outcome["data"].to_string().contains(picture["sha256"].as_str().unwrap()));
    assert!(noted, "the picture's digest is in the record: {:#?}", outcomes.last());
}

/// D01, D02
#[test]
fn a_terminal_and_the_keys_of_a_window_manager_are_denied_on_the_virtual_display() {
    let daemon = preset(own(), "virtual-desktop");
    let program = open(&daemon, &["/usr/bin/xterm"]);
    focused(&daemon, "XTerm");
    let canary = format!("touch {}\n", daemon.path("w/CANARY").display());
    denied(&daemon, "keyboard.type", json!({"text": canary, "controls": ["newline"]}), "input-to-programs");
    denied(&daemon, "keyboard.press", json!({"keys": "Return"}), "input-to-programs");
    denied(&daemon, "mouse.click", json!({"x": 400, "y": 300}), "input-to-programs");
    drop(program);
    let script = daemon.path("w/window.py");
    std::fs::write(&script, WINDOW).unwrap();
    let typed = daemon.path("w/typed");
    let program = open(&daemon, &["/usr/bin/python3", script.to_str().unwrap(), typed.to_str().unwrap()]);
    focused(&daemon, "Notes");
    wait_for("the text to be shown", || typed.exists().then_some(()));
    for keys in
        ["alt+F2", "ctrl+alt+t", "ctrl+alt+Delete", "ctrl+alt+F1", "ctrl+alt+F12", "alt+Sys_Req+b", "alt+Tab"]
    {
        denied(&daemon, "keyboard.press", json!({"keys": keys}), "window-manager-keys");
    }
    for keys in ["super", "super+r", "WIN+E", "cmd+space"] {
        denied(&daemon, "keyboard.press", json!({"keys": keys}), "modifiers");
        denied(&daemon, "keyboard.down", json!({"keys": keys}), "modifiers");
    }
    denied(&daemon, "mouse.click", json!({"x": 400, "y": 300, "modifiers": ["super"]}), "modifiers");
    let split = daemon.ask(&plan(
        "one",
        &[act("keyboard.down", json!({"keys": "alt"})), act("keyboard.press", json!({"keys": "F2"}))],
    ));
    assert_eq!(code(&split), "policy_denied", "a chord in two actions is a chord: {split:#}");
    assert_eq!(std::fs::read_to_string(typed).unwrap(), "");
    drop(program);
    daemon.stop();
}

/// D01, D02, D03: the default policy keeps its hands off a person's display.
#[test]
fn a_persons_display_is_off_under_the_default_policy() {
    let display = TestDisplay::start();
    let terminal = display.xterm_reader();
    display.focus(terminal.window.id);
    let daemon = on(&display, "preset:strict");
    let (x, y) = terminal.window.rect.centre();
    denied(&daemon, "keyboard.type", json!({"text": "touch CANARY"}), "desktop-off");
    denied(&daemon, "keyboard.press", json!({"keys": "alt+F2"}), "desktop-off");
    denied(&daemon, "mouse.click", json!({"x": x, "y": y}), "desktop-off");
    denied(&daemon, "mouse.position", json!({}), "displays-off");
    denied(&daemon, "monitor.capture", json!({}), "displays-off");
    denied(&daemon, "monitor.windows", json!({}), "displays-off");
    daemon.stop();
    let daemon = on(&display, "preset:virtual-desktop");
    denied(&daemon, "keyboard.type", json!({"text": "touch CANARY"}), "windows-elsewhere");
    denied(&daemon, "mouse.click", json!({"x": x, "y": y}), "windows-elsewhere");
    denied(&daemon, "monitor.capture", json!({}), "other-displays");
    daemon.stop();
    assert_eq!(terminal.content(), "");
}

/// D03: whatever the policy says, and although the terminal's own class is permitted.
#[test]
fn a_window_in_which_a_human_approves_gets_no_input_and_is_not_shown() {
    let display = TestDisplay::start();
    let daemon = on(&display, EVERYTHING);
    // What makes an approver is the program's name, which the kernel tells.
    let approver = daemon.path("llmsh");
    std::fs::copy("/bin/sleep", &approver).unwrap();
    let _terminal = display.spawn("xterm", &["-e", approver.to_str().unwrap(), "600"]);
    let window = display.window("XTerm");
    display.focus(window.id);
    let (x, y) = window.rect.centre();
    wait_for("the approver to run", || {
        let answer = one(&daemon, "keyboard.press", json!({"keys": "shift"}));
        (code(&answer) == "policy_denied").then_some(())
    });
    for (action, params) in [
        ("keyboard.press", json!({"keys": "y"})),
        ("keyboard.press", json!({"keys": "Return"})),
        ("keyboard.type", json!({"text": " "})),
        ("mouse.click", json!({"x": x, "y": y})),
        ("mouse.drag", json!({"path": [[1, 1], [x, y]]})),
    ] {
        denied(&daemon, action, params, "host (it shows confirmations");
    }
    let captured = done(&daemon, "monitor.capture", json!({}));
    assert_eq!(captured["masked"], 1, "{}", captured["masked"]);
    daemon.stop();
}

#[test]
fn without_a_display_an_action_says_what_to_do() {
    let daemon = Daemon::start();
    for (action, params) in [
        ("keyboard.type", json!({"text": "x"})),
        ("mouse.click", json!({"x": 1, "y": 1})),
        ("monitor.capture", json!({})),
        ("exec.run", json!({"argv": ["/bin/echo"], "display": true})),
    ] {
        let answer = one(&daemon, action, params);
        assert_eq!(code(&answer), "unavailable", "{action}: {answer:#}");
        assert!(
            answer["error"]["message"].as_str().unwrap().contains("--virtual-display 1280x800"),
            "{answer:#}"
        );
    }
    daemon.stop();
}

/// D09
#[test]
fn a_display_that_dies_is_unavailable_until_it_is_back() {
    let daemon = preset(own(), "virtual-desktop");
    done(&daemon, "monitor.list", json!({}));
    let server = started(&daemon, "Xvfb").unwrap();
    kill_process(server, Signal::KILL).unwrap();
    let answer = one(&daemon, "monitor.list", json!({}));
    assert_eq!(code(&answer), "unavailable", "{answer:#}");
    wait_for("the display to be back", || {
        let answer = one(&daemon, "monitor.list", json!({}));
        assert!(["", "unavailable"].contains(&code(&answer)), "{answer:#}");
        code(&answer).is_empty().then_some(())
    });
    wait_for("both programs", || started(&daemon, "Xvfb").and(started(&daemon, "openbox")));
    daemon.stop();
}

/// J13
#[test]
fn coordinates_are_exact_integers_on_the_screen() {
    let daemon = preset(own(), "virtual-desktop");
    for (x, expected) in [
        ("9007199254740993", "validation_failed"),
        ("1.5", "parse_failed"),
        ("NaN", "parse_failed"),
        ("-1", "validation_failed"),
        ("800", "validation_failed"),
    ] {
        let frame = format!(
            r#"{{"request_id":"j13","version":"1","mode":"execute","actions":[{{"action":"mouse.move","params":{{"x":{x},"y":5}},"reason":"a test"}}]}}"#
        );
        let mut client = daemon.connect();
        client.send_bytes(format!("{frame}\n").as_bytes());
        let answer = client.answer();
        assert_eq!(code(&answer), expected, "{x}: {answer:#}");
    }
    daemon.stop();
}

/// Whether any key, or any button, is down on the display.
pub(crate) fn is_held(display: &TestDisplay) -> bool {
    let connection = display.connect();
    let keys = connection.query_keymap().unwrap().reply().unwrap().keys;
    let mask = u16::from(connection.query_pointer(display.root()).unwrap().reply().unwrap().mask);
    keys.iter().any(|byte| *byte != 0) || mask != 0
}

/// A client that holds a key and a button down, and stays.
pub(crate) fn holding() -> [Value; 3] {
    [
        act("keyboard.down", json!({"keys": "ctrl+shift"})),
        act("mouse.move", json!({"x": 20, "y": 20})),
        act("mouse.down", json!({"button": "left"})),
    ]
}

/// D05
#[test]
fn what_a_client_holds_is_released_when_it_is_killed() {
    let display = TestDisplay::start();
    let text = display.tk_text();
    display.focus(text.window.id);
    let daemon = on(&display, EVERYTHING);
    #[allow(clippy::disallowed_methods, reason = "this test binary is the client that is killed")]
    let mut client = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["desktop::holds_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
        .env("PLAN_SOCKET", daemon.plan_socket())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the keys to be down", || is_held(&display).then_some(()));
    daemon.recorded("outcome", "hold");
    assert!(is_held(&display));
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for("the keys to be up", || (!is_held(&display)).then_some(()));
    daemon.stop();
}

#[test]
#[ignore = "a part of what_a_client_holds_is_released_when_it_is_killed, which runs it"]
fn holds_until_it_is_killed() {
    let socket = std::env::var("PLAN_SOCKET").unwrap();
    let mut client = Client::connect(Path::new(&socket));
    let answer = client.ask(&plan("hold", &holding()));
    writeln!(std::io::stderr(), "{answer:#}").unwrap();
    let _ = client.line();
}

/// D05
#[test]
fn what_is_held_is_released_when_the_daemon_stops_and_when_another_one_follows_one_that_was_killed() {
    let display = TestDisplay::start();
    let text = display.tk_text();
    display.focus(text.window.id);
    for signal in [Signal::TERM, Signal::INT, Signal::KILL] {
        let daemon = on(&display, EVERYTHING);
        let mut client = daemon.connect();
        let answer = client.ask(&plan("hold", &holding()));
        assert_eq!(code(&answer), "", "{answer:#}");
        assert!(is_held(&display));
        if signal == Signal::KILL {
            let place = daemon.kill9();
            assert!(is_held(&display), "nobody is there who could release it");
            let daemon = place.start();
            wait_for("the next daemon to release it, unasked", || (!is_held(&display)).then_some(()));
            daemon.stop();
        } else {
            daemon.signal(signal);
            daemon.stopped();
            assert!(!is_held(&display), "{signal:?}");
        }
    }
}

/// The virtual display is nobody else's: what the daemon starts there is seen there, by its process.
#[test]
fn a_window_is_listed_with_the_process_that_the_daemon_started() {
    let daemon = preset(own(), "virtual-desktop");
    let program = open(&daemon, &["/usr/bin/xterm"]);
    let window = focused(&daemon, "XTerm");
    assert_eq!(
        (&window["role"], &window["executable"]),
        (&json!("terminal"), &json!("/usr/bin/xterm")),
        "{window:#}"
    );
    let pid = Pid::from_raw(i32::try_from(window["pid"].as_i64().unwrap()).unwrap()).unwrap();
    assert!(rustix::process::test_kill_process(pid).is_ok());
    drop(program);
    wait_for("the window to go with its connection", || {
        let windows = done(&daemon, "monitor.windows", json!({}));
        let windows = windows["windows"].as_array().unwrap();
        windows.iter().all(|window| window["class"] != "XTerm").then_some(())
    });
    daemon.stop();
}
