//! Machines that have less: what the host then refuses, and what still holds a program.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use llm_os_exec::Exec;
use llm_os_test_support::World;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use serde_json::{Value, json};

use crate::escape::{all, escape};
use crate::support::{Lifeline, PROGRAMS, alone, compiled, probe, run_probe, stdout, world};

fn configured(sandbox: Value) -> World {
    World::configured::<Exec>(json!({ "sandbox": sandbox }), &[])
}

/// Takes system calls away from this thread and all that comes of it, as the filter of a container does.
fn without(calls: &[(libc::c_long, i32)], namespaces: bool) {
    for (errno, group) in calls.iter().fold(BTreeMap::<i32, Vec<_>>::new(), |mut groups, (call, errno)| {
        groups.entry(*errno).or_default().push(*call);
        groups
    }) {
        let rules = group.into_iter().map(|call| (call, Vec::new())).collect();
        apply(rules, errno);
    }
    if namespaces {
        let new = [
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWNS,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUTS,
        ];
        let rules = new.into_iter().map(|flag| {
            let flag = u64::try_from(flag).unwrap();
            let set = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag);
            SeccompRule::new(vec![set.unwrap()]).unwrap()
        });
        apply([(libc::SYS_clone, rules.collect())].into(), libc::EPERM);
    }
}

fn apply(rules: BTreeMap<libc::c_long, Vec<SeccompRule>>, errno: i32) {
    let refused = SeccompAction::Errno(errno.try_into().unwrap());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter: seccompiler::BpfProgram =
        SeccompFilter::new(rules, SeccompAction::Allow, refused, arch).unwrap().try_into().unwrap();
    seccompiler::apply_filter(&filter).unwrap();
}

fn succeeds(command: &mut Command) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = [stdout, stderr].concat();
    assert!(status.success(), "{}", String::from_utf8_lossy(&text));
}

/// B01. Guard: `landlock_abi` is compared with the kernel's at start.
#[test]
#[should_panic(expected = "[capabilities.exec.sandbox] requires landlock_abi = 99, and this kernel has ")]
fn a_kernel_with_an_older_landlock_than_configured_keeps_the_host_from_starting() {
    configured(json!({"landlock_abi": 99}));
}

/// B01. Guard: a required layer is tried at start.
#[test]
fn a_kernel_without_landlock_keeps_the_host_from_starting() {
    succeeds(&mut alone("machine::on_a_kernel_without_landlock"));
}

#[test]
#[ignore = "a part of a_kernel_without_landlock_keeps_the_host_from_starting, which runs it"]
fn on_a_kernel_without_landlock() {
    without(&[(libc::SYS_landlock_create_ruleset, libc::ENOSYS)], false);
    let refused = std::panic::catch_unwind(world).map(drop).unwrap_err();
    let why = refused.downcast_ref::<String>().unwrap();
    assert!(why.contains("requires landlock, which this machine does not have"), "{why}");
    let lax = configured(json!({"require": ["no_new_privs", "seccomp"], "landlock_abi": 0}));
    let answer = lax.send("exec.run", json!({"argv": ["/bin/echo", "held"]}));
    assert_eq!(stdout(&answer["results"][0]), "held\n");
    let contained = &answer["results"][0]["output"]["contained"];
    assert_eq!(contained["landlock_abi"], 0);
    assert!(!contained["layers"].as_array().unwrap().contains(&json!("landlock")), "{contained}");
}

#[test]
fn a_layer_that_is_required_and_missing_is_named_with_the_reason() {
    succeeds(&mut alone("machine::in_a_container_that_lacks_what_is_required"));
}

#[test]
#[ignore = "a part of a_layer_that_is_required_and_missing_is_named_with_the_reason, which runs it"]
fn in_a_container_that_lacks_what_is_required() {
    contain();
    let wanted = json!({"require": ["seccomp", "mount_namespace"]});
    let refused = std::panic::catch_unwind(|| configured(wanted)).map(drop).unwrap_err();
    let why = refused.downcast_ref::<String>().unwrap();
    assert!(
        why.contains("requires mount_namespace, which this machine does not have: allow user namespaces"),
        "{why}"
    );
    assert!(why.contains("Operation not permitted"), "{why}");
}

/// The filter of a plain container: no namespaces, no mounts, and `ENOSYS` for clone3.
fn contain() {
    let refused =
        [libc::SYS_unshare, libc::SYS_setns, libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root];
    let newer = [libc::SYS_clone3, libc::SYS_open_tree, libc::SYS_move_mount, libc::SYS_mount_setattr];
    let refused = refused.map(|call| (call, libc::EPERM)).into_iter();
    let calls: Vec<_> = refused.chain(newer.map(|call| (call, libc::ENOSYS))).collect();
    without(&calls, true);
}

/// Without any namespace Landlock, seccomp and the limits hold a program, and what it leaves behind dies with it.
#[test]
fn a_program_is_held_in_a_plain_container() {
    succeeds(&mut alone("machine::in_a_plain_container"));
}

#[test]
#[ignore = "a part of a_program_is_held_in_a_plain_container, which runs it"]
fn in_a_plain_container() {
    contain();
    let world = world();
    let answer = world.send("exec.run", json!({"argv": ["/bin/true"]}));
    let expected = json!(["no_new_privs", "seccomp", "landlock", "limits"]);
    assert_eq!(answer["results"][0]["output"]["contained"]["layers"], expected, "{answer:#}");

    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("canary");
    std::fs::write(&canary, "as it was").unwrap();
    let at = |attempt: &str| format!("{attempt}={}", canary.display());
    all(&world, &[&at("open-read"), &at("open-write"), &at("unlink"), &at("truncate")], "EACCES");
    all(&world, &[&at("chmod"), &at("chown"), &at("utime"), &at("setxattr")], "EPERM");
    all(
        &world,
        &["unix=/run/docker.sock", "tcp=80", "udp", "ptrace=1", "kill=1", "unshare-user", "mount"],
        "EPERM",
    );
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "as it was");

    for what in ["daemon", "daemon-and-wait"] {
        let lifeline = Lifeline::new(&world, what);
        let watch = lifeline.watch();
        run_probe(&world, &[what, lifeline.path()], json!({"timeout_ms": 300}));
        assert_eq!(watch.join().unwrap(), b"r", "{what}");
    }
    let forked = run_probe(&world, &["orphans"], json!({}));
    assert_eq!(stdout(&forked), "done\n");
}

/// A host that is not root holds its programs in a user namespace.
#[test]
fn a_program_of_a_host_without_privileges_is_held_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    open(folder.path());
    for program in
        [std::env::current_exe().unwrap(), probe().into(), compiled("escape", crate::escape::SOURCE).into()]
    {
        let copy = folder.path().join(program.file_name().unwrap());
        std::fs::copy(&program, &copy).unwrap();
        open(&copy);
    }
    let mut host = Command::new(folder.path().join(std::env::current_exe().unwrap().file_name().unwrap()));
    host.args(["--exact", "machine::as_nobody", "--ignored", "--nocapture"]).env(PROGRAMS, folder.path());
    if rustix::process::geteuid().is_root() {
        host.uid(65534).gid(65534);
    }
    succeeds(host.current_dir("/"));
}

#[test]
#[ignore = "a part of a_program_of_a_host_without_privileges_is_held_as_well, which runs it"]
fn as_nobody() {
    let world = world();
    let answer = world.send("exec.run", json!({"argv": ["/usr/bin/id", "-u"]}));
    assert_eq!(stdout(&answer["results"][0]).trim(), rustix::process::geteuid().as_raw().to_string());
    let layers = answer["results"][0]["output"]["contained"]["layers"].clone();
    for layer in ["user_namespace", "pid_namespace", "mount_namespace", "network_namespace", "landlock"] {
        assert!(layers.as_array().unwrap().contains(&json!(layer)), "{layers}");
    }
    all(&world, &["unix=/run/docker.sock", "tcp=80", "ptrace=1", "unshare-user", "mount", "chroot"], "EPERM");
    all(&world, &["stat=/root", "stat=/home"], "ENOENT");
    all(&world, &["open-read=/proc/1/mem"], "EACCES");
    assert!(escape(&[])[0].starts_with(&std::env::var(PROGRAMS).unwrap()));
}
