//! What one action holds down, and lets go of whatever happens to it.

use std::sync::{Arc, Mutex, PoisonError};

use llm_os_core::{ConnectionId, Fault};

use super::{Held, Session};
use crate::{Desktop, Trouble};

/// Everything that an action pressed and that is still down. Let go of on drop too, so that an action that is cancelled
/// leaves nothing behind.
pub struct Holding<'a> {
    desktop: &'a Desktop,
    grip: Grip,
}

/// Presses for a [`Holding`], on the display's thread.
#[derive(Clone)]
pub struct Grip {
    connection: ConnectionId,
    down: Arc<Mutex<Vec<Held>>>,
}

impl<'a> Holding<'a> {
    /// Holds nothing yet.
    pub fn new(desktop: &'a Desktop, connection: ConnectionId) -> Self {
        Self { desktop, grip: Grip { connection, down: Arc::default() } }
    }

    /// For the display's thread.
    pub fn grip(&self) -> Grip {
        self.grip.clone()
    }

    /// Lets go of all of it, the last pressed first.
    ///
    /// # Errors
    ///
    /// As [`Session::press`].
    pub async fn let_go(self) -> Result<(), Fault> {
        let grip = self.grip.clone();
        self.desktop.work_other(move |session| grip.let_go(session)).await
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let grip = self.grip.clone();
        self.desktop.later_other(move |session| grip.let_go(session));
    }
}

impl Grip {
    /// Presses what this connection does not hold already.
    ///
    /// # Errors
    ///
    /// As [`Session::press`].
    pub fn press(&self, session: &mut Session, what: Held) -> Result<(), Trouble> {
        if session.hold(self.connection, what)? {
            self.down.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        }
        Ok(())
    }

    fn let_go(&self, session: &mut Session) -> Result<(), Trouble> {
        let down = std::mem::take(&mut *self.down.lock().unwrap_or_else(PoisonError::into_inner));
        down.into_iter().rev().try_for_each(|what| session.let_go(self.connection, what))
    }
}
