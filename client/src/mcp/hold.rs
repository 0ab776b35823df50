//! What waits for a human: remembered, so that the same call again goes on waiting for the same plan.

use std::collections::VecDeque;
use std::sync::Mutex;

use llm_os_core::Secret;
use rmcp::RoleServer;
use rmcp::model::{
    ElicitRequest, ElicitRequestParams, ElicitationSchema, InputRequest, InputRequests, InputRequiredResult,
    ProtocolVersion, ServerRequest,
};
use rmcp::service::{PeerRequestOptions, RequestContext, RequestHandle};

/// How many are remembered; by default a host holds as many of one user.
const REMEMBERED: usize = 16;

/// A plan that the host holds.
#[derive(Debug)]
pub(crate) struct Held {
    /// The plan, as it was sent.
    pub(crate) frame: Vec<u8>,
    pub(crate) pending_id: String,
    pub(crate) wait_secret: Secret,
    /// Whether the human was told by the client.
    pub(crate) told: bool,
}

/// The held plans of this server by the calls that they came of, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<VecDeque<(String, Held)>>);

impl Memory {
    /// The plan of the same call, which nobody else gets meanwhile.
    pub(crate) fn take(&self, call: &str) -> Option<Held> {
        let mut all = self.lock();
        let at = all.iter().position(|(key, _)| key == call)?;
        all.remove(at).map(|(_, held)| held)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn keep(&self, call: String, held: Held) {
        let mut all = self.lock();
        all.push_back((call, held));
        if all.len() > REMEMBERED {
            all.pop_front();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(String, Held)>> {
        self.0.lock().expect("no one panics while holding it")
    }
}

/// A held plan that goes back into the memory unless it is forgotten, however the wait for it ends.
pub(crate) struct Waiting<'a> {
    memory: &'a Memory,
    call: String,
    held: Option<Held>,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(memory: &'a Memory, call: String, held: Held) -> Self {
        Self { memory, call, held: Some(held) }
    }

    pub(crate) fn held(&mut self) -> &mut Held {
        self.held.as_mut().expect("it is there until it is forgotten")
    }

    /// Takes it out for good.
    pub(crate) fn forget(mut self) -> Held {
        self.held.take().expect("it is there until it is forgotten")
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.memory.keep(std::mem::take(&mut self.call), held);
        }
    }
}

/// What a client can do to tell its human that something waits.
pub(crate) enum Telling {
    /// It is asked meanwhile; the answer is thrown away.
    Asked(RequestHandle<RoleServer>),
    /// The call is answered with the question, and the client calls again. What it says then is thrown away.
    Answer(InputRequiredResult),
    /// It cannot, or did already.
    Nothing,
}

/// Tells the human, once for each held plan.
pub(crate) async fn tell(tool: &str, held: &mut Held, context: &RequestContext<RoleServer>) -> Telling {
    let elicitation = context.client_capabilities().and_then(|can| can.elicitation);
    // A client that names no mode knows forms only.
    let shows_forms = elicitation.is_some_and(|can| can.form.is_some() || can.url.is_none());
    if !shows_forms || std::mem::replace(&mut held.told, true) {
        return Telling::Nothing;
    }
    let request = ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: format!(
            "A call of {tool} waits for a human. Decide in a terminal with: llmsh approve {}\n\
             Nothing is decided here, whatever you answer.",
            held.pending_id
        ),
        requested_schema: ElicitationSchema::new([].into()),
    });
    // From this version on a server asks in its answers only.
    if context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28) {
        let requests = InputRequests::from([("held".to_owned(), InputRequest::Elicitation(request))]);
        return Telling::Answer(InputRequiredResult::from_input_requests(requests));
    }
    let request = ServerRequest::ElicitRequest(request);
    let asked = context.peer.send_cancellable_request(request, PeerRequestOptions::no_options()).await;
    asked.map_or(Telling::Nothing, Telling::Asked)
}

/// Takes a question back that nobody answered.
pub(crate) async fn end(mut asked: RequestHandle<RoleServer>) {
    use tokio::sync::oneshot::error::TryRecvError;
    if matches!(asked.rx.try_recv(), Err(TryRecvError::Empty)) {
        // A client that is gone shows nothing any more.
        let _ = asked.cancel(Some("it was decided elsewhere, or the wait is over".to_owned())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(id: &str) -> Held {
        Held { frame: Vec::new(), pending_id: id.to_owned(), wait_secret: Secret::new("s"), told: false }
    }

    #[test]
    fn a_wait_that_ends_is_remembered_unless_it_is_forgotten() {
        let memory = Memory::default();
        drop(Waiting::new(&memory, "a".to_owned(), held("p-1")));
        assert_eq!(memory.take("b").map(|held| held.pending_id), None);
        let again = memory.take("a").unwrap();
        assert_eq!(again.pending_id, "p-1");
        assert!(memory.take("a").is_none(), "two calls must not wait for one plan");
        Waiting::new(&memory, "a".to_owned(), again).forget();
        assert!(memory.take("a").is_none());
    }

    #[test]
    fn the_oldest_is_forgotten_where_too_many_wait() {
        let memory = Memory::default();
        for number in 0..=REMEMBERED {
            memory.keep(number.to_string(), held("p"));
        }
        assert!(memory.take("0").is_none());
        assert!(memory.take("1").is_some());
    }
}
