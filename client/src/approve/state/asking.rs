//! From a key to a question, and from its answer to what is to be done.

use crate::approve::question::{Ask, Question};
use crate::approve::state::{Content, Effect, Job, State, Tone, named};

impl State {
    pub(super) fn ask(&mut self, ask: Ask) {
        match self.question_about(ask) {
            Ok(question) => self.question = Some(question),
            Err(why) => self.say(Tone::Bad, why),
        }
    }

    /// The question about the selected plan, or why it is not asked.
    pub(super) fn question_about(&mut self, ask: Ask) -> Result<Question, String> {
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
        if held.is_to_be_signed() && !signs {
            return Err("this host takes signed approvals only: llmsh approve --sign-with KEY".to_owned());
        }
        held.statement(ask == Ask::Session).map_err(|why| format!("not signed, and not approved: {why}"))?;
        let digest = format!("SHA-256 {}", held.sha256);
        let text = match ask {
            Ask::Session => {
                let grant = held.grant().map_err(|why| format!("not for the session: {why}"))?;
                let mut text = vec![format!("Approve {about}, and the same again for this session?"), digest];
                text.push("For as long as the grant lasts, nobody is asked about:".to_owned());
                text.extend(grant.iter().map(|sentence| format!("- {sentence}")));
                text
            }
            Ask::Once | Ask::Deny => vec![format!("Approve exactly {about}, to run once?"), digest],
        };
        Ok(Question::new(ask, &id, &held.sha256, text))
    }

    pub(super) fn answered_no(&mut self) {
        if let Some(question) = self.question.take() {
            self.say(Tone::Plain, format!("not decided: {} still waits", question.pending_id));
        }
    }

    pub(super) fn answered_yes(&mut self) -> Vec<Effect> {
        let Some(Question { ask, pending_id, sha256, .. }) = self.question.take() else { return Vec::new() };
        let Some(plan) = self.plan(&pending_id).filter(|plan| plan.gone.is_none()) else { return Vec::new() };
        plan.is_deciding = true;
        let session = ask == Ask::Session;
        let statement = match &plan.content {
            Content::Shown(sheet) => sheet.held.statement(session),
            Content::Unasked | Content::Asked | Content::Unshown(_) => Ok(None),
        };
        self.say(Tone::Plain, format!("{pending_id} is being decided"));
        match (ask, statement) {
            (Ask::Deny, _) => vec![Effect::Do(Job::Deny(pending_id))],
            (Ask::Once | Ask::Session, Ok(None)) => {
                vec![Effect::Do(Job::Approve { pending_id, sha256, session, signature: None })]
            }
            (Ask::Once | Ask::Session, Ok(Some(statement))) => {
                vec![Effect::Sign(
                    Job::Approve { pending_id, sha256, session, signature: None },
                    Box::new(statement),
                )]
            }
            (Ask::Once | Ask::Session, Err(why)) => {
                self.decided(&pending_id, Err(why));
                Vec::new()
            }
        }
    }

    pub(super) fn decided(&mut self, id: &str, done: Result<String, String>) {
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
}
