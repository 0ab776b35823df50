//! One connection: who is it, frame after frame, answer after answer.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use llm_os_core::response::Response;
use llm_os_core::{Code, ConnectionId, Fault};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::Door;
use super::frames::{Bounds, Frame, Frames};
use super::peer::{Peer, Place};
use crate::host::Host;

/// How soon a lost connection is noticed while its plan runs.
const GONE_CHECK: Duration = Duration::from_millis(50);

/// Serves a connection to its end.
pub(super) async fn serve(host: &Host, mut stream: UnixStream, door: Door, stop: CancellationToken) {
    let peer = match Peer::of(&stream)
        .map_err(|e| Fault::denied("the peer could not be identified").log(e.to_string()))
    {
        Ok(peer) => match refusal(host, &peer, door) {
            None => peer,
            Some(fault) => return turn_away(host, &mut stream, Some(&peer), fault).await,
        },
        Err(fault) => return turn_away(host, &mut stream, None, fault).await,
    };
    let bounds =
        Bounds { bytes: host.limits.request_bytes, frame: host.limits.frame(), idle: host.limits.idle() };
    let connection = Connected::new(host);
    let (reader, mut writer) = stream.split();
    let mut frames = Frames::new(reader, bounds);
    loop {
        let frame = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            frame = frames.next() => frame,
        };
        let fault = match frame {
            Ok(Frame::Whole(frame)) => {
                let response = answer(host, &frame, &peer, door, connection.id, writer.as_ref()).await;
                match send(&mut writer, &response, host.limits.write()).await {
                    Ok(()) => continue,
                    Err(()) => return,
                }
            }
            Ok(Frame::End | Frame::Idle) | Err(_) => return,
            Ok(Frame::TooLarge) => {
                let message = format!("a frame is at most {} bytes before its LF", host.limits.request_bytes);
                Fault::new(Code::REQUEST_TOO_LARGE, message)
            }
            Ok(Frame::Partial) => {
                Fault::new(Code::PARSE_FAILED, "the connection ended before the frame's LF")
            }
            Ok(Frame::Late) => {
                Fault::new(Code::DEADLINE_EXCEEDED, "the frame did not end in time (limits.frame_ms)")
            }
        };
        let response = host.refuse_frame(Some(&peer), None, None, fault);
        let _ = send(&mut writer, &response, host.limits.write()).await;
        return;
    }
}

/// A served connection; however it ends, the capabilities hear of it.
struct Connected<'a> {
    id: ConnectionId,
    host: &'a Host,
}

impl<'a> Connected<'a> {
    fn new(host: &'a Host) -> Self {
        Self { id: ConnectionId(host.connections.fetch_add(1, Ordering::Relaxed)), host }
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.host.registry.disconnected(self.id);
    }
}

/// Uids decide, then the place of the process: a program of a plan cannot speak for its caller, and only a process
/// beside the host can approve.
fn refusal(host: &Host, peer: &Peer, door: Door) -> Option<Fault> {
    let (allowed, key) = match door {
        Door::Plan => (&host.plan_uids, "plan_uids"),
        Door::Approval => (&host.approver_uids, "approver_uids"),
    };
    if !allowed.contains(&peer.who.uid) {
        return Some(Fault::denied(format!("user {} is not in {key} of this host", peer.who.uid)));
    }
    match (door, peer.place) {
        (_, Place::Child) => {
            Some(Fault::denied("a program that this host started may not send plans or approve"))
        }
        (Door::Approval, Place::Elsewhere) => {
            Some(Fault::denied("approvals are taken from the host's own PID namespace only"))
        }
        (Door::Approval, Place::Here) | (Door::Plan, Place::Here | Place::Elsewhere) => None,
    }
}

async fn turn_away(host: &Host, stream: &mut UnixStream, peer: Option<&Peer>, fault: Fault) {
    let response = host.refuse_frame(peer, None, None, fault);
    let _ = send(stream, &response, host.limits.write()).await;
}

/// Answers a frame; cancels what runs for it once the peer is gone.
async fn answer(
    host: &Host,
    frame: &[u8],
    peer: &Peer,
    door: Door,
    connection: ConnectionId,
    stream: &UnixStream,
) -> Response {
    let cancel = CancellationToken::new();
    let answered = host.answer(frame, peer, door, connection, &cancel);
    let mut answered = std::pin::pin!(answered);
    loop {
        tokio::select! {
            biased;
            response = &mut answered => return response,
            () = tokio::time::sleep(GONE_CHECK), if !cancel.is_cancelled() => {
                if is_gone(stream) {
                    cancel.cancel();
                }
            }
        }
    }
}

/// A peer that closed only its writing side still reads the answer: `POLLHUP` says that both are closed (poll(2)).
fn is_gone(stream: &UnixStream) -> bool {
    let stream = stream.as_fd();
    let mut waiting = [PollFd::new(&stream, PollFlags::empty())];
    let polled = poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok() && waiting[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

async fn send(
    writer: &mut (impl AsyncWriteExt + Unpin),
    response: &Response,
    within: Duration,
) -> Result<(), ()> {
    let line = response.to_line();
    match tokio::time::timeout(within, writer.write_all(&line)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(()),
        Err(_) => {
            tracing::warn!(bytes = line.len(), "closed a connection that does not read its answer");
            Err(())
        }
    }
}
