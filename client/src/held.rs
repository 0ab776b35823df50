//! A held plan on the approver's screen.
//!
//! The host digests, shows and runs one text: the plan in its canonical form. What stands on the screen are pieces of
//! exactly that text, and before anything is shown they are put together again and compared with it. So there is no
//! second, prettier form that could say something else.

mod asked;

use std::collections::{BTreeMap, BTreeSet};

use llm_os_core::json::Json;
use llm_os_core::value::hex;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::screen::{Screen, is_hidden, plain, quoted};

/// How many different characters beyond ASCII are named for one string.
const NAMED: usize = 16;

/// What the host tells an approver about one plan.
#[derive(Debug, Deserialize)]
pub(crate) struct Held {
    pub(crate) pending_id: String,
    request_id: Option<String>,
    uid: u32,
    age_s: u64,
    expires_in_s: u64,
    plan: String,
    pub(crate) sha256: String,
    effects: Vec<Vec<Effect>>,
    policies: Vec<Vec<Reason>>,
    /// What the policies let the program of an action do beyond what every program may.
    profiles: Vec<BTreeMap<String, Value>>,
    /// What its session could be granted to do again.
    #[serde(default)]
    grant: Vec<String>,
    /// Why its session can be granted nothing of it.
    not_grantable: Option<String>,
    /// What an approver must sign, where the host asks for that.
    signature: Option<asked::Asked>,
}

#[derive(Debug, Deserialize)]
struct Effect {
    verb: String,
    resource: Resource,
    #[serde(default)]
    facts: BTreeMap<String, Value>,
    asks: Option<String>,
    refuses: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    kind: String,
    id: String,
    display: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    policy: String,
    reason: Option<String>,
}

/// The pieces of a canonical plan, byte for byte.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Canonical<'a> {
    #[serde(borrow)]
    version: &'a RawValue,
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    actions: Vec<CanonicalAction<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CanonicalAction<'a> {
    #[serde(borrow)]
    action: &'a RawValue,
    #[serde(borrow)]
    params: &'a RawValue,
    #[serde(borrow)]
    reason: &'a RawValue,
    #[serde(borrow)]
    danger: Option<&'a RawValue>,
    #[serde(borrow)]
    recovery: Option<&'a RawValue>,
}

impl Canonical<'_> {
    /// The text that these are the pieces of.
    fn assembled(&self) -> String {
        let field = |name: &str, value: Option<&RawValue>| {
            value.map_or_else(String::new, |value| format!(",\"{name}\":{}", value.get()))
        };
        let actions = self.actions.iter().map(|action| {
            let CanonicalAction { action, params, reason, danger, recovery } = action;
            format!(
                "{{\"action\":{}{}{}{}{}}}",
                action.get(),
                field("params", Some(params)),
                field("reason", Some(reason)),
                field("danger", *danger),
                field("recovery", *recovery),
            )
        });
        let actions = actions.collect::<Vec<_>>().join(",");
        let session = field("session_id", self.session_id);
        format!("{{\"version\":{}{session},\"actions\":[{actions}]}}", self.version.get())
    }
}

impl Held {
    /// What approving it for its session grants, in words; else why that cannot be.
    pub(crate) fn grant(&self) -> Result<&[String], &str> {
        match &self.not_grantable {
            None if !self.grant.is_empty() => Ok(&self.grant),
            None => Err("the host cannot grant it to a session"),
            Some(why) => Err(why),
        }
    }

    /// The screen that an approver decides by; an error where it could not be the whole truth.
    pub(crate) fn screen(&self) -> Result<Screen, String> {
        let found = hex(&Sha256::digest(self.plan.as_bytes()));
        if found != self.sha256 {
            return Err(format!("the plan's SHA-256 is {found}, the host says {}", plain(&self.sha256)));
        }
        let canonical: Canonical<'_> = serde_json::from_str(&self.plan)
            .map_err(|e| format!("the plan is not in canonical form: {e}"))?;
        if canonical.assembled() != self.plan || !self.plan.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err(
                "the plan is not in canonical form, so its pieces would not be what is digested".to_owned()
            );
        }
        let count = canonical.actions.len();
        let lists = [self.effects.len(), self.policies.len(), self.profiles.len()];
        if lists.iter().any(|length| *length != count) {
            return Err(format!(
                "the plan has {count} actions, but its effects, policies or profiles have another number"
            ));
        }
        let mut screen = Screen::default();
        self.head(&canonical, &mut screen);
        for (index, action) in canonical.actions.iter().enumerate() {
            screen.line(0, "");
            screen.line(0, &format!("Action {} of {count}: {}", index + 1, action.action.get()));
            screen.line(2, "with exactly");
            screen.foreign(4, action.params.get());
            beyond_ascii(action.params.get(), &mut screen)?;
            self.consequences(index, &mut screen);
        }
        screen.line(0, "");
        screen.line(
            0,
            "What the requester says about it. Nobody checked it, and no word of it approves anything:",
        );
        for (index, action) in canonical.actions.iter().enumerate() {
            let words =
                [("reason", Some(action.reason)), ("danger", action.danger), ("recovery", action.recovery)];
            for (name, text) in words.into_iter().filter_map(|(name, text)| Some((name, text?))) {
                screen.line(2, &format!("action {}, {name}", index + 1));
                screen.foreign(4, text.get());
                beyond_ascii(text.get(), &mut screen)?;
            }
        }
        screen.line(0, "");
        Ok(screen)
    }

    fn head(&self, canonical: &Canonical<'_>, screen: &mut Screen) {
        let Held { pending_id, uid, age_s, expires_in_s, .. } = self;
        screen.line(
            0,
            &format!("Plan {pending_id} of user {uid}, held for {age_s} s, expires in {expires_in_s} s"),
        );
        screen.line(
            2,
            &format!(
                "protocol {}, {} bytes, SHA-256 {}",
                canonical.version.get(),
                self.plan.len(),
                self.sha256
            ),
        );
        if let Some(request) = &self.request_id {
            screen.line(2, &format!("request {} (the requester's own name for it)", quoted(request)));
        }
        if let Some(session) = canonical.session_id {
            screen.line(2, &format!("session {} (the requester's own name for it)", session.get()));
        }
    }

    fn consequences(&self, index: usize, screen: &mut Screen) {
        screen.line(2, "would");
        for effect in &self.effects[index] {
            let Effect { verb, resource, facts, asks, refuses } = effect;
            let Resource { kind, id, display } = resource;
            let place =
                display.as_ref().map_or(String::new(), |name| format!(" on display {}", quoted(name)));
            screen.line(4, &format!("{verb} {kind} {}{place}", quoted(id)));
            for (name, value) in facts {
                screen.foreign(6, &format!("{name} = {value}"));
            }
            if let Some(why) = asks {
                screen.line(6, &format!("always asks: {why}"));
            }
            if let Some(why) = refuses {
                screen.line(6, &format!("is never allowed: {why}"));
            }
        }
        if !self.profiles[index].is_empty() {
            screen.line(2, "in which its program may, beyond what every program may");
            for (name, value) in &self.profiles[index] {
                screen.foreign(4, &format!("{name} = {value}"));
            }
        }
        screen.line(2, "asks because of");
        for Reason { policy, reason } in &self.policies[index] {
            let reason = reason.as_deref().unwrap_or("(it states no reason)");
            screen.line(4, &format!("{policy}: {reason}"));
        }
    }
}

/// Warns of every string that holds more than printable ASCII, tabs and line feeds: what a screen would show of it
/// is not what it is.
fn beyond_ascii(json: &str, screen: &mut Screen) -> Result<(), String> {
    let value = Json::parse(json.as_bytes()).map_err(|e| format!("the plan is not strict JSON: {e}"))?;
    let mut found = Vec::new();
    strings(&value, "$".to_owned(), &mut found);
    for (path, text) in found {
        let strange: BTreeSet<char> =
            text.chars().filter(|c| !matches!(c, ' '..='~' | '\n' | '\t')).collect();
        if strange.is_empty() {
            continue;
        }
        let named: Vec<_> =
            strange.iter().take(NAMED).map(|&c| format!("{} ({})", c.escape_unicode(), sort(c))).collect();
        let more = strange.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        screen
            .line(2, &format!("ATTENTION: {} is not plain ASCII: {}{more}", plain(&path), named.join(", ")));
        screen.foreign(4, &quoted(text));
    }
    Ok(())
}

fn sort(c: char) -> &'static str {
    match c {
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "turns text around"
        }
        c if c.is_control() => "control character",
        c if is_hidden(c) => "invisible",
        c if c.is_alphanumeric() => "may look like an ASCII letter",
        _ => "not ASCII",
    }
}

/// Every string of a value with its path; the name of a field counts as a string at that field.
fn strings<'a>(value: &'a Json, path: String, found: &mut Vec<(String, &'a str)>) {
    match value {
        Json::Text(text) => found.push((path, text)),
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                strings(item, format!("{path}[{index}]"), found);
            }
        }
        Json::Object(fields) => {
            for (key, item) in fields {
                let path = format!("{path}.{key}");
                found.push((path.clone(), key));
                strings(item, path, found);
            }
        }
        Json::Bool(_) | Json::Int(_) | Json::Float(_) => {}
    }
}

#[cfg(test)]
mod tests;
