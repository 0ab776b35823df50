//! What of a plan is not what it looks like.

use std::collections::BTreeSet;

use llm_os_core::json::Json;

use crate::held::page::{Look, Page};
use crate::screen::{is_hidden, plain, quoted};

/// How many different characters beyond ASCII are named for one string.
const NAMED: usize = 16;

/// Warns of every string that holds more than printable ASCII, tabs and line feeds: what a screen would show of it
/// is not what it is.
pub(super) fn beyond_ascii(json: &str, page: &mut Page) -> Result<(), String> {
    let value = Json::parse(json.as_bytes()).map_err(|e| format!("the plan is not strict JSON: {e}"))?;
    let mut found = Vec::new();
    strings(&value, "$".to_owned(), &mut found);
    for (path, text) in found {
        let strange: BTreeSet<char> =
            text.chars().filter(|c| !matches!(c, ' '..='~' | '\n' | '\t')).collect();
        if strange.is_empty() {
            continue;
        }
        let named: Vec<_> =
            strange.iter().take(NAMED).map(|&c| format!("{} ({})", c.escape_unicode(), sort(c))).collect();
        let more = strange.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names = named.join(", ");
        page.line(
            2,
            Look::Attention,
            &format!("ATTENTION: {} is not plain ASCII: {names}{more}", plain(&path)),
        );
        page.line(4, Look::Foreign, &quoted(text));
    }
    Ok(())
}

fn sort(c: char) -> &'static str {
    match c {
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "turns text around"
        }
        c if c.is_control() => "control character",
        c if is_hidden(c) => "invisible",
        c if c.is_alphanumeric() => "may look like an ASCII letter",
        _ => "not ASCII",
    }
}

/// Every string of a value with its path; the name of a field counts as a string at that field.
fn strings<'a>(value: &'a Json, path: String, found: &mut Vec<(String, &'a str)>) {
    match value {
        Json::Text(text) => found.push((path, text)),
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                strings(item, format!("{path}[{index}]"), found);
            }
        }
        Json::Object(fields) => {
            for (key, item) in fields {
                let path = format!("{path}.{key}");
                found.push((path.clone(), key));
                strings(item, path, found);
            }
        }
        Json::Bool(_) | Json::Int(_) | Json::Float(_) => {}
    }
}
