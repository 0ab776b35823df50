//! A held plan on the approver's screen.
//!
//! The host digests, shows and runs one text: the plan in its canonical form. What stands on the screen are pieces of
//! exactly that text, and before anything is shown they are put together again and compared with it. So there is no
//! second, prettier form that could say something else.

mod asked;
mod page;
mod previews;
mod strange;

use std::collections::BTreeMap;

use llm_os_core::value::hex;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::held::previews::Preview;
use crate::screen::{Screen, plain, quoted};
use crate::text::word;

pub(crate) use crate::held::page::{Line, Look, Page};
pub(crate) use crate::held::previews::Pictured;

/// What the host tells an approver about one plan.
#[derive(Debug, Deserialize)]
pub(crate) struct Held {
    pub(crate) pending_id: String,
    request_id: Option<String>,
    pub(crate) uid: u32,
    age_s: u64,
    expires_in_s: u64,
    plan: String,
    pub(crate) sha256: String,
    effects: Vec<Vec<Effect>>,
    policies: Vec<Vec<Reason>>,
    /// What the policies let the program of an action do beyond what every program may.
    profiles: Vec<BTreeMap<String, Value>>,
    /// What an action would make of files, and where its clicks go. Nothing is decided by it.
    #[serde(default)]
    previews: Vec<Vec<Preview>>,
    /// What its session could be granted to do again.
    #[serde(default)]
    pub(crate) grant: Vec<String>,
    /// Why its session can be granted nothing of it.
    pub(crate) not_grantable: Option<String>,
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
            None => Err("the host does not offer it for this plan"),
            Some(why) => Err(why),
        }
    }

    /// Whether the host takes no approval without a signature.
    pub(crate) fn is_to_be_signed(&self) -> bool {
        self.signature.is_some()
    }

    /// The page as lines on a terminal; an error where it could not be the whole truth.
    pub(crate) fn screen(&self) -> Result<Screen, String> {
        let mut screen = Screen::default();
        self.page()?.lines().iter().for_each(|line| line.write(&mut screen));
        screen.line(0, "");
        Ok(screen)
    }

    /// What an approver decides by; an error where it could not be the whole truth.
    pub(crate) fn page(&self) -> Result<Page, String> {
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
        if lists.iter().any(|length| *length != count) || ![0, count].contains(&self.previews.len()) {
            return Err(format!(
                "the plan has {count} actions, but its effects, policies, profiles or previews have another number"
            ));
        }
        let mut page = Page::default();
        self.head(&canonical, &mut page);
        for (index, action) in canonical.actions.iter().enumerate() {
            page.line(0, Look::Text, "");
            page.line(0, Look::Head, &format!("Action {} of {count}: {}", index + 1, action.action.get()));
            page.line(2, Look::Text, "with exactly");
            page.line(4, Look::Foreign, action.params.get());
            strange::beyond_ascii(action.params.get(), &mut page)?;
            arguments(action.params, "$", &mut page);
            self.consequences(index, &mut page);
            for preview in self.previews.get(index).into_iter().flatten() {
                preview.show(index, &mut page);
            }
        }
        page.line(0, Look::Text, "");
        page.begin_words();
        page.line(
            0,
            Look::Head,
            "What the requester says about it. Nobody checked it, and no word of it approves anything:",
        );
        for (index, action) in canonical.actions.iter().enumerate() {
            let words =
                [("reason", Some(action.reason)), ("danger", action.danger), ("recovery", action.recovery)];
            for (name, text) in words.into_iter().filter_map(|(name, text)| Some((name, text?))) {
                page.line(2, Look::Text, &format!("action {}, {name}", index + 1));
                page.line(4, Look::Foreign, text.get());
                strange::beyond_ascii(text.get(), &mut page)?;
            }
        }
        Ok(page)
    }

    fn head(&self, canonical: &Canonical<'_>, page: &mut Page) {
        let Held { pending_id, uid, age_s, expires_in_s, .. } = self;
        page.line(
            0,
            Look::Head,
            &format!("Plan {pending_id} of user {uid}, held for {age_s} s, expires in {expires_in_s} s"),
        );
        page.line(
            2,
            Look::Text,
            &format!(
                "protocol {}, {} bytes, SHA-256 {}",
                canonical.version.get(),
                self.plan.len(),
                self.sha256
            ),
        );
        let own = "(the requester's own name for it)";
        if let Some(request) = &self.request_id {
            page.line(2, Look::Text, &format!("request {} {own}", quoted(request)));
        }
        if let Some(session) = canonical.session_id {
            page.line(2, Look::Text, &format!("session {} {own}", session.get()));
        }
    }

    fn consequences(&self, index: usize, page: &mut Page) {
        page.line(2, Look::Text, "would");
        for effect in &self.effects[index] {
            let Effect { verb, resource, facts, asks, refuses } = effect;
            let Resource { kind, id, display } = resource;
            let place =
                display.as_ref().map_or(String::new(), |name| format!(" on display {}", quoted(name)));
            page.line(4, Look::Text, &format!("{verb} {kind} {}{place}", quoted(id)));
            for (name, value) in facts {
                page.line(6, Look::Foreign, &format!("{name} = {value}"));
            }
            if let Some(why) = asks {
                page.line(6, Look::Attention, &format!("always asks: {why}"));
            }
            if let Some(why) = refuses {
                page.line(6, Look::Attention, &format!("is never allowed: {why}"));
            }
        }
        if !self.profiles[index].is_empty() {
            page.line(2, Look::Text, "in which its program may, beyond what every program may");
            for (name, value) in &self.profiles[index] {
                page.line(4, Look::Foreign, &format!("{name} = {value}"));
            }
        }
        page.line(2, Look::Text, "asks because of");
        for Reason { policy, reason } in &self.policies[index] {
            let reason = reason.as_deref().unwrap_or("(it states no reason)");
            page.line(4, Look::Text, &format!("{policy}: {reason}"));
        }
    }
}

/// The arguments of each program, one a line: where one ends and the next begins is not left to the eye.
fn arguments(value: &RawValue, place: &str, page: &mut Page) {
    if let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(value.get()) {
        for (name, value) in fields {
            match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
                Ok(argv) if name == "argv" => {
                    let of = if place == "$" { String::new() } else { format!(" of {place}") };
                    page.line(2, Look::Text, &format!("which are {} arguments{of}", argv.len()));
                    for (index, argument) in argv.iter().enumerate() {
                        page.line(4, Look::Foreign, &format!("[{index}] {}", argument.get()));
                    }
                }
                Ok(_) | Err(_) => arguments(value, &format!("{place}.{}", word(&name)), page),
            }
        }
    } else if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value.get()) {
        for (index, item) in items.into_iter().enumerate() {
            arguments(item, &format!("{place}[{index}]"), page);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
