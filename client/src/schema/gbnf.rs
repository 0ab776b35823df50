//! A schema as a grammar of llama.cpp (GBNF): exactly the texts that the schema accepts, in one spelling.
//!
//! The grammar writes one line, so that what is decoded is a frame: there is no white space but at most one space after a
//! comma or colon. Fields stand in the order of the schema. What JSON Schema says of values and a grammar cannot of
//! text is left to the host, and that is all that is left to it:
//!
//! - upper lengths of [`COUNTLESS`] or more, since llama.cpp refuses to count that far;
//! - that a map names each key once.

mod integer;
mod pattern;
mod text;

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::absent::{branches, is_required};
use super::keywords::{self, COUNTLESS, IN_GRAMMARS, Unsupported};
use integer::integers;
use text::{json_literal, literal};

/// The rules that others are made of.
const BASE: [(&str, &str); 9] = [
    ("sp", "\" \"?"),
    ("hex", "[0-9a-fA-F]"),
    ("char", r#"[^"\\\x00-\x1F\x7F] | "\\" ( ["\\/bfnrt] | "u" unit )"#),
    // A lone surrogate is no character.
    (
        "unit",
        r#"[0-9a-cA-CefEF] hex hex hex | [dD] [0-7] hex hex | [dD] [89abAB] hex hex "\\u" [dD] [c-fC-F] hex hex"#,
    ),
    ("string", r#""\"" char* "\"""#),
    ("number", r#""-"? ( "0" | [1-9] [0-9]* ) ( "." [0-9]+ )? ( [eE] [-+]? [0-9]+ )?"#),
    // The wire knows no null.
    ("value", r#"string | number | "true" | "false" | list | map"#),
    ("list", r#""[" ( value ( "," sp value )* )? "]""#),
    ("map", r#""{" ( string ":" sp value ( "," sp string ":" sp value )* )? "}""#),
];

/// The grammar of what a schema accepts.
///
/// # Errors
///
/// A keyword, a pattern or a shape that has no form: nothing is accepted that the schema refuses.
pub(super) fn grammar(schema: &Value) -> Result<String, Unsupported> {
    let mut grammar = Grammar::default();
    let whole = grammar.of(schema, "whole")?;
    let rules = grammar.rules.iter().map(|(name, body)| (name.as_str(), body.as_str()));
    let rules = std::iter::once(("root", whole.as_str())).chain(rules).chain(BASE);
    Ok(rules.map(|(name, body)| format!("{name} ::= {body}\n")).collect())
}

/// The rules of a grammar in the making. Equal rules are one.
#[derive(Default)]
struct Grammar {
    rules: Vec<(String, String)>,
    by_body: HashMap<String, String>,
}

impl Grammar {
    /// A rule of that name, or of another with the same body.
    fn rule(&mut self, wish: &str, body: String) -> String {
        if let Some(name) = self.by_body.get(&body) {
            return name.clone();
        }
        let plain: String = wish.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let is_taken = |name: &str| {
            self.rules.iter().any(|(taken, _)| taken == name) || BASE.iter().any(|(taken, _)| *taken == name)
        };
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let name =
            std::iter::once(plain.clone()).chain(numbered).find(|name| !is_taken(name)).expect("endless");
        self.by_body.insert(body.clone(), name.clone());
        self.rules.push((name.clone(), body));
        name
    }

    /// An expression for what a schema accepts, which can stand in a sequence.
    fn of(&mut self, schema: &Value, name: &str) -> Result<String, Unsupported> {
        if schema == &json!(true) {
            return Ok("value".to_owned());
        }
        let keywords = keywords::of(schema, &IN_GRAMMARS)?;
        if let Some(branches) = branches(schema) {
            return self.either(keywords, branches, name);
        }
        if let Some(constant) = keywords.get("const") {
            alone(keywords, &["const", "type"])?;
            return Ok(json_literal(constant));
        }
        if let Some(values) = keywords.get("enum").and_then(Value::as_array) {
            alone(keywords, &["enum", "type"])?;
            let values: Vec<_> = values.iter().map(json_literal).collect();
            return Ok(self.alternatives(&values, name));
        }
        match &schema["type"] {
            Value::Null if schema["properties"].is_null() => self.untyped(keywords),
            Value::Null => self.object(schema, name),
            Value::Array(types) => {
                let each = types.iter().map(|one| {
                    let mut typed = schema.clone();
                    typed["type"] = one.clone();
                    self.of(&typed, name)
                });
                let each = each.collect::<Result<Vec<_>, _>>()?;
                Ok(self.alternatives(&each, name))
            }
            one => match one.as_str().unwrap_or_default() {
                "object" => self.object(schema, name),
                "array" => self.array(schema, name),
                "string" => self.string(schema, name),
                "integer" => Ok(self.rule("integer", integers(schema)?)),
                "number" if !keywords.contains_key("minimum") && !keywords.contains_key("maximum") => {
                    Ok("number".to_owned())
                }
                "boolean" => Ok("( \"true\" | \"false\" )".to_owned()),
                "null" => Ok(literal("null")),
                other => Err(Unsupported::shape(format!(
                    "values of type \"{other}\" with bounds have no form here"
                ))),
            },
        }
    }

    fn untyped(&self, keywords: &Map<String, Value>) -> Result<String, Unsupported> {
        match keywords.keys().find(|name| IN_GRAMMARS.contains(&name.as_str())) {
            Some(name) => Err(Unsupported::shape(format!("\"{name}\" without a type has no form here"))),
            None => Ok("value".to_owned()),
        }
    }

    fn either(
        &mut self,
        keywords: &Map<String, Value>,
        branches: &[Value],
        name: &str,
    ) -> Result<String, Unsupported> {
        alone(keywords, &["anyOf", "oneOf", "type"])?;
        let mut each = Vec::new();
        for (index, branch) in branches.iter().enumerate() {
            let wish = called(branch).map_or_else(|| format!("{name}-{index}"), str::to_owned);
            each.push(self.of(branch, &wish).map_err(|e| e.within(&format!("[{wish}]")))?);
        }
        Ok(self.alternatives(&each, name))
    }

    fn alternatives(&mut self, each: &[String], name: &str) -> String {
        match each {
            [only] => only.clone(),
            several => self.rule(name, several.join(" | ")),
        }
    }

    fn object(&mut self, schema: &Value, name: &str) -> Result<String, Unsupported> {
        // For each field how it is written and whether it must be there.
        let mut fields = Vec::new();
        for (field, inner) in schema["properties"].as_object().into_iter().flatten() {
            let value =
                self.of(inner, &format!("{name}-{field}")).map_err(|e| e.within(&format!(".{field}")))?;
            let key = literal(&format!("{}:", Value::from(field.as_str())));
            fields.push((format!("{key} sp {value}"), is_required(schema, field)));
        }
        let named =
            |field: &Value| field.as_str().is_some_and(|field| schema["properties"].get(field).is_some());
        if !schema["required"].as_array().is_none_or(|required| required.iter().all(named)) {
            return Err(Unsupported::shape("it requires a field that it does not name"));
        }
        let others = schema.get("additionalProperties").unwrap_or(&Value::Bool(true));
        if others != &json!(false) {
            let value = self.of(others, &format!("{name}-value")).map_err(|e| e.within(".*"))?;
            let entry = self.rule(&format!("{name}-entry"), format!("string \":\" sp {value}"));
            fields.push((format!("{entry} ( \",\" sp {entry} )*"), false));
        }
        Ok(self.rule(name, enclosed(["{", "}"], &listed(&fields))))
    }

    fn array(&mut self, schema: &Value, name: &str) -> Result<String, Unsupported> {
        let first = schema["prefixItems"].as_array().map_or(&[][..], Vec::as_slice);
        let least = schema["minItems"].as_u64().unwrap_or(0);
        let most = schema["maxItems"].as_u64();
        if least < first.len() as u64 {
            return Err(Unsupported::shape("its first elements may be missing"));
        }
        let mut parts = Vec::new();
        for (index, item) in first.iter().enumerate() {
            let item =
                self.of(item, &format!("{name}-{index}")).map_err(|e| e.within(&format!("[{index}]")))?;
            parts.push(if index == 0 { item } else { format!("\",\" sp {item}") });
        }
        let before = first.len() as u64;
        let (least, most) = (least - before, most.map(|most| most.saturating_sub(before)));
        let items = schema.get("items").unwrap_or(&Value::Bool(true));
        if items != &json!(false) && most != Some(0) {
            let item = self.of(items, &format!("{name}-item")).map_err(|e| e.within("[]"))?;
            let more = self.rule(&format!("{name}-more"), format!("\",\" sp {item}"));
            parts.push(if before > 0 {
                times(&more, least, most)?
            } else {
                let list =
                    format!("{item} {}", times(&more, least.saturating_sub(1), most.map(|most| most - 1))?);
                if least == 0 { format!("( {list} )?") } else { list }
            });
        }
        Ok(self.rule(name, enclosed(["[", "]"], &parts.join(" "))))
    }

    fn string(&mut self, schema: &Value, name: &str) -> Result<String, Unsupported> {
        if let Some(pattern) = schema["pattern"].as_str() {
            let kind = schema["format"].as_str().unwrap_or(name);
            return self.pattern(pattern, schema, kind);
        }
        let (least, most) = (schema["minLength"].as_u64().unwrap_or(0), schema["maxLength"].as_u64());
        match times("char", least, most)?.as_str() {
            "char*" => Ok("string".to_owned()),
            chars => Ok(self.rule("string", format!("\"\\\"\" {chars} \"\\\"\""))),
        }
    }
}

/// Refuses what would narrow beside the values or alternatives that a schema lists.
fn alone(keywords: &Map<String, Value>, listing: &[&str]) -> Result<(), Unsupported> {
    let narrows = |key: &&String| IN_GRAMMARS.contains(&key.as_str()) && !listing.contains(&key.as_str());
    match keywords.keys().find(narrows) {
        Some(beside) => {
            Err(Unsupported::shape(format!("\"{beside}\" beside \"{}\" has no form here", listing[0])))
        }
        None => Ok(()),
    }
}

fn enclosed([open, close]: [&str; 2], inside: &str) -> String {
    let inside = if inside.is_empty() { String::new() } else { format!("{inside} ") };
    format!("\"{open}\" {inside}\"{close}\"")
}

/// The name that a branch is told by: its constant field.
fn called(branch: &Value) -> Option<&str> {
    let mut properties = branch["properties"].as_object()?.values();
    properties.next().and_then(|first| first["const"].as_str())
}

/// Fields in their order, those that may be missing with their commas.
fn listed(fields: &[(String, bool)]) -> String {
    let Some(pivot) = fields.iter().position(|(_, required)| *required) else {
        // Whichever comes first has no comma.
        let starts = (0..fields.len()).map(|start| {
            let rest = fields[start + 1..].iter().map(|(field, _)| format!(" ( \",\" sp {field} )?"));
            format!("{}{}", fields[start].0, rest.collect::<String>())
        });
        let starts: Vec<_> = starts.collect();
        return if starts.is_empty() { String::new() } else { format!("( {} )?", starts.join(" | ")) };
    };
    let parts =
        fields.iter().enumerate().map(|(index, (field, required))| match (index.cmp(&pivot), required) {
            (std::cmp::Ordering::Less, _) => format!("( {field} \",\" sp )?"),
            (std::cmp::Ordering::Equal, _) => field.clone(),
            (std::cmp::Ordering::Greater, true) => format!("\",\" sp {field}"),
            (std::cmp::Ordering::Greater, false) => format!("( \",\" sp {field} )?"),
        });
    parts.collect::<Vec<_>>().join(" ")
}

/// An expression from `least` to `most` times.
fn times(what: &str, least: u64, most: Option<u64>) -> Result<String, Unsupported> {
    if least >= COUNTLESS {
        return Err(Unsupported::shape(format!("at least {least} cannot be counted in this grammar")));
    }
    Ok(match (least, most.filter(|most| *most < COUNTLESS)) {
        (0, None) => format!("{what}*"),
        (1, None) => format!("{what}+"),
        (least, None) => format!("{what}{{{least},}}"),
        (0, Some(1)) => format!("{what}?"),
        (1, Some(1)) => what.to_owned(),
        (_, Some(0)) => String::new(),
        (least, Some(most)) if least == most => format!("{what}{{{least}}}"),
        (least, Some(most)) => format!("{what}{{{least},{most}}}"),
    })
}
