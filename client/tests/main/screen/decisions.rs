//! What is decided on the screen, and what is not.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::golden::check;
use super::*;
use crate::daemon::binary;

/// A caller that waits for the decision about a write, and goes on with it.
pub(super) struct Caller(Child);

impl Caller {
    pub(super) fn writes(daemon: &Daemon, path: &Path) -> Self {
        let path = format!("path={}", path.to_str().unwrap());
        let args = ["do", "fs.write", &path, "mode=create", "content=hi", "--reason", "keep it", "--wait"];
        let mut command = daemon.command(&args);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub(super) fn code(mut self) -> i32 {
        self.0.wait().unwrap().code().unwrap()
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(super) fn events(daemon: &Daemon) -> Vec<String> {
    let records = daemon.records();
    let decided = records.iter().filter_map(|record| record["event"].as_str());
    decided.filter(|event| ["approved", "denied"].contains(event)).map(str::to_owned).collect()
}

#[test]
fn what_is_approved_on_the_screen_runs_and_the_outcome_stays_visible() {
    let daemon = host();
    let tmux = open(&daemon, (100, 30));
    tmux.until_it_says("nothing waits");
    let path = daemon.path("w/note.txt");
    let caller = Caller::writes(&daemon, &path);
    read_to_the_end(&tmux);
    let asked = ask(&tmux, "a");
    assert!(asked.contains("Approve exactly p-") && asked.contains("SHA-256"), "{asked}");
    answer(&tmux, "yes");
    let screen = tmux.until_it_says("was approved here: it runs once, within 120 s");
    assert!(screen.contains("> fs.write"), "the plan is still there to be read:\n{screen}");
    assert_eq!((caller.code(), std::fs::read_to_string(&path).unwrap().as_str()), (0, "hi"));
    assert_eq!(events(&daemon), ["approved"]);
    tmux.press(&["q"]);
    let left = tmux.until_it_says("icanon");
    assert!(
        left.contains("exit=0") && left.contains("was approved here") && !left.contains("-icanon"),
        "{left}"
    );
    assert!(left.contains(" echo ") && !left.contains("> fs.write"), "the terminal is as it was: {left}");
}

#[test]
fn what_is_denied_on_the_screen_does_not_run() {
    let daemon = host();
    let tmux = open(&daemon, (100, 30));
    let path = daemon.path("w/note.txt");
    let caller = Caller::writes(&daemon, &path);
    tmux.until(|screen| !title(screen).is_empty());
    ask(&tmux, "d");
    answer(&tmux, "no");
    tmux.until_it_says("was denied here: it will not run");
    assert_eq!((caller.code(), path.exists()), (3, false));
    assert_eq!(events(&daemon), ["denied"]);
}

/// C16.
#[test]
fn enter_escape_other_words_and_keys_typed_ahead_approve_nothing() {
    let daemon = host();
    hold(&daemon, &plan("r-1", &[write(&daemon.path("w/note.txt"), "hi")]));
    let tmux = open(&daemon, (100, 30));
    read_to_the_end(&tmux);
    let wrong: [&[&str]; 5] =
        [&["Enter"], &["Escape"], &["y", "Enter"], &["Y", "E", "S", "Enter"], &["n", "o", "Enter"]];
    for keys in wrong {
        ask(&tmux, "a");
        tmux.press(keys);
        tmux.until(|screen| screen.contains("still waits") && !screen.contains("all else is no"));
    }
    tmux.types("ayes\r");
    tmux.until_it_says("Type yes and Enter; all else is no:");
    tmux.press(&["Enter"]);
    tmux.until(|screen| screen.contains("still waits") && !screen.contains("all else is no"));
    assert_eq!((daemon.pending().len(), events(&daemon)), (1, Vec::new()));
    assert!(!daemon.path("w/note.txt").exists());
}

/// Opens the screen of a write, and types all of the word but Enter.
pub(super) fn almost_approved(daemon: &Daemon, path: &Path, open: impl Fn() -> Tmux) -> Tmux {
    hold(daemon, &plan("r-1", &[write(path, "hi")]));
    let tmux = open();
    read_to_the_end(&tmux);
    ask(&tmux, "a");
    tmux.types("yes");
    tmux.until_it_says("all else is no: yes");
    tmux
}

/// C16.
#[test]
fn a_terminal_that_is_closed_at_the_question_approves_nothing() {
    let daemon = host();
    let path = daemon.path("w/note.txt");
    let tmux = almost_approved(&daemon, &path, || open(&daemon, (100, 30)));
    tmux.close();
    assert_eq!((daemon.pending().len(), events(&daemon), path.exists()), (1, Vec::new(), false));
}

/// C16.
#[test]
fn an_approver_who_is_killed_at_the_question_approved_nothing_and_leaves_the_terminal_as_it_was() {
    let daemon = host();
    let path = daemon.path("w/note.txt");
    let tmux = almost_approved(&daemon, &path, || open(&daemon, (100, 30)));
    let pid = rustix::process::Pid::from_raw(tmux.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let left = tmux.until_it_says("icanon");
    assert!(!left.contains("-icanon") && !left.contains("all else is no"), "{left}");
    tmux.press(&["Enter"]);
    assert_eq!((daemon.pending().len(), events(&daemon), path.exists()), (1, Vec::new(), false));
}

/// What is larger than any screen still moves at once.
#[test]
fn a_plan_of_64_actions_is_read_page_by_page() {
    let daemon = host();
    let actions: Vec<_> = (0..64).map(|n| run(&["/bin/echo", &"y".repeat(700 + n)], "greet")).collect();
    hold(&daemon, &plan("r-1", &actions));
    let tmux = open(&daemon, (100, 40));
    let start = std::time::Instant::now();
    let last = read_to_the_end(&tmux);
    println!("64 actions read in {:?}: {}", start.elapsed(), title(&last));
    ask(&tmux, "a");
}

#[test]
fn a_plan_is_read_to_its_end_before_it_is_asked_about() {
    let daemon = host();
    hold(&daemon, &plan("r-1", &[run(&["/bin/echo", &"x".repeat(4000)], "greet")]));
    let tmux = open(&daemon, (80, 20));
    tmux.until(|screen| !title(screen).is_empty());
    tmux.press(&["End", "a"]);
    let screen = tmux.until_it_says("rows were not on the screen yet");
    assert!(!screen.contains("all else is no"), "{screen}");
    read_to_the_end(&tmux);
    ask(&tmux, "a");
}

#[test]
fn a_plan_that_expires_or_is_decided_elsewhere_closes_its_question() {
    let daemon = Daemon::start(ASKS, "[confirmation]\npending_s = 4");
    let tmux = open(&daemon, (100, 30));
    tmux.until_it_says("nothing waits");
    hold(&daemon, &plan("r-1", &[write(&daemon.path("w/note.txt"), "hi")]));
    read_to_the_end(&tmux);
    ask(&tmux, "a");
    tmux.types("yes");
    let screen = tmux.until_it_says("the question is closed");
    assert!(screen.contains("expired; nothing was decided here"), "{screen}");
    check("expired", &screen, daemon.path("w").parent().unwrap());
    tmux.press(&["Enter"]);
    assert_eq!(events(&daemon), [""; 0]);

    let daemon = host();
    let tmux = open(&daemon, (100, 30));
    let id = hold(&daemon, &plan("r-2", &[write(&daemon.path("w/note.txt"), "hi")]));
    read_to_the_end(&tmux);
    ask(&tmux, "a");
    let other = hold(&daemon, &plan("r-3", &[run(&["/bin/echo"], "greet")]));
    tmux.until_it_says("2 plans wait");
    assert_eq!(daemon.llmsh(&["deny", &id]).code, 0);
    let screen = tmux.until_it_says("the question is closed");
    assert!(screen.contains("was decided elsewhere"), "{screen}");
    assert!(screen.contains("> fs.write"), "the selection does not jump to another plan: {screen}");
    check("elsewhere", &screen, daemon.path("w").parent().unwrap());
    tmux.press(&["a"]);
    tmux.until_it_says(&format!("{id} was decided elsewhere"));
    assert_eq!(daemon.pending()[0]["pending_id"], json!(other));
    assert_eq!(events(&daemon), ["denied"]);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the host is started again here")]
fn a_host_that_goes_away_is_told_and_found_again() {
    let daemon = host();
    hold(&daemon, &plan("r-1", &[write(&daemon.path("w/note.txt"), "hi")]));
    let tmux = open(&daemon, (100, 30));
    read_to_the_end(&tmux);
    ask(&tmux, "a");
    let pid = rustix::process::Pid::from_raw(daemon.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let screen = tmux.until_it_says("looking for the host");
    assert!(screen.contains("the question is closed"), "{screen}");
    let mut again = Command::new(binary());
    again.env_clear().env("HOME", daemon.path("home")).env("PATH", "/usr/bin:/bin");
    again.arg("--config").arg(daemon.path("llm-osd.toml"));
    let mut again = again.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    tmux.until_it_says("the host is there again");
    hold(&daemon, &plan("r-2", &[run(&["/bin/echo"], "greet")]));
    tmux.until_it_says("exec.run");
    let pid = rustix::process::Pid::from_child(&again);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    again.wait().unwrap();
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let daemon = host();
    let ran = daemon.llmsh(&["approve"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
    assert!(ran.stderr.contains("llmsh pending") && ran.stderr.contains("llmsh approve ID"), "{ran:?}");
    assert_eq!(daemon.llmsh(&["approve", "--yes"]).code, 2);
}

#[test]
fn it_follows_the_size_of_the_terminal() {
    let daemon = host();
    hold(&daemon, &plan("r-1", &[run(&["/bin/echo", &"x".repeat(500)], "greet")]));
    let tmux = open(&daemon, (100, 30));
    tmux.until(|screen| !title(screen).is_empty());
    for (columns, rows) in [(40, 10), (160, 50), (60, 15)] {
        tmux.resize(columns, rows);
        let screen = tmux.until(|screen| {
            title(screen).len() == usize::from(columns) && screen.lines().count() == usize::from(rows)
        });
        assert!(screen.lines().all(|row| row.len() <= usize::from(columns)), "{screen}");
    }
    read_to_the_end(&tmux);
}

/// C12: what is displayed, put together, is the text that is digested, and the digest is on the screen.
#[test]
fn what_is_displayed_put_together_is_what_is_digested() {
    use sha2::Digest;
    let daemon = host();
    let argv = ["/bin/echo", "a b", "\"q\"", "\\u{202e}", "\u{202e}", &"x".repeat(5000), "\u{1f600}"];
    hold(&daemon, &plan("r-1", &[run(&argv, "greet\nthem")]));
    let tmux = open(&daemon, (90, 20));
    let rows = whole(&tmux, 90);
    let piece = |label: &str, from: usize, until: usize| -> String {
        let below = rows.iter().skip_while(|row| row[from..until].trim() != label).skip(1);
        below.map(|row| row[from..until].trim_end()).map_while(|row| row.strip_prefix("    | ")).collect()
    };
    let name = rows.iter().find_map(|row| row.strip_prefix("Action 1 of 1: ")).unwrap().trim_end();
    let (params, reason) = (piece("with exactly", 0, 90), piece("action 1, reason", 2, 88));
    let displayed = format!(
        "{{\"version\":\"1\",\"session_id\":\"s-1\",\"actions\":[{{\"action\":{name},\"params\":{params},\"reason\":{reason}}}]}}",
    );
    let sha256: String = sha2::Sha256::digest(&displayed).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(rows.concat().contains(&sha256), "{displayed}");
    let parsed: Value = serde_json::from_str(&displayed).unwrap();
    assert_eq!(parsed["actions"][0]["params"]["argv"], json!(argv));
}

/// Every row of the selected plan, gathered page by page and padded to the terminal's width.
fn whole(tmux: &Tmux, columns: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    loop {
        let screen = tmux.until(|screen| !title(screen).is_empty());
        let numbers: Vec<usize> =
            title(&screen).split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        let (first, last, all) = (numbers[0], numbers[1], numbers[2]);
        let below = screen.lines().skip_while(|row| *row != title(&screen)).skip(1).take(last + 1 - first);
        for (number, row) in (first..).zip(below) {
            if number == rows.len() + 1 {
                rows.push(format!("{row:<columns$}"));
            }
        }
        if rows.len() == all {
            return rows;
        }
        tmux.press(&["Space"]);
        tmux.until(|now| title(now) != title(&screen));
    }
}
