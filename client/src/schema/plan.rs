//! Schemas of what is sent: a whole plan, or one call of a tool.

use llm_os_core::VERSION;
use llm_os_core::name::MAX_ID;
use llm_os_core::request::MAX_ACTIONS;
use serde_json::{Value, json};

use crate::tools::{Tool, word, word_docs};

/// The schema of a whole plan.
pub(super) fn plan(tools: &[Tool], only_allowed: bool) -> Value {
    let id =
        json!({"type": "string", "pattern": format!("^[A-Za-z0-9][A-Za-z0-9._:-]{{0,{}}}$", MAX_ID - 1)});
    let actions: Vec<_> = tools.iter().map(|tool| action(tool, only_allowed)).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A plan for llm-osd",
        "type": "object",
        "properties": {
            "request_id": id,
            "session_id": id,
            "version": {"const": VERSION},
            "mode": {"enum": ["plan_only", "execute"]},
            "once": {"type": "boolean", "description": "Run at most once for this request_id."},
            "actions": {
                "type": "array", "minItems": 1, "maxItems": MAX_ACTIONS,
                "items": {"oneOf": actions},
            },
            "confirmation": {
                "type": "object",
                "properties": {"token": {"type": "string", "writeOnly": true}},
                "required": ["token"],
                "additionalProperties": false,
            },
        },
        "required": ["request_id", "version", "mode", "actions"],
        "additionalProperties": false,
    })
}

fn action(tool: &Tool, only_allowed: bool) -> Value {
    let mut schema = json!({
        "type": "object",
        "description": tool.doc,
        "properties": {"action": {"const": tool.action}, "params": tool.accepted(only_allowed)},
        "required": ["action", "params", "reason"],
        "additionalProperties": false,
    });
    for (name, doc) in word_docs() {
        schema["properties"][name] = word(doc);
    }
    schema
}

/// The schema of one call of a tool, for a model that is not told of tools by an API: its name, then its arguments.
pub(super) fn call(tools: &[Tool], only_allowed: bool) -> Value {
    let call = |tool: &Tool| {
        json!({
            "type": "object",
            "description": tool.doc,
            "properties": {"name": {"const": tool.tool_name}, "arguments": tool.input(only_allowed)},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A call of a tool of llm-osd",
        "oneOf": tools.iter().map(call).collect::<Vec<_>>(),
    })
}
