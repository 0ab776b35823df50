//! The control group of an action, below one that is delegated to the host.

use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;

use llm_os_exec::Exec;
use llm_os_test_support::World;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::XattrFlags;
use serde_json::json;

use crate::support::{Lifeline, alone, run_probe, stdout, world};

/// A group of version 2 that is delegated as systemd does it; removed once this is dropped.
struct Delegated(PathBuf);

impl Delegated {
    /// Nothing where this machine has no such groups or does not let them be made.
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let point = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?.to_owned();
        let group = Self(Path::new(&point).join(format!("llm-os-test-{}", std::process::id())));
        fs::create_dir(&group.0).ok()?;
        rustix::fs::setxattr(&group.0, "trusted.delegate", b"1", XattrFlags::empty()).unwrap();
        Some(group)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let mut events = fs::File::open(self.0.join("cgroup.events")).unwrap();
        let mut text = String::new();
        while !text.contains("populated 0") {
            // The kernel says when it changes (cgroups(7)): what the host held ready may still be ending.
            if !text.is_empty() {
                poll(&mut [PollFd::new(&events, PollFlags::PRI)], None).unwrap();
            }
            text.clear();
            events.rewind().unwrap();
            events.read_to_string(&mut text).unwrap();
        }
        for entry in fs::read_dir(&self.0).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
            fs::remove_dir(entry.path()).unwrap();
        }
        fs::remove_dir(&self.0).unwrap();
    }
}

#[test]
fn each_action_has_a_control_group_where_one_is_delegated() {
    let Some(delegated) = Delegated::new() else {
        eprintln!("Control groups of version 2 cannot be made here: nothing was tested.");
        return;
    };
    let host = alone("group::in_a_delegated_group");
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo 0 > \"$0\"/cgroup.procs && exec \"$@\""]).arg(&delegated.0);
    shell.arg(host.get_program()).args(host.get_args()).env("DELEGATED", &delegated.0);
    assert!(shell.status().unwrap().success());
}

#[test]
#[ignore = "a part of each_action_has_a_control_group_where_one_is_delegated, which runs it"]
fn in_a_delegated_group() {
    let delegated = PathBuf::from(std::env::var("DELEGATED").unwrap());
    let stale = delegated.join("llm-os-exec-1-0");
    fs::create_dir(&stale).unwrap();
    let world = world();
    assert!(!stale.exists(), "the group of a host that is gone is still there");
    let mut groups = [0, 1].map(|_| {
        let answer = world.send("exec.run", json!({"argv": ["/bin/cat", "/proc/self/cgroup"]}));
        let all = stdout(&answer["results"][0]).to_owned();
        let own = all.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        Path::new(own).file_name().unwrap().to_string_lossy().into_owned()
    });
    groups.iter().for_each(|group| {
        assert!(group.starts_with(&format!("llm-os-exec-{}-", std::process::id())), "{group}");
        assert!(!delegated.join(group).exists(), "{group} outlived its action");
    });
    groups.sort();
    assert_ne!(groups[0], groups[1], "two actions shared a group");

    let lifeline = Lifeline::new(&world, "alive");
    let watch = lifeline.watch();
    run_probe(&world, &["daemon-and-wait", lifeline.path()], json!({"timeout_ms": 300}));
    assert_eq!(watch.join().unwrap(), b"r");

    let controllers = fs::read_to_string(delegated.join("cgroup.controllers")).unwrap();
    if controllers.contains("pids") {
        let few = World::configured::<Exec>(json!({"sandbox": {"processes": 350}}), &[]);
        let forked = run_probe(&few, &["forks", "10000"], json!({}));
        let made: u64 = stdout(&forked).split(' ').next().unwrap().parse().unwrap();
        assert_eq!(made, 348, "all but the init and the program itself: {forked:#}");
    }
    if controllers.contains("memory") {
        let little = World::configured::<Exec>(json!({"sandbox": {"memory_bytes": 64 << 20}}), &[]);
        let answer = run_probe(&little, &["memory-of-many", "8"], json!({}));
        assert_eq!(answer["error"]["code"], "exec_limit_exceeded", "{answer:#}");
    }
}
