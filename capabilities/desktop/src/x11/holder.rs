//! Learning which client holds the pointer. No request of X tells that; whoever holds it is sent every motion.
//!
//! So the RECORD extension tells to whom a motion of no distance is delivered, which is made under the server grab. A
//! menu that is open holds the pointer for the program that owns it: a click into that very program is then no theft.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use llm_os_core::Display;
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::record::{CS, ConnectionExt as _, EnableContextReply, Range, Range8};
use x11rb::protocol::xproto::{
    AtomEnum, ConnectionExt as _, GE_GENERIC_EVENT, MOTION_NOTIFY_EVENT, PropMode,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::wrapper::ConnectionExt as _;

use super::{Session, authority};
use crate::Trouble;
use crate::window::Window;

/// How long the server may take to tell of the motion.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long is waited for further receivers behind the first.
const MORE: Duration = Duration::from_millis(5);

/// The master pointer, to which grabs belong (XI2: the virtual core pointer is device 2).
const MASTER: u16 = 2;

/// `XI_Motion` (XI2 protocol).
const XI_MOTION: u16 = 6;

/// The category of the first answer (RECORD protocol, EnableContext: StartOfData).
const STARTED: u8 = 4;

/// Listens on a connection of its own, to which the server writes also while this one has it grabbed.
pub(super) struct Listener {
    context: u32,
    heard: mpsc::Receiver<Heard>,
}

enum Heard {
    Started,
    /// A motion was delivered to the client with these ids.
    Motion {
        client: u32,
        time: u32,
    },
}

impl Session {
    /// Works while the server tells who holds the pointer, so that [`Session::guarded`] can let input through to a window
    /// whose own program does. Every event of the display takes longer meanwhile: only for what was refused without.
    ///
    /// # Errors
    ///
    /// Whatever the work gives, and a lost connection.
    pub fn watching<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Trouble>) -> Result<T, Trouble> {
        self.listener = self.listen()?;
        let done = work(self);
        if let Some(listener) = self.listener.take() {
            // Ends the thread: its connection gets the last answer.
            self.conn.record_disable_context(listener.context)?;
            self.conn.record_free_context(listener.context)?;
            self.sync()?;
        }
        done
    }

    /// `None` where the server cannot tell.
    fn listen(&self) -> Result<Option<Listener>, Trouble> {
        let context = self.conn.generate_id()?;
        // One range from core motions to XI2's: of two ranges the server forgets the second.
        let delivered_events = Range8 { first: MOTION_NOTIFY_EVENT, last: GE_GENERIC_EVENT };
        let ranges = [Range { delivered_events, ..Range::default() }];
        let Ok(created) = self.conn.record_create_context(context, 0, &[CS::ALL_CLIENTS.into()], &ranges)
        else {
            return Ok(None);
        };
        if created.check().is_err() {
            return Ok(None);
        }
        let (tell, heard) = mpsc::channel();
        let address = self.address.clone();
        let thread = std::thread::Builder::new().name("pointer-holder".to_owned());
        let started = thread
            .spawn(move || {
                let _ = record(&address, context, &tell);
            })
            .is_ok()
            && matches!(heard.recv_timeout(PATIENCE * 10), Ok(Heard::Started));
        if started {
            return Ok(Some(Listener { context, heard }));
        }
        self.conn.record_free_context(context)?;
        Ok(None)
    }

    /// Under the server grab: whether the program of all these windows, and nobody else, holds the pointer. False where
    /// that cannot be known.
    pub(super) fn is_held_by_program_of(&self, windows: &[Window]) -> Result<bool, Trouble> {
        let Some(listener) = &self.listener else { return Ok(false) };
        let before = self.time()?;
        // What was recorded until now carries a time up to this one.
        std::thread::sleep(Duration::from_millis(2));
        let pointer = self.conn.query_pointer(self.root)?.reply()?;
        let (x, y) = (pointer.root_x, pointer.root_y);
        self.conn.xtest_fake_input(MOTION_NOTIFY_EVENT, 0, x11rb::CURRENT_TIME, self.root, x, y, 0)?;
        self.conn.get_input_focus()?.reply()?;
        let mut receivers = Vec::new();
        let mut deadline = Instant::now() + PATIENCE;
        while let Ok(heard) = listener.heard.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if let Heard::Motion { client, time } = heard
                && time.wrapping_sub(before).cast_signed() > 0
            {
                receivers.push(client);
                deadline = deadline.min(Instant::now() + MORE);
            }
        }
        let program = |id: u32| id & !self.conn.setup().resource_id_mask;
        let mut windows = windows.iter().map(|window| program(window.id));
        Ok(!receivers.is_empty() && windows.all(|own| receivers.iter().all(|client| program(*client) == own)))
    }

    /// The server's time: that of an event which this makes itself.
    fn time(&self) -> Result<u32, Trouble> {
        let name = AtomEnum::WM_NAME;
        self.conn.change_property8(PropMode::APPEND, self.unmapped, name, AtomEnum::STRING, &[])?;
        self.conn.flush()?;
        loop {
            if let Event::PropertyNotify(event) = self.conn.wait_for_event()?
                && event.window == self.unmapped
            {
                return Ok(event.time);
            }
        }
    }
}

/// Tells of each motion until the context is disabled.
fn record(address: &Display, context: u32, tell: &mpsc::Sender<Heard>) -> Option<()> {
    let (conn, _) = authority::connect(address).ok()?;
    for reply in conn.record_enable_context(context).ok()? {
        let reply = reply.ok()?;
        if reply.category == STARTED {
            tell.send(Heard::Started).ok()?;
        } else if tells_of_motion(&reply) {
            tell.send(Heard::Motion { client: reply.xid_base, time: reply.server_time }).ok()?;
        }
    }
    Some(())
}

/// False only for what is surely none: a raw event, or one of a device below the master, which a grab does not hold.
fn tells_of_motion(reply: &EnableContextReply) -> bool {
    let number = |at: usize| {
        let bytes: [u8; 2] = reply.data.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_ne_bytes(bytes))
    };
    if reply.client_swapped {
        return true;
    }
    match reply.data.first().map(|kind| kind & 0x7f) {
        Some(GE_GENERIC_EVENT) => number(8) == Some(XI_MOTION) && number(10) == Some(MASTER),
        Some(MOTION_NOTIFY_EVENT) => true,
        Some(_) | None => false,
    }
}
