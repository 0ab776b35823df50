//! What a program cannot do, whatever it is: each attempt is made by a real one (`escape.c`).

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use llm_os_core::{Decision, Network, Profile, Root, RootMode};
use llm_os_exec::Exec;
use llm_os_test_support::World;
use serde_json::{Value, json};

use crate::support::{compiled, stdout, world};

pub(crate) const SOURCE: &str = include_str!("escape.c");

pub(crate) fn escape(attempts: &[&str]) -> Vec<String> {
    let program = compiled("escape", SOURCE);
    [program].into_iter().chain(attempts.iter().map(|attempt| (*attempt).to_owned())).collect()
}

/// Makes the attempts and tells how each went, by its name.
fn tried(world: &World, attempts: &[&str]) -> BTreeMap<String, String> {
    let answer = world.send_confirmed("exec.run", json!({ "argv": escape(attempts) }));
    let lines = stdout(&answer["results"][0]).lines().map(|line| line.split_once(": ").unwrap());
    let tried: BTreeMap<_, _> = attempts
        .iter()
        .zip(lines)
        .map(|(attempt, (_, how))| ((*attempt).to_owned(), how.to_owned()))
        .collect();
    assert_eq!(tried.len(), attempts.len());
    tried
}

fn tried_one(world: &World, attempt: &str) -> String {
    tried(world, &[attempt])[attempt].clone()
}

/// Expects the same answer of all.
pub(crate) fn all(world: &World, attempts: &[&str], expected: &str) {
    for (name, how) in tried(world, attempts) {
        assert_eq!(how, expected, "{name}");
    }
}

/// B02. Guard: what is outside of the write roots is mounted read-only, and is not there at all outside of the roots.
#[test]
fn nothing_outside_of_the_write_roots_is_changed() {
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("canary");
    std::fs::write(&file, "as it was").unwrap();
    let before = std::fs::metadata(&file).unwrap();
    let at = |attempt: &str| format!("{attempt}={}", file.display());
    let attempts =
        ["chmod", "chown", "utime", "setxattr", "unlink", "truncate", "open-write", "rename", "link"].map(at);
    let attempts: Vec<&str> = attempts.iter().map(String::as_str).collect();

    all(&world(), &attempts, "ENOENT");
    let root = Root { path: other.path().canonicalize().unwrap(), mode: RootMode::Read };
    let readable = World::configured::<Exec>(json!({}), &[root]);
    for (name, how) in tried(&readable, &attempts) {
        let cannot = if name.starts_with("rename") || name.starts_with("link") {
            ["EXDEV", "EACCES"]
        } else {
            ["EROFS", "EACCES"]
        };
        assert!(cannot.contains(&how.as_str()), "{name}: {how}");
    }
    assert_eq!(tried_one(&readable, &at("open-read")), "ok");
    all(
        &readable,
        &["chmod=/usr/bin/true", "utime=/usr/bin/true", "chown=/usr", "setxattr=/etc/passwd"],
        "EROFS",
    );
    let after = std::fs::metadata(&file).unwrap();
    let identity = |of: &std::fs::Metadata| (of.ino(), of.mode(), of.uid(), of.mtime_nsec(), of.ctime_nsec());
    assert_eq!(identity(&before), identity(&after));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "as it was");
}

/// What changes modes and times works where the program may write.
#[test]
fn what_is_inside_of_a_write_root_can_be_changed_as_usual() {
    let world = world();
    let file = world.root().join("own");
    std::fs::write(&file, "").unwrap();
    let at = |attempt: &str| format!("{attempt}={}", file.display());
    all(&world, &[&at("truncate"), &at("open-write"), &at("chmod"), &at("utime")], "ok");
    let found = std::fs::metadata(&file).unwrap();
    assert_eq!((found.permissions().mode() & 0o777, found.mtime()), (0o777, 1));
}

/// B03. Guard: seccomp lets no socket of AF_UNIX be made; a datagram pair could be sent from.
#[test]
fn no_socket_of_the_machine_is_reached() {
    let world = world();
    let path = world.root().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let attempts =
        [&format!("unix={}", path.display()), "unix=/run/docker.sock", "unix-dgram", "unix-pair-dgram"];
    all(&world, &attempts, "EPERM");
    assert!(listener.accept().is_err(), "somebody connected");
}

/// B04. Guard: seccomp lets no socket of a network be made; behind it is a network namespace without interfaces.
#[test]
fn no_network_is_reached_unless_the_policy_grants_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = format!("tcp={}", listener.local_addr().unwrap().port());
    let world = world();
    all(&world, &[&tcp, "udp", "tcp6", "raw", "packet", "netlink", "vsock", "alg"], "EPERM");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "somebody connected");

    world.adds_to_reach(Profile { network: Network::All, ..Profile::default() });
    all(&world, &[&tcp, "udp"], "ok");
}

/// A network that is granted by ports is TCP to these ports. Guard: Landlock's rules of ports.
#[test]
fn a_granted_port_is_the_only_one_that_is_reached() {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (granted, other) = (bind(), bind());
    let port = |of: &std::net::TcpListener| of.local_addr().unwrap().port();
    let world = world();
    world.adds_to_reach(Profile { network: Network::Ports(vec![port(&granted)]), ..Profile::default() });
    all(&world, &[&format!("tcp={}", port(&granted))], "ok");
    all(&world, &[&format!("tcp={}", port(&other))], "EACCES");
    all(&world, &["udp", "raw", "netlink", "unix-dgram"], "EPERM");
}

/// B05. Guards: seccomp, the PID namespace (the host's processes have no number there), an init that is not dumpable.
#[test]
fn no_other_process_is_touched() {
    let world = world();
    let host = std::process::id();
    let attempts =
        [format!("ptrace={host}"), format!("vm-read={host}"), "pidfd-getfd".to_owned(), "traceme".to_owned()];
    let attempts: Vec<&str> = attempts.iter().map(String::as_str).collect();
    all(&world, &attempts, "EPERM");
    all(&world, &[&format!("kill={host}")], "ESRCH");
    all(&world, &["ptrace=1", "vm-read=1"], "EPERM");
    // The init is a copy of the host, with its memory.
    all(&world, &["open-read=/proc/1/mem", "open-read=/proc/1/environ", "list=/proc/1/root/"], "EACCES");
}

/// B06. Guards: seccomp on both requests, no terminal to begin with.
#[test]
fn nothing_is_typed_into_a_terminal() {
    all(&world(), &["tiocsti", "tiocsti-64", "tioclinux"], "EPERM");
    all(&world(), &["open-read=/dev/tty"], "ENXIO");
}

/// B07. Guard: seccomp on the flags of clone(2) and unshare(2), and `ENOSYS` for clone3(2).
#[test]
fn no_namespace_is_made_and_nothing_is_mounted() {
    let made =
        ["unshare-user", "unshare-mount", "clone-user", "clone-pid", "setns", "mount", "umount", "chroot"];
    all(&world(), &made, "EPERM");
    all(&world(), &["open-tree", "pivot-root"], "EPERM");
    all(&world(), &["clone3"], "ENOSYS");
}

/// Guard: what is not on the list of system calls.
#[test]
fn the_rest_of_the_kernel_is_out_of_reach() {
    let calls = [
        "io-uring",
        "keyctl",
        "add-key",
        "bpf",
        "perf",
        "userfaultfd",
        "handle",
        "fanotify",
        "module",
        "kexec",
        "reboot",
        "swapon",
        "settime",
        "hostname",
    ];
    all(&world(), &calls, "EPERM");
    all(&world(), &["x32"], "ENOSYS");
    all(&world(), &["mknod"], "EACCES");
}

/// Guard: the filter checks the architecture first. Where the kernel has no 32-bit entry the instruction is a fault.
#[test]
fn the_32_bit_entry_ends_a_program() {
    let answer = world().send_confirmed("exec.run", json!({"argv": escape(&["32-bit"])}));
    let output = &answer["results"][0]["output"];
    assert!([json!("SIGSYS"), json!("SIGSEGV")].contains(&output["signal"]["name"]), "{answer:#}");
    assert_eq!(output["stdout"]["text"], "");
}

/// Guard: the view has no place but what is granted.
#[test]
fn what_is_not_granted_is_not_there() {
    let folders = [
        "/home",
        "/root",
        "/run/user",
        "/var/log",
        "/var/lib",
        "/sys/kernel",
        "/etc/shadow",
        "/tmp/.X11-unix",
    ];
    let attempts: Vec<String> = folders.iter().map(|folder| format!("stat={folder}")).collect();
    let attempts: Vec<&str> = attempts.iter().map(String::as_str).collect();
    all(&world(), &attempts, "ENOENT");
}

/// Guard: a program that nobody confirmed may execute one file, once: what the host executes it from.
#[test]
fn a_program_that_nobody_confirmed_starts_no_other() {
    let world = world();
    let find = json!({"argv": ["/usr/bin/find", "/usr/bin/true", "-exec", "/usr/bin/id", ";"]});
    let result = world.send("exec.run", find.clone())["results"][0].clone();
    let stderr = result["output"]["stderr"]["text"].as_str().unwrap();
    assert!(stderr.contains("Operation not permitted"), "{result:#}");
    assert_eq!(result["output"]["contained"]["execute"], false, "{result:#}");

    world.judge(|_| Decision::Confirm);
    let confirmed = world.send_confirmed("exec.run", find.clone())["results"][0].clone();
    assert!(stdout(&confirmed).starts_with("uid="), "{confirmed:#}");
    world.judge(|_| Decision::Allow);
    world.adds_to_reach(Profile { execute: true, ..Profile::default() });
    let granted = world.send("exec.run", find)["results"][0].clone();
    assert!(stdout(&granted).starts_with("uid="), "{granted:#}");
    assert_eq!(granted["output"]["contained"]["execute"], true, "{granted:#}");
}

/// Each program has a `/tmp` of its own, and finds nothing of another one there.
#[test]
fn a_temporary_file_is_gone_with_its_program() {
    let world = world();
    assert_eq!(tried_one(&world, "create=/tmp/left"), "ok");
    assert_eq!(tried_one(&world, "create=/tmp/left"), "ok");
    assert_eq!(tried_one(&world, "create=/dev/shm/left"), "ok");
}

/// Guard: seccomp lets no second program be executed.
#[test]
fn what_a_program_wrote_is_run_only_where_a_human_confirmed_it() {
    let world = world();
    let copy = world.root().join("true");
    std::fs::copy("/usr/bin/true", &copy).unwrap();
    // A program of the system, which runs without a human wherever the tests lie.
    let find = json!({"argv": ["/usr/bin/find", copy, "-exec", copy, ";"]});
    let stderr =
        |answer: &Value| answer["results"][0]["output"]["stderr"]["text"].as_str().unwrap().to_owned();
    let alone = world.send("exec.run", find.clone());
    assert!(stderr(&alone).contains("Operation not permitted"), "{alone:#}");
    world.judge(|_| Decision::Confirm);
    let confirmed = world.send_confirmed("exec.run", find);
    assert_eq!(stderr(&confirmed), "", "{confirmed:#}");
}

/// What held a program stands in its answer and in the record.
#[test]
fn the_answer_and_the_record_say_what_held_a_program() {
    let world = world();
    let answer = world.send("exec.run", json!({"argv": ["/bin/true"]}));
    let contained = &answer["results"][0]["output"]["contained"];
    let layers: Vec<&str> =
        contained["layers"].as_array().unwrap().iter().map(|layer| layer.as_str().unwrap()).collect();
    for layer in [
        "no_new_privs",
        "seccomp",
        "landlock",
        "pid_namespace",
        "mount_namespace",
        "network_namespace",
        "limits",
    ] {
        assert!(layers.contains(&layer), "{layers:?}");
    }
    assert!(contained["landlock_abi"].as_u64().unwrap() >= 1);
    assert_eq!(contained["network"], "none");
    let records: Vec<Value> = world.records();
    assert!(records.iter().any(|record| record.to_string().contains("mount_namespace")), "{records:#?}");
}
