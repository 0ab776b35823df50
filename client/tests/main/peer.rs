//! A scripted host, and the program under test.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A host that answers each frame by a function and remembers it.
pub(crate) struct Peer {
    pub(crate) dir: TempDir,
    frames: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    /// Answers the frame, whose action is given as well, with a line.
    pub(crate) fn new(answer: impl Fn(&str, &Value) -> String + Send + 'static) -> Self {
        Self::raw(move |stream, remember| {
            let mut frames = BufReader::new(&stream);
            loop {
                let mut frame = String::new();
                if frames.read_line(&mut frame).unwrap() == 0 {
                    return;
                }
                let value: Value = serde_json::from_str(&frame).unwrap_or_default();
                // Once the answer is out, the program may end and the test may look.
                remember.lock().unwrap().push(frame);
                let action = value["actions"][0]["action"].as_str().unwrap_or_default();
                (&stream).write_all(format!("{}\n", answer(action, &value)).as_bytes()).unwrap();
            }
        })
    }

    /// Serves connections by a function that remembers what it reads.
    pub(crate) fn raw(serve: impl Fn(UnixStream, &Mutex<Vec<String>>) + Send + 'static) -> Self {
        let dir = TempDir::new().unwrap();
        let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        let frames = Arc::new(Mutex::new(Vec::new()));
        let remember = frames.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &remember);
            }
        });
        Self { dir, frames }
    }

    /// A host that answers every frame with the same line.
    pub(crate) fn always(line: impl Into<String>) -> Self {
        let line = line.into();
        Self::new(move |_, _| line.clone())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// A file beside the socket.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Everything that was received.
    pub(crate) fn frames(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Everything that was received, as it came.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.frames.lock().unwrap().clone()
    }

    /// Runs the program with both sockets named by the environment.
    pub(crate) fn llmsh(&self, args: &[&str]) -> Ran {
        self.llmsh_with(args, "")
    }

    pub(crate) fn llmsh_with(&self, args: &[&str], stdin: &str) -> Ran {
        run(&mut self.command(args), stdin)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        command(&self.socket(), self.dir.path(), args)
    }
}

/// The program under test, in `folder`, with nothing in its environment but the sockets.
#[allow(clippy::disallowed_methods, reason = "the program under test is started here")]
pub(crate) fn command(socket: &Path, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llmsh"));
    command.args(args).current_dir(folder).env_clear();
    command.env("LLM_OSD_SOCKET", socket).env("LLM_OSD_APPROVAL_SOCKET", socket);
    command
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn run(command: &mut Command, stdin: &str) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that needs no more input may be gone.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) const PLAN: &str = r#"{"request_id":"r-1","session_id":"s-1","version":"1","mode":"execute","actions":[{"action":"exec.run","params":{"argv":["/bin/echo","hi"]},"reason":"greet"}]}"#;

/// An answer with these results and this error.
pub(crate) fn answer(results: &Value, error: &Value) -> String {
    format!(
        r#"{{"request_id":"r-1","session_id":"s-1","version":"1","executed":true,"results":{results},"error":{error},"meta":{{"duration_us":7}}}}"#
    )
}

/// The answer of a verb of the protocol.
pub(crate) fn told(output: &Value) -> String {
    answer(&json!([{"action": "host.x", "status": "ok", "output": output}]), &Value::Null)
}

/// What a host with one action says of itself.
pub(crate) fn described(action: &str, params: &Value) -> String {
    told(&json!({"version": "0.1.0", "actions": [{
        "action": action, "tool_name": action.replace('.', "_"), "doc": "Does it.", "params": params, "output": {},
        "effects": [], "decision": "depends",
    }]}))
}

/// An answer that refuses the plan.
pub(crate) fn refused(code: &str) -> String {
    answer(&json!([]), &json!({"code": code, "message": "because", "path": "$.actions[0]"}))
}
