//! The policy: Cedar, asked about every effect, and the rules that no policy can lift.
//!
//! Three things hold here:
//!
//! - What cannot be decided is denied: an undeclared effect, an error of evaluation, a file that cannot be checked.
//! - A policy that does not validate strictly against what this host can do is not loaded.
//! - Entities come from one constructor (`entities`), and every load asks it canary questions (`canary`), since Cedar
//!   answers `Allow` without an error where an entity or an ancestor of it is missing.
//!
//! The way of a policy: [`Source`] reads it, `rules` brings it into the form that is judged, `vocabulary` is the schema
//! that it is validated against, [`Policy`] judges by it, `subtree` says when one ruling holds for everything below a
//! directory, `reach` what a program may touch while it runs, `allowed` which params it could let through at all.

mod aliases;
mod allowed;
mod annotations;
mod asking;
mod backtest;
mod canary;
mod cli;
mod entities;
mod explain;
mod learn;
mod names;
mod past;
mod possible;
mod protected;
mod reach;
mod rules;
mod source;
mod subtree;
mod testing;
mod vocabulary;

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, Decision as Answer, PolicySet, Response};
use llm_os_core::capability::Root;
use llm_os_core::effect::{Kind, Verb};
use llm_os_core::name::ActionName;
use llm_os_core::path;
use llm_os_core::policy::{Decision, Judge, Principal, Query, Reason, Ruling};
use llm_os_core::reach::{Profile, Reach};
use llm_os_core::registry::Registry;

use aliases::Aliases;
pub(crate) use allowed::Allowed;
pub(crate) use cli::{PolicyCommand, command};
use entities::{Entity, Named};
pub(crate) use protected::Protected;
use reach::Grants;
use rules::{Rule, Rules};
pub(crate) use source::Source;
use source::Text;
pub(crate) use testing::{Report, test};
use vocabulary::{Concrete, Vocabulary};

/// A loaded policy, and the one [`Judge`] of the host.
pub(crate) struct Policy {
    vocabulary: Vocabulary,
    rules: Vec<Rule>,
    /// For each concrete action the policies whose action scope it is in: a policy about other actions cannot take part
    /// in a decision, so it is not evaluated.
    by_action: Vec<Relevant>,
    roots: Roots,
    protected: Protected,
    grants: Grants,
    aliases: Aliases,
    authorizer: Authorizer,
    sha256: String,
    notes: Vec<String>,
}

/// What can decide about one concrete action.
struct Relevant {
    set: PolicySet,
    rules: Vec<usize>,
    named: Named,
}

/// Why a policy is not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// It cannot be read.
    #[error("{name}: {why}")]
    Read {
        /// The file, or the preset.
        name: String,
        /// What was found and expected.
        why: String,
    },
    /// It is not accepted; every problem is listed.
    #[error("the policy is refused:\n{}", .0.join("\n"))]
    Refused(Vec<String>),
    /// What it would be judged with cannot be set up.
    #[error("{0}")]
    Setup(String),
    /// A question with a known answer was answered otherwise: nothing that this judge says can be relied on.
    #[error("the policy engine failed its self-test, so the host does not start: {0}")]
    Canary(String),
}

/// What the policies say of an action before its params are known, for `host.describe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outlook {
    /// The policies allow it whatever its params.
    Allow,
    /// The policies ask for confirmation whatever its params.
    Confirm,
    /// The policies deny it whatever its params.
    Deny,
    /// It depends on the params.
    Depends,
}

impl Policy {
    /// Reads, validates and prepares a policy for what `registry` can do.
    ///
    /// # Errors
    ///
    /// A policy that cannot be read, does not parse, or does not validate strictly; a registry that no schema can be
    /// made of; a failed canary.
    pub(crate) fn load(
        source: &Source,
        registry: &Registry,
        roots: &[Root],
        protected: Protected,
    ) -> Result<Self, PolicyError> {
        Self::of(source.read()?, registry, Roots::new(roots), protected)
    }

    fn of(text: Text, registry: &Registry, roots: Roots, protected: Protected) -> Result<Self, PolicyError> {
        let vocabulary = Vocabulary::of(registry).map_err(PolicyError::Setup)?;
        let Rules { rules, mut notes } = Rules::of(&text, &vocabulary)?;
        let asking = asking::check(&rules, &vocabulary, registry);
        // A preset is for any machine; there a program may be one that asks, such as an applet of a multi-call program.
        if !text.is_preset && !asking.is_empty() {
            return Err(PolicyError::Refused(asking));
        }
        notes.extend(asking);
        if let Some(root) = roots.read.iter().find(|root| protected.covers(root)) {
            let why = format!("the root {root} lies inside the host's own state; choose another directory");
            return Err(PolicyError::Setup(why));
        }
        let by_action = vocabulary.concretes.iter().map(|concrete| Relevant::of(concrete, &rules));
        let by_action = by_action.collect::<Result<_, _>>().map_err(PolicyError::Setup)?;
        let authorizer = Authorizer::new();
        canary::check(&vocabulary, &roots).map_err(PolicyError::Canary)?;
        let (grants, aliases, sha256) = (Grants::default(), Aliases::default(), text.sha256);
        let mut policy = Self {
            vocabulary,
            rules,
            by_action,
            roots,
            protected,
            grants,
            aliases,
            authorizer,
            sha256,
            notes,
        };
        let (grants, notes) = Grants::of(&policy)?;
        policy.grants = grants;
        policy.notes.extend(notes);
        Ok(policy)
    }

    /// Refuses what no capability could hold its programs to on this machine.
    ///
    /// # Errors
    ///
    /// Each place that is granted with something held back, and each profile, that one of them cannot hold.
    pub(crate) fn check_held(&self, registry: &Registry) -> Result<(), PolicyError> {
        let granted = self.grants.reaches(&self.protected);
        let mut problems: BTreeSet<_> =
            granted.filter_map(|reach| registry.cannot_hold(&reach, &Profile::default())).collect();
        problems.extend(self.rules.iter().filter_map(|rule| {
            let why = registry.cannot_hold(&Reach::default(), &rule.annotations.profile)?;
            Some(format!("policy \"{}\": {why}", rule.id))
        }));
        if problems.is_empty() { Ok(()) } else { Err(PolicyError::Refused(problems.into_iter().collect())) }
    }

    /// The Cedar schema that policies are validated against, as text.
    ///
    /// # Errors
    ///
    /// A registry that no schema can be made of.
    pub(crate) fn schema(registry: &Registry) -> Result<String, PolicyError> {
        Vocabulary::of(registry).map(|vocabulary| vocabulary.text).map_err(PolicyError::Setup)
    }

    /// What whoever wrote the policy should know, although it is accepted.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The ids of the loaded policies, in the order they were read.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.id.as_str())
    }

    /// What the policies say of an action to this caller before its params are known.
    ///
    /// Rules that no policy can lift, and what the capability itself asks about, come on top.
    pub(crate) fn outlook(&self, principal: &Principal, action: &ActionName) -> Outlook {
        let mut strictest: Option<Decision> = None;
        for concrete in self.vocabulary.of_action(action) {
            let relevant = &self.by_action[concrete.index];
            let mut rules = relevant.rules.iter().map(|index| &self.rules[*index]);
            let decision = if rules.clone().all(Rule::is_uniform) {
                let sample = concrete.sample(concrete.kinds[0]);
                self.decide(
                    concrete,
                    relevant,
                    principal,
                    &Entity::of(&sample.resource, &self.roots),
                    &sample,
                )
                .decision
            } else if rules.any(|rule| rule.permits) {
                return Outlook::Depends;
            } else {
                Decision::Deny
            };
            strictest = strictest.max(Some(decision));
        }
        match strictest {
            Some(Decision::Allow) => Outlook::Allow,
            Some(Decision::Confirm) => Outlook::Confirm,
            Some(Decision::Deny) | None => Outlook::Deny,
        }
    }

    /// Asks Cedar: unconfirmed first, then as if a human had confirmed.
    fn decide(
        &self,
        concrete: &Concrete,
        relevant: &Relevant,
        principal: &Principal,
        resource: &Entity,
        effect: &llm_os_core::Effect,
    ) -> Ruling {
        let world = entities::World::new(&self.vocabulary, concrete, principal, resource, &relevant.named);
        let ask = |confirmed| -> Result<Response, String> {
            let request = world.request(effect, confirmed)?;
            Ok(self.authorizer.is_authorized(&request, &relevant.set, &world.entities))
        };
        let unconfirmed = match ask(false) {
            Ok(response) => response,
            Err(why) => return denied(why),
        };
        if let Some(ruling) = broken(&unconfirmed) {
            return ruling;
        }
        let profile = |response| self.profile(concrete, response);
        if unconfirmed.decision() == Answer::Allow {
            let ruling = Ruling::new(Decision::Allow, self.reasons([&unconfirmed]));
            return Ruling { profile: profile(&unconfirmed), ..ruling };
        }
        let confirmed = match ask(true) {
            Ok(response) => response,
            Err(why) => return denied(why),
        };
        if let Some(ruling) = broken(&confirmed) {
            return ruling;
        }
        match confirmed.decision() {
            Answer::Allow => {
                let ruling = Ruling::new(Decision::Confirm, self.reasons([&unconfirmed, &confirmed]));
                Ruling { profile: profile(&confirmed), ..ruling }
            }
            Answer::Deny => Ruling::new(Decision::Deny, self.reasons([&confirmed])),
        }
    }

    /// What the policies that determined this response add to the reach of the program that it lets run.
    fn profile(&self, concrete: &Concrete, response: &Response) -> Profile {
        let mut profile = Profile::default();
        if concrete.verb == Verb::Run {
            let ids: BTreeSet<_> = response.diagnostics().reason().collect();
            let determining = self.rules.iter().filter(|rule| ids.contains(rule.policy.id()));
            determining.for_each(|rule| profile.add(&rule.annotations.profile));
        }
        profile
    }

    /// The policies that determined these responses.
    fn reasons<'a>(&self, responses: impl IntoIterator<Item = &'a Response>) -> Vec<Reason> {
        let ids: BTreeSet<_> =
            responses.into_iter().flat_map(|response| response.diagnostics().reason()).collect();
        let reason = |rule: &Rule| Reason {
            policy: rule.id.clone(),
            reason: rule.annotations.reason.clone(),
            clear: rule.annotations.records_in_clear,
        };
        let determining = self.rules.iter().filter(|rule| ids.contains(rule.policy.id()));
        let mut reasons: Vec<_> = determining.map(reason).collect();
        reasons.sort();
        reasons
    }
}

impl Judge for Policy {
    fn judge(&self, query: Query<'_>) -> Ruling {
        let Query { principal, action, effect } = query;
        let concrete = match self.vocabulary.declared(action, effect) {
            Ok(concrete) => concrete,
            Err(why) => return denied(why),
        };
        let resource = Entity::of(&effect.resource, &self.roots);
        if let Some(why) = self.protected.refuses(effect, &resource) {
            return denied(why);
        }
        self.decide(concrete, &self.by_action[concrete.index], principal, &resource, effect)
    }

    fn covers_subtree(&self, query: Query<'_>) -> bool {
        let effect = query.effect;
        let Ok(concrete) = self.vocabulary.declared(query.action, effect) else { return false };
        let dir = &effect.resource;
        let rules = self.by_action[concrete.index].rules.iter().map(|index| &self.rules[*index]);
        dir.kind == Kind::Path
            && !self.protected.touches(&dir.id)
            && subtree::is_uniform_below(&dir.id, rules, &self.roots)
    }

    fn reach(&self, principal: &Principal, confirmed: bool) -> Reach {
        self.grants.reach(principal.uid, confirmed, &self.protected)
    }

    fn policy_sha256(&self) -> &str {
        &self.sha256
    }
}

impl Relevant {
    fn of(concrete: &Concrete, rules: &[Rule]) -> Result<Self, String> {
        let (indices, about): (Vec<_>, Vec<_>) =
            rules.iter().enumerate().filter(|(_, rule)| rule.is_about(concrete)).unzip();
        let named = Named::in_policies(about.iter().map(|rule| &rule.policy))?;
        let mut set = PolicySet::new();
        for rule in about {
            set.add(rule.policy.clone()).expect("ids are unique");
        }
        Ok(Self { set, rules: indices, named })
    }
}

/// A refusal of the host's own.
fn denied(why: impl Into<String>) -> Ruling {
    Ruling::new(Decision::Deny, vec![Reason::host(why)])
}

/// A deny if a policy could not be evaluated: Cedar skips such a policy, and a skipped `forbid` would fail open.
fn broken(response: &Response) -> Option<Ruling> {
    let error = response.diagnostics().errors().next()?;
    Some(denied(format!("a policy cannot be evaluated: {error}")))
}

/// The roots in the spelling of policies, each list without those of the other mode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roots {
    /// Every root.
    read: Vec<String>,
    /// Those that may be written below.
    write: Vec<String>,
}

impl Roots {
    fn new(roots: &[Root]) -> Self {
        use llm_os_core::capability::Mode;
        use std::os::unix::ffi::OsStrExt;
        let spelled = |root: &Root| path::spell(root.path.as_os_str().as_bytes());
        let write = roots.iter().filter(|root| root.mode == Mode::Write).map(spelled).collect();
        Self { read: roots.iter().map(spelled).collect(), write }
    }

    /// The groups of what these roots hold: the deepest of them says whether it may be written.
    fn groups_of(&self, holds: impl Fn(&str) -> bool) -> Vec<&'static str> {
        match self.read.iter().filter(|root| holds(root)).max_by_key(|root| root.len()) {
            Some(deepest) if self.write.contains(deepest) => vec!["read", "write"],
            Some(_) => vec!["read"],
            None => Vec::new(),
        }
    }

    /// The roots in the entity `Roots::"<group>"`.
    fn group(&self, group: &str) -> &[String] {
        match group {
            "read" => &self.read,
            "write" => &self.write,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests;
