//! What a host is and can do.

use llm_os_core::VERSION;
use llm_os_core::name::MAX_ID;
use llm_os_core::request::{MAX_ACTIONS, MAX_REASON};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::output;

/// Prints that the host is there.
pub(crate) fn ping(host: &Host, pretty: bool) -> Result<Exit, Failure> {
    output::print(host.ask("host.ping", &json!({}), None)?.get(), pretty)?;
    Ok(Exit::Ok)
}

/// Prints what the host says of itself, or of one action.
pub(crate) fn describe(host: &Host, action: Option<String>, pretty: bool) -> Result<Exit, Failure> {
    let params = action.map_or_else(|| json!({}), |action| json!({"actions": [action]}));
    output::print(host.ask("host.describe", &params, None)?.get(), pretty)?;
    Ok(Exit::Ok)
}

/// Prints the JSON Schema of a whole plan.
pub(crate) fn schema(host: &Host, pretty: bool) -> Result<Exit, Failure> {
    output::print(&plan_schema(actions(host, &json!({}))?).to_string(), pretty)?;
    Ok(Exit::Ok)
}

/// One action, as far as this program needs it.
#[derive(Deserialize)]
pub(crate) struct Action {
    action: String,
    doc: String,
    /// JSON Schema of the params.
    pub(crate) params: Value,
}

/// Asks for the actions that `params` of `host.describe` selects.
pub(crate) fn actions(host: &Host, params: &Value) -> Result<Vec<Action>, Failure> {
    #[derive(Deserialize)]
    struct Description {
        actions: Vec<Action>,
    }
    let output = host.ask("host.describe", params, None)?;
    let read = serde_json::from_str::<Description>(output.get());
    read.map(|d| d.actions)
        .map_err(|e| Failure::NoAnswer(format!("the host's description has another shape: {e}")))
}

fn plan_schema(actions: Vec<Action>) -> Value {
    let id =
        json!({"type": "string", "pattern": format!("^[A-Za-z0-9][A-Za-z0-9._:-]{{0,{}}}$", MAX_ID - 1)});
    let text =
        |doc: &str| json!({"type": "string", "minLength": 1, "maxLength": MAX_REASON, "description": doc});
    let action = |action: Action| {
        json!({
            "type": "object",
            "description": action.doc,
            "properties": {
                "action": {"const": action.action},
                "params": action.params,
                "reason": text("Why, in one or two sentences; it is recorded, and shown to whoever confirms."),
                "danger": text("What could go wrong; stating it asks for confirmation."),
                "recovery": text("How to undo it."),
            },
            "required": ["action", "params", "reason"],
            "additionalProperties": false,
        })
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
                "items": {"oneOf": actions.into_iter().map(action).collect::<Vec<_>>()},
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
        let action = Action { action: "exec.run".to_owned(), doc: "Runs a program.".to_owned(), params };
        let schema = jsonschema::validator_for(&plan_schema(vec![action])).unwrap();
        let plan = |action: &str, params: Value| {
            json!({"request_id": "r-1", "version": "1", "mode": "execute",
                "actions": [{"action": action, "params": params, "reason": "greet"}]})
        };
        assert!(schema.is_valid(&plan("exec.run", json!({"argv": ["/bin/echo"]}))));
        assert!(!schema.is_valid(&plan("exec.run", json!({"argv": ["/bin/echo"], "shell": true}))));
        assert!(!schema.is_valid(&plan("shell.run", json!({"argv": []}))));
    }
}
