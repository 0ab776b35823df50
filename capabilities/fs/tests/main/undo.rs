//! What `fs.undo` promises.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use llm_os_core::{Decision, Root, RootMode, Setup, Verb};
use llm_os_fs::Fs;
use llm_os_test_support::World;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::refusal;

/// A folder that outlives a host, the host's state, and a host with undo on.
pub(crate) struct Kept {
    pub(crate) world: World,
    dir: TempDir,
    quota: u64,
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self::with_quota(1 << 20)
    }

    pub(crate) fn with_quota(quota: u64) -> Self {
        let dir = TempDir::new().unwrap();
        for name in ["w", "state"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let world = open(dir.path(), quota, RootMode::Write);
        Self { world, dir, quota }
    }

    /// The same folder with a host that was started anew.
    pub(crate) fn restarted(self) -> Self {
        self.restarted_as(RootMode::Write)
    }

    /// The same where the folder is open for something else now.
    pub(crate) fn restarted_as(self, mode: RootMode) -> Self {
        let Self { world, dir, quota } = self;
        drop(world);
        let world = open(dir.path(), quota, mode);
        Self { world, dir, quota }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("w")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn store(&self, name: &str) -> PathBuf {
        self.dir.path().join("state/fs/undo").join(name)
    }

    pub(crate) fn at(&self, name: &str) -> String {
        self.root().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.at(name);
        fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Sends a plan that must succeed, and gives the id of its run.
    #[track_caller]
    pub(crate) fn run(&self, actions: Value) -> String {
        let answer = self.world.send_plan(actions, None);
        for result in answer["results"].as_array().unwrap() {
            assert_eq!(result["status"], "ok", "{answer:#}");
        }
        run_of(&answer)
    }

    #[track_caller]
    pub(crate) fn undo(&self, run: &str) -> String {
        self.run(json!([act("fs.undo", json!({"run": run}))]))
    }

    #[track_caller]
    pub(crate) fn refused(&self, action: &str, params: Value, code: &str) -> String {
        refusal(&self.world, action, params, code)
    }

    /// Everything in the folder: type, permissions, owner, content, and when the content of a file was changed.
    pub(crate) fn tree(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        below(&self.root(), "", &mut found);
        found
    }

    fn kept_bytes(&self) -> u64 {
        let files = ["contents", "runs"].map(|name| fs::read_dir(self.store(name)).unwrap());
        files.into_iter().flatten().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }
}

fn open(dir: &Path, quota: u64, mode: RootMode) -> World {
    let dir = dir.canonicalize().unwrap();
    let setup = Setup {
        roots: vec![Root { path: dir.join("w"), mode }],
        state: Some(dir.join("state")),
        ..Setup::default()
    };
    let (world, unavailable) = World::set_up::<Fs>(json!({"undo": true, "undo_quota": quota}), setup);
    assert_eq!(unavailable, None);
    world
}

fn below(dir: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        let who = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
        let what = if meta.is_dir() {
            below(&entry.path(), &format!("{name}/"), found);
            String::new()
        } else if meta.is_symlink() {
            fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned()
        } else {
            let content = fs::read(entry.path()).unwrap();
            format!("{} {}.{}", String::from_utf8_lossy(&content), meta.mtime(), meta.mtime_nsec())
        };
        found.insert(name, format!("{who} {what}"));
    }
}

pub(crate) fn act(action: &str, params: Value) -> Value {
    json!({"action": action, "params": params, "reason": "a test"})
}

pub(crate) fn run_of(answer: &Value) -> String {
    answer["meta"]["run"].as_str().unwrap().to_owned()
}

fn write(path: &str, content: &str, mode: &str) -> Value {
    act("fs.write", json!({"path": path, "content": content, "mode": mode}))
}

#[test]
fn every_change_is_put_back_exactly() {
    let kept = Kept::new();
    let (file, other, dir) = (kept.put("f", "one\n"), kept.put("o", "other"), kept.at("d"));
    kept.put("d/x", "x");
    kept.put("d/e/y", [0xff, 0]);
    fs::set_permissions(kept.at("f"), fs::Permissions::from_mode(0o751)).unwrap();
    fs::set_permissions(kept.at("d/e"), fs::Permissions::from_mode(0o1770)).unwrap();
    symlink("nowhere", kept.at("d/link")).unwrap();
    let before = kept.tree();
    for actions in [
        json!([write(&kept.at("n"), "new", "create")]),
        json!([write(&file, "two", "replace")]),
        json!([write(&file, "more", "append")]),
        json!([act(
            "fs.write",
            json!({"path": file, "content": "one\n", "mode": "replace", "permissions": "600"})
        )]),
        json!([act("fs.edit", json!({"path": file, "old": "one", "new": "1"}))]),
        json!([act("fs.mkdir", json!({"path": kept.at("m")}))]),
        json!([act("fs.mkdir", json!({"path": kept.at("m/n/o"), "parents": true}))]),
        json!([act("fs.move", json!({"from": file, "to": kept.at("d/f")}))]),
        json!([act("fs.move", json!({"from": dir, "to": kept.at("D")}))]),
        json!([act("fs.move", json!({"from": file, "to": other, "replace": true}))]),
        json!([act("fs.copy", json!({"from": file, "to": kept.at("g")}))]),
        json!([act("fs.copy", json!({"from": file, "to": other, "replace": true}))]),
        json!([act("fs.copy", json!({"from": dir, "to": kept.at("D"), "recursive": true}))]),
        json!([act("fs.remove", json!({"path": file}))]),
        json!([act("fs.remove", json!({"path": kept.at("d/link")}))]),
        json!([act("fs.remove", json!({"path": dir, "recursive": true}))]),
    ] {
        let run = kept.run(actions.clone());
        assert_ne!(kept.tree(), before, "{actions}");
        kept.undo(&run);
        assert_eq!(kept.tree(), before, "{actions}");
    }
}

#[test]
fn the_actions_of_a_run_are_taken_back_from_the_last_to_the_first() {
    let kept = Kept::new();
    kept.put("d/x", "x");
    kept.put("f", "f");
    let before = kept.tree();
    let run = kept.run(json!([
        write(&kept.at("d/x"), "y", "replace"),
        act("fs.move", json!({"from": kept.at("d"), "to": kept.at("e")})),
        write(&kept.at("e/x"), "z", "append"),
        act("fs.mkdir", json!({"path": kept.at("d")})),
        act("fs.move", json!({"from": kept.at("e"), "to": kept.at("d/e")})),
        act("fs.move", json!({"from": kept.at("f"), "to": kept.at("d/e/f")})),
        act("fs.remove", json!({"path": kept.at("d"), "recursive": true})),
        write(&kept.at("d"), "a file now", "create"),
    ]));
    kept.undo(&run);
    assert_eq!(kept.tree(), before);
}

#[test]
fn one_action_of_a_run_is_taken_back_alone() {
    let kept = Kept::new();
    let run = kept.run(json!([write(&kept.at("a"), "a", "create"), write(&kept.at("b"), "b", "create")]));
    let answer = kept.world.send("fs.undo", json!({"run": run, "index": 1}));
    assert_eq!(answer["results"][0]["output"], json!({"run": run, "restored": [kept.at("b")]}));
    assert_eq!(kept.tree().keys().collect::<Vec<_>>(), ["a"]);
    kept.refused("fs.undo", json!({"run": run, "index": 2}), "not_found");
}

#[test]
fn an_undo_is_undone_like_every_other_run() {
    let kept = Kept::new();
    kept.put("d/x", "x");
    let run = kept.run(json!([act("fs.remove", json!({"path": kept.at("d"), "recursive": true}))]));
    let redo = kept.undo(&run);
    let undo = kept.undo(&redo);
    assert!(kept.tree().is_empty());
    kept.undo(&undo);
    assert_eq!(fs::read_to_string(kept.at("d/x")).unwrap(), "x");
}

#[test]
fn runs_are_taken_back_one_after_another() {
    let kept = Kept::new();
    let runs =
        ["create", "replace", "append"].map(|mode| kept.run(json!([write(&kept.at("f"), mode, mode)])));
    for (run, content) in runs.iter().rev().zip([Some("replace"), Some("create"), None]) {
        kept.undo(run);
        assert_eq!(fs::read_to_string(kept.at("f")).ok().as_deref(), content);
    }
}

#[test]
fn what_was_taken_back_already_stays_as_it_is() {
    let kept = Kept::new();
    let run = kept.run(json!([write(&kept.at("f"), "f", "create")]));
    kept.undo(&run);
    let answer = kept.world.send("fs.undo", json!({"run": run}));
    assert_eq!(answer["results"][0]["output"]["restored"], json!([]), "{answer:#}");
}

#[test]
fn what_somebody_changed_since_is_a_conflict_and_nothing_is_undone() {
    type Meddle = fn(&Kept);
    let meddlings: [(&str, Meddle); 9] = [
        ("other content", |kept| fs::write(kept.at("f"), "theirs").unwrap()),
        ("the same content in another file", |kept| {
            fs::write(kept.at("copy"), "ours").unwrap();
            fs::rename(kept.at("copy"), kept.at("f")).unwrap();
        }),
        ("other permissions", |kept| {
            fs::set_permissions(kept.at("f"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("gone", |kept| fs::remove_file(kept.at("old/x")).unwrap()),
        ("a symlink in its place", |kept| {
            fs::rename(kept.at("f"), kept.at("elsewhere")).unwrap();
            symlink("elsewhere", kept.at("f")).unwrap();
        }),
        ("a file where one was removed", |kept| fs::write(kept.at("gone"), "theirs").unwrap()),
        ("something in a new directory", |kept| fs::write(kept.at("new/theirs"), "theirs").unwrap()),
        ("a symlink on the way", |kept| {
            fs::rename(kept.at("new"), kept.at("elsewhere")).unwrap();
            symlink("elsewhere", kept.at("new")).unwrap();
        }),
        ("another directory on the way", |kept| {
            fs::rename(kept.at("old"), kept.at("elsewhere")).unwrap();
            fs::create_dir(kept.at("old")).unwrap();
        }),
    ];
    for (what, meddle) in meddlings {
        let kept = Kept::new();
        kept.put("gone", "gone");
        kept.put("old/x", "x");
        let run = kept.run(json!([
            write(&kept.at("first"), "first", "create"),
            act("fs.remove", json!({"path": kept.at("gone")})),
            act("fs.mkdir", json!({"path": kept.at("new")})),
            write(&kept.at("f"), "ours", "create"),
            write(&kept.at("old/x"), "y", "replace"),
            write(&kept.at("last"), "last", "create"),
        ]));
        meddle(&kept);
        let before = kept.tree();
        kept.refused("fs.undo", json!({"run": run}), "undo_conflict");
        assert_eq!(kept.tree(), before, "{what}");
    }
}

#[test]
fn what_a_later_run_changed_is_a_conflict_until_that_one_is_undone() {
    let kept = Kept::new();
    let first = kept.run(json!([write(&kept.at("f"), "one", "create")]));
    let second = kept.run(json!([write(&kept.at("f"), "two", "replace")]));
    let message = kept.refused("fs.undo", json!({"run": first}), "undo_conflict");
    assert!(message.contains("undo what changed it since"), "{message}");
    kept.undo(&second);
    kept.undo(&first);
    assert!(kept.tree().is_empty());
}

#[test]
fn the_run_of_another_caller_looks_as_one_that_does_not_exist() {
    let kept = Kept::new();
    let frame = |id: &str, session: &str, action: Value| {
        let frame = json!({"request_id": id, "session_id": session, "version": "1", "mode": "execute", "actions": [action]});
        kept.world.send_frame(frame.to_string().as_bytes())
    };
    let run = run_of(&frame("r", "ann", write(&kept.at("f"), "f", "create")));
    let undo = |run: &str| act("fs.undo", json!({"run": run}));
    let theirs = frame("r", "eve", undo(&run));
    let nobodys = frame("r", "eve", undo("run-0"));
    assert_eq!(theirs["error"]["code"], "not_found", "{theirs:#}");
    let message =
        |answer: &Value, run: &str| answer["error"]["message"].as_str().unwrap().replace(run, "RUN");
    assert_eq!(message(&theirs, &run), message(&nobodys, "run-0"));
    assert_eq!(frame("r", "ann", undo(&run))["results"][0]["status"], "ok");
}

#[test]
fn an_undo_is_judged_by_what_it_does_to_each_path() {
    let kept = Kept::new();
    kept.put("gone", "gone");
    let run = kept.run(json!([
        write(&kept.at("f"), "f", "create"),
        act("fs.remove", json!({"path": kept.at("gone")})),
        act("fs.copy", json!({"from": kept.at("f"), "to": kept.at("g")})),
        act("fs.move", json!({"from": kept.at("g"), "to": kept.at("h")})),
    ]));
    let actions = json!([act("fs.undo", json!({"run": run}))]);
    let frame = json!({"request_id": "r", "version": "1", "mode": "plan_only", "actions": actions});
    let before = kept.tree();
    let planned = kept.world.send_frame(frame.to_string().as_bytes());
    let effects = planned["results"][0]["effects"].as_array().unwrap().iter();
    let effects: Vec<_> =
        effects.map(|e| (e["verb"].as_str().unwrap(), e["resource"]["id"].as_str().unwrap())).collect();
    let (f, gone, g, h) = (kept.at("f"), kept.at("gone"), kept.at("g"), kept.at("h"));
    let expected = [
        ("observe", &h),
        ("destroy", &h),
        ("change", &g),
        ("destroy", &g),
        ("change", &gone),
        ("destroy", &f),
    ];
    assert_eq!(effects, expected.map(|(verb, path)| (verb, path.as_str())));
    for denied in [&f, &gone, &g, &h] {
        let denied = denied.clone();
        kept.world.judge(
            move |query| {
                if query.effect.resource.id == denied { Decision::Deny } else { Decision::Allow }
            },
        );
        kept.refused("fs.undo", json!({"run": run}), "policy_denied");
        assert_eq!(kept.tree(), before);
    }
    kept.world
        .judge(|query| if query.effect.verb == Verb::Destroy { Decision::Confirm } else { Decision::Allow });
    kept.refused("fs.undo", json!({"run": run}), "confirmation_required");
    let answer = kept.world.send_confirmed("fs.undo", json!({"run": run}));
    assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
}

#[test]
fn what_lies_below_a_directory_is_judged_before_anything_is_put_back() {
    let kept = Kept::new();
    kept.put("d/e/secret", "x");
    let removed = kept.run(json!([act("fs.remove", json!({"path": kept.at("d"), "recursive": true}))]));
    let deny_below = |kept: &Kept| {
        kept.world.judge(|query| {
            if query.effect.resource.id.ends_with("/secret") { Decision::Deny } else { Decision::Allow }
        });
    };
    deny_below(&kept);
    kept.refused("fs.undo", json!({"run": removed}), "policy_denied");
    assert!(kept.tree().is_empty());
    kept.world.judge(|_| Decision::Allow);
    kept.undo(&removed);
    let moved = kept.run(json!([act("fs.move", json!({"from": kept.at("d"), "to": kept.at("m")}))]));
    let before = kept.tree();
    deny_below(&kept);
    kept.refused("fs.undo", json!({"run": moved}), "policy_denied");
    assert_eq!(kept.tree(), before);
}

#[test]
fn what_stands_where_something_is_put_back_is_judged_as_well() {
    let kept = Kept::new();
    kept.put("f", "f");
    kept.put("d/secret", "x");
    let run = kept.run(json!([
        act("fs.remove", json!({"path": kept.at("f")})),
        act("fs.copy", json!({"from": kept.at("d"), "to": kept.at("f"), "recursive": true})),
    ]));
    kept.world.judge(|query| {
        if query.effect.resource.id.ends_with("/secret") { Decision::Deny } else { Decision::Allow }
    });
    kept.refused("fs.undo", json!({"run": run}), "policy_denied");
    assert!(fs::exists(kept.at("f/secret")).unwrap());
    kept.world.judge(|_| Decision::Allow);
    kept.undo(&run);
    assert_eq!(fs::read_to_string(kept.at("f")).unwrap(), "f");
}

#[test]
fn what_acts_later_by_itself_is_stated_wherever_it_lies() {
    let kept = Kept::new();
    kept.put("d/.git/hooks/pre-commit", "x");
    kept.put("d/plain", "x");
    let run = kept.run(json!([act("fs.remove", json!({"path": kept.at("d"), "recursive": true}))]));
    kept.world.judge(|query| {
        let persistent = format!("{:?}", query.effect.facts["persistent"]) == "Bool(true)";
        if persistent { Decision::Confirm } else { Decision::Allow }
    });
    kept.refused("fs.undo", json!({"run": run}), "confirmation_required");
    kept.world.send_confirmed("fs.undo", json!({"run": run}));
    assert_eq!(fs::read_to_string(kept.at("d/.git/hooks/pre-commit")).unwrap(), "x");
}

#[test]
fn an_undo_is_recorded_as_every_action_and_no_content_is_in_any_record() {
    let kept = Kept::new();
    kept.put("f", "hunter2");
    let run = kept.run(json!([write(&kept.at("f"), "swordfish", "replace")]));
    kept.undo(&run);
    let records = json!(kept.world.records()).to_string();
    assert!(records.contains("fs.undo") && records.contains(&run));
    assert!(!records.contains("hunter2") && !records.contains("swordfish"));
}

#[test]
fn without_undo_the_action_says_how_to_turn_it_on_and_nothing_is_kept() {
    let scene = crate::support::Scene::new();
    assert!(scene.world.lacks("fs.undo").unwrap().contains("undo = true"));
    scene.refused("fs.undo", json!({"run": "run-1"}), "unavailable");
}

#[test]
fn the_id_of_a_run_is_no_path() {
    let kept = Kept::new();
    for bad in ["", "..", "../x", "a/b", "a\0", &"x".repeat(129)] {
        let code = if bad == ".." { "not_found" } else { "validation_failed" };
        kept.refused("fs.undo", json!({"run": bad}), code);
    }
}

#[test]
fn what_is_kept_is_named_by_its_digest_and_readable_by_the_host_alone() {
    let kept = Kept::new();
    kept.put("f", "abc");
    kept.put("g", "abc");
    kept.run(json!([
        act("fs.remove", json!({"path": kept.at("f")})),
        act("fs.remove", json!({"path": kept.at("g")}))
    ]));
    let names =
        fs::read_dir(kept.store("contents")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]
    );
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for directory in ["", "contents", "runs"] {
        assert_eq!(mode(kept.store(directory)), 0o700, "{directory}");
        for entry in fs::read_dir(kept.store(directory)).unwrap().map(|entry| entry.unwrap()) {
            assert_eq!(mode(entry.path()) & 0o077, 0, "{entry:?}");
        }
    }
}

#[test]
fn what_was_kept_outlives_the_host() {
    let kept = Kept::new();
    kept.put("d/x", "x");
    let before = kept.tree();
    let run = kept.run(json!([act("fs.remove", json!({"path": kept.at("d"), "recursive": true}))]));
    let kept = kept.restarted();
    kept.undo(&run);
    assert_eq!(kept.tree(), before);
}

#[test]
fn the_oldest_runs_are_dropped_first_and_the_quota_holds() {
    let kept = Kept::with_quota(8 << 10);
    let runs: Vec<_> = (0..8)
        .map(|n| {
            kept.put("f", n.to_string().repeat(2000));
            let run = kept.run(json!([act("fs.remove", json!({"path": kept.at("f")}))]));
            assert!(kept.kept_bytes() <= 8 << 10, "{}", kept.kept_bytes());
            run
        })
        .collect();
    for run in &runs[..5] {
        kept.refused("fs.undo", json!({"run": run}), "not_found");
    }
    kept.undo(&runs[7]);
    assert_eq!(fs::read_to_string(kept.at("f")).unwrap(), "7".repeat(2000));
}

#[test]
fn a_change_that_does_not_fit_is_refused_before_it_is_made_and_drops_nothing() {
    let kept = Kept::with_quota(8 << 10);
    kept.put("small", "small");
    let small = kept.run(json!([act("fs.remove", json!({"path": kept.at("small")}))]));
    let big = kept.put("big/file", "x".repeat(9000) + "end");
    kept.put("two/a", "a".repeat(5000));
    kept.put("two/b", "b".repeat(5000));
    let before = kept.tree();
    for (action, params) in [
        ("fs.write", json!({"path": big, "content": "y", "mode": "replace"})),
        ("fs.write", json!({"path": big, "content": "y", "mode": "append"})),
        ("fs.edit", json!({"path": big, "old": "end", "new": "."})),
        ("fs.remove", json!({"path": kept.at("big"), "recursive": true})),
        ("fs.remove", json!({"path": kept.at("two"), "recursive": true})),
    ] {
        let message = kept.refused(action, params, "undo_quota_exceeded");
        assert!(message.contains("raise undo_quota in [capabilities.fs]"), "{message}");
        assert_eq!(kept.tree(), before);
    }
    assert_eq!(fs::read_dir(kept.store("contents")).unwrap().count(), 1, "nothing stays of what was refused");
    kept.undo(&small);
}

#[test]
fn a_store_that_cannot_be_written_refuses_every_change_and_nothing_changes() {
    let kept = Kept::new();
    let file = kept.put("d/f", "f");
    for name in ["contents", "runs"] {
        fs::rename(kept.store(name), kept.store("away")).unwrap();
        fs::remove_dir_all(kept.store("away")).unwrap();
    }
    let before = kept.tree();
    for (action, params) in [
        ("fs.write", json!({"path": kept.at("n"), "content": "y", "mode": "create"})),
        ("fs.write", json!({"path": file, "content": "y", "mode": "replace"})),
        ("fs.write", json!({"path": file, "content": "y", "mode": "append"})),
        ("fs.edit", json!({"path": file, "old": "f", "new": "y"})),
        ("fs.mkdir", json!({"path": kept.at("m/n"), "parents": true})),
        ("fs.move", json!({"from": file, "to": kept.at("n")})),
        ("fs.copy", json!({"from": file, "to": kept.at("n")})),
        ("fs.copy", json!({"from": kept.at("d"), "to": kept.at("n"), "recursive": true})),
        ("fs.remove", json!({"path": kept.at("d"), "recursive": true})),
    ] {
        kept.refused(action, params.clone(), "undo_unavailable");
        assert_eq!(kept.tree(), before, "{action} {params}");
    }
}

#[test]
fn a_change_that_was_recorded_and_never_made_is_not_taken_back() {
    let kept = Kept::new();
    // A second name keeps the very file that is replaced, so that it can be as if it never was.
    let file = kept.put("f", "old");
    fs::hard_link(&file, kept.at("saved")).unwrap();
    let before = kept.tree();
    let answer =
        kept.world.send_confirmed("fs.write", json!({"path": file, "content": "new", "mode": "replace"}));
    fs::rename(kept.at("saved"), &file).unwrap();
    fs::hard_link(&file, kept.at("saved")).unwrap();
    let kept = kept.restarted();
    let undone = kept.world.send_confirmed("fs.undo", json!({"run": run_of(&answer)}));
    assert_eq!(undone["results"][0]["output"]["restored"], json!([]), "{undone:#}");
    assert_eq!(kept.tree(), before);
}

#[test]
fn a_removal_that_was_cut_short_is_completed_backwards() {
    let kept = Kept::new();
    kept.put("d/gone", "gone");
    kept.put("d/still", "still");
    let before = kept.tree();
    let run = kept.run(json!([act("fs.remove", json!({"path": kept.at("d"), "recursive": true}))]));
    // As if it had ended after its first entry: all else is the very same as before.
    kept.undo(&run);
    fs::remove_file(kept.at("d/gone")).unwrap();
    kept.undo(&run);
    assert_eq!(kept.tree(), before);
}

#[test]
fn a_line_of_the_journal_that_was_never_finished_was_no_change() {
    let kept = Kept::new();
    let run = kept.run(json!([write(&kept.at("a"), "a", "create"), write(&kept.at("b"), "b", "create")]));
    let journal = fs::read_dir(kept.store("runs")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, &text[..text.len() - 10]).unwrap();
    let kept = kept.restarted();
    let answer = kept.world.send("fs.undo", json!({"run": run}));
    assert_eq!(answer["results"][0]["output"]["restored"], json!([kept.at("a")]), "{answer:#}");
    fs::write(&journal, "{\"run\":").unwrap();
    drop(kept.restarted());
    assert!(!journal.exists(), "a journal that never had a first line is gone");
}

#[test]
fn what_was_kept_is_not_put_back_where_it_is_damaged() {
    let kept = Kept::new();
    kept.put("d/a", "a");
    kept.put("d/b", "b");
    let run = kept.run(json!([act("fs.remove", json!({"path": kept.at("d"), "recursive": true}))]));
    let content = fs::read_dir(kept.store("contents")).unwrap().next().unwrap().unwrap().path();
    fs::write(content, "c").unwrap();
    let message = kept.refused("fs.undo", json!({"run": run}), "undo_unavailable");
    assert!(message.contains("damaged"), "{message}");
    assert!(kept.tree().is_empty(), "{:?}", kept.tree());
}

#[test]
fn what_undo_cannot_bring_back_is_not_removed() {
    let kept = Kept::new();
    kept.put("d/f", "f");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        kept.at("d/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let message =
        kept.refused("fs.remove", json!({"path": kept.at("d"), "recursive": true}), "undo_unavailable");
    assert!(message.contains("FIFO"), "{message}");
    assert!(fs::exists(kept.at("d/f")).unwrap());
}
