//! Values that are a little wrong.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// The same values with one thing wrong, or at least different, somewhere.
pub(super) fn spoilt(values: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    (values, any::<Index>(), 0..WAYS)
        .prop_map(|(mut value, place, way)| {
            let mut places = vec![String::new()];
            walk(&value, "", &mut places);
            let place = place.get(&places).clone();
            spoil(value.pointer_mut(&place).unwrap(), way);
            value
        })
        .boxed()
}

fn walk(value: &Value, at: &str, places: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, inner)| (name.replace('~', "~0").replace('/', "~1"), inner)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, inner)| (index.to_string(), inner)).collect()
        }
        _ => return,
    };
    for (name, inner) in inner {
        let at = format!("{at}/{name}");
        places.push(at.clone());
        walk(inner, &at, places);
    }
}

const WAYS: usize = 6;

fn spoil(value: &mut Value, way: usize) {
    match (way, &mut *value) {
        (0, Value::Object(fields)) => {
            if let Some(first) = fields.keys().next().cloned() {
                fields.shift_remove(&first);
            }
        }
        (1, Value::Object(fields)) => {
            fields.insert("surplus".to_owned(), json!("x"));
        }
        (0, Value::Array(items)) => drop(items.pop()),
        (1, Value::Array(items)) => {
            let again = items.first().cloned().unwrap_or(json!(1));
            items.resize(1100, again);
        }
        (0, Value::Number(_)) => *value = json!(2.5),
        (1, Value::Number(_)) => *value = json!(-3_000_000_000_000_000_i64),
        (2, Value::Number(_)) => *value = json!(1e20),
        (0, Value::String(text)) => text.push_str(" \u{0}"),
        (1, Value::String(text)) => *text = text.repeat(3000),
        (2, Value::String(text)) => text.clear(),
        (3, _) => *value = Value::Null,
        (4, Value::String(_)) => *value = json!(["x"]),
        (4, _) => *value = json!("x"),
        (_, _) => *value = json!({"x": true}),
    }
}
