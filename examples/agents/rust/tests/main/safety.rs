//! What needs a display and is one vendor's own: safety checks, and computer tools that are in beta.

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::dialect::Dialect;
use crate::endpoint::{Endpoint, Reply, Step, step};
use crate::host::Host;

const CHECKS: &str =
    r#"[{"id": "cu_sc_1", "code": "malicious_instructions", "message": "the page gives orders"}]"#;

/// A move of the pointer that the endpoint wants a person to look at.
fn checked() -> Value {
    let checks: Value = serde_json::from_str(CHECKS).unwrap();
    json!({"id": "resp_1", "status": "completed", "output": [{
        "type": "computer_call", "id": "cu_1", "call_id": "call_1", "status": "completed",
        "actions": [{"type": "move", "x": 5, "y": 7}], "pending_safety_checks": checks,
    }]})
}

fn moves(host: &Host) -> usize {
    let records = host.records();
    records.iter().filter(|record| record["what"]["action"] == "mouse.move").count()
}

#[test]
fn a_safety_check_is_shown_to_the_person_and_stops_the_agent() {
    let host = Host::with_display();
    for agent in [Agent::Python, Agent::Rust] {
        let endpoint = Endpoint::start(Dialect::Openai, vec![step(Reply::Body(checked()))]);
        let ran = agent.run(&host, &endpoint, &[]);
        endpoint.finish();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
        assert!(ran.stderr.contains("malicious_instructions: the page gives orders"), "{}", ran.stderr);
        assert!(ran.stderr.contains("--acknowledge-safety-checks"), "{}", ran.stderr);
        assert_eq!(moves(&host), 0);
    }
}

#[test]
fn a_safety_check_is_acknowledged_only_where_the_person_said_so() {
    let host = Host::with_display();
    for agent in [Agent::Python, Agent::Rust] {
        let script: Vec<Step> = vec![
            step(Reply::Body(checked())),
            Box::new(|seen| {
                let result = seen.body["input"].as_array().unwrap().last().unwrap();
                let checks: Value = serde_json::from_str(CHECKS).unwrap();
                assert_eq!(result["acknowledged_safety_checks"], checks, "{}", result["call_id"]);
                Reply::Says("Done.".to_owned())
            }),
        ];
        let endpoint = Endpoint::start(Dialect::Openai, script);
        let before = moves(&host);
        let ran = agent.run(&host, &endpoint, &["--acknowledge-safety-checks"]);
        endpoint.finish();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stderr.contains("malicious_instructions: the page gives orders"), "{}", ran.stderr);
        assert!(moves(&host) > before);
    }
}

#[test]
fn a_computer_tool_that_is_in_beta_is_asked_for_with_its_header() {
    let host = Host::with_display();
    for agent in [Agent::Python, Agent::Rust] {
        for (tool, header) in [
            ("computer_20251124", "computer-use-2025-11-24"),
            ("computer_20250124", "computer-use-2025-01-24"),
        ] {
            let script: Vec<Step> = vec![
                Box::new(move |seen| {
                    let beta = seen.headers.iter().find(|(name, _)| name == "anthropic-beta");
                    assert_eq!(beta.map(|(_, value)| value.as_str()), Some(header));
                    let offered = &seen.body["tools"][0];
                    assert_eq!([&offered["type"], &offered["name"]], [tool, "computer"]);
                    assert_eq!([&offered["display_width_px"], &offered["display_height_px"]], [1280, 800]);
                    let call = json!({"type": "tool_use", "id": "t", "name": "computer", "input": {"action": "screenshot"}});
                    Reply::Body(json!({"stop_reason": "tool_use", "content": [call]}))
                }),
                Box::new(|seen| {
                    assert_eq!((seen.picture().width, seen.picture().height), (1280, 800));
                    Reply::Says("Done.".to_owned())
                }),
            ];
            let endpoint = Endpoint::start(Dialect::Anthropic, script);
            let ran = agent.run(&host, &endpoint, &["--tool", tool]);
            endpoint.finish();
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    }
}

#[test]
fn the_preview_of_computer_use_is_asked_for_with_what_it_needs() {
    let host = Host::with_display();
    for agent in [Agent::Python, Agent::Rust] {
        for (tool, truncation) in [("computer_use_preview", json!("auto")), ("computer", Value::Null)] {
            let script: Vec<Step> = vec![Box::new(move |seen| {
                assert_eq!(
                    [&seen.body["tools"][0]["type"], &seen.body["truncation"]],
                    [&json!(tool), &truncation]
                );
                Reply::Says("Done.".to_owned())
            })];
            let endpoint = Endpoint::start(Dialect::Openai, script);
            let ran = agent.run(&host, &endpoint, &["--tool", tool]);
            endpoint.finish();
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    }
}
