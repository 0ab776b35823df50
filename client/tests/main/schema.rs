//! What a host takes, in every form in which a model is told of it.

mod allowed;
mod generate;
mod golden;
mod grammar;
mod round_trip;
mod spoil;
mod strict;

use serde_json::{Value, json};

use crate::peer::{Peer, told};

/// What a real host describes, as `golden` keeps it.
pub(crate) fn described() -> Value {
    serde_json::from_str(&std::fs::read_to_string(crate::golden::path("schema/describe.json")).unwrap())
        .unwrap()
}

/// A host that describes these actions, or those of them that it is asked for.
pub(crate) fn host(described: Value) -> Peer {
    Peer::new(move |_, frame| {
        let wanted = &frame["actions"][0]["params"]["actions"];
        let mut described = described.clone();
        described["actions"]
            .as_array_mut()
            .unwrap()
            .retain(|action| wanted.as_array().is_none_or(|wanted| wanted.contains(&action["action"])));
        told(&described)
    })
}

/// What `llmsh schema` prints with these options.
fn printed(peer: &Peer, options: &[&str]) -> String {
    let ran = peer.llmsh(&[&["schema"], options].concat());
    assert_eq!(ran.code, 0, "{options:?}: {}", ran.stderr);
    ran.stdout
}

fn printed_json(peer: &Peer, options: &[&str]) -> Value {
    serde_json::from_str(&printed(peer, options)).unwrap()
}

/// A description of one action with these params.
fn one(action: &str, params: &Value) -> Value {
    json!({"version": "0.1.0", "actions": [{
        "action": action, "tool_name": action.replacen('.', "_", 1), "doc": "Does it.", "params": params,
        "output": {"type": "object"}, "effects": [{"verb": "observe"}], "decision": "allow",
    }]})
}

#[test]
fn toolsets_and_names_choose_the_actions() {
    let peer = host(described());
    let names = |options: &[&str]| -> Vec<String> {
        let tools = printed_json(&peer, &[&["--for", "anthropic"], options].concat());
        tools.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["fs.read", "exec.run"]), ["exec_run", "fs_read"]);
    let some = names(&["--toolsets", "mouse,keyboard"]);
    assert!(some.iter().all(|name| name.starts_with("mouse_") || name.starts_with("keyboard_")), "{some:?}");
    assert!(
        some.contains(&"mouse_click".to_owned()) && some.contains(&"keyboard_type".to_owned()),
        "{some:?}"
    );
    let ran = peer.llmsh(&["schema", "--toolsets", "fs,shell"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("\"shell\"") && ran.stderr.contains("it has: exec, fs"), "{}", ran.stderr);
}

#[test]
fn a_plan_can_be_one_tool_and_a_tool_can_be_one_call() {
    let peer = host(described());
    for format in ["openai", "openai-chat", "anthropic", "mcp"] {
        let tools = printed_json(&peer, &["--for", format, "--as", "plan", "fs.read"]);
        let tool = if format == "openai-chat" { &tools[0]["function"] } else { &tools[0] };
        assert_eq!((tools.as_array().unwrap().len(), &tool["name"]), (1, &json!("plan")), "{format}");
        let schema = [&tool["parameters"], &tool["input_schema"], &tool["inputSchema"]];
        let schema = schema.into_iter().find(|schema| schema.is_object()).unwrap();
        assert!(schema["properties"]["actions"]["items"].is_object(), "{format}: {schema}");
    }
    let call = printed_json(&peer, &["--as", "tools", "fs.read"]);
    let call = jsonschema::validator_for(&call).unwrap();
    assert!(call.is_valid(&json!({"name": "fs_read", "arguments": {"path": "/a", "reason": "look"}})));
    assert!(!call.is_valid(&json!({"name": "fs.read", "arguments": {"path": "/a", "reason": "look"}})));
    assert!(!call.is_valid(&json!({"name": "fs_read", "arguments": {"path": "/a"}})));
}

#[test]
fn anthropic_and_mcp_take_each_tool() {
    let peer = host(described());
    let named = |tool: &Value| {
        let name = tool["name"].as_str().unwrap();
        assert!(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{name}");
        assert!(tool["description"].as_str().is_some_and(|doc| !doc.is_empty()), "{name}");
    };
    // An object without alternatives at its root is all that the APIs take.
    let is_plain = |schema: &Value| {
        assert_eq!(schema["type"], "object", "{schema}");
        let has_alternatives =
            ["anyOf", "oneOf", "allOf"].iter().any(|keyword| schema.get(keyword).is_some());
        assert!(!has_alternatives, "{schema}");
        jsonschema::meta::validate(schema).unwrap();
    };
    for tool in printed_json(&peer, &["--for", "anthropic"]).as_array().unwrap() {
        named(tool);
        is_plain(&tool["input_schema"]);
        let keys: Vec<_> = tool.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["name", "description", "input_schema"]);
    }
    for tool in printed_json(&peer, &["--for", "mcp"]).as_array().unwrap() {
        named(tool);
        is_plain(&tool["inputSchema"]);
        // That of an output also takes an error, which stands in its place.
        assert_eq!(tool["outputSchema"]["type"], "object", "{tool}");
        jsonschema::meta::validate(&tool["outputSchema"]).unwrap();
        assert!(tool["annotations"]["readOnlyHint"].is_boolean(), "{tool}");
    }
}

#[test]
fn what_has_no_form_is_named_and_nothing_is_printed() {
    let field = |inner: Value| {
        one("x.do", &json!({"type": "object", "properties": {"f": inner}, "additionalProperties": false}))
    };
    for (format, inner, said) in [
        ("openai", json!({"type": "object", "properties": {}}), "$.f: it takes fields that it does not name"),
        ("openai", json!({"not": {"const": 1}}), "the keyword \"not\""),
        ("openai", json!({}), "$.f: it does not say of which type its values are"),
        ("gbnf", json!({"type": "string", "pattern": "^(?:a|b$)"}), "^(?:a|b$)"),
        ("gbnf", json!({"type": "string", "pattern": "^\\d$"}), "[0-9] for"),
        ("gbnf", json!({"type": "string", "pattern": "a", "maxLength": 9}), "at most"),
        ("gbnf", json!({"type": "string", "pattern": "a", "minLength": 2}), "at least"),
        ("gbnf", json!({"type": "number", "minimum": 1}), "number"),
        (
            "gbnf",
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            "the keyword \"uniqueItems\"",
        ),
        ("gbnf", json!({"type": "string", "minLength": 2000}), "at least 2000"),
        ("gbnf", json!({"minLength": 1}), "\"minLength\" without a type"),
        ("gbnf", json!({"anyOf": [{"type": "string"}], "minLength": 1}), "\"minLength\" beside \"anyOf\""),
        ("gbnf", json!({"enum": ["a", "b"], "pattern": "^a$"}), "\"pattern\" beside \"enum\""),
        ("gbnf", json!({"type": "object", "required": ["a"]}), "requires a field that it does not name"),
        (
            "gbnf",
            json!({"type": "array", "prefixItems": [{"type": "string"}]}),
            "its first elements may be missing",
        ),
        (
            "openai",
            json!({"type": "array", "prefixItems": [{"type": "string"}]}),
            "its first elements may be missing",
        ),
        (
            "openai",
            json!({"type": "array", "prefixItems": [{"type": "string"}], "items": true, "minItems": 1}),
            "its other elements may be anything",
        ),
        (
            "openai",
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}),
            "both fields of its own and any others",
        ),
        (
            "openai",
            json!({"type": "object", "anyOf": [{"type": "string"}], "additionalProperties": false}),
            "alternatives beside fields",
        ),
        ("lark", json!({"not": {"const": 1}}), "the keyword \"not\""),
    ] {
        let ran = host(field(inner.clone())).llmsh(&["schema", "--for", format]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{format} {inner}");
        assert!(
            ran.stderr.contains(said) && ran.stderr.contains("--for json-schema"),
            "{format} {inner}: {}",
            ran.stderr
        );
    }
}
