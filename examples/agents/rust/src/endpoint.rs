//! An endpoint on the network: requests, and what is done where one fails.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{HeaderMap, StatusCode};

use crate::Failure;
use crate::terminal::say;

const TRIES: u32 = 5;
const LONGEST_WAIT_S: u64 = 60;
const LONGEST_ANSWER: u64 = 32 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(600);

/// Where requests go, and with which headers.
pub(crate) struct Endpoint {
    agent: Agent,
    url: String,
    headers: Vec<(&'static str, String)>,
}

impl Endpoint {
    /// The base is that of the environment variable, where it is set.
    pub(crate) fn new(variable: &str, base: &str, path: &str, headers: Vec<(&'static str, String)>) -> Self {
        let base = std::env::var(variable).unwrap_or_else(|_| base.to_owned());
        // A redirect would take the key to somewhere else.
        let config = Agent::config_builder().max_redirects(0).max_redirects_will_error(false);
        let config = config.http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        Self { agent: config.new_agent(), url: base.trim_end_matches('/').to_owned() + path, headers }
    }

    /// Sends a request and gives the JSON of the answer. Where the endpoint is busy it waits and tries again.
    pub(crate) fn post(&self, body: &Value) -> Result<Value, Failure> {
        let body = body.to_string();
        let mut tried = 0;
        loop {
            let (status, headers, text) = self.send(&body)?;
            if status.is_success() {
                let wrong = |e| Failure(format!("{} did not answer with JSON: {e}", self.url));
                return serde_json::from_str(&text).map_err(wrong);
            }
            let refused = format!("{} answered {}: {}", self.url, status.as_u16(), message(&text));
            let is_busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            if !is_busy || tried + 1 == TRIES {
                return Err(Failure(refused));
            }
            let after = headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            let wait = after.unwrap_or(1 << tried).min(LONGEST_WAIT_S);
            say(&format!("agent: {refused}; trying again in {wait} s"));
            std::thread::sleep(Duration::from_secs(wait));
            tried += 1;
        }
    }

    fn send(&self, body: &str) -> Result<(StatusCode, HeaderMap, String), Failure> {
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let unreachable = |e| Failure(format!("{} cannot be reached: {e}", self.url));
        let mut answer = request.send(body).map_err(unreachable)?;
        let body = answer.body_mut().with_config().limit(LONGEST_ANSWER).lossy_utf8(true);
        let text = body.read_to_string().map_err(unreachable)?;
        Ok((answer.status(), answer.headers().clone(), text))
    }
}

/// The value of an environment variable that must be set.
pub(crate) fn key(variable: &str) -> Result<String, Failure> {
    let missing = || Failure(format!("{variable} is not set; a server that asks for no key takes any"));
    std::env::var(variable).ok().filter(|key| !key.is_empty()).ok_or_else(missing)
}

/// The message of an error as both vendors send it, else the beginning of what came instead.
fn message(body: &str) -> String {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    match answer["error"]["message"].as_str() {
        Some(message) => message.to_owned(),
        None => body.chars().take(200).collect(),
    }
}
