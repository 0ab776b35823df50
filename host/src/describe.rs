//! `host.describe`: everything that a caller needs to write plans for this host.

use llm_os_core::name::ActionName;
use llm_os_core::registry::{Action, Registry};
use llm_os_core::request::{MAX_ACTIONS, MAX_REASON, Request};
use llm_os_core::{Code, Fault, Judge, Principal, VERSION};
use serde_json::{Value, json};

use crate::host::Host;
use crate::policy::{Allowed, Outlook, Policy};
use crate::server::Peer;

/// The answer for all actions, or for some.
pub(crate) fn describe(
    host: &Host,
    request: &Request,
    peer: &Peer,
    only: Option<&[String]>,
) -> Result<Value, Fault> {
    let principal = Principal { uid: peer.who.uid, session: request.session.clone() };
    let policy = host.policy();
    let described = |action: &Action| {
        let mut described = describe_action(action, &policy, &principal, &host.registry);
        if let Some(why) = host.registry.lacks(&action.name) {
            described["unavailable"] = json!(why);
        }
        described
    };
    let actions: Vec<Value> = match only {
        None => host.registry.actions().map(described).collect(),
        Some(names) => {
            let find = |(index, name): (usize, &String)| {
                let action = ActionName::new(name).and_then(|name| host.registry.action(&name));
                action.map(described).ok_or_else(|| unknown(host, index, name))
            };
            names.iter().enumerate().map(find).collect::<Result<_, _>>()?
        }
    };
    let capabilities = host.registry.configs().map(|(name, config)| {
        let mut capability = json!({"name": name, "available": true, "config": config});
        if let Some(why) = host.registry.unavailable(name) {
            capability["available"] = json!(false);
            capability["reason"] = json!(why);
        }
        capability
    });
    let limits = &host.limits;
    let mut all = json!({
        "host": "llm-osd",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": VERSION,
        "roots": host.roots,
        "limits": {
            "request_bytes": limits.request_bytes,
            "response_bytes": limits.response_bytes,
            "actions": MAX_ACTIONS,
            "reason_bytes": MAX_REASON,
            "plan_s": limits.plan_s,
        },
        "policy": {"name": host.policy_source.to_string(), "sha256": policy.policy_sha256()},
        "capabilities": capabilities.collect::<Vec<_>>(),
        "actions": actions,
    });
    if let Some(display) = &host.display {
        all["display"] = json!(display);
    }
    if let (Some(halt), _) = host.running.halted() {
        all["halted"] = json!(halt);
    }
    Ok(all)
}

fn unknown(host: &Host, index: usize, name: &str) -> Fault {
    let name = llm_os_core::error::excerpt(name);
    let next =
        host.registry.nearest(&name).map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
    let fault = Fault::new(Code::UNKNOWN_ACTION, format!("there is no action \"{name}\"{next}"));
    fault.at(format!("$.actions[0].params.actions[{index}]"))
}

fn describe_action(action: &Action, policy: &Policy, principal: &Principal, registry: &Registry) -> Value {
    let example = |example: &llm_os_core::Example| {
        let params: Value = serde_json::from_str(example.params).unwrap_or_default();
        json!({"doc": example.doc, "params": params})
    };
    let (decision, allowed) = match policy.outlook(principal, &action.name) {
        Outlook::Deny => (Outlook::Deny, None),
        decision => match policy.allowed(principal, action, registry) {
            Allowed::Nothing => (Outlook::Deny, None),
            Allowed::Anything => (decision, None),
            Allowed::Narrower(params) => (decision, Some(params)),
        },
    };
    let mut described = json!({
        "action": action.name,
        "tool_name": action.name.as_str().replacen('.', "_", 1),
        "doc": action.doc,
        "params": action.params,
        "output": action.output,
        "effects": action.spec.effects,
        "errors": action.spec.errors,
        "examples": action.spec.examples.iter().map(example).collect::<Vec<_>>(),
        "decision": decision,
    });
    if let Some(allowed) = allowed {
        described["allowed"] = allowed;
    }
    described
}
