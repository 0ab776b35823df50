//! A schema as OpenAI's strict mode accepts it, so that the model cannot write anything else.
//!
//! Strict mode takes a part of JSON Schema: every field is required, no object takes more fields, and there are neither
//! maps nor tuples nor most keywords. What the wire leaves out the model writes as `null`, and what has no form of its
//! own gets one that [`super::absent`] turns back. Two kinds of keyword are left out, since the host checks what
//! they say: those that only describe, and lengths of strings. Any other keyword is an error, so that nothing that narrows
//! gets lost.

use serde_json::{Map, Value, json};

use super::absent::{branches, is_required};
use super::keywords::{self, Unsupported, countable};

/// What is written as it stands.
const KEPT: [&str; 11] = [
    "type",
    "description",
    "enum",
    "const",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
];
/// What is written in another form.
const TURNED: [&str; 8] =
    ["properties", "required", "additionalProperties", "items", "prefixItems", "anyOf", "oneOf", "default"];
/// What is left out beside what only describes: the host counts bytes anyway.
const LEFT_OUT: [&str; 2] = ["minLength", "maxLength"];

/// The strict form of the schema of an object.
///
/// # Errors
///
/// Where there is none.
pub(super) fn strict(schema: &Value) -> Result<Value, Unsupported> {
    match turned(schema)? {
        Value::Object(root) if root.get("type") == Some(&json!("object")) => Ok(Value::Object(root)),
        _ => Err(Unsupported::shape("its root is not an object")),
    }
}

fn turned(schema: &Value) -> Result<Value, Unsupported> {
    let known = [KEPT.as_slice(), &TURNED, &LEFT_OUT].concat();
    let keywords = keywords::of(schema, &known)?;
    let mut out = Map::new();
    for name in KEPT {
        if let Some(value) = keywords.get(name) {
            out.insert(name.to_owned(), countable(value));
        }
    }
    if let Some(name) = listed_type(schema) {
        out.entry("type").or_insert_with(|| json!(name));
    }
    if let Some(default) = keywords.get("default") {
        let said = out.get("description").and_then(Value::as_str);
        let said = said.map_or_else(String::new, |said| format!("{said} "));
        out.insert("description".to_owned(), json!(format!("{said}If null: {default}.")));
    }
    if let Some(branches) = branches(schema) {
        let branches = branches
            .iter()
            .enumerate()
            .map(|(index, branch)| turned(branch).map_err(|e| e.within(&format!("[{index}]"))));
        out.insert("anyOf".to_owned(), branches.collect::<Result<_, _>>()?);
    }
    let form = match schema["type"].as_str() {
        Some("object") if schema["additionalProperties"].is_object() => map(schema)?,
        Some("object") => object(schema)?,
        Some("array") if schema["prefixItems"].is_array() => {
            // Its counts go to the rest.
            out.retain(|name, _| name != "minItems" && name != "maxItems");
            tuple(schema)?
        }
        Some("array") => {
            let items = turned(&schema["items"]).map_err(|e| e.within("[]"))?;
            Map::from_iter([("items".to_owned(), items)])
        }
        Some(_) => Map::new(),
        None if ["anyOf", "oneOf", "enum", "const"].iter().any(|name| keywords.contains_key(*name)) => {
            Map::new()
        }
        None => return Err(Unsupported::shape("it does not say of which type its values are")),
    };
    if out.contains_key("anyOf") && !form.is_empty() {
        return Err(Unsupported::shape("it has alternatives beside fields"));
    }
    out.extend(form);
    Ok(Value::Object(out))
}

/// The type of the values that a schema lists, which strict mode wants to be told.
fn listed_type(schema: &Value) -> Option<&'static str> {
    let listed = schema["enum"].as_array().map(Vec::as_slice);
    let listed = listed.or_else(|| schema.get("const").map(std::slice::from_ref))?;
    let mut types = listed.iter().map(|value| match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    });
    let first = types.next()?;
    types.all(|other| other == first).then_some(first)
}

fn object(schema: &Value) -> Result<Map<String, Value>, Unsupported> {
    if schema["additionalProperties"] != json!(false) {
        return Err(Unsupported::shape("it takes fields that it does not name"));
    }
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let properties = properties.iter().map(|(name, inner)| {
        let inner = turned(inner).map_err(|e| e.within(&format!(".{name}")))?;
        Ok((name.clone(), if is_required(schema, name) { inner } else { nullable(inner) }))
    });
    Ok(closed(properties.collect::<Result<_, _>>()?))
}

/// A map as a list of names and values.
fn map(schema: &Value) -> Result<Map<String, Value>, Unsupported> {
    if schema["properties"].as_object().is_some_and(|named| !named.is_empty()) {
        return Err(Unsupported::shape("it has both fields of its own and any others"));
    }
    let value = turned(&schema["additionalProperties"]).map_err(|e| e.within(".*"))?;
    let entry =
        closed(Map::from_iter([("name".to_owned(), json!({"type": "string"})), ("value".to_owned(), value)]));
    Ok(Map::from_iter([("type".to_owned(), json!("array")), ("items".to_owned(), Value::Object(entry))]))
}

/// An array whose first elements have schemas of their own as an object: `{"0": first, "rest": [others]}`.
fn tuple(schema: &Value) -> Result<Map<String, Value>, Unsupported> {
    let first = schema["prefixItems"].as_array().map_or(&[][..], Vec::as_slice);
    let count = |name: &str| schema[name].as_u64().and_then(|count| usize::try_from(count).ok());
    if count("minItems").unwrap_or(0) < first.len() {
        return Err(Unsupported::shape("its first elements may be missing"));
    }
    let mut properties = Map::new();
    for (index, item) in first.iter().enumerate() {
        properties.insert(index.to_string(), turned(item).map_err(|e| e.within(&format!("[{index}]")))?);
    }
    if !schema["items"].is_boolean() {
        let mut rest =
            json!({"type": "array", "items": turned(&schema["items"]).map_err(|e| e.within("[]"))?});
        for name in ["minItems", "maxItems"] {
            if let Some(count) = count(name) {
                rest[name] = json!(count.saturating_sub(first.len()));
            }
        }
        properties.insert("rest".to_owned(), rest);
    } else if count("maxItems").is_none_or(|most| most > first.len()) && schema["items"] == json!(true) {
        return Err(Unsupported::shape("its other elements may be anything"));
    }
    Ok(closed(properties))
}

/// An object of exactly these fields.
fn closed(properties: Map<String, Value>) -> Map<String, Value> {
    let required: Vec<_> = properties.keys().cloned().collect();
    Map::from_iter([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), Value::Object(properties)),
        ("required".to_owned(), json!(required)),
        ("additionalProperties".to_owned(), json!(false)),
    ])
}

/// A schema that takes `null` as well.
fn nullable(mut schema: Value) -> Value {
    let null = json!({"type": "null"});
    if let Some(Value::Array(branches)) = schema.get_mut("anyOf") {
        branches.push(null);
        return schema;
    }
    match schema["type"].as_str() {
        Some(plain) if schema.get("enum").is_none() && schema.get("const").is_none() => {
            schema["type"] = json!([plain, "null"]);
            schema
        }
        _ => {
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let mut either = json!({"anyOf": [schema, null]});
            if let Some(description) = description {
                either["description"] = description;
            }
            either
        }
    }
}
