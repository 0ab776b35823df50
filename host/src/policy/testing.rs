//! `llm-osd policy test`: a policy is held against a file of cases with the decisions that are expected.
//!
//! Every case runs in a small world of its own making: a write root (`$ROOT`), a read root (`$READ`) and a directory
//! that stands for the host's state (`$STATE`). A case names the effects of an action, or gives a plan, which the linked
//! capabilities then resolve as they do in the host; nothing is executed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llm_os_core::audit::{Approved, Entry, Who};
use llm_os_core::capability::{Mode, Root, Setup};
use llm_os_core::effect::{Effect, Fact, FactType, Identity, Kind, Resource};
use llm_os_core::error::{Code, Fault};
use llm_os_core::json::Json;
use llm_os_core::name::{ActionName, Id};
use llm_os_core::pipeline::{
    self, Approvals, Asked, Claim, Door, Durable, HeldPlan, Ledger, Limits, Parsed, Pending,
};
use llm_os_core::policy::{Decision, Judge, Principal, Query, Ruling};
use llm_os_core::registry::Registry;
use llm_os_core::request::Request;
use llm_os_core::value::Secret;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::names::real_id;
use super::vocabulary::{Concrete, neutral};
use super::{Policy, PolicyError, Protected, Source};

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    /// Files below `$ROOT`, by relative name.
    #[serde(default)]
    files: BTreeMap<String, String>,
    tests: Vec<Case>,
}

/// One case: `action` with `effects`, or a `plan`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "some_uid")]
    uid: u32,
    session: Option<String>,
    action: Option<String>,
    effects: Option<Vec<CaseEffect>>,
    plan: Option<Vec<Json>>,
    /// A program without which the case is left out.
    needs: Option<PathBuf>,
    expect: Expected,
    /// The policies that must have decided, where given; no others.
    policies: Option<BTreeSet<String>>,
}

fn virtual_display() -> String {
    "virtual".to_owned()
}

fn some_uid() -> u32 {
    1000
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseEffect {
    verb: String,
    kind: String,
    id: String,
    /// The display that a window is on.
    #[serde(default = "virtual_display")]
    display: String,
    /// What is left out is no, zero or empty.
    #[serde(default)]
    facts: BTreeMap<String, Json>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Allow,
    Confirm,
    Deny,
}

/// How the cases went.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Report {
    /// How many were as expected.
    pub(crate) passed: usize,
    /// The cases whose program is not on this machine.
    pub(crate) skipped: Vec<String>,
    /// What was expected and found, for each that was not as expected.
    pub(crate) failed: Vec<String>,
}

/// Holds a policy against the cases in `tests`.
///
/// # Errors
///
/// A policy that is not accepted, cases that cannot be read, or a world that cannot be made.
pub(crate) fn test(source: &Source, tests: &str, mut registry: Registry) -> Result<Report, PolicyError> {
    let cases = Json::parse(tests.as_bytes()).and_then(|json| json.read::<Cases>());
    let cases = cases.map_err(|e| PolicyError::Setup(format!("the tests cannot be read: {e}")))?;
    let world =
        World::new(&cases.files).map_err(|e| PolicyError::Setup(format!("no world to test in: {e}")))?;
    let setup = Setup { roots: world.roots(), ..Setup::default() };
    registry.open(&BTreeMap::new(), &setup).map_err(|e| PolicyError::Setup(e.to_string()))?;
    let protected = Protected::new([world.dir.join("state")])?;
    let policy = Arc::new(Policy::load(source, &registry, &setup.roots, protected)?);
    let mut report = Report::default();
    for case in cases.tests {
        if case.needs.as_ref().is_some_and(|program| !program.exists()) {
            report.skipped.push(case.name);
            continue;
        }
        match case.judge(&policy, &registry, &world).and_then(|ruling| case.compare(&ruling)) {
            Ok(()) => report.passed += 1,
            Err(why) => report.failed.push(format!("{}: {why}", case.name)),
        }
    }
    Ok(report)
}

impl Case {
    fn judge(&self, policy: &Arc<Policy>, registry: &Registry, world: &World) -> Result<Ruling, String> {
        let session = self.session.as_deref().map(|text| Id::new(text).ok_or("session: an id was expected"));
        let principal = Principal { uid: self.uid, session: session.transpose()? };
        match (&self.action, &self.effects, &self.plan) {
            (Some(action), Some(effects), None) => judge_effects(policy, &principal, action, effects, world),
            (None, None, Some(plan)) => judge_plan(policy, registry, &principal, plan, world),
            _ => Err("expected either \"action\" and \"effects\", or \"plan\"".to_owned()),
        }
    }

    fn compare(&self, ruling: &Ruling) -> Result<(), String> {
        let expected = match self.expect {
            Expected::Allow => Decision::Allow,
            Expected::Confirm => Decision::Confirm,
            Expected::Deny => Decision::Deny,
        };
        let by: BTreeSet<_> = ruling.policies.iter().map(|reason| reason.policy.clone()).collect();
        if ruling.decision != expected {
            return Err(format!("expected {expected}, found {} by {:?}", ruling.decision, ruling.policies));
        }
        match &self.policies {
            Some(policies) if *policies != by => {
                Err(format!("expected the policies {policies:?}, found {by:?}"))
            }
            _ => Ok(()),
        }
    }
}

fn judge_effects(
    policy: &Policy,
    principal: &Principal,
    action: &str,
    effects: &[CaseEffect],
    world: &World,
) -> Result<Ruling, String> {
    let action = ActionName::new(action).ok_or_else(|| format!("\"{action}\" is not an action name"))?;
    let mut all = Ruling::new(Decision::Allow, Vec::new());
    for stated in effects {
        let concrete =
            policy.vocabulary.of_action(&action).find(|concrete| concrete.verb.as_str() == stated.verb);
        let concrete = concrete.ok_or_else(|| format!("{action} does not state {}", stated.verb))?;
        let effect = stated.effect(concrete, world)?;
        let one = policy.judge(Query { principal, action: &action, effect: &effect });
        if one.decision > all.decision {
            all = one;
        } else if one.decision == all.decision {
            all.policies.extend(one.policies);
        }
    }
    Ok(all)
}

impl CaseEffect {
    fn effect(&self, concrete: &Concrete, world: &World) -> Result<Effect, String> {
        let kind = concrete.kinds.iter().find(|kind| kind.as_str() == self.kind);
        let kind = *kind.ok_or_else(|| format!("{} is not stated on a {}", concrete.uid, self.kind))?;
        let id = world.filled_in(&self.id);
        let id = if matches!(kind, Kind::Path | Kind::Program) { real_id(&id)? } else { id };
        let resource = match kind {
            Kind::Window => Resource::window(&self.display, id),
            _ => Resource::new(kind, id),
        };
        let mut effect = Effect::new(concrete.verb, resource, Identity::of_id());
        for (name, spec) in &concrete.facts {
            let given = self.facts.get(*name);
            effect.facts.insert(name, given.map_or(Ok(neutral(spec.ty)), |json| fact(spec.ty, json, world))?);
        }
        match self.facts.keys().find(|name| !concrete.facts.contains_key(name.as_str())) {
            Some(unknown) => Err(format!("{} has no fact \"{unknown}\"", concrete.uid)),
            None => Ok(effect),
        }
    }
}

fn fact(ty: FactType, json: &Json, world: &World) -> Result<Fact, String> {
    let text = |json: &Json| match json {
        Json::Text(text) => Some(world.filled_in(text)),
        _ => None,
    };
    let fact = match (ty, json) {
        (FactType::Bool, Json::Bool(value)) => Some(Fact::Bool(*value)),
        (FactType::Long, Json::Int(value)) => i64::try_from(*value).ok().map(Fact::Long),
        (FactType::Text, json) => text(json).map(Fact::Text),
        (FactType::Set, Json::Array(items)) => items.iter().map(text).collect::<Option<_>>().map(Fact::Set),
        (FactType::Bool | FactType::Long | FactType::Set, _) => None,
    };
    fact.ok_or_else(|| format!("found {}, expected a {ty:?}", json.canonical()))
}

/// Walks a plan through the real pipeline in `plan_only` mode.
fn judge_plan(
    policy: &Arc<Policy>,
    registry: &Registry,
    principal: &Principal,
    plan: &[Json],
    world: &World,
) -> Result<Ruling, String> {
    let calls = plan.iter().map(|call| world.call(call)).collect::<Result<Vec<_>, _>>()?;
    let frame = format!(
        "{{\"request_id\":\"test\",\"version\":\"1\",\"mode\":\"plan_only\",\"actions\":[{}]}}",
        calls.join(",")
    );
    let mut request = Request::read(frame.as_bytes()).map_err(|unread| unread.fault.to_string())?;
    request.session.clone_from(&principal.session);
    let who = Who { uid: principal.uid, gid: principal.uid, pid: 0, exe: None };
    let door = Door {
        registry,
        judge: policy.clone(),
        ledger: &Unrecorded,
        approvals: &Unrecorded,
        evidence: None,
        limits: Limits::default(),
    };
    let walk = pipeline::walk(Parsed::new(request, who, "test".to_owned()), &door, CancellationToken::new());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let response = runtime.block_on(walk);
    if let Some(error) = &response.error {
        return match error.code {
            Code::POLICY_DENIED => Ok(super::denied(error.message.clone())),
            _ => Err(format!("the plan is refused: {}: {}", error.code, error.message)),
        };
    }
    let decision = response.results.iter().filter_map(|result| result.decision).max();
    let policies = response.results.into_iter().filter_map(|result| result.policies).flatten().collect();
    decision.map(|decision| Ruling::new(decision, policies)).ok_or_else(|| "nothing was decided".to_owned())
}

/// The directories that cases are about; removed in the end.
struct World {
    dir: PathBuf,
}

impl World {
    fn new(files: &BTreeMap<String, String>) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let name = format!("llm-osd-policy-test-{:016x}", u64::from_ne_bytes(random));
        let dir = std::env::temp_dir().canonicalize()?.join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&dir)?;
        let world = Self { dir };
        for name in ["root", "read", "state"] {
            std::fs::create_dir(world.dir.join(name))?;
        }
        for (name, text) in files {
            let relative = Path::new(name);
            if !relative.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
                return Err(std::io::Error::other(format!("files: \"{name}\" is not a name below $ROOT")));
            }
            let path = world.dir.join("root").join(relative);
            std::fs::create_dir_all(path.parent().unwrap_or(&world.dir))?;
            std::fs::write(path, text)?;
        }
        Ok(world)
    }

    fn roots(&self) -> Vec<Root> {
        let root = |name, mode| Root { path: self.dir.join(name), mode };
        vec![root("root", Mode::Write), root("read", Mode::Read)]
    }

    /// The text with the names of this world's directories in it.
    fn filled_in(&self, text: &str) -> String {
        let place = |name| self.dir.join(name).display().to_string();
        text.replace("$ROOT", &place("root"))
            .replace("$READ", &place("read"))
            .replace("$STATE", &place("state"))
    }

    /// One action of a plan as it stands in a frame.
    fn call(&self, call: &Json) -> Result<String, String> {
        let Json::Object(fields) = self.filled_in_all(call) else {
            return Err("plan: expected objects of \"action\" and \"params\"".to_owned());
        };
        let mut fields = fields;
        fields.entry("reason".to_owned()).or_insert_with(|| Json::Text("a test of the policy".to_owned()));
        Ok(Json::Object(fields).canonical())
    }

    fn filled_in_all(&self, json: &Json) -> Json {
        match json {
            Json::Text(text) => Json::Text(self.filled_in(text)),
            Json::Array(items) => Json::Array(items.iter().map(|item| self.filled_in_all(item)).collect()),
            Json::Object(fields) => Json::Object(
                fields.iter().map(|(key, value)| (key.clone(), self.filled_in_all(value))).collect(),
            ),
            Json::Bool(_) | Json::Int(_) | Json::Float(_) => json.clone(),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A directory that stays behind in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Keeps no records and holds no plans: in `plan_only` mode nothing happens that one could be missing of.
pub(super) struct Unrecorded;

impl Ledger for Unrecorded {
    async fn write(&self, _: Vec<Entry>) -> Result<Durable, Fault> {
        Ok(Durable { first: 0, last: 0, receipt: String::new() })
    }

    fn note(&self, _: Vec<Entry>) -> Result<(), Fault> {
        Ok(())
    }

    fn digest(&self, _: &[u8]) -> String {
        String::new()
    }

    fn claim(&self, _: &Principal, _: &Id, _: &str) -> Result<(), Fault> {
        Err(Fault::denied("a test executes nothing"))
    }

    fn settle(&self, _: &Principal, _: &Id, _: &str) {}
}

impl Approvals for Unrecorded {
    fn hold(&self, _: HeldPlan) -> Result<Pending, Fault> {
        Err(Fault::denied("a test holds nothing"))
    }

    fn release(&self, _: &str) {}

    fn redeem(&self, _: &Secret, _: Claim<'_>) -> Result<Approved, Fault> {
        Err(Fault::denied("a test confirms nothing"))
    }

    fn granted(&self, _: &Secret, _: &Principal, _: &[Asked<'_>]) -> Option<Vec<Approved>> {
        None
    }
}
