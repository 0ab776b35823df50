//! A call that was made from the OpenAI schema ([`super::strict`]), turned back into what the wire accepts.
//!
//! Strict mode wants every field, knows neither maps nor tuples. So the schema spells a field that is left out as
//! `null`, a map as a list of `{"name", "value"}`, and an array with a first element of its own as an object
//! `{"0", "rest"}`. Here each becomes again what it stands for. The action's own schema says where: nothing is turned back
//! that the wire might mean, and what does not fit stays as it is, for the host to refuse.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::envelope::Fields;

/// The arguments of a call in the shape of `schema`, which is the schema of the tool as the host describes it
/// ([`crate::tools::Tool::input`]), not the strict one. Every other byte stays.
pub(crate) fn drop_absent(schema: &Value, arguments: &str) -> String {
    if let Some(branches) = branches(schema) {
        let turned = |branch| drop_absent(branch, arguments);
        return branches
            .iter()
            .map(turned)
            .zip(branches)
            .find(|(text, branch)| fits(branch, text))
            .map_or_else(|| arguments.to_owned(), |(text, _)| text);
    }
    if schema["properties"].is_object() || schema["additionalProperties"].is_object() {
        object(schema, arguments)
    } else if schema["items"].is_object() || schema["prefixItems"].is_array() {
        array(schema, arguments)
    } else {
        None
    }
    .unwrap_or_else(|| arguments.to_owned())
}

fn object(schema: &Value, text: &str) -> Option<String> {
    let mut fields = match Fields::read(text.as_bytes()) {
        Ok(fields) => fields,
        Err(_) => map(schema, text)?,
    };
    fields.retain_changed(|name, value| {
        let inner = property(schema, name);
        let absent = value == "null" && schema["properties"][name] != Value::Null;
        if absent && !is_required(schema, name) && !takes_null(inner) {
            return None;
        }
        Some(drop_absent(inner, value))
    });
    Some(fields.write())
}

/// A list of names and values as the map that it stands for.
fn map(schema: &Value, text: &str) -> Option<Fields> {
    if !schema["additionalProperties"].is_object() {
        return None;
    }
    let pairs: Vec<Fields> = serde_json::from_str(text).ok()?;
    let entry = |pair: &Fields| {
        let entry = (pair.text("name")?, pair.get("value")?.to_owned());
        (pair.len() == 2).then_some(entry)
    };
    pairs.iter().map(entry).collect()
}

fn array(schema: &Value, text: &str) -> Option<String> {
    let items: Vec<Box<RawValue>> = match serde_json::from_str(text) {
        Ok(items) => items,
        Err(_) => tuple(text)?,
    };
    let turned = items.iter().enumerate().map(|(index, item)| {
        let inner = schema["prefixItems"].get(index).unwrap_or(&schema["items"]);
        drop_absent(inner, item.get())
    });
    Some(format!("[{}]", turned.collect::<Vec<_>>().join(",")))
}

/// `{"0": a, "1": b, "rest": [c]}` as `[a, b, c]`.
fn tuple(text: &str) -> Option<Vec<Box<RawValue>>> {
    let fields = Fields::read(text.as_bytes()).ok()?;
    let mut items = Vec::new();
    while let Some(item) = fields.get(&items.len().to_string()) {
        items.push(item.to_owned());
    }
    let rest: Vec<Box<RawValue>> = match fields.get("rest") {
        Some(rest) => serde_json::from_str(rest.get()).ok()?,
        None => Vec::new(),
    };
    let known = items.len() + usize::from(fields.get("rest").is_some());
    (!items.is_empty() && fields.len() == known).then(|| items.into_iter().chain(rest).collect())
}

/// The alternatives of a schema that is nothing but alternatives.
pub(super) fn branches(schema: &Value) -> Option<&Vec<Value>> {
    ["anyOf", "oneOf"].iter().find_map(|keyword| schema[*keyword].as_array())
}

/// The schema of a property.
fn property<'a>(schema: &'a Value, name: &str) -> &'a Value {
    schema["properties"].get(name).unwrap_or(&schema["additionalProperties"])
}

pub(super) fn is_required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|required| required.iter().any(|field| field == name))
}

/// Whether a schema accepts `null` itself.
fn takes_null(schema: &Value) -> bool {
    let listed = |keyword: &str, wanted: &Value| {
        schema[keyword].as_array().is_some_and(|values| values.contains(wanted))
    };
    if let Some(branches) = branches(schema) {
        return branches.iter().any(takes_null);
    }
    match &schema["type"] {
        Value::Null => match schema.get("enum") {
            Some(_) => listed("enum", &Value::Null),
            None => schema.get("const").is_none_or(Value::is_null),
        },
        types => types == "null" || listed("type", &Value::from("null")),
    }
}

/// Whether a value has the shape of a schema, as far as alternatives are told apart by it: by type, by constants, and by
/// the names of fields.
fn fits(schema: &Value, text: &str) -> bool {
    serde_json::from_str(text).is_ok_and(|value: Value| has_shape(schema, &value))
}

fn has_shape(schema: &Value, value: &Value) -> bool {
    if let Some(branches) = branches(schema) {
        return branches.iter().any(|branch| has_shape(branch, value));
    }
    let is_type = |name: &Value| match name.as_str().unwrap_or_default() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    };
    let of_type = match &schema["type"] {
        Value::Null => true,
        Value::Array(types) => types.iter().any(is_type),
        name => is_type(name),
    };
    let listed = schema["enum"].as_array().is_none_or(|values| values.contains(value));
    let constant = schema.get("const").is_none_or(|constant| constant == value);
    of_type && listed && constant && parts_fit(schema, value)
}

fn parts_fit(schema: &Value, value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            let present = |name: &Value| name.as_str().is_some_and(|name| fields.contains_key(name));
            let known = |name: &String| {
                schema["properties"].get(name).is_some()
                    || schema["additionalProperties"] != Value::Bool(false)
            };
            schema["required"].as_array().is_none_or(|required| required.iter().all(present))
                && fields.iter().all(|(name, value)| known(name) && has_shape(property(schema, name), value))
        }
        Value::Array(items) => items.iter().enumerate().all(|(index, item)| {
            has_shape(schema["prefixItems"].get(index).unwrap_or(&schema["items"]), item)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

#[cfg(test)]
#[path = "../../tests/main/schema/generate.rs"]
mod generate;

#[cfg(test)]
mod tests {
    use super::super::{keywords, strict};
    use super::*;
    use crate::tools::read;
    use proptest::test_runner::{Config, TestCaseError, TestRunner};
    use serde_json::json;

    /// The schemas of all tools of a real host.
    fn inputs() -> Vec<Value> {
        let tools = read(include_str!("../../tests/golden/schema/describe.json")).unwrap();
        tools.iter().map(|tool| tool.input(false)).collect()
    }

    fn each(schema: &Value, test: impl Fn(&str) -> bool) {
        let mut runner =
            TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
        let ran = runner.run(&generate::values(schema), |value| {
            if test(&value.to_string()) { Ok(()) } else { Err(TestCaseError::fail("is refused")) }
        });
        ran.unwrap_or_else(|e| panic!("{e} by {schema}"));
    }

    #[test]
    fn whatever_the_strict_schema_accepts_becomes_what_the_wire_accepts() {
        for input in inputs() {
            let mut unmeasured = input.clone();
            let without_lengths = &mut |schema: &mut Value| {
                schema.as_object_mut().unwrap().retain(|name, _| name != "minLength" && name != "maxLength");
                Ok(())
            };
            keywords::each(&mut unmeasured, without_lengths).unwrap();
            let wire = jsonschema::validator_for(&unmeasured).unwrap();
            each(&strict::strict(&input).unwrap(), |call| {
                wire.is_valid(&serde_json::from_str(&drop_absent(&input, call)).unwrap())
            });
        }
    }

    #[test]
    fn a_call_that_the_wire_accepts_stays_as_it_is() {
        for input in inputs() {
            each(&input, |call| drop_absent(&input, call) == call);
        }
    }

    fn check(schema: &Value, arguments: &str, expected: &str) {
        assert_eq!(drop_absent(schema, arguments), expected, "{arguments}");
    }

    fn space() -> Value {
        json!({"type": "object", "properties": {"width": {"type": "integer"}, "region": {"type": "string"}},
            "required": ["width"], "additionalProperties": false})
    }

    #[test]
    fn null_for_an_optional_field_is_dropped_at_every_depth() {
        let schema = json!({"type": "object", "properties": {
            "path": {"type": "string"}, "offset": {"type": "integer"}, "space": space(),
            "stages": {"type": "array", "items": space()},
        }, "required": ["path"], "additionalProperties": false});
        check(&schema, r#"{"path":"/a","offset":null,"space":null}"#, r#"{"path":"/a"}"#);
        check(
            &schema,
            r#"{"path":"/a","space":{"width":1,"region":null},"stages":[{"width":2,"region":null},{"width":3,"region":"r"}]}"#,
            r#"{"path":"/a","space":{"width":1},"stages":[{"width":2},{"width":3,"region":"r"}]}"#,
        );
    }

    #[test]
    fn null_stays_where_the_wire_has_to_refuse_it() {
        check(&space(), r#"{"width":null,"region":"r"}"#, r#"{"width":null,"region":"r"}"#);
        check(&space(), r#"{"width":1,"unknown":null}"#, r#"{"width":1,"unknown":null}"#);
        check(&json!({"type": "array", "items": space()}), "[null]", "[null]");
    }

    #[test]
    fn null_stays_where_the_schema_accepts_it() {
        let of = |inner: Value| json!({"type": "object", "properties": {"a": inner}});
        for inner in [
            json!({"type": "null"}),
            json!({"type": ["string", "null"]}),
            json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
            json!({"enum": ["x", null]}),
            json!({}),
        ] {
            check(&of(inner), r#"{"a":null}"#, r#"{"a":null}"#);
        }
        for inner in [json!({"type": "string"}), json!({"enum": ["x"]}), json!({"const": "x"})] {
            check(&of(inner), r#"{"a":null}"#, "{}");
        }
    }

    #[test]
    fn the_alternative_that_is_meant_says_what_is_optional() {
        let tagged = |name: &str, inner: Value| json!({"type": "object", "properties": {name: inner}, "required": [name], "additionalProperties": false});
        let schema = json!({"oneOf": [
            tagged("display", json!({"type": "object", "properties": {"name": {"type": "string"}}})),
            tagged("window", space()),
        ]});
        check(&schema, r#"{"display":{"name":null}}"#, r#"{"display":{}}"#);
        check(&schema, r#"{"window":{"width":1,"region":null}}"#, r#"{"window":{"width":1}}"#);
        check(
            &schema,
            r#"{"window":{"width":null,"region":null}}"#,
            r#"{"window":{"width":null,"region":null}}"#,
        );
    }

    #[test]
    fn a_list_of_names_and_values_becomes_a_map() {
        let schema = json!({"type": "object", "additionalProperties": {"type": "string"}});
        check(
            &schema,
            r#"[{"name":"TZ","value":"UTC"},{"name":"LANG","value":"C"}]"#,
            r#"{"TZ":"UTC","LANG":"C"}"#,
        );
        check(&schema, "[]", "{}");
        check(&schema, r#"{"TZ":"UTC"}"#, r#"{"TZ":"UTC"}"#);
        for unknown in [
            r#"[{"name":"TZ"}]"#,
            r#"[{"name":1,"value":"x"}]"#,
            r#"[{"name":"a","value":"b","x":1}]"#,
            "[1]",
        ] {
            check(&schema, unknown, unknown);
        }
        // Two values of one name stay two: the host refuses them.
        check(&schema, r#"[{"name":"A","value":"x"},{"name":"A","value":"y"}]"#, r#"{"A":"x","A":"y"}"#);
    }

    #[test]
    fn a_first_element_and_the_rest_become_an_array() {
        let schema = json!({"type": "array", "items": {"type": "string"}});
        check(&schema, r#"{"0":"/bin/echo","rest":["hi"]}"#, r#"["/bin/echo","hi"]"#);
        check(&schema, r#"{"0":"/bin/echo","rest":[]}"#, r#"["/bin/echo"]"#);
        check(&schema, r#"{"0":"a","1":"b"}"#, r#"["a","b"]"#);
        for unknown in
            [r#"{"rest":["hi"]}"#, r#"{"0":"a","x":1}"#, r#"{"1":"a","rest":[]}"#, r#"{"0":"a","rest":1}"#]
        {
            check(&schema, unknown, unknown);
        }
    }

    #[test]
    fn everything_else_keeps_its_spelling() {
        check(
            &space(),
            r#"{"width":1.50,"region":"\u0041","width":2}"#,
            r#"{"width":1.50,"region":"\u0041","width":2}"#,
        );
        check(&space(), "not json", "not json");
    }
}
