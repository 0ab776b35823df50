//! With `--allowed` no form can even write what the policy would refuse.

use serde_json::{Value, json};

use super::grammar::accepts;
use super::{host, printed, printed_json};
use crate::daemon::Daemon;

/// A host whose policy lets `/bin/echo` and `/usr/bin/id` run, files below `/w` be read and the left button be clicked.
fn described() -> Value {
    let action = |name: &str, decision: &str, params: Value| {
        json!({"action": name, "tool_name": name.replacen('.', "_", 1), "doc": "Does it.", "params": params,
            "output": {"type": "object"}, "effects": [{"verb": "run"}], "decision": decision})
    };
    let object = |properties: Value, required: Value| json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false});
    let text = json!({"type": "string"});
    let mut run = action(
        "exec.run",
        "depends",
        object(json!({"argv": {"type": "array", "items": text, "minItems": 1}}), json!(["argv"])),
    );
    run["allowed"] = object(
        json!({"argv": {"type": "array", "items": text, "minItems": 1,
            "prefixItems": [{"type": "string", "enum": ["/bin/echo", "/usr/bin/id"]}]}}),
        json!(["argv"]),
    );
    let path = json!({"type": "string", "format": "path", "pattern": "^(/|file://(/|%2[Ff]))[^\\u0000]*$", "minLength": 1, "maxLength": 12300});
    let mut read = action("fs.read", "depends", object(json!({"path": path}), json!(["path"])));
    read["allowed"] = read["params"].clone();
    read["allowed"]["properties"]["path"]["pattern"] = json!(
        "^((/w)(/(\\.?|\\.?[^/.\\u0000][^/\\u0000]*|\\.\\.[^/\\u0000]+))*|(file:///w)(/(\\.?|\\.?([^/.%\\u0000]|%([1-9A-Fa-f][0-9A-Fa-f]|0[1-9A-Fa-f]))([^/%\\u0000]|%([1-9A-Fa-f][0-9A-Fa-f]|0[1-9A-Fa-f]))*|\\.\\.([^/%\\u0000]|%([1-9A-Fa-f][0-9A-Fa-f]|0[1-9A-Fa-f]))+))*)$"
    );
    let buttons = |names: &[&str]| {
        let names: Vec<_> = names
            .iter()
            .map(|name| json!({"const": name, "type": "string", "description": "One."}))
            .collect();
        json!({"oneOf": names})
    };
    let mut click =
        action("mouse.click", "depends", object(json!({"button": buttons(&["left", "right"])}), json!([])));
    click["allowed"] = object(json!({"button": buttons(&["left"])}), json!(["button"]));
    let remove = action("fs.remove", "deny", object(json!({"path": path}), json!(["path"])));
    let mut undo = action("fs.undo", "allow", object(json!({}), json!([])));
    undo["unavailable"] = json!("it is off");
    json!({"version": "0.1.0", "actions": [run, read, remove, undo, click]})
}

/// Calls, and whether the policy could let them through.
fn calls() -> [(&'static str, Value, bool); 11] {
    [
        ("exec_run", json!({"argv": ["/bin/echo", "hi"]}), true),
        ("exec_run", json!({"argv": ["/usr/bin/id"]}), true),
        ("exec_run", json!({"argv": ["/bin/sh", "-c", "x"]}), false),
        ("exec_run", json!({"argv": ["/bin/echo2"]}), false),
        ("fs_read", json!({"path": "/w/a"}), true),
        ("fs_read", json!({"path": "/w/../etc/passwd"}), false),
        ("fs_read", json!({"path": "/etc/passwd"}), false),
        ("mouse_click", json!({"button": "left"}), true),
        ("mouse_click", json!({"button": "right"}), false),
        ("fs_remove", json!({"path": "/w/a"}), false),
        ("fs_undo", json!({}), false),
    ]
}

fn with_reason(mut arguments: Value) -> Value {
    arguments["reason"] = json!("r");
    arguments
}

#[test]
fn a_grammar_cannot_write_a_denied_action() {
    let peer = host(described());
    let calls = calls().map(|(name, arguments, is_allowed)| {
        (json!({"name": name, "arguments": with_reason(arguments)}).to_string(), is_allowed)
    });
    let (texts, expected): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
    for form in ["gbnf", "lark"] {
        let narrow = printed(&peer, &["--for", form, "--as", "tools", "--allowed"]);
        assert_eq!(accepts(form, &narrow, &texts), expected, "{form}");
        let wide = printed(&peer, &["--for", form, "--as", "tools"]);
        assert!(accepts(form, &wide, &texts).iter().all(|accepted| *accepted), "{form}");
    }
}

#[test]
fn what_a_real_host_would_refuse_its_grammars_cannot_write() {
    const POLICY: &str = r#"
permit (principal, action in Action::"observe", resource in Roots::"read");
permit (principal, action in Action::"run", resource)
when { resource == Program::"/bin/echo" || resource == Program::"/usr/bin/id" };
permit (principal, action in Action::"inject", resource in Display::"virtual") when { context has button && context.button == "left" };
"#;
    let daemon = Daemon::start(POLICY, "[display]\nvirtual = \"800x600\"");
    let place = |name: &str| daemon.path(name).to_str().unwrap().to_owned();
    let calls = [
        ("exec_run", json!({"argv": ["/bin/echo", "hi"]}), true),
        ("exec_run", json!({"argv": ["/bin/sh", "-c", "id"]}), false),
        ("fs_read", json!({"path": place("r/a")}), true),
        ("fs_read", json!({"path": place("r/../state/audit")}), false),
        ("fs_read", json!({"path": "/etc/passwd"}), false),
        ("fs_write", json!({"path": place("w/a"), "content": "x", "mode": "create"}), false),
        ("mouse_click", json!({"button": "left"}), true),
        ("mouse_click", json!({"button": "right"}), false),
    ];
    let (texts, expected): (Vec<_>, Vec<_>) = calls
        .into_iter()
        .map(|(name, arguments, is_allowed)| {
            (json!({"name": name, "arguments": with_reason(arguments)}).to_string(), is_allowed)
        })
        .unzip();
    let some = ["exec.run", "fs.read", "fs.write", "mouse.click"];
    for form in ["gbnf", "lark"] {
        for (options, expected) in [(["--allowed"].as_slice(), &expected), (&[], &vec![true; texts.len()])] {
            let ran = daemon
                .llmsh(&[&["schema", "--for", form, "--as", "tools"], options, some.as_slice()].concat());
            assert_eq!(ran.code, 0, "{ran:?}");
            assert_eq!(accepts(form, &ran.stdout, &texts), *expected, "{form} {options:?}");
        }
    }
}

#[test]
fn a_schema_refuses_a_denied_action() {
    let peer = host(described());
    let plan = printed_json(&peer, &["--allowed"]);
    let call = printed_json(&peer, &["--allowed", "--as", "tools"]);
    let [plan, call] = [plan, call].map(|schema| jsonschema::validator_for(&schema).unwrap());
    for (name, arguments, is_allowed) in calls() {
        let one = json!({"action": name.replacen('_', ".", 1), "params": arguments, "reason": "r"});
        let sent = json!({"request_id": "r", "version": "1", "mode": "execute", "actions": [one]});
        assert_eq!(plan.is_valid(&sent), is_allowed, "{sent}");
        let called = json!({"name": name, "arguments": with_reason(arguments)});
        assert_eq!(call.is_valid(&called), is_allowed, "{called}");
    }
}

#[test]
fn tools_of_every_api_take_only_what_is_allowed() {
    let peer = host(described());
    for (format, key) in [("openai", "parameters"), ("anthropic", "input_schema"), ("mcp", "inputSchema")] {
        let tools = printed_json(&peer, &["--for", format, "--allowed"]);
        let tools = tools.as_array().unwrap();
        let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["exec_run", "fs_read", "mouse_click"], "{format}");
        for (name, mut arguments, is_allowed) in calls() {
            let Some(tool) = tools.iter().find(|tool| tool["name"] == name) else { continue };
            if format == "openai" {
                arguments["danger"] = Value::Null;
                arguments["recovery"] = Value::Null;
                if let Some(argv) = arguments.get_mut("argv") {
                    *argv = json!({"0": argv[0], "rest": argv.as_array().unwrap()[1..]});
                }
            }
            let arguments = with_reason(arguments);
            assert_eq!(
                jsonschema::is_valid(&tool[key], &arguments),
                is_allowed,
                "{format} {name} {arguments}"
            );
        }
    }
}

#[test]
fn where_nothing_is_left_that_is_said() {
    let mut described = described();
    described["actions"].as_array_mut().unwrap().retain(|action| action["action"] == "fs.remove");
    for format in ["json-schema", "openai", "anthropic", "mcp", "gbnf", "lark"] {
        let ran = host(described.clone()).llmsh(&["schema", "--for", format, "--allowed"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{format}");
        assert!(
            ran.stderr.contains("no action is left") && ran.stderr.contains("llmsh describe"),
            "{}",
            ran.stderr
        );
    }
}
