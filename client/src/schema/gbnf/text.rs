//! How text is spelled in a grammar, and how characters are spelled in a JSON string.

use serde_json::Value;

/// A literal of the grammar.
pub(super) fn literal(text: &str) -> String {
    format!("\"{}\"", text.chars().map(|c| spelled(c, '"')).collect::<String>())
}

/// A JSON value as a literal of the grammar.
pub(super) fn json_literal(value: &Value) -> String {
    literal(&value.to_string())
}

/// A class of the grammar: the characters of ranges, or all others.
pub(super) fn class(ranges: &[(char, char)], negated: bool) -> String {
    let mut out = if negated { "[^" } else { "[" }.to_owned();
    for (first, last) in ranges {
        let spell = |c| match c {
            '-' | '^' => format!("\\x{:02X}", u32::from(c)),
            c => spelled(c, ']'),
        };
        out.push_str(&spell(*first));
        if first != last {
            out.push('-');
            out.push_str(&spell(*last));
        }
    }
    out + "]"
}

fn spelled(c: char, end: char) -> String {
    match c {
        '\\' => "\\\\".to_owned(),
        '"' if end == '"' => "\\\"".to_owned(),
        '[' | ']' if end == ']' => format!("\\{c}"),
        c if c < ' ' || c == '\x7f' => format!("\\x{:02X}", u32::from(c)),
        c => c.to_string(),
    }
}

/// How a JSON string spells a character that cannot stand there by itself, or that llguidance does not let stand there.
pub(super) fn escape(c: char) -> Option<String> {
    let c = match c {
        '"' | '\\' => c,
        '\x08' => 'b',
        '\x0c' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        c if c < ' ' || c == '\x7f' => return Some(format!("\\u{:04x}", u32::from(c))),
        _ => return None,
    };
    Some(format!("\\{c}"))
}
