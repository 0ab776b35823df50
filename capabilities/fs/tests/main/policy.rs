//! What a policy is asked about in a tree.

use std::fs;

use llm_os_core::{Decision, Verb};
use serde_json::json;

use crate::support::Scene;

/// A scene with a tree in which everything named `hidden` is denied.
fn hiding() -> Scene {
    let scene = Scene::new();
    for name in ["d/a", "d/hidden/x", "d/e/hidden", "d/e/b"] {
        scene.put(name, "needle");
    }
    scene.world.judge(|query| {
        if query.effect.resource.id.contains("hidden") { Decision::Deny } else { Decision::Allow }
    });
    scene
}

#[test]
fn denied_entries_are_left_out_of_a_list_and_counted() {
    let scene = hiding();
    let listed = scene.ok("fs.list", json!({"path": scene.at("d"), "depth": 9}));
    assert_eq!((listed["entries"].as_array().unwrap().len(), &listed["left_out"]), (3, &json!(2)));
    assert!(!listed.to_string().contains("hidden"), "{listed}");
}

#[test]
fn denied_entries_are_left_out_of_a_search_and_counted() {
    let scene = hiding();
    let found = scene.ok("fs.search", json!({"path": scene.at("d"), "pattern": "needle"}));
    assert_eq!((found["matches"].as_array().unwrap().len(), &found["left_out"]), (2, &json!(2)));
    assert!(!found.to_string().contains("hidden"), "{found}");
}

#[test]
fn one_denied_entry_refuses_the_removal_the_copy_and_the_move_of_its_directory() {
    let scene = hiding();
    let before = scene.tree();
    for (action, params) in [
        ("fs.remove", json!({"path": scene.at("d"), "recursive": true})),
        ("fs.copy", json!({"from": scene.at("d"), "to": scene.at("c"), "recursive": true})),
        ("fs.move", json!({"from": scene.at("d"), "to": scene.at("c")})),
    ] {
        scene.refused(action, params, "policy_denied");
        assert_eq!(scene.tree(), before);
    }
}

#[test]
fn one_ruling_for_a_subtree_is_asked_for_once() {
    let scene = hiding();
    scene.world.judge_covers_subtrees(true);
    scene.world.judge(|query| {
        let is_top = query.effect.resource.id.ends_with("/d");
        if is_top { Decision::Allow } else { Decision::Deny }
    });
    let listed = scene.ok("fs.list", json!({"path": scene.at("d"), "depth": 9}));
    assert_eq!((listed["entries"].as_array().unwrap().len(), &listed["left_out"]), (6, &json!(0)));
}

#[test]
fn what_only_a_human_allows_in_a_tree_is_done_once_the_plan_is_confirmed() {
    let scene = Scene::new();
    scene.put("d/e/x", "x");
    scene
        .world
        .judge(|query| if query.effect.verb == Verb::Destroy { Decision::Confirm } else { Decision::Allow });
    let params = json!({"path": scene.at("d"), "recursive": true});
    scene.refused("fs.remove", params.clone(), "confirmation_required");
    let answer = scene.world.send_confirmed("fs.remove", params);
    assert_eq!(answer["results"][0]["output"]["entries"], 3, "{answer}");
}

#[test]
fn a_move_destroys_its_source_and_changes_its_target() {
    let scene = Scene::new();
    let (from, to) = (scene.put("from", "x"), scene.at("to"));
    for denied in [Verb::Observe, Verb::Destroy, Verb::Change] {
        scene
            .world
            .judge(move |query| if query.effect.verb == denied { Decision::Deny } else { Decision::Allow });
        scene.refused("fs.move", json!({"from": from, "to": to}), "policy_denied");
    }
    assert!(fs::exists(from).unwrap());
}

#[test]
fn every_directory_that_mkdir_creates_on_the_way_is_asked_about() {
    let scene = Scene::new();
    scene.world.judge(|query| {
        if query.effect.resource.id.ends_with("/middle") { Decision::Deny } else { Decision::Allow }
    });
    scene.refused("fs.mkdir", json!({"path": scene.at("a/middle/b"), "parents": true}), "policy_denied");
    assert!(scene.tree().is_empty());
}

#[test]
fn a_rule_about_the_name_in_a_plan_cannot_be_passed_by_another_spelling() {
    let scene = Scene::new();
    let path = scene.put("d/secret", "x");
    std::os::unix::fs::symlink("d", scene.at("alias")).unwrap();
    scene
        .world
        .judge(move |query| if query.effect.resource.id == path { Decision::Deny } else { Decision::Allow });
    for spelling in ["d/secret", "d//secret", "d/./secret", "./d/secret", "alias/secret", "/d/secret/"] {
        scene.refused("fs.read", json!({"path": scene.at("").to_owned() + spelling}), "policy_denied");
    }
}
