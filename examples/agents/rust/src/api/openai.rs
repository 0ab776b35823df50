//! The Responses API.

use serde_json::{Value, json};

use crate::api::{Api, PICTURE, SYSTEM, items, of, text};
use crate::endpoint::{Endpoint, key};
use crate::terminal::say;
use crate::{Args, Failure};

pub(crate) struct Responses {
    endpoint: Endpoint,
    model: String,
    tools: Value,
    input: Vec<Value>,
    /// Whether the person lets it go on where the endpoint wants one to look first.
    acknowledge: bool,
}

impl Responses {
    pub(crate) fn new(args: &Args, tools: Value) -> Result<Self, Failure> {
        let headers = vec![("authorization", format!("Bearer {}", key("OPENAI_API_KEY")?))];
        Ok(Self {
            endpoint: Endpoint::new("OPENAI_BASE_URL", "https://api.openai.com/v1", "/responses", headers),
            model: args.model.clone(),
            tools,
            input: vec![json!({"role": "user", "content": args.task})],
            acknowledge: args.acknowledge_safety_checks,
        })
    }
}

impl Api for Responses {
    fn ask(&mut self) -> Result<Vec<Value>, Failure> {
        let mut request = json!({
            "model": self.model, "instructions": SYSTEM, "tools": self.tools, "input": self.input,
            "store": false, "include": ["reasoning.encrypted_content"],
        });
        let mut tools = self.tools.as_array().into_iter().flatten();
        // This tool works with nothing else.
        if tools.any(|tool| tool["type"] == "computer_use_preview") {
            request["truncation"] = json!("auto");
        }
        let answer = self.endpoint.post(&request)?;
        let output = items(&answer, "output")?;
        if answer["status"] != "completed" {
            let why =
                [&answer["error"], &answer["incomplete_details"]].into_iter().find(|why| !why.is_null());
            return Err(Failure(format!(
                "the model stopped early: {}, {}",
                text(&answer["status"]),
                why.unwrap_or(&Value::Null)
            )));
        }
        self.input.extend(output.iter().cloned());
        let checks: Vec<_> = output.iter().filter_map(pending).flatten().collect();
        for check in &checks {
            say(&format!("safety check: {}: {}", text(&check["code"]), text(&check["message"])));
        }
        if !checks.is_empty() && !self.acknowledge {
            return Err(Failure(
                "the endpoint wants a person to look first; nothing of its last answer was done. If all is well, \
                 --acknowledge-safety-checks goes on"
                    .to_owned(),
            ));
        }
        Ok(output.into_iter().map(acknowledged).collect())
    }

    fn read(&self, output: &[Value]) -> (String, Vec<(String, String)>) {
        let parts = of(output, "message").filter_map(|item| item["content"].as_array()).flatten();
        let said: Vec<_> =
            parts.map(|part| part["text"].as_str().unwrap_or(text(&part["refusal"]))).collect();
        let is_call = |item: &&Value| item["type"] == "function_call" || item["type"] == "computer_call";
        let calls = output.iter().filter(is_call).map(|item| match item["arguments"].as_str() {
            Some(arguments) => (text(&item["name"]).to_owned(), arguments.to_owned()),
            None => ("computer".to_owned(), item.get("actions").unwrap_or(&item["action"]).to_string()),
        });
        (said.join("\n"), calls.collect())
    }

    fn outcome(&self, result: &Value) -> String {
        // A message tells what went wrong where the result of a call can only be a picture.
        let output = result.get("output").unwrap_or(&result["content"]);
        match output {
            Value::String(words) => words.clone(),
            Value::Array(parts) => {
                let words: Vec<_> =
                    parts.iter().map(|part| part["text"].as_str().unwrap_or(PICTURE)).collect();
                words.join(" ")
            }
            _ => PICTURE.to_owned(),
        }
    }

    fn tell(&mut self, results: Vec<Value>) {
        self.input.extend(results);
    }
}

/// What a person should look at before this call is carried out.
fn pending(call: &Value) -> Option<&Vec<Value>> {
    call["pending_safety_checks"].as_array().filter(|checks| !checks.is_empty())
}

/// The call as the host takes it, once the person let it go on.
fn acknowledged(mut call: Value) -> Value {
    if let Some(checks) = pending(&call).cloned() {
        call["acknowledged_safety_checks"] = Value::Array(checks);
    }
    call
}
