//! The two sockets: plans on one, approvals on the other.

mod activation;
mod connection;
mod frames;
mod listen;
mod peer;
#[allow(unsafe_code)]
mod pidfd;

use std::sync::Arc;
use std::time::Duration;

use llm_os_core::{Code, Fault};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::host::Host;

pub(crate) use activation::{Activated, listen_or_take};
pub(crate) use listen::{Access, ListenError};
pub(crate) use peer::Peer;

/// Which socket a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Takes plans.
    Plan,
    /// Takes a human's decisions.
    Approval,
}

/// A pause after `accept` failed, so that a full table of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves both sockets until `stop`, then lets running plans end within `limits.stop_s` and cancels what is left.
pub(crate) async fn serve(
    host: Arc<Host>,
    plan: UnixListener,
    approval: UnixListener,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(host.limits.connections));
    // Approvals have places of their own, so that no flood of plans keeps the human out.
    let approval_places = Arc::new(Semaphore::new(16));
    loop {
        let (door, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = plan.accept() => (Door::Plan, accepted),
            accepted = approval.accept() => (Door::Approval, accepted),
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let places = if door == Door::Plan { &places } else { &approval_places };
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                let (host, stop) = (host.clone(), stop.clone());
                connections.spawn(async move {
                    connection::serve(&host, stream, door, stop).await;
                    drop(place);
                });
            }
            Err(_) => turn_away(&stream, &host),
        }
    }
    drop((plan, approval));
    host.running.stop_admitting();
    let patience = Duration::from_secs(host.limits.stop_s);
    if tokio::time::timeout(patience, host.running.idle()).await.is_err() {
        tracing::warn!("cancelling what still runs");
        host.running.cancel_all();
    }
    while connections.join_next().await.is_some() {}
}

/// Answers a connection that has no place, as far as its buffer takes it at once, and closes it.
fn turn_away(stream: &UnixStream, host: &Host) {
    let fault = Fault::new(Code::BUSY, "too many connections; try again later, or raise limits.connections");
    let line = host.refuse_connection(fault).to_line();
    let _ = stream.try_write(&line);
}
