//! Somebody else swaps directories for symlinks while actions run: F07, F08, F09, F23.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use llm_os_test_support::Swapper;
use serde_json::json;

use crate::support::{SECRET, Scene};

/// A directory `d` in the root, and a symlink `s` to the outside that is swapped for it.
fn swapping(scene: &Scene) -> Swapper {
    fs::create_dir_all(scene.at("d")).unwrap();
    symlink(scene.outside(""), scene.at("s")).unwrap();
    Swapper::between(scene.at("d"), scene.at("s"))
}

#[test]
fn f07_writes_below_a_swapped_directory_never_land_outside() {
    let scene = Scene::new();
    let swapper = swapping(&scene);
    let mut written = 0;
    swapper.while_it_swaps(|n| {
        let params = json!({"path": scene.at(&format!("d/{}", n % 100)), "content": "x", "mode": "create"});
        let answer = scene.world.send("fs.write", params);
        written += usize::from(answer["results"][0]["status"] == "ok");
        scene.world.send("fs.mkdir", json!({"path": scene.at(&format!("d/m{n}/x")), "parents": true}));
    });
    println!("{written} files were written");
    scene.outside_is_untouched();
}

#[test]
fn f07_a_file_that_is_swapped_for_a_symlink_is_not_replaced_edited_or_appended_to() {
    let scene = Scene::new();
    let path = scene.put("t", "one");
    symlink(scene.outside("secret"), scene.at("s")).unwrap();
    let swapper = Swapper::between(path.clone(), scene.at("s"));
    swapper.while_it_swaps(|n| {
        let _ = match n % 3 {
            0 => scene.world.send("fs.write", json!({"path": path, "content": "one", "mode": "replace"})),
            1 => scene.world.send("fs.write", json!({"path": path, "content": "", "mode": "append"})),
            _ => scene.world.send("fs.edit", json!({"path": path, "old": "o", "new": "o "})),
        };
    });
    scene.outside_is_untouched();
    let link =
        [path, scene.at("s")].into_iter().filter(|path| fs::symlink_metadata(path).unwrap().is_symlink());
    assert_eq!(link.count(), 1, "the symlink was neither replaced nor removed");
}

#[test]
fn f07_a_file_that_is_swapped_for_another_file_is_not_lost() {
    let scene = Scene::new();
    let (judged, other) = (scene.put("t", "judged"), scene.put("u", "other"));
    let swapper = Swapper::between(judged.clone(), other.clone());
    let mut refused = 0;
    swapper.while_it_swaps(|_| {
        let answer =
            scene.world.send("fs.write", json!({"path": judged, "content": "judged", "mode": "replace"}));
        refused += usize::from(answer["results"][0]["error"]["code"] == "target_changed");
    });
    println!("{refused} writes met another file than the one that was judged");
    assert!(fs::read(judged).is_ok() && fs::read(other).is_ok(), "{:?}", scene.tree());
}

#[test]
fn f08_reads_below_a_swapped_directory_never_see_the_outside() {
    let scene = Scene::new();
    scene.put("d/secret", "inside");
    let swapper = swapping(&scene);
    let (mut read, mut denied) = (0, 0);
    swapper.while_it_swaps(|n| {
        let answer = match n % 3 {
            0 => scene.world.send("fs.read", json!({"path": scene.at("d/secret")})),
            1 => scene.world.send("fs.search", json!({"path": scene.world.root(), "pattern": "."})),
            _ => scene.world.send(
                "fs.copy",
                json!({"from": scene.at("d/secret"), "to": scene.at("copy"), "replace": true}),
            ),
        };
        let text = answer.to_string();
        assert!(!text.contains(SECRET), "{text}");
        assert!(!fs::read_to_string(scene.at("copy")).unwrap_or_default().contains(SECRET));
        read += usize::from(text.contains("inside"));
        denied += usize::from(text.contains("policy_denied"));
    });
    assert!(read > 0 && denied > 0, "both sides of the race were met: {read} reads, {denied} denials");
    scene.outside_is_untouched();
}

#[test]
fn f09_moves_from_and_to_a_swapped_directory_neither_bring_in_nor_carry_out() {
    let scene = Scene::new();
    let swapper = swapping(&scene);
    swapper.while_it_swaps(|_| {
        let to = scene.at("arrived");
        let _ = scene.world.send("fs.move", json!({"from": scene.at("d/secret"), "to": to}));
        assert!(!fs::exists(&to).unwrap(), "a file from outside arrived");
        let _ = fs::write(scene.at("mine"), "mine");
        let _ = scene
            .world
            .send("fs.move", json!({"from": scene.at("mine"), "to": scene.at("d/mine"), "replace": true}));
    });
    scene.outside_is_untouched();
}

#[test]
fn f23_a_directory_that_is_swapped_while_it_is_removed_takes_nothing_outside_with_it() {
    let scene = Scene::new();
    let decoy: PathBuf = scene.outside("");
    symlink(&decoy, scene.at("s")).unwrap();
    fs::create_dir_all(scene.at("top/d")).unwrap();
    let swapper = Swapper::between(scene.at("top/d"), scene.at("s"));
    swapper.while_it_swaps(|n| {
        let path = if n % 2 == 0 { "top" } else { "top/d" };
        let _ = scene.world.send("fs.remove", json!({"path": scene.at(path), "recursive": true}));
        // Made elsewhere and renamed into place: a path through what is swapped could itself lead outside.
        let _ = fs::create_dir(scene.at("top"));
        scene.put("fresh/secret", "x");
        let _ = fs::rename(scene.at("fresh"), scene.at("top/d"));
        if !fs::exists(scene.at("s")).unwrap_or(true) {
            let _ = symlink(&decoy, scene.at("s"));
        }
        assert!(fs::exists(scene.outside("secret")).unwrap());
    });
    scene.outside_is_untouched();
}

#[test]
fn f23_what_is_removed_below_a_swapped_directory_is_never_outside() {
    let scene = Scene::new();
    let swapper = swapping(&scene);
    let mut removed = 0;
    swapper.while_it_swaps(|_| {
        // Put there by its descriptor, since the name may lead outside at any time.
        let _ = fs::write(scene.at("new"), "x");
        let _ = scene.world.send("fs.move", json!({"from": scene.at("new"), "to": scene.at("d/secret")}));
        let answer = scene.world.send("fs.remove", json!({"path": scene.at("d/secret")}));
        removed += usize::from(answer["results"][0]["status"] == "ok");
        assert!(fs::exists(scene.outside("secret")).unwrap(), "{answer:#}");
    });
    assert!(removed > 0, "nothing was removed at all");
    scene.outside_is_untouched();
}
