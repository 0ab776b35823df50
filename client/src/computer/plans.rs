//! How plans of calls are sent: all in one session, each waiting for a human where one must confirm it.

use std::time::{Duration, Instant};

use llm_os_core::Secret;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::connection::Host;
use crate::envelope;
use crate::exit::Failure;
use crate::screen::plain;
use crate::send::{Decision, Held};
use crate::tools;

/// How many held plans are remembered; a host holds not more for one user.
const MOST_HELD: usize = 16;

/// Why something was not done, or not to its end.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The model is told.
    Told(String),
    /// There is nobody to tell, or nothing to tell it with.
    Ends(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ReaderGone | Failure::Stdout(_) => Trouble::Ends(failure),
            Failure::Usage(_)
            | Failure::NoHost { .. }
            | Failure::NoAnswer(_)
            | Failure::Refused { .. }
            | Failure::NotApproved(_)
            | Failure::Save { .. } => Trouble::Told(failure.to_string()),
        }
    }
}

/// Sends plans to a host.
pub(crate) struct Plans<'a> {
    host: &'a Host,
    /// The session of every plan.
    session: String,
    /// How long a human has for a decision before the model is told.
    hold: Duration,
    sent: u64,
    /// Plans that nobody decided about yet, by their actions: the same ones again wait on.
    held: Vec<(String, Held)>,
}

impl<'a> Plans<'a> {
    pub(crate) fn new(host: &'a Host, session: String, hold: Duration) -> Self {
        Self { host, session, hold, sent: 0, held: Vec::new() }
    }

    /// The schema of the arguments of a tool; none where the host has no such action.
    pub(crate) fn input(&self, action: &str) -> Result<Option<Value>, Failure> {
        match tools::ask(self.host, &json!({"actions": [action]})) {
            Ok(tools) => Ok(tools.first().map(|tool| tool.input(false))),
            Err(Failure::Refused { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Sends a plan, and waits for a human where one must confirm it. What comes back is never held.
    pub(crate) fn send(&mut self, actions: &[String]) -> Result<Answer, Trouble> {
        self.sent += 1;
        let request = format!("computer-{}-{}", std::process::id(), self.sent);
        let frame = tools::plan(&request, Some(&self.session), actions);
        let key = actions.join(",");
        let held = match self.held.iter().position(|(held, _)| *held == key) {
            Some(index) => self.held.remove(index).1,
            None => {
                let answer = self.exchange(&self.host.granted.show(frame.as_bytes()))?;
                match Held::of(&answer) {
                    Some(held) => held,
                    None => return Ok(answer),
                }
            }
        };
        match self.decision(&held)? {
            Decision::Approved { token, session_secret } => {
                self.host.granted.keep(Some(&self.session), session_secret);
                let frame = envelope::confirmed(frame.as_bytes(), &Secret::new(token))
                    .map_err(|e| Trouble::Told(format!("the plan cannot be confirmed: {e}")))?;
                self.exchange(&frame)
            }
            Decision::Denied {} => Err(Trouble::Told("a human denied it; nothing of it ran".to_owned())),
            Decision::Expired {} => Err(Trouble::Told(
                "confirmation_required: nobody decided in time, and nothing of it ran; the same action again asks again"
                    .to_owned(),
            )),
            Decision::Pending {} => {
                let words = format!(
                    "confirmation_required: a human must confirm it, and did not within {} s; nothing of it ran. It waits as \
                     {id}: a person who may decides with \"llmsh approve {id}\". The same action again goes on waiting.",
                    self.hold.as_secs(),
                    id = plain(&held.pending_id),
                );
                if self.held.len() == MOST_HELD {
                    self.held.remove(0);
                }
                self.held.push((key, held));
                Err(Trouble::Told(words))
            }
        }
    }

    /// Waits for a human as long as one has.
    fn decision(&self, held: &Held) -> Result<Decision, Trouble> {
        let until = Instant::now() + self.hold;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            match held.wait(self.host, Some(&self.session), wait_ms)? {
                Decision::Pending {} if wait_ms > 0 => {}
                decided => return Ok(decided),
            }
        }
    }

    fn exchange(&self, frame: &[u8]) -> Result<Answer, Trouble> {
        Ok(self.host.read(&self.host.exchange(frame)?)?)
    }
}
