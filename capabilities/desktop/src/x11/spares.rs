//! Keycodes that write nothing, lent to characters that the layout lacks.
//!
//! A program looks up what a keycode writes when it reads the event, not when the event was sent. So a keycode is never
//! given another character while a program may still have to read an earlier press of it: first every idle keycode is
//! used, with two characters each (the key alone and with Shift), and kept for the next text; then whoever types waits
//! until the programs have read (see [`reading`](super::reading)), and the one that was not used for longest goes first.
//!
//! Nor is the map changed while the program may still be reading at all, even for another keycode. Xlib asks the server
//! for what is new when it looks a key up, and what it is told of meanwhile it forgets: the next key would write nothing,
//! or what its keycode wrote before.
//!
//! What is lent stands in a property of the root window, with the keys whose autorepeat is off: a host that was killed
//! cannot give it back, the next one does.

use x11rb::protocol::xproto::{
    AtomEnum, AutoRepeatMode, ChangeKeyboardControlAux, ConnectionExt as _, PropMode,
};
use x11rb::wrapper::ConnectionExt as _;
use xkeysym::key::NoSymbol;

use super::keymap::{Keymap, Stroke};
use super::reading::Reader;
use super::{Held, Session};
use crate::Trouble;
use crate::keys::character;

/// The keycodes that are lent, and the keys that do not repeat.
#[derive(Default)]
pub(super) struct Spares {
    spares: Vec<Spare>,
    /// Keys whose autorepeat was switched off.
    still: Vec<u8>,
    /// Counts uses.
    clock: u64,
    /// Whether the property of an earlier host was read.
    inherited: bool,
    /// Who has read everything, as far as nothing was sent since.
    calm: Vec<Reader>,
}

struct Spare {
    keycode: u8,
    /// Alone and with Shift; the same twice while only one is lent.
    symbols: [u32; 2],
    /// Who may still have to read a press of it.
    unread: Option<Reader>,
    used: u64,
    /// The server does not know of `symbols` yet.
    changed: bool,
}

impl Spares {
    /// Brings in line with the map: another layout may have been loaded, or somebody else uses a keycode by now.
    fn refresh(&mut self, keymap: &Keymap, held: &[u8]) {
        self.spares.retain_mut(|spare| {
            let [alone, shifted] = keymap.levels(spare.keycode);
            let first = spare.symbols[0];
            if alone == first {
                // Another host that shares the display may have lent the other half.
                spare.symbols[1] = if shifted == NoSymbol { first } else { shifted };
            }
            spare.changed = false;
            alone == first || held.contains(&spare.keycode)
        });
        for keycode in keymap.idle() {
            if !self.spares.iter().any(|spare| spare.keycode == keycode) && !held.contains(&keycode) {
                let symbols = [NoSymbol; 2];
                self.spares.push(Spare { keycode, symbols, unread: None, used: 0, changed: false });
            }
        }
    }

    /// Lends a keycode to a symbol; `None` where each one is still to be read, or held down.
    pub(super) fn lend(&mut self, symbol: u32, held: &[u8]) -> Option<Stroke> {
        let symbol = lasting(symbol);
        let free = |spare: &&mut Spare| !held.contains(&spare.keycode);
        let is_half = |spare: &Spare| spare.symbols[0] == spare.symbols[1] && spare.symbols[0] != NoSymbol;
        // What the key writes alone stays, so this one is safe even where presses of it are still to be read.
        if let Some(spare) = self.spares.iter_mut().filter(free).find(|spare| is_half(spare)) {
            spare.symbols[1] = symbol;
            spare.changed = true;
            return Some(Stroke { keycode: spare.keycode, shift: true });
        }
        let oldest = self.spares.iter_mut().filter(free).filter(|spare| spare.unread.is_none());
        let spare = oldest.min_by_key(|spare| (spare.symbols != [NoSymbol; 2], spare.used))?;
        spare.symbols = [symbol; 2];
        spare.changed = true;
        Some(Stroke { keycode: spare.keycode, shift: false })
    }

    /// Remembers that a keycode is about to be pressed.
    pub(super) fn used(&mut self, keycode: u8, reader: &Reader) {
        self.clock += 1;
        if let Some(spare) = self.spares.iter_mut().find(|spare| spare.keycode == keycode) {
            spare.unread = Some(*reader);
            spare.used = self.clock;
        }
    }

    /// Whether the server does not know yet of what was lent.
    pub(super) fn are_changed(&self) -> bool {
        self.spares.iter().any(|spare| spare.changed)
    }

    /// Whether this program has read everything, asked right before something is sent to it.
    pub(super) fn take_calm(&mut self, reader: &Reader) -> bool {
        std::mem::take(&mut self.calm).contains(reader)
    }

    /// Who has presses of lent keycodes still to read, as far as is known.
    pub(super) fn readers(&self) -> Vec<Reader> {
        let mut readers: Vec<Reader> = Vec::new();
        for reader in self.spares.iter().filter_map(|spare| spare.unread) {
            if !readers.contains(&reader) {
                readers.push(reader);
            }
        }
        readers
    }
}

/// Programs know Unicode's keysyms; of the older ones for the same characters some do not.
fn lasting(symbol: u32) -> u32 {
    match character(symbol).map(u32::from) {
        Some(code) if code > 0xff => code | 0x0100_0000,
        _ => symbol,
    }
}

impl Session {
    /// Learns what is lent and what can be. Once in a session it also takes over what an earlier host left.
    pub(super) fn refresh_spares(&mut self, keymap: &Keymap) -> Result<(), Trouble> {
        if !self.spares.inherited {
            self.inherit(keymap)?;
            self.spares.inherited = true;
        }
        let held = self.held_keys();
        self.spares.refresh(keymap, &held);
        Ok(())
    }

    pub(super) fn held_keys(&self) -> Vec<u8> {
        let key = |held| match held {
            Held::Key(keycode) => Some(keycode),
            Held::Button(_) => None,
        };
        self.held().filter_map(key).collect()
    }

    fn inherit(&mut self, keymap: &Keymap) -> Result<(), Trouble> {
        let property = self.atoms._LLM_OS_KEYBOARD;
        let left =
            self.conn.get_property(false, self.root, property, AtomEnum::CARDINAL, 0, 1024)?.reply()?;
        let left: Vec<u32> = left.value32().into_iter().flatten().collect();
        for entry in left.chunks_exact(3) {
            let &[keycode, first, second] = entry else { continue };
            let Ok(keycode) = u8::try_from(keycode) else { continue };
            if (first, second) == (NoSymbol, NoSymbol) {
                self.repeat(keycode, AutoRepeatMode::ON)?;
            } else if keymap.levels(keycode)[0] == first {
                let symbols = [first, second];
                self.spares.spares.push(Spare { keycode, symbols, unread: None, used: 0, changed: false });
            }
        }
        Ok(())
    }

    /// Tells the server what is lent by now, neighbours in one request: every program hears of each.
    pub(super) fn bind(&mut self) -> Result<(), Trouble> {
        let mut changed: Vec<(u8, [u32; 2])> = Vec::new();
        for spare in self.spares.spares.iter_mut().filter(|spare| spare.changed) {
            spare.changed = false;
            changed.push((spare.keycode, spare.symbols));
        }
        if changed.is_empty() {
            return Ok(());
        }
        self.write_down()?;
        self.rebind(changed)
    }

    fn rebind(&self, mut changed: Vec<(u8, [u32; 2])>) -> Result<(), Trouble> {
        changed.sort_unstable();
        for run in changed.chunk_by(|(a, _), (b, _)| a + 1 == *b) {
            let count = u8::try_from(run.len()).unwrap_or(u8::MAX);
            let symbols: Vec<u32> = run.iter().flat_map(|(_, symbols)| *symbols).collect();
            self.conn.change_keyboard_mapping(count, run[0].0, 2, &symbols)?;
        }
        Ok(())
    }

    /// Writes down for the next host what this one has to give back.
    fn write_down(&self) -> Result<(), Trouble> {
        let lent = self.spares.spares.iter().filter(|spare| spare.symbols != [NoSymbol; 2]);
        let mut entries: Vec<u32> =
            lent.flat_map(|spare| [u32::from(spare.keycode), spare.symbols[0], spare.symbols[1]]).collect();
        entries
            .extend(self.spares.still.iter().flat_map(|keycode| [u32::from(*keycode), NoSymbol, NoSymbol]));
        let property = self.atoms._LLM_OS_KEYBOARD;
        self.conn.change_property32(PropMode::REPLACE, self.root, property, AtomEnum::CARDINAL, &entries)?;
        Ok(())
    }

    /// The program behind a window has read everything that was sent to it.
    pub fn was_read(&mut self, reader: &Reader) {
        for spare in self.spares.spares.iter_mut().filter(|spare| spare.unread == Some(*reader)) {
            spare.unread = None;
        }
        self.spares.calm.push(*reader);
    }

    /// Keeps the server from repeating a key while it is held: its repetitions would follow the focus to a window that
    /// nobody judged.
    pub(super) fn keep_still(&mut self, keycode: u8) -> Result<(), Trouble> {
        let repeats = self.conn.get_keyboard_control()?.reply()?.auto_repeats;
        if repeats[usize::from(keycode / 8)] & 1 << (keycode % 8) != 0 {
            self.spares.still.push(keycode);
            self.write_down()?;
            self.repeat(keycode, AutoRepeatMode::OFF)?;
        }
        Ok(())
    }

    /// Lets the server repeat a key again, where it did before.
    pub(super) fn let_repeat(&mut self, keycode: u8) -> Result<(), Trouble> {
        if self.spares.still.contains(&keycode) {
            self.spares.still.retain(|still| *still != keycode);
            self.repeat(keycode, AutoRepeatMode::ON)?;
            self.write_down()?;
        }
        Ok(())
    }

    fn repeat(&self, keycode: u8, mode: AutoRepeatMode) -> Result<(), Trouble> {
        let control = ChangeKeyboardControlAux::new().key(u32::from(keycode)).auto_repeat_mode(mode);
        self.conn.change_keyboard_control(&control)?;
        Ok(())
    }

    /// Gives back every keycode that was lent, once whoever has to read presses of it had the time to.
    pub(crate) fn give_back(&mut self) -> Result<(), Trouble> {
        let lent = self.spares.spares.iter().filter(|spare| spare.symbols != [NoSymbol; 2]);
        let lent: Vec<_> = lent.map(|spare| (spare.keycode, [NoSymbol; 2])).collect();
        if lent.is_empty() {
            return Ok(());
        }
        self.give_time(&self.spares.readers())?;
        self.rebind(lent)?;
        self.spares = Spares { inherited: true, ..Spares::default() };
        self.conn.delete_property(self.root, self.atoms._LLM_OS_KEYBOARD)?;
        self.sync()
    }
}
