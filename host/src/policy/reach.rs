//! What a program that a plan starts may touch: what the policies say of `fs.read`, and of everything in `fs` that
//! changes, in a form that a kernel can hold.
//!
//! A kernel knows directories and nothing of facts. So a directory is granted only where the policies permit all below
//! it whatever it is, and what they forbid below is taken out again. Whatever cannot be told so is not granted, or is
//! not loaded; nothing here asks the policies about a single file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cedar_policy::{PolicySet, ResourceConstraint};
use llm_os_core::effect::{Kind, Resource, Verb};
use llm_os_core::path;
use llm_os_core::policy::Principal;
use llm_os_core::reach::Reach;

use super::annotations::granted_against;
use super::entities::{Entity, World};
use super::names::path_of;
use super::rules::Rule;
use super::subtree::{is_at_or_below, is_below};
use super::vocabulary::Concrete;
use super::{Policy, PolicyError, Protected};

/// Never given: what holds all of a program's root, and what each program has of its own.
pub(super) const NEVER: [&str; 5] = ["/", "/proc", "/sys", "/dev", "/run/llm-os"];

/// What the policies grant: to each user that they name, and to all others (`None`), unconfirmed and confirmed.
#[derive(Default)]
pub(crate) struct Grants(BTreeMap<(Option<u32>, bool), Vec<Place>>);

/// A directory that is granted with all below it, but for what is held back.
struct Place {
    id: String,
    write: bool,
    /// What is forbidden below: for reading (`true`), or only for writing; and by what.
    held: BTreeMap<String, (bool, String)>,
    /// The roots below, which stay where they are.
    roots: BTreeSet<String>,
}

impl Grants {
    /// Works out what the policies grant, and notes where they grant less than their author may think.
    ///
    /// # Errors
    ///
    /// What is forbidden below a granted place, and cannot be held back since it does not exist; an annotation that
    /// grants what is forbidden.
    pub(crate) fn of(policy: &Policy) -> Result<(Self, Vec<String>), PolicyError> {
        let named: BTreeSet<u32> = policy.rules.iter().flat_map(Rule::users).collect();
        let other = (0..u32::MAX).rev().find(|uid| !named.contains(uid)).unwrap_or(u32::MAX);
        let (mut grants, mut notes) = (BTreeMap::new(), BTreeSet::new());
        let users = named.iter().map(|uid| (Some(*uid), *uid)).chain([(None, other)]);
        for ((user, uid), confirmed) in users.flat_map(|user| [(user, false), (user, true)]) {
            let caller = Caller { policy, principal: Principal { uid, session: None }, confirmed };
            grants.insert((user, confirmed), caller.places(&mut notes));
        }
        let unheld = grants.values().flatten().filter_map(|place| place.reach(&policy.protected).err());
        let problems: BTreeSet<_> = unheld.chain(granted_against(policy)).collect();
        if problems.is_empty() {
            Ok((Self(grants), notes.into_iter().collect()))
        } else {
            Err(PolicyError::Refused(problems.into_iter().collect()))
        }
    }

    /// All that is given to anybody.
    pub(crate) fn reaches(&self, protected: &Protected) -> impl Iterator<Item = Reach> {
        self.0.keys().map(|(user, confirmed)| self.reach(user.unwrap_or(u32::MAX), *confirmed, protected))
    }

    /// What a program of this user may touch now. A place in which something can no longer be held back is not given.
    pub(crate) fn reach(&self, uid: u32, confirmed: bool, protected: &Protected) -> Reach {
        let places = self.0.get(&(Some(uid), confirmed)).or_else(|| self.0.get(&(None, confirmed)));
        let mut all = Reach::default();
        for place in places.into_iter().flatten() {
            match place.reach(protected) {
                Ok(Reach { read, write, hidden, kept }) => {
                    all.read.extend(read);
                    all.write.extend(write);
                    all.hidden.extend(hidden);
                    all.kept.extend(kept);
                }
                Err(why) => tracing::warn!("{} is not given to programs any more: {why}", place.id),
            }
        }
        for list in [&mut all.read, &mut all.write, &mut all.hidden, &mut all.kept] {
            list.sort();
            list.dedup();
        }
        all
    }
}

impl Place {
    /// The place as it stands now.
    fn reach(&self, protected: &Protected) -> Result<Reach, String> {
        let Self { id, write, held, roots } = self;
        let place = standing(id).filter(|path| path.is_dir());
        let place = place.ok_or_else(|| format!("the directory {id} does not exist any more"))?;
        let mut reach = Reach::default();
        let mut fixed: BTreeSet<String> = roots.clone();
        for (below, (is_hidden, by)) in held {
            let path = standing(below).ok_or_else(|| {
                format!(
                    "{by}: it forbids {below}, which does not exist: a program that may use {id} could not be kept from it once \
                     it does. Create {below}, or choose roots that do not hold it"
                )
            })?;
            let list = if *is_hidden { &mut reach.hidden } else { &mut reach.kept };
            list.push(path);
            fixed.insert(below.clone());
        }
        for own in protected.ids().filter(|own| is_below(own, id)) {
            if let Some(path) = standing(own) {
                reach.hidden.push(path);
                fixed.insert(own.to_owned());
            } else if *write {
                let mut above = path::ancestors(own).into_iter().take_while(|above| is_below(above, id));
                let found = above.find_map(|above| standing(&above).map(|path| (above, path)));
                let (above, path) = found.ok_or_else(|| {
                    format!(
                        "{own} is the host's own and does not exist yet: a program that may write {id} could make it. Create \
                         it, or the directory that it is to lie in, or choose roots that do not hold it"
                    )
                })?;
                reach.kept.push(path);
                fixed.insert(above);
            }
        }
        if *write {
            // A directory that is given by itself cannot be renamed: what is held back would go along, and be under a
            // name that no policy forbids.
            let above =
                fixed.iter().flat_map(|fixed| path::ancestors(fixed)).filter(|above| is_below(above, id));
            let pinned: BTreeSet<_> = above.chain(roots.iter().cloned()).collect();
            let is_held = |pin: &String| {
                let held = reach.hidden.iter().chain(&reach.kept);
                path_of(pin).is_none_or(|pin| held.clone().any(|held| pin.starts_with(held)))
            };
            let pinned = pinned.iter().filter(|pin| !is_held(pin)).filter_map(|pin| standing(pin));
            reach.write.extend(pinned);
            reach.write.push(place);
        } else {
            reach.read.push(place);
        }
        Ok(reach)
    }
}

/// Who a reach is for.
struct Caller<'a> {
    policy: &'a Policy,
    principal: Principal,
    confirmed: bool,
}

/// Where a scope lies, seen from a directory.
enum Overlap {
    Apart,
    /// It holds the directory and all below.
    All,
    /// It is about these paths below, and what is in them.
    Below(Vec<String>),
}

impl Caller<'_> {
    /// The granted places, without those that lie in another one that grants as much.
    fn places(&self, notes: &mut BTreeSet<String>) -> Vec<Place> {
        let mut places: Vec<Place> = Vec::new();
        // The ones above come first.
        for id in self.candidates() {
            let Some(place) = self.place(&id, notes) else { continue };
            let holds = |other: &Place| is_at_or_below(&place.id, &other.id) && other.write >= place.write;
            if !places.iter().any(holds) {
                places.push(place);
            }
        }
        places
    }

    /// The roots, and what policies permit below them.
    fn candidates(&self) -> BTreeSet<String> {
        let roots = &self.policy.roots.read;
        let named =
            self.policy.rules.iter().filter(|rule| rule.permits).filter_map(|rule| match &rule.resource {
                ResourceConstraint::In(group) | ResourceConstraint::IsIn(_, group) if is_path(group) => {
                    Some(group.id().unescaped().to_owned())
                }
                _ => None,
            });
        let named = named.filter(|named| roots.iter().any(|root| is_at_or_below(named, root)));
        let all = roots.iter().cloned().chain(named);
        all.filter(|id| standing(id).is_some_and(|path| path.is_dir())).collect()
    }

    fn place(&self, id: &str, notes: &mut BTreeSet<String>) -> Option<Place> {
        if self.policy.protected.covers(id) || NEVER.contains(&id) {
            return None;
        }
        let (reads, writes) = (concretes(self.policy, false), concretes(self.policy, true));
        let mut place =
            Place { id: id.to_owned(), write: false, held: BTreeMap::new(), roots: BTreeSet::new() };
        self.grant(&reads, &mut place, notes).then_some(())?;
        let may_write = self.policy.roots.groups_of(|root| is_at_or_below(id, root)).contains(&"write");
        let mut written =
            Place { id: id.to_owned(), write: true, held: place.held.clone(), roots: BTreeSet::new() };
        if may_write && self.grant(&writes, &mut written, notes) {
            for root in self.policy.roots.read.iter().filter(|root| is_below(root, id)) {
                if self.policy.roots.write.contains(root) {
                    written.roots.insert(root.clone());
                } else {
                    let by = (false, format!("the root {root} is for reading"));
                    written.held.entry(root.clone()).or_insert(by);
                }
            }
            return Some(written);
        }
        Some(place)
    }

    /// Whether all of these are permitted on everything at and below a place; notes in it what is to be held back.
    fn grant(&self, concretes: &[&Concrete], place: &mut Place, notes: &mut BTreeSet<String>) -> bool {
        !concretes.is_empty() && concretes.iter().all(|concrete| self.grant_one(concrete, place, notes))
    }

    fn grant_one(&self, concrete: &Concrete, place: &mut Place, notes: &mut BTreeSet<String>) -> bool {
        let rules =
            self.policy.by_action[concrete.index].rules.iter().map(|index| &self.policy.rules[*index]);
        let permitted = rules.clone().any(|rule| {
            rule.permits
                && !rule.looks_closer
                && self.permits_all(rule, concrete, &place.id)
                && self.applies(rule, concrete) == Some(true)
        });
        if !permitted {
            return false;
        }
        // A rule that can fail denies where it does, a permit as well.
        for rule in rules.filter(|rule| !rule.permits || rule.computes) {
            if !rule.looks_closer && !rule.computes && self.applies(rule, concrete) == Some(false) {
                continue;
            }
            match self.overlap(&rule.resource, &place.id) {
                Overlap::Apart => {}
                Overlap::All if rule.looks_closer || rule.computes => {
                    let what = if concrete.verb == Verb::Observe { "read" } else { "write" };
                    notes.insert(format!(
                        "policy \"{}\" looks at facts, at the resource or at sums in its conditions, which cannot be held of a \
                         program that runs: no program gets {} to {what}",
                        rule.id, place.id
                    ));
                    return false;
                }
                Overlap::All => return false,
                Overlap::Below(paths) => {
                    for path in paths {
                        let is_hidden = concrete.verb == Verb::Observe;
                        let held = place.held.entry(path);
                        let held = held.or_insert_with(|| (is_hidden, format!("policy \"{}\"", rule.id)));
                        held.0 |= is_hidden;
                    }
                }
            }
        }
        true
    }

    /// Whether the scope of a permit holds for a directory and everything below it.
    fn permits_all(&self, rule: &Rule, concrete: &Concrete, id: &str) -> bool {
        match &rule.resource {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
            // A directory alone, and nothing below.
            ResourceConstraint::Eq(_) => false,
            ResourceConstraint::In(group) | ResourceConstraint::IsIn(_, group) => {
                let named = group.id().unescaped();
                if is_path(group) {
                    return is_at_or_below(id, named);
                }
                // What a root for reading holds below one for writing is held back from being written anyway.
                let roots = &self.policy.roots;
                let for_reading = roots.read.iter().filter(|root| !roots.write.contains(root));
                let is_mixed =
                    concrete.verb == Verb::Observe && for_reading.clone().any(|root| is_below(root, id));
                roots.groups_of(|root| is_at_or_below(id, root)).contains(&named)
                    && (named == "read" || !is_mixed)
            }
        }
    }

    /// Where the scope of a forbid lies. One that is about a single path is taken to be about all below it, too.
    fn overlap(&self, scope: &ResourceConstraint, id: &str) -> Overlap {
        let at = |named: &str| {
            if is_at_or_below(id, named) {
                Overlap::All
            } else if is_below(named, id) {
                Overlap::Below(vec![named.to_owned()])
            } else {
                Overlap::Apart
            }
        };
        match scope {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => Overlap::All,
            ResourceConstraint::Eq(one) if is_path(one) && is_below(id, one.id().unescaped()) => {
                Overlap::Apart
            }
            ResourceConstraint::Eq(named)
            | ResourceConstraint::In(named)
            | ResourceConstraint::IsIn(_, named) => {
                let name = named.id().unescaped();
                match named.type_name().to_string().as_str() {
                    "Path" => at(name),
                    "Roots" => {
                        let roots = &self.policy.roots;
                        if roots.groups_of(|root| is_at_or_below(id, root)).contains(&name) {
                            return Overlap::All;
                        }
                        let below = roots.group(name).iter().filter(|root| is_below(root, id));
                        Overlap::Below(below.cloned().collect())
                    }
                    _ => Overlap::Apart,
                }
            }
        }
    }

    /// Whether a rule that looks at nothing but the caller and `confirmed` applies; none where it cannot be evaluated.
    fn applies(&self, rule: &Rule, concrete: &Concrete) -> Option<bool> {
        let Policy { vocabulary, roots, by_action, authorizer, .. } = self.policy;
        let somewhere = match &rule.resource {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => "/".to_owned(),
            ResourceConstraint::Eq(named)
            | ResourceConstraint::In(named)
            | ResourceConstraint::IsIn(_, named) => {
                let name = named.id().unescaped();
                match named.type_name().to_string().as_str() {
                    "Path" => name.to_owned(),
                    "Roots" => match roots.group(name).first() {
                        Some(root) => root.clone(),
                        None => return Some(false),
                    },
                    _ => return Some(false),
                }
            }
        };
        let mut effect = concrete.sample(Kind::Path);
        effect.resource = Resource::new(Kind::Path, somewhere);
        let entity = Entity::of(&effect.resource, roots);
        let world =
            World::new(vocabulary, concrete, &self.principal, &entity, &by_action[concrete.index].named);
        let request = world.request(&effect, self.confirmed).ok()?;
        let alone = PolicySet::from_policies([rule.policy.clone()]).ok()?;
        let response = authorizer.is_authorized(&request, &alone, &world.entities);
        if response.diagnostics().errors().next().is_some() {
            return None;
        }
        Some(response.diagnostics().reason().next().is_some())
    }
}

/// What `fs` asks before it reads, or before it changes or removes something.
pub(super) fn concretes(policy: &Policy, write: bool) -> Vec<&Concrete> {
    let is_meant = |concrete: &&Concrete| match concrete.verb {
        Verb::Observe => !write && concrete.action.verb() == "read",
        Verb::Change | Verb::Destroy => write,
        Verb::Run | Verb::Inject => false,
    };
    let all = policy.vocabulary.concretes.iter();
    let of_fs =
        all.filter(|concrete| concrete.action.capability() == "fs" && concrete.kinds.contains(&Kind::Path));
    of_fs.filter(is_meant).collect()
}

pub(super) fn is_path(uid: &cedar_policy::EntityUid) -> bool {
    uid.type_name().to_string() == "Path"
}

/// The path, where something is there and no link is on the way.
fn standing(id: &str) -> Option<PathBuf> {
    let path = path_of(id)?;
    path.canonicalize().is_ok_and(|real| real == path).then_some(path)
}
