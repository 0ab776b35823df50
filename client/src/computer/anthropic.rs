//! Tool use as Anthropic's Messages API has it: blocks in, one `tool_result` for each out.
//!
//! A computer's call is a member of the toolset (`"toolset_name": "computer"`, the action is the `name`), or a call of the
//! tool `computer` of an earlier version (the action is `input.action`). Anything else is an action of the host.

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

/// What the API expects for each action after one that failed, to the letter.
const SKIPPED: &str = "Not executed: an earlier computer action in this turn failed.";

/// A content block. What is no call is passed over, whatever else it has.
#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    name: Option<String>,
    toolset_name: Option<String>,
    input: Option<Box<RawValue>>,
}

/// A call that can be answered.
struct Call {
    id: String,
    name: String,
    toolset: Option<String>,
    input: String,
}

/// The error of the API for what is no request that it could answer.
pub(crate) fn malformed(message: &str) -> Value {
    json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}})
}

/// Answers one line: a block with a block, and a message or its content with the content of the next message.
pub(crate) fn answer(line: &str, desk: &mut Desk<'_>, screenshot_after: bool) -> Result<Value, Failure> {
    let (calls, is_one) = match calls(line) {
        Ok(calls) => calls,
        Err(message) => return Ok(malformed(&message)),
    };
    let mut results = Vec::new();
    let mut is_halted = false;
    let mut last = None;
    for call in &calls {
        let computer = Computer::of(call);
        let content = match &computer {
            Some(_) if is_halted => Err(vec![text(SKIPPED)]),
            Some(computer) => {
                let done = computer.act(call, desk)?;
                is_halted = done.is_err();
                let is_picture =
                    done.as_ref().is_ok_and(|content| content.iter().any(|part| part["type"] == "image"));
                last = (!is_picture).then_some((results.len(), computer.limits()));
                done
            }
            None => host_tool(call, desk)?,
        };
        results.push(result(call, content));
    }
    if let Some((index, limits)) = last.filter(|_| screenshot_after && !is_halted) {
        let picture = match desk.act("screenshot", &Act::Screenshot, limits) {
            Ok(Done::Picture(picture)) => image(&picture),
            Ok(Done::Text(words)) | Err(Trouble::Told(words)) => text(&format!("no screenshot: {words}")),
            Err(Trouble::Ends(failure)) => return Err(failure),
        };
        if let Some(content) = results[index]["content"].as_array_mut() {
            content.push(picture);
        }
    }
    Ok(match results.pop() {
        Some(only) if is_one => only,
        last => Value::Array(results.into_iter().chain(last).collect()),
    })
}

/// The calls of a line, and whether it is a single block.
fn calls(line: &str) -> Result<(Vec<Call>, bool), String> {
    let shape = "expected a tool_use block, an array of content blocks, or a message with such a content";
    let unread = |e: serde_json::Error| format!("the line is no tool use ({e}); {shape}");
    let line = line.trim_start();
    if line.starts_with('[') {
        let blocks: Vec<Block> = serde_json::from_str(line).map_err(unread)?;
        return Ok((from_blocks(blocks)?, false));
    }
    let mut fields = Fields::read(line.as_bytes()).map_err(unread)?;
    match (fields.text("type").as_deref(), fields.take("content")) {
        (Some("tool_use"), _) => {
            let block = serde_json::from_str(line).map_err(unread)?;
            Ok((from_blocks(vec![block])?, true))
        }
        (_, Some(content)) if content.get().starts_with('"') => Ok((Vec::new(), false)),
        (_, Some(content)) => {
            let blocks: Vec<Block> = serde_json::from_str(content.get()).map_err(unread)?;
            let calls = from_blocks(blocks)?;
            if !calls.is_empty() && fields.text("stop_reason").as_deref() == Some("max_tokens") {
                return Err("the message was cut off (stop_reason is max_tokens), and a call of it may be; nothing was done, ask \
                            for it again with a larger max_tokens"
                    .to_owned());
            }
            Ok((calls, false))
        }
        (Some(other), None) => Err(format!("the line's type is \"{}\"; {shape}", excerpt(other))),
        (None, None) => Err(format!("the line has neither type nor content; {shape}")),
    }
}

fn from_blocks(blocks: Vec<Block>) -> Result<Vec<Call>, String> {
    let calls = blocks.into_iter().filter(|block| block.kind == "tool_use").map(|block| {
        let missing = |field: &str| {
            format!("a tool_use block has no {field}, so it cannot be answered; nothing was done")
        };
        Ok(Call {
            id: block.id.filter(|id| !id.is_empty()).ok_or_else(|| missing("id"))?,
            name: block.name.ok_or_else(|| missing("name"))?,
            toolset: block.toolset_name,
            input: block.input.map_or_else(|| "{}".to_owned(), |input| input.get().to_owned()),
        })
    });
    calls.collect()
}

/// Which computer a call is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Computer {
    Toolset,
    /// Every version before the toolset.
    Earlier,
}

impl Computer {
    fn of(call: &Call) -> Option<Self> {
        match (call.toolset.as_deref(), call.name.as_str()) {
            (Some("computer"), _) => Some(Computer::Toolset),
            (None, "computer") => Some(Computer::Earlier),
            (Some(_) | None, _) => None,
        }
    }

    fn limits(self) -> Limits {
        match self {
            Computer::Toolset => Limits::TOOLSET,
            Computer::Earlier => Limits::ANTHROPIC,
        }
    }

    /// The longest that a key is held or that a call waits, in seconds.
    fn longest_s(self) -> f64 {
        match self {
            Computer::Toolset => 300.0,
            Computer::Earlier => 100.0,
        }
    }

    /// Does what a call asks for; the content of its result.
    fn act(self, call: &Call, desk: &mut Desk<'_>) -> Result<Result<Vec<Value>, Vec<Value>>, Failure> {
        let asked = match self {
            Computer::Toolset => Input::read(&call.name, &call.input)
                .and_then(|input| member(&call.name, input, self))
                .map(|act| (call.name.clone(), act)),
            Computer::Earlier => earlier(&call.input),
        };
        let done = match asked {
            Ok((name, act)) => desk.act(&name, &act, self.limits()),
            Err(message) => Err(Trouble::Told(message)),
        };
        match done {
            Ok(Done::Text(words)) => Ok(Ok(vec![text(&words)])),
            Ok(Done::Picture(picture)) => Ok(Ok(vec![image(&picture)])),
            Err(Trouble::Told(words)) => Ok(Err(vec![text(&words)])),
            Err(Trouble::Ends(failure)) => Err(failure),
        }
    }
}

/// What a call of an earlier version asks for: the action's name is one of its parameters.
fn earlier(input: &str) -> Result<(String, Act), String> {
    let mut input = Input::read("computer", input)?;
    let name: String = input.need("action", "the name of an action")?;
    let input = input.called(&name);
    let act = member(&name, input, Computer::Earlier)?;
    Ok((name, act))
}

/// What a member of the toolset is asked for. Earlier versions have the same names and parameters, and fewer of them; but they
/// drag from where the pointer is where no start is given, and hold what `key` names.
fn member(name: &str, mut input: Input, computer: Computer) -> Result<Act, String> {
    let act = match name {
        "screenshot" => Act::Screenshot,
        "zoom" => Act::Zoom(input.need("region", "[x0, y0, x1, y1], four whole numbers")?),
        "left_click" => click("left", 1, &mut input, computer)?,
        "right_click" => click("right", 1, &mut input, computer)?,
        "middle_click" => click("middle", 1, &mut input, computer)?,
        "double_click" => click("left", 2, &mut input, computer)?,
        "triple_click" => click("left", 3, &mut input, computer)?,
        "left_click_drag" => {
            let start: Option<Point> = match computer {
                Computer::Earlier => input.get("start_coordinate", POINT)?,
                Computer::Toolset => Some(input.need("start_coordinate", POINT)?),
            };
            let path = start.into_iter().chain([input.need("coordinate", POINT)?]).collect();
            Act::Drag { path, held: held(&mut input, "text")? }
        }
        "mouse_move" => Act::Move { to: input.need("coordinate", POINT)?, held: Vec::new() },
        "left_mouse_down" => Act::ButtonDown,
        "left_mouse_up" => Act::ButtonUp,
        "cursor_position" => Act::Position,
        "scroll" => scroll(&mut input)?,
        "type" => Act::Type(input.need("text", "the text to type")?),
        "key" => {
            let repeat: u32 = input.get("repeat", TIMES)?.unwrap_or(1);
            if !(1..=100).contains(&repeat) {
                return Err(input.wrong("repeat", &repeat.to_string(), TIMES));
            }
            Act::Press { chords: chords(&input.need::<String>("text", KEYS)?), repeat }
        }
        "hold_key" => {
            Act::Hold { keys: input.need("text", KEYS)?, ms: duration(&mut input, computer.longest_s())? }
        }
        "wait" => Act::Wait { ms: duration(&mut input, computer.longest_s())? },
        other => {
            return Err(format!("there is no computer action \"{}\"; nothing was done", excerpt(other)));
        }
    };
    input.done()?;
    Ok(act)
}

const POINT: &str = "[x, y], two whole numbers";
const KEYS: &str = "keys joined with +, such as ctrl+s";
const TIMES: &str = "a whole number from 1 to 100";

fn click(button: &'static str, count: u8, input: &mut Input, computer: Computer) -> Result<Act, String> {
    let at = input.get("coordinate", POINT)?;
    let mut held = held(input, "text")?;
    if computer == Computer::Earlier && held.is_empty() {
        held = self::held(input, "key")?;
    }
    Ok(Act::Click { button, count, at, held })
}

fn scroll(input: &mut Input) -> Result<Act, String> {
    let at = input.get("coordinate", POINT)?;
    let clicks = "a whole number of clicks, at least 1";
    let amount: i64 = input.need("scroll_amount", clicks)?;
    if amount < 1 {
        return Err(input.wrong("scroll_amount", &amount.to_string(), clicks));
    }
    let directions = "up, down, left or right";
    let direction: String = input.need("scroll_direction", directions)?;
    let by = match direction.as_str() {
        "up" => [0, -amount],
        "down" => [0, amount],
        "left" => [-amount, 0],
        "right" => [amount, 0],
        other => return Err(input.wrong("scroll_direction", &format!("\"{other}\""), directions)),
    };
    Ok(Act::Scroll { at, by, unit: "click", held: held(input, "text")? })
}

/// Keys to hold meanwhile, joined with +.
fn held(input: &mut Input, name: &str) -> Result<Vec<String>, String> {
    let keys: Option<String> = input.get(name, "modifiers joined with +, such as ctrl+shift")?;
    let keys = keys.filter(|keys| !keys.is_empty());
    Ok(keys.map_or_else(Vec::new, |keys| keys.split('+').map(str::to_owned).collect()))
}

/// Seconds, as milliseconds.
fn duration(input: &mut Input, longest_s: f64) -> Result<u64, String> {
    let expected = format!("seconds, from 0 to {longest_s}");
    let seconds: f64 = input.need("duration", &expected)?;
    match std::time::Duration::try_from_secs_f64(seconds) {
        Ok(duration) if seconds <= longest_s => Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        Ok(_) | Err(_) => Err(input.wrong("duration", &seconds.to_string(), &expected)),
    }
}

/// Chords with white space between them are pressed one after another, as xdotool does.
fn chords(text: &str) -> Vec<String> {
    let chords: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    match (chords.is_empty(), text.is_empty()) {
        (false, _) => chords,
        (true, false) => vec!["space".to_owned()],
        (true, true) => vec![String::new()],
    }
}

/// Calls an action of the host; the content of the result.
fn host_tool(call: &Call, desk: &mut Desk<'_>) -> Result<Result<Vec<Value>, Vec<Value>>, Failure> {
    if let Some(toolset) = &call.toolset {
        let words = format!("there is no toolset \"{}\" here; nothing was done", excerpt(toolset));
        return Ok(Err(vec![text(&words)]));
    }
    let unread = |e: serde_json::Error| Trouble::Told(format!("the input is no JSON object ({e})"));
    let answer = Fields::read(call.input.as_bytes())
        .map_err(unread)
        .and_then(|arguments| desk.call(&call.name, arguments));
    match answer {
        Ok(answer) => Ok(shown(&answer)),
        Err(Trouble::Told(words)) => Ok(Err(vec![text(&words)])),
        Err(Trouble::Ends(failure)) => Err(failure),
    }
}

fn shown(answer: &Answer) -> Result<Vec<Value>, Vec<Value>> {
    let mut content: Vec<Value> = answer.words().iter().map(|words| text(words)).collect();
    if let Some(output) = only_output(answer) {
        let (words, pictures) = parts(output.get());
        content.push(text(&words));
        content.extend(pictures.iter().map(image));
    }
    if answer.failed().is_some() { Err(content) } else { Ok(content) }
}

fn result(call: &Call, content: Result<Vec<Value>, Vec<Value>>) -> Value {
    let is_error = content.is_err();
    let content = content.unwrap_or_else(|content| content);
    let mut result = json!({"type": "tool_result", "tool_use_id": call.id, "content": content});
    if let Some(toolset) = &call.toolset {
        result["toolset_name"] = json!(toolset);
    }
    if is_error {
        result["is_error"] = json!(true);
    }
    result
}

fn text(words: &str) -> Value {
    json!({"type": "text", "text": words})
}

fn image(picture: &Picture) -> Value {
    let source = json!({"type": "base64", "media_type": picture.media_type, "data": picture.data});
    json!({"type": "image", "source": source})
}
