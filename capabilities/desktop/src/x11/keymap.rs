//! The keyboard map and its state at one moment: which key writes what, and what is held or locked.
//!
//! Only the first group's first two levels are used (the key alone, and with Shift). They are in every X server's core
//! map, all keys of all layouts obey Shift, and what is deeper (AltGr, other groups) depends on the types of keys, so it
//! is put on spare keycodes instead (see [`spares`](super::spares)).

use std::collections::{BTreeSet, HashMap};

use x11rb::connection::Connection as _;
use x11rb::protocol::xkb::{ConnectionExt as _, GetStateReply, ID};
use x11rb::protocol::xproto::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;
use xkeysym::key;

use super::Session;
use crate::Trouble;
use crate::keys::{Key, Modifier, character};

/// The bit of Shift among the modifiers (X11 protocol, KEYMASK).
pub(super) const SHIFT: u16 = 1;

/// The bits of all modifiers.
pub(super) const MODIFIERS: u16 = 0xff;

/// How to press a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stroke {
    pub(super) keycode: u8,
    /// With Shift.
    pub(super) shift: bool,
}

/// A snapshot; it is true for as long as the server is grabbed.
pub(super) struct Keymap {
    lowest: u8,
    columns: usize,
    symbols: Vec<u32>,
    /// The keycodes of each modifier bit.
    bits: Vec<Vec<u8>>,
    pub(super) state: GetStateReply,
}

impl Session {
    pub(super) fn keymap(&self) -> Result<Keymap, Trouble> {
        Keymap::of(&self.conn)
    }
}

impl Keymap {
    pub(super) fn of(conn: &RustConnection) -> Result<Self, Trouble> {
        let setup = conn.setup();
        let (lowest, highest) = (setup.min_keycode, setup.max_keycode);
        let symbols = conn.get_keyboard_mapping(lowest, highest - lowest + 1)?;
        let modifiers = conn.get_modifier_mapping()?;
        let state = conn.xkb_get_state(ID::USE_CORE_KBD.into())?;
        let symbols = symbols.reply()?;
        let modifiers = modifiers.reply()?.keycodes;
        let bits = modifiers.chunks((modifiers.len() / 8).max(1));
        Ok(Self {
            lowest,
            columns: usize::from(symbols.keysyms_per_keycode).max(1),
            symbols: symbols.keysyms,
            bits: bits.map(|codes| codes.iter().copied().filter(|code| *code != 0).collect()).collect(),
            state: state.reply()?,
        })
    }

    /// The symbols of each keycode.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u8, &[u32])> {
        (self.lowest..=u8::MAX).zip(self.symbols.chunks(self.columns))
    }

    fn row(&self, keycode: u8) -> &[u32] {
        let start = usize::from(keycode.saturating_sub(self.lowest)) * self.columns;
        self.symbols.get(start..start + self.columns).unwrap_or_default()
    }

    /// What a keycode writes alone and with Shift.
    pub(super) fn levels(&self, keycode: u8) -> [u32; 2] {
        levels(self.row(keycode))
    }

    /// Keycodes that write nothing and change nothing.
    pub(super) fn idle(&self) -> impl Iterator<Item = u8> {
        let is_idle =
            |(keycode, row): &(u8, &[u32])| self.mask(*keycode) == 0 && row.iter().all(|symbol| *symbol == 0);
        self.rows().filter(is_idle).map(|(keycode, _)| keycode)
    }

    /// The modifier bits that a keycode sets while it is down.
    pub(super) fn mask(&self, keycode: u8) -> u16 {
        let set = self.bits.iter().enumerate().filter(|(_, codes)| codes.contains(&keycode));
        set.fold(0, |mask, (bit, _)| mask | 1 << bit)
    }

    /// What modifier bits mean; locks mean nothing here.
    pub(super) fn meaning(&self, mask: u16) -> BTreeSet<Modifier> {
        let mut meaning = BTreeSet::new();
        for (bit, codes) in self.bits.iter().enumerate().filter(|(bit, _)| mask & 1 << bit != 0) {
            match bit {
                0 => meaning.extend([Modifier::Shift]),
                2 => meaning.extend([Modifier::Ctrl]),
                _ => {
                    let symbols = codes.iter().flat_map(|code| self.row(*code));
                    meaning.extend(symbols.filter_map(|symbol| Modifier::of(*symbol)));
                }
            }
        }
        meaning
    }

    /// How to press a key, if the map has it.
    pub(super) fn stroke(&self, key: Key) -> Option<Stroke> {
        let wanted = key.symbol();
        if key.modifier().is_some() {
            return self.modifier(wanted);
        }
        let writes = character(wanted);
        let same = |found: u32| found == wanted || (writes.is_some() && character(found) == writes);
        self.rows().find_map(|(keycode, row)| {
            let level = levels(row).into_iter().position(same)?;
            Some(Stroke { keycode, shift: level == 1 })
        })
    }

    /// A modifier is pressed by the keycode that sets its bit, which may be at a deeper level of another key as well.
    fn modifier(&self, symbol: u32) -> Option<Stroke> {
        let with = |column: usize| {
            let has = move |keycode: &u8| self.row(*keycode).get(column) == Some(&symbol);
            self.bits.iter().flatten().copied().find(has)
        };
        let keycode = (0..self.columns).find_map(with)?;
        Some(Stroke { keycode, shift: false })
    }

    /// How to write each character that the map has.
    pub(super) fn characters(&self) -> HashMap<char, Stroke> {
        let mut strokes = HashMap::with_capacity(128);
        for (keycode, row) in self.rows() {
            for (symbol, shift) in levels(row).into_iter().zip([false, true]) {
                if let Some(character) = character(symbol) {
                    strokes.entry(character).or_insert(Stroke { keycode, shift });
                }
            }
        }
        strokes
    }
}

/// The second symbols of Print and Pause (Sys_Req, Break) come with Alt and Control instead of Shift.
fn levels(row: &[u32]) -> [u32; 2] {
    let at = |column: usize| row.get(column).copied().unwrap_or_default();
    match at(0) {
        only @ (key::Print | key::Pause) => [only, key::NoSymbol],
        first => [first, at(1)],
    }
}
