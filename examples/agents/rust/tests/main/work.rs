//! A whole task: looking, clicking, typing, a file that a person approves, and a last word.

use std::fs;

use serde_json::json;

use crate::agent::Agent;
use crate::dialect::{Call, Dialect};
use crate::endpoint::{Endpoint, Reply, Step};
use crate::host::{Host, wait_for};

/// An editor. That it can be clicked, that it was, and what is typed into it, it writes into a folder.
const EDITOR: &str = r##"
import os, sys, tkinter
def write(name, content):
    with open(f"{sys.argv[1]}/{name}.new", "w", encoding="utf-8") as file:
        file.write(content)
    os.rename(f"{sys.argv[1]}/{name}.new", f"{sys.argv[1]}/{name}")
def typed(_):
    write("typed", text.get("1.0", "end-1c"))
    text.edit_modified(False)
root = tkinter.Tk(className="Notes")
text = tkinter.Text(root, background="#b7e4c7")
text.pack()
text.bind("<<Modified>>", typed)
text.bind("<Button-1>", lambda _: write("clicked", ""))
text.wait_visibility()
write("shown", "")
root.mainloop()
"##;

const PAPER: [u8; 3] = [0xb7, 0xe4, 0xc7];

fn does_a_task(agent: Agent, dialect: Dialect) {
    let host = Host::with_display();
    let (folder, script) = (host.path("w"), host.path("w/editor.py"));
    fs::write(&script, EDITOR).unwrap();
    host.open(&["/usr/bin/python3", script.to_str().unwrap(), folder.to_str().unwrap()]);
    wait_for("the editor", || folder.join("shown").exists().then_some(()));
    let note = folder.join("note.txt");
    let path = note.to_str().unwrap().to_owned();
    let (wrote, read) = (path.clone(), path);
    let (clicked, typed) = (folder.join("clicked"), folder.join("typed"));
    let script: Vec<Step> = vec![
        Box::new(|seen| {
            let offered = |name: &str| seen.tools.iter().any(|tool| tool == name);
            assert!(offered("fs_read") && offered("fs_write") && !offered("exec_run"), "{:?}", seen.tools);
            assert!(
                !seen.headers.iter().any(|(name, _)| name == "anthropic-beta"),
                "the newest tool is not in beta"
            );
            Reply::Calls(vec![Call::Screenshot])
        }),
        Box::new(|seen| {
            let picture = seen.picture();
            assert_eq!((picture.width, picture.height), (1280, 800));
            let (x, y) = picture.find(PAPER).expect("the editor is in the picture");
            Reply::Calls(vec![Call::Click(x, y)])
        }),
        Box::new(move |seen| {
            assert!(!seen.only().failed, "{}", seen.only().words);
            wait_for("the click", || clicked.exists().then_some(()));
            Reply::Calls(vec![Call::Type("hello")])
        }),
        Box::new(move |seen| {
            assert!(!seen.only().failed, "{}", seen.only().words);
            wait_for("the text", || (fs::read_to_string(&typed).ok()? == "hello").then_some(()));
            let note =
                json!({"path": wrote, "content": "said hello\n", "mode": "create", "reason": "keep a note"});
            Reply::Calls(vec![Call::Tool("fs_write", note), Call::Screenshot])
        }),
        Box::new(move |seen| {
            assert_eq!(seen.results.len(), 2);
            assert!(seen.results.iter().all(|result| !result.failed), "{}", seen.results[0].words);
            assert!(seen.picture().find(PAPER).is_some());
            Reply::Calls(vec![Call::Tool(
                "fs_read",
                json!({"path": read, "reason": "see whether it is there"}),
            )])
        }),
        Box::new(|seen| {
            assert!(seen.only().words.contains("said hello"), "{}", seen.only().words);
            Reply::Says("The note is saved.".to_owned())
        }),
    ];
    let endpoint = Endpoint::start(dialect, script);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| host.approve_next());
        agent.run(&host, &endpoint, &["--toolsets", "fs"])
    });
    println!("{}", ran.stderr);
    endpoint.finish();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "The note is saved.\n"));
    assert_eq!(fs::read_to_string(&note).unwrap(), "said hello\n");
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(lines.iter().filter(|line| **line == "I go on.").count(), 5, "{lines:#?}");
    for (mark, count) in [("-> ", 6), ("<- ", 6)] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(mark)).count(), count, "{mark}: {lines:#?}");
    }
    let records = json!(host.records()).to_string();
    assert!(records.contains("fs.write") && records.contains("keyboard.type"));
    assert!(!records.contains("hello"), "what was typed and written is no one's to read");
}

#[test]
fn the_python_agent_does_a_task_by_the_messages_api() {
    does_a_task(Agent::Python, Dialect::Anthropic);
}

#[test]
fn the_python_agent_does_a_task_by_the_responses_api() {
    does_a_task(Agent::Python, Dialect::Openai);
}

#[test]
fn the_rust_agent_does_a_task_by_the_messages_api() {
    does_a_task(Agent::Rust, Dialect::Anthropic);
}

#[test]
fn the_rust_agent_does_a_task_by_the_responses_api() {
    does_a_task(Agent::Rust, Dialect::Openai);
}
