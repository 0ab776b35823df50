//! Keys that another program has asked for, wherever the focus is: a window manager's shortcuts.
//!
//! Such a passive grab (GrabKey, X11 protocol) takes the key away from the window with the focus. Nobody can ask the
//! server for them, but asking for the same one fails while another client has it.

use std::collections::BTreeSet;

use llm_os_core::Fault;
use x11rb::errors::ReplyError;
use x11rb::protocol::ErrorKind;
use x11rb::protocol::xproto::{ConnectionExt as _, GrabMode, ModMask};
use xkeysym::Keysym;

use super::Session;
use super::windows::POINTER_ROOT;
use crate::{INPUT_GRABBED, Trouble};

/// A key as grabs see it: the keycode, and the modifiers that are down before it.
pub(super) type Press = (u8, u16);

/// `AnyKey` of GrabKey.
const ANY: u8 = 0;

impl Session {
    /// Refuses presses that would go to another program than the one with the focus. The server must be grabbed.
    pub(super) fn ungrabbed(&self, presses: &BTreeSet<Press>) -> Result<(), Trouble> {
        let path = self.path()?;
        let masks: BTreeSet<Press> = presses.iter().map(|(_, mask)| (ANY, *mask)).collect();
        if masks.len() < presses.len() && self.taken(&path, &masks)?.is_none() {
            return Ok(());
        }
        match self.taken(&path, presses)? {
            None => Ok(()),
            Some((keycode, mask)) => {
                let keymap = self.keymap()?;
                let key =
                    Keysym::new(keymap.levels(keycode)[0]).name().unwrap_or("a key").replacen("XK_", "", 1);
                let mut chord: Vec<&str> =
                    keymap.meaning(mask).iter().map(|modifier| modifier.as_str()).collect();
                chord.push(&key);
                let message = format!(
                    "another program has taken {} for itself, such as the window manager for a shortcut, and would \
                     receive it in the place of the window",
                    chord.join("+")
                );
                Err(Fault::new(INPUT_GRABBED, message).into())
            }
        }
    }

    /// The first of these that another client has grabbed.
    fn taken(&self, path: &[u32], presses: &BTreeSet<Press>) -> Result<Option<Press>, Trouble> {
        let mut asked = Vec::with_capacity(path.len() * presses.len());
        for press in presses {
            for window in path {
                let (keycode, mask) = *press;
                let mode = GrabMode::ASYNC;
                let grab = self.conn.grab_key(false, *window, ModMask::from(mask), keycode, mode, mode)?;
                asked.push((*press, grab));
                self.conn.ungrab_key(keycode, *window, ModMask::from(mask))?;
            }
        }
        let mut taken = None;
        for (press, grab) in asked {
            match grab.check() {
                Ok(()) => {}
                Err(ReplyError::X11Error(error)) if error.error_kind == ErrorKind::Access => {
                    taken.get_or_insert(press);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(taken)
    }

    /// Every window on which a grab could take a key on its way: from the root down to the focus, and on to what is
    /// under the pointer there.
    fn path(&self) -> Result<Vec<u32>, Trouble> {
        let focus = match self.conn.get_input_focus()?.reply()?.focus {
            POINTER_ROOT => self.root,
            focus => focus,
        };
        let mut path = vec![focus];
        let mut above = focus;
        while above != self.root {
            above = self.conn.query_tree(above)?.reply()?.parent;
            if above == x11rb::NONE {
                break;
            }
            path.push(above);
        }
        let mut below = focus;
        loop {
            below = self.conn.query_pointer(below)?.reply()?.child;
            if below == x11rb::NONE {
                return Ok(path);
            }
            path.push(below);
        }
    }
}
