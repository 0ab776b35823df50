//! Changes to an envelope that leave every other byte of it as it was.

use std::fmt;

use llm_os_core::Secret;
use llm_os_core::json::write_text;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of a JSON object in the order they stand, each value as its exact text.
#[derive(Debug)]
pub(crate) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// Reads an object.
    pub(crate) fn read(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The exact text of a field's value.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Takes the first field of this name out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let index = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(index).1)
    }

    /// The names, in the order they stand.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// The fields that are not null.
    pub(crate) fn without_null(mut self) -> Self {
        self.0.retain(|(_, value)| value.get() != "null");
        self
    }

    /// The string that a field holds.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// How many fields there are, one that stands twice counted twice.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Changes each value, a JSON text into another, or drops the field.
    pub(crate) fn retain_changed(&mut self, mut change: impl FnMut(&str, &str) -> Option<String>) {
        self.0.retain_mut(|(key, value)| {
            let changed = change(key, value.get()).map(raw);
            let kept = changed.is_some();
            *value = changed.unwrap_or_default();
            kept
        });
    }

    /// Puts a field with another name and a string into the place of a field.
    pub(crate) fn replace(&mut self, name: &str, other: &str, text: &str) {
        let mut value = String::new();
        write_text(text, &mut value);
        for (key, old) in self.0.iter_mut().filter(|(key, _)| key == name) {
            (*key, *old) = (other.to_owned(), raw(value.clone()));
        }
    }

    /// Changes each value, a JSON text into another.
    pub(crate) fn map<E>(&mut self, mut change: impl FnMut(&str) -> Result<String, E>) -> Result<(), E> {
        for (_, value) in &mut self.0 {
            *value = raw(change(value.get())?);
        }
        Ok(())
    }

    /// The fields whose names are wanted, and the others, each in the order they stand.
    pub(crate) fn split(self, wanted: impl Fn(&str) -> bool) -> (Self, Self) {
        let (wanted, others) = self.0.into_iter().partition(|(key, _)| wanted(key));
        (Self(wanted), Self(others))
    }

    pub(crate) fn write(&self) -> String {
        let mut out = String::new();
        let mut separator = '{';
        for (key, value) in &self.0 {
            out.push(std::mem::replace(&mut separator, ','));
            write_text(key, &mut out);
            out.push(':');
            out.push_str(value.get());
        }
        out.push_str(if self.0.is_empty() { "{}" } else { "}" });
        out
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }
        reader.deserialize_map(InOrder)
    }
}

impl FromIterator<(String, Box<RawValue>)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, Box<RawValue>)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).expect("written as JSON here")
}

/// The request with every `mode` it states turned into `plan_only`; one that states none stays as wrong as it was.
pub(crate) fn plan_only(frame: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut fields = Fields::read(frame)?;
    for (_, value) in fields.0.iter_mut().filter(|(key, _)| key == "mode") {
        *value = raw("\"plan_only\"".to_owned());
    }
    Ok(fields.write().into_bytes())
}

/// The request with this token in the place of any other.
pub(crate) fn confirmed(frame: &[u8], token: &Secret) -> Result<Vec<u8>, serde_json::Error> {
    let mut fields = Fields::read(frame)?;
    fields.0.retain(|(key, _)| key != "confirmation");
    let mut confirmation = "{\"token\":".to_owned();
    write_text(token.expose(), &mut confirmation);
    confirmation.push('}');
    fields.0.push(("confirmation".to_owned(), raw(confirmation)));
    Ok(fields.write().into_bytes())
}

/// The request with the secret of its session, unless it states a confirmation of its own or is no request at all.
pub(crate) fn with_session_secret(frame: &[u8], secret: &Secret) -> Option<Vec<u8>> {
    let mut fields = Fields::read(frame).ok().filter(|fields| fields.get("confirmation").is_none())?;
    let mut confirmation = "{\"session_secret\":".to_owned();
    write_text(secret.expose(), &mut confirmation);
    confirmation.push('}');
    fields.0.push(("confirmation".to_owned(), raw(confirmation)));
    Some(fields.write().into_bytes())
}

/// The session that a request names.
pub(crate) fn session(frame: &[u8]) -> Option<String> {
    Fields::read(frame).ok()?.text("session_id")
}

/// The answer without its `meta` and without the `meta` of each output.
pub(crate) fn without_meta(line: &str) -> Result<String, serde_json::Error> {
    let mut answer = Fields::read(line.as_bytes())?;
    answer.0.retain(|(key, _)| key != "meta");
    for (_, results) in answer.0.iter_mut().filter(|(key, _)| key == "results") {
        let stable = serde_json::from_str::<Vec<Fields>>(results.get())?.into_iter().map(|mut result| {
            for (_, output) in result.0.iter_mut().filter(|(key, _)| key == "output") {
                // An output need not be an object; what is none has no `meta`.
                if let Ok(mut fields) = Fields::read(output.get().as_bytes()) {
                    fields.0.retain(|(key, _)| key != "meta");
                    *output = raw(fields.write());
                }
            }
            result.write()
        });
        *results = raw(format!("[{}]", stable.collect::<Vec<_>>().join(",")));
    }
    Ok(answer.write())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Result<Vec<u8>, serde_json::Error>) -> String {
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    #[test]
    fn a_dry_run_changes_the_mode_and_nothing_else() {
        let frame = br#"{"z": 1.50, "mode":"execute","a":{"mode":"execute"}}"#;
        assert_eq!(text(plan_only(frame)), r#"{"z":1.50,"mode":"plan_only","a":{"mode":"execute"}}"#);
    }

    #[test]
    fn no_spelling_of_mode_escapes_a_dry_run() {
        let frame = br#"{"mode":"plan_only","m\u006fde":"execute"}"#;
        assert_eq!(text(plan_only(frame)), r#"{"mode":"plan_only","mode":"plan_only"}"#);
        assert!(plan_only(b"[\"mode\"]").is_err());
    }

    #[test]
    fn a_token_takes_the_place_of_another() {
        let frame = br#"{"confirmation":{"token":"old"},"mode":"execute"}"#;
        let expected = r#"{"mode":"execute","confirmation":{"token":"n\"ew"}}"#;
        assert_eq!(text(confirmed(frame, &Secret::new("n\"ew"))), expected);
    }

    #[test]
    fn a_stable_answer_keeps_the_order_of_keys_and_has_no_meta() {
        let line = r#"{"z":1,"results":[{"output":{"meta":{"us":3},"b":{"meta":1},"a":2}},{"output":"x"}],"meta":{"us":1}}"#;
        let expected = r#"{"z":1,"results":[{"output":{"b":{"meta":1},"a":2}},{"output":"x"}]}"#;
        assert_eq!(without_meta(line).unwrap(), expected);
    }
}
