//! The Responses API.

use serde_json::{Value, json};

use crate::agent::KEY;
use crate::dialect::{Call, Outcome};
use crate::endpoint::Request;
use crate::picture::Picture;

/// The instructions, the first message, and the last results.
pub(super) fn read(request: &Request, said: &[Value]) -> (String, Value, Vec<Outcome>) {
    assert_eq!(request.line, "POST /v1/responses HTTP/1.1");
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    // The whole history is sent, so nothing need be kept, and what nobody keeps has to come with its thoughts.
    assert_eq!(request.body["store"], false);
    assert_eq!(request.body["include"], json!(["reasoning.encrypted_content"]));
    let input = request.body["input"].as_array().expect("input");
    let (first, mut rest) = input.split_first().expect("a message");
    let mut last = Vec::new();
    for output in said {
        let output = output.as_array().unwrap();
        assert!(rest.starts_with(output), "what was said, unchanged: {rest:?}");
        rest = &rest[output.len()..];
        let ids = output.iter().filter_map(|item| item.get("call_id"));
        last = ids
            .map(|id| {
                let (result, more) = rest.split_first().expect("a result for each call");
                assert_eq!(&result["call_id"], id);
                rest = more;
                let mut outcome = outcome(result);
                if let Some((told, more)) = rest.split_first().filter(|(item, _)| item["role"] == "user") {
                    outcome.words += told["content"][0]["text"].as_str().unwrap();
                    outcome.failed = true;
                    rest = more;
                }
                outcome
            })
            .collect();
    }
    assert!(rest.is_empty(), "{rest:?}");
    (request.body["instructions"].as_str().expect("instructions").to_owned(), first.clone(), last)
}

fn outcome(result: &Value) -> Outcome {
    match result["type"].as_str() {
        Some("computer_call_output") => {
            assert_eq!(result["output"]["type"], "computer_screenshot");
            let url = result["output"]["image_url"].as_str().unwrap();
            let picture = Picture::read(url.strip_prefix("data:image/png;base64,").unwrap());
            Outcome { picture: Some(picture), ..Outcome::default() }
        }
        Some("function_call_output") => {
            let words = result["output"].as_str().expect("an output in words").to_owned();
            Outcome { failed: words.starts_with("failed"), words, picture: None }
        }
        _ => panic!("{result}"),
    }
}

pub(super) fn calls(calls: Vec<(String, Call)>) -> Value {
    let calls = calls.into_iter().map(|(id, call)| {
        let computer = |action: Value| {
            json!({
                "type": "computer_call", "id": "cu_1", "call_id": id, "status": "completed", "actions": [action],
                "pending_safety_checks": [],
            })
        };
        match call {
            Call::Screenshot => computer(json!({"type": "screenshot"})),
            Call::Click(x, y) => computer(json!({"type": "click", "button": "left", "x": x, "y": y})),
            Call::Type(text) => computer(json!({"type": "type", "text": text})),
            Call::Tool(name, input) => json!({
                "type": "function_call", "id": "fc_1", "call_id": id, "status": "completed", "name": name,
                "arguments": input.to_string(),
            }),
        }
    });
    let thought = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VjcmV0"});
    response([thought, message("I go on.")].into_iter().chain(calls).collect())
}

pub(super) fn says(text: &str) -> Value {
    response(vec![message(text)])
}

fn message(text: &str) -> Value {
    json!({
        "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    })
}

fn response(output: Vec<Value>) -> Value {
    json!({"id": "resp_1", "object": "response", "status": "completed", "error": null, "output": output})
}
