//! A policy as a list of rules: written as Cedar for the host, and asked directly by the simple judge.

use std::fmt::Write as _;

use super::simple::{Said, Stated};

pub(super) struct Rule {
    pub(super) permits: bool,
    pub(super) user: Option<u32>,
    pub(super) action: Action,
    pub(super) on: On,
    pub(super) when: Vec<When>,
}

pub(super) enum Action {
    Any,
    /// A verb, such as `observe`.
    Verb(&'static str),
    /// An action, such as `fs.read`.
    Named(&'static str),
    /// One verb of an action.
    Half(&'static str, &'static str),
}

pub(super) enum On {
    Any,
    /// A kind, such as `Path`.
    Kind(&'static str),
    /// This path and all below it.
    Below(String),
    /// One thing of a kind.
    One(&'static str, String),
    /// A group of roots: `read` or `write`.
    Roots(&'static str),
    /// All that is on a display.
    Display(&'static str),
}

/// A condition; each but the first is false where the fact is not there.
pub(super) enum When {
    Confirmed,
    /// A fact that is true or false.
    Is(&'static str, bool),
    /// A text, exactly.
    Text(&'static str, String),
    /// A text that begins so.
    Begins(&'static str, &'static str),
    /// A text that ends so.
    Ends(&'static str, &'static str),
    /// A number, at most.
    AtMost(&'static str, i64),
    /// A set with nothing but these in it.
    Only(&'static str, &'static [&'static str]),
    /// A set with this in it.
    Has(&'static str, &'static str),
    /// None of these holds.
    Not(Box<When>),
}

fn quoted(text: &str) -> String {
    assert!(!text.contains(['"', '\\', '*']), "{text}");
    format!("\"{text}\"")
}

impl Rule {
    /// The rule as Cedar.
    pub(super) fn cedar(&self, index: usize) -> String {
        let effect = if self.permits { "permit" } else { "forbid" };
        let principal =
            self.user.map_or_else(|| "principal".to_owned(), |uid| format!("principal in User::\"{uid}\""));
        let action = match &self.action {
            Action::Any => "action".to_owned(),
            Action::Verb(name) | Action::Named(name) => format!("action in Action::\"{name}\""),
            Action::Half(name, verb) => format!("action == Action::\"{name}/{verb}\""),
        };
        let resource = match &self.on {
            On::Any => "resource".to_owned(),
            On::Kind(kind) => format!("resource is {kind}"),
            On::Below(path) => format!("resource in Path::{}", quoted(path)),
            On::One(kind, id) => format!("resource == {kind}::{}", quoted(id)),
            On::Roots(group) => format!("resource in Roots::\"{group}\""),
            On::Display(display) => format!("resource in Display::\"{display}\""),
        };
        let mut text = format!("@id(\"r{index}\") {effect}({principal}, {action}, {resource})");
        for when in &self.when {
            write!(text, " when {{ {} }}", when.cedar()).unwrap();
        }
        text + ";\n"
    }

    /// Whether it is about this.
    pub(super) fn matches(&self, uid: u32, stated: &Stated, confirmed: bool) -> bool {
        let action = match &self.action {
            Action::Any => true,
            Action::Verb(verb) => stated.verb == *verb,
            Action::Named(name) => stated.action == *name,
            Action::Half(name, verb) => stated.action == *name && stated.verb == *verb,
        };
        let on = match &self.on {
            On::Any => true,
            On::Kind(kind) => stated.kind == *kind,
            On::Below(path) => stated.is_at_or_below(path),
            On::One(kind, id) => stated.kind == *kind && stated.id == *id,
            On::Roots(group) => stated.roots.contains(group),
            On::Display(display) => {
                stated.display == Some(display) || (stated.kind == "Display" && stated.id == *display)
            }
        };
        self.user.is_none_or(|user| user == uid)
            && action
            && on
            && self.when.iter().all(|when| when.holds(stated, confirmed))
    }
}

impl When {
    fn cedar(&self) -> String {
        let with = |name: &str, condition: String| format!("(context has {name} && {condition})");
        match self {
            When::Confirmed => "context.confirmed".to_owned(),
            When::Is(name, value) => with(name, format!("context.{name} == {value}")),
            When::Text(name, text) => with(name, format!("context.{name} == {}", quoted(text))),
            When::Begins(name, text) => with(name, format!("context.{name} like \"{text}*\"")),
            When::Ends(name, text) => with(name, format!("context.{name} like \"*{text}\"")),
            When::AtMost(name, most) => with(name, format!("context.{name} <= {most}")),
            When::Only(name, all) => with(name, format!("{all:?}.containsAll(context.{name})")),
            When::Has(name, one) => with(name, format!("context.{name}.contains(\"{one}\")")),
            When::Not(when) => format!("!{}", when.cedar()),
        }
    }

    fn holds(&self, stated: &Stated, confirmed: bool) -> bool {
        let fact = |name: &str| stated.facts.get(name);
        match self {
            When::Confirmed => confirmed,
            When::Is(name, value) => matches!(fact(name), Some(Said::Bool(found)) if found == value),
            When::Text(name, text) => matches!(fact(name), Some(Said::Text(found)) if found == text),
            When::Begins(name, text) => {
                matches!(fact(name), Some(Said::Text(found)) if found.starts_with(text))
            }
            When::Ends(name, text) => matches!(fact(name), Some(Said::Text(found)) if found.ends_with(text)),
            When::AtMost(name, most) => matches!(fact(name), Some(Said::Long(found)) if found <= most),
            When::Only(name, all) => {
                matches!(fact(name), Some(Said::Set(found)) if found.iter().all(|one| all.contains(&one.as_str())))
            }
            When::Has(name, one) => {
                matches!(fact(name), Some(Said::Set(found)) if found.iter().any(|it| it == one))
            }
            When::Not(when) => !when.holds(stated, confirmed),
        }
    }
}
