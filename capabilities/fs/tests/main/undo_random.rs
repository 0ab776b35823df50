//! Whatever a run changes, in whatever order, is put back exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::undo::{Kept, act, run_of};

/// The names that changes are about: few, so that they meet.
const NAMES: [&str; 11] = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "e", "e/a", "e/d", "e/d/a"];

/// What is at a name, as far as it decides what can be done with it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    File,
    Directory,
    Symlink,
}

type Model = BTreeMap<String, What>;

fn start(kept: &Kept) -> Model {
    kept.put("a", "a\n");
    kept.put("d/a", "da\n");
    kept.put("d/e/a", "dea\n");
    symlink("../a", kept.at("d/b")).unwrap();
    let found = [
        ("a", What::File),
        ("d", What::Directory),
        ("d/a", What::File),
        ("d/b", What::Symlink),
        ("d/e", What::Directory),
        ("d/e/a", What::File),
    ];
    found.map(|(name, what)| (name.to_owned(), what)).into()
}

fn is_below(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// All that can be done, each with what it makes of the model.
fn choices(kept: &Kept, model: &Model, n: usize) -> Vec<(Value, Model)> {
    let mut choices = Vec::new();
    let free: Vec<_> = NAMES
        .iter()
        .filter(|name| {
            let above = name.rsplit_once('/').map(|(above, _)| above);
            !model.contains_key(**name)
                && above.is_none_or(|above| model.get(above) == Some(&What::Directory))
        })
        .collect();
    let with = |name: &str, what| {
        let mut model = model.clone();
        model.insert(name.to_owned(), what);
        model
    };
    for name in &free {
        let path = kept.at(name);
        choices.push((
            act("fs.write", json!({"path": path, "content": format!("{n}\n"), "mode": "create"})),
            with(name, What::File),
        ));
        choices.push((
            act("fs.mkdir", json!({"path": path, "permissions": "750"})),
            with(name, What::Directory),
        ));
    }
    for (name, what) in model {
        let path = kept.at(name);
        if *what == What::File {
            choices.push((act("fs.write", json!({"path": path, "content": format!("{n}\n"), "mode": "replace", "permissions": "640"})), model.clone()));
            choices.push((
                act("fs.write", json!({"path": path, "content": format!("+{n}\n"), "mode": "append"})),
                model.clone(),
            ));
        }
        let mut without = model.clone();
        without.retain(|other, _| !is_below(other, name));
        choices.push((act("fs.remove", json!({"path": path, "recursive": true})), without.clone()));
        let moved = |to: &str, kept_there: bool| {
            let mut after = if kept_there { model.clone() } else { without.clone() };
            let below = model.iter().filter(|(other, _)| is_below(other, name));
            after.extend(below.map(|(other, what)| (format!("{to}{}", &other[name.len()..]), *what)));
            after
        };
        for to in free.iter().filter(|to| !is_below(to, name)) {
            choices.push((act("fs.move", json!({"from": path, "to": kept.at(to)})), moved(to, false)));
            if *what != What::Symlink {
                choices.push((
                    act("fs.copy", json!({"from": path, "to": kept.at(to), "recursive": true})),
                    moved(to, true),
                ));
            }
        }
        for (to, _) in
            model.iter().filter(|(to, other)| *to != name && **other == What::File && *what == What::File)
        {
            choices.push((
                act("fs.move", json!({"from": path, "to": kept.at(to), "replace": true})),
                moved(to, false),
            ));
            choices.push((
                act("fs.copy", json!({"from": path, "to": kept.at(to), "replace": true})),
                model.clone(),
            ));
        }
    }
    choices
}

/// The tree without the times of files, which a redo does not know.
fn without_times(kept: &Kept) -> BTreeMap<String, String> {
    let cut = |text: String| text.rsplit_once(' ').map(|(rest, _)| rest.to_owned()).unwrap_or(text);
    kept.tree().into_iter().map(|(name, text)| (name, cut(text))).collect()
}

/// Undoes a run; gives the run that this was, if anything was to be done. (A run may take back itself what it did.)
fn undo(kept: &Kept, run: &str) -> Option<String> {
    let answer = kept.world.send("fs.undo", json!({"run": run}));
    assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
    (answer["results"][0]["output"]["restored"] != json!([])).then(|| run_of(&answer))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_changes_of_any_runs_are_taken_back_and_made_again(
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..24),
        runs in 1..8_usize,
    ) {
        let kept = Kept::new();
        let mut model = start(&kept);
        let mut actions = Vec::new();
        for (n, pick) in picks.iter().enumerate() {
            let mut choices = choices(&kept, &model, n);
            let (action, after) = choices.swap_remove(pick.index(choices.len()));
            actions.push(action);
            model = after;
        }
        let each = actions.len().div_ceil(runs);
        let mut trees = vec![kept.tree()];
        let mut done = Vec::new();
        for plan in actions.chunks(each) {
            // A plan is resolved as a whole at first: where an action cannot be before those before it ran, each is a run.
            let answer = kept.world.send_plan(json!(plan), None);
            if answer["executed"] == true {
                prop_assert_eq!(&answer["error"], &Value::Null, "{:#}", answer);
                done.push(run_of(&answer));
                trees.push(kept.tree());
                continue;
            }
            for action in plan {
                done.push(kept.run(json!([action])));
                trees.push(kept.tree());
            }
        }
        let names: BTreeSet<_> = trees[trees.len() - 1].keys().cloned().collect();
        prop_assert_eq!(&names, &model.keys().cloned().collect(), "the model is right: {:#?}", actions);
        let last = without_times(&kept);
        let mut undone = Vec::new();
        for (run, before) in done.iter().rev().zip(trees.iter().rev().skip(1)) {
            undone.extend(undo(&kept, run));
            prop_assert_eq!(&kept.tree(), before, "{:#?}", actions);
        }
        let mut redone = Vec::new();
        for run in undone.iter().rev() {
            redone.extend(undo(&kept, run));
        }
        prop_assert_eq!(&without_times(&kept), &last, "{:#?}", actions);
        for run in redone.iter().rev() {
            kept.undo(run);
        }
        prop_assert_eq!(&kept.tree(), &trees[0], "{:#?}", actions);
        prop_assert!(fs::read_dir(kept.store("contents")).unwrap().count() < 100);
    }
}
