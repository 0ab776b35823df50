//! What a record is about.

use serde_json::Value;

/// The place in its plan of the one action that it is about.
pub(super) fn index(record: &Value) -> Option<u64> {
    record["what"]["index"].as_u64().or(record["data"]["index"].as_u64())
}

/// The actions that it names.
pub(super) fn actions(record: &Value) -> impl Iterator<Item = &str> {
    let listed = record["data"]["actions"].as_array().into_iter().flatten();
    [&record["what"]["action"], &record["data"]["action"]].into_iter().chain(listed).filter_map(Value::as_str)
}
