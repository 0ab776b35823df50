//! The OpenAI form keeps the rules of strict mode, accepts what the wire means, and no more.

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use super::generate::values;
use super::{described, host, one, printed_json};

/// What strict mode takes (OpenAI, Structured Outputs, supported schemas), counted over a whole tool.
#[derive(Default)]
struct Counted {
    properties: usize,
    values: usize,
    letters: usize,
    depth: usize,
}

fn check(schema: &Value, depth: usize, counted: &mut Counted) {
    let taken = [
        "type",
        "description",
        "enum",
        "const",
        "anyOf",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "pattern",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
    ];
    let keywords = schema.as_object().unwrap_or_else(|| panic!("{schema}"));
    for (keyword, inner) in keywords {
        assert!(taken.contains(&keyword.as_str()), "{keyword} in {schema}");
        match keyword.as_str() {
            "anyOf" => inner.as_array().unwrap().iter().for_each(|branch| check(branch, depth, counted)),
            "items" => check(inner, depth, counted),
            "enum" => {
                counted.values += inner.as_array().unwrap().len();
                counted.letters += inner.to_string().len();
            }
            "minItems" | "maxItems" => assert!(schema["type"].to_string().contains("array"), "{schema}"),
            "const" => counted.letters += inner.to_string().len(),
            "minimum" | "maximum" => assert!(inner.as_i64().unwrap().unsigned_abs() < 1 << 53, "{schema}"),
            _ => {}
        }
    }
    if schema["type"] == "object" {
        counted.depth = counted.depth.max(depth + 1);
        let properties = schema["properties"].as_object().unwrap();
        let required: Vec<_> = properties.keys().map(|name| json!(name)).collect();
        assert_eq!(schema["required"], json!(required), "{schema}");
        assert_eq!(schema["additionalProperties"], json!(false), "{schema}");
        for (name, inner) in properties {
            counted.properties += 1;
            counted.letters += name.len();
            check(inner, depth + 1, counted);
        }
    } else {
        assert!(keywords.contains_key("type") || keywords.contains_key("anyOf"), "{schema}");
    }
}

#[test]
fn every_tool_keeps_the_rules_of_strict_mode() {
    let peer = host(described());
    for what in ["tools", "plan"] {
        let tools = printed_json(&peer, &["--for", "openai", "--as", what]);
        for tool in tools.as_array().unwrap() {
            assert_eq!((&tool["type"], &tool["strict"]), (&json!("function"), &json!(true)));
            let name = tool["name"].as_str().unwrap();
            assert!(
                name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
                "{name}"
            );
            assert_eq!(tool["parameters"]["type"], "object", "{name}");
            let mut counted = Counted::default();
            check(&tool["parameters"], 0, &mut counted);
            let Counted { properties, values, letters, depth } = counted;
            assert!(properties <= 5000 && values <= 1000 && letters <= 120_000 && depth <= 10, "{name}");
        }
        let chat = printed_json(&peer, &["--for", "openai-chat", "--as", what]);
        for (tool, chat) in tools.as_array().unwrap().iter().zip(chat.as_array().unwrap()) {
            assert_eq!(chat["type"], "function");
            for field in ["name", "description", "parameters", "strict"] {
                assert_eq!(tool[field], chat["function"][field]);
            }
        }
    }
}

#[test]
fn an_optional_field_may_be_null_and_a_required_one_may_not() {
    let peer = host(described());
    let tools = printed_json(&peer, &["--for", "openai", "fs.read"]);
    let schema = jsonschema::validator_for(&tools[0]["parameters"]).unwrap();
    let call = json!({"path": "/a", "offset": null, "max_bytes": null, "reason": "look", "danger": null, "recovery": null});
    assert!(schema.is_valid(&call));
    for field in ["path", "reason"] {
        let mut wrong = call.clone();
        wrong[field] = Value::Null;
        assert!(!schema.is_valid(&wrong), "{field}");
    }
    let mut wrong = call;
    wrong.as_object_mut().unwrap().shift_remove("offset");
    assert!(!schema.is_valid(&wrong), "strict mode leaves no field out");
}

#[test]
fn maps_and_first_elements_have_a_form_of_their_own() {
    let params = json!({"type": "object", "properties": {
        "argv": {"type": "array", "prefixItems": [{"enum": ["/bin/a"]}], "items": {"type": "string"}, "minItems": 1, "maxItems": 5},
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
    }, "required": ["argv"], "additionalProperties": false});
    let tools = printed_json(&host(one("exec.run", &params)), &["--for", "openai"]);
    check(&tools[0]["parameters"], 0, &mut Counted::default());
    let schema = jsonschema::validator_for(&tools[0]["parameters"]).unwrap();
    let call = |argv: Value, env: Value| json!({"argv": argv, "env": env, "reason": "r", "danger": null, "recovery": null});
    assert!(
        schema
            .is_valid(&call(json!({"0": "/bin/a", "rest": ["x"]}), json!([{"name": "TZ", "value": "UTC"}])))
    );
    assert!(schema.is_valid(&call(json!({"0": "/bin/a", "rest": []}), Value::Null)));
    assert!(!schema.is_valid(&call(json!({"0": "/bin/b", "rest": []}), Value::Null)));
    assert!(!schema.is_valid(&call(json!({"0": "/bin/a", "rest": ["1", "2", "3", "4", "5"]}), Value::Null)));
    assert!(!schema.is_valid(&call(json!(["/bin/a"]), Value::Null)));
}

#[test]
fn values_of_the_strict_schema_exist_for_every_action() {
    let peer = host(described());
    for tool in printed_json(&peer, &["--for", "openai"]).as_array().unwrap() {
        let schema = jsonschema::validator_for(&tool["parameters"]).unwrap();
        let mut runner =
            TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
        let ran = runner.run(&values(&tool["parameters"]), |value| {
            let valid = schema.is_valid(&value);
            if valid { Ok(()) } else { Err(TestCaseError::fail("refused")) }
        });
        ran.unwrap_or_else(|e| panic!("{}: {e}", tool["name"]));
    }
}
