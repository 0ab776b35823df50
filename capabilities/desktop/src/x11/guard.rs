//! Checking where input goes, and sending it, in one server grab.
//!
//! While a client has the server grabbed the server takes no request from any other one (GrabServer, X11 protocol): no
//! window can be mapped, moved, raised, renamed or given the focus between the check and the event. XTEST events of the
//! grabbing client are routed at once, and are in the queue of the right client before the grab ends.

use x11rb::protocol::xproto::{ConnectionExt as _, GrabMode, GrabStatus};

use super::Session;
use super::windows::POINTER_ROOT;
use crate::geometry::Point;
use crate::window::{Role, Window};
use crate::{INPUT_GRABBED, Trouble, WINDOW_CHANGED};
use llm_os_core::Fault;

/// Where input is about to go.
#[derive(Clone, Copy, Debug)]
pub enum Aim<'a> {
    /// To what has the focus, which must be this X id (see [`Focus`](super::Focus)).
    Focus(u32),
    /// To what is at each of these pixels.
    Points(&'a [Point]),
}

/// What a guarded sending came to.
#[derive(Debug)]
pub enum Guarded<T> {
    /// The events were sent.
    Sent(T),
    /// Nothing was sent: it is the same window, but its class or title is now another. Whoever sends asks the policy
    /// about this one and tries again, or stops.
    Changed(Box<Window>),
}

impl Session {
    /// Grabs the server, checks that everything aimed at is one of `windows`, sends, and ends the grab.
    ///
    /// # Errors
    ///
    /// `window_changed` and `input_grabbed`, where nothing was sent; whatever `send` gives; a lost connection.
    pub fn guarded<T>(
        &mut self,
        windows: &[Window],
        aim: Aim<'_>,
        send: impl FnOnce(&mut Self) -> Result<T, Trouble>,
    ) -> Result<Guarded<T>, Trouble> {
        self.conn.grab_server()?;
        let done = match self.changed(windows, aim) {
            Ok(None) => send(self).map(Guarded::Sent),
            Ok(Some(window)) => Ok(Guarded::Changed(Box::new(window))),
            Err(trouble) => Err(trouble),
        };
        self.conn.ungrab_server()?;
        self.sync()?;
        done
    }

    /// Asks everything at once and waits once.
    fn changed(&self, windows: &[Window], aim: Aim<'_>) -> Result<Option<Window>, Trouble> {
        let everywhere = self.conn.grab_pointer(
            false,
            self.unmapped,
            Default::default(),
            GrabMode::ASYNC,
            GrabMode::ASYNC,
            x11rb::NONE,
            x11rb::NONE,
            x11rb::CURRENT_TIME,
        )?;
        let keys = self.conn.grab_keyboard(
            false,
            self.unmapped,
            x11rb::CURRENT_TIME,
            GrabMode::ASYNC,
            GrabMode::ASYNC,
        )?;
        let names: Vec<_> = windows.iter().map(|window| self.names(window.id)).collect();
        match aim {
            Aim::Focus(expected) => self.is_focused(expected, &windows[0])?,
            Aim::Points(points) => self.are_at(points, windows)?,
        }
        let [pointer, keyboard] = [everywhere.reply()?.status, keys.reply()?.status];
        // A button that is held down for a plan has given the pointer to the window below it, and whoever moves windows
        // or shows menus for it takes the keyboard as well.
        let (of_pointer, of_keyboard) =
            (pointer == GrabStatus::ALREADY_GRABBED, keyboard == GrabStatus::ALREADY_GRABBED);
        let taken = match (self.drags(), aim) {
            (false, Aim::Focus(_)) => of_pointer || of_keyboard,
            // A menu that is open holds both for its program.
            (false, Aim::Points(_)) if of_pointer => !self.is_held_by_program_of(windows)?,
            (false, Aim::Points(_)) => of_keyboard,
            (true, Aim::Focus(_)) => of_keyboard,
            (true, Aim::Points(_)) => false,
        };
        if taken {
            let which = if of_keyboard { "keyboard" } else { "pointer" };
            let message = format!(
                "another program holds the {which} (a grab) and would receive this; close its menu or dialog first"
            );
            return Err(Fault::new(INPUT_GRABBED, message).into());
        }
        for (window, names) in windows.iter().zip(names) {
            let said = names?.reply()?;
            if (&said.class, &said.instance, &said.title) != (&window.class, &window.instance, &window.title)
            {
                let role = match window.role {
                    Role::Approval | Role::Terminal => window.role,
                    _ => Role::of(None, &said.class, &said.instance, None),
                };
                let role = if role == Role::Unknown { window.role } else { role };
                return Ok(Some(Window {
                    class: said.class,
                    instance: said.instance,
                    title: said.title,
                    role,
                    ..window.clone()
                }));
            }
        }
        Ok(None)
    }

    fn is_focused(&self, expected: u32, window: &Window) -> Result<(), Trouble> {
        let found = self.conn.get_input_focus()?.reply()?.focus;
        let same = if found == POINTER_ROOT {
            expected == found && self.conn.query_pointer(self.root)?.reply()?.child == window.frame
        } else {
            found == expected || (found != x11rb::NONE && self.top(found)? == window.frame)
        };
        if same { Ok(()) } else { Err(elsewhere("the focus moved to another window")) }
    }

    fn are_at(&self, points: &[Point], windows: &[Window]) -> Result<(), Trouble> {
        let found: Vec<_> = points.iter().map(|point| self.under(*point)).collect();
        for (point, found) in points.iter().zip(found) {
            let child = match found?.reply()?.child {
                x11rb::NONE => self.root,
                child => child,
            };
            if !windows.iter().any(|window| window.frame == child) {
                let message = format!("another window is now at ({}, {})", point.x, point.y);
                return Err(elsewhere(message));
            }
        }
        Ok(())
    }
}

fn elsewhere(what: impl std::fmt::Display) -> Trouble {
    Fault::new(WINDOW_CHANGED, format!("{what}, so nothing more was sent; look again and send the plan anew"))
        .into()
}
