//! What stands before a policy: its name, its reason, and what the program that it lets run may touch.

use std::path::{Path, PathBuf};

use cedar_policy::{ActionConstraint, Effect, Policy};
use llm_os_core::error::excerpt;
use llm_os_core::path;
use llm_os_core::reach::{Network, Profile};

use super::names::real_id;

const KNOWN: [&str; 7] = ["id", "reason", "record", "network", "execute", "read", "write"];
const OF_PROGRAMS: [&str; 4] = ["network", "execute", "read", "write"];

/// The annotations of one policy.
pub(super) struct Annotations {
    pub(super) reason: Option<String>,
    /// `@record("clear")`.
    pub(super) records_in_clear: bool,
    pub(super) profile: Profile,
}

impl Annotations {
    /// Reads them; one that is not known is refused, since it would silently do nothing.
    pub(super) fn of(policy: &Policy) -> Result<Self, String> {
        if let Some((unknown, _)) = policy.annotations().find(|(name, _)| !KNOWN.contains(name)) {
            return Err(format!("found @{}, expected one of @{}", excerpt(unknown), KNOWN.join(", @")));
        }
        let text = |name: &str| policy.annotation(name);
        let records_in_clear = match text("record") {
            None => false,
            Some("clear") => true,
            Some(other) => return Err(format!("found @record(\"{}\"), expected \"clear\"", excerpt(other))),
        };
        let profile = Profile {
            network: text("network").map_or(Ok(Network::None), network)?,
            execute: match text("execute") {
                None => false,
                Some("yes") => true,
                Some(other) => {
                    return Err(format!("found @execute(\"{}\"), expected \"yes\"", excerpt(other)));
                }
            },
            read: text("read").map_or(Ok(Vec::new()), |text| places("read", text))?,
            write: text("write").map_or(Ok(Vec::new()), |text| places("write", text))?,
        };
        if let Some(name) = OF_PROGRAMS.into_iter().find(|name| text(name).is_some())
            && !(policy.effect() == Effect::Permit && may_run(&policy.action_constraint()))
        {
            return Err(format!(
                "@{name} is about programs: it stands before a permit with action \"run\" in its scope"
            ));
        }
        Ok(Self { reason: text("reason").map(str::to_owned), records_in_clear, profile })
    }
}

fn may_run(scope: &ActionConstraint) -> bool {
    match scope {
        ActionConstraint::Any => true,
        ActionConstraint::In(actions) => actions.iter().any(|action| is_run(action.id().unescaped())),
        ActionConstraint::Eq(action) => is_run(action.id().unescaped()),
    }
}

fn is_run(action: &str) -> bool {
    action == "run" || action.ends_with("/run") || action.starts_with("exec.")
}

fn network(text: &str) -> Result<Network, String> {
    let refused =
        || format!("found @network(\"{}\"), expected \"none\", \"all\" or \"tcp 443,8080\"", excerpt(text));
    match text {
        "none" => return Ok(Network::None),
        "all" => return Ok(Network::All),
        _ => {}
    }
    let ports = text.strip_prefix("tcp ").ok_or_else(refused)?;
    let mut ports = ports
        .split(',')
        .map(|port| port.trim().parse().ok().filter(|port| *port != 0).ok_or_else(refused))
        .collect::<Result<Vec<u16>, _>>()?;
    ports.sort_unstable();
    ports.dedup();
    Ok(Network::Ports(ports))
}

/// Absolute paths that exist, separated by commas, in their real form.
fn places(name: &str, text: &str) -> Result<Vec<PathBuf>, String> {
    text.split(',')
        .map(|place| {
            let place = place.trim();
            let refused = |why: &str| format!("@{name}: found \"{}\": {why}", excerpt(place));
            let id = real_id(place).map_err(|why| refused(&why))?;
            let real = PathBuf::from(&id);
            if !Path::new(&id).exists() || path::spell(real.as_os_str().as_encoded_bytes()) != id {
                return Err(refused("expected the absolute path of something that exists, spelled in UTF-8"));
            }
            Ok(real)
        })
        .collect()
}
