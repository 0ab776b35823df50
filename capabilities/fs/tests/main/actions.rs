//! Directories: list, mkdir, move, copy, remove; F21 and F23.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use llm_os_core::Decision;
use llm_os_fs::Fs;
use llm_os_test_support::World;
use serde_json::{Value, json};

use crate::support::{Scene, read};

#[test]
fn fs_keeps_the_contract_of_capabilities() {
    World::of::<Fs>().keeps_the_contract();
}

fn paths(output: &Value) -> Vec<String> {
    output["entries"].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn pages_of_any_size_join_to_the_same_sorted_list() {
    let scene = Scene::new();
    for name in ["b/2", "b/1/x", "b/1/y", "a", "c/d/e/f", "B", "b-x", "é"] {
        scene.put(name, name);
    }
    symlink("a", scene.at("link")).unwrap();
    let whole = scene.ok("fs.list", json!({"path": scene.world.root(), "depth": 3}));
    let root = format!("{}/", scene.world.root().display());
    let relative: Vec<_> = paths(&whole).iter().map(|path| path.replace(&root, "")).collect();
    assert_eq!(
        relative,
        ["B", "a", "b", "b/1", "b/1/x", "b/1/y", "b/2", "b-x", "c", "c/d", "c/d/e", "link", "é"]
    );
    for limit in 1..=14 {
        let (mut joined, mut next) = (Vec::new(), None::<Value>);
        loop {
            let mut params = json!({"path": scene.world.root(), "depth": 3, "limit": limit});
            if let Some(next) = &next {
                params["next"] = next.clone();
            }
            let page = scene.ok("fs.list", params);
            assert!(paths(&page).len() <= limit);
            joined.extend(paths(&page));
            match page.get("next") {
                Some(more) => next = Some(more.clone()),
                None => break,
            }
        }
        assert_eq!(joined, paths(&whole), "limit {limit}");
    }
}

#[test]
fn f21_a_huge_directory_is_listed_page_by_page_in_bounded_memory() {
    let scene = Scene::new();
    let dir = scene.at("many");
    fs::create_dir(&dir).unwrap();
    // Hard links to one file are created faster than files; the links themselves are what fills the directory.
    let count = 25_000;
    for n in 0..count {
        if n % 5_000 == 0 {
            fs::write(format!("{dir}/{n:06}"), "").unwrap();
        } else {
            fs::hard_link(format!("{dir}/{:06}", n / 5_000 * 5_000), format!("{dir}/{n:06}")).unwrap();
        }
    }
    let (mut seen, mut next) = (0, None::<Value>);
    loop {
        let mut params = json!({"path": dir, "limit": 10_000});
        if let Some(next) = next {
            params["next"] = next;
        }
        let page = scene.ok("fs.list", params);
        let names = paths(&page);
        assert!(names.len() <= 10_000);
        assert_eq!(names[0], format!("{dir}/{seen:06}"));
        seen += names.len();
        match page.get("next") {
            Some(more) => next = Some(more.clone()),
            None => break,
        }
    }
    assert_eq!(seen, count);
}

#[test]
fn f21_a_plan_that_is_cancelled_stops_in_the_middle_of_a_huge_tree() {
    let scene = Scene::new();
    fs::create_dir(scene.at("d")).unwrap();
    for n in 0..5_000 {
        fs::create_dir(scene.at(&format!("d/{n}"))).unwrap();
    }
    let params = json!({"path": scene.world.root(), "glob": "*.nothing"});
    let answer = scene.world.send_and_cancel("fs.search", params, async {});
    let text = answer.to_string();
    assert!(text.contains("cancelled"), "{text}");
}

#[test]
fn bounds_of_pages_are_refused_by_name() {
    let scene = Scene::new();
    let root = scene.world.root();
    for (field, value) in [
        ("limit", json!(0)),
        ("limit", json!(10_001)),
        ("depth", json!(0)),
        ("depth", json!(65)),
        ("next", json!("?")),
    ] {
        let answer = scene.world.refused("fs.list", json!({"path": root, field: value}), "validation_failed");
        assert_eq!(answer["error"]["path"], json!(format!("$.actions[0].params.{field}")));
    }
}

#[test]
fn mkdir_creates_one_directory_or_with_parents_all_of_them() {
    let scene = Scene::new();
    let path = scene.at("a/b/c");
    scene.refused("fs.mkdir", json!({"path": path}), "not_found");
    let made = scene.ok("fs.mkdir", json!({"path": path, "parents": true, "permissions": "750"}));
    assert_eq!(made["created"], json!([scene.at("a"), scene.at("a/b"), path]));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(scene.ok("fs.mkdir", json!({"path": path, "parents": true}))["created"], json!([]));
    scene.refused("fs.mkdir", json!({"path": path}), "already_exists");
    scene.put("file", "x");
    scene.refused("fs.mkdir", json!({"path": scene.at("file"), "parents": true}), "already_exists");
}

#[test]
fn a_plan_works_on_what_its_earlier_actions_created() {
    let scene = Scene::new();
    let (dir, file) = (scene.at("d"), scene.at("d/e/f"));
    let plan = json!([
        {"action": "fs.mkdir", "params": {"path": dir}, "reason": "r"},
        {"action": "fs.mkdir", "params": {"path": scene.at("d/e"), "parents": true}, "reason": "r"},
        {"action": "fs.write", "params": {"path": file, "content": "one", "mode": "create"}, "reason": "r"},
        {"action": "fs.edit", "params": {"path": file, "old": "one", "new": "two"}, "reason": "r"},
        {"action": "fs.move", "params": {"from": file, "to": scene.at("d/g")}, "reason": "r"},
        {"action": "fs.copy", "params": {"from": scene.at("d"), "to": scene.at("h"), "recursive": true}, "reason": "r"},
        {"action": "fs.read", "params": {"path": scene.at("h/g")}, "reason": "r"},
        {"action": "fs.remove", "params": {"path": dir, "recursive": true}, "reason": "r"},
    ]);
    scene.world.judge(|_| Decision::Confirm);
    let held = scene.world.send_plan(plan.clone(), None);
    let token = held["error"]["details"]["pending_id"].as_str().unwrap().to_owned();
    let answer = scene.world.send_plan(plan, Some(&token));
    let states: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["ok"; 8], "{answer:#}");
    assert_eq!(answer["results"][6]["output"]["content"]["text"], "two");
    assert_eq!(scene.tree(), ["h", "h/e", "h/g"]);
}

#[test]
fn a_move_renames_and_replaces_only_when_told() {
    let scene = Scene::new();
    let (from, to) = (scene.put("from", "new"), scene.put("to", "old"));
    scene.refused("fs.move", json!({"from": from, "to": to}), "already_exists");
    scene.ok("fs.move", json!({"from": from, "to": to, "replace": true}));
    assert_eq!((fs::read_to_string(&to).unwrap(), scene.tree()), ("new".to_owned(), vec!["to".to_owned()]));
    scene.refused("fs.move", json!({"from": from, "to": to}), "not_found");
    fs::create_dir(scene.at("d")).unwrap();
    scene.refused("fs.move", json!({"from": to, "to": scene.at("d"), "replace": true}), "write_failed");
    scene.refused("fs.move", json!({"from": scene.at("d"), "to": scene.at("d/e")}), "validation_failed");
    scene.refused("fs.move", json!({"from": scene.at("d"), "to": scene.at("d")}), "validation_failed");
    symlink(scene.outside("secret"), scene.at("link")).unwrap();
    scene.ok("fs.move", json!({"from": scene.at("link"), "to": scene.at("moved")}));
    assert!(fs::symlink_metadata(scene.at("moved")).unwrap().is_symlink());
    scene.outside_is_untouched();
}

#[test]
fn a_copy_is_complete_and_keeps_symlinks_as_symlinks() {
    let scene = Scene::new();
    scene.put("d/x", "one");
    scene.put("d/e/y", "two");
    symlink(scene.outside("secret"), scene.at("d/link")).unwrap();
    fs::set_permissions(scene.at("d/x"), fs::Permissions::from_mode(0o4755)).unwrap();
    let params = json!({"from": scene.at("d"), "to": scene.at("c")});
    scene.refused("fs.copy", params.clone(), "write_failed");
    let mut recursive = params;
    recursive["recursive"] = json!(true);
    let copied = scene.ok("fs.copy", recursive.clone());
    assert_eq!((&copied["entries"], &copied["bytes"]), (&json!(5), &json!(6)));
    assert_eq!(scene.tree(), ["c", "c/e", "c/e/y", "c/link", "c/x", "d", "d/e", "d/e/y", "d/link", "d/x"]);
    assert_eq!(fs::read_link(scene.at("c/link")).unwrap(), scene.outside("secret"));
    assert_eq!(
        fs::metadata(scene.at("c/x")).unwrap().permissions().mode() & 0o7777,
        0o755,
        "setuid is not copied"
    );
    scene.refused("fs.copy", recursive, "already_exists");
    scene.refused(
        "fs.copy",
        json!({"from": scene.at("d"), "to": scene.at("d/e/z"), "recursive": true}),
        "validation_failed",
    );
}

#[test]
fn a_copy_that_cannot_be_finished_leaves_nothing_behind() {
    let scene = Scene::new();
    scene.put("d/a", "x");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scene.at("d/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    scene.refused(
        "fs.copy",
        json!({"from": scene.at("d"), "to": scene.at("c"), "recursive": true}),
        "write_failed",
    );
    assert_eq!(scene.tree(), ["d", "d/a", "d/fifo"]);
}

#[test]
fn remove_takes_a_file_a_symlink_or_an_empty_directory_and_more_only_when_told() {
    let scene = Scene::new();
    scene.put("d/e/x", "x");
    symlink(scene.outside(""), scene.at("d/link")).unwrap();
    let message = scene.refused("fs.remove", read(&scene.at("d")), "write_failed");
    assert!(message.contains("recursive"), "{message}");
    assert_eq!(scene.tree(), ["d", "d/e", "d/e/x", "d/link"], "it was put back");
    let removed = scene.ok("fs.remove", json!({"path": scene.at("d"), "recursive": true}));
    assert_eq!((&removed["entries"], scene.tree().len()), (&json!(4), 0));
    symlink(scene.outside("secret"), scene.at("link")).unwrap();
    scene.ok("fs.remove", read(&scene.at("link")));
    scene.refused("fs.remove", read(&scene.at("link")), "not_found");
    scene.refused("fs.remove", json!({"path": scene.world.root(), "recursive": true}), "policy_denied");
    scene.outside_is_untouched();
}

#[test]
fn a_tree_that_is_nested_too_deeply_is_refused_as_a_whole() {
    let scene = Scene::new();
    fs::create_dir_all(scene.at(&format!("d{}", "/x".repeat(200)))).unwrap();
    let message =
        scene.refused("fs.remove", json!({"path": scene.at("d"), "recursive": true}), "read_failed");
    assert!(message.contains("nested deeper"), "{message}");
    assert_eq!(scene.tree().len(), 201);
    let found = scene.ok("fs.search", json!({"path": scene.world.root(), "glob": "*"}));
    assert_eq!(found["skipped"], 1);
}
