//! Modifiers and locks that are there before anything is sent: they would change what arrives.

use std::collections::BTreeSet;

use llm_os_core::Fault;
use x11rb::protocol::xkb::{ConnectionExt as _, Group, ID};
use x11rb::protocol::xproto::ModMask;

use super::keymap::{Keymap, MODIFIERS};
use super::{Held, Session};
use crate::keys::Modifier;
use crate::{MODIFIERS_HELD, Trouble};

/// Locks that were open for a while.
pub(super) struct Locks {
    modifiers: ModMask,
    group: Group,
}

impl Session {
    /// The modifiers that are held down now, by whomever: every effect of a key states them.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn modifiers(&mut self) -> Result<BTreeSet<Modifier>, Trouble> {
        let keymap = self.keymap()?;
        Ok(keymap.meaning(keymap.state.base_mods.into()))
    }

    /// The keycode of a modifier.
    ///
    /// # Errors
    ///
    /// `unavailable` where the keyboard has none, and a lost connection.
    pub fn modifier(&mut self, modifier: Modifier) -> Result<u8, Trouble> {
        self.keymap()?.keycode_of(modifier)
    }

    /// The bits of what is held, where that is exactly `judged` and held for plans alone.
    pub(super) fn steady(&self, keymap: &Keymap, judged: &BTreeSet<Modifier>) -> Result<u16, Trouble> {
        let base: u16 = keymap.state.base_mods.into();
        let ours = self.held().fold(0, |mask, held| match held {
            Held::Key(keycode) => mask | keymap.mask(keycode),
            Held::Button(_) => mask,
        });
        let others = base & !ours;
        let stopped = |message: String| Err(Fault::new(MODIFIERS_HELD, message).into());
        if others != 0 || keymap.state.base_group != 0 {
            let others = keymap.meaning(others);
            let what = if others.is_empty() {
                "a key for a lock or another layout".to_owned()
            } else {
                listed(&others)
            };
            return stopped(format!(
                "somebody holds {what} down, which would change what arrives; try again"
            ));
        }
        let now = keymap.meaning(base);
        if now != *judged {
            let (now, judged) = (listed(&now), listed(judged));
            return stopped(format!(
                "{now} is held down, and this was judged for {judged}; release it with keyboard.up, or send the plan anew"
            ));
        }
        Ok(base & MODIFIERS)
    }

    /// Opens Caps Lock, Num Lock, a locked layout and latches, until [`Session::lock`].
    pub(super) fn unlock(&self, keymap: &Keymap) -> Result<Option<Locks>, Trouble> {
        let state = &keymap.state;
        let is_open = u16::from(state.locked_mods | state.latched_mods) == 0
            && (u8::from(state.locked_group), state.latched_group) == (0, 0);
        if is_open {
            return Ok(None);
        }
        let all = ModMask::from(MODIFIERS);
        let none = ModMask::from(0u16);
        self.conn.xkb_latch_lock_state(ID::USE_CORE_KBD.into(), all, none, true, Group::M1, all, true, 0)?;
        Ok(Some(Locks { modifiers: state.locked_mods, group: state.locked_group }))
    }

    pub(super) fn lock(&self, locks: Option<Locks>) -> Result<(), Trouble> {
        if let Some(Locks { modifiers, group }) = locks {
            let none = ModMask::from(0u16);
            let device = ID::USE_CORE_KBD.into();
            self.conn.xkb_latch_lock_state(device, modifiers, modifiers, true, group, none, false, 0)?;
        }
        Ok(())
    }
}

impl Keymap {
    pub(super) fn keycode_of(&self, modifier: Modifier) -> Result<u8, Trouble> {
        let stroke = self.stroke(modifier.key());
        stroke.map(|stroke| stroke.keycode).ok_or_else(|| {
            let message = format!("the keyboard of this display has no key {modifier}");
            Fault::new(llm_os_core::Code::UNAVAILABLE, message).into()
        })
    }
}

fn listed(modifiers: &BTreeSet<Modifier>) -> String {
    if modifiers.is_empty() {
        return "no modifier".to_owned();
    }
    modifiers.iter().map(|modifier| modifier.as_str()).collect::<Vec<_>>().join("+")
}
