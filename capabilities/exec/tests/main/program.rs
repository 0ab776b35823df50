//! Which file runs, and what the policy is told of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use llm_os_core::value::hex;
use llm_os_core::{Decision, Verb};
use llm_os_test_support::World;
use rustix::fs::CWD;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::{asks, params, planned, probe, run_probe, stdout, world};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn put(world: &World, name: &str, content: &[u8], mode: u32) -> String {
    let path = world.root().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    world.at(name)
}

#[test]
fn the_capability_keeps_the_contract() {
    world().keeps_the_contract();
}

#[test]
fn a_policy_is_told_the_grammar_of_the_command() {
    let world = world();
    let argv = ["/bin/echo", "log", "--oneline", "-n", "5", "--", "-x", "file"];
    let effect = planned(&world, &json!({"argv": argv}))["effects"][0].clone();
    let real = fs::canonicalize("/bin/echo").unwrap();
    let digest = hex(&Sha256::digest(fs::read(&real).unwrap()));
    assert_eq!(effect["verb"], "run");
    assert_eq!(effect["resource"], json!({"kind": "Program", "id": real}));
    let facts = json!({
        "subcommand": "log", "options": ["--", "--oneline", "-n", "-x"], "operands": ["5", "file"], "argc": 8,
        "sha256": digest, "cwd": world.root(), "argv0": "/bin/echo", "trusted": true,
    });
    assert_eq!(effect["facts"], facts);
    assert_eq!(effect.get("asks"), None);
    let effect = planned(&world, &json!({"argv": ["/bin/echo", "-n", "log"]}))["effects"][0].clone();
    assert_eq!((&effect["facts"]["subcommand"], &effect["facts"]["operands"]), (&json!(""), &json!(["log"])));
}

/// E20. Guard: the file that was opened is judged; what runs is what the inode is, however the path spells it.
#[test]
fn a_path_is_judged_by_the_file_that_it_leads_to() {
    let world = world();
    let evil = put(&world, "echo", &fs::read(probe()).unwrap(), 0o755);
    let real = |path: &str| planned(&world, &json!({"argv": [path]}))["effects"][0]["resource"]["id"].clone();
    assert_eq!(real("//bin//echo"), real("/bin/./echo"));
    assert_eq!(real("/bin/../bin/echo"), real("/bin/echo"));
    assert_eq!(real(&format!("/usr/bin/../..{evil}")), json!(evil));
    assert_eq!(real(&format!("/../../..{evil}")), json!(evil));
    for path in ["./echo", "../bin/echo", "echo", ""] {
        world.refused("exec.run", json!({"argv": [path]}), "validation_failed");
    }
}

/// E21. Guard: `RESOLVE_NO_MAGICLINKS`.
#[test]
fn links_in_proc_name_no_program() {
    let world = world();
    for path in ["/proc/self/exe", "/proc/self/fd/3", "/dev/fd/3", "/proc/1/exe", "/proc/thread-self/exe"] {
        let answer = world.refused("exec.run", json!({"argv": [path]}), "policy_denied");
        assert_eq!(answer["error"]["path"], "$.actions[0].params.argv[0]");
    }
}

#[test]
fn what_is_not_a_program_is_a_typed_error_and_starts_nothing() {
    let world = world();
    fs::create_dir(world.root().join("dir")).unwrap();
    rustix::fs::mknodat(CWD, world.root().join("fifo"), rustix::fs::FileType::Fifo, 0o700.into(), 0).unwrap();
    symlink("none", world.root().join("dangling")).unwrap();
    for (path, code) in [
        (world.at("none"), "exec_not_found"),
        (world.at("none/echo"), "exec_not_found"),
        ("/bin/echo/x".to_owned(), "exec_not_found"),
        ("/bin/echo/".to_owned(), "exec_not_found"),
        (world.at("dir"), "exec_failed"),
        (world.at("fifo"), "exec_failed"),
        ("/dev/null".to_owned(), "exec_failed"),
        (put(&world, "data", b"\x7fELF", 0o644), "exec_failed"),
        (put(&world, "text", b"touch CANARY\n", 0o755), "exec_failed"),
        (put(&world, "empty", b"", 0o755), "exec_failed"),
        ("/".to_owned(), "exec_failed"),
    ] {
        let answer = world.refused("exec.run", json!({"argv": [path]}), code);
        assert_eq!(answer["executed"], false, "{answer:#}");
        assert_eq!(answer["error"]["path"], "$.actions[0].params.argv[0]", "{answer:#}");
    }
    let broken = put(&world, "broken", b"\x7fELF, but not for long", 0o755);
    let answer = world.send_confirmed("exec.run", json!({"argv": [broken]}));
    assert_eq!(answer["results"][0]["error"]["code"], "exec_failed", "{answer:#}");
}

#[test]
fn a_link_of_another_than_root_is_not_followed() {
    let world = world();
    symlink("/bin/echo", world.root().join("link")).unwrap();
    if is_root() {
        let argv = json!({"argv": [world.at("link"), "hi"]});
        assert_eq!(
            planned(&world, &argv)["effects"][0]["resource"]["id"],
            json!(fs::canonicalize("/bin/echo").unwrap())
        );
        lchown(world.root().join("link"), Some(1), Some(1)).unwrap();
    }
    let answer = world.refused("exec.run", json!({"argv": [world.at("link"), "hi"]}), "policy_denied");
    assert!(answer["error"]["message"].as_str().unwrap().contains("\"link\""), "{answer:#}");
}

#[test]
fn links_that_lead_in_a_circle_are_refused() {
    let world = world();
    symlink("a", world.root().join("a")).unwrap();
    world.refused("exec.run", json!({"argv": [world.at("a")]}), "policy_denied");
}

#[test]
fn a_program_that_others_can_change_asks_and_runs_as_a_sealed_copy() {
    let world = world();
    let path = put(&world, "tool", &fs::read(probe()).unwrap(), 0o755);
    let effect = planned(&world, &json!({"argv": [path, "exit", "3"]}))["effects"][0].clone();
    assert_eq!(effect["facts"]["trusted"], false);
    assert!(effect["asks"].as_str().unwrap().contains("others than root can change"), "{effect:#}");
    let answer = world.refused("exec.run", json!({"argv": [path, "exit", "3"]}), "confirmation_required");
    assert_eq!(answer["executed"], false);
    let answer = world.send_confirmed("exec.run", json!({"argv": [path, "exit", "3"]}));
    assert_eq!(answer["results"][0]["output"]["exit_code"], 3, "{answer:#}");
}

#[test]
fn a_program_that_was_changed_after_the_confirmation_does_not_run() {
    let world = world();
    let path = put(&world, "tool", &fs::read(probe()).unwrap(), 0o755);
    let actions =
        json!([{"action": "exec.run", "params": {"argv": [path, "exit", "3"]}, "reason": "a test"}]);
    let held = world.send_plan(actions.clone(), None);
    let stamps = fs::metadata(&path).unwrap().modified().unwrap();
    let mut changed = fs::read(&path).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, changed).unwrap();
    fs::File::open(&path).unwrap().set_modified(stamps).unwrap();
    let answer = world.send_plan(actions, held["error"]["details"]["pending_id"].as_str());
    assert_eq!(
        (&answer["error"]["code"], &answer["executed"]),
        (&json!("confirmation_stale"), &json!(false)),
        "{answer:#}"
    );
}

#[test]
fn a_program_that_changes_between_its_judgement_and_its_start_does_not_run() {
    let world = world();
    let path = put(&world, "tool", &fs::read(probe()).unwrap(), 0o755);
    let (tool, asked) = (path.clone(), AtomicUsize::new(0));
    world.judge(move |query| {
        // The second question is the confirmed plan's: it is resolved by now, and not started.
        if query.effect.verb == Verb::Run && asked.fetch_add(1, Ordering::Relaxed) == 1 {
            fs::OpenOptions::new().append(true).open(&tool).unwrap().write_all(b"x").unwrap();
        }
        Decision::Allow
    });
    let answer = world.send_confirmed("exec.run", json!({"argv": [path, "exit", "3"]}));
    assert_eq!(answer["results"][0]["error"]["code"], "exec_failed", "{answer:#}");
    assert!(answer["results"][0].get("output").is_none(), "{answer:#}");
}

/// E12 to E16, whatever the policy allows. Guard: such an effect asks by itself.
#[test]
fn interpreters_shells_and_wrappers_always_ask() {
    let world = world();
    assert!(asks(&world, &["/bin/sh", "-c", "id"]).contains("shell"));
    for name in [
        "bash", "dash", "perl", "awk", "env", "xargs", "nice", "timeout", "nohup", "setsid", "stdbuf",
        "unshare", "su",
    ] {
        let path = format!("/usr/bin/{name}");
        if Path::new(&path).exists() {
            assert_ne!(asks(&world, &[&path]), "", "{name}");
            world.refused(
                "exec.run",
                json!({"argv": [path, "touch", world.at("CANARY")]}),
                "confirmation_required",
            );
        }
    }
    assert!(!world.root().join("CANARY").exists());
}

/// E14. Guard: the file is looked for under its other names, too. Another name does not make a shell harmless, nor a shell's name a program.
#[test]
fn a_shell_asks_under_every_name() {
    let world = world();
    if is_root() {
        symlink("/bin/sh", world.root().join("echo")).unwrap();
        assert!(asks(&world, &[&world.at("echo")]).contains("shell"));
    }
    let copy = put(&world, "bash", &fs::read(probe()).unwrap(), 0o755);
    assert!(asks(&world, &[&copy]).contains("shell"));
}

/// E25. Guards: the mode asks; no_new_privs and `nosuid`.
#[test]
fn a_program_marked_setuid_asks_and_gains_nothing() {
    let world = world();
    let path = put(&world, "tool", &fs::read(probe()).unwrap(), 0o755);
    if is_root() {
        chown(&path, Some(1), Some(1)).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
    assert!(asks(&world, &[&path]).contains("rights of another"));
    let answer = world.send_confirmed("exec.run", json!({"argv": [path, "self"]}));
    assert!(stdout(&answer["results"][0]).contains("no_new_privs=1"), "{answer:#}");
}

#[test]
fn a_script_is_judged_with_its_interpreter_and_started_by_the_host() {
    let world = world();
    let script = put(
        &world,
        "script",
        b"#! /bin/sh -e\necho \"$0:$1:$#\"; cat <&3 | head -n 1; read x; echo $x\n",
        0o755,
    );
    let params = json!({"argv": [script, "a b", "-c"], "stdin": "input\n"});
    let judged = planned(&world, &params);
    let (of_script, of_shell) = (&judged["effects"][0], &judged["effects"][1]);
    assert_eq!(of_script["resource"]["id"], json!(script));
    assert_eq!(of_script["facts"]["operands"], json!([]));
    assert_eq!(of_script["facts"]["subcommand"], "a b");
    assert!(of_script["asks"].as_str().unwrap().ends_with("it is a script"));
    assert_eq!(of_shell["resource"]["id"], json!(fs::canonicalize("/bin/sh").unwrap()));
    assert_eq!(of_shell["facts"]["options"], json!(["-c", "-e"]));
    assert_eq!(of_shell["facts"]["operands"], json!([script, "a b"]));
    let answer = world.send_confirmed("exec.run", params);
    assert_eq!(stdout(&answer["results"][0]), "/proc/self/fd/3:a b:2\n#! /bin/sh -e\ninput\n");
}

#[test]
fn a_script_whose_interpreter_cannot_run_is_refused() {
    let world = world();
    let inner = put(&world, "inner", b"#!/bin/sh\n", 0o755);
    for (line, code) in [
        (format!("#!{inner}\n"), "exec_failed"),
        ("#!sh\n".to_owned(), "exec_failed"),
        ("#!/no/such/interpreter\n".to_owned(), "exec_not_found"),
        ("#!/proc/self/exe\n".to_owned(), "policy_denied"),
        (format!("#!/bin/sh {}\n", "x".repeat(300)), "exec_failed"),
    ] {
        let script = put(&world, "script", line.as_bytes(), 0o755);
        world.refused("exec.run", json!({"argv": [script]}), code);
    }
}

#[test]
fn the_bare_name_of_a_program_in_the_working_directory_is_not_found() {
    let world = world();
    put(&world, "echo", &fs::read(probe()).unwrap(), 0o755);
    let answer =
        world.refused("exec.run", json!({"argv": ["echo"], "cwd": world.root()}), "validation_failed");
    assert!(answer["error"]["message"].as_str().unwrap().contains("bin/echo"), "{answer:#}");
}

/// E26. Guard: `deny_unknown_fields`.
#[test]
fn fields_that_do_not_exist_are_refused() {
    world().refused("exec.run", json!({"argv": ["/bin/echo"], "as_root": true}), "parse_failed");
}

#[test]
fn nothing_runs_where_the_record_cannot_be_written() {
    let world = world();
    world.break_the_log(true);
    let answer = world.refused(
        "exec.run",
        json!({"argv": ["/usr/bin/touch", world.at("CANARY")]}),
        "audit_unavailable",
    );
    assert_eq!(answer["executed"], false);
    assert!(!world.root().join("CANARY").exists());
}

#[test]
fn a_probe_that_is_confirmed_runs() {
    let result = run_probe(&world(), &["exit", "0"], json!({}));
    assert_eq!(result["output"]["exit_code"], 0, "{result:#} {}", params(&[], json!({})));
}
