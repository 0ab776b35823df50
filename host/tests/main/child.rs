//! What a program that the daemon runs does: this test binary is that program, started once more.
//!
//! The tests here are ignored: `exec.run` starts them by name, and their input says what to do.

use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::{Client, act};
use crate::daemon::{Daemon, ping};

const SEND: &str = "child::sends_each_line_of_its_input";

/// The action that runs this binary, which sends a frame to each socket and prints what comes back.
pub(crate) fn speaks_to(sockets: &[&Path], frame: &Value) -> Value {
    let lines: Vec<String> = sockets.iter().map(|socket| format!("{} {frame}\n", socket.display())).collect();
    let program = std::env::current_exe().unwrap();
    let argv = json!([program, SEND, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    act("exec.run", json!({"argv": argv, "stdin": lines.concat(), "expect_exit": [0]}))
}

/// What the child printed, one for each socket.
pub(crate) fn heard(daemon: &Daemon, answer: &Value) -> Vec<Value> {
    let text = answer["results"][0]["output"]["stdout"]["text"].as_str();
    let text = text.unwrap_or_else(|| panic!("{answer:#}\n{}", daemon.said()));
    let lines = text.lines().filter_map(|line| line.split_once("heard: "));
    lines.map(|(_, json)| serde_json::from_str(json).unwrap()).collect()
}

#[test]
#[ignore = "run by exec.run, in other tests of this binary"]
fn sends_each_line_of_its_input() {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).unwrap();
    for line in input.lines() {
        let (socket, frame) = line.split_once(' ').unwrap();
        let heard = Client::try_connect(Path::new(socket)).map(|mut client| {
            // The host answers and closes without reading.
            let _ = client.try_send_bytes(format!("{frame}\n").as_bytes());
            client.line()
        });
        match heard {
            Ok(line) => println!("heard: {}", line.as_deref().unwrap_or("null").trim_end()),
            Err(e) => println!("heard: {}", json!({"unreachable": e.to_string()})),
        }
    }
}

/// C06, C07: neither to approve what its caller waits for, nor to send plans in its caller's name. A program can make no
/// socket; src/server/peer.rs tests that one which could would be refused.
#[test]
fn a_program_that_a_plan_runs_reaches_neither_socket() {
    let daemon = Daemon::start();
    let frame = crate::client::plan(
        "c06",
        &[speaks_to(&[&daemon.approval_socket(), &daemon.plan_socket()], &ping())],
    );
    let token = daemon.token_for(&frame);
    let answer = daemon.ask(&crate::client::confirmed(&frame, &token));
    let heard = heard(&daemon, &answer);
    assert_eq!(heard.len(), 2, "{answer:#}");
    for heard in heard {
        assert_eq!(heard, json!({"unreachable": "Operation not permitted (os error 1)"}));
    }
    daemon.stop();
}
