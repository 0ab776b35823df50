//! What a model wrote must not drive the terminal that it is shown on.

/// The characters of a line about a call or its result.
const LINE: usize = 200;

/// The text with everything escaped that is not printed as itself, but ends of lines and tabs.
pub(crate) fn printable(text: &str) -> String {
    let as_it_is = |c: char| matches!(c, ' '..='~' | '\n' | '\t');
    text.chars().flat_map(|c| if as_it_is(c) { vec![c] } else { c.escape_debug().collect() }).collect()
}

/// Says something to the person, whole.
pub(crate) fn say(text: &str) {
    eprintln!("{}", printable(text));
}

/// Says something to the person in one line.
pub(crate) fn say_line(text: &str) {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LINE) {
        Some((end, _)) => say(&format!("{}...", &line[..end])),
        None => say(&line),
    }
}
