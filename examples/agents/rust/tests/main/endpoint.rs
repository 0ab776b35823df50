//! The endpoint of a model, played: HTTP on a port of this machine, and a script of what is answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::dialect::{Call, Dialect, Seen};

/// What is answered to a request, which was understood, and was as the API wants it.
pub(crate) type Step = Box<dyn FnOnce(&Seen) -> Reply + Send>;

pub(crate) enum Reply {
    /// The model wants this done.
    Calls(Vec<Call>),
    /// The model is done.
    Says(String),
    /// A body that the API would send with 200.
    Body(Value),
    /// Anything else: status, a header, body.
    Raw(u16, &'static str, String),
    /// The connection is closed.
    Nothing,
}

/// Answers requests one by one, until its script is over.
pub(crate) struct Endpoint {
    pub(crate) dialect: Dialect,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

/// A step that looks at nothing.
pub(crate) fn step(reply: Reply) -> Step {
    Box::new(|_| reply)
}

impl Endpoint {
    pub(crate) fn start(dialect: Dialect, script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = std::thread::spawn(move || serve(&listener, dialect, script));
        Self { dialect, address, serving }
    }

    /// What the agent is given as base URL.
    pub(crate) fn base(&self) -> String {
        match self.dialect {
            Dialect::Anthropic => format!("http://{}", self.address),
            Dialect::Openai => format!("http://{}/v1", self.address),
        }
    }

    /// Holds that all was asked for, that nothing more was, and that every request was as it should be.
    #[track_caller]
    pub(crate) fn finish(self) {
        // Wakes it, where it still waits. A connection without a request is no request.
        let _ = TcpStream::connect(self.address);
        if let Err(panic) = self.serving.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A request as HTTP brings it.
pub(crate) struct Request {
    pub(crate) line: String,
    /// In lower case, with their values as they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// `None` where the other side only connected.
    fn read(stream: &TcpStream) -> Option<Self> {
        let mut stream = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let first = line();
        let headers: Vec<_> = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()))
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_lowercase(), value.to_owned())
            })
            .collect();
        let request = Self { line: first, headers, body: Value::Null };
        let length = request.header("content-length")?.parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        Some(Self { body: serde_json::from_slice(&body).unwrap(), ..request })
    }
}

fn serve(listener: &TcpListener, dialect: Dialect, script: Vec<Step>) {
    let mut said = Vec::new();
    let mut left = script.len();
    for step in script {
        let (stream, _) = listener.accept().unwrap();
        let request = Request::read(&stream);
        let request = request.unwrap_or_else(|| panic!("{left} more requests were expected"));
        let reply = step(&dialect.read(&request, &said));
        left -= 1;
        let (status, header, body) = match reply {
            Reply::Calls(calls) => (200, "", dialect.calls(said.len(), calls).to_string()),
            Reply::Says(text) => (200, "", dialect.says(&text).to_string()),
            Reply::Body(body) => (200, "", body.to_string()),
            Reply::Raw(status, header, body) => (status, header, body),
            Reply::Nothing => continue,
        };
        if status == 200 {
            let body: Value = serde_json::from_str(&body).unwrap_or_default();
            said.push(body.get("content").or(body.get("output")).cloned().unwrap_or(json!(null)));
        }
        let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        let answer = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{header}connection: close\r\n\r\n{body}",
            body.len()
        );
        (&stream).write_all(answer.as_bytes()).unwrap();
    }
    let (stream, _) = listener.accept().unwrap();
    assert!(Request::read(&stream).is_none(), "there was a request more than were expected");
}
