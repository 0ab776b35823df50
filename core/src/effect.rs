//! What an action does to the world: a verb on a resource, with the facts that a policy may ask about.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Learn something from it, and change nothing.
    Observe,
    /// Create it or alter it.
    Change,
    /// Remove it, or what it held.
    Destroy,
    /// Start it as a program.
    Run,
    /// Send it input as if a person did.
    Inject,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Verb; 5] = [Verb::Observe, Verb::Change, Verb::Destroy, Verb::Run, Verb::Inject];

    /// The verb in policies and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Observe => "observe",
            Verb::Change => "change",
            Verb::Destroy => "destroy",
            Verb::Run => "run",
            Verb::Inject => "inject",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What sort of thing a resource is; in policies an entity type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A place in the file system. Its ancestors are its parents, so `resource in Path::"/w"` says "below".
    Path,
    /// A program, by the path of the file that runs. Its ancestors are paths.
    Program,
    /// A window.
    Window,
    /// A display or a part of it.
    Display,
    /// A device.
    Device,
    /// A program that was started and goes on running. It belongs to who started it, and nobody else can name it.
    Handle,
    /// A kind of a capability's own: an upper-case letter, then letters and digits.
    Own(&'static str),
}

impl Kind {
    /// The entity type in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Path => "Path",
            Kind::Program => "Program",
            Kind::Window => "Window",
            Kind::Display => "Display",
            Kind::Device => "Device",
            Kind::Handle => "Handle",
            Kind::Own(name) => name,
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing in the world: a kind and an id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Resource {
    /// The kind.
    pub kind: Kind,
    /// The id: for paths and programs the absolute path as read back from the opened descriptor, spelled by
    /// [`path::spell`](crate::path::spell).
    pub id: String,
    /// The display that a window is on, by its id; in policies the window's parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<String>,
}

impl Resource {
    /// A place in the file system, by its real absolute path.
    pub fn path(real: &[u8]) -> Self {
        Self::new(Kind::Path, crate::path::spell(real))
    }

    /// A program, by the real absolute path of its file.
    pub fn program(real: &[u8]) -> Self {
        Self::new(Kind::Program, crate::path::spell(real))
    }

    /// A window, by its class (`WM_CLASS`, ICCCM 4.1.2.5), on a display.
    pub fn window(display: impl Into<String>, class: impl Into<String>) -> Self {
        Self { display: Some(display.into()), ..Self::new(Kind::Window, class) }
    }

    /// Something else, by kind and id.
    pub fn new(kind: Kind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into(), display: None }
    }
}

/// One fact about an effect, an attribute of `context` in policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// A yes or no.
    Bool(bool),
    /// An integer.
    Long(i64),
    /// A text.
    Text(String),
    /// A set of texts.
    Set(BTreeSet<String>),
}

impl Fact {
    /// The type of this fact.
    pub fn ty(&self) -> FactType {
        match self {
            Fact::Bool(_) => FactType::Bool,
            Fact::Long(_) => FactType::Long,
            Fact::Text(_) => FactType::Text,
            Fact::Set(_) => FactType::Set,
        }
    }
}

/// The type of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FactType {
    /// Cedar `Bool`.
    Bool,
    /// Cedar `Long`.
    Long,
    /// Cedar `String`.
    Text,
    /// Cedar `Set<String>`.
    Set,
}

/// A fact that an effect always carries. `confirmed` is the host's own and cannot be declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FactSpec {
    /// The name: `[a-z][a-z0-9_]*`.
    pub name: &'static str,
    /// The type.
    pub ty: FactType,
    /// One sentence for who writes policies.
    pub doc: &'static str,
}

/// Which one of the things with this id it is, so that a swap between decision and use is noticed: for a file its
/// device and inode, for a missing one those of the deepest ancestor that exists, for a program its digest as well.
/// Compared, never interpreted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Identity(String);

impl Identity {
    /// An identity; equal texts mean the same thing in the world.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The identity of what has none beyond its id.
    pub fn of_id() -> Self {
        Self(String::new())
    }
}

/// A verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub resource: Resource,
    /// What a policy may ask about; exactly the facts that the action declares for this verb.
    pub facts: BTreeMap<&'static str, Fact>,
    /// Which one it is.
    #[serde(skip)]
    pub identity: Identity,
    /// Why a human must always confirm this, whatever the policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<Cow<'static, str>>,
    /// Why nothing and nobody can allow this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuses: Option<Cow<'static, str>>,
}

impl Effect {
    /// An effect without facts.
    pub fn new(verb: Verb, resource: Resource, identity: Identity) -> Self {
        Self { verb, resource, facts: BTreeMap::new(), identity, asks: None, refuses: None }
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: &'static str, fact: Fact) -> Self {
        self.facts.insert(name, fact);
        self
    }

    /// A rule that no policy can lift: this always needs confirmation, and why.
    #[must_use]
    pub fn asks(mut self, why: impl Into<Cow<'static, str>>) -> Self {
        self.asks = Some(why.into());
        self
    }

    /// A rule that no policy can lift and no human either: this is denied, and why.
    #[must_use]
    pub fn refuses(mut self, why: impl Into<Cow<'static, str>>) -> Self {
        self.refuses = Some(why.into());
        self
    }
}

/// The effects of an action: at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects(Vec<Effect>);

impl Effects {
    /// One effect.
    pub fn one(effect: Effect) -> Self {
        Self(vec![effect])
    }

    /// And another one.
    #[must_use]
    pub fn and(mut self, effect: Effect) -> Self {
        self.0.push(effect);
        self
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Effect] {
        &self.0
    }

    /// Whether nothing but `observe` is stated.
    pub fn only_observe(&self) -> bool {
        self.0.iter().all(|effect| effect.verb == Verb::Observe)
    }
}

/// States the effects of an action that was resolved. There is no default: what states nothing does not compile.
pub trait Effectful {
    /// The effects on exactly what was resolved; the same on every call.
    fn effects(&self) -> Effects;
}
