//! Somebody else exchanges files and directories while programs are judged and started: what runs is what was judged, or
//! nothing does. E22.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use llm_os_core::value::hex;
use llm_os_core::{Decision, Fact, Identity, Kind, Verb};
use llm_os_test_support::{Swapper, World};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{probe, world};

/// What says that something else was found than what was judged, or nothing at all.
const TYPED: [&str; 6] = [
    "policy_denied",
    "confirmation_stale",
    "confirmation_invalid",
    "exec_failed",
    "exec_not_found",
    "confirmation_required",
];

fn put(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Denies the file with this content, wherever it is and whatever it is called.
fn deny(world: &World, content: &[u8]) {
    let denied = Fact::Text(hex(&Sha256::digest(content)));
    world.judge(move |query| match query.effect.verb {
        Verb::Run if query.effect.facts["sha256"] == denied => Decision::Deny,
        _ => Decision::Allow,
    });
}

/// Gives what a program wrote, if one ran; else it must be a typed error.
fn written(answer: &Value) -> Option<&str> {
    let result = &answer["results"][0];
    if let Some(text) = result["output"]["stdout"]["text"].as_str() {
        return Some(text);
    }
    let error = if answer["error"].is_null() { &result["error"] } else { &answer["error"] };
    let code = error["code"].as_str().unwrap_or_else(|| panic!("{answer:#}"));
    assert!(TYPED.contains(&code), "{answer:#}");
    assert_eq!(result.get("output"), None, "{answer:#}");
    None
}

/// Runs `argv` while the names are exchanged: it may write `good` and nothing else, and sometimes it must not run.
fn only_the_good_one_runs(world: &World, swapper: Swapper, argv: &[String], good: &str) {
    let (mut ran, mut refused) = (0, 0);
    swapper.while_it_swaps(|_| {
        let answer = world.send_confirmed("exec.run", json!({"argv": argv}));
        match written(&answer) {
            Some(text) => {
                assert_eq!(text, good, "what was denied ran: {answer:#}");
                ran += 1;
            }
            None => refused += 1,
        }
    });
    assert!(ran > 0 && refused > 0, "no race: {ran} ran, {refused} were refused");
}

#[test]
fn a_program_that_is_swapped_for_another_runs_only_where_it_was_judged() {
    let world = world();
    let evil = fs::read(probe()).unwrap();
    put(&world.root().join("tool"), &fs::read("/bin/echo").unwrap());
    put(&world.root().join("other"), &evil);
    deny(&world, &evil);
    let swapper = Swapper::between(world.at("tool"), world.at("other"));
    only_the_good_one_runs(&world, swapper, &[world.at("tool"), "env".to_owned()], "env\n");
}

#[test]
fn a_program_below_a_directory_that_is_swapped_for_a_link_runs_only_where_it_was_judged() {
    let world = world();
    let evil = fs::read(probe()).unwrap();
    fs::create_dir(world.root().join("bin")).unwrap();
    fs::create_dir(world.root().join("elsewhere")).unwrap();
    symlink(world.root().join("elsewhere"), world.root().join("link")).unwrap();
    put(&world.root().join("bin/tool"), &fs::read("/bin/echo").unwrap());
    put(&world.root().join("elsewhere/tool"), &evil);
    deny(&world, &evil);
    let swapper = Swapper::between(world.at("bin"), world.at("link"));
    only_the_good_one_runs(&world, swapper, &[world.at("bin/tool"), "env".to_owned()], "env\n");
}

#[test]
fn a_script_that_is_swapped_for_another_runs_only_where_it_was_judged() {
    let world = world();
    let [good, evil] = ["good", "evil"].map(|text| format!("#!/bin/cat\n{text}\n"));
    put(&world.root().join("script"), good.as_bytes());
    put(&world.root().join("other"), evil.as_bytes());
    deny(&world, evil.as_bytes());
    let swapper = Swapper::between(world.at("script"), world.at("other"));
    only_the_good_one_runs(&world, swapper, &[world.at("script")], &good);
}

#[test]
fn a_directory_that_is_swapped_is_started_in_only_where_it_was_judged() {
    let world = world();
    for name in ["one", "other"] {
        fs::create_dir(world.root().join(name)).unwrap();
    }
    let judged: Arc<Mutex<Option<Identity>>> = Arc::default();
    let seen = judged.clone();
    world.judge(move |query| {
        if query.effect.verb == Verb::Observe && query.effect.resource.kind == Kind::Path {
            *seen.lock().unwrap() = Some(query.effect.identity.clone());
        }
        Decision::Allow
    });
    let (mut ran, mut refused) = (0, 0);
    Swapper::between(world.at("one"), world.at("other")).while_it_swaps(|_| {
        let params = json!({"argv": ["/usr/bin/stat", "--format", "%d:%i", "."], "cwd": world.at("one")});
        let answer = world.send("exec.run", params);
        match written(&answer) {
            Some(text) => {
                let found = Some(Identity::new(text.trim_end()));
                assert_eq!(
                    found,
                    *judged.lock().unwrap(),
                    "another directory than the judged one: {answer:#}"
                );
                ran += 1;
            }
            None => refused += 1,
        }
    });
    assert!(ran > 0 && refused > 0, "no race: {ran} ran, {refused} were refused");
}

#[test]
fn a_directory_that_is_swapped_for_a_link_to_the_outside_is_never_started_in_there() {
    let world = world();
    let outside = tempfile::tempdir().unwrap();
    let there = fs::metadata(outside.path()).unwrap();
    let there = format!("{}:{}", there.dev(), there.ino());
    fs::create_dir(world.root().join("inside")).unwrap();
    symlink(outside.path(), world.root().join("link")).unwrap();
    let root = world.root().into_os_string().into_string().unwrap();
    world.judge(move |query| {
        let is_below = Path::new(&query.effect.resource.id).starts_with(&root);
        let is_path = query.effect.resource.kind == Kind::Path;
        if is_path && !is_below { Decision::Deny } else { Decision::Allow }
    });
    let (mut ran, mut refused) = (0, 0);
    Swapper::between(world.at("inside"), world.at("link")).while_it_swaps(|_| {
        let params = json!({"argv": ["/usr/bin/stat", "--format", "%d:%i", "."], "cwd": world.at("inside")});
        let answer = world.send("exec.run", params);
        match written(&answer) {
            Some(text) => {
                assert_ne!(text.trim_end(), there, "{answer:#}");
                ran += 1;
            }
            None => refused += 1,
        }
    });
    assert!(ran > 0 && refused > 0, "no race: {ran} ran, {refused} were refused");
}
