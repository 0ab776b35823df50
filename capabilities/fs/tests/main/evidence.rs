//! What each change makes of a file: shown before, kept after.

use std::fs;

use llm_os_core::Decision;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::Scene;

fn keeping() -> Scene {
    let mut scene = Scene::new();
    scene.world.keep_evidence();
    scene
}

/// The diff that an approver is shown.
fn shown(scene: &Scene, action: &str, params: &Value) -> String {
    scene.world.judge(|_| Decision::Confirm);
    let previews = scene.world.previews(action, params.clone());
    scene.world.judge(|_| Decision::Allow);
    previews[0]["text"]["text"].as_str().unwrap_or_else(|| panic!("{previews:#}")).to_owned()
}

/// The last outcome.
fn outcome(scene: &Scene) -> Value {
    scene.world.records().into_iter().rfind(|record| record["event"] == "outcome").unwrap()
}

/// What the last outcome names under this name.
fn kept(scene: &Scene, name: &str) -> Option<String> {
    let outcome = outcome(scene);
    let named = outcome["evidence"].as_array()?.iter().find(|one| one["name"] == name)?;
    Some(String::from_utf8(scene.world.evidence(named["sha256"].as_str()?)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// The preview, applied to what is there, gives what is there after the write; and it is what the record keeps.
    #[test]
    fn what_is_shown_is_what_happens(
        old in "([ab\r]{0,3}\n){0,9}[ab\r]{0,2}", content in "([ab\r]{0,3}\n){0,9}[ab\r]{0,2}", append: bool,
    ) {
        let scene = keeping();
        let path = scene.put("f", &old);
        let mode = if append { "append" } else { "replace" };
        let params = json!({"path": path, "content": content, "mode": mode});
        let diff = shown(&scene, "fs.write", &params);
        prop_assert_eq!(fs::read_to_string(&path).unwrap(), old.clone(), "nothing is touched");
        scene.ok("fs.write", params);
        prop_assert_eq!(llm_os_test_support::patched(&old, &diff), fs::read_to_string(&path).unwrap(), "{}", diff);
        prop_assert_eq!(kept(&scene, "diff"), Some(diff));
    }
}

#[test]
fn what_reads_or_fails_has_no_diff() {
    let scene = keeping();
    let path = scene.put("f", "text\n");
    scene.ok("fs.read", json!({"path": path}));
    assert!(kept(&scene, "output").unwrap().contains("text"));
    assert_eq!(kept(&scene, "diff"), None);
    scene.ok("fs.edit", json!({"path": path, "old": "text", "new": "other", "dry_run": true}));
    assert_eq!(kept(&scene, "diff"), None, "a dry run changes nothing");
    scene.refused("fs.write", json!({"path": path, "content": "x", "mode": "create"}), "already_exists");
    assert_eq!(kept(&scene, "diff"), None);
    scene.ok("fs.mkdir", json!({"path": scene.at("d")}));
    scene.ok("fs.remove", json!({"path": scene.at("d")}));
    assert_eq!(kept(&scene, "diff"), None, "a directory has no content of its own");
    scene.ok("fs.move", json!({"from": path, "to": scene.at("g")}));
    assert_eq!(kept(&scene, "diff"), None, "a new name is no new content");
}

/// The answer's own diff is cut, the evidence is not.
#[test]
fn an_edit_keeps_its_diff_whole() {
    let scene = keeping();
    let line = "x".repeat(199);
    let path = scene.put("f", format!("{line}\n").repeat(800));
    let params = json!({"path": path, "old": line, "new": "y", "expected": 800});
    let previewed = shown(&scene, "fs.edit", &params);
    let output = scene.ok("fs.edit", params);
    assert_eq!(output["diff"]["truncated"], true);
    let kept = kept(&scene, "diff").unwrap();
    assert!(kept.starts_with(output["diff"]["text"].as_str().unwrap()));
    assert_eq!((kept.len() as u64, kept), (output["diff"]["bytes"].as_u64().unwrap(), previewed));
}

/// An undo is shown and kept as the diffs of all files that it changes, one after the other.
#[test]
fn an_undo_is_shown_as_what_it_makes_of_each_file() {
    let mut kept_folder = crate::undo::Kept::new();
    kept_folder.world.keep_evidence();
    let world = &kept_folder.world;
    let (a, gone, moved) =
        (kept_folder.put("a", "old\n"), kept_folder.put("gone", "gone\n"), kept_folder.put("moved", "m\n"));
    let act = |action: &str, params: Value| json!({"action": action, "params": params, "reason": "a test"});
    let run = kept_folder.run(json!([
        act("fs.write", json!({"path": a, "content": "new\n", "mode": "replace"})),
        act("fs.write", json!({"path": kept_folder.at("b"), "content": "b\n", "mode": "create"})),
        act("fs.remove", json!({"path": gone})),
        act("fs.move", json!({"from": moved, "to": kept_folder.at("elsewhere")})),
    ]));
    let b = kept_folder.at("b");
    let expected = format!(
        "--- {a}\n+++ {a}\n@@ -1 +1 @@\n-new\n+old\n--- {b}\n+++ /dev/null\n@@ -1 +0,0 @@\n-b\n\
         --- /dev/null\n+++ {gone}\n@@ -0,0 +1 @@\n+gone\n"
    );
    world.judge(|_| Decision::Confirm);
    let previews = world.previews("fs.undo", json!({"run": run}));
    assert_eq!(previews[0]["text"]["text"], expected, "{previews:#}");
    world.judge(|_| Decision::Allow);
    let answer = world.send("fs.undo", json!({"run": run}));
    assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
    assert_eq!(fs::read_to_string(&a).unwrap(), "old\n");
    let outcome = world.records().into_iter().rfind(|record| record["event"] == "outcome").unwrap();
    let diff = outcome["evidence"].as_array().unwrap().iter().find(|one| one["name"] == "diff").unwrap();
    assert_eq!(world.evidence(diff["sha256"].as_str().unwrap()), expected.as_bytes());
    fs::write(&a, "changed since").unwrap();
    world.judge(|_| Decision::Confirm);
    let undone = world.previews("fs.undo", json!({"run": answer["meta"]["run"]}));
    assert!(undone[0]["missing"].as_str().unwrap().contains("changed"), "{undone:#}");
}

#[test]
fn evidence_that_cannot_be_kept_fails_nothing_and_is_told() {
    let scene = keeping();
    scene.world.break_evidence(true);
    let path = scene.at("f");
    scene.ok("fs.write", json!({"path": path, "content": "x", "mode": "create"}));
    assert_eq!(fs::read_to_string(&path).unwrap(), "x");
    let outcome = outcome(&scene);
    assert_eq!(outcome["data"]["evidence_missing"], "the store is broken by the test", "{outcome:#}");
    assert_eq!(outcome.get("evidence"), None);
}
