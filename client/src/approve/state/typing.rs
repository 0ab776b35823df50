//! What each key does.

use crate::approve::keys::Key;
use crate::approve::question::{Answer, Ask};
use crate::approve::state::{Effect, Focus, Plan, State, Tone, question_rows};

impl State {
    pub(super) fn key(&mut self, key: Key) -> Vec<Effect> {
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

    pub(super) fn scroll(&mut self, to: impl Fn(usize) -> usize, body: usize) {
        if let Some(sheet) = self.sheet() {
            sheet.scroll(to, body);
        }
    }

    pub(super) fn up_or_down(&mut self, by: isize, body: usize) {
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

    pub(super) fn save(&mut self) -> Vec<Effect> {
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
}
