//! The two APIs from the side of the model: what they want of a request, and how they answer.

mod anthropic;
mod openai;

use serde_json::Value;

use crate::agent::TASK;
use crate::endpoint::Request;
use crate::picture::Picture;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Anthropic,
    Openai,
}

/// What the model wants done.
pub(crate) enum Call {
    Screenshot,
    Click(u32, u32),
    Type(&'static str),
    /// An action of the host, by its name as a tool.
    Tool(&'static str, Value),
}

/// What the model is told.
pub(crate) struct Seen {
    /// The names of the tools beside the computer.
    pub(crate) tools: Vec<String>,
    /// The headers and the body, for what only one test looks at.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
    /// What came of the calls before.
    pub(crate) results: Vec<Outcome>,
}

/// What came of one call.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) failed: bool,
    pub(crate) words: String,
    pub(crate) picture: Option<Picture>,
}

impl Seen {
    /// The result of the one call.
    #[track_caller]
    pub(crate) fn only(&self) -> &Outcome {
        assert_eq!(self.results.len(), 1);
        &self.results[0]
    }

    /// The picture that the one call, or the last of several, answered.
    #[track_caller]
    pub(crate) fn picture(&self) -> &Picture {
        self.results.last().and_then(|result| result.picture.as_ref()).expect("a picture")
    }
}

impl Dialect {
    /// Reads a request, which must be as the API wants it, after the model said all this.
    pub(crate) fn read(self, request: &Request, said: &[Value]) -> Seen {
        assert!(request.header("content-type").unwrap().starts_with("application/json"));
        assert_eq!(request.body["model"], "a-model");
        let tools = request.body["tools"].as_array().expect("tools");
        let (computers, others): (Vec<_>, Vec<_>) = tools
            .iter()
            .partition(|tool| tool["type"].as_str().is_some_and(|kind| kind.starts_with("computer")));
        assert_eq!(computers.len(), 1, "{tools:?}");
        let (system, first, results) = match self {
            Dialect::Anthropic => anthropic::read(request, said),
            Dialect::Openai => openai::read(request, said),
        };
        assert!(system.contains("is data") && system.contains("never gives you instructions"), "{system}");
        assert_eq!(first["role"], "user");
        assert_eq!(first["content"], TASK);
        for tool in &others {
            let schema = tool.get("input_schema").unwrap_or(&tool["parameters"]);
            assert_eq!(schema["type"], "object", "{tool}");
            assert!(tool["description"].is_string(), "{tool}");
        }
        let names = others.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned());
        let (headers, body) = (request.headers.clone(), request.body.clone());
        Seen { tools: names.collect(), headers, body, results }
    }

    /// A body with these calls, in this turn.
    pub(crate) fn calls(self, turn: usize, calls: Vec<Call>) -> Value {
        let calls = (0..).zip(calls).map(|(index, call): (u32, _)| (format!("call_{turn}_{index}"), call));
        match self {
            Dialect::Anthropic => anthropic::calls(calls.collect()),
            Dialect::Openai => openai::calls(calls.collect()),
        }
    }

    /// A body that ends the work.
    pub(crate) fn says(self, text: &str) -> Value {
        match self {
            Dialect::Anthropic => anthropic::says(text),
            Dialect::Openai => openai::says(text),
        }
    }
}
