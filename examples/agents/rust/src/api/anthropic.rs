//! The Messages API.

use serde_json::{Value, json};

use crate::api::{Api, PICTURE, SYSTEM, items, of, text};
use crate::endpoint::{Endpoint, key};
use crate::{Args, Failure};

pub(crate) struct Messages {
    endpoint: Endpoint,
    model: String,
    tools: Value,
    messages: Vec<Value>,
}

impl Messages {
    pub(crate) fn new(args: &Args, tools: Value) -> Result<Self, Failure> {
        let mut headers =
            vec![("x-api-key", key("ANTHROPIC_API_KEY")?), ("anthropic-version", "2023-06-01".to_owned())];
        headers.extend(beta(&tools).map(|beta| ("anthropic-beta", beta)));
        Ok(Self {
            endpoint: Endpoint::new(
                "ANTHROPIC_BASE_URL",
                "https://api.anthropic.com",
                "/v1/messages",
                headers,
            ),
            model: args.model.clone(),
            tools,
            messages: vec![json!({"role": "user", "content": args.task})],
        })
    }
}

impl Api for Messages {
    fn ask(&mut self) -> Result<Vec<Value>, Failure> {
        let answer = self.endpoint.post(&json!({
            "model": self.model, "max_tokens": 16000, "system": SYSTEM, "tools": self.tools, "messages": self.messages,
        }))?;
        let content = items(&answer, "content")?;
        // What was cut off is not done, not even by half.
        let stopped = text(&answer["stop_reason"]);
        if !["tool_use", "end_turn", "stop_sequence"].contains(&stopped) {
            return Err(Failure(format!("the model stopped early: {stopped}")));
        }
        self.messages.push(json!({"role": "assistant", "content": content}));
        Ok(content)
    }

    fn read(&self, content: &[Value]) -> (String, Vec<(String, String)>) {
        let said: Vec<_> = of(content, "text").map(|block| text(&block["text"])).collect();
        let calls = of(content, "tool_use");
        let calls = calls.map(|block| (text(&block["name"]).to_owned(), block["input"].to_string()));
        (said.join("\n"), calls.collect())
    }

    fn outcome(&self, result: &Value) -> String {
        let Some(blocks) = result["content"].as_array() else { return text(&result["content"]).to_owned() };
        let words: Vec<_> = blocks.iter().map(|block| block["text"].as_str().unwrap_or(PICTURE)).collect();
        words.join(" ")
    }

    fn tell(&mut self, results: Vec<Value>) {
        self.messages.push(json!({"role": "user", "content": results}));
    }
}

/// `computer_20251124` is behind `computer-use-2025-11-24`; a toolset is behind nothing.
fn beta(tools: &Value) -> Option<String> {
    let kinds = tools.as_array()?.iter().filter_map(|tool| tool["type"].as_str());
    let date =
        kinds.filter_map(|kind| kind.strip_prefix("computer_")).find(|date| date.parse::<u32>().is_ok())?;
    Some(format!("computer-use-{}-{}-{}", date.get(..4)?, date.get(4..6)?, date.get(6..)?))
}
