//! The actions of a host as tools of a model: one tool an action, and a call of one as an action of a plan.
//!
//! A tool takes the params of its action and, beside them, `reason` and where wanted `danger` and `recovery`. A name of
//! a tool is that of its action with an underscore in the place of the dot.

use llm_os_core::VERSION;
use llm_os_core::json::write_text;
use llm_os_core::request::MAX_REASON;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::connection::Host;
use crate::envelope::Fields;
use crate::exit::Failure;
use crate::screen::plain;

/// What a call says beside the params of its action.
const WORDS: [&str; 3] = ["reason", "danger", "recovery"];

/// One action, as `host.describe` tells of it. Fields that a later host adds are passed over.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Tool {
    /// The name on the wire, such as `fs.read`.
    pub(crate) action: String,
    /// The name for a model, such as `fs_read`.
    pub(crate) tool_name: String,
    pub(crate) doc: String,
    /// JSON Schema of the params.
    pub(crate) params: Value,
    /// The same, without what the policy refuses; absent where nothing is narrower.
    pub(crate) allowed: Option<Value>,
    /// JSON Schema of the output.
    pub(crate) output: Value,
    effects: Vec<Effect>,
    decision: Decision,
    /// Why it cannot be used here, if so.
    unavailable: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Effect {
    verb: String,
}

/// What the policy would say to this caller, whatever the params.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Decision {
    Allow,
    Confirm,
    Deny,
    Depends,
}

/// Asks for the actions that `params` of `host.describe` selects.
pub(crate) fn ask(host: &Host, params: &Value) -> Result<Vec<Tool>, Failure> {
    read(host.ask("host.describe", params, None)?.get())
}

/// Reads the output of `host.describe`.
pub(crate) fn read(output: &str) -> Result<Vec<Tool>, Failure> {
    #[derive(Deserialize)]
    struct Described {
        actions: Vec<Tool>,
    }
    let read = serde_json::from_str(output).map(|Described { actions }| actions);
    read.map_err(|e| Failure::NoAnswer(format!("the host's description has another shape: {e}")))
}

/// Those of these capabilities; all of them where none is named.
pub(crate) fn of_toolsets(mut tools: Vec<Tool>, toolsets: &[String]) -> Result<Vec<Tool>, Failure> {
    let is_known = |name: &&String| tools.iter().any(|tool| tool.capability() == *name);
    if let Some(unknown) = toolsets.iter().find(|name| !is_known(name)) {
        let mut all: Vec<_> = tools.iter().map(Tool::capability).collect();
        all.dedup();
        let (unknown, all) = (plain(unknown), all.join(", "));
        return Err(Failure::Usage(format!("the host has no toolset \"{unknown}\"; it has: {all}")));
    }
    tools.retain(|tool| toolsets.is_empty() || toolsets.iter().any(|name| name == tool.capability()));
    Ok(tools)
}

impl Tool {
    /// Whether the policy refuses it whatever its params, or this machine cannot do it.
    pub(crate) fn is_refused(&self) -> bool {
        self.decision == Decision::Deny || self.unavailable.is_some()
    }

    /// Whether it changes nothing and sends nothing.
    pub(crate) fn only_observes(&self) -> bool {
        self.effects.iter().all(|effect| effect.verb == "observe")
    }

    /// Whether it may take something away that was there: it destroys, or runs or drives what may.
    pub(crate) fn may_destroy(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect.verb.as_str(), "destroy" | "run" | "inject"))
    }

    /// Whether what it starts or drives may reach beyond this machine.
    pub(crate) fn reaches_out(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect.verb.as_str(), "run" | "inject"))
    }

    /// What keeps it from running as soon as it is called, whatever the params.
    pub(crate) fn caution(&self) -> Option<String> {
        match (&self.unavailable, self.decision) {
            (Some(why), _) => Some(format!("Not usable here: {why}.")),
            (None, Decision::Confirm) => Some("A human must confirm each call.".to_owned()),
            (None, Decision::Deny) => Some("The policy refuses it.".to_owned()),
            (None, Decision::Allow | Decision::Depends) => None,
        }
    }

    /// The capability that it is an action of.
    pub(crate) fn capability(&self) -> &str {
        self.action.split_once('.').map_or(self.action.as_str(), |(capability, _)| capability)
    }

    /// The schema of its params, or of what of them is allowed.
    pub(crate) fn accepted(&self, only_allowed: bool) -> &Value {
        self.allowed.as_ref().filter(|_| only_allowed).unwrap_or(&self.params)
    }

    /// The schema of a call: the params of the action, or what of them is allowed, and the words beside them.
    pub(crate) fn input(&self, only_allowed: bool) -> Value {
        let mut schema = self.accepted(only_allowed).clone();
        for (name, doc) in word_docs() {
            schema["properties"][name] = word(doc);
        }
        match schema["required"].as_array_mut() {
            Some(required) => required.push(json!("reason")),
            None => schema["required"] = json!(["reason"]),
        }
        schema
    }
}

/// The schema of a `reason`, `danger` or `recovery`.
pub(crate) fn word(doc: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": MAX_REASON, "description": doc})
}

/// What `reason`, `danger` and `recovery` are for.
pub(crate) fn word_docs() -> [(&'static str, &'static str); 3] {
    let [reason, danger, recovery] = WORDS;
    [
        (reason, "Why, in one or two sentences; it is recorded, and shown to whoever confirms."),
        (danger, "What could go wrong; stating it asks for confirmation."),
        (recovery, "How to undo it."),
    ]
}

/// An action of a plan, out of the arguments of a call. They keep every byte; what is wrong with them the host says.
pub(crate) fn action(name: &str, arguments: Fields) -> String {
    let mut out = "{\"action\":".to_owned();
    write_text(name, &mut out);
    let (words, params) = arguments.split(|field| WORDS.contains(&field));
    out.push_str(",\"params\":");
    out.push_str(&params.write());
    if let Some(words) = words.write().strip_prefix('{').filter(|words| *words != "}") {
        out.push(',');
        out.push_str(words);
    } else {
        out.push('}');
    }
    out
}

/// A frame that has actions executed in order.
pub(crate) fn plan(request: &str, session: Option<&str>, actions: &[String]) -> String {
    let mut out = "{\"request_id\":".to_owned();
    write_text(request, &mut out);
    if let Some(session) = session {
        out.push_str(",\"session_id\":");
        write_text(session, &mut out);
    }
    out.push_str(",\"version\":");
    write_text(VERSION, &mut out);
    out.push_str(",\"mode\":\"execute\",\"actions\":[");
    out.push_str(&actions.join(","));
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &str, expected: &str) {
        assert_eq!(action("fs.read", Fields::read(arguments.as_bytes()).unwrap()), expected);
    }

    #[test]
    fn a_call_becomes_an_action_and_keeps_every_byte() {
        check(
            r#"{"path":"/a","reason":"look","max_bytes":1.50}"#,
            r#"{"action":"fs.read","params":{"path":"/a","max_bytes":1.50},"reason":"look"}"#,
        );
        check(
            r#"{"reason":"a","danger":"b"}"#,
            r#"{"action":"fs.read","params":{},"reason":"a","danger":"b"}"#,
        );
        check(r#"{"a":1,"a":2}"#, r#"{"action":"fs.read","params":{"a":1,"a":2}}"#);
    }

    #[test]
    fn a_plan_holds_its_actions_in_order() {
        let actions = ["{\"a\":1}".to_owned(), "{\"b\":2}".to_owned()];
        let expected = r#"{"request_id":"r","session_id":"s","version":"1","mode":"execute","actions":[{"a":1},{"b":2}]}"#;
        assert_eq!(plan("r", Some("s"), &actions), expected);
    }
}
