//! Streamable HTTP on a loopback address, for clients that show the token.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::exit::{Exit, Failure};
use crate::mcp::server::Server;
use crate::mcp::token::{self, Token};
use crate::screen::say;

/// The one path that is served.
const PATH: &str = "/mcp";
/// How many connections are served at once.
const CONNECTIONS: usize = 64;
/// How long nothing is accepted after an error.
const BACKOFF: Duration = Duration::from_millis(50);
/// How long a client may take for the head of a request.
const HEAD: Duration = Duration::from_secs(10);

/// Where clients come in, and what they must show.
pub(crate) struct Door {
    listener: TcpListener,
    address: SocketAddr,
    token: Token,
    /// The file of a token that was made here.
    fresh: Option<PathBuf>,
}

impl Door {
    /// Listens on a loopback address.
    pub(crate) fn open(address: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
        let given = token::given(token_file)?;
        let wrong = |why: &str| Failure::Usage(format!("--http {address}: {why}"));
        let named = address.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let parsed: SocketAddr = named
            .as_deref()
            .unwrap_or(address)
            .parse()
            .map_err(|_| wrong("expected an address and a port, such as 127.0.0.1:8848"))?;
        if !parsed.ip().is_loopback() {
            return Err(wrong(
                "not a loopback address. Whoever holds the token acts as this user, and it would cross the network in the clear: \
                 serve on 127.0.0.1 and forward the port, such as by ssh -L",
            ));
        }
        let listener = TcpListener::bind(parsed).map_err(|e| wrong(&format!("cannot listen: {e}")))?;
        let address = listener
            .set_nonblocking(true)
            .and_then(|()| listener.local_addr())
            .map_err(|e| wrong(&format!("cannot listen: {e}")))?;
        let (token, fresh) = match given {
            Some(token) => (token, None),
            None => token::fresh(address.port()).map(|(token, path)| (token, Some(path)))?,
        };
        Ok(Self { listener, address, token, fresh })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(path) = &self.fresh {
            // Who removed it before did the same.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Serves until a signal ends it.
pub(crate) async fn serve(server: Arc<Server>, door: Door) -> Result<Exit, Failure> {
    let cannot = |e: std::io::Error| Failure::Usage(format!("--http {}: {e}", door.address));
    let listener = door.listener.try_clone().and_then(tokio::net::TcpListener::from_std).map_err(cannot)?;
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate()).map_err(cannot)?, signal(SignalKind::interrupt()).map_err(cannot)?);
    say(&format!("serving MCP on http://{}{PATH}", door.address));
    if let Some(path) = &door.fresh {
        say(&format!("the bearer token is in {}", path.display()));
    }
    let gate = Arc::new(Gate { token: door.token, mcp: service(&server) });
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = room.clone().acquire_owned();
        let accept = async { (place.await, listener.accept().await) };
        let (place, stream) = tokio::select! {
            (place, accepted) = accept => match accepted {
                Ok((stream, _)) => (place, stream),
                // It went away meanwhile, or descriptors are short, which takes a moment to change.
                Err(_) => {
                    tokio::time::sleep(BACKOFF).await;
                    continue;
                }
            },
            _ = terminated.recv() => break,
            _ = interrupted.recv() => break,
        };
        let gate = gate.clone();
        tokio::spawn(async move {
            let served = hyper::service::service_fn(move |request| {
                let gate = gate.clone();
                async move { Ok::<_, Infallible>(gate.pass(request).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD);
            // How a connection ended is its client's business.
            let _ = http.serve_connection(TokioIo::new(stream), served).await;
            drop(place);
        });
    }
    Ok(Exit::Ok)
}

type Mcp = StreamableHttpService<Arc<Server>, LocalSessionManager>;
type Answer = Response<BoxBody<Bytes, Infallible>>;

/// rmcp's service. It answers only requests to a loopback name (DNS rebinding), and none of a web page: those name an origin.
fn service(server: &Arc<Server>) -> Mcp {
    let server = server.clone();
    let config = StreamableHttpServerConfig::default().enforce_origin_validation();
    StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), config)
}

/// What every request passes.
struct Gate {
    token: Token,
    mcp: Mcp,
}

impl Gate {
    async fn pass(&self, request: Request<Incoming>) -> Answer {
        let shown = request.headers().get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        if !shown.is_some_and(|shown| self.token.is(shown)) {
            let mut answer = plain(
                StatusCode::UNAUTHORIZED,
                "a bearer token is required: Authorization: Bearer TOKEN; llmsh mcp said at its start where the token lies\n",
            );
            let challenge = hyper::header::HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            return answer;
        }
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND, "MCP is served at /mcp\n");
        }
        self.mcp.handle(request).await
    }
}

/// The token of an `Authorization` header.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *answer.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}
