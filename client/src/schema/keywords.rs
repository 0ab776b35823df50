//! The keywords of JSON Schema: what only describes, and that none which narrows is passed over.

use std::fmt;

use serde_json::{Map, Number, Value};

/// What says nothing about which values are accepted. `format` is among them: JSON Schema 2020-12 has it describe.
const DESCRIBING: [&str; 9] = [
    "$schema",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "readOnly",
    "writeOnly",
    "deprecated",
];

/// What grammars are made of; any other keyword that narrows is an error there.
pub(super) const IN_GRAMMARS: [&str; 17] = [
    "type",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
];

/// A length that grammars leave to the host: llama.cpp takes it for a mistake, and llguidance runs out of states.
pub(super) const COUNTLESS: u64 = 2000;

/// A part of a schema that a format has no form for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsupported {
    /// Where, as a path from the value that the schema is of.
    path: String,
    what: String,
}

impl Unsupported {
    pub(super) fn shape(what: impl Into<String>) -> Self {
        Self { path: String::new(), what: what.into() }
    }

    /// The same, seen from the value around it.
    pub(super) fn within(self, part: &str) -> Self {
        Self { path: format!("{part}{}", self.path), what: self.what }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}: {}", self.path, self.what)
    }
}

/// The keywords of a schema, each of which either describes or is among those that are `known`.
///
/// # Errors
///
/// A keyword that is neither, or a schema that is no object.
pub(super) fn of<'a>(schema: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, Unsupported> {
    let keywords = schema
        .as_object()
        .ok_or_else(|| Unsupported::shape(format!("the schema {schema} says nothing of what is accepted")))?;
    let unknown =
        keywords.keys().find(|name| !known.contains(&name.as_str()) && !DESCRIBING.contains(&name.as_str()));
    match unknown {
        Some(name) => Err(Unsupported::shape(format!("the keyword \"{name}\" has no form here"))),
        None => Ok(keywords),
    }
}

/// Visits a schema and all those inside of it.
///
/// # Errors
///
/// That of the visit, with its place.
pub(super) fn each(
    schema: &mut Value,
    visit: &mut impl FnMut(&mut Value) -> Result<(), Unsupported>,
) -> Result<(), Unsupported> {
    if schema.is_boolean() {
        return Ok(());
    }
    visit(schema)?;
    let Some(keywords) = schema.as_object_mut() else { return Ok(()) };
    for (keyword, inner) in keywords {
        match (keyword.as_str(), inner) {
            ("properties", Value::Object(properties)) => {
                for (name, inner) in properties {
                    each(inner, visit).map_err(|e| e.within(&format!(".{name}")))?;
                }
            }
            ("anyOf" | "oneOf" | "prefixItems", Value::Array(list)) => {
                for (index, inner) in list.iter_mut().enumerate() {
                    each(inner, visit).map_err(|e| e.within(&format!("[{index}]")))?;
                }
            }
            ("items", inner) => each(inner, visit).map_err(|e| e.within("[]"))?,
            ("additionalProperties", inner) => each(inner, visit).map_err(|e| e.within(".*"))?,
            _ => {}
        }
    }
    Ok(())
}

/// A bound of integers that every reader of JSON counts to exactly (RFC 8259, section 6): those further out come nearer.
pub(super) fn countable(bound: &Value) -> Value {
    const FURTHEST: i128 = (1 << 53) - 1;
    match bound.as_number().and_then(Number::as_i128) {
        Some(far) if far.abs() > FURTHEST => Value::from((FURTHEST * far.signum()) as i64),
        _ => bound.clone(),
    }
}
