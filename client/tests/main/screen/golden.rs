//! What the screen looks like for each kind of plan. `UPDATE_GOLDEN=1` writes what is there now.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;

/// Compares a screen with the kept one, apart from what differs on each run.
#[track_caller]
pub(super) fn check(name: &str, screen: &str, place: &Path) {
    let shown = normal(screen, place);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/screen/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &shown).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == shown, "{} is another; it is now:\n{shown}", file.display());
}

/// Ids, digests, places, users, times and sizes that depend on them, each as one sign or one a character.
fn normal(screen: &str, place: &Path) -> String {
    let place = place.to_str().unwrap();
    let mut shown = String::new();
    for row in screen.replace(place, &"D".repeat(place.len())).lines() {
        let uid = rustix::process::geteuid().as_raw();
        // The rest of an entry of the list depends on the length of a name.
        let row = match row.split_once(&format!("  {uid}")) {
            Some((entry, _)) if entry.starts_with(['>', ' ']) => entry,
            _ => row,
        };
        let row = match row.split_once(&format!("of user {uid}")) {
            Some((before, after)) => {
                let after =
                    after.strip_prefix(" (").and_then(|name| name.split_once(')')).map_or(after, |n| n.1);
                format!("{before}of user U{after}")
            }
            None => row.to_owned(),
        };
        let words = row.split_inclusive(' ').map(|word| {
            let (bare, end) = word.split_at(word.trim_end_matches([' ', ',']).len());
            let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
            let id = bare.trim_matches(['"', ':']);
            // An id may be cut at the edge of the screen.
            match id.strip_prefix("p-").unwrap_or(id) {
                id if is_hex(id) && (id.len() >= 16 || bare.starts_with("p-")) => {
                    format!("{}{end}", bare.replace(id, &"#".repeat(id.len())))
                }
                _ => word.to_owned(),
            }
        });
        shown.push_str(seconds(&words.collect::<String>()).trim_end());
        shown.push('\n');
    }
    shown
}

/// A row with `#` for each number of seconds.
fn seconds(row: &str) -> String {
    let mut words: Vec<String> = row.split(' ').map(str::to_owned).collect();
    for index in 1..words.len() {
        let is_number = !words[index - 1].is_empty() && words[index - 1].bytes().all(|b| b.is_ascii_digit());
        if is_number && ["s", "s,"].contains(&words[index].as_str()) {
            words[index - 1] = "#".to_owned();
        }
    }
    words.join(" ")
}

/// The first page and the last one of the only plan.
fn pages(name: &str, action: &dyn Fn(&Daemon) -> Value) {
    let daemon = host();
    hold(&daemon, &plan("r-1", &[action(&daemon)]));
    let tmux = open(&daemon, (90, 30));
    let place = daemon.path("");
    let place = Path::new(place.to_str().unwrap().trim_end_matches('/'));
    check(&format!("{name}-first"), &tmux.until(|screen| !title(screen).is_empty()), place);
    let last = read_to_the_end(&tmux);
    assert!(tmux.coloured().is_ascii() && !last.contains('\u{1b}'), "{last}");
    check(&format!("{name}-last"), &last, place);
    let asked = ask(&tmux, "a");
    check(&format!("{name}-asked"), &asked, place);
}

#[test]
fn golden_a_program() {
    pages("exec", &|_| run(&["/bin/echo", "hi", "two words"], "greet the user"));
}

#[test]
fn golden_arguments_longer_than_many_screens() {
    pages("long", &|_| run(&["/bin/echo", &"x".repeat(60 << 10)], "print much"));
}

/// C09.
#[test]
fn golden_escape_sequences() {
    let hostile = "\u{1b}[2K\u{1b}[1A\u{1b}]52;c;aGk=\u{7}\u{1b}]8;;http://x\u{1b}\\here\rApproved\u{9b}2J";
    pages("escapes", &|_| run(&["/bin/echo", hostile], &format!("safe{hostile}\n\nApproved: yes")));
}

/// C10, C11.
#[test]
fn golden_characters_that_deceive() {
    let argv = ["/bin/echo", "a\u{202e}gpj.exe", "zero\u{200b}width", "\u{455}udo"];
    pages("deceit", &|_| run(&argv, "look \u{2066}closely"));
}

#[test]
fn golden_a_write() {
    pages("write", &|daemon| write(&daemon.path("w/note.txt"), "one\ntwo\n"));
}

#[test]
fn golden_many_plans_in_a_small_terminal() {
    let daemon = host();
    for number in 1..=5 {
        hold(&daemon, &plan(&format!("r-{number}"), &[run(&["/bin/echo", &number.to_string()], "greet")]));
    }
    let place = daemon.path("w");
    let tmux = open(&daemon, (40, 10));
    tmux.until(|screen| !title(screen).is_empty());
    tmux.press(&["Down", "Down"]);
    tmux.until(|screen| {
        screen.lines().nth(2).is_some_and(|row| row.starts_with('>')) && !title(screen).is_empty()
    });
    read_to_the_end(&tmux);
    tmux.press(&["a"]);
    let all = tmux.until_it_says("Read it to its end first");
    assert!(all.contains("Approve exactly"), "{all}");
    tmux.press(&["Down"; 9]);
    check("small", &tmux.until_it_says("all else is no:"), place.parent().unwrap());
}

#[test]
fn golden_what_was_refused_and_what_the_keys_do() {
    let daemon = host();
    let long =
        json!({"action": "exec.run", "params": {"argv": ["/bin/echo", "x".repeat(4000)]}, "reason": "greet"});
    hold(&daemon, &plan("r-1", &[long]));
    let place = daemon.path("w");
    let tmux = open(&daemon, (90, 20));
    tmux.until(|screen| !title(screen).is_empty());
    tmux.press(&["a"]);
    check("unread", &tmux.until_it_says("read it first"), place.parent().unwrap());
    tmux.press(&["?"]);
    check("help", &tmux.until_it_says("Every other answer is no"), place.parent().unwrap());
}
