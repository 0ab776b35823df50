//! Waiting for the screen to change, or to stay as it is (DAMAGE 1.1), on a connection of its own: the display's thread
//! is free meanwhile.
//!
//! The server reports each rectangle that was drawn once, until it is told to forget what it reported (DamageSubtract).
//! What is drawn between a report and that request is not reported again, so the time of the last drawing is taken when
//! the server has surely forgotten: it sends a marker back, an event to a window of this connection.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use llm_os_core::{Code, Display, Fault};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::Instant;
use x11rb::connection::{Connection as _, RequestConnection as _};
use x11rb::protocol::Event;
use x11rb::protocol::damage::{self, ConnectionExt as _, ReportLevel};
use x11rb::protocol::xproto::{
    ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, WindowClass,
};
use x11rb::rust_connection::RustConnection;

use super::authority;
use crate::Trouble;
use crate::geometry::Rect;

/// The least time between two rounds of reports, so that an animation does not keep a processor busy.
const ROUND: Duration = Duration::from_millis(2);

/// Sees what is drawn on a screen from the moment that it was opened.
pub struct Watch {
    conn: RustConnection,
    /// The same socket, to learn when there is something to read.
    readable: UnixStream,
    damage: damage::Damage,
    window: u32,
    /// Reports that came in one go with a marker, after it.
    early: Vec<Rect>,
}

/// What one round of reports told.
struct Round {
    /// What was drawn, in no order.
    drawn: Vec<Rect>,
    /// Everything that was drawn before this is in `drawn`.
    until: Instant,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// `unavailable`: no server, no permission, no DAMAGE extension.
    pub async fn open(display: &Display) -> Result<Self, Fault> {
        let unavailable = {
            let name = display.name.clone();
            move |why: String| {
                let message =
                    format!("the display {name} cannot be watched: {why}; check that its X server runs");
                Fault::new(Code::UNAVAILABLE, message)
            }
        };
        let display = display.clone();
        let open = move || {
            let (conn, screen) = authority::connect(&display).map_err(Trouble::Lost)?;
            let root = conn.setup().roots[screen].root;
            if conn.extension_information(damage::X11_EXTENSION_NAME)?.is_none() {
                return Err(Trouble::Lost("its X server lacks the extension DAMAGE".to_owned()));
            }
            conn.damage_query_version(1, 1)?.reply()?;
            let (damage, window) = (conn.generate_id()?, conn.generate_id()?);
            let aux = CreateWindowAux::new().override_redirect(1);
            conn.create_window(0, window, root, -1, -1, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &aux)?;
            conn.damage_create(damage, root, ReportLevel::DELTA_RECTANGLES)?.check()?;
            let readable = conn.stream().as_fd().try_clone_to_owned();
            Ok((conn, readable.map_err(|e| Trouble::Lost(e.to_string()))?, damage, window))
        };
        // A thread that nothing waits for at the end: a server that is stopped answers nobody.
        let (give, take) = tokio::sync::oneshot::channel();
        let started =
            std::thread::Builder::new().name("watch".to_owned()).spawn(move || give.send(open()).ok());
        started.map_err(|e| unavailable(e.to_string()))?;
        let opened = take.await.unwrap_or_else(|e| Err(Trouble::Lost(e.to_string())));
        let (conn, readable, damage, window) = opened.map_err(|trouble| match trouble {
            Trouble::Lost(why) => unavailable(why),
            Trouble::Fault(fault) => fault,
        })?;
        // Of whatever kind the socket is: nothing but its readiness is asked for.
        let readable = UnixStream::from_std(readable.into()).map_err(|e| unavailable(e.to_string()))?;
        let mut watch = Self { conn, readable, damage, window, early: Vec::new() };
        // The server reports a new object's whole screen first where it counts as damaged; that is not a change.
        watch.round().await?;
        Ok(watch)
    }

    /// Waits until something in the region is drawn, and gives the smallest rectangle around what was, within the region.
    ///
    /// # Errors
    ///
    /// `unavailable` where the server goes away.
    pub async fn changed(&mut self, region: &Rect) -> Result<Rect, Fault> {
        loop {
            self.wait_for_report().await?;
            if let Some(changed) = self.round().await?.within(region) {
                return Ok(changed);
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Waits until nothing in the region was drawn for this long. `seen` becomes the smallest rectangle around what was
    /// drawn meanwhile, within the region, also where the caller stops waiting.
    ///
    /// # Errors
    ///
    /// `unavailable` where the server goes away.
    pub async fn settled(
        &mut self,
        region: &Rect,
        quiet: Duration,
        seen: &mut Option<Rect>,
    ) -> Result<(), Fault> {
        let mut last = Instant::now();
        loop {
            let is_over = tokio::select! {
                biased;
                reported = self.wait_for_report() => reported.map(|()| false)?,
                () = tokio::time::sleep_until(last + quiet) => true,
            };
            // Also where the time is over: a report may be on its way.
            let round = self.round().await?;
            match round.within(region) {
                Some(drawn) => {
                    last = round.until;
                    *seen = Some(seen.map_or(drawn, |seen| seen.around(&drawn)));
                }
                None if is_over => return Ok(()),
                None => {}
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Returns once there is, or may be, a report.
    async fn wait_for_report(&mut self) -> Result<(), Fault> {
        if self.early.is_empty() { self.wait_to_read().await } else { Ok(()) }
    }

    async fn wait_to_read(&mut self) -> Result<(), Fault> {
        let failed = |e: io::Error| lost(e.to_string());
        self.readable.readable().await.map_err(failed)?;
        // The reading is done by the connection, after this: what comes from now on makes it readable again.
        let read = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.readable.try_io(Interest::READABLE, read);
        Ok(())
    }

    /// Takes the reports there are, lets the server forget what it reported, and waits until it has.
    async fn round(&mut self) -> Result<Round, Fault> {
        self.send_marker().map_err(|e| lost(e.to_string()))?;
        let mut drawn = std::mem::take(&mut self.early);
        let mut until = None;
        loop {
            while let Some(event) = self.conn.poll_for_event().map_err(|e| lost(e.to_string()))? {
                match event {
                    Event::DamageNotify(report) => {
                        let drawn = if until.is_none() { &mut drawn } else { &mut self.early };
                        drawn.push(Rect {
                            x: report.area.x.into(),
                            y: report.area.y.into(),
                            width: report.area.width.into(),
                            height: report.area.height.into(),
                        });
                    }
                    Event::ClientMessage(marker) if marker.window == self.window => {
                        until = Some(Instant::now());
                    }
                    _ => {}
                }
            }
            if let Some(until) = until {
                return Ok(Round { drawn, until });
            }
            self.wait_to_read().await?;
        }
    }

    fn send_marker(&self) -> Result<(), x11rb::errors::ConnectionError> {
        self.conn.damage_subtract(self.damage, x11rb::NONE, x11rb::NONE)?;
        let marker = ClientMessageEvent::new(
            32,
            self.window,
            u32::from(x11rb::protocol::xproto::AtomEnum::ANY),
            [0; 5],
        );
        // Without a mask it goes to the client that made the window.
        self.conn.send_event(false, self.window, EventMask::NO_EVENT, marker)?;
        self.conn.flush()
    }
}

impl Round {
    /// The smallest rectangle around what was drawn of the region, if anything was.
    fn within(&self, region: &Rect) -> Option<Rect> {
        self.drawn.iter().filter_map(|drawn| drawn.intersection(region)).reduce(|a, b| a.around(&b))
    }
}

fn lost(why: String) -> Fault {
    Fault::new(Code::UNAVAILABLE, "the connection to the display was lost; try again").log(why)
}
