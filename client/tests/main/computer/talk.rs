//! `llmsh computer` while it runs, and a scripted host with a desktop.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::peer::{Peer, answer, told};

/// A conversation with the program: a line in, a line out.
pub(crate) struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Talk {
    pub(crate) fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Self { stdin: child.stdin.take(), stdout, child }
    }

    pub(crate) fn say(&mut self, line: &Value) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, line: &Value) -> Value {
        self.say(line);
        self.hear()
    }

    /// Stops reading the answers. The program still has its stdin.
    pub(crate) fn go_away(&mut self) {
        self.stdout = None;
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// How it ends, and what it said on stderr; stdin is closed only if it is to.
    pub(crate) fn end(mut self, closes_stdin: bool) -> (Option<i32>, String) {
        if closes_stdin {
            self.stdin = None;
        }
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap().code(), stderr)
    }
}

/// A picture that no decoder needs to read.
pub(crate) const PICTURE: &str = "aGk=";

/// A host with a screen of 2560x1600 and the pointer in its middle. An action that `fails` names fails with its message.
pub(crate) fn desktop(fails: Option<(&'static str, &'static str)>) -> Peer {
    Peer::new(move |_, frame| respond(frame, fails))
}

/// How such a host answers a frame.
pub(crate) fn respond(frame: &Value, fails: Option<(&str, &str)>) -> String {
    let mut is_over = false;
    let results = frame["actions"].as_array().unwrap().iter().map(|action| {
        let (name, params) = (action["action"].as_str().unwrap(), &action["params"]);
        match fails {
            _ if is_over => json!({"action": name, "status": "not_run"}),
            Some((failing, message)) if failing == name => {
                is_over = true;
                json!({"action": name, "status": "failed", "error": {"code": "window_changed", "message": message}})
            }
            Some(_) | None => json!({"action": name, "status": "ok", "output": output(name, params)}),
        }
    });
    answer(&Value::Array(results.collect()), &Value::Null)
}

fn output(name: &str, params: &Value) -> Value {
    let screen = json!({"x": 0, "y": 0, "width": 2560, "height": 1600});
    let picture = json!({"media_type": "image/png", "encoding": "base64", "data": PICTURE, "bytes": 2});
    match name {
        "monitor.list" => json!({"monitors": [], "bounds": screen}),
        "monitor.capture" => {
            let edge = |name: &str| params.get(name).unwrap_or(&screen[name]).clone();
            let space = json!({"width": edge("width"), "height": edge("height"), "region": screen});
            json!({"picture": picture, "space": space, "monitors": [], "masked": 0})
        }
        "monitor.zoom" => json!({"picture": picture, "mapping": {}, "masked": 0}),
        "mouse.position" => json!({"x": 1280, "y": 800, "buttons": [], "modifiers": []}),
        _ => json!({}),
    }
}

/// A host that describes these actions, and has such a desktop.
pub(crate) fn describing(actions: Value) -> Peer {
    Peer::new(move |action, frame| match action {
        "host.describe" => told(&json!({"version": "0.1.0", "actions": actions})),
        _ => respond(frame, None),
    })
}

/// A call of a member of the toolset.
pub(crate) fn member(id: &str, name: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": name, "toolset_name": "computer", "input": input})
}

/// A call of an earlier version.
pub(crate) fn earlier(id: &str, name: &str, mut input: Value) -> Value {
    input["action"] = json!(name);
    json!({"type": "tool_use", "id": id, "name": "computer", "input": input})
}

/// A call of an action of the host.
pub(crate) fn host_tool(id: &str, name: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": name, "input": input})
}

/// A call with several actions.
pub(crate) fn computer_call(id: &str, actions: Value) -> Value {
    json!({"type": "computer_call", "id": "cu_1", "call_id": id, "actions": actions, "pending_safety_checks": [],
        "status": "completed"})
}

/// The only text of a result.
#[track_caller]
pub(crate) fn text(result: &Value) -> &str {
    let content = result["content"].as_array().unwrap_or_else(|| panic!("{result:#}"));
    assert_eq!(content.len(), 1, "{result:#}");
    content[0]["text"].as_str().unwrap_or_else(|| panic!("{result:#}"))
}

/// The actions of each frame, as name and params.
pub(crate) fn plans(frames: &[Value]) -> Vec<Vec<(String, Value)>> {
    let action = |action: &Value| (action["action"].as_str().unwrap().to_owned(), action["params"].clone());
    frames.iter().map(|frame| frame["actions"].as_array().unwrap().iter().map(action).collect()).collect()
}
