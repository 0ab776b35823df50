//! The chord by which the human before the display halts the host.
//!
//! It is watched on a connection of its own, in two ways. The key is taken on the root window (GrabKey, X11 protocol), so
//! that no window gets it, and a chord that another program has taken is noticed. That alone would be deaf while a menu or
//! a locked screen holds the keyboard: so raw presses are listened for as well, which are told to everybody who asks
//! (XInput 2.1). Only a client that has the whole server grabbed keeps both back, until it lets go.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::Duration;

use llm_os_core::{Code, Display, Fault};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use x11rb::connection::Connection as _;
use x11rb::errors::ReplyError;
use x11rb::protocol::xinput::{self, ConnectionExt as _, XIEventMask};
use x11rb::protocol::xkb::{ConnectionExt as _, EventType, ID, MapPart, SelectEventsAux};
use x11rb::protocol::xproto::{ConnectionExt as _, GrabMode, ModMask};
use x11rb::protocol::{ErrorKind, Event};
use x11rb::rust_connection::RustConnection;
use xkeysym::key;

use super::authority;
use super::grabs::Press;
use super::keymap::{Keymap, MODIFIERS, SHIFT};
use crate::Trouble;
use crate::keys::Chord;

/// Caps Lock, as a modifier bit (X11 protocol, KEYMASK).
const LOCK: u16 = 2;
/// `XIAllMasterDevices` (XI2 protocol).
const ALL_MASTERS: u16 = 1;
/// The pause before another try, where the server is gone or the chord cannot be had again.
const PAUSE: Duration = Duration::from_millis(500);

/// A chord that is watched until this is dropped.
pub struct ChordWatch {
    /// The thread ends once this is closed.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl ChordWatch {
    /// Takes the chord for itself and calls `pressed` for each press, on a thread of its own.
    ///
    /// # Errors
    ///
    /// `validation_failed` where it is no chord of modifiers and one other key; `unavailable` where the display cannot be
    /// reached, its keyboard lacks a key, or another program has taken the chord.
    pub fn start(display: &Display, keys: &str, pressed: impl Fn() + Send + 'static) -> Result<Self, Fault> {
        let chord = Chord::parse(keys, "halt_chord")?;
        let watched = Watched::take(display, &chord)?;
        let unavailable = |e: std::io::Error| {
            Fault::new(Code::UNAVAILABLE, "no thread for the halt chord").log(e.to_string())
        };
        let (stopped, stop) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| unavailable(e.into()))?;
        let thread = std::thread::Builder::new().name("halt-chord".to_owned());
        let display = display.clone();
        let thread =
            thread.spawn(move || keep(watched, &display, &chord, &stopped, &pressed)).map_err(unavailable)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ChordWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it was told on stderr already.
            let _ = thread.join();
        }
    }
}

/// Watches, and takes the chord anew where the server ended and came back.
fn keep(watched: Watched, display: &Display, chord: &Chord, stopped: &OwnedFd, pressed: &impl Fn()) {
    let mut watched: Result<Watched, Fault> = Ok(watched);
    loop {
        match watched {
            Ok(taken) => match taken.watch(chord, stopped, pressed) {
                Ok(()) => return,
                Err(trouble) => tracing::warn!(%chord, "The halt chord is not watched: {}", told(trouble)),
            },
            Err(fault) => tracing::debug!(%chord, "The halt chord is not watched: {}", fault.message),
        }
        if is_stopped_within(stopped, PAUSE) {
            return;
        }
        watched = Watched::take(display, chord);
        if watched.is_ok() {
            tracing::info!(%chord, "The halt chord is watched again.");
        }
    }
}

fn told(trouble: Trouble) -> String {
    match trouble {
        Trouble::Lost(why) => why,
        Trouble::Fault(fault) => fault.message.into_owned(),
    }
}

fn is_stopped_within(stopped: &OwnedFd, time: Duration) -> bool {
    let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    let mut waiting = [PollFd::new(stopped, PollFlags::IN)];
    poll(&mut waiting, Some(&time)).is_ok_and(|ready| ready > 0)
}

/// A connection that has taken the chord.
struct Watched {
    conn: RustConnection,
    root: u32,
    presses: Presses,
    /// The keys that are down.
    down: BTreeSet<u8>,
}

/// How a chord is pressed on a keyboard.
#[derive(Debug, PartialEq, Eq)]
struct Presses {
    keycode: u8,
    /// The modifiers that are down, locks left aside.
    modifiers: u16,
    /// The bits of locks, which make no difference.
    locks: u16,
    /// The bits that each key sets while it is down.
    masks: BTreeMap<u8, u16>,
}

impl Watched {
    fn take(display: &Display, chord: &Chord) -> Result<Self, Fault> {
        let unavailable = |why: String| Fault::new(Code::UNAVAILABLE, why);
        let (conn, screen) = authority::connect(display).map_err(|why| {
            unavailable(format!(
                "the halt chord {chord} cannot be watched, since the display {} cannot be reached: {why}",
                display.name
            ))
        })?;
        let root = conn.setup().roots[screen].root;
        let failed = |trouble| match trouble {
            Trouble::Fault(fault) => fault,
            Trouble::Lost(why) => unavailable(format!("the halt chord {chord} cannot be watched: {why}")),
        };
        listen(&conn, root).map_err(|why| failed(Trouble::Lost(why)))?;
        let presses = Presses::of(chord, &Keymap::of(&conn).map_err(failed)?)?;
        let keys = conn.query_keymap().map_err(Trouble::from).and_then(|asked| Ok(asked.reply()?.keys));
        let keys = keys.map_err(failed)?;
        let down = (0..=u8::MAX).filter(|code| keys[usize::from(code / 8)] & 1 << (code % 8) != 0).collect();
        let watched = Self { conn, root, presses, down };
        watched.grab(chord).map_err(failed)?;
        Ok(watched)
    }

    fn grab(&self, chord: &Chord) -> Result<(), Trouble> {
        let mut asked = Vec::new();
        for (keycode, mask) in self.presses.with_locks() {
            let (mask, mode) = (ModMask::from(mask), GrabMode::ASYNC);
            asked.push(self.conn.grab_key(false, self.root, mask, keycode, mode, mode)?);
        }
        for grab in asked {
            match grab.check() {
                Ok(()) => {}
                Err(ReplyError::X11Error(error)) if error.error_kind == ErrorKind::Access => {
                    let message = format!(
                        "another program has taken the halt chord {chord} for itself, such as the window manager for a \
                         shortcut, or another host; choose another chord, or end that program"
                    );
                    return Err(Fault::new(Code::UNAVAILABLE, message).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Returns once it is told to stop.
    fn watch(mut self, chord: &Chord, stopped: &OwnedFd, pressed: &impl Fn()) -> Result<(), Trouble> {
        let mut told = None;
        loop {
            self.conn.flush()?;
            while let Some(event) = self.conn.poll_for_event()? {
                let time = match event {
                    Event::KeyPress(event) => {
                        self.down.insert(event.detail);
                        self.presses.are(event.detail, event.state.into()).then_some(event.time)
                    }
                    // A raw press tells no modifiers: they are those whose keys were told of before it.
                    Event::XinputRawKeyPress(event) => {
                        let Ok(keycode) = u8::try_from(event.detail) else { continue };
                        let is_chord = self.presses.are(keycode, self.presses.mask_of(&self.down));
                        self.down.insert(keycode);
                        is_chord.then_some(event.time)
                    }
                    // As long as the key is down that was taken, the others are told of in this way alone.
                    Event::KeyRelease(event) => {
                        told = told.filter(|_| event.detail != self.presses.keycode);
                        self.down.remove(&event.detail);
                        None
                    }
                    Event::XinputRawKeyRelease(event) => {
                        told = told.filter(|_| event.detail != u32::from(self.presses.keycode));
                        self.down.retain(|down| u32::from(*down) != event.detail);
                        None
                    }
                    Event::XkbNewKeyboardNotify(_) | Event::XkbMapNotify(_) => {
                        self.follow(chord)?;
                        None
                    }
                    _ => None,
                };
                // Both ways tell of the same press with the same time.
                if time.is_some() && time != told {
                    told = time;
                    pressed();
                }
            }
            let mut waiting =
                [PollFd::new(self.conn.stream(), PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
            match poll(&mut waiting, None) {
                Ok(_) if !waiting[1].revents().is_empty() => return Ok(()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Trouble::Lost(error.to_string())),
            }
        }
    }

    /// Takes the chord where it is now on the keyboard.
    fn follow(&mut self, chord: &Chord) -> Result<(), Trouble> {
        let presses = Presses::of(chord, &Keymap::of(&self.conn)?)?;
        if presses == self.presses {
            return Ok(());
        }
        for (keycode, mask) in self.presses.with_locks() {
            self.conn.ungrab_key(keycode, self.root, ModMask::from(mask))?;
        }
        self.presses = presses;
        self.grab(chord)
    }
}

/// Asks for raw presses, and for changes of the keyboard's map.
fn listen(conn: &RustConnection, root: u32) -> Result<(), String> {
    let lacking = |name: &str| format!("the X server lacks {name}");
    let xkb = conn.xkb_use_extension(1, 0).map_err(|_| lacking("the extension XKEYBOARD"))?;
    let version = conn.xinput_xi_query_version(2, 2).map_err(|_| lacking("the extension XInputExtension"))?;
    xkb.reply().map_err(|_| lacking("the extension XKEYBOARD"))?;
    let version = version.reply().map_err(|_| lacking("XInput 2"))?;
    if (version.major_version, version.minor_version) < (2, 1) {
        return Err(lacking("XInput 2.1"));
    }
    let (maps, changes) =
        (MapPart::KEY_SYMS | MapPart::MODIFIER_MAP, EventType::NEW_KEYBOARD_NOTIFY | EventType::MAP_NOTIFY);
    let (keyboard, aux) = (ID::USE_CORE_KBD.into(), SelectEventsAux::new());
    let selected = conn.xkb_select_events(keyboard, EventType::from(0u16), changes, maps, maps, &aux);
    selected.map_err(|e| e.to_string())?.check().map_err(|e| e.to_string())?;
    let mask = xinput::EventMask {
        deviceid: ALL_MASTERS,
        mask: vec![XIEventMask::RAW_KEY_PRESS | XIEventMask::RAW_KEY_RELEASE],
    };
    let selected = conn.xinput_xi_select_events(root, &[mask]).map_err(|e| e.to_string())?;
    selected.check().map_err(|e| e.to_string())
}

impl Presses {
    fn of(chord: &Chord, keymap: &Keymap) -> Result<Self, Fault> {
        let mut keys = chord.keys().iter().filter(|key| key.modifier().is_none());
        let (Some(key), None) = (keys.next(), keys.next()) else {
            let message = format!(
                "found \"{chord}\", expected modifiers and one other key, such as \"ctrl+alt+Pause\""
            );
            return Err(Fault::invalid("halt_chord", message));
        };
        let absent = |what: &dyn std::fmt::Display| {
            let message = format!(
                "the halt chord {chord} cannot be pressed here: the keyboard of this display has no {what}"
            );
            Fault::new(Code::UNAVAILABLE, message)
        };
        let stroke = keymap.stroke(*key).ok_or_else(|| absent(key))?;
        let mut modifiers = if stroke.shift { SHIFT } else { 0 };
        for modifier in chord.modifiers() {
            let mask = keymap.stroke(modifier.key()).map_or(0, |stroke| keymap.mask(stroke.keycode));
            if mask == 0 {
                return Err(absent(&modifier));
            }
            modifiers |= mask;
        }
        let is_lock =
            |row: &[u32]| row.iter().any(|symbol| matches!(*symbol, key::Num_Lock | key::Scroll_Lock));
        let locks = keymap.rows().filter(|(_, row)| is_lock(row));
        let locks = locks.fold(LOCK, |mask, (keycode, _)| mask | keymap.mask(keycode));
        let masks = keymap.rows().map(|(keycode, _)| (keycode, keymap.mask(keycode))).collect();
        Ok(Self { keycode: stroke.keycode, modifiers, locks: locks & !modifiers, masks })
    }

    fn are(&self, keycode: u8, state: u16) -> bool {
        keycode == self.keycode && state & MODIFIERS & !self.locks == self.modifiers
    }

    /// What keys set that are down.
    fn mask_of(&self, down: &BTreeSet<u8>) -> u16 {
        down.iter().filter_map(|keycode| self.masks.get(keycode)).fold(0, |all, mask| all | mask)
    }

    /// Every press of the chord, with each lock on or off.
    fn with_locks(&self) -> BTreeSet<Press> {
        let subsets = (0..=MODIFIERS).map(|mask| mask & self.locks);
        subsets.map(|locks| (self.keycode, self.modifiers | locks)).collect()
    }
}
