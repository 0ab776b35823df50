//! One policy, enforced twice: what the session may do through `fs`, and what a program of it can.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::client::{act, code, plan};
use crate::daemon::{Daemon, Place, refusal};

const READS_AND_CATS: &str = r#"
permit(principal, action in Action::"observe", resource in Roots::"read");
permit(principal, action, resource in Roots::"write");
permit(principal, action == Action::"exec.run/run", resource == Program::"/usr/bin/cat");
permit(principal, action == Action::"exec.run/run", resource == Program::"/usr/bin/tee");
"#;

/// `T` stands for the place.
fn place(rules: &str) -> Place {
    let place = Place::new();
    for folder in ["r/secret", "w/secret", "w/fixed", "w/free", "out"] {
        fs::create_dir_all(place.path(folder)).unwrap();
        fs::write(place.path(folder).join("f"), "content").unwrap();
    }
    let root = place.path("").canonicalize().unwrap();
    let rules = rules.replace("\"T/", &format!("\"{}/", root.display()));
    place.set_policy(&format!("{READS_AND_CATS}{rules}"))
}

fn cat(daemon: &Daemon, name: &str) -> bool {
    let argv = ["/usr/bin/cat", daemon.path(name).to_str().unwrap()].map(str::to_owned);
    let answer = daemon.ask(&plan("cat", &[act("exec.run", json!({"argv": argv, "cwd": daemon.path("w")}))]));
    assert_eq!(code(&answer), "", "{answer:#}");
    answer["results"][0]["output"]["stdout"]["text"] == "content"
}

fn tee(daemon: &Daemon, name: &str) -> bool {
    let file = daemon.path(name);
    let argv = ["/usr/bin/tee", file.to_str().unwrap()];
    let params = json!({"argv": argv, "cwd": daemon.path("w"), "stdin": "new"});
    let answer = daemon.ask(&plan("tee", &[act("exec.run", params)]));
    assert_eq!(code(&answer), "", "{answer:#}");
    let done = fs::read_to_string(&file).unwrap() == "new";
    fs::write(&file, "content").unwrap();
    done
}

fn through_fs(daemon: &Daemon, action: &str, name: &str) -> bool {
    let mut params = json!({"path": daemon.path(name)});
    if action == "fs.write" {
        params["content"] = json!("new");
        params["mode"] = json!("replace");
    }
    let answer = daemon.ask(&plan("fs", &[act(action, params)]));
    fs::write(daemon.path(name), "content").unwrap();
    assert!(["", "policy_denied"].contains(&code(&answer)), "{answer:#}");
    code(&answer).is_empty()
}

/// The guard is the reach that the policy states: with all of the roots given, `cat` reads the secrets.
#[test]
fn a_program_opens_what_the_session_could_have_opened_and_nothing_else() {
    let daemon = place(
        r#"forbid(principal, action, resource in Path::"T/r/secret");
        forbid(principal, action, resource in Path::"T/w/secret");
        forbid(principal, action in [Action::"change", Action::"destroy"], resource in Path::"T/w/fixed");"#,
    )
    .start();
    for (name, may_read, may_write) in [
        ("w/free/f", true, true),
        ("w/fixed/f", true, false),
        ("w/secret/f", false, false),
        ("r/f", true, false),
        ("r/secret/f", false, false),
        ("out/f", false, false),
    ] {
        if name == "r/f" {
            fs::write(daemon.path(name), "content").unwrap();
        }
        assert_eq!(cat(&daemon, name), may_read, "cat {name}");
        assert_eq!(through_fs(&daemon, "fs.read", name), may_read, "fs.read {name}");
        assert_eq!(tee(&daemon, name), may_write, "tee {name}");
        assert_eq!(through_fs(&daemon, "fs.write", name), may_write, "fs.write {name}");
    }
    let contained = &daemon.recorded("outcome", "cat")[0]["data"]["contained"];
    assert!(contained["layers"].as_array().unwrap().contains(&json!("seccomp")), "{contained:#}");
    assert!(contained["landlock_abi"].as_u64().unwrap() > 0, "{contained:#}");
    daemon.stop();
}

/// B08. The guard is the effect on the working directory; what a program sees never depends on it.
#[test]
fn a_working_directory_outside_of_the_roots_is_denied() {
    let daemon = place("").start();
    std::os::unix::fs::symlink(daemon.path("out"), daemon.path("w/link")).unwrap();
    for cwd in [json!("/"), json!("/etc"), json!(daemon.path("out")), json!(daemon.path("w/../out"))] {
        let answer =
            daemon.ask(&plan("cwd", &[act("exec.run", json!({"argv": ["/usr/bin/cat"], "cwd": cwd}))]));
        assert!(["policy_denied", "validation_failed"].contains(&code(&answer)), "{cwd}: {answer:#}");
        assert_eq!(answer["executed"], false);
    }
    let through = json!({"argv": ["/usr/bin/cat"], "cwd": daemon.path("w/link")});
    assert_eq!(code(&daemon.ask(&plan("link", &[act("exec.run", through)]))), "policy_denied");
    daemon.stop();
}

/// A machine on which no mount namespace can be made, as in many containers.
#[allow(clippy::disallowed_methods, reason = "the daemon is what is tested")]
fn without_mounts(place: &Place) -> Command {
    let daemon = place.command();
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "sh", "-c"]);
    shell.arg("echo 0 >/proc/sys/user/max_mnt_namespaces && exec \"$0\" \"$@\"");
    shell.arg(daemon.get_program()).args(daemon.get_args()).env_clear();
    shell.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    shell.stderr(std::process::Stdio::piped());
    shell
}

/// B01. The guard is the question to the capabilities at start, whether they can hold what the policy states.
#[test]
fn a_policy_that_this_machine_cannot_hold_programs_to_keeps_the_host_from_starting() {
    let hiding = place(r#"forbid(principal, action, resource in Path::"T/w/secret");"#);
    let said = refusal(without_mounts(&hiding));
    for part in ["the policy is refused", "w/secret", "mount namespace", "exec"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let required = place("").tables(
        "[capabilities.exec.sandbox]\nrequire = [\"no_new_privs\", \"seccomp\", \"mount_namespace\"]",
    );
    let said = refusal(without_mounts(&required));
    assert!(said.contains("mount_namespace") && said.contains("capabilities.exec"), "{said}");
}

#[test]
fn where_no_root_of_its_own_can_be_made_landlock_holds_a_program_to_the_same() {
    let place = place("");
    let command = without_mounts(&place);
    let daemon = Daemon::spawn(place, command);
    for (name, may_read, may_write) in
        [("w/free/f", true, true), ("r/secret/f", true, false), ("out/f", false, false)]
    {
        assert_eq!((cat(&daemon, name), tee(&daemon, name)), (may_read, may_write), "{name}");
    }
    let hiding = format!(
        "{READS_AND_CATS} forbid(principal, action, resource in Path::\"{}\");",
        daemon.path("w/secret").canonicalize().unwrap().display()
    );
    fs::write(daemon.path("policy.cedar"), hiding).unwrap();
    let reloaded = daemon.ask_approver("host.reload", json!({}));
    assert_eq!(code(&reloaded), "validation_failed", "{reloaded:#}");
    assert!(reloaded.to_string().contains("the old one stays"), "{reloaded:#}");
    assert!(cat(&daemon, "w/free/f"));
    daemon.stop();
}

/// B09. Guard: what is judged is what was opened. A path that cannot be brought into its real form is refused as such; nothing is tried with the text itself.
#[test]
fn a_path_that_cannot_be_resolved_is_an_error_and_nothing_runs() {
    let daemon = place("").start();
    fs::write(daemon.path("w/file"), "").unwrap();
    for (argv, cwd) in [
        (json!(["/usr/bin/cat"]), daemon.path("w/none")),
        (json!(["/usr/bin/cat"]), daemon.path("w/file/below")),
        (json!(["/usr/bin/cat"]), daemon.path("w/file")),
        (json!(["/usr/bin/no-such-program"]), daemon.path("w")),
        (json!([daemon.path("w/file/below")]), daemon.path("w")),
        (json!([daemon.path("w/file")]), daemon.path("w")),
    ] {
        let answer = daemon.ask(&plan("b09", &[act("exec.run", json!({"argv": argv, "cwd": cwd}))]));
        let refused = ["exec_not_found", "exec_failed", "validation_failed", "policy_denied", "not_found"];
        assert!(refused.contains(&code(&answer)), "{argv} in {}: {answer:#}", cwd.display());
        assert_eq!(answer["executed"], false);
    }
    daemon.stop();
}

/// B10. The guards are the host's own files, which no policy grants, and the socket on which a policy is loaded.
#[test]
fn a_plan_cannot_change_the_policy_of_the_host_that_runs_it() {
    let mut place = Place::new();
    let folder = place.path("w/own");
    fs::create_dir(&folder).unwrap();
    let policy = folder.join("policy.cedar");
    let everything = "permit(principal, action, resource);\n";
    fs::write(&policy, everything).unwrap();
    place = place.env("LLM_OSD_POLICY", "preset:strict");
    let mut command = place.command();
    command.arg("--policy").arg(&policy);
    let daemon = Daemon::spawn(place, command);
    let write = json!({"path": policy, "content": "", "mode": "replace"});
    assert_eq!(code(&daemon.ask(&plan("write", &[act("fs.write", write)]))), "policy_denied");
    let tee = json!({"argv": ["/usr/bin/tee", policy], "stdin": "", "cwd": daemon.path("w")});
    let answer = daemon.ask(&plan("tee", &[act("exec.run", tee)]));
    assert_ne!(answer["results"][0]["output"]["exit_code"], 0, "{answer:#}");
    let moved = json!({"from": folder, "to": daemon.path("w/moved")});
    assert_eq!(code(&daemon.ask(&plan("move", &[act("fs.move", moved)]))), "policy_denied");
    assert_eq!(fs::read_to_string(&policy).unwrap(), everything);
    let reload = daemon.ask(&plan("reload", &[act("host.reload", json!({}))]));
    assert_eq!(code(&reload), "unknown_action", "{reload:#}");
    daemon.stop();
}
