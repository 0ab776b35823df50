//! Questions with a known answer, asked at every load.
//!
//! A `forbid` bites only if the entity that it names is among the entities of the question. If one is forgotten, Cedar
//! does not complain: it allows. So here everything is permitted, and each way of forbidding must bite where it should
//! and nowhere else, for every action that is linked.

use std::collections::BTreeSet;
use std::str::FromStr;

use cedar_policy::{Authorizer, Decision, Policy, PolicyId, PolicySet, Request};
use llm_os_core::effect::{Kind, Resource, Verb};
use llm_os_core::policy::Principal;

use super::Roots;
use super::entities::{Entity, Named, World};
use super::vocabulary::{Concrete, Vocabulary};

/// A uid that no user has (`nobody` is 65534; the largest number means "none").
const UID: u32 = u32::MAX - 1;

/// Checks that every ancestor is there and no other.
pub(crate) fn check(vocabulary: &Vocabulary, roots: &Roots) -> Result<(), String> {
    let mut questions =
        PolicySet::from_str("permit(principal, action, resource);").map_err(|e| e.to_string())?;
    let scopes = scopes(vocabulary);
    for scope in &scopes {
        let forbid = Policy::parse(Some(PolicyId::new(scope)), format!("forbid({scope});"));
        questions.add(forbid.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    let authorizer = Authorizer::new();
    let policies: Vec<_> = questions.policies().cloned().collect();
    let named = Named::in_policies(&policies)?;
    for concrete in &vocabulary.concretes {
        for kind in &concrete.kinds {
            for place in places(*kind, roots) {
                ask(vocabulary, roots, &authorizer, (&questions, &named), concrete, &place)?;
            }
        }
    }
    Ok(())
}

/// Every scope that is asked about, written as policies write it.
fn scopes(vocabulary: &Vocabulary) -> Vec<String> {
    let mut scopes = vec![
        format!("principal in User::\"{UID}\", action, resource"),
        "principal in User::\"4294967293\", action, resource".to_owned(),
        "principal, action, resource in Path::\"/\"".to_owned(),
        "principal, action, resource in Path::\"/canary\"".to_owned(),
        "principal, action, resource in Path::\"/canary/dir\"".to_owned(),
        "principal, action, resource in Path::\"/canary/dir/file\"".to_owned(),
        "principal, action, resource in Path::\"/canary/di\"".to_owned(),
        "principal, action, resource in Roots::\"read\"".to_owned(),
        "principal, action, resource in Roots::\"write\"".to_owned(),
        "principal, action, resource in Display::\"canary\"".to_owned(),
        "principal, action, resource in Display::\"canar\"".to_owned(),
    ];
    scopes.extend(Verb::ALL.map(|verb| format!("principal, action in Action::\"{verb}\", resource")));
    for concrete in &vocabulary.concretes {
        scopes.push(format!("principal, action == {}, resource", concrete.uid));
        scopes.push(format!("principal, action in {}, resource", concrete.groups[0]));
    }
    scopes.sort();
    scopes.dedup();
    scopes
}

/// A resource in no root, and one below each of the first roots.
fn places(kind: Kind, roots: &Roots) -> Vec<Resource> {
    match kind {
        Kind::Path | Kind::Program => {
            let below = |root: &String| Resource::new(kind, format!("{}/canary", root.trim_end_matches('/')));
            let firsts = [roots.read.first(), roots.write.first()];
            let mut places: Vec<_> = firsts.into_iter().flatten().map(below).collect();
            places.push(Resource::new(kind, "/canary/dir/file"));
            places
        }
        Kind::Window => vec![Resource::window("canary", "a class"), Resource::window("another", "canary")],
        Kind::Display | Kind::Device | Kind::Handle | Kind::Own(_) => vec![Resource::new(kind, "canary")],
    }
}

/// The scopes that must bite, worked out from the strings and not from entities.
fn expected(concrete: &Concrete, place: &Resource, roots: &Roots) -> BTreeSet<String> {
    let mut expected = BTreeSet::from([
        format!("principal in User::\"{UID}\", action, resource"),
        format!("principal, action in Action::\"{}\", resource", concrete.verb),
        format!("principal, action == {}, resource", concrete.uid),
        format!("principal, action in {}, resource", concrete.groups[0]),
    ]);
    let on_canary = match place.kind {
        Kind::Window => place.display.as_deref() == Some("canary"),
        Kind::Display => place.id == "canary",
        Kind::Path | Kind::Program | Kind::Device | Kind::Handle | Kind::Own(_) => false,
    };
    if on_canary {
        expected.insert("principal, action, resource in Display::\"canary\"".to_owned());
    }
    if matches!(place.kind, Kind::Path | Kind::Program) {
        let starts = |dir: &str| dir == "/" || place.id == dir || place.id.starts_with(&format!("{dir}/"));
        let dirs = ["/", "/canary", "/canary/dir", "/canary/dir/file", "/canary/di"];
        let paths = dirs.into_iter().filter(|dir| starts(dir));
        expected.extend(paths.map(|dir| format!("principal, action, resource in Path::\"{dir}\"")));
        // The deepest root that holds it says whether it may be written.
        let deepest = roots.read.iter().filter(|root| starts(root)).max_by_key(|root| root.len());
        let groups =
            [("read", deepest.is_some()), ("write", deepest.is_some_and(|root| roots.write.contains(root)))];
        let groups = groups.into_iter().filter(|(_, within)| *within);
        expected
            .extend(groups.map(|(group, _)| format!("principal, action, resource in Roots::\"{group}\"")));
    }
    expected
}

fn ask(
    vocabulary: &Vocabulary,
    roots: &Roots,
    authorizer: &Authorizer,
    (questions, named): (&PolicySet, &Named),
    concrete: &Concrete,
    place: &Resource,
) -> Result<(), String> {
    let principal = Principal { uid: UID, session: None };
    let mut effect = concrete.sample(place.kind);
    effect.resource = place.clone();
    vocabulary.declared(&concrete.action, &effect)?;
    let world = World::new(vocabulary, concrete, &principal, &Entity::of(place, roots), named);
    let request: Request = world.request(&effect, false)?;
    check_against_schema(vocabulary, &request)?;
    let response = authorizer.is_authorized(&request, questions, &world.entities);
    let bitten: BTreeSet<String> =
        response.diagnostics().reason().map(|id| AsRef::<str>::as_ref(id).to_owned()).collect();
    let expected = expected(concrete, place, roots);
    if response.diagnostics().errors().next().is_some()
        || response.decision() != Decision::Deny
        || bitten != expected
    {
        let missed: Vec<&str> = expected.symmetric_difference(&bitten).map(String::as_str).collect();
        return Err(format!(
            "{} on {}: answered wrongly about {}",
            concrete.uid,
            place.id,
            missed.join("; ")
        ));
    }
    Ok(())
}

/// What the judge leaves out for speed is done here once for each action: Cedar's own check of the request.
fn check_against_schema(vocabulary: &Vocabulary, request: &Request) -> Result<(), String> {
    let (Some(principal), Some(action), Some(resource), Some(context)) =
        (request.principal(), request.action(), request.resource(), request.context())
    else {
        return Err("a request is incomplete".to_owned());
    };
    let (principal, action, resource) = (principal.clone(), action.clone(), resource.clone());
    Request::new(principal, action, resource, context.clone(), Some(&vocabulary.schema))
        .map(drop)
        .map_err(|e| e.to_string())
}
