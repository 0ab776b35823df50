//! Lists of tools, as the APIs of models and MCP take them.

use serde_json::{Value, json};

use super::keywords::Unsupported;
use super::strict::strict;
use crate::tools::Tool;

/// One tool of a list.
pub(crate) struct Entry<'a> {
    name: &'a str,
    doc: &'a str,
    input: Value,
    /// The action that it is, unless it is a whole plan.
    action: Option<&'a Tool>,
}

impl<'a> Entry<'a> {
    /// An action.
    pub(crate) fn action(tool: &'a Tool, only_allowed: bool) -> Self {
        Self { name: &tool.tool_name, doc: &tool.doc, input: tool.input(only_allowed), action: Some(tool) }
    }

    /// A whole plan.
    pub(super) fn plan(schema: Value) -> Self {
        let doc = "Has a list of actions run in order. All of them are decided before any of them runs; the first that \
                   fails stops the plan.";
        Self { name: "plan", doc, input: schema, action: None }
    }

    pub(crate) fn name(&self) -> &str {
        self.name
    }

    /// For `tools` of OpenAI's Responses API.
    pub(crate) fn openai(&self) -> Result<Value, Unsupported> {
        let parameters = strict(&self.input)?;
        Ok(json!({
            "type": "function", "name": self.name, "description": self.doc, "parameters": parameters, "strict": true,
        }))
    }

    /// For `tools` of OpenAI's Chat Completions API, and of what speaks like it.
    pub(super) fn openai_chat(&self) -> Result<Value, Unsupported> {
        let parameters = strict(&self.input)?;
        let function = json!({
            "name": self.name, "description": self.doc, "parameters": parameters, "strict": true,
        });
        Ok(json!({"type": "function", "function": function}))
    }

    /// For `tools` of Anthropic's Messages API.
    pub(crate) fn anthropic(&self) -> Value {
        json!({"name": self.name, "description": self.doc, "input_schema": self.input})
    }

    /// As an answer to `tools/list` of MCP has it.
    pub(super) fn mcp(&self) -> Value {
        let mut tool = json!({"name": self.name, "description": self.doc, "inputSchema": self.input});
        if let Some(action) = self.action {
            tool["outputSchema"] = action.output.clone();
            tool["annotations"] = json!({
                "readOnlyHint": action.only_observes(),
                "destructiveHint": action.may_destroy(),
            });
        }
        tool
    }
}
