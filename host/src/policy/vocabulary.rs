//! What policies can speak about: the Cedar schema, generated from the actions that are linked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};
use llm_os_core::capability::EffectSpec;
use llm_os_core::effect::{Effect, Fact, FactSpec, FactType, Identity, Kind, Resource, Verb};
use llm_os_core::name::ActionName;
use llm_os_core::registry::Registry;

/// The entity types that exist whatever is linked, with what they mean to who writes policies.
const TYPES: [(&str, &str); 9] = [
    ("User", "Who sends plans, by uid: principal in User::\"1000\"."),
    ("Session in [User]", "A session of a user. Callers choose its name, so policies permit users."),
    (
        "Roots",
        "The configured roots: Roots::\"read\" holds all of them, Roots::\"write\" those that may be written.",
    ),
    ("Path in [Path, Roots]", "A real path; the directories above it are its ancestors."),
    (
        "Program in [Path, Roots]",
        "A program by the real path of its file, which is the Path of the same name.",
    ),
    ("Window in [Display]", "A window by its class; the display that it is on is its parent."),
    ("Display", "A display; \"virtual\" is the one that the host started for itself."),
    ("Device", "A device."),
    ("Handle", "A program that was started and goes on running; it belongs to who started it."),
];

/// Names that a capability cannot give to a kind of its own, beside those of [`TYPES`].
const RESERVED: [&str; 8] = ["Action", "Bool", "Boolean", "Entity", "Extension", "Long", "Set", "String"];

/// The schema, and every effect that can be asked about.
pub(crate) struct Vocabulary {
    pub(crate) schema: Schema,
    /// The schema as Cedar text.
    pub(crate) text: String,
    pub(crate) types: HashMap<&'static str, EntityTypeName>,
    /// By index.
    pub(crate) concretes: Vec<Concrete>,
    /// The concrete actions of an action, by its name.
    by_name: HashMap<String, Vec<usize>>,
}

/// One action with one verb, such as `Action::"fs.copy/change"`.
pub(crate) struct Concrete {
    pub(crate) index: usize,
    pub(crate) action: ActionName,
    pub(crate) uid: EntityUid,
    /// `Action::"fs.copy"` and `Action::"change"`.
    pub(crate) groups: [EntityUid; 2],
    pub(crate) verb: Verb,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) facts: BTreeMap<&'static str, FactSpec>,
}

impl Vocabulary {
    /// The vocabulary of everything that `registry` links.
    pub(crate) fn of(registry: &Registry) -> Result<Self, String> {
        let mut kinds = BTreeSet::new();
        let mut concretes = Vec::new();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for action in registry.actions() {
            for verb in Verb::ALL {
                let specs: Vec<_> = action.spec.effects.iter().filter(|spec| spec.verb == verb).collect();
                if specs.is_empty() {
                    continue;
                }
                kinds.extend(specs.iter().map(|spec| spec.kind));
                by_name.entry(action.name.as_str().to_owned()).or_default().push(concretes.len());
                concretes.push(Concrete::new(concretes.len(), &action.name, verb, &specs));
            }
        }
        let text = text(registry, &kinds, &concretes)?;
        let (schema, _) = Schema::from_cedarschema_str(&text)
            .map_err(|e| format!("the linked capabilities make no valid schema: {e}"))?;
        let names = TYPES.map(|(declared, _)| declared.split(' ').next().unwrap_or(declared));
        let types = names.into_iter().chain(kinds.iter().map(|kind| kind.as_str()));
        let types = types.map(|name| (name, entity_type(name))).collect();
        Ok(Self { schema, text, types, concretes, by_name })
    }

    /// The concrete actions of one action.
    pub(crate) fn of_action(&self, action: &ActionName) -> impl Iterator<Item = &Concrete> {
        self.by_name.get(action.as_str()).into_iter().flatten().map(|index| &self.concretes[*index])
    }

    /// The concrete action of an effect, if it is one that the action declares, with exactly the declared facts.
    ///
    /// This is all that Cedar's own check of a request against the schema would look at, so that the requests of
    /// [`entities`](super::entities) need not be checked a second time.
    pub(crate) fn declared(&self, action: &ActionName, effect: &Effect) -> Result<&Concrete, String> {
        let Effect { verb, resource, facts, .. } = effect;
        let undeclared = |what: String| Err(format!("{action} states {what}, which it does not declare"));
        let Some(concrete) = self.of_action(action).find(|concrete| concrete.verb == *verb) else {
            return undeclared(format!("the verb {verb}"));
        };
        if !concrete.kinds.contains(&resource.kind) {
            return undeclared(format!("{verb} on a {}", resource.kind.as_str()));
        }
        if let Some(missing) = concrete.facts.keys().find(|name| !facts.contains_key(*name)) {
            return Err(format!("{action} states {verb} without the fact \"{missing}\", which it declares"));
        }
        match facts
            .iter()
            .find(|(name, fact)| concrete.facts.get(*name).is_none_or(|spec| spec.ty != fact.ty()))
        {
            Some((name, fact)) => undeclared(format!("the fact \"{name}\" as a {}", type_name(fact.ty()))),
            None => Ok(concrete),
        }
    }

    /// An entity of a type of this vocabulary.
    pub(crate) fn entity(&self, ty: &'static str, id: &str) -> EntityUid {
        EntityUid::from_type_name_and_id(self.types[ty].clone(), EntityId::new(id))
    }
}

impl Concrete {
    fn new(index: usize, action: &ActionName, verb: Verb, specs: &[&EffectSpec]) -> Self {
        let facts = specs[0].facts.iter().map(|fact| (fact.name, *fact)).collect();
        let kinds = specs.iter().map(|spec| spec.kind).collect();
        let uid = |id: &str| EntityUid::from_type_name_and_id(entity_type("Action"), EntityId::new(id));
        Self {
            index,
            action: action.clone(),
            uid: uid(&format!("{action}/{verb}")),
            groups: [uid(action.as_str()), uid(verb.as_str())],
            verb,
            kinds,
            facts,
        }
    }

    /// An effect of this action on nothing in particular.
    pub(crate) fn sample(&self, kind: Kind) -> Effect {
        let id = if matches!(kind, Kind::Path | Kind::Program) { "/" } else { "sample" };
        let resource = match kind {
            Kind::Window => Resource::window("sample", id),
            _ => Resource::new(kind, id),
        };
        let mut effect = Effect::new(self.verb, resource, Identity::of_id());
        effect.facts = self.facts.iter().map(|(name, spec)| (*name, neutral(spec.ty))).collect();
        effect
    }
}

/// The fact that says nothing: no, zero, empty.
pub(crate) fn neutral(ty: FactType) -> Fact {
    match ty {
        FactType::Bool => Fact::Bool(false),
        FactType::Long => Fact::Long(0),
        FactType::Text => Fact::Text(String::new()),
        FactType::Set => Fact::Set(BTreeSet::new()),
    }
}

fn entity_type(name: &str) -> EntityTypeName {
    name.parse().expect("kinds are checked before they become types")
}

fn text(registry: &Registry, kinds: &BTreeSet<Kind>, concretes: &[Concrete]) -> Result<String, String> {
    let mut out = String::new();
    for (declared, doc) in TYPES {
        declare(&mut out, doc, &format!("entity {declared};"));
    }
    for kind in kinds {
        if let Kind::Own(name) = kind {
            if !is_own(name) {
                return Err(format!(
                    "a capability cannot name a kind \"{name}\": it is ill-formed or reserved"
                ));
            }
            declare(&mut out, "A kind of a capability's own.", &format!("entity {name};"));
        }
    }
    for verb in Verb::ALL {
        declare(&mut out, &format!("Every action that can {verb}."), &format!("action \"{verb}\";"));
    }
    for action in registry.actions() {
        let doc = action.doc.lines().next().unwrap_or_default();
        declare(&mut out, doc, &format!("action \"{}\";", action.name));
    }
    for concrete in concretes {
        declare_action(&mut out, concrete);
    }
    Ok(out)
}

fn declare(out: &mut String, doc: &str, declaration: &str) {
    if !doc.is_empty() {
        writeln!(out, "@doc({})", quoted(doc)).expect("writing to a string");
    }
    writeln!(out, "{declaration}").expect("writing to a string");
}

fn declare_action(out: &mut String, concrete: &Concrete) {
    let [action, verb] = &concrete.groups;
    let kinds = concrete.kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
    let id = |uid: &EntityUid| quoted(uid.id().unescaped());
    writeln!(out, "action {} in [{}, {}] appliesTo {{", id(&concrete.uid), id(action), id(verb))
        .and_then(|()| writeln!(out, "  principal: [Session],\n  resource: [{kinds}],\n  context: {{"))
        .and_then(|()| {
            writeln!(
                out,
                "    @doc(\"Whether a human confirmed exactly this plan.\")\n    \"confirmed\": Bool,"
            )
        })
        .expect("writing to a string");
    for fact in concrete.facts.values() {
        writeln!(out, "    @doc({})\n    {}: {},", quoted(fact.doc), quoted(fact.name), type_name(fact.ty))
            .expect("writing to a string");
    }
    out.push_str("  }\n};\n");
}

fn type_name(ty: FactType) -> &'static str {
    match ty {
        FactType::Bool => "Bool",
        FactType::Long => "Long",
        FactType::Text => "String",
        FactType::Set => "Set<String>",
    }
}

/// A Cedar string literal; its escapes are Rust's.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

fn is_own(name: &str) -> bool {
    let taken = TYPES.iter().any(|(declared, _)| declared.split(' ').next() == Some(name))
        || RESERVED.contains(&name);
    let formed =
        name.starts_with(|c: char| c.is_ascii_uppercase()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    formed && !taken
}
