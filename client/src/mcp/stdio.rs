//! One client on stdin and stdout: a message a line.
//!
//! rmcp's own transport passes over what it cannot read. This one answers it as JSON-RPC says, and reads and writes without a
//! second thread where both ends are pipes or sockets, as clients make them.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorData, GetMeta, JsonRpcMessage, ProtocolVersion, RequestId,
    ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use rmcp::{RoleServer, ServiceExt};
use rustix::fs::{FileType, fstat};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Failure};
use crate::mcp::server::Server;

/// The longest message; a frame of a host is 64 KiB by default.
const MAX_MESSAGE: usize = 4 << 20;
/// How long what runs may still answer once the client said its last word, as the end of a pipeline does.
const GRACE: Duration = Duration::from_secs(1);

/// Serves until the client closes stdin.
pub(crate) async fn serve(server: Arc<Server>) -> Result<Exit, Failure> {
    use rmcp::service::ServerInitializeError::{ConnectionClosed, TransportError};
    let stdio = Stdio::new(server.gone.clone()).map_err(|e| Failure::Usage(format!("stdin, stdout: {e}")))?;
    match server.serve(stdio).await {
        Ok(running) => {
            // It ends with its client, whatever the reason.
            let _ = running.waiting().await;
            Ok(Exit::Ok)
        }
        Err(ConnectionClosed(_) | TransportError { .. }) => Ok(Exit::Ok),
        Err(other) => Err(Failure::Usage(format!("the client and this server did not agree: {other}"))),
    }
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

struct Stdio {
    read: BufReader<Reader>,
    /// What of the current message came, also where reading was interrupted.
    line: Vec<u8>,
    /// Whether the current message is too long, so that its rest is read and dropped.
    is_too_long: bool,
    /// Whether a session began. Before that rmcp ends at what is no request, though it means nothing.
    began: bool,
    write: Arc<Mutex<Writer>>,
    gone: CancellationToken,
}

impl Stdio {
    fn new(gone: CancellationToken) -> io::Result<Self> {
        let is_socket = |end: &dyn AsFd| {
            fstat(end.as_fd()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
        };
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let (read, write): (Reader, Writer) = if is_socket(&stdin) && is_socket(&stdout) {
            (Box::new(socket(&stdin)?), Box::new(socket(&stdout)?))
        } else {
            let (read, write) = rmcp::transport::stdio_pipes();
            (Box::new(read), Box::new(write))
        };
        Ok(Self {
            read: BufReader::with_capacity(64 * 1024, read),
            line: Vec::new(),
            is_too_long: false,
            began: false,
            write: Arc::new(Mutex::new(write)),
            gone,
        })
    }

    /// Reads on to the end of a line, which is then complete, and tells whether it was too long; `None` at the end of all.
    async fn read_line(&mut self) -> io::Result<Option<bool>> {
        loop {
            let some = self.read.fill_buf().await?;
            if some.is_empty() {
                return Ok(None);
            }
            let end = some.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(some.len(), |end| end + 1);
            self.is_too_long |= self.line.len() + taken > MAX_MESSAGE;
            if self.is_too_long {
                self.line.clear();
            } else {
                self.line.extend_from_slice(&some[..taken]);
            }
            self.read.consume(taken);
            if end.is_some() {
                return Ok(Some(std::mem::take(&mut self.is_too_long)));
            }
        }
    }

    /// Answers what is no message. It is written by a task of its own, since reading may be interrupted.
    fn refuse(&mut self, error: ErrorData, id: Option<RequestId>) {
        tokio::spawn(self.send(ServerJsonRpcMessage::error(error, id)));
    }

    /// What runs may still answer for a moment.
    fn end(&self) {
        let gone = self.gone.clone();
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            gone.cancel();
        });
    }
}

impl Transport<RoleServer> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (write, gone) = (self.write.clone(), self.gone.clone());
        let line = serde_json::to_vec(&message).map(|mut line| {
            line.push(b'\n');
            line
        });
        async move {
            let line = line?;
            let mut write = write.lock().await;
            let written = async { write.write_all(&line).await.and(write.flush().await) }.await;
            if written.is_err() {
                gone.cancel();
            }
            written
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            let Ok(Some(is_too_long)) = self.read_line().await else {
                self.end();
                return None;
            };
            if is_too_long {
                let why = format!("the message is longer than {MAX_MESSAGE} bytes");
                self.refuse(ErrorData::invalid_request(why, None), None);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            match read_message(&line) {
                Message::Read(message) => match &*message {
                    JsonRpcMessage::Request(request) => {
                        self.began |= begins(&request.request);
                        return Some(*message);
                    }
                    JsonRpcMessage::Response(_)
                    | JsonRpcMessage::Notification(_)
                    | JsonRpcMessage::Error(_) => {
                        if self.began {
                            return Some(*message);
                        }
                    }
                },
                Message::Nothing => {}
                Message::Wrong(error, id) => self.refuse(error, id),
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.write.lock().await.flush().await
    }
}

/// Whether rmcp takes a request as the first one of a session.
fn begins(request: &ClientRequest) -> bool {
    match request {
        ClientRequest::InitializeRequest(_) => true,
        ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_) => false,
        other => {
            let meta = other.get_meta();
            let version = meta.protocol_version();
            meta.missing_required_keys(&ProtocolVersion::V_2026_07_28).is_empty()
                && version.is_some_and(|version| ProtocolVersion::KNOWN_VERSIONS.contains(&version))
        }
    }
}

#[derive(Debug)]
enum Message {
    Read(Box<ClientJsonRpcMessage>),
    Wrong(ErrorData, Option<RequestId>),
    /// Nobody waits for an answer to it.
    Nothing,
}

fn read_message(line: &[u8]) -> Message {
    if line.trim_ascii().is_empty() {
        return Message::Nothing;
    }
    let error = match serde_json::from_slice(line) {
        Ok(message) => return Message::Read(Box::new(message)),
        Err(error) => error,
    };
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Message::Wrong(ErrorData::parse_error(format!("not JSON: {error}"), None), None);
    };
    let is_answer = value.get("result").is_some() || value.get("error").is_some();
    let is_notification =
        value["jsonrpc"] == "2.0" && value["method"].is_string() && value.get("id").is_none();
    if is_notification || (is_answer && value.get("method").is_none()) {
        return Message::Nothing;
    }
    let id = value.get("id").and_then(|id| serde_json::from_value(id.clone()).ok());
    let why = format!("not a message of JSON-RPC 2.0 and MCP: {error}");
    Message::Wrong(ErrorData::invalid_request(why, None), id)
}

/// One end as a socket. Unlike a pipe it cannot be opened anew, so whoever shares this very end sees it non-blocking as well;
/// clients give each server ends of its own.
fn socket(end: &impl AsFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(end.as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_is_answered_as_json_rpc_says() {
        let check = |line: &str, code: i32, expected: Option<i64>| match read_message(line.as_bytes()) {
            Message::Wrong(error, id) => {
                assert_eq!((error.code.0, id), (code, expected.map(RequestId::Number)), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        };
        check("nonsense", -32700, None);
        check(r#"{"jsonrpc":"2.0","id":1,"#, -32700, None);
        check("\u{feff}{}", -32700, None);
        check("[]", -32600, None);
        check("{}", -32600, None);
        check("17", -32600, None);
        check(r#"{"jsonrpc":"1.0","id":4,"method":"tools/list"}"#, -32600, Some(4));
        check(r#"{"jsonrpc":"2.0","id":5,"method":7}"#, -32600, Some(5));
    }

    #[test]
    fn nobody_is_answered_who_did_not_ask() {
        for line in [
            "",
            "  ",
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":7}"#,
            r#"{"result":1}"#,
        ] {
            let message = read_message(line.as_bytes());
            assert!(matches!(message, Message::Nothing | Message::Read(_)), "{line}: {message:?}");
        }
    }
}
