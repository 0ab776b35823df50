//! The host, for people: what it is, and its actions.

use serde::Deserialize;

use super::Named;
use super::action::Action;
use crate::screen::Screen;
use crate::text::{Table, heading, prose, word};

/// What `host.describe` tells. Fields that a later host adds are passed over.
#[derive(Deserialize)]
pub(super) struct Described {
    #[serde(flatten)]
    named: Named,
    policy: Option<Policy>,
    #[serde(default)]
    roots: Vec<Root>,
    display: Option<Display>,
    #[serde(default)]
    capabilities: Vec<Capability>,
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Policy {
    name: String,
    sha256: String,
}

#[derive(Deserialize)]
struct Root {
    path: String,
    mode: String,
}

#[derive(Deserialize)]
struct Display {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Capability {
    name: String,
    available: bool,
    reason: Option<String>,
}

impl Described {
    pub(super) fn screen(&self) -> Screen {
        let mut screen = Screen::default();
        self.named.write(&mut screen);
        self.head().write(2, &mut screen);
        screen.line(0, "");
        let mut table = Table::new(["ACTION", "EFFECTS", "POLICY", "WHAT IT DOES"]);
        for action in &self.actions {
            let is_usable = action.unavailable.is_none() && self.lacks_capability(action).is_none();
            let policy = if is_usable { &action.decision } else { "unusable" };
            table.row([word(&action.action), action.verbs(), word(policy), prose(action.summary())]);
        }
        table.write(0, &mut screen);
        self.unusable(&mut screen);
        screen.line(0, "");
        heading(2, "More of an action, its params and examples: llmsh describe ACTION", &mut screen);
        screen
    }

    fn head(&self) -> Table<2> {
        let mut head = Table::bare();
        if let Some(Policy { name, sha256 }) = &self.policy {
            head.row(["policy".to_owned(), word(name)]);
            head.row(["SHA-256".to_owned(), word(sha256)]);
        }
        for Root { path, mode } in &self.roots {
            head.row([format!("may {}", word(mode)), word(path)]);
        }
        if let Some(Display { id, name }) = &self.display {
            head.row(["display".to_owned(), format!("{} ({})", word(name), word(id))]);
        }
        head
    }

    /// Why no action of a capability can be used here.
    fn lacks_capability(&self, action: &Action) -> Option<&str> {
        let of = |capability: &&Capability| action.action.split('.').next() == Some(&capability.name);
        self.capabilities.iter().find(of).and_then(Capability::lacks)
    }

    fn unusable(&self, screen: &mut Screen) {
        let capabilities = self.capabilities.iter();
        let mut reasons: Vec<(&str, &str)> = capabilities
            .filter_map(|capability| Some((capability.name.as_str(), capability.lacks()?)))
            .collect();
        let actions = self.actions.iter().filter(|action| self.lacks_capability(action).is_none());
        reasons.extend(
            actions.filter_map(|action| Some((action.action.as_str(), action.unavailable.as_deref()?))),
        );
        if reasons.is_empty() {
            return;
        }
        screen.line(0, "");
        screen.line(0, "Cannot be used here");
        let mut table = Table::bare();
        reasons.iter().for_each(|(name, why)| table.row([word(name), prose(why)]));
        table.write(2, screen);
    }
}

impl Capability {
    fn lacks(&self) -> Option<&str> {
        (!self.available).then(|| self.reason.as_deref().unwrap_or("the host does not say why"))
    }
}
