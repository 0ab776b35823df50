//! What a host takes, as JSON Schema.

mod absent;

use llm_os_core::VERSION;
use llm_os_core::name::MAX_ID;
use llm_os_core::request::MAX_ACTIONS;
use serde_json::{Value, json};

use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::tools::{self, Tool, word, word_docs};

/// Prints the JSON Schema of a whole plan.
pub(crate) fn schema(host: &Host, pretty: bool) -> Result<Exit, Failure> {
    output::print(&plan_schema(&tools::ask(host, &json!({}))?.actions).to_string(), pretty)?;
    Ok(Exit::Ok)
}

fn plan_schema(actions: &[Tool]) -> Value {
    let id =
        json!({"type": "string", "pattern": format!("^[A-Za-z0-9][A-Za-z0-9._:-]{{0,{}}}$", MAX_ID - 1)});
    let action = |tool: &Tool| {
        let mut schema = json!({
            "type": "object",
            "description": tool.doc,
            "properties": {"action": {"const": tool.action}, "params": tool.params},
            "required": ["action", "params", "reason"],
            "additionalProperties": false,
        });
        for (name, doc) in word_docs() {
            schema["properties"][name] = word(doc);
        }
        schema
    };
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
                "items": {"oneOf": actions.iter().map(action).collect::<Vec<_>>()},
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_accepts_known_actions_and_refuses_the_rest() {
        let params = json!({"type": "object", "properties": {"argv": {"type": "array"}}, "required": ["argv"], "additionalProperties": false});
        let tool: Tool = serde_json::from_value(json!({
            "action": "exec.run", "tool_name": "exec_run", "doc": "Runs a program.", "params": params, "output": {},
            "effects": [], "decision": "depends",
        }))
        .unwrap();
        let schema = jsonschema::validator_for(&plan_schema(&[tool])).unwrap();
        let plan = |action: &str, params: Value| {
            json!({"request_id": "r-1", "version": "1", "mode": "execute",
                "actions": [{"action": action, "params": params, "reason": "greet"}]})
        };
        assert!(schema.is_valid(&plan("exec.run", json!({"argv": ["/bin/echo"]}))));
        assert!(!schema.is_valid(&plan("exec.run", json!({"argv": ["/bin/echo"], "shell": true}))));
        assert!(!schema.is_valid(&plan("shell.run", json!({"argv": []}))));
    }
}
