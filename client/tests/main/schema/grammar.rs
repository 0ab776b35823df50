//! The grammars accept what the schema accepts and nothing else, as llguidance reads them.

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::generate::values;
use super::spoil::spoilt;
use super::{described, host, one, printed, printed_json};

/// For each text whether a grammar accepts it to its end.
#[allow(clippy::disallowed_methods, reason = "llguidance is started here")]
pub(super) fn accepts(form: &str, grammar: &str, texts: &[String]) -> Vec<bool> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = manifest.join("../target/peers/python/bin/python");
    assert!(python.exists(), "{} is missing; install it with: scripts/setup test", python.display());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("grammar");
    std::fs::write(&file, grammar).unwrap();
    let mut command = Command::new(python);
    command.arg(manifest.join("tests/schema/accepts.py")).arg(form).arg(&file);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = texts.iter().map(|text| format!("{}\n", json!(text))).collect();
    // It reads while it writes.
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    assert!(output.status.success(), "{form}: {}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<bool> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line == "true").collect();
    assert_eq!(said.len(), texts.len());
    said
}

fn sample(strategy: &BoxedStrategy<Value>, cases: u32) -> Vec<Value> {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let found = RefCell::new(Vec::new());
    let ran = runner.run(strategy, |value| {
        found.borrow_mut().push(value);
        Ok(())
    });
    ran.unwrap();
    found.take()
}

/// A schema with each keyword changed or, where there is nothing in its place, left out.
fn changed(schema: &Value, change: &dyn Fn(&str, &Value) -> Option<Value>) -> Value {
    match schema {
        Value::Object(fields) => {
            let fields = fields.iter().filter_map(|(name, value)| Some((name.clone(), change(name, value)?)));
            fields.map(|(name, value)| (name, changed(&value, change))).collect()
        }
        Value::Array(items) => items.iter().map(|item| changed(item, change)).collect(),
        plain => plain.clone(),
    }
}

/// The schema with bounds of integers to which every reader of JSON counts.
fn countable(schema: &Value) -> Value {
    const FURTHEST: i64 = (1 << 53) - 1;
    changed(schema, &|_, value| {
        let far = value.as_number().and_then(serde_json::Number::as_i128);
        let far = far.filter(|far| far.abs() > FURTHEST.into());
        Some(far.map_or_else(|| value.clone(), |far| json!(if far < 0 { -FURTHEST } else { FURTHEST })))
    })
}

/// The schema without the lengths to which grammars do not count.
fn uncounted(schema: &Value) -> Value {
    changed(schema, &|name, value| {
        let is_far = name == "maxLength" && value.as_u64().is_some_and(|most| most >= 2000);
        (!is_far).then(|| value.clone())
    })
}

#[test]
fn grammars_accept_what_the_schema_accepts_and_nothing_else() {
    let peer = host(described());
    for what in ["plan", "tools"] {
        let schema = uncounted(&countable(&printed_json(&peer, &["--as", what])));
        let valid = jsonschema::validator_for(&schema).unwrap();
        let mut samples = sample(&values(&schema), 60);
        samples.extend(sample(&spoilt(values(&schema)), 240));
        samples.retain(|value| value.to_string().len() < 60_000);
        // Grammars do not let DEL stand by itself.
        let texts: Vec<_> =
            samples.iter().map(|value| value.to_string().replace('\u{7f}', "\\u007f")).collect();
        for form in ["gbnf", "lark"] {
            let grammar = printed(&peer, &["--for", form, "--as", what]);
            let accepted = accepts(form, &grammar, &texts);
            assert!(accepted.iter().filter(|accepted| !**accepted).count() > 60);
            for ((accepted, text), value) in accepted.into_iter().zip(&texts).zip(&samples) {
                assert_eq!(accepted, valid.is_valid(value), "{form} {what}: {text}");
            }
        }
    }
}

#[test]
fn each_action_can_be_called_in_each_grammar() {
    let described = described();
    let peer = host(described.clone());
    let plan = |action: &Value, example: &Value| {
        let params = &action["params"]["properties"];
        let mut ordered = json!({});
        for name in params.as_object().into_iter().flatten().map(|(name, _)| name) {
            if let Some(value) = example["params"].get(name) {
                ordered[name] = value.clone();
            }
        }
        json!({"request_id": "r", "version": "1", "mode": "execute",
            "actions": [{"action": action["action"], "params": ordered, "reason": "as in its example"}]})
    };
    let actions = described["actions"].as_array().unwrap();
    let examples = actions.iter().flat_map(|action| {
        let examples = action["examples"].as_array().unwrap().iter();
        examples.map(|example| plan(action, example).to_string())
    });
    let examples: Vec<_> = examples.collect();
    assert!(examples.len() >= actions.len());
    for form in ["gbnf", "lark"] {
        let grammar = printed(&peer, &["--for", form]);
        for (accepted, text) in accepts(form, &grammar, &examples).iter().zip(&examples) {
            assert!(accepted, "{form}: {text}");
        }
    }
}

#[test]
fn a_text_has_one_line_and_white_space_only_after_commas_and_colons() {
    let peer = host(one(
        "x.do",
        &json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": -9, "maximum": 9}}, "additionalProperties": false}),
    ));
    let plan = r#"{"request_id":"r","version":"1","mode":"execute","actions":[{"action":"x.do","params":{"a":1},"reason":"r"}]}"#;
    let spaced = plan.replace(':', ": ").replace(',', ", ");
    let texts = [
        (plan.to_owned(), true),
        (spaced.clone(), true),
        (spaced.replace(": ", ":  "), false),
        (plan.replace(',', ",\n"), false),
        (plan.replace('{', "{ "), false),
        (format!(" {plan}"), false),
        (format!("{plan}\n"), false),
        (plan.replace("\"a\":1", "\"a\":1.0"), false),
        (plan.replace("\"a\":1", "\"a\":01"), false),
        (plan.replace("\"a\":1", "\"a\":null"), false),
        (plan.replace("\"a\":1", "\"a\":1,\"a\":1"), false),
        (plan.replace("\"reason\":\"r\"", "\"reason\":\"\\ud800\""), false),
    ];
    let (texts, expected): (Vec<_>, Vec<_>) = texts.into_iter().unzip();
    for form in ["gbnf", "lark"] {
        assert_eq!(accepts(form, &printed(&peer, &["--for", form]), &texts), expected, "{form}");
    }
}

#[test]
fn counts_are_exact() {
    let number = json!({"type": "integer", "minimum": 0, "maximum": 9});
    let fields = [
        json!({"type": "array", "items": number, "minItems": 2, "maxItems": 4}),
        json!({"type": "array", "items": number, "maxItems": 3}),
        json!({"type": "array", "items": number, "minItems": 1}),
        json!({"type": "array", "prefixItems": [number], "items": number, "minItems": 2, "maxItems": 3}),
        json!({"type": "array", "prefixItems": [number], "items": false, "minItems": 1}),
        json!({"type": "string", "minLength": 2, "maxLength": 3}),
        json!({"type": "string", "minLength": 1}),
        json!({"type": "string", "maxLength": 0}),
    ];
    for field in fields {
        let params = json!({"type": "object", "properties": {"f": field}, "required": ["f"], "additionalProperties": false});
        let peer = host(one("x.do", &params));
        let values = (0..6).map(|count| match field["type"].as_str() {
            Some("array") => json!(vec![7; count]),
            _ => json!("\u{e9}".repeat(count)),
        });
        let values: Vec<_> = values.collect();
        let call =
            |value: &Value| json!({"name": "x_do", "arguments": {"f": value, "reason": "r"}}).to_string();
        let texts: Vec<_> = values.iter().map(call).collect();
        let expected: Vec<_> = values.iter().map(|value| jsonschema::is_valid(&field, value)).collect();
        for form in ["gbnf", "lark"] {
            let grammar = printed(&peer, &["--for", form, "--as", "tools"]);
            assert_eq!(accepts(form, &grammar, &texts), expected, "{form} {field}");
        }
    }
}

#[test]
fn what_may_be_anything_is_never_null() {
    let params =
        json!({"type": "object", "properties": {"f": {}}, "required": ["f"], "additionalProperties": false});
    let grammar = printed(&host(one("x.do", &params)), &["--for", "gbnf", "--as", "tools"]);
    let call = |value: &str| format!(r#"{{"name":"x_do","arguments":{{"f":{value},"reason":"r"}}}}"#);
    let texts = [r#"{"a":[1.5e3,"x",{},[]],"b":true}"#, "-1", "null", "[null]", "{\"a\":null}"].map(call);
    assert_eq!(accepts("gbnf", &grammar, &texts), [true, true, false, false, false]);
}

#[test]
fn a_pattern_says_the_same_in_a_grammar() {
    let patterns = [
        (
            "^((/w)(/(\\.?|\\.?[^/.\\u0000][^/\\u0000]*|\\.\\.[^/\\u0000]+))*|(file:///w)(/(\\.?|\\.?([^/.%\\u0000]|%([1-9A-Fa-f][0-9A-Fa-f]|0[1-9A-Fa-f]))([^/%\\u0000]|%([1-9A-Fa-f][0-9A-Fa-f]|0[1-9A-Fa-f]))*|\\.\\.([^/%\\u0000]|%([1-9A-Fa-f][0-9A-Fa-f]|0[1-9A-Fa-f]))+))*)$",
            ["/w", "/w/a.b/.c", "/w/\"\\\n", "/wx", "/w/..", "w"].as_slice(),
        ),
        ("^(?:GET|PUT) [^\\u0000-\\u001f]{2,3}$", &["GET ab", "PUT \"\\", "GET a", "GET abcd", "PUT a\n"]),
        ("b+", &["abc", "ac", "\u{1f600}b\"", ""]),
        ("^a|z$", &["ab", "xz", "xay"]),
        ("^([0-9a-f]{4})?$", &["00ff", "", "00fg", "00ff0"]),
        ("^[^a-y]?\\[-\\]$", &["z[-]", "[-]", "\u{e9}[-]", "b[-]"]),
    ];
    for (pattern, texts) in patterns {
        let params = json!({"type": "object", "properties": {"f": {"type": "string", "pattern": pattern}},
            "required": ["f"], "additionalProperties": false});
        let peer = host(one("x.do", &params));
        let schema = jsonschema::validator_for(&params).unwrap();
        let call = |text: &&str| json!({"name": "x_do", "arguments": {"f": text, "reason": "r"}}).to_string();
        let expected: Vec<_> = texts.iter().map(|text| schema.is_valid(&json!({"f": text}))).collect();
        assert!(expected.contains(&true) && expected.contains(&false), "{pattern}");
        let calls: Vec<_> = texts.iter().map(call).collect();
        for form in ["gbnf", "lark"] {
            let grammar = printed(&peer, &["--for", form, "--as", "tools"]);
            assert_eq!(accepts(form, &grammar, &calls), expected, "{form} {pattern} {texts:?}");
        }
    }
}
