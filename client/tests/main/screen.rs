//! The approval screen, in a real terminal, with a real host behind it.

mod decisions;
mod golden;
mod latency;
mod previews;
mod real;
mod remote;

use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::tmux::Tmux;

/// Everything waits for a human.
const ASKS: &str = "permit (principal, action, resource) when { context.confirmed };";

/// A host whose plans all wait for a human.
fn host() -> Daemon {
    Daemon::start(ASKS, "")
}

fn open_with(size: (u16, u16), socket: &Path, variables: &[(&str, &str)], args: &[&str]) -> Tmux {
    let socket = socket.to_str().unwrap();
    let folder =
        socket.strip_suffix("/approval/approval.sock").or_else(|| socket.strip_suffix("/sock")).unwrap();
    let base = [("LLM_OSD_APPROVAL_SOCKET", socket), ("TERM", "screen-256color"), ("COLORTERM", "truecolor")];
    let variables: Vec<_> = base.into_iter().chain(variables.iter().copied()).collect();
    let program = [&[env!("CARGO_BIN_EXE_llmsh"), "approve"], args].concat();
    Tmux::start(size, Path::new(folder), &variables, &program)
}

/// The screen of an approver of this host.
fn open(daemon: &Daemon, size: (u16, u16)) -> Tmux {
    open_with(size, &daemon.path("approval/approval.sock"), &[], &[])
}

fn plan(id: &str, actions: &[Value]) -> Value {
    json!({"request_id": id, "session_id": "s-1", "version": "1", "mode": "execute", "actions": actions})
}

fn run(argv: &[&str], reason: &str) -> Value {
    json!({"action": "exec.run", "params": {"argv": argv}, "reason": reason})
}

fn write(path: &Path, content: &str) -> Value {
    json!({"action": "fs.write", "params": {"path": path, "mode": "create", "content": content}, "reason": "keep it"})
}

/// Sends a plan that is held, and gives its name.
#[track_caller]
fn hold(daemon: &Daemon, plan: &Value) -> String {
    let file = daemon.path("plan.json");
    std::fs::write(&file, plan.to_string()).unwrap();
    let ran = daemon.llmsh(&["send", file.to_str().unwrap()]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    answer["error"]["details"]["pending_id"].as_str().unwrap().to_owned()
}

/// Reads the selected plan to its end.
#[track_caller]
fn read_to_the_end(tmux: &Tmux) -> String {
    loop {
        let before = tmux.until(|screen| !title(screen).is_empty());
        if before.contains(", all read") {
            return before;
        }
        tmux.press(&["Space"]);
        tmux.until(|screen| title(screen) != title(&before));
    }
}

/// The row above the plan, which says what of it is on the screen.
fn title(screen: &str) -> &str {
    let is_title =
        |row: &&str| row.contains(" rows ") && (row.contains(" unread") || row.contains(", all read"));
    screen.lines().find(is_title).unwrap_or_default()
}

/// Opens a question, and waits until it can be answered.
#[track_caller]
fn ask(tmux: &Tmux, key: &str) -> String {
    tmux.press(&[key]);
    tmux.until_it_says("and Enter; all else is no:")
}

/// Answers the question that is open.
fn answer(tmux: &Tmux, word: &str) {
    tmux.types(word);
    tmux.press(&["Enter"]);
}
