//! A client that speaks lines, and the plans that it sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::process::PATIENCE;

/// A connection to one of the sockets.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> Self {
        Self::try_connect(socket).unwrap_or_else(|e| panic!("{}: {e}", socket.display()))
    }

    pub(crate) fn try_connect(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a frame and waits for its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, frame: &Value) -> Value {
        self.send(frame);
        self.answer()
    }

    pub(crate) fn send(&mut self, frame: &Value) {
        self.send_bytes(format!("{frame}\n").as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// As far as the other side takes it: it may have closed already.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The next line of the host.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Value {
        let line = self.line().expect("an answer before the end");
        assert_shape(&line);
        serde_json::from_str(&line).unwrap()
    }

    /// The next line, or `None` where the host closed the connection.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line),
            // A host that closes with bytes of ours unread resets the connection.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(e) => panic!("no line: {e}"),
        }
    }

    /// Whether the host closed the connection, and sent nothing more before.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.line().is_none()
    }

    /// Everything until the host closes the connection, by length.
    pub(crate) fn drain(&mut self) -> usize {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest.len()
    }

    /// Closes the writing side only.
    pub(crate) fn finish(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).unwrap();
    }
}

/// Every answer has these keys in this order, and says where a plan as a whole failed.
fn assert_shape(line: &str) {
    let mut at = 0;
    for key in ["request_id", "session_id", "version", "executed", "results", "error", "meta"] {
        let found = line[at..].find(&format!("\"{key}\":"));
        at += found.unwrap_or_else(|| panic!("no {key} in its place: {line}"));
    }
}

/// A plan to execute.
pub(crate) fn plan(id: &str, actions: &[Value]) -> Value {
    json!({"request_id": id, "version": "1", "mode": "execute", "actions": actions})
}

/// The same with more fields, or other values for some.
pub(crate) fn with(mut frame: Value, more: Value) -> Value {
    frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    frame
}

/// The same with a token.
pub(crate) fn confirmed(frame: &Value, token: &str) -> Value {
    with(frame.clone(), json!({"confirmation": {"token": token}}))
}

/// One action.
pub(crate) fn act(name: &str, params: Value) -> Value {
    json!({"action": name, "params": params, "reason": "a test"})
}

/// `exec.run`.
pub(crate) fn run(argv: &[&str]) -> Value {
    act("exec.run", json!({"argv": argv}))
}

/// `fs.write`, creating.
pub(crate) fn write(path: &Path, content: &str) -> Value {
    act("fs.write", json!({"path": path, "content": content, "mode": "create"}))
}

/// `fs.read`.
pub(crate) fn read(path: &Path) -> Value {
    act("fs.read", json!({"path": path}))
}

/// An action that is allowed, and asks since it says so.
pub(crate) fn asking(mut action: Value) -> Value {
    action["danger"] = json!("a test says so");
    action
}

/// The code of a plan's error, or of the action that failed; empty where all went well.
pub(crate) fn code(answer: &Value) -> &str {
    let failed = || answer["results"].as_array()?.iter().find_map(|result| result["error"]["code"].as_str());
    answer["error"]["code"].as_str().or_else(failed).unwrap_or_default()
}

/// The answer without what varies by nature.
pub(crate) fn stable(mut answer: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("meta");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut answer);
    answer
}
