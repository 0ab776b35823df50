//! What is judged is swapped at the worst moment, after it was opened and before the action runs: the policy does it.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Once;

use llm_os_core::Decision;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::support::Scene;

/// A scene with the files `t` and `u`, a directory `d` with a file, and a symlink `s` to the outside.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.put("t", "judged");
    scene.put("u", "other");
    scene.put("d/x", "inside");
    scene.put("e/y", "elsewhere");
    symlink(scene.outside(""), scene.at("s")).unwrap();
    scene
}

/// Lets the policy exchange two names when it is first asked, and allow everything.
fn swap(scene: &Scene, one: &str, other: &str) {
    let (one, other, once) = (scene.at(one), scene.at(other), Once::new());
    scene.world.judge(move |_| {
        once.call_once(|| renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap());
        Decision::Allow
    });
}

#[track_caller]
fn check(one: &str, other: &str, action: &str, params: impl FnOnce(&Scene) -> Value) -> Scene {
    let scene = scene();
    let params = params(&scene);
    swap(&scene, one, other);
    let before = scene.tree();
    scene.refused(action, params, "target_changed");
    let exchange = || renameat_with(CWD, scene.at(one), CWD, scene.at(other), RenameFlags::EXCHANGE).unwrap();
    exchange();
    assert_eq!(scene.tree(), before, "nothing came, went or stayed behind");
    exchange();
    scene.outside_is_untouched();
    scene
}

fn content(scene: &Scene, name: &str) -> String {
    fs::read_to_string(scene.at(name)).unwrap()
}

#[test]
fn another_file_than_the_judged_one_is_not_replaced() {
    for (action, params) in [
        ("fs.write", json!({"content": "new", "mode": "replace"})),
        ("fs.edit", json!({"old": "judged", "new": "new"})),
    ] {
        let scene = check("t", "u", action, |scene| {
            let mut params = params;
            params["path"] = json!(scene.at("t"));
            params
        });
        assert_eq!((content(&scene, "t"), content(&scene, "u")), ("other".to_owned(), "judged".to_owned()));
    }
}

#[test]
fn another_file_than_the_judged_one_is_not_covered_by_a_copy_or_a_move() {
    for action in ["fs.copy", "fs.move"] {
        let scene = check(
            "t",
            "u",
            action,
            |scene| json!({"from": scene.at("d/x"), "to": scene.at("t"), "replace": true}),
        );
        assert_eq!((content(&scene, "t"), content(&scene, "d/x")), ("other".to_owned(), "inside".to_owned()));
    }
}

#[test]
fn another_file_than_the_judged_one_is_not_removed_or_moved() {
    let scene = check("t", "u", "fs.remove", |scene| json!({"path": scene.at("t")}));
    assert_eq!(content(&scene, "t"), "other");
    check("t", "u", "fs.move", |scene| json!({"from": scene.at("t"), "to": scene.at("v")}));
}

#[test]
fn another_directory_than_the_judged_one_is_not_removed_or_moved() {
    check("d", "e", "fs.remove", |scene| json!({"path": scene.at("d"), "recursive": true}));
    check("d", "s", "fs.remove", |scene| json!({"path": scene.at("d"), "recursive": true}));
    check("d", "e", "fs.move", |scene| json!({"from": scene.at("d"), "to": scene.at("v")}));
}

#[test]
fn nothing_changes_in_a_directory_that_was_moved_away_after_it_was_judged() {
    for other in ["e", "s"] {
        check(
            "d",
            other,
            "fs.write",
            |scene| json!({"path": scene.at("d/n"), "content": "x", "mode": "create"}),
        );
        check("d", other, "fs.mkdir", |scene| json!({"path": scene.at("d/n")}));
        check("d", other, "fs.mkdir", |scene| json!({"path": scene.at("d/n/m"), "parents": true}));
        check("d", other, "fs.remove", |scene| json!({"path": scene.at("d/x")}));
        check("d", other, "fs.copy", |scene| json!({"from": scene.at("t"), "to": scene.at("d/n")}));
        check("d", other, "fs.move", |scene| json!({"from": scene.at("t"), "to": scene.at("d/n")}));
        check("d", other, "fs.move", |scene| json!({"from": scene.at("d/x"), "to": scene.at("n")}));
    }
}

#[test]
fn what_was_judged_is_what_is_read_and_appended_to_wherever_it_is_now() {
    let scene = scene();
    swap(&scene, "t", "u");
    let read = scene.ok("fs.read", json!({"path": scene.at("t")}));
    assert_eq!(read["content"]["text"], "judged");
    swap(&scene, "t", "u");
    scene.ok("fs.write", json!({"path": scene.at("t"), "content": "!", "mode": "append"}));
    assert_eq!((content(&scene, "t"), content(&scene, "u")), ("judged".to_owned(), "other!".to_owned()));
}

#[test]
fn a_file_that_appears_meanwhile_is_not_overwritten() {
    for (action, name) in [("fs.write", "path"), ("fs.copy", "to"), ("fs.move", "to")] {
        let scene = scene();
        let (path, once) = (scene.at("n"), Once::new());
        scene.world.judge(move |_| {
            once.call_once(|| fs::write(&path, "theirs").unwrap());
            Decision::Allow
        });
        let mut params = json!({name: scene.at("n")});
        if action == "fs.write" {
            params["content"] = json!("ours");
            params["mode"] = json!("create");
        } else {
            params["from"] = json!(scene.at("t"));
        }
        scene.refused(action, params, "already_exists");
        assert_eq!((content(&scene, "n"), content(&scene, "t")), ("theirs".to_owned(), "judged".to_owned()));
        assert_eq!(scene.tree(), ["d", "d/x", "e", "e/y", "n", "s", "t", "u"]);
    }
}

#[test]
fn an_edit_works_on_what_stands_in_the_file_when_it_runs() {
    let scene = scene();
    let (path, once) = (scene.at("t"), Once::new());
    scene.world.judge(move |_| {
        once.call_once(|| fs::write(&path, "judged and changed").unwrap());
        Decision::Allow
    });
    scene.ok("fs.edit", json!({"path": scene.at("t"), "old": "judged", "new": "edited"}));
    assert_eq!(content(&scene, "t"), "edited and changed");
}
