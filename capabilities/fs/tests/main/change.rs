//! What writes and edits do to one file: F16 to F19, and durability.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use llm_os_core::{Decision, Root, RootMode};
use llm_os_fs::Fs;
use llm_os_test_support::World;
use serde_json::{Value, json};

use crate::support::{Scene, is_root};

fn write(path: &str, content: &str, mode: &str) -> Value {
    json!({"path": path, "content": content, "mode": mode})
}

fn mode_of(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn create_replace_and_append_do_what_they_say_and_expect_what_they_need() {
    let scene = Scene::new();
    let path = scene.at("t");
    scene.refused("fs.write", write(&path, "x", "replace"), "not_found");
    scene.refused("fs.write", write(&path, "x", "append"), "not_found");
    assert_eq!(
        scene.ok("fs.write", write(&path, "one\n", "create")),
        json!({"path": path, "bytes": 4, "size": 4})
    );
    scene.refused("fs.write", write(&path, "x", "create"), "already_exists");
    assert_eq!(scene.ok("fs.write", write(&path, "two\n", "append"))["size"], 8);
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    scene.ok("fs.write", write(&path, "three", "replace"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "three");
    assert_eq!(scene.tree(), ["t"], "no temporary file stays");
}

#[test]
fn base64_content_is_written_as_bytes() {
    let scene = Scene::new();
    let path = scene.at("b");
    scene.ok("fs.write", json!({"path": path, "content_base64": "/wBh", "mode": "create"}));
    assert_eq!(fs::read(&path).unwrap(), [0xff, 0, b'a']);
    for bad in ["/wB", "/wBh=", "/wBh\n", "_wBh", "hunter2!"] {
        let params = json!({"path": scene.at("c"), "content_base64": bad, "mode": "create"});
        let message = scene.refused("fs.write", params, "validation_failed");
        assert!(!message.contains(bad), "{message}");
    }
    let both = json!({"path": scene.at("c"), "content": "a", "content_base64": "YQ==", "mode": "create"});
    scene.refused("fs.write", both, "validation_failed");
    scene.refused("fs.write", json!({"path": scene.at("c"), "mode": "create"}), "validation_failed");
}

#[test]
fn content_is_in_no_record() {
    let scene = Scene::new();
    scene.ok("fs.write", write(&scene.at("t"), "hunter2", "create"));
    scene.ok("fs.edit", json!({"path": scene.at("t"), "old": "hunter2", "new": "swordfish"}));
    let records = json!(scene.world.records()).to_string();
    assert!(records.contains("fs.write") && !records.contains("hunter2") && !records.contains("swordfish"));
}

#[test]
fn a_new_file_has_the_permissions_it_was_given_and_a_replaced_one_keeps_its_own() {
    let scene = Scene::new();
    let path = scene.at("t");
    scene.ok("fs.write", write(&path, "x", "create"));
    assert_eq!(mode_of(&path), 0o644);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
    scene.ok("fs.write", write(&path, "y", "replace"));
    assert_eq!(mode_of(&path), 0o751, "but never setuid");
    let mut params = write(&path, "z", "replace");
    params["permissions"] = json!("0600");
    scene.ok("fs.write", params);
    assert_eq!(mode_of(&path), 0o600);
}

#[test]
fn a_replaced_file_keeps_its_owner() {
    if !is_root() {
        println!("not run: giving files away needs root");
        return;
    }
    let scene = Scene::new();
    let path = scene.put("t", "x");
    std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
    scene.ok("fs.write", write(&path, "y", "replace"));
    let now = fs::metadata(&path).unwrap();
    assert_eq!((now.uid(), now.gid()), (1234, 2345));
}

#[test]
fn f18_permissions_are_three_octal_digits() {
    let scene = Scene::new();
    for bad in ["4755", "2755", "1777", "0o777", "99999", "-1", "", "64", "888", "07777", "+644", " 644"] {
        let mut params = write(&scene.at("t"), "x", "create");
        params["permissions"] = json!(bad);
        scene.refused("fs.write", params, "validation_failed");
        scene.refused("fs.mkdir", json!({"path": scene.at("d"), "permissions": bad}), "validation_failed");
    }
    assert!(scene.tree().is_empty());
    let mut append = write(&scene.put("t", "x"), "x", "append");
    append["permissions"] = json!("644");
    scene.refused("fs.write", append, "validation_failed");
}

#[test]
fn f17_a_symlink_is_never_written_through_not_even_a_dangling_one() {
    let scene = Scene::new();
    let inside = scene.put("inside", "old");
    symlink(scene.outside("secret"), scene.at("out")).unwrap();
    symlink(scene.outside("new"), scene.at("dangling")).unwrap();
    symlink("inside", scene.at("link")).unwrap();
    symlink("nothing", scene.at("dangling_inside")).unwrap();
    for name in ["out", "dangling", "link", "dangling_inside"] {
        for mode in ["create", "replace", "append"] {
            scene.refused("fs.write", write(&scene.at(name), "x", mode), "policy_denied");
        }
        scene.refused("fs.edit", json!({"path": scene.at(name), "old": "old", "new": "x"}), "policy_denied");
        let copy = json!({"from": inside, "to": scene.at(name), "replace": true});
        scene.refused("fs.copy", copy.clone(), "policy_denied");
        scene.refused("fs.move", copy, "policy_denied");
    }
    assert_eq!(fs::read_to_string(inside).unwrap(), "old");
    scene.outside_is_untouched();
}

#[test]
fn f19_names_that_act_later_by_themselves_are_told_to_the_policy_in_any_case() {
    let scene = Scene::new();
    scene.world.judge(|query| {
        let persistent = query.effect.facts["persistent"] == llm_os_core::Fact::Bool(true);
        if persistent && query.effect.verb == llm_os_core::Verb::Change {
            Decision::Confirm
        } else {
            Decision::Allow
        }
    });
    let plain = scene.put("plain", "x");
    fs::create_dir_all(scene.at(".git/hooks")).unwrap();
    for name in
        ["x.desktop", ".bashrc", ".BASHRC", ".git/config", ".git/hooks/pre-commit", "authorized_keys", "x.SO"]
    {
        let path = scene.at(name);
        scene.refused("fs.write", write(&path, "x", "create"), "confirmation_required");
        scene.refused("fs.copy", json!({"from": plain, "to": path}), "confirmation_required");
        scene.refused("fs.move", json!({"from": plain, "to": path}), "confirmation_required");
    }
    scene.put("d/.bashrc", "x");
    let below = json!({"from": scene.at("d"), "to": scene.at("e"), "recursive": true});
    scene.refused("fs.copy", below.clone(), "policy_denied");
    scene.refused("fs.move", json!({"from": scene.at("d"), "to": scene.at("e")}), "policy_denied");
    assert!(!fs::exists(scene.at("e")).unwrap());
    scene.ok("fs.write", write(&scene.at("notes.md"), "x", "create"));
}

#[test]
fn a_read_root_inside_a_write_root_stays_as_it_is() {
    let outside = tempfile::TempDir::new().unwrap();
    let outer = outside.path().canonicalize().unwrap();
    let kept = outer.join("d/kept");
    fs::create_dir_all(&kept).unwrap();
    fs::write(kept.join("t"), "x").unwrap();
    symlink("d/kept", outer.join("link")).unwrap();
    let roots = [(&outer, RootMode::Write), (&kept, RootMode::Read)];
    let roots = roots.map(|(path, mode)| Root { path: path.clone(), mode });
    let world = World::configured::<Fs>(json!({}), &roots);
    let at = |name: &str| outer.join(name).to_str().unwrap().to_owned();
    for (action, params) in [
        ("fs.write", write(&at("d/kept/t"), "y", "replace")),
        ("fs.write", write(&at("link/t"), "y", "replace")),
        ("fs.write", write(&at("link/new/t"), "y", "create")),
        ("fs.remove", json!({"path": at("link/t")})),
        ("fs.remove", json!({"path": at("d/kept"), "recursive": true})),
        ("fs.remove", json!({"path": at("d"), "recursive": true})),
        ("fs.move", json!({"from": at("d"), "to": at("e")})),
    ] {
        world.refused(action, params, "policy_denied");
    }
    assert_eq!(fs::read_to_string(kept.join("t")).unwrap(), "x");
    assert_eq!(world.send("fs.write", write(&at("d/free"), "y", "create"))["results"][0]["status"], "ok");
}

#[test]
fn nothing_below_a_read_root_changes() {
    let outside = tempfile::TempDir::new().unwrap();
    let root = outside.path().canonicalize().unwrap();
    fs::write(root.join("t"), "x").unwrap();
    let world = World::configured::<Fs>(json!({}), &[Root { path: root.clone(), mode: RootMode::Read }]);
    let path = root.join("t").to_str().unwrap().to_owned();
    for (action, params) in [
        ("fs.write", write(&path, "y", "replace")),
        ("fs.write", write(&path, "y", "append")),
        ("fs.write", write(&format!("{path}2"), "y", "create")),
        ("fs.edit", json!({"path": path, "old": "x", "new": "y"})),
        ("fs.mkdir", json!({"path": root.join("d")})),
        ("fs.remove", json!({"path": path})),
        ("fs.move", json!({"from": path, "to": world.at("t")})),
        ("fs.copy", json!({"from": path, "to": root.join("u")})),
    ] {
        let answer = world.refused(action, params, "policy_denied");
        assert!(answer["error"]["message"].as_str().unwrap().contains("for reading only"), "{answer}");
    }
    assert_eq!(
        world.send("fs.copy", json!({"from": path, "to": world.at("t")}))["results"][0]["status"],
        "ok"
    );
    assert_eq!(fs::read_to_string(path).unwrap(), "x");
}

#[test]
fn f16_a_full_file_system_fails_the_write_and_leaves_the_old_content() {
    if !is_root() {
        println!("not run: mounting a small file system needs root");
        return;
    }
    let outside = tempfile::TempDir::new().unwrap();
    let root = outside.path().canonicalize().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(&root).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("not run: mounting is not permitted here");
        return;
    }
    let checked = std::panic::catch_unwind(|| {
        let world = World::configured::<Fs>(json!({}), &[Root { path: root.clone(), mode: RootMode::Write }]);
        let path = root.join("t").to_str().unwrap().to_owned();
        let old = "old\n".repeat(1024);
        fs::write(&path, &old).unwrap();
        let big = "x".repeat(40 << 10);
        // The file system is full after ever fewer bytes, one page at a time.
        let mut failed = 0;
        for pages in 0..30 {
            let filler = root.join("filler");
            fs::write(&filler, vec![0; pages * 4096]).unwrap();
            for (action, params) in [
                ("fs.write", write(&path, &big, "replace")),
                ("fs.write", write(&path, &big, "append")),
                ("fs.edit", json!({"path": path, "old": "old", "new": "x".repeat(40), "expected": 1000})),
            ] {
                let answer = world.send(action, params);
                let now = fs::read_to_string(&path).unwrap();
                if answer["results"][0]["status"] == "ok" {
                    fs::write(&path, &old).unwrap();
                } else {
                    failed += usize::from(answer["results"][0]["error"]["code"] == "write_failed");
                    assert_eq!(now, old, "{pages}: {answer}");
                }
                let names: Vec<_> = fs::read_dir(&root).unwrap().map(|e| e.unwrap().file_name()).collect();
                assert_eq!(names.len(), 2, "{names:?}");
            }
            fs::remove_file(filler).unwrap();
        }
        assert!(failed >= 10, "the file system was full {failed} times only");
    });
    assert!(Command::new("umount").arg(&root).status().unwrap().success());
    checked.unwrap();
}

#[test]
fn an_edit_replaces_exactly_what_was_expected_and_shows_it() {
    let scene = Scene::new();
    let lines: Vec<_> = (1..=12).map(|n| format!("line {n}\n")).collect();
    let path = scene.put("t", lines.concat());
    let params = json!({"path": path, "old": "line 5\n", "new": "five\nand a half\n"});
    let mut dry = params.clone();
    dry["dry_run"] = json!(true);
    let diff = " line 2\n line 3\n line 4\n-line 5\n+five\n+and a half\n line 6\n line 7\n line 8\n";
    let expected = format!("--- {path}\n+++ {path}\n@@ -2,7 +2,8 @@\n{diff}");
    let shown = scene.ok("fs.edit", dry);
    assert_eq!((&shown["diff"]["text"], &shown["changed"]), (&json!(expected), &json!(false)));
    assert_eq!(fs::read_to_string(&path).unwrap(), lines.concat());
    let shown = scene.ok("fs.edit", params);
    assert_eq!((&shown["diff"]["text"], &shown["changed"]), (&json!(expected), &json!(true)));
    assert_eq!(fs::read_to_string(&path).unwrap(), lines.concat().replace("line 5\n", "five\nand a half\n"));
}

#[test]
fn an_edit_that_does_not_find_what_it_expects_changes_nothing() {
    let scene = Scene::new();
    let path = scene.put("t", "a a a");
    for (old, expected, found) in [("a", 1, 3), ("a", 2, 3), ("a", 4, 3), ("b", 1, 0)] {
        let answer =
            scene.world.send("fs.edit", json!({"path": path, "old": old, "new": "x", "expected": expected}));
        let error = &answer["results"][0]["error"];
        assert_eq!(
            (&error["code"], &error["details"]["found"]),
            (&json!("edit_failed"), &json!(found)),
            "{answer}"
        );
    }
    scene.refused("fs.edit", json!({"path": path, "old": "", "new": "x"}), "validation_failed");
    scene.refused("fs.edit", json!({"path": path, "old": "a", "new": "a"}), "validation_failed");
    scene.refused(
        "fs.edit",
        json!({"path": path, "old": "a", "new": "b", "expected": 0}),
        "validation_failed",
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "a a a");
    let binary = scene.put("b", [0xff]);
    scene.refused("fs.edit", json!({"path": binary, "old": "a", "new": "b"}), "edit_failed");
    scene.refused("fs.edit", json!({"path": scene.at("nothing"), "old": "a", "new": "b"}), "not_found");
}

#[test]
fn a_dry_run_only_observes() {
    let scene = Scene::new();
    let path = scene.put("t", "a");
    scene.world.judge(|query| match query.effect.verb {
        llm_os_core::Verb::Observe => Decision::Allow,
        _ => Decision::Deny,
    });
    scene.ok("fs.edit", json!({"path": path, "old": "a", "new": "b", "dry_run": true}));
    scene.refused("fs.edit", json!({"path": path, "old": "a", "new": "b"}), "policy_denied");
}

#[test]
fn an_edit_shows_what_stands_in_a_file_so_it_needs_leave_to_observe() {
    let scene = Scene::new();
    let path = scene.put("t", "a");
    scene.world.judge(|query| match query.effect.verb {
        llm_os_core::Verb::Observe => Decision::Deny,
        _ => Decision::Allow,
    });
    scene.refused("fs.edit", json!({"path": path, "old": "a", "new": "b"}), "policy_denied");
}
