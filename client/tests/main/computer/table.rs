//! The tables of docs/computer-use.md, row by row.

use std::path::Path;

use serde_json::{Value, json};

use crate::computer::talk::{PICTURE, Talk, computer_call, desktop, earlier, member, plans, text};

/// Every action of Anthropic's computer with its parameters, as the types of the API's library have them; `key` beside a
/// click is of its reference implementation.
const ANTHROPIC: [(&str, &[&str]); 17] = [
    ("screenshot", &[]),
    ("zoom", &["region"]),
    ("left_click", &["coordinate", "text", "key"]),
    ("right_click", &["coordinate", "text"]),
    ("middle_click", &["coordinate", "text"]),
    ("double_click", &["coordinate", "text"]),
    ("triple_click", &["coordinate", "text"]),
    ("left_click_drag", &["start_coordinate", "coordinate", "text"]),
    ("mouse_move", &["coordinate"]),
    ("left_mouse_down", &[]),
    ("left_mouse_up", &[]),
    ("cursor_position", &[]),
    ("scroll", &["scroll_direction", "scroll_amount", "coordinate", "text"]),
    ("type", &["text"]),
    ("key", &["text", "repeat"]),
    ("hold_key", &["text", "duration"]),
    ("wait", &["duration"]),
];

/// Every action of OpenAI's computer with its parameters.
const OPENAI: [(&str, &[&str]); 9] = [
    ("screenshot", &[]),
    ("click", &["x", "y", "button", "keys"]),
    ("double_click", &["x", "y", "keys"]),
    ("drag", &["path", "keys"]),
    ("move", &["x", "y", "keys"]),
    ("scroll", &["x", "y", "scroll_x", "scroll_y", "keys"]),
    ("keypress", &["keys"]),
    ("type", &["text"]),
    ("wait", &[]),
];

struct Row {
    action: String,
    input: Value,
    /// The cells after action and input.
    cells: Vec<String>,
}

/// The rows of the table with this head.
fn rows(head: &str) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/computer-use.md");
    let text = std::fs::read_to_string(path).unwrap();
    let table = text.lines().skip_while(|line| *line != head).skip(2);
    let rows = table.take_while(|line| line.starts_with('|')).map(|line| {
        let mut cells = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned());
        let mut code = || spans(&cells.next().unwrap()).remove(0).to_owned();
        let (action, input) = (code(), code());
        Row { action, input: serde_json::from_str(&input).unwrap(), cells: cells.collect() }
    });
    rows.collect()
}

/// What stands between backticks.
fn spans(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The plans of a cell, for a picture of this space.
fn expected(cell: &str, space: &Value) -> Vec<Vec<(String, Value)>> {
    let params = |text: &str| {
        let text = text.replace(":S}", &format!(":{space}}}")).replace(":S,", &format!(":{space},"));
        let text = text
            .replace(":W,", &format!(":{},", space["width"]))
            .replace(":H}", &format!(":{}}}", space["height"]));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
    };
    let plan = |plan: &str| {
        let actions = spans(plan).into_iter().map(|action| {
            let (name, text) = action.split_once(' ').unwrap();
            (name.to_owned(), params(text))
        });
        actions.collect::<Vec<_>>()
    };
    cell.split("*then*").map(plan).filter(|plan| !plan.is_empty()).collect()
}

#[track_caller]
fn check_complete(rows: &[Row], all: &[(&str, &[&str])]) {
    for (action, parameters) in all {
        let of_it: Vec<_> = rows.iter().filter(|row| row.action == *action).collect();
        assert!(!of_it.is_empty(), "no row for {action}");
        for parameter in *parameters {
            let is_there = of_it.iter().any(|row| row.input.get(parameter).is_some());
            assert!(is_there, "no row for {action} with {parameter}");
        }
    }
    for row in rows {
        let known = all.iter().find(|(action, _)| *action == row.action);
        let (_, parameters) = known.unwrap_or_else(|| panic!("{} is no action of the API", row.action));
        for parameter in row.input.as_object().unwrap().keys() {
            assert!(parameters.contains(&parameter.as_str()), "{} has no {parameter}", row.action);
        }
    }
}

#[test]
fn the_tables_have_every_action_and_every_parameter_and_no_other() {
    check_complete(&rows("| action | input | versions | plan | answer |"), &ANTHROPIC);
    check_complete(&rows("| action | input | plan |"), &OPENAI);
}

fn space(width: u32, height: u32) -> Value {
    json!({"width": width, "height": height, "region": {"x": 0, "y": 0, "width": 2560, "height": 1600}})
}

/// Runs all rows that a form has, in one process, and compares plans and answers.
fn check_anthropic(
    call: fn(&str, &str, Value) -> Value,
    space: &Value,
    has_row: impl Fn(&str) -> bool,
    least: usize,
) {
    let peer = desktop(None);
    let mut talk = Talk::start(&mut peer.command(&["computer", "--dialect", "anthropic"]));
    talk.ask(&call("first", "screenshot", json!({})));
    let mut ran = 0;
    for row in rows("| action | input | versions | plan | answer |") {
        let [versions, plan, answer] = row.cells.as_slice() else { panic!("{:?}", row.cells) };
        if !has_row(versions) {
            continue;
        }
        let before = peer.frames().len();
        let result = talk.ask(&call("t-1", &row.action, row.input.clone()));
        let what = format!("{} {}", row.action, row.input);
        assert_eq!(plans(&peer.frames()[before..]), expected(plan, space), "{what}");
        assert_eq!(
            (&result["tool_use_id"], result.get("is_error")),
            (&json!("t-1"), None),
            "{what}: {result:#}"
        );
        let name = call("", "", json!({})).get("toolset_name").cloned();
        assert_eq!(result.get("toolset_name"), name.as_ref(), "{what}");
        match answer.trim_matches(['`', ' ']) {
            "picture" => {
                let source = json!({"type": "base64", "media_type": "image/png", "data": PICTURE});
                assert_eq!(result["content"], json!([{"type": "image", "source": source}]), "{what}");
            }
            "" => assert_eq!(text(&result), "OK", "{what}"),
            "X=W/2,Y=H/2" => {
                let half = |edge: &str| space[edge].as_i64().unwrap() / 2;
                assert_eq!(text(&result), format!("X={},Y={}", half("width"), half("height")));
            }
            other => panic!("{what}: no test for the answer {other:?}"),
        }
        ran += 1;
    }
    assert!(ran >= least, "{ran}");
    assert_eq!(talk.end(true), (Some(0), String::new()));
}

#[test]
fn every_row_of_the_toolset_becomes_its_plans_and_its_answer() {
    let has_row = |versions: &str| !matches!(versions, "before the toolset" | "20250124");
    check_anthropic(member, &space(2000, 1250), has_row, 30);
}

#[test]
fn every_row_of_earlier_versions_becomes_its_plans_and_its_answer() {
    check_anthropic(earlier, &space(1389, 868), |versions| versions != "toolset", 30);
}

/// Runs all rows in one form, and compares plans and answers.
fn check_openai(call: impl Fn(&Value) -> Value, space: &Value, capture: &Value, detail: Option<&str>) {
    let peer = desktop(None);
    let mut talk = Talk::start(&mut peer.command(&["computer", "--dialect", "openai", "--settle-ms", "0"]));
    let screenshot = [vec![("monitor.capture".to_owned(), capture.clone())]];
    talk.ask(&call(&json!({"type": "screenshot"})));
    for row in rows("| action | input | plan |") {
        let mut action = row.input.clone();
        action["type"] = json!(row.action);
        let before = peer.frames().len();
        let answer = talk.ask(&call(&action));
        let plans = plans(&peer.frames()[before..]);
        let (of_row, after) = plans.split_at(plans.len() - 1);
        assert_eq!(of_row, expected(&row.cells[0], space), "{action}");
        assert_eq!(after, screenshot, "{action}");
        let mut picture =
            json!({"type": "computer_screenshot", "image_url": format!("data:image/png;base64,{PICTURE}")});
        if let Some(detail) = detail {
            picture["detail"] = json!(detail);
        }
        let expected = json!([{"type": "computer_call_output", "call_id": "c-1", "output": picture}]);
        assert_eq!(answer, expected, "{action}");
    }
    assert_eq!(talk.end(true), (Some(0), String::new()));
}

#[test]
fn every_row_of_openai_becomes_its_plans_in_the_batched_form() {
    let call = |action: &Value| computer_call("c-1", json!([action]));
    check_openai(call, &space(2560, 1600), &json!({}), Some("original"));
}

#[test]
fn every_row_of_openai_becomes_its_plans_in_the_form_of_the_preview() {
    let call = |action: &Value| json!({"type": "computer_call", "call_id": "c-1", "action": action});
    check_openai(call, &space(1229, 768), &json!({"width": 1229, "height": 768}), None);
}
