//! An answer of the host as the result of a tool.
//!
//! The output is there twice, as MCP wants it: as structured content and as text. A picture is there once, as an image block;
//! in the place of its data both say which block it is.

use rmcp::model::{CallToolResult, ContentBlock};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::exit::Failure;

/// One answer of a host, as far as this server looks into it.
#[derive(Debug, Deserialize)]
pub(crate) struct Answered<'a> {
    executed: bool,
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
    error: Option<Value>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Debug, Deserialize)]
struct ActionResult<'a> {
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Meta {
    wait_secret: Option<String>,
}

impl<'a> Answered<'a> {
    pub(crate) fn read(line: &'a str) -> Result<Self, Failure> {
        serde_json::from_str(line)
            .map_err(|e| Failure::NoAnswer(format!("the host's answer is not one of protocol 1 ({e})")))
    }

    /// The name and the secret of the plan, where a human must confirm it.
    pub(crate) fn held(&self) -> Option<(&str, &str)> {
        let pending_id = self.error.as_ref()?["details"]["pending_id"].as_str()?;
        Some((pending_id, self.meta.wait_secret.as_deref()?))
    }

    /// Why the host knows no such action, if it does not.
    pub(crate) fn unknown(&self) -> Option<&str> {
        let error = self.error.as_ref().filter(|error| error["code"] == "unknown_action")?;
        error["message"].as_str()
    }

    /// The result of a tool that is one action.
    pub(crate) fn of_one(self) -> CallToolResult {
        let result = self.results.first().and_then(|raw| serde_json::from_str(raw.get()).ok());
        let (output, failed) =
            result.map_or((None, None), |result: ActionResult<'_>| (result.output, result.error));
        match (self.error.or(failed), output.and_then(|raw| Some((value(raw)?, raw.get())))) {
            (None, Some((output, text))) => content(output, Some(text)),
            (None, None) => nothing(),
            (Some(error), output) => failure(error, output.map(|(output, _)| output)),
        }
    }

    /// The result of the tool that takes a whole plan.
    pub(crate) fn of_all(self) -> CallToolResult {
        if self.results.is_empty() && self.error.is_none() {
            return nothing();
        }
        let results: Vec<Value> = self.results.iter().filter_map(|raw| value(raw)).collect();
        let mut errors = results.iter().filter_map(|result| result.get("error"));
        let failed = self.error.as_ref().or_else(|| errors.find(|error| !error.is_null())).map(words);
        let all = json!({"executed": self.executed, "results": results, "error": self.error});
        let mut made = content(all, None);
        if let Some(words) = failed {
            made.content.insert(0, ContentBlock::text(words));
            made.is_error = Some(true);
        }
        made
    }
}

/// An error of this server, in the form of those of the host.
pub(crate) fn error(code: &str, message: &str) -> CallToolResult {
    failure(json!({"code": code, "message": message}), None)
}

fn nothing() -> CallToolResult {
    error("no_answer", "the host's answer has neither an output nor an error")
}

/// The answer to a call that nobody decided yet.
pub(crate) fn held(pending_id: &str) -> CallToolResult {
    let details = json!({"pending_id": pending_id});
    failure(
        json!({"code": "confirmation_required", "message": "a human must confirm this plan", "details": details}),
        None,
    )
}

/// What could not be asked of the host.
pub(crate) fn unanswered(failure: &Failure) -> CallToolResult {
    let code = match failure {
        Failure::Refused { code, .. } => code,
        Failure::NoHost { .. } => "no_host",
        Failure::NoAnswer(_) => "no_answer",
        Failure::Usage(_)
        | Failure::NotApproved(_)
        | Failure::Save { .. }
        | Failure::ReaderGone
        | Failure::Stdout(_) => "refused",
    };
    error(code, &failure.to_string())
}

/// What happened, and what to do next.
fn words(error: &Value) -> String {
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    let place = error["path"].as_str().map(|path| format!(" at {path}")).unwrap_or_default();
    let next = match (text("code"), error["pending_id"].as_str().or(error["details"]["pending_id"].as_str()))
    {
        ("confirmation_required", Some(id)) => {
            format!(
                "\nA human decides in a terminal with: llmsh approve {id}\nThen make exactly the same call again: it runs once it was approved."
            )
        }
        ("busy" | "audit_unavailable" | "deadline_exceeded", _) => "\nTry again later.".to_owned(),
        _ => String::new(),
    };
    format!("{}{place}: {}{next}", text("code"), text("message"))
}

/// An error of the host, with what was delivered before it.
pub(crate) fn failure(error: Value, output: Option<Value>) -> CallToolResult {
    let words = ContentBlock::text(words(&error));
    let mut structured = if error.is_object() { error } else { json!({"error": error}) };
    if let Some(id) = structured["details"]["pending_id"].as_str().map(str::to_owned) {
        structured["pending_id"] = json!(id);
    }
    let mut made = match output {
        Some(output) => {
            let mut made = content(output, None);
            structured["output"] = made.structured_content.take().unwrap_or_default();
            made
        }
        None => CallToolResult::success(Vec::new()),
    };
    made.content.insert(0, words);
    made.structured_content = Some(structured);
    made.is_error = Some(true);
    made
}

fn value(raw: &RawValue) -> Option<Value> {
    serde_json::from_str(raw.get()).ok()
}

/// A result out of a value, and of its text where somebody has it already.
fn content(mut value: Value, text: Option<&str>) -> CallToolResult {
    let mut pictures = Vec::new();
    take_pictures(&mut value, &mut pictures);
    let text = match text {
        Some(text) if pictures.is_empty() => text.to_owned(),
        Some(_) | None => value.to_string(),
    };
    // Structured content is an object in the protocol's older versions.
    if !value.is_object() {
        value = json!({"output": value});
    }
    let mut made = CallToolResult::success(vec![ContentBlock::text(text)]);
    made.content.extend(pictures);
    made.structured_content = Some(value);
    made
}

/// Moves the data of every picture, however deep it lies, into a block of its own.
fn take_pictures(value: &mut Value, pictures: &mut Vec<ContentBlock>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| take_pictures(item, pictures)),
        Value::Object(fields) => {
            let media_type = fields.get("media_type").and_then(Value::as_str);
            let media_type = media_type.filter(|kind| kind.starts_with("image/")).map(str::to_owned);
            let is_base64 = fields.get("encoding").is_some_and(|encoding| encoding == "base64");
            if let (Some(media_type), true, Some(Value::String(data))) =
                (media_type, is_base64, fields.get_mut("data"))
            {
                let place = format!("image block {} of this result", pictures.len() + 1);
                pictures.push(ContentBlock::image(std::mem::replace(data, place), media_type));
            }
            fields.values_mut().for_each(|field| take_pictures(field, pictures));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_one(results: &str, error: &str) -> Value {
        let line = format!(r#"{{"executed":true,"results":{results},"error":{error},"meta":{{}}}}"#);
        serde_json::to_value(Answered::read(&line).unwrap().of_one()).unwrap()
    }

    #[test]
    fn an_output_is_structured_content_and_text_with_the_bytes_of_the_host() {
        let made = of_one(r#"[{"status":"ok","output":{"b":1.50,"a":"x"}}]"#, "null");
        assert_eq!(made["structuredContent"], json!({"a": "x", "b": 1.5}));
        assert_eq!(made["content"], json!([{"type": "text", "text": r#"{"b":1.50,"a":"x"}"#}]));
        assert_eq!(made["isError"], false);
    }

    #[test]
    fn a_picture_is_sent_once_wherever_it_lies() {
        let output = r#"[{"status":"ok","output":{"a":[{"media_type":"image/png","encoding":"base64","data":"UE5H"}],
            "b":{"media_type":"text/plain","encoding":"base64","data":"QQ=="}}}]"#;
        let made = of_one(output, "null");
        assert_eq!(made["content"][1], json!({"type": "image", "data": "UE5H", "mimeType": "image/png"}));
        assert_eq!(made["structuredContent"]["a"][0]["data"], "image block 1 of this result");
        assert_eq!(made["structuredContent"]["b"]["data"], "QQ==");
        assert_eq!(made.to_string().matches("UE5H").count(), 1);
    }

    #[test]
    fn an_answer_that_says_nothing_is_no_success() {
        for results in ["[]", r#"[{"status":"ok"}]"#, "[17]"] {
            assert_eq!(of_one(results, "null")["isError"], true, "{results}");
        }
        assert_eq!(of_one("[]", "\"x\"")["isError"], true);
        let line = r#"{"executed":false,"results":[],"error":null}"#;
        assert_eq!(Answered::read(line).unwrap().of_all().is_error, Some(true));
    }

    #[test]
    fn a_failed_action_keeps_what_it_delivered() {
        let made = of_one(
            r#"[{"status":"failed","output":{"exit_code":1},"error":{"code":"exec_failed","message":"it exited with 1","path":"$.a"}}]"#,
            "null",
        );
        assert_eq!(made["isError"], true);
        assert_eq!(made["content"][0]["text"], "exec_failed at $.a: it exited with 1");
        assert_eq!(made["structuredContent"]["code"], "exec_failed");
        assert_eq!(made["structuredContent"]["output"], json!({"exit_code": 1}));
    }

    #[test]
    fn a_held_plan_says_how_a_human_decides() {
        let error = r#"{"code":"confirmation_required","message":"held","details":{"pending_id":"p-1"}}"#;
        let made = of_one("[]", error);
        assert_eq!(made["structuredContent"]["pending_id"], "p-1");
        assert!(made["content"][0]["text"].as_str().unwrap().contains("llmsh approve p-1"), "{made}");
    }

    #[test]
    fn a_plan_tells_of_each_action_and_fails_with_the_first_that_failed() {
        let line = r#"{"executed":true,"results":[{"action":"a.b","status":"ok","output":{"x":1}},
            {"action":"a.c","status":"failed","error":{"code":"no","message":"why"}}],"error":null,"meta":{"run":"r"}}"#;
        let made = serde_json::to_value(Answered::read(line).unwrap().of_all()).unwrap();
        assert_eq!(made["isError"], true);
        assert_eq!(made["content"][0]["text"], "no: why");
        assert_eq!(
            made["structuredContent"],
            json!({"executed": true, "error": null, "results": [
                {"action": "a.b", "status": "ok", "output": {"x": 1}},
                {"action": "a.c", "status": "failed", "error": {"code": "no", "message": "why"}},
            ]})
        );
    }
}
