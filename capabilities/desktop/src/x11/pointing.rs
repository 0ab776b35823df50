//! The windows that a pointer reaches.

use std::collections::BTreeSet;

use super::{Held, Session};
use crate::Trouble;
use crate::geometry::Point;
use crate::keys::Modifier;
use crate::window::Window;

/// The bits of the modifiers in a key and button mask (X11 protocol, KEYBUTMASK).
const MODIFIERS: u16 = 0x00ff;

impl Session {
    /// The windows that input reaches at these pixels, each once, and for each pixel which of them.
    ///
    /// # Errors
    ///
    /// A lost connection, or a window that went away meanwhile.
    pub fn along(&mut self, points: &[Point]) -> Result<(Vec<Window>, Vec<usize>), Trouble> {
        let asked: Vec<_> = points.iter().map(|point| self.under(*point)).collect();
        let mut frames: Vec<u32> = Vec::new();
        let mut which = Vec::with_capacity(points.len());
        for asked in asked {
            let frame = asked?.reply()?.child;
            let known = frames.iter().position(|known| *known == frame);
            which.push(known.unwrap_or(frames.len()));
            if known.is_none() {
                frames.push(frame);
            }
        }
        let windows = frames.into_iter().map(|frame| self.framed(frame)).collect::<Result<_, _>>()?;
        Ok((windows, which))
    }

    /// Whether a button is held down for a plan.
    pub fn drags(&self) -> bool {
        self.held().any(|held| matches!(held, Held::Button(_)))
    }

    /// Remembers the frame of the window in which a button goes down: until all are up the server gives it every event
    /// of the pointer, wherever that is (X11 protocol, ButtonPress: an automatic grab).
    pub fn captured_by(&mut self, frame: u32) {
        if !self.drags() || self.captor.is_none() {
            self.captor = Some(frame);
        }
    }

    /// That window, while a button is held down for a plan; `None` as well where it is gone, which ends its grab.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn captor(&mut self) -> Result<Option<Window>, Trouble> {
        let Some(frame) = self.captor.filter(|_| self.drags()) else { return Ok(None) };
        match self.framed(frame) {
            Ok(window) => Ok(Some(window)),
            Err(Trouble::Fault(_)) => Ok(None),
            Err(lost) => Err(lost),
        }
    }

    /// The modifiers in a key and button mask, such as the pointer's. The map of the keyboard is asked for only where
    /// there are any.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn modifiers_of(&mut self, mask: u16) -> Result<BTreeSet<Modifier>, Trouble> {
        if mask & MODIFIERS == 0 { Ok(BTreeSet::new()) } else { self.modifiers() }
    }
}
