//! What `host.describe` says is allowed, for each user and action of a policy.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use llm_os_core::path::{WirePath, uri};

use super::plans::{Plan, Step, USERS};
use super::tree::ROOTS;
use super::{Machine, Policy};
use crate::policy::{Allowed, Principal};

pub(super) struct Narrowed<'a> {
    machine: &'a Machine,
    /// Those that are narrower than the params.
    schemas: HashMap<(u32, String), Validator>,
}

impl<'a> Narrowed<'a> {
    pub(super) fn new(machine: &'a Machine, policy: &Policy) -> Self {
        let mut schemas = HashMap::new();
        for uid in USERS {
            let principal = Principal { uid, session: None };
            for action in machine.registry.actions() {
                let schema = match policy.allowed(&principal, action, &machine.registry) {
                    Allowed::Anything => continue,
                    Allowed::Nothing => serde_json::json!(false),
                    Allowed::Narrower(schema) => schema,
                };
                let name = action.name.as_str().to_owned();
                schemas.insert((uid, name), jsonschema::validator_for(&schema).unwrap());
            }
        }
        Self { machine, schemas }
    }

    /// The first step whose params are not allowed.
    pub(super) fn refuses(&self, plan: &Plan) -> Option<String> {
        let steps = plan.steps.iter().filter(|step| self.is_spelled_as_listed(step));
        let mut calls = steps.map(Step::call);
        let refused = calls.find(|(name, params)| {
            let schema = self.schemas.get(&(plan.uid, name.clone()));
            schema.is_some_and(|schema| !schema.is_valid(params))
        })?;
        Some(format!("{} {}", refused.0, refused.1))
    }

    /// The root that decides about a path, the deepest one, is to be written as `host.describe` lists it.
    fn is_spelled_as_listed(&self, step: &Step) -> bool {
        let Step::Fs { path, to, .. } = step else { return true };
        let roots = ROOTS.map(|(name, _)| self.machine.tree.at(name));
        let is_listed = |path: &String| {
            let bytes = WirePath::new(path.as_str()).bytes("path").unwrap();
            let plain: PathBuf = Path::new(OsStr::from_bytes(&bytes)).components().collect();
            let deepest = roots.iter().filter(|root| plain.starts_with(root)).max_by_key(|root| root.len());
            deepest.is_some_and(|root| path.starts_with(root) || path.starts_with(&uri(root.as_bytes())))
        };
        is_listed(path) && to.iter().all(is_listed)
    }
}
