//! Values of a schema.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Values that a schema accepts, fields in the order of the schema.
pub(super) fn values(schema: &Value) -> BoxedStrategy<Value> {
    for keyword in ["anyOf", "oneOf"] {
        if let Some(branches) = schema[keyword].as_array() {
            return proptest::strategy::Union::new(branches.iter().map(values)).boxed();
        }
    }
    if let Some(constant) = schema.get("const") {
        return Just(constant.clone()).boxed();
    }
    if let Some(listed) = schema["enum"].as_array() {
        return select(listed.clone()).boxed();
    }
    match schema["type"].as_str() {
        Some("object") => object(schema),
        Some("array") => array(schema),
        Some("string") => text(schema).prop_map(Value::from).boxed(),
        Some("integer") => integer(schema),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("null") => Just(Value::Null).boxed(),
        None if schema["type"].is_array() => {
            let each = schema["type"].as_array().unwrap().iter().map(|one| {
                let mut typed = schema.clone();
                typed["type"] = one.clone();
                values(&typed)
            });
            proptest::strategy::Union::new(each).boxed()
        }
        other => panic!("no values of {other:?}: {schema}"),
    }
}

fn object(schema: &Value) -> BoxedStrategy<Value> {
    let mut whole = Just(Map::new()).boxed();
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let is_required =
            schema["required"].as_array().is_some_and(|all| all.iter().any(|field| field == name));
        let inner = match is_required {
            true => values(inner).prop_map(Some).boxed(),
            false => proptest::option::weighted(0.4, values(inner)).boxed(),
        };
        let name = name.clone();
        whole = (whole, inner)
            .prop_map(move |(mut fields, inner)| {
                fields.extend(inner.map(|inner| (name.clone(), inner)));
                fields
            })
            .boxed();
    }
    if schema["additionalProperties"].is_object() {
        let entries =
            proptest::collection::btree_map("[A-Z]{1,5}", values(&schema["additionalProperties"]), 0..3);
        whole = (whole, entries)
            .prop_map(|(mut fields, more)| {
                fields.extend(more);
                fields
            })
            .boxed();
    }
    whole.prop_map(Value::Object).boxed()
}

fn array(schema: &Value) -> BoxedStrategy<Value> {
    let first = schema["prefixItems"].as_array().cloned().unwrap_or_default();
    let count = |name: &str| schema[name].as_u64().map(|count| usize::try_from(count).unwrap());
    let least = count("minItems").unwrap_or(0).saturating_sub(first.len());
    let most = count("maxItems").map_or(least + 3, |most| most.saturating_sub(first.len()).min(least + 3));
    let rest = if schema["items"].is_object() {
        vec(values(&schema["items"]), least..=most).boxed()
    } else {
        Just(Vec::new()).boxed()
    };
    let first: Vec<_> = first.iter().map(values).collect();
    (first, rest).prop_map(|(first, rest)| Value::Array(first.into_iter().chain(rest).collect())).boxed()
}

fn text(schema: &Value) -> BoxedStrategy<String> {
    if let Some(pattern) = schema["pattern"].as_str() {
        let inside = pattern.strip_prefix('^').and_then(|pattern| pattern.strip_suffix('$')).unwrap();
        return proptest::string::string_regex(inside).unwrap().boxed();
    }
    let count = |name: &str| schema[name].as_u64().map(|count| usize::try_from(count).unwrap());
    let least = count("minLength").unwrap_or(0);
    let most = count("maxLength").unwrap_or(usize::MAX).min(least + 6);
    let plain =
        prop_oneof!["[a-z /.\"\\\\]".prop_map(|text: String| text.chars().next().unwrap()), any::<char>()];
    vec(plain, least..=most).prop_map(|chars| chars.into_iter().collect()).boxed()
}

fn integer(schema: &Value) -> BoxedStrategy<Value> {
    let bound = |name: &str, default: i128| {
        schema[name].as_number().map_or(default, |bound| bound.as_i128().unwrap())
    };
    let (least, most) = (bound("minimum", -9), bound("maximum", i128::from(u64::MAX)));
    let small = (least..=most.min(least.saturating_add(300))).prop_map(move |number| number);
    prop_oneof![Just(least), Just(most), small, least..=most].prop_map(number).boxed()
}

fn number(number: i128) -> Value {
    match i64::try_from(number) {
        Ok(number) => json!(number),
        Err(_) => json!(u64::try_from(number).unwrap()),
    }
}
