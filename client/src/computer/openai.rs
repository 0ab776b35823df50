//! Tool calls as OpenAI's Responses API has them: items in, an array of the items to append to `input` out.
//!
//! A `computer_call` holds one `action` (the tool `computer_use_preview`) or several `actions` (the tool `computer`), and
//! gets one picture back. A `function_call` is an action of the host.

use llm_os_core::error::excerpt;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::computer::act::{Act, Point};
use crate::computer::desk::{Desk, Done, only_output};
use crate::computer::input::Input;
use crate::computer::limits::Limits;
use crate::computer::parts::{Picture, parts};
use crate::computer::plans::Trouble;
use crate::envelope::Fields;
use crate::exit::Failure;

/// How long the API's `wait` is, which has no parameter.
const WAIT_MS: u64 = 2_000;

/// The names of keys that are held for others in a `keypress`.
const MODIFIERS: [&str; 13] = [
    "alt", "altgr", "cmd", "command", "control", "ctrl", "meta", "opt", "option", "shift", "super", "win",
    "windows",
];

/// An item of a response. What is no call is passed over, whatever else it has.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    call_id: Option<String>,
    status: Option<String>,
    action: Option<Box<RawValue>>,
    actions: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    pending_safety_checks: Option<Vec<Check>>,
    #[serde(default)]
    acknowledged_safety_checks: Option<Vec<Value>>,
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Check {
    id: String,
}

/// A call that can be answered.
enum Call {
    Computer {
        id: String,
        actions: Vec<String>,
        limits: Limits,
        /// What a person has acknowledged, as the caller wrote it.
        acknowledged: Vec<Value>,
    },
    Function {
        id: String,
        name: String,
        arguments: String,
    },
}

/// The error of the API for what is no request that it could answer.
pub(crate) fn malformed(message: &str) -> Value {
    error("invalid_request_error", None, message)
}

fn error(kind: &str, code: Option<&str>, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// Answers one line: an item, an array of items, or a response.
pub(crate) fn answer(line: &str, desk: &mut Desk<'_>) -> Result<Value, Failure> {
    let calls = match calls(line) {
        Ok(calls) => calls,
        Err(error) => return Ok(error),
    };
    let mut items = Vec::new();
    let mut is_halted = false;
    for call in &calls {
        match call {
            Call::Computer { id, actions, limits, acknowledged } => {
                let failed = match is_halted {
                    true => Some("not executed: an earlier computer_call of this response failed".to_owned()),
                    false => run(actions, *limits, desk)?,
                };
                is_halted = failed.is_some();
                let picture = match desk.act("screenshot", &Act::Screenshot, *limits) {
                    Ok(Done::Picture(picture)) => picture,
                    Ok(Done::Text(words)) | Err(Trouble::Told(words)) => {
                        // The API takes no computer_call_output without a picture.
                        let words = match failed {
                            Some(failed) if failed.ends_with(&words) => failed,
                            Some(failed) => format!("{failed}\n{words}"),
                            None => words,
                        };
                        let message =
                            format!("{id} cannot be answered, since there is no screenshot: {words}");
                        let mut error = error("server_error", Some("no_screenshot"), &message);
                        error["items"] = Value::Array(items);
                        return Ok(error);
                    }
                    Err(Trouble::Ends(failure)) => return Err(failure),
                };
                items.push(output(id, &picture, *limits, acknowledged));
                items.extend(failed.map(|failed| message(&failed)));
            }
            Call::Function { id, name, arguments } => items.push(function(id, name, arguments, desk)?),
        }
    }
    Ok(Value::Array(items))
}

/// Runs the actions of one call in order; what went wrong, if anything did.
fn run(actions: &[String], limits: Limits, desk: &mut Desk<'_>) -> Result<Option<String>, Failure> {
    for (index, action) in actions.iter().enumerate() {
        let words = match read(action) {
            // One picture of the end answers the whole call.
            Ok((_, Act::Screenshot)) => continue,
            Ok((name, act)) => match desk.act(&name, &act, limits) {
                Ok(_) => continue,
                Err(Trouble::Told(words)) => words,
                Err(Trouble::Ends(failure)) => return Err(failure),
            },
            Err(words) => words,
        };
        let rest = match actions.len() - index - 1 {
            0 => String::new(),
            1 => "; the action after it was not executed".to_owned(),
            more => format!("; the {more} actions after it were not executed"),
        };
        let place = format!("action {} of {} failed{rest}", index + 1, actions.len());
        return Ok(Some(format!("{place}\n{words}")));
    }
    Ok(None)
}

/// The calls of a line, or the error that answers it. Where one of them cannot be answered, none is done.
fn calls(line: &str) -> Result<Vec<Call>, Value> {
    let shape = "expected a computer_call, a function_call, an array of items, or a response with its output";
    let unread = |e: serde_json::Error| malformed(&format!("the line is no tool call ({e}); {shape}"));
    let line = line.trim_start();
    if line.starts_with('[') {
        return from_items(serde_json::from_str(line).map_err(unread)?);
    }
    let mut fields = Fields::read(line.as_bytes()).map_err(unread)?;
    match (fields.text("type").as_deref(), fields.take("output")) {
        (Some("computer_call" | "function_call"), _) => {
            from_items(vec![serde_json::from_str(line).map_err(unread)?])
        }
        (_, Some(output)) if output.get().starts_with('[') => {
            from_items(serde_json::from_str(output.get()).map_err(unread)?)
        }
        (Some(other), _) => Err(malformed(&format!("the line's type is \"{}\"; {shape}", excerpt(other)))),
        (None, _) => Err(malformed(&format!("the line has neither type nor output; {shape}"))),
    }
}

fn from_items(items: Vec<Item>) -> Result<Vec<Call>, Value> {
    let mut calls = Vec::new();
    for item in items {
        let kind = item.kind.as_str();
        if !matches!(kind, "computer_call" | "function_call") {
            continue;
        }
        let missing = |field: &str| {
            malformed(&format!("a {kind} has no {field}, so it cannot be answered; nothing was done"))
        };
        let id = item.call_id.clone().filter(|id| !id.is_empty()).ok_or_else(|| missing("call_id"))?;
        if item.status.as_deref().is_some_and(|status| status != "completed") {
            let message =
                format!("{id} was cut off (its status is not completed); nothing was done, ask for it again");
            return Err(malformed(&message));
        }
        if kind == "function_call" {
            let name = item.name.ok_or_else(|| missing("name"))?;
            calls.push(Call::Function { id, name, arguments: item.arguments.unwrap_or_default() });
            continue;
        }
        let acknowledged = item.acknowledged_safety_checks.unwrap_or_default();
        let open: Vec<_> = item
            .pending_safety_checks
            .unwrap_or_default()
            .into_iter()
            .map(|check| check.id)
            .filter(|id| !acknowledged.iter().any(|check| check["id"] == json!(id)))
            .collect();
        if !open.is_empty() {
            let open = excerpt(&open.join(", "));
            let message = format!(
                "{id} has safety checks that nobody acknowledged ({open}); nothing was done. Once a person has, send the \
                 line again with them as acknowledged_safety_checks of the computer_call"
            );
            return Err(error("invalid_request_error", Some("safety_checks_pending"), &message));
        }
        let text = |action: Box<RawValue>| action.get().to_owned();
        let (actions, limits) = match (item.actions, item.action) {
            (Some(actions), _) => (actions.into_iter().map(text).collect(), Limits::OPENAI),
            (None, Some(action)) => (vec![text(action)], Limits::PREVIEW),
            (None, None) => return Err(missing("action and no actions")),
        };
        calls.push(Call::Computer { id, actions, limits, acknowledged });
    }
    Ok(calls)
}

/// What one action asks for, and its name.
fn read(action: &str) -> Result<(String, Act), String> {
    let mut input = Input::read("computer_call", action)?;
    let name: String = input.need("type", "the name of an action")?;
    let mut input = input.called(&name);
    let act = match name.as_str() {
        "click" => {
            let button = button(&mut input)?;
            Act::Click { button, count: 1, at: Some(point(&mut input)?), held: held(&mut input)? }
        }
        "double_click" => {
            Act::Click { button: "left", count: 2, at: Some(point(&mut input)?), held: held(&mut input)? }
        }
        "drag" => {
            let points: Vec<PathPoint> = input.need("path", "at least two points {\"x\", \"y\"}")?;
            let path: Vec<Point> = points.into_iter().map(PathPoint::point).collect();
            if path.len() < 2 {
                let found = format!("{} points long", path.len());
                return Err(input.wrong("path", &found, "at least two points {\"x\", \"y\"}"));
            }
            Act::Drag { path, held: held(&mut input)? }
        }
        "keypress" => Act::Press { chords: chords(&input.need::<Vec<String>>("keys", KEYS)?), repeat: 1 },
        "move" => Act::Move { to: point(&mut input)?, held: held(&mut input)? },
        "screenshot" => Act::Screenshot,
        "scroll" => {
            let at = Some(point(&mut input)?);
            let distance = "a distance in pixels, a whole number";
            let by = [input.need("scroll_x", distance)?, input.need("scroll_y", distance)?];
            Act::Scroll { at, by, unit: "pixel", held: held(&mut input)? }
        }
        "type" => Act::Type(input.need("text", "the text to type")?),
        "wait" => Act::Wait { ms: WAIT_MS },
        other => return Err(format!("there is no computer action \"{}\"; nothing was done", excerpt(other))),
    };
    input.done()?;
    Ok((name, act))
}

const KEYS: &str = "names of keys, such as [\"CTRL\", \"S\"]";

/// A point of a path, as an object or as a pair.
#[derive(Deserialize)]
#[serde(untagged)]
enum PathPoint {
    Object { x: i64, y: i64 },
    Pair(Point),
}

impl PathPoint {
    fn point(self) -> Point {
        match self {
            PathPoint::Object { x, y } => [x, y],
            PathPoint::Pair(point) => point,
        }
    }
}

fn point(input: &mut Input) -> Result<Point, String> {
    Ok([input.need("x", "a whole number")?, input.need("y", "a whole number")?])
}

fn button(input: &mut Input) -> Result<&'static str, String> {
    let buttons = "left, right, wheel, back or forward";
    let button: Option<String> = input.get("button", buttons)?;
    match button.as_deref() {
        None | Some("left") => Ok("left"),
        Some("right") => Ok("right"),
        Some("wheel") => Ok("middle"),
        Some("back") => Ok("back"),
        Some("forward") => Ok("forward"),
        Some(other) => Err(input.wrong("button", &format!("\"{other}\""), buttons)),
    }
}

fn held(input: &mut Input) -> Result<Vec<String>, String> {
    Ok(input.get("keys", KEYS)?.unwrap_or_default())
}

/// Keys of one press: those that are held for others, with each of the others in turn.
fn chords(keys: &[String]) -> Vec<String> {
    let is_modifier = |key: &&String| MODIFIERS.contains(&key.to_lowercase().as_str());
    let named = |key: &String| match key.as_str() {
        "+" => "plus".to_owned(),
        " " => "space".to_owned(),
        other => other.to_owned(),
    };
    let (modifiers, others): (Vec<_>, Vec<_>) = keys.iter().partition(is_modifier);
    let modifiers: Vec<_> = modifiers.into_iter().map(named).collect();
    if others.is_empty() {
        return vec![modifiers.join("+")];
    }
    others.into_iter().map(|key| [modifiers.as_slice(), &[named(key)]].concat().join("+")).collect()
}

fn output(id: &str, picture: &Picture, limits: Limits, acknowledged: &[Value]) -> Value {
    let mut screenshot = json!({"type": "computer_screenshot", "image_url": picture.url()});
    if limits == Limits::OPENAI {
        screenshot["detail"] = json!("original");
    }
    let mut output = json!({"type": "computer_call_output", "call_id": id, "output": screenshot});
    if !acknowledged.is_empty() {
        output["acknowledged_safety_checks"] = json!(acknowledged);
    }
    output
}

/// What the output of a computer's call has no field for: that something went wrong.
fn message(failed: &str) -> Value {
    let words = format!("From the program that runs computer calls, not from the user: {failed}");
    json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]})
}

/// Calls an action of the host.
fn function(id: &str, name: &str, arguments: &str, desk: &mut Desk<'_>) -> Result<Value, Failure> {
    let unread = |e: serde_json::Error| Trouble::Told(format!("the arguments are no JSON object ({e})"));
    let answer =
        Fields::read(arguments.as_bytes()).map_err(unread).and_then(|arguments| desk.call(name, arguments));
    let output = match answer {
        Ok(answer) => shown(&answer),
        Err(Trouble::Told(words)) => json!(format!("failed\n{words}")),
        Err(Trouble::Ends(failure)) => return Err(failure),
    };
    Ok(json!({"type": "function_call_output", "call_id": id, "output": output}))
}

/// A string, or where there are pictures the parts that the API has for them.
fn shown(answer: &Answer) -> Value {
    let mut said: Vec<String> = answer.words().map(|words| format!("failed\n{words}")).into_iter().collect();
    let (words, pictures) = only_output(answer).map_or_else(Default::default, |output| parts(output.get()));
    said.extend((!words.is_empty()).then_some(words));
    let words = said.join("\n");
    if pictures.is_empty() {
        return json!(words);
    }
    let image = |picture: &Picture| json!({"type": "input_image", "image_url": picture.url()});
    let text = json!({"type": "input_text", "text": words});
    Value::Array(std::iter::once(text).chain(pictures.iter().map(image)).collect())
}
