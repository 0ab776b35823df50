//! A real host, its own display, and a program there that writes down what reaches it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::computer::talk::{Talk, computer_call, earlier, host_tool, member, text};
use crate::daemon::Daemon;

/// Covers the screen. Each event is a line of the file.
const PROGRAM: &str = r#"
import sys, tkinter
log = open(sys.argv[1], "a", encoding="utf-8", newline="", buffering=1)
root = tkinter.Tk(className="Notes")
root.attributes("-fullscreen", True)
def write(*words):
    log.write(" ".join(str(word) for word in words) + "\n")
root.bind("<Button>", lambda e: write("press", e.num, e.x_root, e.y_root, "ctrl" if e.state & 4 else "-"))
root.bind("<ButtonRelease>", lambda e: write("release", e.num, e.x_root, e.y_root))
root.bind("<Double-Button-1>", lambda e: write("double"))
root.bind("<Triple-Button-1>", lambda e: write("triple"))
root.bind("<Key>", lambda e: write("key", e.keysym, e.char.encode("utf-8").hex(), "ctrl" if e.state & 4 else "-"))
root.bind("<KeyRelease>", lambda e: write("up", e.keysym))
def see(_):
    if root.focus_displayof() and root.winfo_width() == root.winfo_screenwidth():
        write("ready")
root.bind("<FocusIn>", see)
root.bind("<Configure>", see)
root.mainloop()
"#;

const EVERYTHING: &str = "permit (principal, action, resource);";

struct Screen {
    daemon: Daemon,
    log: PathBuf,
}

impl Screen {
    /// A host with a display that is larger than a screenshot may be, and the program there.
    fn start(talk: impl FnOnce(&Daemon) -> Talk) -> (Self, Talk) {
        let daemon = Daemon::start(EVERYTHING, "[display]\nvirtual = \"2560x1600\"");
        let (script, log) = (daemon.path("w/program.py"), daemon.path("w/log"));
        std::fs::write(&script, PROGRAM).unwrap();
        std::fs::write(&log, "").unwrap();
        let mut talk = talk(&daemon);
        let start = json!({"argv": ["/usr/bin/python3", script, log], "display": true, "reason": "have something to drive"});
        // An interpreter asks a human, whatever the policy says.
        talk.say(&host_tool("start", "exec_start", start));
        let held = wait_for("the plan to be held", || daemon.pending().into_iter().next());
        daemon.approve(held["pending_id"].as_str().unwrap());
        let started = talk.hear();
        assert_eq!(started.get("is_error"), None, "{started:#}");
        let screen = Self { daemon, log };
        screen.wait_for_lines("the program to be shown", &["ready"]);
        (screen, talk)
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.log).unwrap().lines().map(str::to_owned).collect()
    }

    /// Waits until the program has seen these, one after another and with others between them, and forgets all before.
    fn wait_for_lines(&self, what: &str, expected: &[&str]) {
        let is_there = || {
            let lines = self.lines();
            let mut seen = lines.iter();
            expected.iter().all(|line| seen.any(|seen| seen == line)).then_some(())
        };
        let deadline = Instant::now() + PATIENCE;
        while is_there().is_none() {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}: {expected:?} in {:#?}",
                self.lines()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        std::fs::write(&self.log, "").unwrap();
    }
}

/// How long anything may take that a test waits for; reached only where a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn anthropic(daemon: &Daemon) -> Talk {
    Talk::start(&mut daemon.command(&["computer", "--dialect", "anthropic"]))
}

fn openai(daemon: &Daemon) -> Talk {
    Talk::start(&mut daemon.command(&["computer", "--dialect", "openai"]))
}

/// Width and height of a PNG, as its header says.
fn size(base64: &str) -> (u32, u32) {
    let png = STANDARD.decode(base64).unwrap();
    assert_eq!(&png[1..4], b"PNG");
    let edge = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (edge(16), edge(20))
}

#[track_caller]
fn ok(result: &Value) {
    assert_eq!((text(result), result.get("is_error")), ("OK", None), "{result:#}");
}

/// A line of the log for a key that writes a character.
fn key(symbol: &str, text: &str) -> String {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("key {symbol} {hex} -")
}

#[test]
fn claude_looks_clicks_types_scrolls_drags_and_zooms_on_a_screen_that_is_larger_than_its_picture() {
    let (screen, mut talk) = Screen::start(anthropic);
    let mut act = |name: &str, input: Value| talk.ask(&member("t", name, input));
    let shot = act("screenshot", json!({}));
    assert_eq!(size(shot["content"][0]["source"]["data"].as_str().unwrap()), (2000, 1250));
    ok(&act("left_click", json!({"coordinate": [1000, 625]})));
    screen.wait_for_lines("a click", &["press 1 1280 800 -", "release 1 1280 800"]);
    let at = act("cursor_position", json!({}));
    assert_eq!(text(&at), "X=1000,Y=625");
    ok(&act("left_click", json!({"coordinate": [1999, 1249], "text": "ctrl"})));
    screen.wait_for_lines("a click with ctrl in the corner", &["press 1 2559 1599 ctrl"]);
    ok(&act("right_click", json!({"coordinate": [0, 0]})));
    screen.wait_for_lines("a right click", &["press 3 0 0 -"]);
    ok(&act("triple_click", json!({"coordinate": [100, 100]})));
    screen.wait_for_lines("a triple click", &["press 1 128 128 -", "double", "triple"]);
    ok(&act("type", json!({"text": "aß\n"})));
    screen.wait_for_lines("the text", &[&key("a", "a"), &key("ssharp", "ß"), &key("Return", "\r")]);
    ok(&act("key", json!({"text": "ctrl+s"})));
    screen.wait_for_lines("a chord", &["key s 13 ctrl", "up s"]);
    ok(&act("key", json!({"text": "b", "repeat": 2})));
    screen.wait_for_lines("a key twice", &[&key("b", "b"), "up b", &key("b", "b"), "up b"]);
    ok(&act("hold_key", json!({"text": "w", "duration": 0.7})));
    screen.wait_for_lines("a key that repeats", &[&key("w", "w"), &key("w", "w"), "up w"]);
    ok(&act("scroll", json!({"coordinate": [500, 500], "scroll_direction": "down", "scroll_amount": 2})));
    screen.wait_for_lines("the wheel", &["press 5 640 640 -", "press 5 640 640 -"]);
    ok(&act("left_click_drag", json!({"start_coordinate": [100, 100], "coordinate": [200, 300]})));
    screen.wait_for_lines("a drag", &["press 1 128 128 -", "release 1 256 384"]);
    ok(&act("mouse_move", json!({"coordinate": [300, 300]})));
    ok(&act("left_mouse_down", json!({})));
    ok(&act("mouse_move", json!({"coordinate": [400, 300]})));
    ok(&act("left_mouse_up", json!({})));
    screen.wait_for_lines("a drag by hand", &["press 1 384 384 -", "release 1 512 384"]);
    let zoomed = act("zoom", json!({"region": [1000, 600, 1200, 725]}));
    assert_eq!(size(zoomed["content"][0]["source"]["data"].as_str().unwrap()), (256, 160));
    ok(&act("wait", json!({"duration": 0.05})));
    let outside = act("left_click", json!({"coordinate": [2100, 700]}));
    assert!(text(&outside).contains("outside of the screenshot, which is 2000x1250"), "{outside}");
    let results = talk.ask(&json!([
        member("a", "left_click", json!({"coordinate": [10, 10]})),
        member("b", "key", json!({"text": "NoSuchKey"})),
        member("c", "screenshot", json!({})),
    ]));
    ok(&results[0]);
    assert!(text(&results[1]).contains("there is no key"), "{results}");
    assert_eq!(results[2]["is_error"], true);
    let log = json!(screen.daemon.records()).to_string();
    assert!(log.contains("computer: left_click at (1000, 625)") && !log.contains("aß"));
}

#[test]
fn an_earlier_version_drags_from_where_the_pointer_is() {
    let (screen, mut talk) = Screen::start(anthropic);
    let mut act = |name: &str, input: Value| talk.ask(&earlier("t", name, input));
    let shot = act("screenshot", json!({}));
    assert_eq!(size(shot["content"][0]["source"]["data"].as_str().unwrap()), (1389, 868));
    ok(&act("mouse_move", json!({"coordinate": [694, 434]})));
    ok(&act("left_click_drag", json!({"coordinate": [0, 0]})));
    screen.wait_for_lines("a drag", &["press 1 1280 800 -", "release 1 0 0"]);
}

#[test]
fn gpt_runs_a_batch_and_gets_one_picture() {
    let mut line = None;
    let (screen, _starter) = Screen::start(|daemon| {
        line = Some(openai(daemon));
        anthropic(daemon)
    });
    let mut talk = line.unwrap();
    let items = talk.ask(&computer_call(
        "c-1",
        json!([
            {"type": "screenshot"},
            {"type": "click", "x": 1300, "y": 700, "button": "left", "keys": ["CTRL"]},
            {"type": "type", "text": "hi"},
            {"type": "keypress", "keys": ["CTRL", "A"]},
            {"type": "scroll", "x": 20, "y": 30, "scroll_x": 0, "scroll_y": -100},
            {"type": "drag", "path": [{"x": 10, "y": 20}, {"x": 30, "y": 40}, {"x": 50, "y": 60}]},
            {"type": "double_click", "x": 5, "y": 6},
            {"type": "move", "x": 7, "y": 8, "keys": ["SHIFT"]},
        ]),
    ));
    assert_eq!(items.as_array().unwrap().len(), 1, "{items:#}");
    let picture = |item: &Value| {
        let url = item["output"]["image_url"].as_str().unwrap();
        size(url.strip_prefix("data:image/png;base64,").unwrap())
    };
    assert_eq!(picture(&items[0]), (2560, 1600));
    screen.wait_for_lines(
        "the batch",
        &[
            "press 1 1300 700 ctrl",
            &key("h", "h"),
            &key("i", "i"),
            "key a 01 ctrl",
            "press 4 20 30 -",
            "press 1 10 20 -",
            "release 1 50 60",
            "press 1 5 6 -",
            "double",
            "key Shift_L  -",
            "up Shift_L",
        ],
    );
    let preview = |action: Value| json!({"type": "computer_call", "call_id": "c", "action": action});
    let items = talk.ask(&preview(json!({"type": "screenshot"})));
    assert_eq!(picture(&items[0]), (1229, 768));
    talk.ask(&preview(json!({"type": "click", "x": 614, "y": 384, "button": "wheel"})));
    screen.wait_for_lines("a click in the middle", &["press 2 1280 801 -"]);
}

/// Where the pointer is, and which buttons are down.
fn position(daemon: &Daemon) -> Value {
    let ran = daemon.llmsh(&["do", "mouse.position", "--reason", "see"]);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{ran:?}: {e}"));
    answer["results"][0]["output"].clone()
}

#[test]
fn a_client_that_goes_away_has_what_runs_cancelled_and_its_button_released() {
    let (screen, mut talk) = Screen::start(anthropic);
    ok(&talk.ask(&member("t", "mouse_move", json!({"coordinate": [300, 300]}))));
    ok(&talk.ask(&member("t", "left_mouse_down", json!({}))));
    screen.wait_for_lines("the button", &["press 1 384 384 -"]);
    talk.say(&member("t", "hold_key", json!({"text": "w", "duration": 50})));
    screen.wait_for_lines("the key", &[&key("w", "w")]);
    talk.go_away();
    screen.wait_for_lines("the key to be released", &["up w"]);
    wait_for("the button to be released", || {
        (position(&screen.daemon)["buttons"] == json!([])).then_some(())
    });
    let cancelled = |record: &Value| record["event"] == "outcome" && record.to_string().contains("cancelled");
    wait_for("the action to be cancelled", || screen.daemon.records().iter().any(cancelled).then_some(()));
    assert_eq!(talk.end(false).0, Some(1));
}

#[test]
fn a_signal_to_the_program_cancels_what_runs_on_the_host() {
    let daemon = Daemon::start(EVERYTHING, "");
    let mut talk = anthropic(&daemon);
    let sleep = json!({"argv": ["/bin/sleep", "600"], "timeout_ms": 500_000, "reason": "sleep"});
    talk.say(&host_tool("t", "exec_run", sleep));
    let began = |record: &Value| record["event"] == "intent" && record.to_string().contains("exec.run");
    wait_for("the program to run", || daemon.records().iter().any(began).then_some(()));
    kill_process(talk.pid(), Signal::TERM).unwrap();
    let cancelled = |record: &Value| record["event"] == "outcome" && record.to_string().contains("cancelled");
    wait_for("it to be cancelled", || daemon.records().iter().any(cancelled).then_some(()));
    talk.end(false);
}

#[test]
fn what_the_policy_forbids_is_forbidden_here_and_no_call_can_confirm_it() {
    let policy = r#"
        permit (principal, action in Action::"observe", resource in Display::"virtual");
        permit (principal, action, resource) when { context.confirmed };
        forbid (principal, action in Action::"inject", resource);
    "#;
    let daemon = Daemon::start(policy, "[display]\nvirtual = \"800x600\"");
    let mut command = daemon.command(&["computer", "--dialect", "anthropic", "--hold-s", "0"]);
    let mut talk = Talk::start(&mut command);
    let shot = talk.ask(&member("t", "screenshot", json!({})));
    assert_eq!(size(shot["content"][0]["source"]["data"].as_str().unwrap()), (800, 600));
    let click = talk.ask(&member("t", "left_click", json!({"coordinate": [10, 10]})));
    assert!(text(&click).starts_with("policy_denied"), "{click}");
    let file = daemon.path("w/note");
    let write = json!({"path": file, "mode": "create", "content": "x", "reason": "keep it"});
    let held = talk.ask(&host_tool("t", "fs_write", write.clone()));
    assert!(text(&held).starts_with("confirmation_required"), "{held}");
    let id = daemon.pending()[0]["pending_id"].clone();
    let sha256 = "0".repeat(64);
    for (name, input) in [
        ("host_approve", json!({"pending_id": id, "sha256": sha256, "reason": "x"})),
        ("host_hold", json!({"reason": "x"})),
        ("host_reload", json!({"reason": "x"})),
        ("host_resume", json!({"reason": "x"})),
    ] {
        let result = talk.ask(&host_tool("t", name, input));
        assert_eq!(result["is_error"], true, "{name}: {result}");
    }
    assert!(!file.exists());
    daemon.approve(id.as_str().unwrap());
    let done = talk.ask(&host_tool("t", "fs_write", write));
    assert_eq!(done.get("is_error"), None, "{done}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
}

#[test]
fn the_tools_that_are_offered_fit_the_screen_and_the_policy() {
    let policy = r#"
        permit (principal, action in [Action::"observe", Action::"inject"], resource in Display::"virtual");
    "#;
    let daemon = Daemon::start(policy, "[display]\nvirtual = \"2560x1600\"");
    let offer = |args: &[&str]| -> Value {
        let ran = daemon.llmsh(&[&["computer", "--tools"], args].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    };
    assert_eq!(offer(&["--dialect", "anthropic"]), json!([{"type": "computer_toolset_20260801"}]));
    let earlier = offer(&["--dialect", "anthropic", "--tool", "computer_20251124"]);
    assert_eq!(
        (&earlier[0]["display_width_px"], &earlier[0]["display_height_px"]),
        (&json!(1389), &json!(868))
    );
    let with_keys = offer(&["--dialect", "openai", "--toolsets", "keyboard"]);
    let names: Vec<_> = with_keys.as_array().unwrap()[1..].iter().map(|tool| tool["name"].clone()).collect();
    assert_eq!(names, ["keyboard_down", "keyboard_hold", "keyboard_press", "keyboard_type", "keyboard_up"]);
    let nothing = Daemon::start("forbid (principal, action, resource);", "");
    let ran = nothing.llmsh(&["computer", "--tools", "--dialect", "anthropic"]);
    let offer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(offer[0]["configs"].as_object().unwrap().len(), 17, "{offer}");
}
