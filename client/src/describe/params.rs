//! The params of an action as rows: what their JSON Schema says, short.

use serde_json::{Number, Value};

use crate::text::{prose, word};

/// Name, type, whether it is needed, and meaning of each param, the fields of objects below them.
pub(super) fn rows(schema: &Value) -> Vec<[String; 4]> {
    let mut rows = Vec::new();
    object(schema, "", false, &mut rows);
    rows
}

/// The fields of an object; of one form of several where there is a choice.
fn object(schema: &Value, place: &str, is_choice: bool, rows: &mut Vec<[String; 4]>) {
    let Some(fields) = schema["properties"].as_object() else { return };
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    for (name, field) in fields {
        let needed = match field.get("default") {
            _ if is_choice => "one of these".to_owned(),
            Some(default) => format!("default {default}"),
            None if required.iter().any(|required| *required == name) => "required".to_owned(),
            None => "optional".to_owned(),
        };
        let meaning = prose(field["description"].as_str().unwrap_or_default());
        let place = format!("{place}{}", word(name));
        rows.push([place.clone(), kind(field), needed, meaning]);
        below(field, &place, rows);
    }
}

/// What is in a value.
fn below(schema: &Value, place: &str, rows: &mut Vec<[String; 4]>) {
    object(schema, &format!("{place}."), false, rows);
    for form in forms(schema) {
        object(form, &format!("{place}."), true, rows);
    }
    if let Some(items) = schema.get("items") {
        below(items, &format!("{place}[]"), rows);
    }
}

fn forms(schema: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten()
}

/// The type in a word or two.
fn kind(schema: &Value) -> String {
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    let mut kinds: Vec<String> = forms(schema).map(kind).collect();
    kinds.extend(schema["enum"].as_array().into_iter().flatten().map(Value::to_string));
    kinds.dedup();
    if !kinds.is_empty() {
        return kinds.join(" | ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", schema.get("items").map_or("anything".to_owned(), kind)),
        Some("object") => match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) => format!("map of {}", kind(values)),
            None => "object".to_owned(),
        },
        Some("integer") => format!("integer{}", range(schema)),
        Some(name) => word(schema["format"].as_str().filter(|_| name == "string").unwrap_or(name)),
        None => "anything".to_owned(),
    }
}

/// The bounds of an integer, unless they are those of its format alone.
fn range(schema: &Value) -> String {
    let bits = |signed: u32| -> (i128, i128) { (-(1 << (signed - 1)), (1 << (signed - 1)) - 1) };
    let (lowest, highest) = match schema["format"].as_str() {
        Some("uint64") => (0, u64::MAX.into()),
        Some("uint32") => (0, u32::MAX.into()),
        Some("int64") => bits(64),
        Some("int32") => bits(32),
        Some(_) | None => (i128::MIN, i128::MAX),
    };
    let bound = |name: &str, own: i128| {
        schema[name].as_number().and_then(Number::as_i128).filter(|bound| *bound != own)
    };
    match (bound("minimum", lowest), bound("maximum", highest)) {
        (Some(from), Some(to)) => format!(" {from}..{to}"),
        (Some(from), None) => format!(" from {from}"),
        (None, Some(to)) => format!(" up to {to}"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(schema: &Value, expected: &[[&str; 4]]) {
        assert_eq!(rows(schema), expected);
    }

    #[test]
    fn a_param_has_its_type_and_whether_it_is_needed() {
        let properties = json!({
            "path": {"type": "string", "format": "path", "description": "Which\nfile."},
            "max": {"type": "integer", "format": "uint64", "minimum": 4, "maximum": 8, "default": 6},
            "exit": {"type": "array", "items": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 255}},
            "env": {"type": "object", "additionalProperties": {"type": "string"}},
            "signal": {"oneOf": [{"type": "string", "const": "A"}, {"type": "string", "const": "B"}]},
        });
        check(
            &json!({"type": "object", "properties": properties, "required": ["path"]}),
            &[
                ["path", "path", "required", "Which file."],
                ["max", "integer 4..8", "default 6", ""],
                ["exit", "list of integer 0..255", "optional", ""],
                ["env", "map of string", "optional", ""],
                ["signal", "\"A\" | \"B\"", "optional", ""],
            ],
        );
    }

    #[test]
    fn fields_of_objects_lists_and_choices_stand_below_them() {
        let inner = |name: &str| json!({"type": "object", "properties": {name: {"type": "boolean"}}, "required": [name]});
        check(
            &json!({"properties": {"a": {"type": "array", "items": inner("b")}, "c": {"oneOf": [inner("d"), inner("e")]}}}),
            &[
                ["a", "list of object", "optional", ""],
                ["a[].b", "boolean", "required", ""],
                ["c", "object", "optional", ""],
                ["c.d", "boolean", "one of these", ""],
                ["c.e", "boolean", "one of these", ""],
            ],
        );
    }
}
