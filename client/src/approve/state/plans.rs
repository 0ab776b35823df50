//! The plans as they come and go. What is selected stays so, whatever happens to it.

use crate::approve::sheet::Sheet;
use crate::approve::state::{Content, Effect, Job, Plan, State, Tone};
use crate::held::Held;
use crate::pending::Summary;
use crate::screen::plain;

impl State {
    pub(super) fn listed(&mut self, summaries: Vec<Summary>) {
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

    pub(super) fn lost(&mut self, why: String) {
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
    pub(super) fn expire(&mut self) {
        let now = self.now;
        for plan in &mut self.plans {
            let since = now.saturating_sub(plan.at).as_secs();
            if plan.gone.is_none() && since > plan.summary.expires_in_s {
                plan.gone = Some("expired".to_owned());
            }
        }
        self.close_question_of_gone();
    }

    pub(super) fn close_question_of_gone(&mut self) {
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

    pub(super) fn loaded(&mut self, id: &str, held: Result<Box<Held>, String>) -> Vec<Effect> {
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

    /// The selected plan is asked for once.
    pub(super) fn ask_for_selected(&mut self) -> Option<Effect> {
        let id = self.selected.clone()?;
        let plan = self.plan(&id)?;
        if plan.gone.is_some() || !matches!(plan.content, Content::Unasked) {
            return None;
        }
        plan.content = Content::Asked;
        Some(Effect::Do(Job::Show(id)))
    }
}
