//! A client that says exactly what a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};

use serde_json::{Value, json};

/// Observing and running are allowed; what changes is confirmed.
pub(crate) const POLICY: &str = r#"
permit (principal, action in Action::"observe", resource);
permit (principal, action in Action::"run", resource);
permit (principal, action, resource) when { context.confirmed };
"#;

/// `llmsh mcp` on pipes or sockets, and what it said beside answers.
pub(crate) struct Speaker {
    pub(crate) child: Child,
    write: Option<Box<dyn Write>>,
    read: Box<dyn BufRead>,
    last: u64,
    /// Requests and notifications of the server.
    pub(crate) heard: Vec<Value>,
}

impl Speaker {
    /// Starts it, and says nothing.
    pub(crate) fn silent(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let write: ChildStdin = child.stdin.take().unwrap();
        let read = BufReader::new(child.stdout.take().unwrap());
        drain(child.stderr.take().unwrap());
        Self { child, write: Some(Box::new(write)), read: Box::new(read), last: 0, heard: Vec::new() }
    }

    /// Starts it on a pair of sockets, as Node does.
    pub(crate) fn on_sockets(command: &mut Command) -> Self {
        let (stdin, theirs) = UnixStream::pair().unwrap();
        let (stdout, theirs_too) = UnixStream::pair().unwrap();
        let child = command
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(theirs_too)))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The ends of the child lie in the command until it is another's.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let read = Box::new(BufReader::new(stdout));
        let mut speaker = Self { child, write: Some(Box::new(stdin)), read, last: 0, heard: Vec::new() };
        speaker.initialize(&json!({}));
        speaker
    }

    /// Starts it and shakes hands, with a version that has server-to-client requests.
    pub(crate) fn new(command: &mut Command) -> Self {
        Self::able(command, &json!({}))
    }

    /// The same with capabilities.
    pub(crate) fn able(command: &mut Command, capabilities: &Value) -> Self {
        let mut speaker = Self::silent(command);
        speaker.initialize(capabilities);
        speaker
    }

    pub(crate) fn initialize(&mut self, capabilities: &Value) {
        let client = json!({"name": "test", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": client});
        let answer = self.ask("initialize", &params);
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
    }

    pub(crate) fn say(&mut self, line: &str) {
        let write = self.write.as_mut().unwrap();
        write.write_all(line.as_bytes()).and_then(|()| write.write_all(b"\n")).unwrap();
    }

    /// Closes its stdin.
    pub(crate) fn hang_up(&mut self) {
        self.write = None;
    }

    /// The next message, whatever it is.
    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.read.read_line(&mut line).unwrap() > 0, "the server ended");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// Everything until the server ends.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.read.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Sends a request and returns its number.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> u64 {
        self.last += 1;
        let request = json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params});
        self.say(&request.to_string());
        self.last
    }

    /// The answer to a request of that number.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.hear();
            if message["id"] == json!(id) && message.get("method").is_none() {
                return message;
            }
            self.heard.push(message);
        }
    }

    pub(crate) fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.request(method, params);
        self.answer(id)
    }

    pub(crate) fn start_call(&mut self, tool: &str, arguments: &Value) -> u64 {
        self.request("tools/call", &json!({"name": tool, "arguments": arguments}))
    }

    /// Calls a tool; the whole answer.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let id = self.start_call(tool, arguments);
        self.answer(id)
    }

    /// The tools by their names.
    pub(crate) fn tools(&mut self) -> std::collections::BTreeMap<String, Value> {
        let answer = self.ask("tools/list", &json!({}));
        let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
        tools.iter().map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool.clone())).collect()
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn drain(mut stderr: ChildStderr) {
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = stderr.read_to_end(&mut said);
        eprint!("{}", String::from_utf8_lossy(&said));
    });
}

/// A program of others that `scripts/setup test` installed.
pub(crate) fn peer(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers").join(path);
    assert!(path.exists(), "{} is missing; install it with: scripts/setup test", path.display());
    path
}
