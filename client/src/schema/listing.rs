//! Lists of tools, as the APIs of models take them.

use serde_json::{Value, json};

use super::keywords::Unsupported;
use super::strict::strict;
use crate::tools::Tool;

/// One tool of a list.
pub(crate) struct Entry<'a> {
    name: &'a str,
    doc: &'a str,
    input: Value,
}

impl<'a> Entry<'a> {
    /// An action.
    pub(crate) fn action(tool: &'a Tool, only_allowed: bool) -> Self {
        Self { name: &tool.tool_name, doc: &tool.doc, input: tool.input(only_allowed) }
    }

    /// A whole plan.
    pub(super) fn plan(schema: Value) -> Self {
        let doc = "Has a list of actions run in order. All of them are decided before any of them runs; the first that \
                   fails stops the plan.";
        Self { name: "plan", doc, input: schema }
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
}
