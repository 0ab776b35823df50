//! Learning whether a program has read what was sent to it. No request of X tells.
//!
//! A program that speaks `_NET_WM_PING` (EWMH) answers that message when it comes to it, behind all keys before it. Of
//! any other program the kernel tells whether it sleeps: an X client that has events to read does not, unless it waits for
//! an answer of the server. So it must have slept on while the server did all that it was asked, twice. One that never
//! sleeps is given up after twenty seconds, since what it would read could be wrong.

use std::fs;
use std::time::{Duration, Instant};

use llm_os_core::{Context, Display, Fault};
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    AtomEnum, ChangeWindowAttributesAux, ClientMessageEvent, ConnectionExt as _, EventMask,
};
use x11rb::rust_connection::RustConnection;

use super::{Session, authority};
use crate::window::Window;
use crate::{Desktop, NOT_RESPONDING, Trouble};

/// How long a program may take to read: it may have a thousand keys before it on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often is looked.
const ROUND: Duration = Duration::from_millis(1);

/// How often in a row a program must be found asleep, never having woken up.
const CALM: u32 = 3;

/// How long is waited for a program of which nothing can be known.
const UNKNOWN: Duration = Duration::from_secs(1);

x11rb::atom_manager! {
    Atoms:
    AtomsCookie {
        WM_PROTOCOLS,
        _NET_WM_PING,
    }
}

/// A program that reads keys, by its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reader {
    window: u32,
    pid: Option<u32>,
}

impl From<&Window> for Reader {
    fn from(window: &Window) -> Self {
        Self { window: window.id, pid: window.pid }
    }
}

impl Reader {
    /// Returns once the program has read everything that was sent to it before.
    ///
    /// # Errors
    ///
    /// `not_responding` where it did not for twenty seconds; why the action is to stop; `unavailable`.
    pub async fn has_read(&self, desktop: &Desktop, cx: &Context) -> Result<(), Fault> {
        let begin = Instant::now();
        let mut watch = Watched::new(*self, desktop.display())?;
        loop {
            // Every request that the program waits for is answered before this one, in the same or an earlier turn.
            desktop.work(|session| session.sync().and_then(|()| session.sync())).await?;
            if watch.has_read()? {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                let message = "the window's program does not read what is typed; is it busy or hung?";
                return Err(Fault::new(NOT_RESPONDING, message));
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                () = cx.cancelled() => {
                    return Err(cx.stopped().unwrap_or_else(|| Fault::new(NOT_RESPONDING, "the plan was stopped")));
                }
            }
        }
    }
}

impl Session {
    /// Blocks until these programs have read everything, for at most half a second: for the end of a session.
    pub(super) fn give_time(&self, readers: &[Reader]) -> Result<(), Trouble> {
        let begin = Instant::now();
        for reader in readers {
            let mut calm = Calm::default();
            while begin.elapsed() < UNKNOWN / 2 && !calm.is_reached(reader.pid) {
                std::thread::sleep(ROUND);
                self.sync()?;
                self.sync()?;
            }
        }
        Ok(())
    }
}

enum Watched {
    /// It answers on this connection.
    Pinged(Box<RustConnection>, Atoms),
    Asleep(Reader, Calm),
    /// Its window is gone.
    Gone,
}

impl Watched {
    fn new(reader: Reader, display: &Display) -> Result<Self, Fault> {
        let lost = |why: String| {
            let message = format!("the connection to the display {} was lost; try again", display.name);
            Fault::new(llm_os_core::Code::UNAVAILABLE, message).log(why)
        };
        let (conn, screen) = authority::connect(display).map_err(lost)?;
        Self::on(conn, screen, reader).map_err(|trouble| match trouble {
            Trouble::Lost(why) => lost(why),
            Trouble::Fault(fault) => fault,
        })
    }

    fn on(conn: RustConnection, screen: usize, reader: Reader) -> Result<Self, Trouble> {
        let root = conn.setup().roots[screen].root;
        let atoms = Atoms::new(&conn)?.reply()?;
        let asked = conn.get_property(false, reader.window, atoms.WM_PROTOCOLS, AtomEnum::ATOM, 0, 64)?;
        let Ok(protocols) = asked.reply() else { return Ok(Watched::Gone) };
        if !protocols.value32().is_some_and(|mut all| all.any(|atom| atom == atoms._NET_WM_PING)) {
            return Ok(Watched::Asleep(reader, Calm::default()));
        }
        let aux = ChangeWindowAttributesAux::new().event_mask(EventMask::SUBSTRUCTURE_NOTIFY);
        conn.change_window_attributes(root, &aux)?;
        let data = [atoms._NET_WM_PING, MARK, reader.window, 0, 0];
        let ping = ClientMessageEvent::new(32, reader.window, atoms.WM_PROTOCOLS, data);
        conn.send_event(false, reader.window, EventMask::NO_EVENT, ping)?;
        conn.flush()?;
        Ok(Watched::Pinged(Box::new(conn), atoms))
    }

    fn has_read(&mut self) -> Result<bool, Fault> {
        match self {
            Watched::Gone => Ok(true),
            Watched::Asleep(reader, calm) => Ok(calm.is_reached(reader.pid)),
            Watched::Pinged(conn, atoms) => loop {
                match conn.poll_for_event() {
                    Ok(Some(Event::ClientMessage(answer)))
                        if answer.type_ == atoms.WM_PROTOCOLS
                            && answer.data.as_data32()[..2] == [atoms._NET_WM_PING, MARK] =>
                    {
                        return Ok(true);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(false),
                    Err(error) => {
                        let message = "the connection to the display was lost; try again";
                        let fault = Fault::new(llm_os_core::Code::UNAVAILABLE, message);
                        return Err(fault.log(error.to_string()));
                    }
                }
            },
        }
    }
}

/// The time stamp of our pings, which tells them from a window manager's. Programs send back what they got.
const MARK: u32 = 0x6c6c_6d6f;

/// How long a program was found asleep.
#[derive(Default)]
struct Calm {
    times: u32,
    /// How often it had been awake.
    awake: u64,
    begin: Option<Instant>,
}

impl Calm {
    /// Looks once more; between two looks the server must have done all that it was asked.
    fn is_reached(&mut self, pid: Option<u32>) -> bool {
        let begin = *self.begin.get_or_insert_with(Instant::now);
        match pid.and_then(Sleep::of) {
            Some(Sleep { asleep: true, awake }) if awake == self.awake => self.times += 1,
            Some(Sleep { awake, .. }) => (self.times, self.awake) = (0, awake),
            // Nothing is known of it: on another machine, of another user, or gone.
            None => return begin.elapsed() >= UNKNOWN,
        }
        self.times >= CALM
    }
}

/// How a process is scheduled.
struct Sleep {
    /// Whether every thread sleeps.
    asleep: bool,
    /// How often any thread gave up the processor.
    awake: u64,
}

impl Sleep {
    /// By proc(5), `status`; `None` where the process cannot be looked at.
    fn of(pid: u32) -> Option<Self> {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let mut found = Sleep { asleep: true, awake: 0 };
        for thread in threads.flatten() {
            let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
            for line in status.lines() {
                match line.split_once(":\t") {
                    Some(("State", state)) => found.asleep &= state.starts_with('S'),
                    Some(("voluntary_ctxt_switches" | "nonvoluntary_ctxt_switches", count)) => {
                        found.awake += count.parse::<u64>().ok()?;
                    }
                    _ => {}
                }
            }
        }
        Some(found)
    }
}
