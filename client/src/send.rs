//! Sends plans as they were written.

use std::borrow::Cow;

use llm_os_core::Secret;
use serde::Deserialize;

use crate::answer::{Answer, ErrorBody};
use crate::cli::{SendArgs, Sending};
use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::frames::{Frames, unreadable};
use crate::{envelope, output, save, screen};

/// How long one round of waiting asks the host to wait; the most that the protocol accepts.
const ROUND_MS: u64 = 120_000;

/// Sends every plan of a file in order.
pub(crate) fn send(host: &Host, args: &SendArgs, pretty: bool) -> Result<Exit, Failure> {
    let mut first_bad = None;
    let mut plans = 0;
    for frame in Frames::open(&args.file)? {
        let frame = frame.map_err(|e| unreadable(&args.file, &e))?;
        let exit = one(host, &frame, &args.sending, pretty)?.exit;
        plans += 1;
        if exit != Exit::Ok {
            first_bad.get_or_insert(exit);
            if !args.keep_going {
                break;
            }
        }
    }
    if plans == 0 {
        let file = args.file.display();
        return Err(Failure::Usage(format!("{file} holds no plan; examples are in examples/plans")));
    }
    Ok(first_bad.unwrap_or(Exit::Ok))
}

/// How one plan ended.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) error: Option<ErrorBody>,
}

/// Sends one plan, waits for a human if asked to, and prints the last answer.
pub(crate) fn one(host: &Host, frame: &[u8], sending: &Sending, pretty: bool) -> Result<Ended, Failure> {
    let not_an_object = |e| Failure::Usage(format!("the plan is not a JSON object ({e}); nothing was sent"));
    let frame = match sending.dry_run {
        true => Cow::Owned(envelope::plan_only(frame).map_err(not_an_object)?),
        false => host.granted.show(frame),
    };
    let mut line = host.exchange(&frame)?;
    let mut answer = host.read(&line)?;
    let mut exit = answer.exit();
    if sending.wait && exit == Exit::ConfirmationNeeded {
        match decision(host, &frame, &answer)? {
            Decision::Approved { token, session_secret } => {
                host.granted.keep(envelope::session(&frame).as_deref(), session_secret);
                let frame = envelope::confirmed(&frame, &Secret::new(token)).map_err(not_an_object)?;
                line = host.exchange(&frame)?;
                answer = host.read(&line)?;
                exit = answer.exit();
            }
            Decision::Denied {} => {
                screen::say("a human denied it");
                exit = Exit::Refused;
            }
            Decision::Expired {} => screen::say("nobody decided in time; send it again to ask again"),
            Decision::Pending {} => {}
        }
    }
    if sending.stable {
        line = envelope::without_meta(&line)
            .map_err(|e| Failure::NoAnswer(format!("the answer has another shape: {e}")))?;
    }
    if let Some(dir) = &sending.save {
        line = save::save(&line, dir)?;
    }
    output::print(&line, pretty)?;
    if let Some(words) = answer.words() {
        screen::say(&words);
    }
    Ok(Ended { exit, error: answer.failed() })
}

#[derive(Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub(crate) enum Decision {
    Approved { token: String, session_secret: Option<String> },
    Denied {},
    Expired {},
    Pending {},
}

impl Decision {
    /// Reads the output of `host.await_confirmation`.
    pub(crate) fn read(output: &str) -> Result<Self, Failure> {
        serde_json::from_str(output)
            .map_err(|e| Failure::NoAnswer(format!("the host's decision has another shape: {e}")))
    }
}

/// A plan that a human must confirm, as far as its caller knows.
pub(crate) struct Held {
    pub(crate) pending_id: String,
    wait_secret: String,
}

impl Held {
    /// What an answer says of the plan that it is about, if that is held. A human is told how to decide.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        let held = Self {
            pending_id: answer.pending_id()?.to_owned(),
            wait_secret: answer.meta.wait_secret.clone()?,
        };
        screen::say(&format!("held for a human, who decides with: llmsh approve {}", held.pending_id));
        Some(held)
    }

    /// Waits until a human decides, the plan is no longer held, or the time is over.
    pub(crate) fn wait(&self, host: &Host, session: Option<&str>, wait_ms: u64) -> Result<Decision, Failure> {
        let Self { pending_id, wait_secret } = self;
        let wait_ms = wait_ms.min(ROUND_MS);
        let params =
            serde_json::json!({"pending_id": pending_id, "wait_secret": wait_secret, "wait_ms": wait_ms});
        Decision::read(host.ask("host.await_confirmation", &params, session)?.get())
    }
}

/// Waits until a human decides about a held plan, or it is no longer held.
fn decision(host: &Host, frame: &[u8], answer: &Answer) -> Result<Decision, Failure> {
    let Some(held) = Held::of(answer) else { return Ok(Decision::Pending {}) };
    let session = envelope::session(frame);
    loop {
        match held.wait(host, session.as_deref(), ROUND_MS)? {
            Decision::Pending {} => {}
            decided => return Ok(decided),
        }
    }
}
