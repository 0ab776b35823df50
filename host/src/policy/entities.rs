//! The one place that makes entities.
//!
//! Cedar takes a missing ancestor for "not in", silently. So each entity is given every ancestor that a policy names ([`Named`]), at
//! once, and `rules` refuses policies that ask about the ancestors of anything but `principal`, `action` and `resource`: these
//! three entities are then all that an evaluation can look at.

use std::collections::HashSet;

use cedar_policy::{
    Context, Entities, Entity as CedarEntity, EntityUid, Policy, Request, RestrictedExpression,
};
use llm_os_core::effect::{Effect, Fact, Kind, Resource};
use llm_os_core::path;
use llm_os_core::policy::Principal;
use serde_json::Value;

use super::Roots;
use super::vocabulary::{Concrete, Vocabulary};

/// A resource with its place among paths and roots.
pub(crate) struct Entity {
    kind: Kind,
    id: String,
    /// The directories above, nearest first.
    pub(crate) above: Vec<String>,
    /// Which groups of roots it is in.
    roots: Vec<&'static str>,
    /// The display that a window is on.
    display: Option<String>,
}

impl Entity {
    pub(crate) fn of(resource: &Resource, roots: &Roots) -> Self {
        let Resource { kind, id, display } = resource;
        let display = display.clone();
        let mut entity = Self { kind: *kind, id: id.clone(), above: Vec::new(), roots: Vec::new(), display };
        match kind {
            Kind::Path | Kind::Program => {
                entity.above = path::ancestors(id);
                entity.roots = roots.groups_of(|root| entity.is_in(root));
            }
            Kind::Window | Kind::Display | Kind::Device | Kind::Handle | Kind::Own(_) => {}
        }
        entity
    }

    /// Whether this is the very thing.
    pub(crate) fn is(&self, ty: &str, id: &str) -> bool {
        self.kind.as_str() == ty && self.id == id
    }

    /// Whether it lies in `Roots::"<group>"`.
    pub(crate) fn is_in_roots(&self, group: &str) -> bool {
        self.roots.contains(&group)
    }

    /// Whether this is `path` or lies below it.
    pub(crate) fn is_in(&self, path: &str) -> bool {
        self.id == path || self.above.iter().any(|above| above == path)
    }
}

/// Every text that stands in some policies: the ids of all entities that they name are among them.
///
/// An ancestor that no policy names, in its scope or its conditions, cannot matter to an answer, and costs a question
/// more than all the rest of it. So the chain of ancestors is complete as far as the policies can see.
pub(crate) struct Named(HashSet<String>);

impl Named {
    pub(crate) fn in_policies<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Result<Self, String> {
        fn collect(json: Value, texts: &mut HashSet<String>) {
            match json {
                Value::String(text) => drop(texts.insert(text)),
                Value::Array(items) => items.into_iter().for_each(|item| collect(item, texts)),
                Value::Object(fields) => fields.into_iter().for_each(|(_, value)| collect(value, texts)),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        let mut texts = HashSet::new();
        for policy in policies {
            collect(policy.to_json().map_err(|e| e.to_string())?, &mut texts);
        }
        Ok(Self(texts))
    }
}

/// The entities of one question.
pub(crate) struct World {
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    pub(crate) entities: Entities,
}

impl World {
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        concrete: &Concrete,
        who: &Principal,
        resource: &Entity,
        named: &Named,
    ) -> Self {
        let session = who.session.as_ref().map_or("", |session| session.as_str());
        let user = vocabulary.entity("User", &who.uid.to_string());
        let principal = vocabulary.entity("Session", &format!("{}/{session}", who.uid));
        let action = concrete.uid.clone();
        let itself = (resource.kind == Kind::Program).then_some(&resource.id);
        let above = resource.above.iter().chain(itself).filter(|path| named.0.contains(*path));
        let mut parents: HashSet<_> = above.map(|path| vocabulary.entity("Path", path)).collect();
        parents.extend(resource.roots.iter().map(|group| vocabulary.entity("Roots", group)));
        parents.extend(resource.display.iter().map(|display| vocabulary.entity("Display", display)));
        let resource = vocabulary.entity(resource.kind.as_str(), &resource.id);
        let entities = [
            CedarEntity::new_no_attrs(principal.clone(), HashSet::from([user])),
            CedarEntity::new_no_attrs(action.clone(), HashSet::from(concrete.groups.clone())),
            CedarEntity::new_no_attrs(resource.clone(), parents),
        ];
        let entities = Entities::from_entities(entities, None).expect("three entities of three types");
        Self { principal, action, resource, entities }
    }

    /// The question itself; its facts were held against the schema by [`Vocabulary::declared`].
    pub(crate) fn request(&self, effect: &Effect, confirmed: bool) -> Result<Request, String> {
        let facts = effect.facts.iter().map(|(name, fact)| ((*name).to_owned(), expression(fact)));
        let confirmed = ("confirmed".to_owned(), RestrictedExpression::new_bool(confirmed));
        let context = Context::from_pairs(facts.chain([confirmed])).map_err(|e| e.to_string())?;
        let Self { principal, action, resource, .. } = self;
        Request::new(principal.clone(), action.clone(), resource.clone(), context, None)
            .map_err(|e| e.to_string())
    }
}

fn expression(fact: &Fact) -> RestrictedExpression {
    match fact {
        Fact::Bool(value) => RestrictedExpression::new_bool(*value),
        Fact::Long(value) => RestrictedExpression::new_long(*value),
        Fact::Text(text) => RestrictedExpression::new_string(text.clone()),
        Fact::Set(texts) => RestrictedExpression::new_set(
            texts.iter().map(|text| RestrictedExpression::new_string(text.clone())),
        ),
    }
}
