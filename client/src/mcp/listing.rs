//! Actions as MCP lists tools.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool as Listed, ToolAnnotations};
use serde_json::{Value, json};

use crate::tools::Tool;

/// Up to this length the first sentence of a description is the title.
const TITLE: usize = 72;

/// The tool of an action, or of what of it the policy allows.
pub(crate) fn listed(tool: &Tool, only_allowed: bool) -> Listed {
    let mut made =
        Listed::new(tool.tool_name.clone(), described(tool), Arc::new(object(tool.input(only_allowed))));
    made.title = Some(title(tool));
    made.output_schema = Some(Arc::new(object(or_error(tool.output.clone()))));
    made.annotations = Some(annotations(tool.only_observes(), tool.may_destroy(), tool.reaches_out()));
    made
}

pub(crate) fn annotations(only_observes: bool, may_destroy: bool, reaches_out: bool) -> ToolAnnotations {
    let hints = ToolAnnotations::new().read_only(only_observes).open_world(reaches_out);
    // The other hints say something about what changes.
    if only_observes { hints.idempotent(true) } else { hints.destructive(may_destroy) }
}

/// The first sentence where it is short, else the action's name.
fn title(tool: &Tool) -> String {
    let first = tool.doc.split(['.', ';', ':', '\n']).next().unwrap_or_default().trim();
    let is_title = !first.is_empty() && first.len() <= TITLE;
    if is_title { first.to_owned() } else { tool.action.clone() }
}

fn described(tool: &Tool) -> String {
    match tool.caution() {
        Some(caution) => format!("{} {caution}", tool.doc),
        None => tool.doc.clone(),
    }
}

/// A schema that MCP takes: the top level says that it is an object.
pub(crate) fn object(schema: Value) -> JsonObject {
    match schema {
        Value::Object(mut fields) => {
            fields.insert("type".to_owned(), json!("object"));
            fields
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            JsonObject::from_iter([("type".to_owned(), json!("object"))])
        }
    }
}

/// The schema of an output, or of an error in its place: clients check both against it.
pub(crate) fn or_error(output: Value) -> Value {
    let error = json!({
        "type": "object",
        "description": "Why it failed.",
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        "required": ["code", "message"],
    });
    let mut output = match output["type"].as_str() {
        Some("object") => output,
        // What is no object is put into one.
        Some(_) | None => json!({"type": "object"}),
    };
    // What is referred to from the root stays there.
    let definitions = output.as_object_mut().and_then(|fields| fields.remove("$defs"));
    let mut schema = json!({"type": "object", "anyOf": [output, error]});
    if let Some(definitions) = definitions {
        schema["$defs"] = definitions;
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(verb: &str, decision: &str) -> Tool {
        serde_json::from_value(json!({
            "action": "fs.read", "tool_name": "fs_read", "doc": "Reads a file. It is long.",
            "params": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
            "output": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}},
            "effects": [{"verb": verb}], "decision": decision,
        }))
        .unwrap()
    }

    #[test]
    fn a_tool_says_what_its_action_says() {
        let made = serde_json::to_value(listed(&tool("observe", "allow"), false)).unwrap();
        assert_eq!(made["name"], "fs_read");
        assert_eq!(made["title"], "Reads a file");
        assert_eq!(made["description"], "Reads a file. It is long.");
        assert_eq!(made["inputSchema"]["required"], json!(["path", "reason"]));
    }

    #[test]
    fn an_output_schema_takes_outputs_and_errors_and_keeps_its_references() {
        let made = serde_json::to_value(listed(&tool("observe", "allow"), false)).unwrap();
        let schema = jsonschema::validator_for(&made["outputSchema"]).unwrap();
        assert_eq!(made["outputSchema"]["type"], "object");
        assert!(schema.is_valid(&json!({"a": "x"})));
        assert!(schema.is_valid(&json!({"code": "no", "message": "why"})));
        assert!(!schema.is_valid(&json!({"a": 1})));
        assert!(!schema.is_valid(&json!("x")));
    }

    #[test]
    fn hints_follow_the_effects() {
        let check = |verb: &str, expected: Value| {
            let made = serde_json::to_value(listed(&tool(verb, "depends"), false)).unwrap();
            assert_eq!(made["annotations"], expected, "{verb}");
        };
        let changes = |destructive: bool, open: bool| json!({"readOnlyHint": false, "destructiveHint": destructive, "openWorldHint": open});
        check("observe", json!({"readOnlyHint": true, "idempotentHint": true, "openWorldHint": false}));
        check("change", changes(false, false));
        check("destroy", changes(true, false));
        check("run", changes(true, true));
        check("inject", changes(true, true));
    }

    #[test]
    fn a_caution_is_part_of_the_description() {
        let text =
            |decision: &str| listed(&tool("change", decision), false).description.unwrap().into_owned();
        assert!(text("confirm").ends_with("A human must confirm each call."), "{}", text("confirm"));
        assert!(text("deny").ends_with("The policy refuses it."), "{}", text("deny"));
    }
}
