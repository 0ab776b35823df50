//! A question to the approver, whose default answer is no.

use crate::approve::keys::Key;

/// The longest answer that is kept.
const MOST: usize = 16;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Whether the plan may run once.
    Once,
    /// Whether the same again may run as long as the grant lasts.
    Session,
    /// Whether the plan is denied.
    Deny,
}

impl Ask {
    /// The one word that is a yes to it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Ask::Once => "yes",
            Ask::Session => "session",
            Ask::Deny => "no",
        }
    }
}

/// What a key made of a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is still open.
    Open,
    Yes,
    No,
}

/// A question about one plan in one form. No key counts before it was on the screen.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) ask: Ask,
    pub(crate) pending_id: String,
    pub(crate) sha256: String,
    /// What is asked, in sentences.
    pub(crate) text: Vec<String>,
    pub(crate) typed: String,
    /// The first row of the text that is on the screen.
    pub(crate) top: usize,
    shown: bool,
    read: bool,
}

impl Question {
    pub(crate) fn new(ask: Ask, pending_id: &str, sha256: &str, text: Vec<String>) -> Self {
        let (pending_id, sha256) = (pending_id.to_owned(), sha256.to_owned());
        Self { ask, pending_id, sha256, text, typed: String::new(), top: 0, shown: false, read: false }
    }

    /// It is on the screen; `is_end` where the last row of its text is.
    pub(crate) fn drawn(&mut self, is_end: bool) {
        self.shown = true;
        self.read |= is_end;
    }

    /// Whether it waits for its first moment on the screen.
    pub(crate) fn is_new(&self) -> bool {
        !self.shown
    }

    /// Whether all of its text was on the screen.
    pub(crate) fn is_read(&self) -> bool {
        self.read
    }

    /// Takes a key. `rows` and `room` are how many rows the text has, and how many of them are on the screen.
    pub(crate) fn key(&mut self, key: Key, rows: usize, room: usize) -> Answer {
        if !self.shown {
            return Answer::Open;
        }
        match key {
            Key::Char(c) if self.typed.len() < MOST && c.is_ascii_graphic() => self.typed.push(c),
            Key::Backspace => drop(self.typed.pop()),
            Key::Up => self.top = self.top.saturating_sub(1),
            Key::Down => self.top = (self.top + 1).min(rows.saturating_sub(room)),
            Key::Enter if self.read && self.typed == self.ask.word() => return Answer::Yes,
            Key::Char(_)
            | Key::Enter
            | Key::Esc
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End
            | Key::Tab
            | Key::Interrupt
            | Key::Other => return Answer::No,
        }
        Answer::Open
    }
}
