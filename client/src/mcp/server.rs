//! What a client asks, and what is offered to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use llm_os_core::name::ActionName;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CustomRequest, CustomResult, ErrorCode,
    ErrorData, Implementation, JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::connection::Host;
use crate::envelope::Fields;
use crate::exit::Failure;
use crate::granted::Granted;
use crate::mcp::call::Call;
use crate::mcp::hold::Memory;
use crate::mcp::pool::Pool;
use crate::mcp::{listing, outcome, token, whole};
use crate::tools;

const INSTRUCTIONS: &str = "\
These tools act on a computer through llm-osd, which judges every call by a policy and records it. Each call states its reason. \
What a human must confirm is answered with confirmation_required after a while: tell the human to run the command that the answer \
names, and then make exactly the same call again. No tool confirms anything.";

/// What of the host is offered, and how long a call waits for a human.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Only these capabilities; all where it is empty.
    pub(crate) toolsets: Vec<String>,
    pub(crate) read_only: bool,
    pub(crate) hide_denied: bool,
    pub(crate) hold: Duration,
}

impl Choice {
    /// Whether an action may be called, as far as its name tells.
    pub(crate) fn offers(&self, action: &str) -> Result<(), String> {
        let capability = action.split_once('.').map_or(action, |(capability, _)| capability);
        if capability == "host" {
            return Err("what is said to the host itself is no action".to_owned());
        }
        let offered = self.toolsets.is_empty() || self.toolsets.iter().any(|name| name == capability);
        let all = || self.toolsets.join(",");
        if offered { Ok(()) } else { Err(format!("\"{action}\" is left out by --toolsets {}", all())) }
    }
}

/// Why a call is not sent.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no such tool here.
    Protocol(ErrorData),
    /// The model can do something about it.
    Result(CallToolResult),
}

impl Refusal {
    pub(crate) fn unknown(tool: &str, why: &str) -> Self {
        Self::Protocol(ErrorData::invalid_params(format!("no tool {tool:?}: {why}"), None))
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Result(outcome::unanswered(&failure))
    }
}

/// One server for all that speak with this process.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) pool: Pool,
    pub(crate) choice: Choice,
    /// The session of every plan.
    pub(crate) session: String,
    pub(crate) held: Memory,
    /// What the session may do again.
    pub(crate) granted: Granted,
    /// Cancelled once the client is gone.
    pub(crate) gone: CancellationToken,
    calls: AtomicU64,
}

impl Server {
    pub(crate) fn new(host: &Host, choice: Choice) -> Result<Self, Failure> {
        Ok(Self {
            pool: Pool::new(host),
            choice,
            session: format!("mcp-{}", token::random::<8>()?),
            held: Memory::default(),
            granted: Granted::default(),
            gone: CancellationToken::new(),
            calls: AtomicU64::default(),
        })
    }

    /// A new id, unique in the session.
    pub(crate) fn request_id(&self) -> String {
        format!("{}-{}", self.session, self.calls.fetch_add(1, Ordering::Relaxed))
    }

    /// The plan of a call.
    async fn call(&self, tool: &str, arguments: JsonObject) -> Result<Call, Refusal> {
        let text = serde_json::to_string(&arguments).expect("its keys are strings");
        let is_plan = tool == whole::NAME;
        let frame = if is_plan {
            self.whole(&arguments).await?
        } else {
            let action = tool.replacen('_', ".", 1);
            if ActionName::new(&action).is_none() {
                return Err(Refusal::unknown(tool, "tools/list has all"));
            }
            self.choice.offers(&action).map_err(|why| Refusal::unknown(tool, &why))?;
            if self.choice.read_only {
                self.only_observe(&[&action]).await?;
            }
            let fields = Fields::read(text.as_bytes()).expect("an object was written");
            let action = tools::action(&action, fields);
            tools::plan(&self.request_id(), Some(&self.session), &[action]).into_bytes()
        };
        Ok(Call { tool: tool.to_owned(), arguments: text, frame, is_plan })
    }

    /// Refuses actions that do more than observe. The host is asked each time, since another one may answer by now.
    pub(crate) async fn only_observe(&self, actions: &[&str]) -> Result<(), Refusal> {
        let asked = self.pool.ask("host.describe", &json!({"actions": actions}), &self.session).await;
        let described = match asked {
            Ok(output) => tools::read(&output)?,
            Err(Failure::Refused { code, message }) if code == "unknown_action" => {
                return Err(Refusal::Protocol(ErrorData::invalid_params(message, None)));
            }
            Err(failure) => return Err(failure.into()),
        };
        let observes =
            |action: &&str| described.iter().any(|tool| tool.action == **action && tool.only_observes());
        match actions.iter().find(|action| !observes(action)) {
            None => Ok(()),
            Some(action) => {
                let why = format!("{action} does more than observe, and this server runs with --read-only");
                Err(Refusal::Result(outcome::error("policy_denied", &why)))
            }
        }
    }

    async fn list(&self) -> Result<ListToolsResult, Failure> {
        let output = self.pool.ask("host.describe", &json!({}), &self.session).await?;
        let Choice { read_only, hide_denied, .. } = self.choice;
        let chosen = tools::of_toolsets(tools::read(&output)?, &self.choice.toolsets)?;
        let offered = chosen
            .iter()
            .filter(|tool| (!read_only || tool.only_observes()) && (!hide_denied || !tool.is_refused()));
        let mut listed: Vec<_> = offered.map(|tool| listing::listed(tool, hide_denied)).collect();
        listed.push(whole::listed(read_only));
        Ok(ListToolsResult::with_all_items(listed))
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new("llmsh", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(INSTRUCTIONS.to_owned());
        info
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.list().await.map_err(|failure| ErrorData::internal_error(failure.to_string(), None))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let made = match self.call(&request.name, request.arguments.unwrap_or_default()).await {
            Ok(call) => self.make(call, &context).await,
            Err(refusal) => Err(refusal),
        };
        match made {
            Ok(response) => Ok(response),
            Err(Refusal::Protocol(error)) => Err(error),
            Err(Refusal::Result(result)) => Ok(result.into()),
        }
    }

    /// What rmcp could not read as a request of the protocol comes here.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let CustomRequest { method, .. } = request;
        if matches!(method.as_str(), "initialize" | "tools/call" | "tools/list") {
            return Err(ErrorData::invalid_params(
                format!("the params of {method} have another shape"),
                None,
            ));
        }
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, format!("no method {method:?} here"), None))
    }
}
