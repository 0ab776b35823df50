//! What the screen knows, and what each event makes of it. It does nothing itself: it says what is to be done.
//!
//! - An approval comes out of [`State::step`] in one place: where the word was typed to a question that was on the screen.
//! - A question is about one plan in one form; when that plan is gone, so is the question.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::approve::keys::Key;
use crate::approve::picture::Picture;
use crate::approve::question::{Answer, Ask, Question};
use crate::approve::sheet::Sheet;
use crate::held::{Held, Pictured};
use crate::screen::plain;

/// A plan in the list, as the host tells it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Summary {
    pub(crate) pending_id: String,
    pub(crate) request_id: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) uid: u32,
    pub(crate) age_s: u64,
    pub(crate) expires_in_s: u64,
    pub(crate) actions: Vec<String>,
}

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
    Sign(Job, String),
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

    fn listed(&mut self, summaries: Vec<Summary>) {
        if let Some(Err(_)) = self.host.replace(Ok(())) {
            self.say(Tone::Good, "the host is there again");
        }
        let mut before = std::mem::take(&mut self.plans);
        let place = before.iter().position(|plan| Some(&plan.summary.pending_id) == self.selected.as_ref());
        for summary in summaries {
            let known = before.iter().position(|plan| plan.summary.pending_id == summary.pending_id);
            let fresh = Plan {
                summary: summary.clone(),
                at: self.now,
                gone: None,
                is_deciding: false,
                is_decided: false,
                content: Content::Unasked,
            };
            let old = known.map(|index| before.remove(index));
            self.plans.push(old.map_or(fresh, |old| {
                let gone = old.gone.filter(|_| old.is_decided);
                Plan { summary, at: self.now, gone, ..old }
            }));
        }
        let selected =
            before.into_iter().find(|plan| Some(&plan.summary.pending_id) == self.selected.as_ref());
        if let Some(mut plan) = selected {
            if plan.gone.is_none() {
                let is_old = self.ages(&plan).1 <= 1;
                let why = match (plan.is_deciding, is_old) {
                    (true, _) => "is being decided",
                    (false, true) => "expired",
                    (false, false) => "was decided elsewhere, or dropped by the host",
                };
                plan.gone = Some(why.to_owned());
            }
            let place = place.unwrap_or_default().min(self.plans.len());
            self.plans.insert(place, plan);
        }
        if self.selected.is_none() {
            self.selected = self.plans.first().map(|plan| plan.summary.pending_id.clone());
        }
        self.close_question_of_gone();
    }

    fn lost(&mut self, why: String) {
        let why = plain(&why);
        self.plans.retain(|plan| Some(&plan.summary.pending_id) == self.selected.as_ref());
        for plan in &mut self.plans {
            plan.gone.get_or_insert_with(|| "went with its host".to_owned());
            plan.is_deciding = false;
        }
        let was_asked = self.question.is_some();
        self.close_question_of_gone();
        if !was_asked && !matches!(self.host, Some(Err(_))) {
            self.say(Tone::Bad, "the host is gone; nothing can be decided until it is there again");
        }
        self.host = Some(Err(why));
    }

    /// What is past its time is gone here as soon as at the host.
    fn expire(&mut self) {
        let now = self.now;
        for plan in &mut self.plans {
            let since = now.saturating_sub(plan.at).as_secs();
            if plan.gone.is_none() && since > plan.summary.expires_in_s {
                plan.gone = Some("expired".to_owned());
            }
        }
        self.close_question_of_gone();
    }

    fn close_question_of_gone(&mut self) {
        let Some(question) = &self.question else { return };
        let plan = self.plans.iter().find(|plan| plan.summary.pending_id == question.pending_id);
        let why = match plan {
            Some(Plan { gone: None, .. }) => return,
            Some(Plan { gone: Some(why), .. }) => why.clone(),
            None => "waits no more".to_owned(),
        };
        let id = question.pending_id.clone();
        self.question = None;
        self.say(Tone::Bad, format!("the question is closed: {id} {why}; nothing was decided here"));
    }

    fn loaded(&mut self, id: &str, held: Result<Box<Held>, String>) -> Vec<Effect> {
        let Some(plan) = self.plan(id) else { return Vec::new() };
        let sheet = held.and_then(|held| {
            if held.pending_id != id {
                return Err("the host shows another plan than was asked for".to_owned());
            }
            Sheet::new(held)
        });
        match sheet {
            Err(why) => {
                plan.content = Content::Unshown(plain(&why));
                Vec::new()
            }
            Ok(sheet) => {
                let pictures = sheet.page().pictures().iter().enumerate();
                let jobs =
                    pictures.map(|(index, (_, picture))| Job::Picture(id.to_owned(), index, picture.clone()));
                let effects = jobs.map(Effect::Do).collect();
                plan.content = Content::Shown(Box::new(sheet));
                effects
            }
        }
    }

    fn decided(&mut self, id: &str, done: Result<String, String>) {
        let plan = self.plan(id);
        let (tone, text) = match done {
            Ok(how) => {
                if let Some(plan) = plan {
                    plan.is_deciding = false;
                    plan.is_decided = true;
                    plan.gone = Some(how.clone());
                }
                self.decisions.push(format!("{id} {how}"));
                (Tone::Good, format!("{id} {how}"))
            }
            Err(why) => {
                if let Some(plan) = plan {
                    plan.is_deciding = false;
                    if plan.gone.as_deref() == Some("is being decided") {
                        plan.gone = Some("is not decided here".to_owned());
                    }
                }
                (Tone::Bad, format!("{id} is not decided: {why}"))
            }
        };
        self.say(tone, text);
    }

    /// The selected plan is asked for once.
    fn ask_for_selected(&mut self) -> Option<Effect> {
        let id = self.selected.clone()?;
        let plan = self.plan(&id)?;
        if plan.gone.is_some() || !matches!(plan.content, Content::Unasked) {
            return None;
        }
        plan.content = Content::Asked;
        Some(Effect::Do(Job::Show(id)))
    }

    fn arrange(&mut self) {
        let ((columns, rows), in_full_size) = (self.size, self.in_full_size);
        let body = self.areas().body;
        if let Some(sheet) = self.sheet() {
            sheet.arrange(columns, rows.saturating_sub(8).max(4), in_full_size, body);
        }
    }

    fn key(&mut self, key: Key) -> Vec<Effect> {
        let areas = self.areas();
        let columns = self.size.0;
        if let Some(question) = &mut self.question {
            let rows = question_rows(question, columns).len();
            let answer = question.key(key, rows, areas.question.saturating_sub(2));
            let effects = match answer {
                Answer::Open => Vec::new(),
                Answer::No => {
                    self.answered_no();
                    Vec::new()
                }
                Answer::Yes => self.answered_yes(),
            };
            let is_end = key == Key::Interrupt && self.question.is_none();
            return if is_end { vec![Effect::Quit] } else { effects };
        }
        if self.has_help && key != Key::Interrupt {
            self.has_help = false;
            return Vec::new();
        }
        let page = areas.body.saturating_sub(1).max(1);
        match key {
            Key::Char('q') | Key::Interrupt => return vec![Effect::Quit],
            Key::Char('?') => self.has_help = true,
            Key::Tab => {
                self.focus = match self.focus {
                    Focus::List => Focus::Plan,
                    Focus::Plan => Focus::List,
                }
            }
            Key::Up | Key::Char('k') => self.up_or_down(-1, areas.body),
            Key::Down | Key::Char('j') => self.up_or_down(1, areas.body),
            Key::PageUp => self.scroll(|top| top.saturating_sub(page), areas.body),
            Key::PageDown | Key::Char(' ') => self.scroll(|top| top + page, areas.body),
            Key::Home => self.scroll(|_| 0, areas.body),
            Key::End => self.scroll(|_| usize::MAX / 2, areas.body),
            Key::Char('a') => self.ask(Ask::Once),
            Key::Char('A') => self.ask(Ask::Session),
            Key::Char('d') => self.ask(Ask::Deny),
            Key::Char('z') => self.in_full_size = !self.in_full_size,
            Key::Char('s') => return self.save(),
            Key::Char(_) | Key::Enter | Key::Esc | Key::Backspace | Key::Other => {}
        }
        Vec::new()
    }

    fn scroll(&mut self, to: impl Fn(usize) -> usize, body: usize) {
        if let Some(sheet) = self.sheet() {
            sheet.scroll(to, body);
        }
    }

    fn up_or_down(&mut self, by: isize, body: usize) {
        match self.focus {
            Focus::Plan => self.scroll(|top| top.saturating_add_signed(by), body),
            Focus::List => {
                let at = |plan: &Plan| Some(&plan.summary.pending_id) == self.selected.as_ref();
                let Some(at) = self.plans.iter().position(at) else { return };
                let next = at.saturating_add_signed(by).min(self.plans.len() - 1);
                if next != at {
                    self.selected = Some(self.plans[next].summary.pending_id.clone());
                    if self.plans[at].gone.is_some() {
                        self.plans.remove(at);
                    }
                }
            }
        }
    }

    fn save(&mut self) -> Vec<Effect> {
        let Some(sheet) = self.sheet() else { return Vec::new() };
        let Some(index) = sheet.picture_on_screen() else {
            self.say(Tone::Plain, "this plan has no picture that could be saved");
            return Vec::new();
        };
        let action = sheet.page().pictures()[index].1.action + 1;
        let id: String =
            sheet.held.pending_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        vec![Effect::Save(format!("{id}-action-{action}.png"), index)]
    }

    fn ask(&mut self, ask: Ask) {
        match self.question_about(ask) {
            Ok(question) => self.question = Some(question),
            Err(why) => self.say(Tone::Bad, why),
        }
    }

    /// The question about the selected plan, or why it is not asked.
    fn question_about(&mut self, ask: Ask) -> Result<Question, String> {
        let signs = self.signs;
        if let Some(Err(_)) = self.host {
            return Err("the host is gone; nothing can be decided until it is there again".to_owned());
        }
        let plan = self.current().ok_or("no plan is selected")?;
        let id = plan.summary.pending_id.clone();
        if let Some(why) = &plan.gone {
            return Err(format!("{id} {why}"));
        }
        if plan.is_deciding {
            return Err(format!("{id} is being decided"));
        }
        let names: Vec<_> = plan.summary.actions.iter().map(String::as_str).collect();
        let who = self.user(plan.summary.uid);
        let about = format!("{id} of user {who}: {}", named(&names));
        if ask == Ask::Deny {
            return Ok(Question::new(ask, &id, "", vec![format!("Deny {about}?")]));
        }
        let body = self.areas().body;
        let sheet = match &plan.content {
            Content::Unasked | Content::Asked => return Err(format!("{id} is not shown yet")),
            Content::Unshown(why) => {
                return Err(format!("{id} cannot be shown, so it is not approved: {why}"));
            }
            Content::Shown(_) => self.sheet().ok_or("no plan is selected")?,
        };
        sheet.is_whole()?;
        let unread = sheet.unread();
        if unread > 0 {
            let all = sheet.rows();
            sheet.scroll_to_unread(body);
            return Err(format!(
                "read it first: {unread} of {all} rows were not on the screen yet (Space goes on)"
            ));
        }
        let held = &sheet.held;
        if held.signature.is_some() && !signs {
            return Err("this host takes signed approvals only: llmsh approve --sign-with KEY".to_owned());
        }
        let digest = format!("SHA-256 {}", held.sha256);
        let text = match ask {
            Ask::Session if !held.grantable => {
                let why = held.not_grantable.as_deref().unwrap_or("the host does not offer it for this plan");
                return Err(format!("not for the session: {why}"));
            }
            Ask::Session => {
                let mut text = vec![format!("Approve {about}, and the same again for this session?"), digest];
                text.push("For as long as the grant lasts, nobody is asked about:".to_owned());
                text.extend(held.grant.iter().map(|sentence| format!("- {sentence}")));
                text
            }
            Ask::Once | Ask::Deny => vec![format!("Approve exactly {about}, to run once?"), digest],
        };
        Ok(Question::new(ask, &id, &held.sha256, text))
    }

    /// The uid, and the name where this system has one.
    pub(crate) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).map_or_else(|| uid.to_string(), |name| format!("{uid} ({})", plain(name)))
    }

    fn answered_no(&mut self) {
        if let Some(question) = self.question.take() {
            self.say(Tone::Plain, format!("not decided: {} still waits", question.pending_id));
        }
    }

    fn answered_yes(&mut self) -> Vec<Effect> {
        let Some(Question { ask, pending_id, sha256, .. }) = self.question.take() else { return Vec::new() };
        let Some(plan) = self.plan(&pending_id).filter(|plan| plan.gone.is_none()) else { return Vec::new() };
        plan.is_deciding = true;
        let statement = match &plan.content {
            Content::Shown(sheet) => sheet.held.signature.as_ref().map(|statements| match ask {
                Ask::Session => statements.session.clone(),
                Ask::Once | Ask::Deny => statements.once.clone(),
            }),
            Content::Unasked | Content::Asked | Content::Unshown(_) => None,
        };
        self.say(Tone::Plain, format!("{pending_id} is being decided"));
        let session = ask == Ask::Session;
        match (ask, statement) {
            (Ask::Deny, _) => vec![Effect::Do(Job::Deny(pending_id))],
            (Ask::Once | Ask::Session, None) => {
                vec![Effect::Do(Job::Approve { pending_id, sha256, session, signature: None })]
            }
            (Ask::Once | Ask::Session, Some(statement)) => {
                vec![Effect::Sign(Job::Approve { pending_id, sha256, session, signature: None }, statement)]
            }
        }
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

/// Printable ASCII in rows, broken between words where that goes.
pub(crate) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(8);
    let mut rows = Vec::new();
    let mut rest = text;
    while rest.len() > columns {
        let end = rest[..columns].rfind(' ').filter(|space| *space > 0).unwrap_or(columns);
        rows.push(rest[..end].to_owned());
        rest = rest[end..].strip_prefix(' ').unwrap_or(&rest[end..]);
    }
    rows.push(rest.to_owned());
    rows
}

#[cfg(test)]
mod tests;
