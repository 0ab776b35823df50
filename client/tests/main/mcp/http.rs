//! Streamable HTTP, by hand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::json;

use crate::daemon::Daemon;
use crate::mcp::speaker::POLICY;

/// `llmsh mcp --http` on a free port.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) token_file: PathBuf,
}

impl Served {
    pub(crate) fn new(daemon: &Daemon, args: &[&str]) -> Self {
        let mut command = daemon.command(&[&["mcp", "--http", "127.0.0.1:0"], args].concat());
        command.env("XDG_RUNTIME_DIR", daemon.path("home"));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut after = |mark: &str| {
            let line = said.next().unwrap().unwrap();
            line.split_once(mark).unwrap_or_else(|| panic!("{line}")).1.to_owned()
        };
        let address = after("http://").trim_end_matches("/mcp").parse().unwrap();
        let token_file = PathBuf::from(after("token is in "));
        let token = std::fs::read_to_string(&token_file).unwrap();
        Self { child, address, token, token_file }
    }

    /// The status of an answer to `tools/list`, and all of it.
    fn post(&self, path: &str, headers: &str) -> (u16, String) {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
        let request = format!(
            "POST {path} HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             Connection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let mut lines = BufReader::new(stream);
        lines.read_line(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 200 {
            lines.read_to_string(&mut answer).unwrap();
        }
        (status, answer)
    }

    fn bearer(&self, token: &str) -> String {
        format!("Host: {}\r\nAuthorization: Bearer {token}\r\n", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn only_who_shows_the_token_is_served() {
    let daemon = Daemon::start(POLICY, "");
    let served = Served::new(&daemon, &[]);
    assert_eq!(served.token_file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(served.token.len(), 64);
    assert_eq!(served.post("/mcp", &served.bearer(&served.token)).0, 200);
    let shorter = &served.token[1..];
    for wrong in ["", "x", shorter, &format!("{}x", served.token)] {
        let (status, answer) = served.post("/mcp", &served.bearer(wrong));
        assert_eq!(status, 401, "{answer}");
        assert!(answer.to_lowercase().contains("www-authenticate: bearer"), "{answer}");
    }
    let host = format!("Host: {}\r\n", served.address);
    assert_eq!(served.post("/mcp", &host).0, 401);
    assert_eq!(served.post("/mcp", &format!("{host}Authorization: Basic {}\r\n", served.token)).0, 401);
    assert_eq!(served.post("/elsewhere", &served.bearer(&served.token)).0, 404);
}

#[test]
fn a_web_page_is_not_served_even_with_the_token() {
    let daemon = Daemon::start(POLICY, "");
    let served = Served::new(&daemon, &[]);
    let token = format!("Authorization: Bearer {}\r\n", served.token);
    assert_eq!(served.post("/mcp", &format!("Host: evil.example\r\n{token}")).0, 403);
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        let headers = format!("{}Origin: {origin}\r\n", served.bearer(&served.token));
        assert_eq!(served.post("/mcp", &headers).0, 403, "{origin}");
    }
}

#[test]
fn a_fresh_token_is_gone_after_an_orderly_end() {
    let daemon = Daemon::start(POLICY, "");
    let mut served = Served::new(&daemon, &[]);
    let pid = rustix::process::Pid::from_child(&served.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
    assert!(!served.token_file.exists());
}

#[test]
fn wrong_addresses_and_tokens_are_wrong_usage_that_says_why() {
    let daemon = Daemon::start(POLICY, "");
    let check = |args: &[&str], variable: Option<&str>, expected: &str| {
        let mut command = daemon.command(&[&["mcp"], args].concat());
        command.envs(variable.map(|token| ("LLMSH_MCP_TOKEN", token)));
        let ran = crate::peer::run(&mut command, "");
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(expected), "{ran:?}");
    };
    check(&["--http", "0.0.0.0:0"], None, "not a loopback address");
    check(&["--http", "192.0.2.1:80"], None, "not a loopback address");
    check(&["--http", "8080"], None, "expected an address and a port");
    check(&["--http", "127.0.0.1:0"], Some("short"), "LLMSH_MCP_TOKEN: expected a token");
    check(&["--http", "127.0.0.1:0"], Some("with spaces in the token"), "LLMSH_MCP_TOKEN: expected a token");
    let file = daemon.path("token");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = file.to_str().unwrap();
    check(&["--http", "127.0.0.1:0", "--token-file", file], None, "chmod 600");
    check(&["--token-file", file], None, "--http");
}

#[test]
fn a_token_of_a_file_or_of_the_environment_is_taken() {
    let daemon = Daemon::start(POLICY, "");
    let token = "0123456789abcdef0123456789abcdef";
    let file = daemon.path("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    for by_file in [true, false] {
        let mut command = daemon.command(&["mcp", "--http", "127.0.0.1:0"]);
        if by_file {
            command.arg("--token-file").arg(&file);
        } else {
            command.env("LLMSH_MCP_TOKEN", token);
        }
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.trim().split_once("http://").unwrap().1.trim_end_matches("/mcp").parse().unwrap();
        let served = Served { child, address, token: token.to_owned(), token_file: file.clone() };
        assert_eq!(served.post("/mcp", &served.bearer(token)).0, 200);
        assert_eq!(served.post("/mcp", &served.bearer(&json!(token).to_string())).0, 401);
    }
}
