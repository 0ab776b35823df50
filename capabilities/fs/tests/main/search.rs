//! `fs.search`: names and contents.

use std::fs;

use serde_json::{Value, json};

use crate::support::Scene;

fn found(scene: &Scene, mut params: Value) -> Vec<String> {
    params["path"] = json!(scene.world.root());
    let root = format!("{}/", scene.world.root().display());
    let output = scene.ok("fs.search", params);
    let matches = output["matches"].as_array().unwrap().iter();
    matches.map(|m| m["path"].as_str().unwrap().replace(&root, "")).collect()
}

fn project() -> Scene {
    let scene = Scene::new();
    for (name, content) in [
        ("src/main.rs", "fn main() {\n    needle();\n}\n"),
        ("src/deep/lib.rs", "needle\nNEEDLE\nneedle\n"),
        ("target/out.rs", "needle\n"),
        ("target/keep.rs", "needle\n"),
        ("notes.md", "needle\r\n"),
        (".git/config", "needle\n"),
        (".hidden", "needle\n"),
        ("logs/a.log", "needle\n"),
        ("logs/b.log", "needle\n"),
    ] {
        scene.put(name, content);
    }
    scene.put(".gitignore", "/target/*\n!/target/keep.rs\n");
    scene.put("logs/.gitignore", "*.log\n!b.log\n");
    scene
}

#[test]
fn names_are_found_by_glob_anywhere_or_from_the_top() {
    let scene = project();
    assert_eq!(found(&scene, json!({"glob": "*.rs"})), ["src/deep/lib.rs", "src/main.rs", "target/keep.rs"]);
    assert_eq!(found(&scene, json!({"glob": "src/*.rs"})), ["src/main.rs"]);
    assert_eq!(found(&scene, json!({"glob": "**/lib.rs"})), ["src/deep/lib.rs"]);
    assert_eq!(found(&scene, json!({"glob": "{a,b}.log"})), ["logs/b.log"]);
}

#[test]
fn contents_are_found_by_line_and_what_gitignore_names_is_not() {
    let scene = project();
    let output =
        scene.ok("fs.search", json!({"path": scene.world.root(), "pattern": "^need\\w+$", "glob": "*.rs"}));
    let first = &output["matches"][0];
    assert_eq!((&first["line"], &first["text"]["text"]), (&json!(1), &json!("needle")));
    assert_eq!(
        found(&scene, json!({"pattern": "needle"})),
        [
            ".hidden",
            "logs/b.log",
            "notes.md",
            "src/deep/lib.rs",
            "src/deep/lib.rs",
            "src/main.rs",
            "target/keep.rs"
        ]
    );
    assert_eq!(found(&scene, json!({"pattern": "needle", "include_ignored": true})).len(), 10);
    assert_eq!(found(&scene, json!({"pattern": "NEEDLE"})), ["src/deep/lib.rs"]);
    assert_eq!(found(&scene, json!({"pattern": "NEEDLE", "ignore_case": true, "glob": "lib.rs"})).len(), 3);
}

#[test]
fn pages_of_any_size_join_to_the_same_matches() {
    let scene = project();
    for ask in [json!({"pattern": "(?i)needle"}), json!({"glob": "*"})] {
        let mut whole = ask.clone();
        whole["path"] = json!(scene.world.root());
        let whole = scene.ok("fs.search", whole)["matches"].clone();
        for max_results in 1..=9 {
            let (mut joined, mut next) = (Vec::new(), None::<Value>);
            loop {
                let mut params = ask.clone();
                params["path"] = json!(scene.world.root());
                params["max_results"] = json!(max_results);
                if let Some(next) = next {
                    params["next"] = next;
                }
                let page = scene.ok("fs.search", params);
                assert!(page["matches"].as_array().unwrap().len() <= max_results);
                joined.extend(page["matches"].as_array().unwrap().clone());
                match page.get("next") {
                    Some(more) => next = Some(more.clone()),
                    None => break,
                }
            }
            assert_eq!(json!(joined), whole, "{ask} by {max_results}");
        }
    }
}

#[test]
fn one_file_can_be_searched_too() {
    let scene = project();
    let path = scene.at("src/deep/lib.rs");
    let page = scene.ok("fs.search", json!({"path": path, "pattern": "needle", "max_results": 1}));
    let rest = scene.ok("fs.search", json!({"path": path, "pattern": "needle", "next": page["next"]}));
    assert_eq!((&page["matches"][0]["line"], &rest["matches"][0]["line"]), (&json!(1), &json!(3)));
}

#[test]
fn binary_files_and_endless_lines_are_skipped_and_counted() {
    let scene = Scene::new();
    scene.put("binary", b"\0\0needle\n");
    scene.put("endless", [b"x".repeat(5 << 20), b"needle".to_vec()].concat());
    scene.put("long", [b"needle ".to_vec(), b"x".repeat(2000), b"\n".to_vec()].concat());
    let output = scene.ok("fs.search", json!({"path": scene.world.root(), "pattern": "needle"}));
    assert_eq!((output["matches"].as_array().unwrap().len(), &output["skipped"]), (1, &json!(2)), "{output}");
    let text = &output["matches"][0]["text"];
    assert_eq!(
        (text["text"].as_str().unwrap().len(), &text["bytes"], &text["truncated"]),
        (512, &json!(2007), &json!(true))
    );
}

#[test]
fn patterns_that_are_none_are_refused_by_name() {
    let scene = Scene::new();
    let root = scene.world.root();
    for (params, field) in [
        (json!({"path": root}), "pattern"),
        (json!({"path": root, "pattern": "("}), "pattern"),
        (json!({"path": root, "pattern": "a{1000}{1000}{1000}"}), "pattern"),
        (json!({"path": root, "pattern": "x".repeat(5000)}), "pattern"),
        (json!({"path": root, "glob": "[a"}), "glob"),
        (json!({"path": root, "glob": "{a,b}".repeat(5000)}), "glob"),
        (json!({"path": root, "glob": "*", "max_results": 0}), "max_results"),
        (json!({"path": root, "glob": "*", "next": "not one"}), "next"),
    ] {
        let answer = scene.world.refused("fs.search", params, "validation_failed");
        assert_eq!(answer["error"]["path"], json!(format!("$.actions[0].params.{field}")), "{answer}");
    }
}

#[test]
fn a_gitignore_that_is_a_symlink_or_broken_changes_nothing() {
    let scene = Scene::new();
    scene.put("a", "needle");
    fs::write(scene.outside("secret"), "*\n").unwrap();
    std::os::unix::fs::symlink(scene.outside("secret"), scene.at(".gitignore")).unwrap();
    assert_eq!(found(&scene, json!({"pattern": "needle"})), ["a"]);
    scene.put("d/.gitignore", b"\xff\xfe[\n\0\n");
    scene.put("d/b", "needle");
    assert_eq!(found(&scene, json!({"pattern": "needle"})), ["a", "d/b"]);
}
