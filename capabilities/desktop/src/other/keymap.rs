//! The keymap of the virtual keyboard: a US keyboard, and beside it whatever else is to be typed.
//!
//! A client of the virtual-keyboard protocol brings its own keymap, in the text form of xkbcommon. What a US keyboard has
//! is at its usual place, since some programs go by the place of a key and not by what it types; every other keysym gets
//! one of the places that are left. All of them are below 256, which is what programs of X11 can see.

use std::fmt::Write as _;

use xkeysym::Keysym;

/// XKB numbers keys from here; evdev counts from 0 (xkb_keymap, "keycodes").
pub(super) const FIRST: u32 = 8;

/// The rows of a US keyboard: where each begins, what it types, and what it types with Shift.
const ROWS: [(u32, &str, &str); 7] = [
    (10, "1234567890-=", "!@#$%^&*()_+"),
    (24, "qwertyuiop[]", "QWERTYUIOP{}"),
    (38, "asdfghjkl;'", "ASDFGHJKL:\""),
    (49, "`", "~"),
    (51, "\\", "|"),
    (52, "zxcvbnm,./", "ZXCVBNM<>?"),
    (65, " ", " "),
];

/// The keys of a PC keyboard that type no character.
const NAMED: [(u32, Keysym); 51] = [
    (9, Keysym::Escape),
    (22, Keysym::BackSpace),
    (23, Keysym::Tab),
    (36, Keysym::Return),
    (37, Keysym::Control_L),
    (50, Keysym::Shift_L),
    (62, Keysym::Shift_R),
    (64, Keysym::Alt_L),
    (66, Keysym::Caps_Lock),
    (67, Keysym::F1),
    (68, Keysym::F2),
    (69, Keysym::F3),
    (70, Keysym::F4),
    (71, Keysym::F5),
    (72, Keysym::F6),
    (73, Keysym::F7),
    (74, Keysym::F8),
    (75, Keysym::F9),
    (76, Keysym::F10),
    (77, Keysym::Num_Lock),
    (78, Keysym::Scroll_Lock),
    (92, Keysym::ISO_Level3_Shift),
    (95, Keysym::F11),
    (96, Keysym::F12),
    (104, Keysym::KP_Enter),
    (105, Keysym::Control_R),
    (107, Keysym::Print),
    (108, Keysym::Alt_R),
    (110, Keysym::Home),
    (111, Keysym::Up),
    (112, Keysym::Prior),
    (113, Keysym::Left),
    (114, Keysym::Right),
    (115, Keysym::End),
    (116, Keysym::Down),
    (117, Keysym::Next),
    (118, Keysym::Insert),
    (119, Keysym::Delete),
    (127, Keysym::Pause),
    (133, Keysym::Super_L),
    (134, Keysym::Super_R),
    (135, Keysym::Menu),
    (191, Keysym::F13),
    (192, Keysym::F14),
    (193, Keysym::F15),
    (194, Keysym::F16),
    (195, Keysym::F17),
    (196, Keysym::F18),
    (197, Keysym::F19),
    (198, Keysym::F20),
    (205, Keysym::Meta_L),
];

/// A spare place that is free.
const NO_SYMBOL: u32 = 0;

/// Where everything else goes: the places that a PC keyboard uses for media keys and the like, or not at all.
const SPARE: std::ops::RangeInclusive<u32> = 136..=190;
const MORE_SPARE: std::ops::RangeInclusive<u32> = 206..=254;

/// The real modifiers, by their places, as bits of the modifier mask (xkbcommon: Shift, Lock, Control, Mod1 to Mod5).
const MODIFIERS: [(&str, u32, &[u32]); 6] = [
    ("Shift", 1, &[50, 62]),
    ("Lock", 2, &[66]),
    ("Control", 4, &[37, 105]),
    ("Mod1", 8, &[64, 108, 205]),
    ("Mod4", 64, &[133, 134]),
    ("Mod5", 128, &[92]),
];

/// The bit of Shift in the modifier mask.
pub(super) const SHIFT: u32 = 1;

/// The place of the left Shift.
pub(super) const SHIFT_PLACE: u32 = 50;

/// The bit that a lock toggles.
pub(super) const LOCK: u32 = 2;

/// Where a keysym is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The key, as XKB counts.
    pub(super) code: u32,
    /// Whether it is there with Shift only.
    pub(super) shift: bool,
}

/// What is at which place.
#[derive(Debug, Default)]
pub(super) struct Keymap {
    /// The keysyms at the spare places, in order.
    spare: Vec<u32>,
}

impl Keymap {
    /// Makes room for these keysyms, and tells whether the keymap is another one now. At most [`room`] that a US keyboard
    /// lacks, `kept` included; those stay where they are.
    pub(super) fn prepare(&mut self, wanted: &[u32], kept: &[u32]) -> bool {
        let mut missing: Vec<u32> =
            wanted.iter().copied().filter(|keysym| self.place(*keysym).is_none()).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return false;
        }
        if self.spare.len() + missing.len() > room() {
            for at in &mut self.spare {
                if !kept.contains(at) && !wanted.contains(at) {
                    *at = NO_SYMBOL;
                }
            }
        }
        for keysym in missing {
            match self.spare.iter_mut().find(|at| **at == NO_SYMBOL) {
                Some(free) => *free = keysym,
                None => self.spare.push(keysym),
            }
        }
        self.spare.truncate(room());
        true
    }

    /// Where a keysym is, if it is anywhere.
    pub(super) fn place(&self, keysym: u32) -> Option<Place> {
        let plain = |code| Some(Place { code, shift: false });
        if let Some((code, _)) = NAMED.iter().find(|(_, named)| named.raw() == keysym) {
            return plain(*code);
        }
        for (code, shift, typed) in keys() {
            if u32::from(typed) == keysym {
                return Some(Place { code, shift });
            }
        }
        let index = self.spare.iter().position(|at| *at == keysym)?;
        plain(spare_places().nth(index)?)
    }

    /// The bits of the modifier mask that a key sets while it is down.
    pub(super) fn modifier(code: u32) -> u32 {
        MODIFIERS.iter().find(|(_, _, places)| places.contains(&code)).map_or(0, |(_, bit, _)| *bit)
    }

    /// In xkbcommon's text form. The types and the meaning of modifiers are those of every installation.
    pub(super) fn text(&self) -> String {
        let spare: Vec<(u32, u32)> =
            spare_places().zip(&self.spare).map(|(code, keysym)| (code, *keysym)).collect();
        let named = NAMED.iter().map(|(code, keysym)| (*code, keysym.raw()));
        let rows = ROWS
            .iter()
            .flat_map(|(first, plain, shifted)| (*first..).zip(plain.chars().zip(shifted.chars())));
        let mut codes = String::new();
        let mut symbols = String::new();
        for (code, (plain, shifted)) in rows {
            let _ = writeln!(codes, "<K{code}> = {code};");
            let (plain, shifted) = (u32::from(plain), u32::from(shifted));
            let _ = writeln!(symbols, "key <K{code}> {{ [ {plain:#x}, {shifted:#x} ] }};");
        }
        for (code, keysym) in named.chain(spare) {
            let _ = writeln!(codes, "<K{code}> = {code};");
            if keysym != NO_SYMBOL {
                let _ = writeln!(symbols, "key <K{code}> {{ [ {keysym:#x} ] }};");
            }
        }
        for (name, _, places) in MODIFIERS {
            let places: Vec<String> = places.iter().map(|code| format!("<K{code}>")).collect();
            let _ = writeln!(symbols, "modifier_map {name} {{ {} }};", places.join(", "));
        }
        format!(
            "xkb_keymap {{\n\
             xkb_keycodes \"llm-os\" {{ minimum = 8; maximum = 255;\n{codes}}};\n\
             xkb_types \"llm-os\" {{ include \"complete\" }};\n\
             xkb_compatibility \"llm-os\" {{ include \"complete\" }};\n\
             xkb_symbols \"llm-os\" {{\n{symbols}}};\n}};\n"
        )
    }
}

/// How many keysyms find room that a US keyboard lacks.
fn room() -> usize {
    spare_places().count()
}

fn spare_places() -> impl Iterator<Item = u32> {
    SPARE.chain(MORE_SPARE)
}

/// Every character of the rows: its key, whether with Shift, and itself.
fn keys() -> impl Iterator<Item = (u32, bool, char)> {
    let row = |first: u32, shift: bool, typed: &'static str| {
        (first..).zip(typed.chars()).map(move |(code, character)| (code, shift, character))
    };
    ROWS.iter()
        .flat_map(move |(first, plain, shifted)| row(*first, false, plain).chain(row(*first, true, shifted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_used_once() {
        let mut places: Vec<u32> = keys().filter(|(_, shift, _)| !shift).map(|(code, _, _)| code).collect();
        places.extend(NAMED.iter().map(|(code, _)| *code));
        places.extend(spare_places());
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count);
        assert!(places.iter().all(|code| (FIRST + 1..=255).contains(code)));
    }

    #[test]
    fn ascii_is_where_a_us_keyboard_has_it() {
        let keymap = Keymap::default();
        for code in 0x20..0x7fu32 {
            assert!(keymap.place(code).is_some(), "{code:#x}");
        }
        assert_eq!(keymap.place(u32::from('a')), Some(Place { code: 38, shift: false }));
        assert_eq!(keymap.place(u32::from('A')), Some(Place { code: 38, shift: true }));
        assert_eq!(keymap.place(u32::from(' ')), Some(Place { code: 65, shift: false }));
    }

    #[test]
    fn what_is_held_stays_in_its_place_when_room_is_made() {
        let mut keymap = Keymap::default();
        let held = 0x0100_3042;
        assert!(keymap.prepare(&[held], &[]));
        let place = keymap.place(held);
        for round in 0..40u32 {
            let wanted: Vec<u32> = (0..32).map(|n| 0x0100_4e00 + round * 32 + n).collect();
            assert!(keymap.prepare(&wanted, &[held]));
            assert_eq!(keymap.place(held), place);
            let mut places: Vec<_> =
                wanted.iter().map(|keysym| keymap.place(*keysym).unwrap().code).collect();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), 32, "each has a place of its own");
        }
        assert!(!keymap.prepare(&[held, u32::from('q')], &[]), "both are there already");
    }
}
