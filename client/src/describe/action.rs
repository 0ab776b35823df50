//! One action, for people.

use serde::Deserialize;
use serde_json::Value;

use super::params;
use crate::screen::Screen;
use crate::text::{Table, heading, paragraph, prose, word, word_or_dash};

/// What `host.describe` tells of one action.
#[derive(Deserialize)]
pub(super) struct Only {
    actions: [Action; 1],
}

#[derive(Deserialize)]
pub(super) struct Action {
    pub(super) action: String,
    tool_name: Option<String>,
    doc: String,
    params: Value,
    allowed: Option<Value>,
    effects: Vec<Effect>,
    #[serde(default)]
    errors: Vec<String>,
    #[serde(default)]
    examples: Vec<Example>,
    pub(super) decision: String,
    pub(super) unavailable: Option<String>,
}

#[derive(Deserialize)]
struct Effect {
    verb: String,
    kind: String,
    #[serde(default)]
    facts: Vec<Fact>,
}

#[derive(Deserialize)]
struct Fact {
    name: String,
}

#[derive(Deserialize)]
struct Example {
    doc: String,
    params: Value,
}

impl Action {
    /// The first sentence about it.
    pub(super) fn summary(&self) -> &str {
        let end = self.doc.find(". ").into_iter().chain(self.doc.find(".\n")).min();
        end.map_or(&self.doc, |end| &self.doc[..=end])
    }

    /// What it does to the world, each once.
    pub(super) fn verbs(&self) -> String {
        let mut verbs: Vec<_> = self.effects.iter().map(|effect| word(&effect.verb)).collect();
        verbs.sort();
        verbs.dedup();
        verbs.join(", ")
    }
}

impl Effect {
    fn name(&self) -> String {
        format!("{} {}", word(&self.verb), word(&self.kind))
    }
}

impl Only {
    pub(super) fn screen(&self) -> Screen {
        let [action] = &self.actions;
        let mut screen = Screen::default();
        heading(2, &word(&action.action), &mut screen);
        paragraph(2, &action.doc, &mut screen);
        screen.line(0, "");
        action.head().write(2, &mut screen);
        action.params(&mut screen);
        action.errors(&mut screen);
        action.examples(&mut screen);
        screen.line(0, "");
        let name = word(&action.action);
        let more = format!("Its JSON Schemas, of what it answers as well: llmsh describe {name} --pretty");
        heading(2, &more, &mut screen);
        screen
    }
}

impl Action {
    fn head(&self) -> Table<2> {
        let mut head = Table::bare();
        if let Some(why) = &self.unavailable {
            head.row(["unusable".to_owned(), prose(why)]);
        }
        let narrower = if self.allowed.is_some() { ", within what --pretty shows as allowed" } else { "" };
        head.row(["policy".to_owned(), format!("{}{narrower}", word(&self.decision))]);
        for effect in &self.effects {
            let facts: Vec<_> = effect.facts.iter().map(|fact| word(&fact.name)).collect();
            let facts = if facts.is_empty() { String::new() } else { format!(": {}", facts.join(", ")) };
            head.row(["effect".to_owned(), format!("{}{facts}", effect.name())]);
        }
        head.row(["tool".to_owned(), word_or_dash(self.tool_name.as_deref())]);
        head
    }

    fn params(&self, screen: &mut Screen) {
        screen.line(0, "");
        let params = params::rows(&self.params);
        if params.is_empty() {
            screen.line(0, "It takes no params");
            return;
        }
        screen.line(0, "Params");
        let mut table = Table::new(["NAME", "TYPE", "NEEDED", "MEANING"]);
        params.into_iter().for_each(|row| table.row(row));
        table.write(2, screen);
    }

    fn errors(&self, screen: &mut Screen) {
        if !self.errors.is_empty() {
            screen.line(0, "");
            screen.line(0, "Errors of its own");
            paragraph(2, &self.errors.iter().map(|code| word(code)).collect::<Vec<_>>().join(", "), screen);
        }
    }

    fn examples(&self, screen: &mut Screen) {
        for (at, Example { doc, params }) in self.examples.iter().enumerate() {
            if at == 0 {
                screen.line(0, "");
                screen.line(0, "Examples of params");
            }
            paragraph(2, doc, screen);
            screen.foreign(4, &params.to_string());
        }
    }
}
