//! `llmsh do`: a plan of one action, from words as HTTPie takes them.

use std::path::Path;
use std::time::SystemTime;

use llm_os_core::VERSION;
use llm_os_core::json::write_text;
use llm_os_core::path::spell;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::cli::DoArgs;
use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::frames::one_line;
use crate::screen::say;
use crate::{send, tools};

/// Builds the plan, sends it and prints the answer.
pub(crate) fn run(host: &Host, args: DoArgs, pretty: bool) -> Result<Exit, Failure> {
    let read = |file: &str| std::fs::read_to_string(file);
    let mut params = args.params.iter().map(|word| Param::read(word, read)).collect::<Result<Vec<_>, _>>()?;
    if let Some(twice) =
        params.iter().enumerate().find(|(i, p)| params[..*i].iter().any(|other| other.key == p.key))
    {
        return Err(usage(format!("{} is given twice", twice.1.key)));
    }
    complete_paths(host, &args.action, &mut params)?;
    let ended = send::one(host, &frame(&args, &params), &args.sending, pretty)?;
    let path = ended.error.and_then(|error| error.path);
    let is_wrong = |param: &&Param| path == Some(format!("$.actions[0].params.{}", param.key));
    if let Some(Param { key, value: ParamValue::Text(_) }) = params.iter().find(is_wrong) {
        say(&format!("{key}=... sends a string; {key}:=... sends JSON, such as a number or a list"));
    }
    Ok(ended.exit)
}

fn usage(message: String) -> Failure {
    Failure::Usage(format!("{message}; nothing was sent, see: llmsh help do"))
}

#[derive(Debug, PartialEq)]
struct Param {
    key: String,
    value: ParamValue,
}

#[derive(Debug, PartialEq)]
enum ParamValue {
    Text(String),
    Json(String),
}

impl Param {
    /// Reads `KEY=TEXT`, `KEY:=JSON`, `KEY=@FILE` or `KEY:=@FILE`.
    fn read(word: &str, read: impl Fn(&str) -> std::io::Result<String>) -> Result<Self, Failure> {
        let wanted = || usage(format!("\"{word}\" is not KEY=TEXT, KEY:=JSON, KEY=@FILE or KEY:=@FILE"));
        let (key, value) = word.split_once('=').ok_or_else(wanted)?;
        let (key, is_json) = key.strip_suffix(':').map_or((key, false), |key| (key, true));
        if key.is_empty() {
            return Err(wanted());
        }
        let value = match value.strip_prefix('@') {
            None => value.to_owned(),
            Some(file) => {
                read(file).map_err(|e| usage(format!("{key}: cannot read \"{file}\" as text: {e}")))?
            }
        };
        if is_json && let Err(e) = serde_json::from_str::<IgnoredAny>(&value) {
            return Err(usage(format!("{key}: not JSON ({e}); {key}=... sends a string as it stands")));
        }
        let value = if is_json { ParamValue::Json(value) } else { ParamValue::Text(value) };
        Ok(Self { key: key.to_owned(), value })
    }
}

/// Completes relative paths against the current folder, where the action's schema says that a string is a path.
fn complete_paths(host: &Host, action: &str, params: &mut [Param]) -> Result<(), Failure> {
    let is_relative = |text: &str| !text.is_empty() && !text.starts_with('/') && !text.starts_with("file://");
    let mut relative: Vec<(&str, &mut String)> = params
        .iter_mut()
        .filter_map(|param| match &mut param.value {
            ParamValue::Text(text) if is_relative(text) => Some((param.key.as_str(), text)),
            _ => None,
        })
        .collect();
    if relative.is_empty() {
        return Ok(());
    }
    let schema = match tools::ask(host, &json!({"actions": [action]})) {
        Ok(tools) => tools.into_iter().next().map_or(Value::Null, |action| action.params),
        // The host refuses the plan itself with the same words, and records it.
        Err(Failure::Refused { .. }) => Value::Null,
        Err(other) => return Err(other),
    };
    let folder =
        std::env::current_dir().map_err(|e| usage(format!("the current folder is not there: {e}")))?;
    for (key, text) in &mut relative {
        if is_path(&schema["properties"][*key]) {
            **text = complete(&folder, text);
        }
    }
    Ok(())
}

fn is_path(schema: &Value) -> bool {
    let any_of =
        |name: &str| schema[name].as_array().is_some_and(|alternatives| alternatives.iter().any(is_path));
    schema["format"] == "path" || any_of("anyOf") || any_of("oneOf")
}

/// Leading `.` and `..` are taken off the folder, which has no symlinks in it; a later `..` could step out of one, so
/// it stays for the host to refuse.
fn complete(folder: &Path, relative: &str) -> String {
    let mut folder = folder;
    let mut rest = relative;
    loop {
        let (first, after) = rest.split_once('/').unwrap_or((rest, ""));
        match first {
            "" if rest.is_empty() => break,
            "" | "." => {}
            ".." => folder = folder.parent().unwrap_or(folder),
            _ => break,
        }
        rest = after;
    }
    let whole = if rest.is_empty() { folder.to_path_buf() } else { folder.join(rest) };
    spell(whole.as_os_str().as_encoded_bytes())
}

fn frame(args: &DoArgs, params: &[Param]) -> Vec<u8> {
    let mut out = String::new();
    let text = |out: &mut String, before: &str, value: Option<&str>| {
        if let Some(value) = value {
            out.push_str(before);
            write_text(value, out);
        }
    };
    let id = args.request_id.clone().unwrap_or_else(request_id);
    text(&mut out, "{\"request_id\":", Some(&id));
    text(&mut out, ",\"session_id\":", args.session.as_deref());
    text(&mut out, ",\"version\":", Some(VERSION));
    text(&mut out, ",\"mode\":\"execute\",\"actions\":[{\"action\":", Some(&args.action));
    out.push_str(",\"params\":{");
    for (index, param) in params.iter().enumerate() {
        text(&mut out, if index == 0 { "" } else { "," }, Some(&param.key));
        match &param.value {
            ParamValue::Text(value) => text(&mut out, ":", Some(value)),
            ParamValue::Json(value) => out.extend([":", value]),
        }
    }
    text(&mut out, "},\"reason\":", Some(&args.reason));
    text(&mut out, ",\"danger\":", args.danger.as_deref());
    text(&mut out, ",\"recovery\":", args.recovery.as_deref());
    out.push_str("}]}");
    one_line(out.into_bytes())
}

fn request_id() -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros());
    format!("llmsh-{}-{now:x}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str) -> Result<Param, Failure> {
        Param::read(word, |file| match file {
            "there" => Ok("[1,\n2]".to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        })
    }

    #[test]
    fn words_become_params_as_in_httpie() {
        let text =
            |key: &str, value: &str| Param { key: key.to_owned(), value: ParamValue::Text(value.to_owned()) };
        let json =
            |key: &str, value: &str| Param { key: key.to_owned(), value: ParamValue::Json(value.to_owned()) };
        assert_eq!(read("a=b=c:=d").unwrap(), text("a", "b=c:=d"));
        assert_eq!(read("a=").unwrap(), text("a", ""));
        assert_eq!(read("a:=[1]").unwrap(), json("a", "[1]"));
        assert_eq!(read("a=@there").unwrap(), text("a", "[1,\n2]"));
        assert_eq!(read("a:=@there").unwrap(), json("a", "[1,\n2]"));
        for wrong in ["a", "=b", ":=1", "a:=b", "a:=1 2", "a=@gone"] {
            assert_eq!(read(wrong).unwrap_err().exit(), Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn relative_paths_are_completed_without_guessing_through_symlinks() {
        let check =
            |relative: &str, expected: &str| assert_eq!(complete(Path::new("/home/ann"), relative), expected);
        check("a/b", "/home/ann/a/b");
        check(".", "/home/ann");
        check("./a/./b", "/home/ann/a/./b");
        check("../bob/.//x", "/home/bob/.//x");
        check("../../../..", "/");
        check("a/../b", "/home/ann/a/../b");
    }

    #[test]
    fn a_path_is_found_behind_an_option() {
        assert!(is_path(&json!({"type": "string", "format": "path"})));
        assert!(is_path(&json!({"anyOf": [{"type": "string", "format": "path"}, {"type": "null"}]})));
        assert!(!is_path(&json!({"type": "array", "items": {"format": "path"}})));
    }
}
