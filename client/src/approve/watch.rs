//! The threads that wait for others, so that the screen waits for its human only.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::approve::picture::Picture;
use crate::approve::state::{Event, Job};
use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::pending::Summary;

/// How long a question for changes is held by the host.
const WAIT_MS: u64 = 30_000;
/// The pause before a host that is gone is looked for again.
const PAUSE: Duration = Duration::from_millis(250);

/// Where events go; the screen is woken for each.
pub(crate) struct Outbox {
    pub(crate) events: Sender<Event>,
    pub(crate) wake: UnixStream,
}

impl Outbox {
    /// False where nobody listens any more.
    pub(crate) fn send(&self, event: Event) -> bool {
        let is_sent = self.events.send(event).is_ok();
        // A full pipe wakes as well as another byte would.
        let _ = (&self.wake).write(&[0]);
        is_sent
    }
}

#[derive(Deserialize)]
struct Listing {
    pending: Vec<Summary>,
    revision: u64,
}

/// Tells what waits, whenever that is something else, and when the host is gone.
pub(crate) fn watch(host: &Host, outbox: &Outbox) {
    let mut after: Option<u64> = None;
    loop {
        let params = match after {
            Some(after) => json!({"after": after, "wait_ms": WAIT_MS}),
            None => json!({}),
        };
        let listing = host
            .ask("host.pending", &params, None)
            .map_err(|failure| failure.to_string())
            .and_then(|output| serde_json::from_str(output.get()).map_err(|e| format!("another shape: {e}")));
        let is_sent = match listing {
            Ok(Listing { revision, .. }) if after == Some(revision) => true,
            Ok(Listing { pending, revision }) => {
                after = Some(revision);
                outbox.send(Event::List(pending))
            }
            Err(why) => {
                after = None;
                let is_sent = outbox.send(Event::Lost(why));
                std::thread::sleep(PAUSE);
                is_sent
            }
        };
        if !is_sent {
            return;
        }
    }
}

/// Does one job after the other.
pub(crate) fn work(host: &Host, jobs: &Receiver<Job>, outbox: &Outbox) {
    while let Ok(job) = jobs.recv() {
        let event = match job {
            Job::Show(id) => {
                let params = json!({"pending_id": id});
                let held = ask(host, "host.pending", &params);
                Event::Plan(id, held.map(Box::new))
            }
            Job::Picture(id, index, announced) => {
                #[derive(Deserialize)]
                struct Binary {
                    data: String,
                }
                let png = ask(host, "host.evidence", &json!({"sha256": announced.sha256}))
                    .and_then(|Binary { data }| STANDARD.decode(data).map_err(|e| e.to_string()));
                Event::Picture(id, index, png.and_then(|png| Picture::read(&png, &announced)))
            }
            Job::Approve { pending_id, sha256, session, signature } => {
                #[derive(Deserialize)]
                struct Approved {
                    expires_in_s: u64,
                    grant: Option<Grant>,
                }
                #[derive(Deserialize)]
                struct Grant {
                    grant_id: String,
                    expires_in_s: u64,
                }
                let mut params = json!({"pending_id": pending_id, "sha256": sha256});
                if session {
                    params["session"] = json!(true);
                }
                if let Some(signature) = signature {
                    params["signature"] = json!(signature);
                }
                let done = ask(host, "host.approve", &params).map(|Approved { expires_in_s, grant }| {
                    let granted = grant.map_or(String::new(), |Grant { grant_id, expires_in_s }| {
                        format!("; the same again for {expires_in_s} s, until: llmsh revoke {grant_id}")
                    });
                    format!("was approved here: it runs once, within {expires_in_s} s{granted}")
                });
                Event::Decided(pending_id, done)
            }
            Job::Deny(id) => {
                let done = host.ask("host.deny", &json!({"pending_id": id}), None);
                let done = done.map(|_| "was denied here: it will not run".to_owned());
                Event::Decided(id, done.map_err(|failure| failure.to_string()))
            }
        };
        if !outbox.send(event) {
            return;
        }
    }
}

fn ask<T: for<'de> Deserialize<'de>>(
    host: &Host,
    verb: &str,
    params: &serde_json::Value,
) -> Result<T, String> {
    let output = host.ask(verb, params, None).map_err(|failure| failure.to_string())?;
    serde_json::from_str(output.get()).map_err(|e| format!("the host's answer has another shape: {e}"))
}

/// How long the screen has to end by itself once it was told to.
const ENDING: Duration = Duration::from_secs(2);

/// Tells of signals: that the terminal has another size, or that this program is to end.
pub(crate) fn signals(outbox: Outbox) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::NotApproved(format!("cannot wait for signals: {e}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
    let guard = runtime.enter();
    let mut size = signal(SignalKind::window_change()).map_err(failed)?;
    let mut ends =
        [SignalKind::hangup(), SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()]
            .into_iter()
            .map(signal)
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let [hangup, terminate, interrupt, quit] = &mut ends[..] else { return };
            loop {
                let is_size = tokio::select! {
                    Some(()) = size.recv() => true,
                    _ = hangup.recv() => false,
                    _ = terminate.recv() => false,
                    _ = interrupt.recv() => false,
                    _ = quit.recv() => false,
                };
                // The screen looks at its size whenever it is woken.
                let event = if is_size { Event::Tick } else { Event::Quit };
                if !outbox.send(event) {
                    return;
                }
                if !is_size {
                    tokio::time::sleep(ENDING).await;
                    #[allow(
                        clippy::disallowed_methods,
                        reason = "a read of a terminal that is gone never returns"
                    )]
                    std::process::exit(Exit::Ok as i32);
                }
            }
        });
    });
    Ok(())
}
