//! `host.describe`: true to what the host then does.

use serde_json::{Value, json};

use crate::client::{act, code, plan, with};
use crate::daemon::{Daemon, Place};
use crate::display::own;

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

/// Whether `allowed` of an action accepts some params, which its `params` accept.
#[track_caller]
fn allows(daemon: &Daemon, name: &str, params: &Value) -> bool {
    let described = describe(daemon, json!({"actions": [name]}));
    let action = &described["actions"][0];
    let accepts = |schema: &Value| jsonschema::validator_for(schema).unwrap().is_valid(params);
    assert!(accepts(&action["params"]), "{name}: {params}");
    action.get("allowed").map_or(action["decision"] != "deny", accepts)
}

/// What is not allowed is refused as soon as it is sent, and what is allowed at least gets to the policy.
#[track_caller]
fn holds(daemon: &Daemon, name: &str, params: Value, expected: bool) {
    assert_eq!(allows(daemon, name, &params), expected, "{name} {params}");
    let planned = with(plan("planned", &[act(name, params)]), json!({"mode": "plan_only"}));
    let answer = daemon.ask(&planned);
    let is_refused = code(&answer) == "policy_denied" || answer["results"][0]["decision"] == "deny";
    assert_eq!(is_refused, !expected, "{answer:#}");
}

#[test]
fn allowed_is_what_the_presets_and_the_roots_could_let_through() {
    for preset in ["strict", "workspace"] {
        let place = Place::new();
        let (read, write) = (place.path("r/f"), place.path("w/f"));
        std::fs::write(&read, "x").unwrap();
        let mut command = place.command();
        command.args(["--policy", &format!("preset:{preset}")]);
        let daemon = Daemon::spawn(place, command);
        for (path, may_read, may_write) in [
            (read.to_str().unwrap(), true, false),
            (write.to_str().unwrap(), true, true),
            ("/etc/passwd", false, false),
            (&*format!("{}/../../etc/passwd", write.display()), false, false),
        ] {
            holds(&daemon, "fs.read", json!({"path": path}), may_read);
            holds(&daemon, "fs.write", json!({"path": path, "content": "x", "mode": "create"}), may_write);
            holds(&daemon, "fs.copy", json!({"from": read, "to": path}), may_write);
        }
        // A human may confirm any program, but not that it gets the display.
        holds(&daemon, "exec.run", json!({"argv": ["/usr/bin/printenv"]}), true);
        assert!(!allows(&daemon, "exec.run", &json!({"argv": ["/usr/bin/printenv"], "display": true})));
        let described = describe(&daemon, json!({}));
        for action in described["actions"].as_array().unwrap() {
            assert!(!action.to_string().contains("\"x-"), "{action:#}");
            assert!(action["decision"] != "deny" || action.get("allowed").is_none(), "{action:#}");
        }
        daemon.stop();
    }
}

#[test]
fn allowed_lists_the_programs_and_buttons_that_a_policy_names() {
    let policy = r#"
        permit (principal, action in Action::"observe", resource in Roots::"read");
        permit (principal, action in Action::"run", resource == Program::"/bin/echo");
        permit (principal, action in Action::"run", resource)
        when { context.confirmed && resource == Program::"/usr/bin/printenv" };
        permit (principal, action in Action::"inject", resource) when { context has button && context.button == "left" };
        permit (principal, action in Action::"destroy", resource)
        when { context has links && context.links < 2 && resource in Path::"/elsewhere" };
    "#;
    let daemon = Place::new().set_policy(policy).start();
    for (program, expected) in
        [("/bin/echo", true), ("/usr/bin/echo", true), ("/usr/bin/printenv", true), ("/usr/bin/id", false)]
    {
        holds(&daemon, "exec.run", json!({"argv": [program, "HOME"]}), expected);
        holds(&daemon, "exec.pipe", json!({"stages": [{"argv": [program, "HOME"]}]}), expected);
    }
    for button in ["left", "right", "middle", "back", "forward"] {
        assert_eq!(allows(&daemon, "mouse.click", &json!({"button": button})), button == "left", "{button}");
    }
    // Nothing may be changed, and what may be removed lies below no root: that is known without any params.
    let described = describe(&daemon, json!({"actions": ["fs.write", "fs.remove"]}));
    for action in described["actions"].as_array().unwrap() {
        assert_eq!(action["decision"], "deny", "{action:#}");
    }
    daemon.stop();
}

#[test]
fn allowed_names_the_monitors_that_are_there() {
    let place = own();
    let mut command = place.command();
    command.args(["--policy", "preset:virtual-desktop"]);
    let daemon = Daemon::spawn(place, command);
    let monitors = daemon.ask(&plan("monitors", &[act("monitor.list", json!({}))]));
    let name = monitors["results"][0]["output"]["monitors"][0]["name"].as_str().unwrap();
    let target = |name: &str| json!({"target": {"display": {"name": name}}});
    assert!(allows(&daemon, "monitor.capture", &target(name)), "{name}");
    assert!(!allows(&daemon, "monitor.capture", &target(&format!("{name}x"))), "{name}");
    assert!(allows(&daemon, "monitor.capture", &json!({})));
    daemon.stop();
}
