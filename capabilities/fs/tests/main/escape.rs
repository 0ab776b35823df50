//! Nothing leads out of a root: F01 to F06, F10, F14, F22, J15.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use llm_os_fs::Fs;
use llm_os_test_support::World;
use serde_json::json;

use crate::support::{Scene, is_root, read, read_root};

/// Every action that takes `path`, as far as it needs nothing else of it.
fn actions_on(path: &str) -> Vec<(&'static str, serde_json::Value)> {
    vec![
        ("fs.read", json!({"path": path})),
        ("fs.write", json!({"path": path, "content": "x", "mode": "create"})),
        ("fs.write", json!({"path": path, "content": "x", "mode": "replace"})),
        ("fs.write", json!({"path": path, "content": "x", "mode": "append"})),
        ("fs.edit", json!({"path": path, "old": "outside", "new": "x"})),
        ("fs.list", json!({"path": path})),
        ("fs.search", json!({"path": path, "pattern": "outside"})),
        ("fs.mkdir", json!({"path": format!("{path}/d")})),
        ("fs.copy", json!({"from": path, "to": format!("{path}.copy")})),
    ]
}

#[test]
fn f01_a_sibling_that_shares_the_roots_prefix_is_not_below_it() {
    let scene = Scene::new();
    let evil = format!("{}-evil", scene.world.root().display());
    fs::create_dir(&evil).unwrap();
    fs::write(format!("{evil}/s"), "x").unwrap();
    for (action, params) in actions_on(&format!("{evil}/s")) {
        let message = scene.refused(action, params, "policy_denied");
        assert!(message.contains("the roots are"), "{message}");
    }
    assert_eq!(fs::read_to_string(format!("{evil}/s")).unwrap(), "x");
    fs::remove_dir_all(evil).unwrap();
}

#[test]
fn f02_symlinks_out_of_the_root_are_denied_on_the_way_and_at_the_end() {
    let scene = Scene::new();
    let name = scene.outside("").file_name().unwrap().to_string_lossy().into_owned();
    symlink(scene.outside("secret"), scene.at("absolute")).unwrap();
    symlink(scene.outside(""), scene.at("absolute_dir")).unwrap();
    symlink(format!("../{name}/secret"), scene.at("relative")).unwrap();
    symlink(format!("../{name}"), scene.at("relative_dir")).unwrap();
    for path in ["absolute", "relative", "absolute_dir/secret", "relative_dir/secret"] {
        for (action, params) in actions_on(&scene.at(path)) {
            scene.refused(action, params, "policy_denied");
        }
    }
    scene.outside_is_untouched();
}

#[test]
fn f03_paths_that_climb_are_denied_even_where_they_stay_inside() {
    let scene = Scene::new();
    scene.put("sub/x", "x");
    for path in ["../x", "sub/../../x", "sub/../sub/x", "./.././x", "sub/..//../x", "sub/.."] {
        for (action, params) in actions_on(&format!("{}/{path}", scene.world.root().display())) {
            scene.refused(action, params, "policy_denied");
        }
    }
}

#[test]
fn f04_an_absolute_symlink_to_the_inside_is_denied_like_one_to_the_outside_or_to_nothing() {
    let scene = Scene::new();
    scene.put("x", "x");
    symlink(scene.at("x"), scene.at("inside")).unwrap();
    symlink(scene.outside("secret"), scene.at("outside")).unwrap();
    symlink(scene.outside("nothing"), scene.at("nowhere")).unwrap();
    let said: Vec<_> = ["inside", "outside", "nowhere"]
        .map(|name| scene.refused("fs.read", read(&scene.at(name)), "policy_denied").replace(name, "NAME"))
        .to_vec();
    assert!(said.iter().all(|message| *message == said[0]), "{said:?}");
}

#[test]
fn a_relative_symlink_that_stays_inside_is_followed_and_judged_as_what_it_leads_to() {
    let scene = Scene::new();
    let real = scene.put("sub/x", "x");
    symlink("sub/x", scene.at("link")).unwrap();
    assert_eq!(scene.ok("fs.read", read(&scene.at("link")))["path"], json!(real));
    let judged = scene.world.records().iter().any(|record| record.to_string().contains("/sub/x"));
    assert!(judged, "the record names the real path");
}

#[test]
fn f05_symlink_circles_and_endless_names_end_quickly() {
    let scene = Scene::new();
    symlink("b", scene.at("a")).unwrap();
    symlink("a", scene.at("b")).unwrap();
    scene.put("l0", "x");
    for n in 1..=41 {
        symlink(format!("l{}", n - 1), scene.at(&format!("l{n}"))).unwrap();
    }
    let root = scene.world.root().display().to_string();
    let long = format!("{root}{}", "/x".repeat(2100));
    let wide = format!("{root}/{}", "x".repeat(256));
    for (path, code) in [
        (scene.at("a"), "policy_denied"),
        (scene.at("a/x"), "policy_denied"),
        (scene.at("l41"), "policy_denied"),
        (long, "validation_failed"),
        (wide, "validation_failed"),
    ] {
        let start = Instant::now();
        scene.refused("fs.read", read(&path), code);
        assert!(start.elapsed() < Duration::from_millis(500), "{path} took {:?}", start.elapsed());
    }
}

#[test]
fn f05_a_deep_path_that_does_not_exist_is_answered_quickly() {
    let scene = Scene::new();
    let path = scene.at(&"x/".repeat(1900));
    let start = Instant::now();
    scene.refused("fs.read", read(&path), "not_found");
    assert!(start.elapsed() < Duration::from_millis(500), "it took {:?}", start.elapsed());
}

#[test]
fn f06_magic_links_and_the_descriptors_of_processes_are_denied() {
    let scene = Scene::new();
    for target in ["/proc/self/fd/0", "/proc/self/root/etc/passwd", "/dev/fd/0", "/proc/self/cwd"] {
        symlink(target, scene.at("link")).unwrap();
        scene.refused("fs.read", read(&scene.at("link")), "policy_denied");
        scene.refused("fs.read", read(target), "policy_denied");
        fs::remove_file(scene.at("link")).unwrap();
    }
}

#[test]
fn f06_with_everything_as_the_root_processes_stay_out_of_reach() {
    let world = World::configured::<Fs>(json!({}), &[read_root("/")]);
    for path in ["/proc/self/root/etc/passwd", "/proc/1/root", "/proc/self/fd/0", "/dev/fd/0", "/dev/stdin"] {
        world.refused("fs.read", read(path), "policy_denied");
    }
}

#[test]
fn f10_paths_are_taken_byte_for_byte() {
    let scene = Scene::new();
    let root = scene.world.root().display().to_string();
    for path in [
        format!("{root} "),
        format!("{root}\""),
        format!("{root}\n"),
        format!("{root} /x"),
        format!(" {root}"),
    ] {
        let answer = scene.world.send("fs.list", read(&path));
        let code = answer["error"]["code"].as_str().unwrap();
        assert!(["policy_denied", "validation_failed"].contains(&code), "{path:?}: {answer}");
    }
    scene.put("x", "x");
    scene.refused("fs.read", read(&scene.at("x ")), "not_found");
    scene.refused("fs.read", read(&scene.at("X")), "not_found");
}

#[test]
fn f14_the_kernels_file_systems_are_no_roots_and_not_below_one() {
    for path in ["/proc", "/sys", "/dev/pts"] {
        if !std::path::Path::new(path).exists() {
            continue;
        }
        let (_, why) = World::opened::<Fs>(json!({}), &[read_root(path)]);
        assert!(why.as_ref().is_some_and(|why| why.contains("does not hold files")), "{path}: {why:?}");
    }
    let world = World::configured::<Fs>(json!({}), &[read_root("/")]);
    for path in ["/proc/kmsg", "/sys/kernel/notes", "/proc/self/environ", "/proc/sysrq-trigger"] {
        world.refused("fs.read", read(path), "policy_denied");
    }
}

#[test]
fn f22_what_is_mounted_inside_a_root_is_denied_and_listed_without_its_content() {
    if !is_root() {
        println!("not run: mounting needs root");
        return;
    }
    let scene = Scene::new();
    scene.put("in/x", "x");
    let at = scene.at("in/mnt");
    fs::create_dir(&at).unwrap();
    let bound = Command::new("mount").args(["--bind", scene.outside("").to_str().unwrap(), &at]).status();
    if !bound.is_ok_and(|status| status.success()) {
        println!("not run: mount --bind is not permitted here");
        return;
    }
    let unmount = || assert!(Command::new("umount").arg(&at).status().unwrap().success());
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for (action, params) in actions_on(&format!("{at}/secret")) {
            scene.refused(action, params, "policy_denied");
        }
        let listed = scene.ok("fs.list", json!({"path": scene.at("in"), "depth": 8})).to_string();
        assert!(listed.contains("in/mnt") && !listed.contains("secret"), "{listed}");
        let found = scene.ok("fs.search", json!({"path": scene.at("in"), "pattern": "outside"}));
        assert_eq!(found["matches"], json!([]));
        let inside = json!({"path": scene.at("in"), "recursive": true});
        let answer = scene.world.send("fs.remove", inside);
        assert_eq!(answer["results"][0]["status"], "failed", "{answer}");
        assert!(fs::exists(scene.at("in/x")).unwrap(), "nothing is removed where not all of it can be");
        let copied = json!({"from": scene.at("in"), "to": scene.at("copy"), "recursive": true});
        assert_eq!(scene.world.send("fs.copy", copied)["results"][0]["status"], "failed");
        assert_eq!(
            scene.tree().iter().filter(|name| !name.starts_with("in")).count(),
            0,
            "{:?}",
            scene.tree()
        );
    }));
    unmount();
    checked.unwrap();
    scene.outside_is_untouched();
}

#[test]
fn j15_a_nul_byte_is_refused_before_anything_is_looked_up() {
    let scene = Scene::new();
    let path = format!("{}\0/../../etc/passwd", scene.at("a"));
    let message = scene.refused("fs.read", read(&path), "validation_failed");
    assert!(message.contains("NUL"), "{message}");
}

#[test]
fn relative_paths_are_refused() {
    let scene = Scene::new();
    for path in ["", "x", "./x", "~/x", "file:x"] {
        scene.refused("fs.read", read(path), "validation_failed");
    }
}

#[test]
fn of_nested_roots_the_deepest_decides_what_may_change() {
    let outer = tempfile::TempDir::new().unwrap();
    let outer = outer.path().canonicalize().unwrap();
    fs::create_dir(outer.join("w")).unwrap();
    let write = llm_os_core::Root { path: outer.join("w"), mode: llm_os_core::RootMode::Write };
    let world = World::configured::<Fs>(json!({}), &[read_root(&outer), write]);
    let params = |path: std::path::PathBuf| json!({"path": path, "content": "x", "mode": "create"});
    world.refused("fs.write", params(outer.join("x")), "policy_denied");
    assert_eq!(world.send("fs.write", params(outer.join("w/x")))["results"][0]["status"], "ok");
    world.refused("fs.remove", json!({"path": outer.join("w")}), "policy_denied");
}

#[test]
fn a_root_that_is_not_there_makes_the_capability_unavailable_and_says_why() {
    let (_, why) = World::opened::<Fs>(json!({}), &[read_root("/no/such/root")]);
    assert!(why.unwrap().contains("/no/such/root"));
}
