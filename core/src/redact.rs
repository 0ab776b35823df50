//! What the audit log holds of params: everything but secrets, which stand as length and keyed digest.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::json::{Json, write_text};

/// Which parts of a value are secret, read off its JSON Schema once (`writeOnly`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mask {
    #[default]
    Clear,
    Secret,
    Fields {
        named: BTreeMap<String, Mask>,
        other: Box<Mask>,
    },
    Items(Box<Mask>),
}

impl Mask {
    /// Reads the mask off a schema without references. Where alternatives differ the secret one wins.
    pub(crate) fn of(schema: &serde_json::Value) -> Self {
        if schema["writeOnly"] == true {
            return Mask::Secret;
        }
        let mut mask = Mask::Clear;
        if let Some(properties) = schema["properties"].as_object() {
            let named = properties.iter().map(|(name, schema)| (name.clone(), Mask::of(schema)));
            let named: BTreeMap<_, _> = named.filter(|(_, mask)| *mask != Mask::Clear).collect();
            if !named.is_empty() {
                mask = mask.or(Mask::Fields { named, other: Box::default() });
            }
        }
        if schema["additionalProperties"].is_object() {
            let other = Mask::of(&schema["additionalProperties"]);
            if other != Mask::Clear {
                mask = mask.or(Mask::Fields { named: BTreeMap::new(), other: Box::new(other) });
            }
        }
        if schema["items"].is_object() {
            let items = Mask::of(&schema["items"]);
            if items != Mask::Clear {
                mask = mask.or(Mask::Items(Box::new(items)));
            }
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            for alternative in schema[keyword].as_array().into_iter().flatten() {
                mask = mask.or(Mask::of(alternative));
            }
        }
        mask
    }

    fn or(self, other: Mask) -> Mask {
        match (self, other) {
            (Mask::Clear, mask) | (mask, Mask::Clear) => mask,
            (Mask::Fields { mut named, other: rest }, Mask::Fields { named: more, other: rest_more }) => {
                for (name, mask) in more {
                    let merged = named.remove(&name).unwrap_or_default().or(mask);
                    named.insert(name, merged);
                }
                Mask::Fields { named, other: Box::new(rest.or(*rest_more)) }
            }
            (Mask::Items(a), Mask::Items(b)) => Mask::Items(Box::new(a.or(*b))),
            _ => Mask::Secret,
        }
    }

    /// `value` in canonical form without its secrets.
    pub(crate) fn apply(&self, value: &Json, digest: &dyn Fn(&[u8]) -> String) -> Box<RawValue> {
        let mut text = String::new();
        self.write(value, digest, &mut text);
        RawValue::from_string(text).expect("canonical JSON")
    }

    /// Writes `value` canonically, each secret as `{"bytes":N,"hmac_sha256":"..."}`.
    fn write(&self, value: &Json, digest: &dyn Fn(&[u8]) -> String, out: &mut String) {
        match (self, value) {
            (Mask::Clear, value) => value.write(out),
            (Mask::Fields { named, other }, Json::Object(fields)) => {
                let mut separator = '{';
                for (key, value) in fields {
                    out.push(std::mem::replace(&mut separator, ','));
                    write_text(key, out);
                    out.push(':');
                    named.get(key).unwrap_or(other).write(value, digest, out);
                }
                out.push_str(if fields.is_empty() { "{}" } else { "}" });
            }
            (Mask::Items(mask), Json::Array(items)) => {
                let mut separator = '[';
                for item in items {
                    out.push(std::mem::replace(&mut separator, ','));
                    mask.write(item, digest, out);
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            (Mask::Secret | Mask::Fields { .. } | Mask::Items(_), secret) => {
                let bytes = match secret {
                    Json::Text(text) => text.clone(),
                    other => other.canonical(),
                };
                out.push_str(&format!("{{\"bytes\":{},\"hmac_sha256\":", bytes.len()));
                write_text(&digest(bytes.as_bytes()), out);
                out.push('}');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[derive(schemars::JsonSchema)]
    #[allow(dead_code)]
    struct Params {
        user: String,
        password: Option<Secret>,
        env: BTreeMap<String, Secret>,
    }

    #[test]
    fn secrets_stand_as_length_and_digest_at_every_depth() {
        let schema = schemars::generate::SchemaSettings::draft2020_12()
            .with(|s| s.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<Params>();
        let mask = Mask::of(schema.as_value());
        let value = Json::parse(br#"{"user":"ann","password":"hunter2","env":{"KEY":"s3cret"}}"#).unwrap();
        assert_eq!(
            mask.apply(&value, &|bytes| format!("d{}", bytes.len())).get(),
            r#"{"env":{"KEY":{"bytes":6,"hmac_sha256":"d6"}},"password":{"bytes":7,"hmac_sha256":"d7"},"user":"ann"}"#
        );
    }
}
