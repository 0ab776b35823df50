//! What goes to stdout: for programs JSON, one text a line, its keys in the order they came; for people text.

use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use crate::exit::Failure;
use crate::screen::{Screen, is_hidden};

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// JSON as it came, on one line.
    Json,
    /// JSON, indented.
    Pretty,
    /// Text for people.
    Text,
}

/// Prints an answer of the host: as it came, or what `text` makes of it for people.
pub(crate) fn tell<T: DeserializeOwned>(
    answer: &str,
    form: Form,
    text: impl FnOnce(T) -> Screen,
) -> Result<(), Failure> {
    match form {
        Form::Json => print(answer, false),
        Form::Pretty => print(answer, true),
        Form::Text => {
            let read = serde_json::from_str(answer).map_err(|e| Failure::other_shape("answer", &e))?;
            text(read).print()
        }
    }
}

/// Prints one JSON text as it came. On a terminal, what would act on the terminal or hide is spelled as a JSON
/// escape: the text is still the same JSON.
pub(crate) fn print(json: &str, pretty: bool) -> Result<(), Failure> {
    let mut text = if pretty { indented(json) } else { json.to_owned() };
    text.push('\n');
    print_text(&text)
}

/// Prints lines as they are; on a terminal, what would act on it or hide is spelled as an escape of JSON.
pub(crate) fn print_text(lines: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let text = if stdout.is_terminal() { escaped(lines) } else { lines.to_owned() };
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Stdout)
}

/// Waits until there is something to read, or the end of it. Whoever read stdout and is gone ends the wait: nobody is left
/// to tell what comes.
pub(crate) fn until_readable(source: BorrowedFd<'_>) -> Result<(), Failure> {
    let stdout = std::io::stdout();
    let stdout = stdout.as_fd();
    loop {
        // Of stdout only what is always told: that the other end is closed.
        let mut waiting = [PollFd::new(&source, PollFlags::IN), PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut waiting, None) {
            Err(Errno::INTR) => continue,
            Err(e) => return Err(Failure::Stdout(e.into())),
            Ok(_) if !waiting[1].revents().is_empty() => return Err(Failure::ReaderGone),
            Ok(_) => return Ok(()),
        }
    }
}

/// Waits so long. Whoever read stdout and is gone ends the wait.
pub(crate) fn pause(time: Duration) -> Result<(), Failure> {
    let stdout = std::io::stdout();
    let mut reader = [PollFd::new(&stdout, PollFlags::empty())];
    let time = Timespec::try_from(time).expect("a pause is short");
    match poll(&mut reader, Some(&time)) {
        Ok(0) | Err(Errno::INTR) => Ok(()),
        Ok(_) => Err(Failure::Stdout(ErrorKind::BrokenPipe.into())),
        Err(e) => Err(Failure::Stdout(e.into())),
    }
}

fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hidden(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("writing to a string");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// A JSON text with a line for each value, two spaces a level.
pub(crate) fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let mut chars = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                out.push('"');
                while let Some(c) = chars.next() {
                    out.push(c);
                    match c {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn indenting_keeps_order_and_content() {
        let json = r#"{"z":[1,{"a":"x\"},{:"}],"e":{},"l":[ ],"b":true}"#;
        let expected = "{\n  \"z\": [\n    1,\n    {\n      \"a\": \"x\\\"},{:\"\n    }\n  ],\n  \"e\": {},\n  \"l\": [],\n  \"b\": true\n}";
        assert_eq!(indented(json), expected);
    }

    #[test]
    fn a_terminal_gets_the_same_json_without_hidden_characters() {
        let json = "{\"a\":\"\u{9b}2J\u{202e}\u{7f}\u{e0041}\u{e9}\"}";
        let safe = escaped(json);
        assert!(!safe.chars().any(is_hidden), "{safe:?}");
        assert!(safe.contains('\u{e9}'));
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(&safe), read(json));
    }
}
