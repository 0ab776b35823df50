//! The tool that takes a whole plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use llm_os_core::VERSION;
use rmcp::model::{CallToolResult, JsonObject, Tool as Listed};
use serde_json::{Value, json};

use crate::mcp::listing::{annotations, object, or_error};
use crate::mcp::outcome;
use crate::mcp::server::{Refusal, Server};
use crate::tools::{word, word_docs};

/// Its name; the tool of an action has an underscore in it.
pub(crate) const NAME: &str = "plan";

const DOC: &str = "\
Runs several actions in order as one plan, which is judged, confirmed and recorded as a whole; the first that fails stops it. \
`plan_only` tells what would happen and touches nothing. `action` is the name with a dot, such as fs.read; its params are those \
of the tool fs_read, without reason, danger and recovery, which stand beside them.";

/// How it is listed.
pub(crate) fn listed(read_only: bool) -> Listed {
    let words = word_docs();
    let mut properties = serde_json::Map::from_iter([
        ("action".to_owned(), json!({"type": "string", "description": "Such as fs.read."})),
        ("params".to_owned(), json!({"type": "object", "description": "The params of the action."})),
    ]);
    properties.extend(words.map(|(name, doc)| (name.to_owned(), word(doc))));
    let input = json!({
        "properties": {
            "actions": {
                "type": "array", "minItems": 1, "maxItems": 64, "description": "What to do, in order.",
                "items": {
                    "type": "object", "properties": properties,
                    "required": ["action", "params", "reason"], "additionalProperties": false,
                },
            },
            "mode": {
                "type": "string", "enum": ["plan_only", "execute"],
                "description": "`execute`, unless it is given.",
            },
        },
        "required": ["actions"],
        "additionalProperties": false,
    });
    let output = json!({
        "type": "object",
        "properties": {
            "executed": {"type": "boolean", "description": "Whether any action started."},
            "results": {"type": "array", "items": {"type": "object"}, "description": "One for each action, in order."},
            "error": {"description": "Why the plan as a whole did not run, else null."},
        },
        "required": ["executed", "results", "error"],
    });
    let mut made = Listed::new(NAME, DOC, Arc::new(object(input)));
    made.title = Some("Run a plan of several actions".to_owned());
    made.output_schema = Some(Arc::new(object(or_error(output))));
    made.annotations = Some(annotations(read_only, true, true));
    made
}

impl Server {
    /// The frame of a whole plan, if this server offers all that is in it.
    pub(crate) async fn whole(&self, arguments: &JsonObject) -> Result<Vec<u8>, Refusal> {
        let wrong = |path: &str, message: String| Refusal::Result(wrong(path, &message));
        if let Some(name) = arguments.keys().find(|name| !matches!(name.as_str(), "actions" | "mode")) {
            return Err(wrong("$", format!("unknown field {name:?}, expected actions or mode")));
        }
        let mode = arguments.get("mode").cloned().unwrap_or_else(|| json!("execute"));
        let actions = arguments.get("actions").cloned().unwrap_or_else(|| json!([]));
        let mut names = BTreeSet::new();
        for (index, name) in
            actions.as_array().into_iter().flatten().map(|action| &action["action"]).enumerate()
        {
            let Some(name) = name.as_str() else { continue };
            if let Err(why) = self.choice.offers(name) {
                return Err(wrong(&format!("$.actions[{index}].action"), why));
            }
            names.insert(name);
        }
        if self.choice.read_only && mode != "plan_only" {
            self.only_observe(&names.into_iter().collect::<Vec<_>>()).await?;
        }
        let plan = json!({
            "request_id": self.request_id(), "session_id": self.session, "version": VERSION,
            "mode": mode, "actions": actions,
        });
        Ok(plan.to_string().into_bytes())
    }
}

/// What this server refuses of a plan.
pub(crate) fn wrong(path: &str, message: &str) -> CallToolResult {
    let error: Value = json!({"code": "validation_failed", "message": message, "path": path});
    outcome::failure(error, None)
}
