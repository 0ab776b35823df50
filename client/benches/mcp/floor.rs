//! The least that an MCP server with a durable record could do for a call: read the file, append 500 bytes, `fdatasync`.

use std::fs::File;
use std::path::PathBuf;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, JsonObject,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt};

use crate::measure::append_durably;

/// Names the log; where it is set this binary is the bare server.
pub(crate) const MARK: &str = "LLMSH_BENCH_LOG";

/// Serves until its client goes away.
pub(crate) fn serve() {
    let log = PathBuf::from(std::env::var_os(MARK).unwrap());
    let log = File::options().append(true).create(true).open(log).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let running = Bare { log }.serve(rmcp::transport::stdio_pipes()).await.unwrap();
        running.waiting().await.unwrap();
    });
}

struct Bare {
    log: File,
}

impl ServerHandler for Bare {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = Tool::new("read", "Reads a file.", JsonObject::new());
        Ok(ListToolsResult::with_all_items(vec![tool]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap();
        let text = std::fs::read_to_string(arguments["path"].as_str().unwrap()).unwrap();
        append_durably(&self.log, 1);
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}
