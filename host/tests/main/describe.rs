//! `host.describe`: true to what the host then does.

use serde_json::{Value, json};

use crate::client::{act, code, plan, with};
use crate::daemon::{Daemon, Place};

fn describe(daemon: &Daemon, params: Value) -> Value {
    let mut answer = daemon.ask(&plan("describe", &[act("host.describe", params)]));
    assert_eq!(code(&answer), "", "{answer:#}");
    answer["results"][0]["output"].take()
}

#[test]
fn every_action_has_a_schema_examples_and_the_decision_of_the_policy() {
    let daemon = Daemon::start();
    let described = describe(&daemon, json!({}));
    let actions = described["actions"].as_array().unwrap();
    let names: Vec<_> = actions.iter().map(|action| action["action"].as_str().unwrap()).collect();
    assert!(names.is_sorted() && names.contains(&"exec.run") && names.contains(&"fs.read"), "{names:?}");
    for action in actions {
        let name = action["action"].as_str().unwrap();
        assert_eq!(action["tool_name"], name.replacen('.', "_", 1));
        assert!(!action["doc"].as_str().unwrap().is_empty(), "{name}");
        assert_eq!(action["params"]["type"], "object", "{name}");
        assert_eq!(action["params"]["additionalProperties"], false, "{name}");
        assert!(!action["examples"].as_array().unwrap().is_empty(), "{name}");
        assert!(!action["effects"].as_array().unwrap().is_empty(), "{name}");
        let decision = action["decision"].as_str().unwrap();
        assert!(["allow", "confirm", "deny", "depends"].contains(&decision), "{name}: {decision}");
    }
    for capability in described["capabilities"].as_array().unwrap() {
        let needs_display = ["keyboard", "monitor", "mouse"].contains(&capability["name"].as_str().unwrap());
        assert_eq!(capability["available"], !needs_display, "{capability:#}");
        let reason = capability["reason"].as_str().unwrap_or_default();
        assert_eq!(reason.contains("--virtual-display 1280x800"), needs_display, "{reason}");
    }
    assert_eq!(described["limits"]["request_bytes"], 65_536);
    assert_eq!(described["roots"].as_array().unwrap().len(), 2);
    daemon.stop();
}

#[test]
fn the_decision_follows_the_policy() {
    for (policy, decision) in [
        ("permit (principal, action, resource);", "depends"),
        ("permit (principal, action, resource) when { context.confirmed };", "confirm"),
        ("permit (principal, action == Action::\"exec.run\", resource);", "deny"),
    ] {
        let daemon = Place::new().set_policy(policy).start();
        let described = describe(&daemon, json!({"actions": ["fs.remove"]}));
        let found = described["actions"][0]["decision"].as_str().unwrap();
        let acceptable = found == decision || (decision == "depends" && found == "allow");
        assert!(acceptable, "{policy}: {found}");
        daemon.stop();
    }
}

#[test]
fn every_example_of_an_action_is_accepted_by_it() {
    let daemon = Daemon::start();
    let described = describe(&daemon, json!({}));
    for action in described["actions"].as_array().unwrap() {
        for example in action["examples"].as_array().unwrap() {
            let call = act(action["action"].as_str().unwrap(), example["params"].clone());
            let answer = daemon.ask(&with(plan("example", &[call]), json!({"mode": "plan_only"})));
            let code = code(&answer);
            assert!(!["parse_failed", "validation_failed", "capability_fault"].contains(&code), "{answer:#}");
        }
    }
    daemon.stop();
}

#[test]
fn an_unknown_action_is_answered_with_the_nearest() {
    let daemon = Daemon::start();
    let answer = daemon.ask(&plan("x", &[act("host.describe", json!({"actions": ["fs.raed"]}))]));
    assert_eq!(code(&answer), "unknown_action");
    assert_eq!(answer["error"]["path"], "$.actions[0].params.actions[0]");
    for (asked, near) in [("fs_read", "fs.read"), ("exec.runn", "exec.run"), ("shell.run", "exec.run")] {
        let answer = daemon.ask(&plan("x", &[act("host.describe", json!({"actions": [asked]}))]));
        assert!(answer["error"]["message"].as_str().unwrap().contains(near), "{answer:#}");
    }
    daemon.stop();
}

#[test]
fn the_hosts_own_verbs_stand_alone_and_are_executed() {
    let daemon = Daemon::start();
    let ping = act("host.ping", json!({}));
    let beside = daemon.ask(&plan("x", &[ping.clone(), ping.clone()]));
    assert_eq!(code(&beside), "validation_failed", "{beside:#}");
    let planned = daemon.ask(&with(plan("x", std::slice::from_ref(&ping)), json!({"mode": "plan_only"})));
    assert_eq!(planned["error"]["path"], "$.mode", "{planned:#}");
    let strict = daemon.ask(&plan("x", &[act("host.ping", json!({"loud": true}))]));
    assert_eq!(code(&strict), "parse_failed", "{strict:#}");
    assert_eq!(strict["error"]["path"], "$.actions[0].params");
    daemon.stop();
}
