//! `fs.search`: names and contents.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use globset::GlobBuilder;
use llm_os_core::Decision;
use proptest::prelude::*;
use proptest::{collection, option, sample};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
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

#[test]
fn a_name_that_cannot_match_is_not_looked_at() {
    without_overrides(|| {
        let scene = Scene::new();
        for name in ["closed/a.rs", "closed/b.md", "open/a.rs"] {
            scene.put(name, "x");
        }
        // Its names may be read, and nothing in it can be looked at.
        fs::set_permissions(scene.at("closed"), fs::Permissions::from_mode(0o400)).unwrap();
        for covers in [false, true] {
            scene.world.judge_covers_subtrees(covers);
            assert_eq!(found(&scene, json!({"glob": "a.r[!s]"})), [""; 0]);
            assert_eq!(found(&scene, json!({"glob": "open/*.rs"})), ["open/a.rs"]);
            let params = json!({"path": scene.world.root(), "glob": "*.rs"});
            scene.refused("fs.search", params, "read_failed");
        }
        fs::set_permissions(scene.at("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    });
}

/// Runs this on a thread to which permissions apply, also where the tests run as root.
fn without_overrides(test: impl FnOnce() + Send) {
    let overrides = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    let on_thread = || {
        let mut sets = capabilities(None).unwrap();
        sets.effective -= overrides;
        set_capabilities(None, sets).unwrap();
        test();
    };
    std::thread::scope(|scope| scope.spawn(on_thread).join()).unwrap();
}

#[test]
fn few_names_are_found_among_many_in_order_on_pages_of_any_size() {
    let scene = Scene::new();
    fs::create_dir(scene.at("many")).unwrap();
    for n in 0..3000 {
        fs::write(scene.at(&format!("many/some-file-number-{n:05}")), "").unwrap();
    }
    let wanted = [7, 700, 1400, 2100, 2999].map(|n| format!("some-file-number-{n:05}"));
    let glob = "some-file-number-{02999,00007,02100,00700,01400}";
    for max_results in 1..=6 {
        assert_eq!(joined(&scene, "many", &json!({"glob": glob, "max_results": max_results})).0, wanted);
    }
}

/// All pages of a search below a directory, and how much was left out of them.
fn joined(scene: &Scene, top: &str, params: &Value) -> (Vec<String>, u64) {
    let (mut params, mut matches, mut left_out) = (params.clone(), Vec::new(), 0);
    params["path"] = json!(scene.at(top));
    let root = scene.at(top) + "/";
    loop {
        let page = scene.ok("fs.search", params.clone());
        let paths = page["matches"].as_array().unwrap().iter();
        matches.extend(paths.map(|m| m["path"].as_str().unwrap().replace(&root, "")));
        left_out += page["left_out"].as_u64().unwrap();
        match page.get("next") {
            Some(next) => params["next"] = next.clone(),
            None => return (matches, left_out),
        }
    }
}

/// An entry of a random tree: a file, a directory, a symlink or a FIFO.
#[derive(Clone, Debug)]
enum Made {
    File,
    Rules(&'static str),
    Directory(Vec<(&'static str, Made)>),
    Symlink(&'static str),
    Fifo,
}

fn made() -> impl Strategy<Value = Made> {
    let leaf = prop_oneof![
        6 => Just(Made::File),
        1 => sample::select(vec!["a", "..", "/", "d/b.rs"]).prop_map(Made::Symlink),
        1 => Just(Made::Fifo),
    ];
    leaf.prop_recursive(3, 40, 8, |inner| {
        let name = sample::select(vec!["a", "b.rs", "B.rs", "c.log", "d", "hidden", ".git", ".x", "e e"]);
        let rules = sample::select(vec!["*.log\n!b.rs\n", "/d\n", "hidden/\n", "*\n!d\n!*.rs\n"]);
        let directory = (collection::vec((name, inner), 0..8), option::of(rules));
        directory.prop_map(|(mut entries, rules)| {
            entries.extend(rules.map(|rules| (".gitignore", Made::Rules(rules))));
            Made::Directory(entries)
        })
    })
}

fn make(at: &Path, made: &Made) {
    match made {
        Made::File => fs::write(at, "").unwrap(),
        Made::Rules(rules) => fs::write(at, rules).unwrap(),
        Made::Directory(entries) => {
            fs::create_dir(at).unwrap();
            let mut taken = BTreeSet::new();
            entries
                .iter()
                .filter(|(name, _)| taken.insert(*name))
                .for_each(|(name, m)| make(&at.join(name), m));
        }
        Made::Symlink(to) => std::os::unix::fs::symlink(to, at).unwrap(),
        Made::Fifo => {
            let mode = rustix::fs::Mode::RWXU;
            rustix::fs::mknodat(rustix::fs::CWD, at, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }
    }
}

/// What a walk that looks at everything and judges it finds, by ripgrep's own walk: the matches, and how much is denied.
fn looked_at(top: &Path, glob: &str, include_ignored: bool, denied: &str) -> (Vec<String>, u64) {
    let matcher = GlobBuilder::new(glob).literal_separator(true).build().unwrap().compile_matcher();
    let mut walk = ignore::WalkBuilder::new(top);
    walk.standard_filters(false).git_ignore(!include_ignored).require_git(false).sort_by_file_name(Ord::cmp);
    walk.filter_entry(move |entry| include_ignored || entry.file_name() != ".git");
    let (mut matches, mut left_out) = (Vec::new(), 0);
    for entry in walk.build().skip(1).map(Result::unwrap) {
        let below = entry.path().strip_prefix(top).unwrap();
        let tried = if glob.contains('/') { below } else { Path::new(entry.file_name()) };
        let kind = entry.file_type().unwrap();
        let is_match = kind.is_file() && matcher.is_match(tried);
        let mut above = below.ancestors().skip(1);
        if above.any(|dir| dir.file_name().is_some_and(|name| name == denied)) || !(kind.is_dir() || is_match)
        {
            continue;
        }
        if entry.file_name() == denied {
            left_out += 1;
        } else if is_match {
            matches.push(below.to_str().unwrap().to_owned());
        }
    }
    (matches, left_out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_search_finds_what_a_walk_finds_that_looks_at_everything(
        tree in collection::vec((sample::select(vec!["a", "b.rs", "d", "hidden", "z"]), made()), 0..5),
        rules in option::of(sample::select(vec!["*.log\n", "d/\n!d\n", "/z/d\n"])),
        glob in sample::select(vec!["*", "*.rs", "a", "{a,c.log,hidden}", "d/*", "**/b.rs", "*/*/a", "**", "[A-C]*"]),
        include_ignored: bool,
        max_results in 1..9_u32,
    ) {
        let scene = Scene::new();
        let top = Made::Directory(tree.into_iter().chain(rules.map(|r| (".gitignore", Made::Rules(r)))).collect());
        make(&scene.world.root().join("top"), &top);
        let top = scene.world.root().join("top");
        let asked = json!({"glob": glob, "include_ignored": include_ignored, "max_results": max_results});
        scene.world.judge_covers_subtrees(true);
        let expected = looked_at(&top, glob, include_ignored, "");
        prop_assert_eq!(joined(&scene, "top", &asked), expected);
        scene.world.judge_covers_subtrees(false);
        scene.world.judge(|query| {
            if query.effect.resource.id.ends_with("/hidden") { Decision::Deny } else { Decision::Allow }
        });
        prop_assert_eq!(joined(&scene, "top", &asked), looked_at(&top, glob, include_ignored, "hidden"));
    }
}
