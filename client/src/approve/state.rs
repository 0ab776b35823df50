//! What the screen knows, and what each event makes of it. It does nothing itself: it says what is to be done.
//!
//! - An approval comes out of [`State::step`] in one place: where the word was typed to a question that was on the screen.
//! - A question is about one plan in one form; when that plan is gone, so is the question.

mod asking;
mod plans;
mod typing;

use std::collections::BTreeMap;
use std::time::Duration;

use llm_os_core::approval::Statement;

use crate::approve::keys::Key;
use crate::approve::picture::Picture;
use crate::approve::question::Question;
use crate::approve::sheet::Sheet;
use crate::held::{Held, Pictured};
use crate::pending::Summary;
use crate::screen::{plain, wrapped};

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    Key(Key),
    /// The terminal has so many columns and rows.
    Size(usize, usize),
    /// Time went by.
    Tick,
    /// What [`State`] says is on the screen, and what was typed before is dropped.
    Drawn,
    List(Vec<Summary>),
    /// The host is gone, or does not answer.
    Lost(String),
    Plan(String, Result<Box<Held>, String>),
    Picture(String, usize, Result<Picture, String>),
    Decided(String, Result<String, String>),
    Saved(Result<String, String>),
    /// The terminal is gone, or somebody ends this program.
    Quit,
}

/// What is asked of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Show(String),
    Picture(String, usize, Pictured),
    Approve { pending_id: String, sha256: String, session: bool, signature: Option<String> },
    Deny(String),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Do(Job),
    /// An approval that goes to the host with a signature over the statement.
    Sign(Job, Box<Statement>),
    /// A picture of the selected plan goes to a file of this name.
    Save(String, usize),
    Quit,
}

/// A plan, and what is known of it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) summary: Summary,
    at: Duration,
    /// Why it waits no more; it stays as long as it is selected.
    pub(crate) gone: Option<String>,
    is_deciding: bool,
    /// It was decided here, whatever a list says that was made before.
    is_decided: bool,
    pub(crate) content: Content,
}

/// The whole of a plan.
#[derive(Debug)]
pub(crate) enum Content {
    Unasked,
    Asked,
    /// Why it cannot be shown, and so not be approved.
    Unshown(String),
    Shown(Box<Sheet>),
}

/// How a message looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Plain,
}

/// What the arrows move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Focus {
    List,
    Plan,
}

/// How many rows each part of the screen has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Areas {
    pub(crate) list: usize,
    pub(crate) body: usize,
    pub(crate) question: usize,
    pub(crate) status: usize,
}

/// The screen's state.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) now: Duration,
    pub(crate) size: (usize, usize),
    pub(crate) plans: Vec<Plan>,
    pub(crate) selected: Option<String>,
    pub(crate) focus: Focus,
    pub(crate) question: Option<Question>,
    pub(crate) status: Option<(Tone, String)>,
    /// `None` before the first answer; an error says why there is none any more.
    pub(crate) host: Option<Result<(), String>>,
    pub(crate) has_help: bool,
    pub(crate) users: BTreeMap<u32, String>,
    in_full_size: bool,
    signs: bool,
    /// Every decision that was taken here.
    pub(crate) decisions: Vec<String>,
}

impl State {
    /// A screen that knows nothing yet; `signs` where it was given a key.
    pub(crate) fn new(users: BTreeMap<u32, String>, signs: bool) -> Self {
        Self {
            now: Duration::ZERO,
            size: (80, 24),
            plans: Vec::new(),
            selected: None,
            focus: Focus::List,
            question: None,
            status: None,
            host: None,
            has_help: false,
            users,
            in_full_size: false,
            signs,
            decisions: Vec::new(),
        }
    }

    /// Takes an event, `now` since the screen began.
    pub(crate) fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        self.now = now;
        let effects = match event {
            Event::Key(key) => self.key(key),
            Event::Size(columns, rows) => {
                self.size = (columns, rows);
                Vec::new()
            }
            Event::Tick => Vec::new(),
            Event::Drawn => {
                self.drawn();
                Vec::new()
            }
            Event::List(summaries) => {
                self.listed(summaries);
                Vec::new()
            }
            Event::Lost(why) => {
                self.lost(why);
                Vec::new()
            }
            Event::Plan(id, held) => self.loaded(&id, held),
            Event::Picture(id, index, picture) => {
                if let Some(sheet) = self.sheet_of(&id) {
                    sheet.add_picture(index, picture);
                }
                Vec::new()
            }
            Event::Decided(id, done) => {
                self.decided(&id, done);
                Vec::new()
            }
            Event::Saved(Ok(name)) => {
                self.say(Tone::Good, format!("the picture is in {name}, with its cross"));
                Vec::new()
            }
            Event::Saved(Err(why)) => {
                self.say(Tone::Bad, format!("the picture was not saved: {why}"));
                Vec::new()
            }
            Event::Quit => vec![Effect::Quit],
        };
        self.expire();
        let asked = self.ask_for_selected();
        self.arrange();
        effects.into_iter().chain(asked).collect()
    }

    pub(crate) fn say(&mut self, tone: Tone, text: impl Into<String>) {
        self.status = Some((tone, plain(&text.into())));
    }

    /// The selected plan.
    pub(crate) fn current(&self) -> Option<&Plan> {
        let id = self.selected.as_deref()?;
        self.plans.iter().find(|plan| plan.summary.pending_id == id)
    }

    fn plan(&mut self, id: &str) -> Option<&mut Plan> {
        self.plans.iter_mut().find(|plan| plan.summary.pending_id == id)
    }

    fn sheet_of(&mut self, id: &str) -> Option<&mut Sheet> {
        match &mut self.plan(id)?.content {
            Content::Shown(sheet) => Some(sheet),
            Content::Unasked | Content::Asked | Content::Unshown(_) => None,
        }
    }

    fn sheet(&mut self) -> Option<&mut Sheet> {
        let id = self.selected.clone()?;
        self.sheet_of(&id)
    }

    /// A picture of the selected plan.
    pub(crate) fn picture(&self, index: usize) -> Option<&Picture> {
        match &self.current()?.content {
            Content::Shown(sheet) => sheet.picture(index),
            Content::Unasked | Content::Asked | Content::Unshown(_) => None,
        }
    }

    /// How many seconds a plan waits already, and how many are left to it.
    pub(crate) fn ages(&self, plan: &Plan) -> (u64, u64) {
        let since = self.now.saturating_sub(plan.at).as_secs();
        (plan.summary.age_s + since, plan.summary.expires_in_s.saturating_sub(since))
    }

    /// How the rows of the screen are shared out.
    pub(crate) fn areas(&self) -> Areas {
        let (columns, rows) = self.size;
        let status = self.status.as_ref().map_or(1, |(_, text)| wrapped(text, columns).len().clamp(1, 3));
        let list = self.plans.len().clamp(1, (rows / 4).max(2));
        let left = rows.saturating_sub(3 + list + status);
        let question = self
            .question
            .as_ref()
            .map_or(0, |question| (question_rows(question, columns).len() + 2).min(left));
        Areas { list, body: left - question, question, status }
    }

    fn drawn(&mut self) {
        let areas = self.areas();
        let columns = self.size.0;
        if let Some(question) = &mut self.question {
            let rows = question_rows(question, columns).len();
            question.drawn(question.top + areas.question.saturating_sub(2) >= rows);
        }
        if !self.has_help
            && let Some(sheet) = self.sheet()
        {
            sheet.drawn(areas.body);
        }
    }

    fn arrange(&mut self) {
        let ((columns, rows), in_full_size) = (self.size, self.in_full_size);
        let body = self.areas().body;
        if let Some(sheet) = self.sheet() {
            sheet.arrange(columns, rows.saturating_sub(8).max(4), in_full_size, body);
        }
    }

    /// The uid, and the name where this system has one.
    pub(crate) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).map_or_else(|| uid.to_string(), |name| format!("{uid} ({})", plain(name)))
    }
}

/// The names of a plan's actions, short.
pub(crate) fn named(actions: &[&str]) -> String {
    match actions {
        [] => String::new(),
        [one] => plain(one),
        [first, rest @ ..] => format!("{} and {} more", plain(first), rest.len()),
    }
}

/// The rows of a question's text.
pub(crate) fn question_rows(question: &Question, columns: usize) -> Vec<String> {
    question.text.iter().flat_map(|sentence| wrapped(&plain(sentence), columns.saturating_sub(2))).collect()
}

#[cfg(test)]
mod tests;
