//! Sending keys, below a server grab: text and chords.
//!
//! Everything is worked out before the first event: which keycodes, whether another program has taken one of them, which
//! spare keycodes have to be lent. Then the events go out in one stream, without a wait in between.

use std::collections::{BTreeSet, HashMap};

use llm_os_core::{ConnectionId, Fault};

use super::grabs::Press;
use super::keymap::{Keymap, SHIFT, Stroke};
use super::reading::Reader;
use super::{Held, Session};
use crate::keys::{Chord, Key, Modifier};
use crate::{KEY_HELD, NO_KEY, Trouble};

/// What one sending came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How many characters or chords were sent, from the first on.
    pub count: usize,
    /// Who must have read everything before the rest can be sent; each is waited for with [`Reader::has_read`] and then
    /// given to [`Session::was_read`]. Empty where nothing is left.
    pub waits: Vec<Reader>,
}

/// Keys that were pressed to stay down for a while.
#[derive(Clone, Debug)]
pub struct Pressed {
    keycodes: Vec<u8>,
    /// The one that a keyboard would repeat.
    repeats: Option<Stroke>,
    /// Who must have read everything before they can be pressed; where there is one, nothing was.
    pub waits: Vec<Reader>,
}

/// Keys that go down together, as keycodes.
struct Strokes {
    strokes: Vec<Stroke>,
    /// Modifier bits that are down before the first.
    base: u16,
    shift: u8,
}

impl Session {
    /// Types the beginning of a text into what has the focus. Call it below [`Session::guarded`] with about 100
    /// characters: no other client can act meanwhile.
    ///
    /// # Errors
    ///
    /// `modifiers_held`, `input_grabbed`, `no_key`, where nothing was sent; a lost connection.
    pub fn type_text(&mut self, text: &[char], reader: &Reader) -> Result<Sent, Trouble> {
        let keymap = self.keymap()?;
        self.steady(&keymap, &BTreeSet::new())?;
        let calm = self.spares.take_calm(reader);
        self.refresh_spares(&keymap)?;
        let shift = keymap.keycode_of(Modifier::Shift)?;
        let mut known: HashMap<char, Stroke> = keymap.characters();
        let unread = self.spares.readers();
        let mut strokes = Vec::with_capacity(text.len());
        let mut waits = Vec::new();
        for character in text {
            let stroke = match known.get(character) {
                Some(stroke) => Some(*stroke),
                None => self.stroke_of(*character, &keymap),
            };
            let Some(stroke) = stroke else {
                if !strokes.is_empty() {
                    waits = self.spares.readers();
                    break;
                }
                if unread.is_empty() {
                    return Err(no_key("the next character of the text"));
                }
                return Ok(Sent { count: 0, waits: unread });
            };
            if !known.contains_key(character) && !stroke.shift {
                // Whatever was lent this keycode before has it no longer.
                known.retain(|_, earlier| earlier.keycode != stroke.keycode);
            }
            known.insert(*character, stroke);
            self.spares.used(stroke.keycode, reader);
            strokes.push(stroke);
        }
        if self.spares.are_changed() && !calm {
            return Ok(Sent { count: 0, waits: vec![*reader] });
        }
        let held = self.held_keys();
        if strokes.iter().any(|stroke| held.contains(&stroke.keycode)) {
            let message = "the text needs a key that is held down; release it first with keyboard.up";
            return Err(Fault::new(KEY_HELD, message).into());
        }
        let presses = strokes.iter().map(|stroke| (stroke.keycode, if stroke.shift { SHIFT } else { 0 }));
        let shifts = strokes.iter().any(|stroke| stroke.shift).then_some((shift, 0));
        self.ungrabbed(&presses.chain(shifts).collect())?;
        self.bind()?;
        let locks = self.unlock(&keymap)?;
        let mut shifted = false;
        for stroke in &strokes {
            if stroke.shift != shifted {
                self.press(Held::Key(shift), stroke.shift)?;
                shifted = stroke.shift;
            }
            self.press(Held::Key(stroke.keycode), true)?;
            self.press(Held::Key(stroke.keycode), false)?;
        }
        if shifted {
            self.press(Held::Key(shift), false)?;
        }
        self.lock(locks)?;
        Ok(Sent { count: strokes.len(), waits })
    }

    fn stroke_of(&mut self, character: char, keymap: &Keymap) -> Option<Stroke> {
        let key = Key::of_char(character)?;
        let on_the_layout = if character.is_control() { keymap.stroke(key) } else { None };
        let held = self.held_keys();
        on_the_layout.or_else(|| self.spares.lend(key.symbol(), &held))
    }

    /// Presses and releases a chord a number of times, on top of the modifiers that are held down already, which must be
    /// `judged`. Call it below [`Session::guarded`].
    ///
    /// # Errors
    ///
    /// As [`Session::type_text`].
    pub fn strike(
        &mut self,
        chord: &Chord,
        times: usize,
        judged: &BTreeSet<Modifier>,
        reader: &Reader,
    ) -> Result<Sent, Trouble> {
        let keymap = self.keymap()?;
        let strokes = match self.prepare_chord(&keymap, chord, judged, reader)? {
            Ok(strokes) => strokes,
            Err(waits) => return Ok(Sent { count: 0, waits }),
        };
        // What a lock key changes must stay changed.
        let locks = if chord.keys().iter().any(|key| key.locks()) { None } else { self.unlock(&keymap)? };
        for _ in 0..times {
            self.chord_down(&keymap, &strokes)?;
            for stroke in strokes.strokes.iter().rev() {
                self.press(Held::Key(stroke.keycode), false)?;
            }
        }
        self.lock(locks)?;
        Ok(Sent { count: times, waits: Vec::new() })
    }

    /// Presses a chord and holds for a connection what was not down already. The keys do not repeat meanwhile. Call it
    /// below [`Session::guarded`].
    ///
    /// # Errors
    ///
    /// As [`Session::type_text`].
    pub fn hold_down(
        &mut self,
        chord: &Chord,
        connection: ConnectionId,
        judged: &BTreeSet<Modifier>,
        reader: &Reader,
    ) -> Result<Pressed, Trouble> {
        let keymap = self.keymap()?;
        let strokes = match self.prepare_chord(&keymap, chord, judged, reader)? {
            Ok(strokes) => strokes,
            Err(waits) => return Ok(Pressed { keycodes: Vec::new(), repeats: None, waits }),
        };
        for stroke in &strokes.strokes {
            self.keep_still(stroke.keycode)?;
        }
        let is_lock = chord.keys().iter().any(|key| key.locks());
        let locks = if is_lock { None } else { self.unlock(&keymap)? };
        self.chord_down(&keymap, &strokes)?;
        let keycodes: Vec<u8> = strokes.strokes.iter().map(|stroke| stroke.keycode).collect();
        for keycode in &keycodes {
            self.hold(connection, Held::Key(*keycode));
        }
        self.lock(locks)?;
        let repeats = strokes.strokes.last().copied();
        let repeats = repeats.filter(|last| !is_lock && keymap.mask(last.keycode) == 0);
        Ok(Pressed { keycodes, repeats, waits: Vec::new() })
    }

    /// Presses the last of these keys once more, as a keyboard that repeats does, and tells whether there is one to
    /// repeat: a modifier does not. Call it below [`Session::guarded`].
    ///
    /// # Errors
    ///
    /// As [`Session::type_text`].
    pub fn repeat_held(&mut self, pressed: &Pressed) -> Result<bool, Trouble> {
        let Some(stroke) = pressed.repeats else { return Ok(false) };
        let keymap = self.keymap()?;
        let base = self.steady(&keymap, &keymap.meaning(keymap.state.base_mods.into()))?;
        let strokes = Strokes { strokes: vec![stroke], base, shift: keymap.keycode_of(Modifier::Shift)? };
        self.ungrabbed(&strokes.presses(&keymap))?;
        let locks = self.unlock(&keymap)?;
        self.press(Held::Key(stroke.keycode), false)?;
        self.chord_down(&keymap, &strokes)?;
        self.lock(locks)?;
        Ok(true)
    }

    /// Releases what was pressed, the last first.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn lift(&mut self, pressed: &Pressed, connection: ConnectionId) -> Result<(), Trouble> {
        for keycode in pressed.keycodes.iter().rev() {
            if self.holds(connection, Held::Key(*keycode)) {
                self.release_one(connection, Held::Key(*keycode))?;
            }
        }
        self.sync()
    }

    /// Releases the keys of a chord that this connection holds down, the last first, and tells which of them it did not
    /// hold; where there is one, nothing is released.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn let_go(&mut self, chord: &Chord, connection: ConnectionId) -> Result<Vec<Key>, Trouble> {
        let keymap = self.keymap()?;
        let mut keycodes = Vec::with_capacity(chord.keys().len());
        let mut missing = Vec::new();
        for key in chord.keys() {
            let stroke =
                keymap.stroke(*key).filter(|stroke| self.holds(connection, Held::Key(stroke.keycode)));
            match stroke {
                Some(stroke) => keycodes.push(stroke.keycode),
                None => missing.push(*key),
            }
        }
        if missing.is_empty() {
            for keycode in keycodes.into_iter().rev() {
                self.release_one(connection, Held::Key(keycode))?;
            }
        }
        Ok(missing)
    }

    /// Checks a chord and lends what the layout lacks; `Err` where programs have to read first.
    fn prepare_chord(
        &mut self,
        keymap: &Keymap,
        chord: &Chord,
        judged: &BTreeSet<Modifier>,
        reader: &Reader,
    ) -> Result<Result<Strokes, Vec<Reader>>, Trouble> {
        let base = self.steady(keymap, judged)?;
        let calm = self.spares.take_calm(reader);
        self.refresh_spares(keymap)?;
        let held = self.held_keys();
        let unread = self.spares.readers();
        // What this chord needs of earlier loans must not be lent to its other keys.
        for stroke in chord.keys().iter().filter_map(|key| keymap.stroke(*key)) {
            self.spares.used(stroke.keycode, reader);
        }
        let mut strokes: Vec<Stroke> = Vec::with_capacity(chord.keys().len());
        for key in chord.keys() {
            let stroke = match keymap.stroke(*key) {
                Some(stroke) => stroke,
                None if key.modifier().is_some() => {
                    let message = format!("the keyboard of this display has no key {key}");
                    return Err(Fault::new(NO_KEY, message).into());
                }
                None => match self.spares.lend(key.symbol(), &held) {
                    Some(stroke) => stroke,
                    None => {
                        return if unread.is_empty() { Err(no_key(*key)) } else { Ok(Err(unread)) };
                    }
                },
            };
            if held.contains(&stroke.keycode) {
                // It is down already, and stays.
                if key.modifier().is_some() {
                    continue;
                }
                let message = format!("{key} is held down already; release it first with keyboard.up");
                return Err(Fault::new(KEY_HELD, message).into());
            }
            self.spares.used(stroke.keycode, reader);
            strokes.push(stroke);
        }
        if self.spares.are_changed() && !calm {
            return Ok(Err(vec![*reader]));
        }
        let strokes = Strokes { strokes, base, shift: keymap.keycode_of(Modifier::Shift)? };
        self.ungrabbed(&strokes.presses(keymap))?;
        self.bind()?;
        Ok(Ok(strokes))
    }

    /// Presses each key, with Shift around those that need it to be what was named.
    fn chord_down(&mut self, keymap: &Keymap, strokes: &Strokes) -> Result<(), Trouble> {
        let mut mask = strokes.base;
        for stroke in &strokes.strokes {
            let needs_shift = stroke.shift && mask & SHIFT == 0;
            if needs_shift {
                self.press(Held::Key(strokes.shift), true)?;
            }
            self.press(Held::Key(stroke.keycode), true)?;
            if needs_shift {
                self.press(Held::Key(strokes.shift), false)?;
            }
            mask |= keymap.mask(stroke.keycode);
        }
        Ok(())
    }
}

impl Strokes {
    /// Every press with the modifiers that are down before it.
    fn presses(&self, keymap: &Keymap) -> BTreeSet<Press> {
        let mut mask = self.base;
        let mut presses = BTreeSet::new();
        for stroke in &self.strokes {
            if stroke.shift && mask & SHIFT == 0 {
                presses.insert((self.shift, mask));
                presses.insert((stroke.keycode, mask | SHIFT));
            } else {
                presses.insert((stroke.keycode, mask));
            }
            mask |= keymap.mask(stroke.keycode);
        }
        presses
    }
}

fn no_key(what: impl std::fmt::Display) -> Trouble {
    let message = format!("no key writes {what}, and no keycode is free to be lent to it");
    Fault::new(NO_KEY, message).into()
}
