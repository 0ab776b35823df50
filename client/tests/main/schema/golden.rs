//! The wire contract, kept as files: what a real host describes, and what each format makes of some of it.
//!
//! `UPDATE_GOLDEN=1 cargo nextest run -E 'test(golden)'` writes them anew, the formats from the actions that were there
//! before: run it twice. What changed, the diff shows.

use serde_json::{Value, json};

use super::{described, host, printed};
use crate::daemon::Daemon;

/// A policy that lets everything pass, and a configuration that has every action work.
pub(super) const ALL: &str = "permit (principal, action, resource);";
pub(super) const WORKING: &str = "[display]\nvirtual = \"800x600\"\n[capabilities.fs]\nundo = true";

#[track_caller]
fn check(name: &str, found: &str) {
    crate::golden::check(&format!("schema/{name}"), found);
}

#[test]
fn golden_the_actions_of_a_real_host() {
    let daemon = Daemon::start(ALL, WORKING);
    let told: Value = serde_json::from_str(&daemon.llmsh(&["describe"]).stdout).unwrap();
    let actions = told["actions"].as_array().unwrap();
    let working =
        actions.iter().all(|action| action["decision"] == "allow" && action.get("unavailable").is_none());
    assert!(working, "{told:#}");
    let kept = json!({"version": "0.0.0", "actions": actions});
    let place = daemon.path("");
    let place = place.to_str().unwrap().trim_end_matches('/');
    check("describe.json", &format!("{kept:#}\n").replace(place, "/PLACE"));
}

#[test]
fn golden_each_format() {
    const SOME: [&str; 6] =
        ["exec.run", "exec.pipe", "fs.read", "fs.write", "monitor.capture", "mouse.click"];
    let peer = host(described());
    for (name, options) in [
        ("plan.schema.json", ["--pretty", "--for", "json-schema"].as_slice()),
        ("openai.json", &["--pretty", "--for", "openai"]),
        ("openai-chat.json", &["--pretty", "--for", "openai-chat", "fs.read"]),
        ("openai-plan.json", &["--pretty", "--for", "openai", "--as", "plan"]),
        ("anthropic.json", &["--pretty", "--for", "anthropic"]),
        ("mcp.json", &["--pretty", "--for", "mcp"]),
        ("plan.gbnf", &["--for", "gbnf"]),
        ("call.gbnf", &["--for", "gbnf", "--as", "tools"]),
        ("plan.lark", &["--for", "lark"]),
        ("call.lark", &["--for", "lark", "--as", "tools"]),
    ] {
        let some = if options.contains(&"fs.read") { [].as_slice() } else { &SOME };
        check(name, &printed(&peer, &[options, some].concat()));
    }
}
