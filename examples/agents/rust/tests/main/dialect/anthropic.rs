//! The Messages API.

use serde_json::{Value, json};

use crate::agent::KEY;
use crate::dialect::{Call, Outcome};
use crate::endpoint::Request;
use crate::picture::Picture;

/// The system prompt, the first message, and the last results.
pub(super) fn read(request: &Request, said: &[Value]) -> (String, Value, Vec<Outcome>) {
    assert_eq!(request.line, "POST /v1/messages HTTP/1.1");
    assert_eq!(request.header("x-api-key"), Some(KEY));
    assert_eq!(request.header("anthropic-version"), Some("2023-06-01"));
    assert!(request.body["max_tokens"].as_u64().is_some_and(|most| most > 1000), "{}", request.body);
    let messages = request.body["messages"].as_array().expect("messages");
    let (first, rest) = messages.split_first().expect("a message");
    assert_eq!(rest.len(), 2 * said.len(), "{messages:?}");
    let mut last = Vec::new();
    for (turn, content) in rest.chunks_exact(2).zip(said) {
        assert_eq!(turn[0], json!({"role": "assistant", "content": content}), "what was said, unchanged");
        assert_eq!(turn[1]["role"], "user");
        let calls: Vec<_> =
            content.as_array().unwrap().iter().filter(|block| block["type"] == "tool_use").collect();
        let results = turn[1]["content"].as_array().expect("results");
        let ids = |field: &'static str, blocks: &[&Value]| -> Vec<Value> {
            blocks.iter().map(|block| json!([block[field], block["toolset_name"]])).collect()
        };
        assert_eq!(ids("tool_use_id", &results.iter().collect::<Vec<_>>()), ids("id", &calls));
        last = results.iter().map(outcome).collect();
    }
    (request.body["system"].as_str().expect("a system prompt").to_owned(), first.clone(), last)
}

fn outcome(result: &Value) -> Outcome {
    assert_eq!(result["type"], "tool_result");
    let mut outcome = Outcome { failed: result["is_error"] == true, ..Outcome::default() };
    for block in result["content"].as_array().expect("content") {
        match block["type"].as_str() {
            Some("text") => outcome.words += block["text"].as_str().unwrap(),
            Some("image") => {
                let source = &block["source"];
                assert_eq!([&source["type"], &source["media_type"]], ["base64", "image/png"]);
                outcome.picture = Some(Picture::read(source["data"].as_str().unwrap()));
            }
            _ => panic!("{block}"),
        }
    }
    outcome
}

pub(super) fn calls(calls: Vec<(String, Call)>) -> Value {
    let calls = calls.into_iter().map(|(id, call)| {
        let computer = |name, input: Value| {
            json!({"type": "tool_use", "id": id, "toolset_name": "computer", "name": name, "input": input})
        };
        match call {
            Call::Screenshot => computer("screenshot", json!({})),
            Call::Click(x, y) => computer("left_click", json!({"coordinate": [x, y]})),
            Call::Type(text) => computer("type", json!({"text": text})),
            Call::Tool(name, input) => json!({"type": "tool_use", "id": id, "name": name, "input": input}),
        }
    });
    // Thoughts are signed, and come back to where they were.
    let thought = json!({"type": "thinking", "thinking": "", "signature": "c2lnbmVk"});
    let words = json!({"type": "text", "text": "I go on."});
    message([thought, words].into_iter().chain(calls).collect(), "tool_use")
}

pub(super) fn says(text: &str) -> Value {
    message(vec![json!({"type": "text", "text": text})], "end_turn")
}

fn message(content: Vec<Value>, stop_reason: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "a-model", "content": content,
        "stop_reason": stop_reason, "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1},
    })
}
