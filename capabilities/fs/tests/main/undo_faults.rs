//! What undo does where a disk is full, and where somebody else is quicker.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Once;

use llm_os_core::{Decision, RootMode};
use serde_json::json;

use crate::support::is_root;
use crate::undo::{Kept, act, run_of};

/// Set where a test runs in a mount namespace of its own.
const OWN_MOUNTS: &str = "LLM_OS_TEST_OWN_MOUNTS";

/// Set where a test runs with few descriptors.
const FEW_DESCRIPTORS: &str = "LLM_OS_TEST_FEW_DESCRIPTORS";

/// Runs an ignored test of this program where what it mounts is seen by nobody else.
fn in_own_mount_namespace(test: &str) {
    if !is_root() {
        println!("not run: mounting a small file system needs root");
        return;
    }
    let own = Command::new("unshare").args(["--mount", "true"]).status();
    if !own.is_ok_and(|status| status.success()) {
        println!("not run: no mount namespace can be made here");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(program).env(OWN_MOUNTS, "1");
    let done = command.args(["--exact", test, "--ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Mounts a small file system, and tells whether that may be done here.
fn mount(at: &Path, size: &str) -> bool {
    if std::env::var_os(OWN_MOUNTS).is_none() {
        println!("not run: this is no mount namespace of its own");
        return false;
    }
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).status();
    assert!(mounted.unwrap().success());
    true
}

#[test]
fn a_full_disk_below_the_store_refuses_the_change_and_keeps_what_was_kept() {
    in_own_mount_namespace("undo_faults::full_below_the_store");
}

#[test]
#[ignore = "run by the test above in a mount namespace of its own"]
fn full_below_the_store() {
    let kept = Kept::with_quota(1 << 30);
    if !mount(&kept.state(), "256k") {
        return;
    }
    let kept = kept.restarted();
    let mut runs = Vec::new();
    let mut refused = 0;
    for n in 0..40_usize {
        let file = kept.put(&format!("d/{n}"), n.to_string().repeat(10_000));
        let before = kept.tree();
        let params = json!({"path": file});
        let answer = kept.world.send("fs.remove", params);
        if answer["results"][0]["status"] == "ok" {
            runs.push((run_of(&answer), before, file));
        } else {
            let error = &answer["results"][0]["error"];
            assert_eq!(error["code"], "undo_unavailable", "{answer:#}");
            assert!(error["message"].as_str().unwrap().contains("free some space first"), "{error}");
            assert_eq!(kept.tree(), before);
            fs::remove_file(file).unwrap();
            refused += 1;
        }
    }
    assert!(refused > 10 && runs.len() > 5, "{refused} refused, {} made", runs.len());
    let store = fs::read_dir(kept.store("contents")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(store.count(), runs.len(), "nothing stays of what was refused");
    // An undo is recorded as well, so it needs room.
    let larger = Command::new("mount").args(["-o", "remount,size=4m"]).arg(kept.state()).status();
    assert!(larger.unwrap().success());
    for (run, before, file) in runs.iter().rev() {
        kept.undo(run);
        assert_eq!(kept.tree(), *before);
        fs::remove_file(file).unwrap();
    }
}

#[test]
fn a_full_disk_below_the_root_undoes_nothing_and_later_all() {
    in_own_mount_namespace("undo_faults::full_below_the_root");
}

#[test]
#[ignore = "run by the test above in a mount namespace of its own"]
fn full_below_the_root() {
    let kept = Kept::new();
    if !mount(&kept.root(), "256k") {
        return;
    }
    let kept = kept.restarted();
    kept.put("d/a", "a".repeat(40 << 10));
    kept.put("d/e/b", "b".repeat(40 << 10));
    kept.put("f", "f");
    let before = kept.tree();
    let run = kept.run(json!([
        act("fs.write", json!({"path": kept.at("f"), "content": "g", "mode": "replace"})),
        act("fs.remove", json!({"path": kept.at("d"), "recursive": true})),
    ]));
    // The file system is full after ever more bytes of the undo.
    for pages in (42..60).rev() {
        let filler = kept.put("filler", vec![0; pages << 12]);
        let full = kept.tree();
        let answer = kept.world.send("fs.undo", json!({"run": run}));
        let is_done = answer["results"][0]["status"] == "ok";
        if is_done {
            fs::remove_file(filler).unwrap();
            assert_eq!(kept.tree(), before);
            assert!(pages < 55, "it was full at least once");
            return;
        }
        assert_eq!(answer["results"][0]["error"]["code"], "write_failed", "{answer:#}");
        assert_eq!(kept.tree(), full);
        fs::remove_file(filler).unwrap();
    }
    kept.undo(&run);
    assert_eq!(kept.tree(), before);
}

/// A file that the kernel lets nobody rename, until this is dropped.
struct Immutable(fs::File);

impl Immutable {
    fn make(path: &str) -> Option<Self> {
        let file = fs::File::open(path).unwrap();
        match rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::IMMUTABLE) {
            Ok(()) => Some(Self(file)),
            Err(e) => {
                println!("not run: no file can be made immutable here: {e}");
                None
            }
        }
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        rustix::fs::ioctl_setflags(&self.0, rustix::fs::IFlags::empty()).unwrap();
    }
}

#[test]
fn an_undo_that_fails_in_the_middle_is_taken_back_and_done_later() {
    let kept = Kept::new();
    kept.put("moved", "moved");
    kept.put("replaced", "replaced");
    kept.put("removed/x", "removed");
    let before = kept.tree();
    let run = kept.run(json!([
        act("fs.move", json!({"from": kept.at("moved"), "to": kept.at("to")})),
        act("fs.write", json!({"path": kept.at("a"), "content": "a", "mode": "create"})),
        act("fs.write", json!({"path": kept.at("replaced"), "content": "z", "mode": "replace"})),
        act("fs.remove", json!({"path": kept.at("removed"), "recursive": true})),
        act("fs.write", json!({"path": kept.at("z"), "content": "z", "mode": "create"})),
    ]));
    let after = kept.tree();
    let Some(immutable) = Immutable::make(&kept.at("z")) else { return };
    let answer = kept.world.refused("fs.undo", json!({"run": run}), "write_failed");
    assert_eq!(kept.tree(), after);
    drop(immutable);
    let failed = kept.world.send("fs.undo", json!({"run": run_of(&answer)}));
    assert_eq!(
        failed["results"][0]["output"]["restored"],
        json!([]),
        "it was recorded and not done: {failed:#}"
    );
    kept.undo(&run);
    assert_eq!(kept.tree(), before);
}

#[test]
fn a_tree_of_more_directories_than_may_be_open_is_put_back() {
    let mut command = Command::new("prlimit");
    command.args(["--nofile=128"]).arg(std::env::current_exe().unwrap()).env(FEW_DESCRIPTORS, "1");
    let done = command.args(["--exact", "undo_faults::many_directories", "--ignored"]).output();
    let Ok(done) = done else {
        println!("not run: there is no prlimit here");
        return;
    };
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
#[ignore = "run by the test above with few descriptors"]
fn many_directories() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        println!("not run: this has many descriptors");
        return;
    }
    let kept = Kept::new();
    for n in 0..300 {
        kept.put(&format!("d/{}/{n}/f", n % 7), n.to_string());
    }
    let before = kept.tree();
    let run = kept.run(json!([act("fs.remove", json!({"path": kept.at("d"), "recursive": true}))]));
    kept.undo(&run);
    assert_eq!(kept.tree(), before);
}

#[test]
fn what_is_for_reading_only_by_now_is_not_undone() {
    let kept = Kept::new();
    let path = kept.put("f", "before");
    let run =
        kept.run(json!([act("fs.write", json!({"path": path, "content": "after", "mode": "replace"}))]));
    let kept = kept.restarted_as(RootMode::Read);
    kept.refused("fs.undo", json!({"run": run}), "policy_denied");
    assert_eq!(fs::read_to_string(path).unwrap(), "after");
}

#[test]
fn what_is_swapped_after_it_was_judged_is_not_undone() {
    let kept = Kept::new();
    for name in ["f", "d/x"] {
        let path = kept.put(name, "before");
        let run =
            kept.run(json!([act("fs.write", json!({"path": path, "content": "after", "mode": "replace"}))]));
        let (theirs, place) = (kept.put("theirs", "after"), path.clone());
        let once = Once::new();
        kept.world.judge(move |_| {
            once.call_once(|| fs::rename(&theirs, &place).unwrap());
            Decision::Allow
        });
        kept.refused("fs.undo", json!({"run": run}), "target_changed");
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
        kept.world.judge(|_| Decision::Allow);
    }
    assert_eq!(kept.tree().keys().collect::<Vec<_>>(), ["d", "d/x", "f"]);
}

#[test]
fn a_directory_that_is_swapped_for_a_symlink_after_it_was_judged_leads_nowhere() {
    let kept = Kept::new();
    let path = kept.put("d/x", "before");
    let outside = tempfile::TempDir::new().unwrap();
    fs::write(outside.path().join("x"), "after").unwrap();
    let run =
        kept.run(json!([act("fs.write", json!({"path": path, "content": "after", "mode": "replace"}))]));
    let (from, to, target) = (kept.at("d"), kept.at("away"), outside.path().to_owned());
    let once = Once::new();
    kept.world.judge(move |_| {
        once.call_once(|| {
            fs::rename(&from, &to).unwrap();
            std::os::unix::fs::symlink(&target, &from).unwrap();
        });
        Decision::Allow
    });
    kept.refused("fs.undo", json!({"run": run}), "target_changed");
    assert_eq!(fs::read_to_string(outside.path().join("x")).unwrap(), "after");
    assert_eq!(fs::read_to_string(kept.at("away/x")).unwrap(), "after");
}

#[test]
fn what_is_written_while_it_is_judged_is_kept_as_it_is_when_it_is_replaced() {
    let kept = Kept::new();
    let path = kept.put("f", "judged");
    let (place, once) = (path.clone(), Once::new());
    kept.world.judge(move |_| {
        once.call_once(|| fs::write(&place, "written since").unwrap());
        Decision::Allow
    });
    let run = kept.run(json!([act("fs.write", json!({"path": path, "content": "ours", "mode": "replace"}))]));
    kept.undo(&run);
    assert_eq!(fs::read_to_string(path).unwrap(), "written since");
}
