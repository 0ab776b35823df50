//! One call on its way to the host and back.

use std::convert::Infallible;
use std::time::Duration;

use llm_os_core::Secret;
use llm_os_core::json::Json;
use rmcp::RoleServer;
use rmcp::model::{CallToolResponse, ProgressNotificationParam};
use rmcp::service::RequestContext;
use serde_json::json;
use tokio::time::Instant;

use crate::envelope;
use crate::exit::Failure;
use crate::mcp::hold::{self, Held, Telling, Waiting};
use crate::mcp::outcome::{self, Answered};
use crate::mcp::server::{Refusal, Server};
use crate::send::Decision;

/// How often a client that asked for it is told that its call still runs.
const PROGRESS: Duration = Duration::from_secs(1);

/// A call, ready to be sent.
#[derive(Debug)]
pub(crate) struct Call {
    /// The tool's name.
    pub(crate) tool: String,
    /// Its arguments, a JSON object.
    pub(crate) arguments: String,
    /// The plan, without an LF.
    pub(crate) frame: Vec<u8>,
    /// Whether the arguments were a whole plan.
    pub(crate) is_plan: bool,
}

impl Call {
    /// The tool and its arguments in one spelling: the same call again has the same.
    fn key(&self) -> String {
        let arguments = Json::parse(self.arguments.as_bytes()).map(|arguments| arguments.canonical());
        // What the host would not read is told apart byte by byte.
        format!("{}{}", self.tool, arguments.as_deref().unwrap_or(&self.arguments))
    }

    /// What an answer of the host says to the client.
    fn result(&self, answered: Answered<'_>) -> Result<CallToolResponse, Refusal> {
        if self.is_plan {
            return Ok(answered.of_all().into());
        }
        match answered.unknown() {
            Some(why) => Err(Refusal::unknown(&self.tool, why)),
            None => Ok(answered.of_one().into()),
        }
    }
}

impl Server {
    /// Makes a call. Where the client takes it back or goes away, its connection is closed, and the host cancels what runs.
    pub(crate) async fn make(
        &self,
        call: Call,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, Refusal> {
        let ended = |why| Ok(outcome::error("cancelled", why).into());
        tokio::select! {
            biased;
            made = self.send(&call, context) => made,
            () = context.ct.cancelled() => ended("the client took the call back"),
            () = self.gone.cancelled() => ended("the client went away"),
            never = progress(&call.tool, context) => match never {},
        }
    }

    async fn send(
        &self,
        call: &Call,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, Refusal> {
        let until = Instant::now() + self.choice.hold;
        let again = if self.held.is_empty() { None } else { self.held.take(&call.key()) };
        let held = match again {
            Some(held) => held,
            None => {
                let frame = self.granted.show(&call.frame);
                let line = self.pool.exchange(&frame).await?;
                let answered = Answered::read(&line)?;
                let held = answered.held().map(|(id, secret)| (id.to_owned(), Secret::new(secret)));
                let Some((pending_id, wait_secret)) = held else { return call.result(answered) };
                Held { frame: call.frame.clone(), pending_id, wait_secret, told: false }
            }
        };
        let mut waiting = Waiting::new(&self.held, call.key(), held);
        let asked = match hold::tell(&call.tool, waiting.held(), context).await {
            Telling::Answer(question) => return Ok(question.into()),
            Telling::Asked(asked) => Some(asked),
            Telling::Nothing => None,
        };
        let decision = self.decision(waiting.held(), until).await;
        if let Some(asked) = asked {
            hold::end(asked).await;
        }
        match decision? {
            Decision::Pending {} => Ok(outcome::held(&waiting.held().pending_id).into()),
            Decision::Denied {} => {
                let id = waiting.forget().pending_id;
                Ok(outcome::error("policy_denied", &format!("a human denied it ({id})")).into())
            }
            Decision::Expired {} => {
                let id = waiting.forget().pending_id;
                let why = format!(
                    "nobody decided in time, or the host forgot the plan ({id}); the same call again asks a human anew"
                );
                Ok(outcome::error("confirmation_invalid", &why).into())
            }
            Decision::Approved { token, session_secret } => {
                self.granted.keep(Some(&self.session), session_secret);
                let frame = envelope::confirmed(&waiting.forget().frame, &Secret::new(token))
                    .expect("the frame was written here");
                call.result(Answered::read(&self.pool.exchange(&frame).await?)?)
            }
        }
    }

    /// What a human decides until then.
    async fn decision(&self, held: &Held, until: Instant) -> Result<Decision, Failure> {
        let wait_ms = until.saturating_duration_since(Instant::now()).as_millis();
        let params = json!({
            "pending_id": held.pending_id,
            "wait_secret": held.wait_secret.expose(),
            "wait_ms": u64::try_from(wait_ms).unwrap_or(u64::MAX),
        });
        Decision::read(&self.pool.ask("host.await_confirmation", &params, &self.session).await?)
    }
}

/// Tells the client every second that its call runs, if it asked for that.
async fn progress(tool: &str, context: &RequestContext<RoleServer>) -> Infallible {
    let Some(token) = context.meta.get_progress_token() else { return std::future::pending().await };
    let began = Instant::now();
    let mut ticks = tokio::time::interval_at(began + PROGRESS, PROGRESS);
    loop {
        ticks.tick().await;
        let seconds = began.elapsed().as_secs_f64();
        let told = ProgressNotificationParam::new(token.clone(), seconds)
            .with_message(format!("{tool}: {seconds:.0} s so far"));
        // A client that is gone is noticed where its requests are read.
        let _ = context.peer.notify_progress(told).await;
    }
}
