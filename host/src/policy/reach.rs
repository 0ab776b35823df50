//! What a program that a plan starts may touch: the policy's answers about `fs.read`, `fs.write` and `fs.remove`, in the form
//! that a kernel can hold.
//!
//! A kernel knows places and nothing of facts, so a place is granted only where the policies permit everything in it
//! whatever its facts. Places are the roots and the directories that policies name. A `forbid` that covers a part of a
//! place carves that part out; one that looks at facts keeps the whole place out.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cedar_policy::{PolicySet, ResourceConstraint};
use llm_os_core::effect::{Kind, Resource, Verb};
use llm_os_core::path::{self, WirePath};
use llm_os_core::policy::Principal;
use llm_os_core::reach::Reach;

use super::entities::{Entity, World};
use super::rules::Rule;
use super::vocabulary::Concrete;
use super::{Policy, PolicyError};

/// Never granted as a whole: what every program has of its own, or what holds all of it.
const NEVER: [&str; 5] = ["/", "/proc", "/sys", "/dev", "/run/llm-os"];

/// What was worked out, by uid and whether a human confirmed.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<(u32, bool), Reach>>);

/// How a scope lies on a place.
#[derive(Debug, PartialEq, Eq)]
enum Overlap {
    None,
    /// It holds for the place and all below.
    Covers,
    /// It holds for these, strictly below the place.
    Below(Vec<String>),
}

impl Policy {
    /// Refuses policies that no kernel can hold a program to.
    pub(super) fn check_reach(&mut self) -> Result<(), PolicyError> {
        let mut problems = Vec::new();
        for place in self.places() {
            for rule in self.rules.iter().filter(|rule| !rule.permits) {
                let concretes = self.concretes_of_fs().into_iter().flatten();
                if !concretes.into_iter().any(|concrete| rule.is_about(concrete)) {
                    continue;
                }
                match self.overlap(&rule.resource, &place) {
                    Overlap::Below(paths) if !rule.looks_closer => {
                        problems.extend(paths.iter().filter(|path| !exists(path)).map(|path| {
                            format!(
                                "policy \"{}\": it keeps programs from {path}, which does not exist: what is not there \
                                 cannot be covered, and a program that may work in {place} could make it. Create it, or \
                                 write a rule on a directory that exists",
                                rule.id
                            )
                        }));
                    }
                    Overlap::Below(_) | Overlap::Covers if rule.looks_closer => self.notes.push(format!(
                        "policy \"{}\" looks at more than the place, which a kernel cannot: programs are not let at \
                         {place} where it is about them",
                        rule.id
                    )),
                    Overlap::None | Overlap::Covers | Overlap::Below(_) => {}
                }
            }
        }
        for rule in &self.rules {
            for path in rule.profile.read.iter().chain(&rule.profile.write) {
                let spelled = path::spell(path.as_os_str().as_encoded_bytes());
                if self.protected.touches(&spelled) || NEVER.contains(&spelled.as_str()) {
                    problems.push(format!("policy \"{}\": @read and @write cannot name {spelled}", rule.id));
                }
                let forbids = self.rules.iter().filter(|rule| !rule.permits);
                let [read, change, destroy] = self.concretes_of_fs();
                for forbid in forbids.filter(|forbid| {
                    [read, change, destroy].into_iter().flatten().any(|concrete| forbid.is_about(concrete))
                        && self.overlap(&forbid.resource, &spelled) != Overlap::None
                }) {
                    problems.push(format!(
                        "policy \"{}\": @read and @write cannot name {spelled}, about which \"{}\" forbids something",
                        rule.id, forbid.id
                    ));
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(PolicyError::Refused(problems)) }
    }

    pub(super) fn reach_of(&self, principal: &Principal, confirmed: bool) -> Reach {
        let mut known = self.reaches.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry((principal.uid, confirmed)).or_insert_with(|| self.work_out(principal, confirmed)).clone()
    }

    fn work_out(&self, principal: &Principal, confirmed: bool) -> Reach {
        let mut reach = Reach::default();
        let [Some(read), change, destroy] = self.concretes_of_fs() else { return reach };
        for place in self.places() {
            // What of the host's own is not there yet cannot be covered: a program could make it first.
            let is_open = |own: &str| !exists(own) && existing_above(own) == place;
            if self.protected.covers(&place) || self.protected.below(&place).any(is_open) {
                continue;
            }
            let asked = |concrete| self.granted(concrete, &place, principal, confirmed);
            let Some(mut hidden) = asked(read) else { continue };
            let own = self.protected.below(&place);
            hidden.extend(own.map(|own| if exists(own) { own.to_owned() } else { existing_above(own) }));
            let changed = change.and_then(asked).zip(destroy.and_then(asked));
            let Some((kept, undestroyed)) = changed else {
                reach.read.push(real(&place));
                reach.hidden.extend(hidden.iter().map(|path| real(path)));
                continue;
            };
            reach.write.push(real(&place));
            let kept = [kept, undestroyed].concat();
            for path in hidden.iter().chain(&kept) {
                let above = path::ancestors(path);
                let between = above.iter().take_while(|above| **above != place).map(|above| real(above));
                reach.pinned.extend(between);
            }
            reach.hidden.extend(hidden.iter().map(|path| real(path)));
            reach.kept.extend(kept.iter().map(|path| real(path)));
        }
        for places in
            [&mut reach.read, &mut reach.write, &mut reach.hidden, &mut reach.kept, &mut reach.pinned]
        {
            places.sort();
            places.dedup();
        }
        reach
    }

    /// What reads, changes and removes files, where `fs` is linked.
    fn concretes_of_fs(&self) -> [Option<&Concrete>; 3] {
        [("fs.read", Verb::Observe), ("fs.write", Verb::Change), ("fs.remove", Verb::Destroy)].map(
            |(action, verb)| {
                let mut all = self.vocabulary.concretes.iter();
                all.find(|concrete| concrete.action.as_str() == action && concrete.verb == verb)
            },
        )
    }

    /// The roots, and the directories and files that scopes of permits name, where they exist.
    fn places(&self) -> Vec<String> {
        let named = self.rules.iter().filter(|rule| rule.permits).filter_map(|rule| match &rule.resource {
            ResourceConstraint::Eq(one) | ResourceConstraint::In(one) | ResourceConstraint::IsIn(_, one) => {
                (one.type_name().to_string() == "Path").then(|| one.id().unescaped().to_owned())
            }
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        });
        let mut places: Vec<_> = self.roots.read.iter().cloned().chain(named).collect();
        places.retain(|place| exists(place) && !NEVER.contains(&place.as_str()));
        places.sort();
        places.dedup();
        places
    }

    /// Whether everything at and below a place is permitted, and what is carved out of it.
    fn granted(
        &self,
        concrete: &Concrete,
        place: &str,
        principal: &Principal,
        confirmed: bool,
    ) -> Option<Vec<String>> {
        let about = || self.by_action[concrete.index].rules.iter().map(|index| &self.rules[*index]);
        let applies = |rule: &Rule| !rule.looks_closer && self.applies(rule, concrete, principal, confirmed);
        let permits = about().filter(|rule| rule.permits && applies(rule));
        let permits = permits.filter_map(|rule| self.permitted(&rule.resource, place));
        let mut carved = permits.min_by_key(Vec::len)?;
        for rule in about().filter(|rule| !rule.permits) {
            match self.overlap(&rule.resource, place) {
                Overlap::None => {}
                Overlap::Covers | Overlap::Below(_) if rule.looks_closer => return None,
                Overlap::Covers if applies(rule) => return None,
                Overlap::Below(paths) if applies(rule) => carved.extend(paths),
                Overlap::Covers | Overlap::Below(_) => {}
            }
        }
        Some(carved)
    }

    /// Whether the scope of a permit holds for a place and all below, but for what is carved out.
    fn permitted(&self, scope: &ResourceConstraint, place: &str) -> Option<Vec<String>> {
        match scope {
            ResourceConstraint::Eq(_) if real(place).is_dir() => return None,
            ResourceConstraint::In(group) | ResourceConstraint::IsIn(_, group)
                if group.id().unescaped() == "write" =>
            {
                let is_write = |root: &&String| self.roots.write.contains(root);
                let below = self.roots.read.iter().filter(|root| is_below(root, place));
                return (self.overlap(scope, place) == Overlap::Covers)
                    .then(|| below.filter(|root| !is_write(root)).cloned().collect());
            }
            _ => {}
        }
        (self.overlap(scope, place) == Overlap::Covers).then(Vec::new)
    }

    fn overlap(&self, scope: &ResourceConstraint, place: &str) -> Overlap {
        let named = match scope {
            ResourceConstraint::Any => return Overlap::Covers,
            ResourceConstraint::Is(ty) if ty.to_string() == "Path" => return Overlap::Covers,
            ResourceConstraint::Is(_) => return Overlap::None,
            ResourceConstraint::Eq(one) | ResourceConstraint::In(one) | ResourceConstraint::IsIn(_, one) => {
                one
            }
        };
        let id = named.id().unescaped();
        let is_exactly = matches!(scope, ResourceConstraint::Eq(_));
        match named.type_name().to_string().as_str() {
            "Path" if id == place || (!is_exactly && is_below(place, id)) => Overlap::Covers,
            "Path" if is_below(id, place) => Overlap::Below(vec![id.to_owned()]),
            "Roots" => {
                let groups = self.roots.groups_of(|root| root == place || is_below(place, root));
                if groups.contains(&id) {
                    return Overlap::Covers;
                }
                let below = self.roots.group(id).iter().filter(|root| is_below(root, place));
                let below: Vec<_> = below.cloned().collect();
                if below.is_empty() { Overlap::None } else { Overlap::Below(below) }
            }
            _ => Overlap::None,
        }
    }

    /// Whether a rule that looks at no more than the caller applies to them, on something that is in its scope.
    fn applies(&self, rule: &Rule, concrete: &Concrete, principal: &Principal, confirmed: bool) -> bool {
        let inside = match &rule.resource {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => "/",
            ResourceConstraint::Eq(one) | ResourceConstraint::In(one) | ResourceConstraint::IsIn(_, one) => {
                match one.type_name().to_string().as_str() {
                    "Roots" => match self.roots.group(one.id().unescaped()).first() {
                        Some(root) => root,
                        None => return false,
                    },
                    _ => one.id().unescaped(),
                }
            }
        };
        let mut effect = concrete.sample(Kind::Path);
        effect.resource = Resource::new(Kind::Path, inside);
        let resource = Entity::of(&effect.resource, &self.roots);
        let named = &self.by_action[concrete.index].named;
        let world = World::new(&self.vocabulary, concrete, principal, &resource, named);
        let mut alone = PolicySet::new();
        alone.add(rule.policy.clone()).expect("one policy");
        let Ok(request) = world.request(&effect, confirmed) else { return !rule.permits };
        let response = self.authorizer.is_authorized(&request, &alone, &world.entities);
        let failed = response.diagnostics().errors().next().is_some();
        if failed { !rule.permits } else { response.diagnostics().reason().next().is_some() }
    }
}

fn is_below(path: &str, dir: &str) -> bool {
    path::ancestors(path).iter().any(|above| above == dir)
}

/// The nearest directory above that exists.
fn existing_above(path: &str) -> String {
    path::ancestors(path).into_iter().find(|above| exists(above)).unwrap_or_else(|| "/".to_owned())
}

fn exists(path: &str) -> bool {
    real(path).symlink_metadata().is_ok()
}

/// A path that a policy spells, as the system takes it.
fn real(path: &str) -> PathBuf {
    match WirePath::new(path).bytes("") {
        Ok(bytes) => PathBuf::from(OsString::from_vec(bytes)),
        Err(_) => Path::new(path).to_owned(),
    }
}
