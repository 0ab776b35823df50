//! A schema as a grammar of llguidance (its dialect of Lark), which reads JSON Schema itself.
//!
//! It is told to write one line with at most a space after a comma or colon, as [`super::gbnf`] does. Of the schema
//! only what it would refuse is changed: `format`, which describes, bounds that it cannot count to, and lengths of
//! [`COUNTLESS`] or more, which are left to the host.

use serde_json::{Value, json};

use super::keywords::{self, COUNTLESS, IN_GRAMMARS, Unsupported, countable};

/// The grammar of what a schema accepts.
///
/// # Errors
///
/// A keyword that grammars have no form for.
pub(super) fn grammar(schema: &Value) -> Result<String, Unsupported> {
    let mut schema = schema.clone();
    prepare(&mut schema)?;
    // The alternatives of actions exclude each other by their names.
    let mut guided = json!({
        "x-guidance": {
            "whitespace_flexible": false, "item_separator": ", ?", "key_separator": ": ?", "coerce_one_of": true,
        },
    });
    for (name, value) in schema.as_object().into_iter().flatten() {
        guided[name] = value.clone();
    }
    Ok(format!("%llguidance {{}}\nstart: %json {guided}\n"))
}

fn prepare(schema: &mut Value) -> Result<(), Unsupported> {
    keywords::each(schema, &mut |schema| {
        keywords::of(schema, &IN_GRAMMARS)?;
        if let Some(keywords) = schema.as_object_mut() {
            keywords.retain(|name, value| match name.as_str() {
                "format" => false,
                "maxLength" => value.as_u64().is_none_or(|most| most < COUNTLESS),
                _ => true,
            });
            for bound in ["minimum", "maximum"] {
                if let Some(value) = keywords.get_mut(bound) {
                    *value = countable(value);
                }
            }
        }
        Ok(())
    })
}
