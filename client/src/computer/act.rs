//! What a model can ask of a computer, whichever API it speaks, and the actions of a plan that do it.
//!
//! The names of the host's actions stand here as data. A host that lacks one says so itself.

use serde_json::{Value, json};

use llm_os_core::error::excerpt;

/// A pixel of the last picture.
pub(crate) type Point = [i64; 2];

/// The longest that the host waits, or holds a key, in one action.
const LONGEST_MS: u64 = 60_000;

/// The longest text that the host types in one action, in characters.
const LONGEST_TEXT: usize = 10_000;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    Screenshot,
    /// A part of the screen at full resolution: its left, upper, right and lower edge.
    Zoom([i64; 4]),
    /// Where the pointer is, if no point is given.
    Click {
        button: &'static str,
        count: u8,
        at: Option<Point>,
        held: Vec<String>,
    },
    /// From where the pointer is, if the path has one point only.
    Drag {
        path: Vec<Point>,
        held: Vec<String>,
    },
    Move {
        to: Point,
        held: Vec<String>,
    },
    ButtonDown,
    ButtonUp,
    Position,
    /// To the right and down, in what `unit` says.
    Scroll {
        at: Option<Point>,
        by: [i64; 2],
        unit: &'static str,
        held: Vec<String>,
    },
    Type(String),
    /// Chords one after another, each this often.
    Press {
        chords: Vec<String>,
        repeat: u32,
    },
    Hold {
        keys: String,
        ms: u64,
    },
    Wait {
        ms: u64,
    },
}

/// One action of a plan, without its reason.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) action: &'static str,
    pub(crate) params: Value,
}

impl Step {
    pub(crate) fn new(action: &'static str, params: Value) -> Self {
        Self { action, params }
    }

    /// The action as it stands in a plan.
    pub(crate) fn write(&self, reason: &str) -> String {
        json!({"action": self.action, "params": self.params, "reason": reason}).to_string()
    }
}

impl Act {
    /// Where in the picture it goes.
    pub(crate) fn points(&self) -> &[Point] {
        match self {
            Act::Click { at, .. } | Act::Scroll { at, .. } => at.as_slice(),
            Act::Move { to, .. } => std::slice::from_ref(to),
            Act::Drag { path, .. } => path,
            Act::Screenshot
            | Act::Zoom(_)
            | Act::ButtonDown
            | Act::ButtonUp
            | Act::Position
            | Act::Type(_)
            | Act::Press { .. }
            | Act::Hold { .. }
            | Act::Wait { .. } => &[],
        }
    }

    /// The actions that do it, for a picture with this `space`. What a picture or a position has to be asked for is the
    /// desk's to do.
    pub(crate) fn steps(&self, space: &Value) -> Vec<Step> {
        let placed = |at: &Option<Point>, mut params: Value| {
            if let Some([x, y]) = at {
                (params["x"], params["y"], params["space"]) = (json!(x), json!(y), space.clone());
            }
            params
        };
        let holding = |held: &Vec<String>, mut params: Value| {
            if !held.is_empty() {
                params["modifiers"] = json!(held);
            }
            params
        };
        match self {
            Act::Screenshot | Act::Zoom(_) => Vec::new(),
            Act::Click { button, count, at, held } => {
                let mut params = json!({"button": button});
                if *count > 1 {
                    params["count"] = json!(count);
                }
                vec![Step::new("mouse.click", holding(held, placed(at, params)))]
            }
            Act::Drag { path, held } => {
                vec![Step::new("mouse.drag", holding(held, json!({"path": path, "space": space})))]
            }
            Act::Move { to, held } => {
                let moved = Step::new("mouse.move", placed(&Some(*to), json!({})));
                if held.is_empty() {
                    return vec![moved];
                }
                let keys = json!({"keys": held.join("+")});
                vec![Step::new("keyboard.down", keys.clone()), moved, Step::new("keyboard.up", keys)]
            }
            Act::ButtonDown => vec![Step::new("mouse.down", json!({"button": "left"}))],
            Act::ButtonUp => vec![Step::new("mouse.up", json!({"button": "left"}))],
            Act::Position => vec![Step::new("mouse.position", json!({}))],
            Act::Scroll { at, by: [dx, dy], unit, held } => {
                let mut params = json!({"dx": dx, "dy": dy});
                if *unit != "click" {
                    params["unit"] = json!(unit);
                }
                vec![Step::new("mouse.scroll", holding(held, placed(at, params)))]
            }
            Act::Type(text) => in_parts(text).map(typed).collect(),
            Act::Press { chords, repeat } => {
                let press = |chord: &String| {
                    let mut params = json!({"keys": chord});
                    if *repeat > 1 {
                        params["repeat"] = json!(repeat);
                    }
                    Step::new("keyboard.press", params)
                };
                chords.iter().map(press).collect()
            }
            Act::Hold { keys, ms } => {
                let hold = |ms| Step::new("keyboard.hold", json!({"keys": keys, "duration_ms": ms}));
                spans(*ms).map(hold).collect()
            }
            // That nothing is drawn for as long as it waits at most: it ends when that time is over.
            Act::Wait { ms } => spans(*ms).map(|ms| settle(ms, ms)).collect(),
        }
    }

    /// What a human should read of it beside its name. What is typed is nobody's to read.
    pub(crate) fn told(&self) -> String {
        let at = |at: &Option<Point>| match at {
            Some([x, y]) => format!(" at ({x}, {y})"),
            None => " where the pointer is".to_owned(),
        };
        let holding = |held: &[String]| match held {
            [] => String::new(),
            keys => format!(" with {}", excerpt(&keys.join("+"))),
        };
        match self {
            Act::Screenshot | Act::ButtonDown | Act::ButtonUp | Act::Position => String::new(),
            Act::Zoom([left, upper, right, lower]) => {
                format!(" from ({left}, {upper}) to ({right}, {lower})")
            }
            Act::Click { at: point, held, .. } => at(point) + &holding(held),
            Act::Drag { path, held } => {
                let ends = match path.as_slice() {
                    [[x, y], .., [to_x, to_y]] => format!(" from ({x}, {y}) to ({to_x}, {to_y})"),
                    [[x, y]] => format!(" to ({x}, {y})"),
                    [] => String::new(),
                };
                ends + &holding(held)
            }
            Act::Move { to, held } => at(&Some(*to)) + &holding(held),
            Act::Scroll { at: point, by: [dx, dy], unit, held } => {
                format!(" by ({dx}, {dy}) {unit}s{}{}", at(point), holding(held))
            }
            Act::Type(text) => format!(" {} characters", text.chars().count()),
            Act::Press { chords, repeat } => {
                let times = if *repeat > 1 { format!(", {repeat} times") } else { String::new() };
                format!(" {}{times}", excerpt(&chords.join(" ")))
            }
            Act::Hold { keys, ms } => format!(" {} for {ms} ms", excerpt(keys)),
            Act::Wait { ms } => format!(" {ms} ms"),
        }
    }
}

/// Waits until nothing was drawn for a time, at most for another.
pub(crate) fn settle(quiet_ms: u64, timeout_ms: u64) -> Step {
    let params = json!({"until": "settled", "quiet_ms": quiet_ms, "timeout_ms": timeout_ms});
    Step::new("monitor.wait", params)
}

fn typed(text: &str) -> Step {
    let controls: Vec<_> = [('\n', "newline"), ('\t', "tab")]
        .into_iter()
        .filter(|(character, _)| text.contains(*character))
        .map(|(_, name)| name)
        .collect();
    let mut params = json!({"text": text});
    if !controls.is_empty() {
        params["controls"] = json!(controls);
    }
    Step::new("keyboard.type", params)
}

/// A text in pieces that the host types; the empty one is a piece, for the host to refuse.
fn in_parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.char_indices().nth(LONGEST_TEXT).map_or(text.len(), |(index, _)| index);
        rest = (end < text.len()).then(|| &text[end..]);
        Some(&text[..end])
    })
}

/// A time in spans that the host waits.
fn spans(ms: u64) -> impl Iterator<Item = u64> {
    let ms = ms.max(1);
    (0..ms)
        .step_by(usize::try_from(LONGEST_MS).unwrap_or(usize::MAX))
        .map(move |start| (ms - start).min(LONGEST_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(act: &Act) -> Vec<Value> {
        act.steps(&json!(null)).into_iter().map(|step| step.params).collect()
    }

    #[test]
    fn what_is_too_long_for_one_action_is_several() {
        let waits: Vec<_> =
            params(&Act::Wait { ms: 125_000 }).iter().map(|p| p["timeout_ms"].clone()).collect();
        assert_eq!(waits, [60_000, 60_000, 5_000]);
        assert_eq!(params(&Act::Wait { ms: 0 })[0]["quiet_ms"], 1);
        let text = "ä".repeat(10_001);
        let typed = params(&Act::Type(text.clone()));
        assert_eq!(typed.len(), 2);
        assert_eq!(typed[0]["text"].as_str().unwrap().to_owned() + typed[1]["text"].as_str().unwrap(), text);
        assert_eq!(params(&Act::Type(String::new())), [json!({"text": ""})]);
    }

    #[test]
    fn what_is_typed_does_not_stand_in_the_reason() {
        assert_eq!(Act::Type("hunter2".to_owned()).told(), " 7 characters");
    }

    #[test]
    fn only_the_control_characters_that_a_text_has_are_asked_for() {
        assert_eq!(typed("a\tb").params, json!({"text": "a\tb", "controls": ["tab"]}));
        assert_eq!(typed("a\n").params, json!({"text": "a\n", "controls": ["newline"]}));
    }
}
