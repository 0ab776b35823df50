//! What stands before a policy: its reason, how its decisions are recorded, and what a program that it lets run may
//! touch beyond what every program may.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use cedar_policy::ResourceConstraint;
use llm_os_core::error::excerpt;
use llm_os_core::path;
use llm_os_core::reach::{Network, Profile};

use super::Policy;
use super::names::{path_of, real_id};
use super::reach::{NEVER, concretes, is_path};
use super::rules::Rule;
use super::subtree::{is_at_or_below, is_below};

/// Those that mean something.
const KNOWN: [&str; 7] = ["id", "reason", "record", "network", "execute", "read", "write"];
/// Those that are about a program that runs.
const OF_PROGRAMS: [&str; 4] = ["network", "execute", "read", "write"];

/// The annotations of one policy.
pub(crate) struct Annotations {
    pub(crate) reason: Option<String>,
    /// `@record("clear")`.
    pub(crate) records_in_clear: bool,
    pub(crate) profile: Profile,
}

impl Annotations {
    /// Reads them; `runs_programs` tells whether the policy can let a program run.
    pub(crate) fn of(policy: &cedar_policy::Policy, runs_programs: bool) -> Result<Self, String> {
        if let Some((unknown, _)) = policy.annotations().find(|(name, _)| !KNOWN.contains(name)) {
            let known = KNOWN.map(|name| format!("@{name}")).join(", ");
            return Err(format!("found the annotation @{}, expected one of {known}", excerpt(unknown)));
        }
        let of_programs = OF_PROGRAMS.iter().find(|name| policy.annotation(name).is_some());
        if let Some(name) = of_programs.filter(|_| !runs_programs) {
            return Err(format!(
                "@{name} says what a program may touch, and this policy lets none run: it belongs on a permit whose \
                 action is \"run\""
            ));
        }
        let network = policy.annotation("network").map_or(Ok(Network::None), network)?;
        let places = |name| policy.annotation(name).map_or(Ok(Vec::new()), |text| places(name, text));
        Ok(Self {
            reason: policy.annotation("reason").map(str::to_owned),
            records_in_clear: is_said(policy, "record", "clear")?,
            profile: Profile {
                network,
                execute: is_said(policy, "execute", "yes")?,
                read: places("read")?,
                write: places("write")?,
            },
        })
    }
}

/// Whether an annotation is there, which then has just one value.
fn is_said(policy: &cedar_policy::Policy, name: &str, expected: &str) -> Result<bool, String> {
    match policy.annotation(name) {
        None => Ok(false),
        Some(found) if found == expected => Ok(true),
        Some(other) => Err(format!("found @{name}(\"{}\"), expected \"{expected}\"", excerpt(other))),
    }
}

fn network(text: &str) -> Result<Network, String> {
    let ports = || -> Option<Vec<u16>> {
        let ports = text.strip_prefix("tcp ")?.split(',').map(|port| {
            let number = port.parse::<u16>().ok()?;
            (number > 0 && number.to_string() == port).then_some(number)
        });
        let mut ports = ports.collect::<Option<Vec<_>>>()?;
        ports.sort_unstable();
        ports.dedup();
        Some(ports)
    };
    match text {
        "none" => Ok(Network::None),
        "all" => Ok(Network::All),
        _ => ports().map(Network::Ports).ok_or_else(|| {
            format!("found @network(\"{}\"), expected \"none\", \"all\" or \"tcp 443,80\"", excerpt(text))
        }),
    }
}

/// Absolute paths, separated by commas, in their real form.
fn places(name: &str, text: &str) -> Result<Vec<PathBuf>, String> {
    let place = |written: &str| {
        let refused = |why: &str| {
            format!(
                "@{name}: found \"{}\", expected absolute paths, separated by commas: {why}",
                excerpt(written)
            )
        };
        let real = real_id(written).map_err(|why| refused(&why))?;
        path_of(&real).ok_or_else(|| refused("it is no path"))
    };
    text.split(',').map(place).collect()
}

/// What annotations grant although nothing may: the host's own files, and what a policy forbids by its path.
pub(super) fn granted_against(policy: &Policy) -> Vec<String> {
    let mut problems = Vec::new();
    for rule in &policy.rules {
        let profile = &rule.annotations.profile;
        let reads = profile.read.iter().map(|path| ("read", path));
        for (name, path) in reads.chain(profile.write.iter().map(|path| ("write", path))) {
            let id = path::spell(path.as_os_str().as_bytes());
            if policy.protected.touches(&id) {
                let why = "holds the host's own files, which no policy can grant";
                problems.push(format!("policy \"{}\": @{name}(\"{id}\") {why}", rule.id));
            }
            if NEVER.contains(&id.as_str()) {
                let why = "holds what each program has of its own, or all of it; name a directory below";
                problems.push(format!("policy \"{}\": @{name}(\"{id}\") {why}", rule.id));
            }
            let forbids = |other: &&Rule| {
                !other.permits && names_near(&other.resource, &id) && {
                    let asked = concretes(policy, false).into_iter();
                    let mut asked =
                        asked.chain(concretes(policy, true).into_iter().filter(|_| name == "write"));
                    asked.any(|concrete| other.is_about(concrete))
                }
            };
            if let Some(other) = policy.rules.iter().find(forbids) {
                let why = format!("grants what the policy \"{}\" forbids; a forbid wins", other.id);
                problems.push(format!("policy \"{}\": @{name}(\"{id}\") {why}", rule.id));
            }
        }
    }
    problems
}

/// Whether a scope names a path that holds this one or lies in it.
fn names_near(scope: &ResourceConstraint, id: &str) -> bool {
    match scope {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => false,
        ResourceConstraint::Eq(named)
        | ResourceConstraint::In(named)
        | ResourceConstraint::IsIn(_, named) => {
            let name = named.id().unescaped();
            is_path(named) && (is_at_or_below(id, name) || is_below(name, id))
        }
    }
}
