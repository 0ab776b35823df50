//! `llmsh computer --tools`.

use serde_json::{Value, json};

use crate::computer::talk::{describing, desktop};
use crate::peer::Peer;

fn action(name: &str, decision: &str) -> Value {
    let params = json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"], "additionalProperties": false});
    json!({"action": name, "tool_name": name.replacen('.', "_", 1), "doc": "Does it.", "params": params, "output": {},
        "effects": [], "decision": decision})
}

fn host() -> Peer {
    let names = [
        "exec.run",
        "fs.read",
        "fs.remove",
        "keyboard.hold",
        "keyboard.press",
        "keyboard.type",
        "monitor.capture",
        "monitor.list",
        "monitor.wait",
        "monitor.zoom",
        "mouse.click",
        "mouse.down",
        "mouse.drag",
        "mouse.move",
        "mouse.position",
        "mouse.scroll",
        "mouse.up",
    ];
    describing(
        names
            .into_iter()
            .map(|name| action(name, if name == "fs.remove" { "deny" } else { "depends" }))
            .collect(),
    )
}

#[track_caller]
fn offered(peer: &Peer, args: &[&str]) -> Value {
    let ran = peer.llmsh(&[&["computer", "--tools", "--dialect"], args].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn each_version_of_the_computer_tool_is_offered_as_its_api_has_it() {
    let peer = host();
    let check =
        |args: &[&str], expected: Value| assert_eq!(offered(&peer, args), json!([expected]), "{args:?}");
    check(&["anthropic"], json!({"type": "computer_toolset_20260801"}));
    for version in ["computer_20241022", "computer_20250124"] {
        let sized =
            json!({"type": version, "name": "computer", "display_width_px": 1389, "display_height_px": 868});
        check(&["anthropic", "--tool", version], sized);
    }
    let zooming = json!({"type": "computer_20251124", "name": "computer", "display_width_px": 1280, "display_height_px": 800, "enable_zoom": true});
    check(&["anthropic", "--tool", "computer_20251124", "--max-edge", "1280"], zooming);
    check(&["openai"], json!({"type": "computer"}));
    let preview = json!({"type": "computer_use_preview", "environment": "linux", "display_width": 1229, "display_height": 768});
    check(&["openai", "--tool", "computer_use_preview"], preview);
}

#[test]
fn what_the_host_cannot_do_or_its_policy_refuses_is_not_offered() {
    let mut zoom = action("monitor.zoom", "allow");
    zoom["unavailable"] = json!("no display");
    let actions = json!([
        action("monitor.capture", "allow"),
        action("monitor.list", "allow"),
        zoom,
        action("mouse.click", "confirm"),
        action("keyboard.type", "deny"),
    ]);
    let peer = describing(actions);
    let offer = offered(&peer, &["anthropic"]);
    let configs = offer[0]["configs"].as_object().unwrap();
    assert!(configs.values().all(|config| *config == json!({"enabled": false})));
    let on: Vec<_> = ["screenshot", "zoom", "left_click", "type", "wait"]
        .into_iter()
        .filter(|name| !configs.contains_key(*name))
        .collect();
    assert_eq!((configs.len(), on), (17 - 6, vec!["screenshot", "left_click"]));
    let offer = offered(&peer, &["anthropic", "--tool", "computer_20251124"]);
    assert_eq!(offer[0]["enable_zoom"], false);
}

#[test]
fn toolsets_of_the_host_stand_beside_the_computer() {
    let peer = host();
    let offer = offered(&peer, &["anthropic", "--toolsets", "fs,exec"]);
    let names: Vec<_> =
        offer.as_array().unwrap()[1..].iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["exec_run", "fs_read"], "what the policy refuses is left out");
    assert_eq!(offer[2]["input_schema"]["required"], json!(["path", "reason"]));
    let offer = offered(&peer, &["openai", "--toolsets", "exec"]);
    assert_eq!(
        (&offer[1]["type"], &offer[1]["name"], &offer[1]["strict"]),
        (&json!("function"), &json!("exec_run"), &json!(true))
    );
    let params = &offer[1]["parameters"];
    assert_eq!(params["required"].as_array().unwrap().len(), params["properties"].as_object().unwrap().len());
}

#[test]
fn an_offer_that_cannot_be_made_is_no_offer() {
    let peer = host();
    for (args, expected) in [
        (
            ["anthropic", "--toolsets", "fs,shell"],
            "no toolset \"shell\"; it has: exec, fs, keyboard, monitor, mouse",
        ),
        (["openai", "--tool", "computer_20251124"], "of the other dialect"),
        (["anthropic", "--tool", "computer"], "of the other dialect"),
    ] {
        let ran = peer.llmsh(&[&["computer", "--tools", "--dialect"], args.as_slice()].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
    }
    let ran = desktop(Some(("monitor.list", "no display"))).llmsh(&[
        "computer",
        "--dialect",
        "anthropic",
        "--tools",
        "--tool",
        "computer_20251124",
    ]);
    assert_eq!(ran.stdout, "");
    assert_ne!(ran.code, 0);
    assert_eq!(peer.llmsh(&["computer"]).code, 2, "the dialect is not guessed");
}
