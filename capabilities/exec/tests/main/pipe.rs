//! `exec.pipe`: real programs, one after the other, without a shell.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use llm_os_core::capability::{Mode, Root};
use llm_os_core::{Decision, Kind, Network, Profile, Reach, Verb};
use llm_os_exec::Exec;
use llm_os_test_support::World;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::support::{Lifeline, probe, world};

/// Sends a pipe, confirmed where it asks, and gives the result of the action.
fn pipe(world: &World, stages: &[&[&str]], more: Value) -> Value {
    let answer = world.send_confirmed("exec.pipe", params(stages, more));
    answer["results"].get(0).cloned().unwrap_or(answer)
}

fn params(stages: &[&[&str]], more: Value) -> Value {
    let stages: Vec<_> = stages.iter().map(|argv| json!({"argv": argv})).collect();
    let mut params = json!({"stages": stages});
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

#[track_caller]
fn output(result: &Value) -> &Value {
    assert_eq!(result["status"], "ok", "{result:#}");
    &result["output"]
}

#[test]
fn each_program_reads_what_the_one_before_it_wrote() {
    let world = world();
    let stages: &[&[&str]] =
        &[&["/usr/bin/sort", "-rn"], &["/usr/bin/head", "-n", "2"], &["/usr/bin/tr", "0-9", "a-j"]];
    let result = pipe(&world, stages, json!({"stdin": "1\n3\n2\n"}));
    assert_eq!(output(&result)["stdout"]["text"], "d\nc\n");
    let ended: Vec<_> =
        result["output"]["stages"].as_array().unwrap().iter().map(|s| &s["exit_code"]).collect();
    assert_eq!(ended, [0, 0, 0]);
    for stage in result["output"]["stages"].as_array().unwrap() {
        assert!(stage["contained"]["layers"].as_array().unwrap().contains(&json!("seccomp")), "{stage:#}");
    }
    world.matches_schema("exec.pipe", &result["output"]);
}

#[test]
fn a_program_gets_three_descriptors_wherever_it_stands() {
    let probe = probe();
    let world = world();
    let fds: &[&str] = &[&probe, "fds"];
    for stages in [&[fds, &["/bin/cat"]][..], &[&["/bin/true"], fds], &[&["/bin/true"], fds, &["/bin/cat"]]] {
        assert_eq!(output(&pipe(&world, stages, json!({})))["stdout"]["text"], "0\n1\n2\n", "{stages:?}");
    }
}

#[test]
fn a_program_whose_reader_has_enough_ends_by_sigpipe() {
    let stages: &[&[&str]] = &[&["/usr/bin/yes"], &["/usr/bin/head", "-n", "1"]];
    let result = pipe(&world(), stages, json!({}));
    assert_eq!(output(&result)["stdout"]["text"], "y\n");
    assert_eq!(result["output"]["stages"][0]["signal"]["name"], "SIGPIPE", "{result:#}");
}

#[test]
fn each_program_has_its_own_stderr_and_its_own_limit() {
    let stages: &[&[&str]] = &[&["/bin/ls", "/nonexistent-a"], &["/bin/ls", "/nonexistent-b"]];
    let result = pipe(&world(), stages, json!({"max_output_bytes": 30}));
    for (at, name) in [(0, "nonexistent-a"), (1, "nonexistent-b")] {
        let stderr = &output(&result)["stages"][at]["stderr"];
        assert!(stderr["text"].as_str().unwrap().starts_with("/bin/ls: cannot access"), "{stderr:#}");
        assert_eq!(stderr["truncated"], true, "{name}: {stderr:#}");
    }
}

#[test]
fn what_is_wrong_is_told_with_the_stage_that_it_is_about() {
    let world = world();
    let stage = |stage: Value| json!({"stages": [{"argv": ["/bin/true"]}, stage]});
    for (params, code, path) in [
        (json!({"stages": []}), "validation_failed", "stages"),
        (json!({"stages": vec![json!({"argv": ["/bin/true"]}); 17]}), "validation_failed", "stages"),
        (stage(json!({"argv": ["echo"]})), "validation_failed", "stages[1].argv[0]"),
        (stage(json!({"argv": ["/a"], "env": {"LD_PRELOAD": "x"}})), "validation_failed", "stages[1].env"),
        (
            stage(json!({"argv": ["/a"], "expect_exit": [256]})),
            "validation_failed",
            "stages[1].expect_exit[0]",
        ),
        (stage(json!({"argv": ["/nonexistent"]})), "exec_not_found", "stages[1].argv[0]"),
        (stage(json!({"argv": ["/bin/true"], "cwd": "/nonexistent"})), "exec_not_found", "stages[1].cwd"),
        (stage(json!({"argv": ["/bin/true"], "shell": true})), "parse_failed", "stages[1].shell"),
    ] {
        let answer = world.refused("exec.pipe", params, code);
        let found = answer["error"]["path"].as_str().unwrap();
        assert!(
            found.starts_with(&format!("$.actions[0].params.{path}")) || code == "parse_failed",
            "{answer:#}"
        );
    }
}

/// Fails where only the first stage is judged.
#[test]
fn each_program_is_judged() {
    let world = world();
    world.judge(|query| match query.effect.resource.id.ends_with("/head") {
        true => Decision::Deny,
        false => Decision::Allow,
    });
    let denied = params(&[&["/bin/true"], &["/usr/bin/head"]], json!({}));
    world.refused("exec.pipe", denied, "policy_denied");
    world.judge(|_| Decision::Allow);
    let asks = params(&[&["/bin/true"], &["/bin/sh", "-c", "true"]], json!({}));
    world.refused("exec.pipe", asks, "confirmation_required");
}

/// Fails where the profile of one program is that of the whole action.
#[test]
fn what_a_policy_adds_for_one_program_is_not_the_other_ones() {
    let world = world();
    world.judge(|query| match query.effect.verb {
        Verb::Run if query.effect.resource.id.ends_with("/true") => Decision::Confirm,
        _ => Decision::Allow,
    });
    world.adds_to_reach_of(|effect| match effect.resource.id.ends_with("/cat") {
        true => Profile { network: Network::All, ..Profile::default() },
        false => Profile::default(),
    });
    let result = pipe(&world, &[&["/bin/true"], &["/bin/cat"]], json!({}));
    let networks: Vec<_> =
        output(&result)["stages"].as_array().unwrap().iter().map(|s| &s["contained"]["network"]).collect();
    assert_eq!(networks, ["none", "all"]);
}

#[test]
fn a_pipe_is_killed_as_a_whole_at_its_deadline() {
    let world = world();
    let probe = probe();
    let lifelines = ["a", "b"].map(|name| Lifeline::new(&world, name));
    let watches = lifelines.each_ref().map(Lifeline::watch);
    let started = Instant::now();
    let stages: &[&[&str]] =
        &[&[&probe, "stubborn", lifelines[0].path()], &[&probe, "daemon-and-wait", lifelines[1].path()]];
    let result = pipe(&world, stages, json!({"timeout_ms": 500}));
    for watch in watches {
        assert_eq!(watch.join().unwrap(), b"r");
    }
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(result["error"]["code"], "exec_timed_out", "{result:#}");
    assert_eq!(result["output"]["stages"][0].get("exit_code"), None, "{result:#}");
}

#[test]
fn a_plan_that_is_cancelled_kills_the_whole_pipe() {
    let world = world();
    let lifeline = Lifeline::new(&world, "alive");
    let (begun, when) = tokio::sync::oneshot::channel();
    let path = lifeline.path().to_owned();
    let watch = std::thread::spawn(move || {
        let mut fifo = File::open(path).unwrap();
        fifo.read_exact(&mut [0]).unwrap();
        begun.send(()).unwrap();
        std::io::copy(&mut fifo, &mut std::io::sink()).unwrap();
    });
    let of = format!("of={}", lifeline.path());
    let stages: &[&[&str]] = &[&["/usr/bin/yes"], &["/bin/dd", "bs=1", &of]];
    let answer = world.send_and_cancel("exec.pipe", params(stages, json!({})), async { when.await.unwrap() });
    watch.join().unwrap();
    assert_eq!(answer["results"][0]["error"]["code"], "cancelled", "{answer:#}");
}

/// The program before it waits for ever, and the one after it would too.
#[test]
fn where_one_program_cannot_be_started_none_is_left() {
    let world = world();
    let probe = probe();
    let lifeline = Lifeline::new(&world, "alive");
    // An ELF file without a program in it: it is judged, and the kernel refuses to execute it.
    let broken = world.root().join("broken");
    std::fs::write(&broken, b"\x7fELF and nothing more").unwrap();
    std::fs::set_permissions(&broken, PermissionsExt::from_mode(0o755)).unwrap();
    let broken = broken.to_str().unwrap();
    let holder = [probe.as_str(), "stubborn", lifeline.path()];
    for (stages, at) in [(vec![&holder[..], &[broken][..]], 1), (vec![&[broken][..], &holder[..]], 0)] {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let mut fifo = File::from(rustix::fs::open(lifeline.path(), flags, 0.into()).unwrap());
        let result = pipe(&world, &stages, json!({}));
        assert_eq!(result["error"]["code"], "exec_failed", "{result:#}");
        let path = result["error"]["path"].as_str().unwrap();
        assert!(path.ends_with(&format!("stages[{at}]")), "{result:#}");
        // A FIFO that anyone holds for writing has no end yet, and would answer EAGAIN.
        fifo.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn the_output_is_written_to_a_file_as_a_whole() {
    let world = world();
    let path = world.root().join("out");
    let stages: &[&[&str]] = &[&["/usr/bin/sort"], &["/usr/bin/uniq", "-c"]];
    let more = json!({"stdin": "b\na\nb\n", "stdout_file": path});
    let result = pipe(&world, stages, more.clone());
    let written = json!({"path": path, "bytes": 20});
    assert_eq!((&output(&result)["stdout_file"], result["output"].get("stdout")), (&written, None));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "      1 a\n      2 b\n");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
    world.matches_schema("exec.pipe", &result["output"]);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let again = pipe(&world, &[&["/bin/echo", "new"]], json!({"stdout_file": path}));
    assert_eq!(output(&again)["stdout_file"]["bytes"], 4);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(names(&world), ["out"]);
}

/// Fails where the file is opened before the program has ended.
#[test]
fn a_file_stays_as_it_was_where_the_last_program_does_not_succeed() {
    let world = world();
    let path = world.root().join("out");
    std::fs::write(&path, "old").unwrap();
    let probe = probe();
    let failing: &[(&[&str], Value, &str)] = &[
        (&[&probe, "exit", "3"], json!({}), "exec_failed"),
        (&[&probe, "signal", "15"], json!({}), "exec_failed"),
        (&["/bin/sleep", "60"], json!({"timeout_ms": 300}), "exec_timed_out"),
    ];
    for (argv, more, code) in failing {
        let mut more = more.clone();
        more["stdout_file"] = json!(path);
        let result = pipe(&world, &[&["/bin/echo", "new"], argv], more);
        assert_eq!(result["error"]["code"], *code, "{result:#}");
        assert_eq!(result["output"].get("stdout_file"), None);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    }
    let stages = json!([{"argv": ["/bin/true"], "expect_exit": [1]}, {"argv": ["/bin/echo", "new"]}]);
    let answer = world.send("exec.pipe", json!({"stages": stages, "stdout_file": path}));
    assert!(answer["results"][0]["error"]["path"].as_str().unwrap().ends_with("stages[0]"), "{answer:#}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names(&world), ["out"]);
    let expected = json!([{"argv": ["/bin/cat"]}, {"argv": [probe, "exit", "3"], "expect_exit": [3]}]);
    let answer = world.send_confirmed("exec.pipe", json!({"stages": expected, "stdout_file": path}));
    assert_eq!(output(&answer["results"][0])["stdout_file"]["bytes"], 0);
}

#[test]
fn a_file_is_judged_as_fs_write_is() {
    let world = world();
    std::fs::write(world.root().join("old"), "x").unwrap();
    std::fs::hard_link(world.root().join("old"), world.root().join("twin")).unwrap();
    let planned = |path: &str| {
        let actions = json!([{"action": "exec.pipe", "reason": "a test",
            "params": params(&[&["/bin/true"]], json!({"stdout_file": world.at(path)}))}]);
        let plan = json!({"request_id": "t-1", "version": "1", "mode": "plan_only", "actions": actions});
        let answer = world.send_frame(plan.to_string().as_bytes());
        let effects = answer["results"][0]["effects"].as_array().unwrap().clone();
        effects.into_iter().find(|effect| effect["verb"] == "change").unwrap_or_else(|| panic!("{answer:#}"))
    };
    let new = planned("new");
    assert_eq!(new["resource"], json!({"kind": "Path", "id": world.at("new")}));
    let facts = json!({"exists": false, "file_type": "missing", "links": 0, "persistent": false});
    assert_eq!(new["facts"], facts);
    assert_eq!(planned(".bashrc")["facts"]["persistent"], true);
    let twin = planned("old");
    assert_eq!((&twin["facts"]["exists"], &twin["facts"]["links"]), (&json!(true), &json!(2)));
    assert!(twin["asks"].as_str().unwrap().contains("2 names"), "{twin:#}");
    world.judge(|query| match (query.effect.verb, query.effect.resource.kind) {
        (Verb::Change, Kind::Path) => Decision::Deny,
        _ => Decision::Allow,
    });
    let denied = params(&[&["/bin/true"]], json!({"stdout_file": world.at("new")}));
    world.refused("exec.pipe", denied, "policy_denied");
    assert_eq!(names(&world), ["old", "twin"]);
}

#[test]
fn a_path_that_leaves_the_roots_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    let read = tempfile::tempdir().unwrap();
    let read_only = Root { path: read.path().canonicalize().unwrap(), mode: Mode::Read };
    let world = World::configured::<Exec>(json!({}), &[read_only]);
    std::os::unix::fs::symlink(outside.path(), world.root().join("away")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("x"), world.root().join("link")).unwrap();
    std::fs::create_dir(world.root().join("dir")).unwrap();
    for path in [
        outside.path().join("x"),
        world.root().join("away/x"),
        world.root().join("link"),
        world.root().join("dir"),
        world.root().join("dir/../x"),
        world.root(),
        read.path().join("x"),
    ] {
        let answer = world.refused(
            "exec.pipe",
            params(&[&["/bin/true"]], json!({"stdout_file": path})),
            "policy_denied",
        );
        assert_eq!(answer["error"]["path"], "$.actions[0].params.stdout_file", "{answer:#}");
    }
    // A symlink does not lead around a root for reading inside of one for writing.
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::os::unix::fs::symlink("inner", outer.path().join("link")).unwrap();
    let root = |path: &Path, mode| Root { path: path.canonicalize().unwrap(), mode };
    let nested = [root(outer.path(), Mode::Write), root(&inner, Mode::Read)];
    let nested = World::configured::<Exec>(json!({}), &nested);
    let around = json!({"stdout_file": outer.path().join("link/x")});
    nested.refused("exec.pipe", params(&[&["/bin/true"]], around), "policy_denied");
    let missing = json!({"stdout_file": world.at("none/x")});
    world.refused("exec.pipe", params(&[&["/bin/true"]], missing), "write_failed");
    assert_eq!(
        std::fs::read_dir(outside.path()).unwrap().count() + std::fs::read_dir(read.path()).unwrap().count(),
        0
    );
}

/// The file that was judged is renamed away and another put in its place while the programs run.
#[test]
fn a_file_that_was_exchanged_while_the_programs_ran_is_put_back() {
    let world = world();
    let path = world.root().join("out");
    std::fs::write(&path, "judged").unwrap();
    let lifeline = Lifeline::new(&world, "go");
    let (fifo, swapped) = (lifeline.path().to_owned(), path.clone());
    let other = std::thread::spawn(move || {
        // The program waits until the FIFO is opened.
        let go = std::fs::OpenOptions::new().write(true).open(fifo).unwrap();
        std::fs::rename(&swapped, swapped.with_extension("moved")).unwrap();
        std::fs::write(&swapped, "another").unwrap();
        drop(go);
    });
    let result = pipe(
        &world,
        &[&["/bin/cat", lifeline.path()], &["/bin/echo", "new"], &["/bin/cat"]],
        json!({"stdout_file": path}),
    );
    other.join().unwrap();
    assert_eq!(result["error"]["code"], "write_failed", "{result:#}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "another");
    assert_eq!(std::fs::read_to_string(path.with_extension("moved")).unwrap(), "judged");
    assert_eq!(names(&world), ["go", "out", "out.moved"]);
}

#[test]
fn a_file_that_grows_beyond_the_limit_ends_the_pipe() {
    let config = json!({"sandbox": {"file_bytes": 100_000}});
    let world = World::configured::<Exec>(config, &[]);
    let path = world.root().join("out");
    let result = pipe(&world, &[&["/usr/bin/yes"], &["/bin/cat"]], json!({"stdout_file": path}));
    assert_eq!(result["error"]["code"], "exec_limit_exceeded", "{result:#}");
    assert!(result["error"]["path"].as_str().unwrap().ends_with("stdout_file"), "{result:#}");
    assert_eq!(names(&world), Vec::<String>::new());
}

/// A stage may read what the policy lets it, and no more, whatever the others may.
#[test]
fn each_program_is_held() {
    let world = world();
    std::fs::write(world.root().join("secret"), "secret").unwrap();
    let open = pipe(&world, &[&["/bin/cat", &world.at("secret")], &["/bin/cat"]], json!({}));
    assert_eq!(output(&open)["stdout"]["text"], "secret");
    world.reaches(Reach { read: vec![world.root().join("elsewhere")], ..Reach::default() });
    std::fs::create_dir(world.root().join("elsewhere")).unwrap();
    let stage = |argv: &[&str]| json!({"argv": argv, "cwd": world.at("elsewhere")});
    for stages in [
        json!([stage(&["/bin/cat", &world.at("secret")]), stage(&["/bin/cat"])]),
        json!([stage(&["/bin/true"]), stage(&["/bin/cat", &world.at("secret")])]),
    ] {
        let answer = world.send("exec.pipe", json!({"stages": stages}));
        assert_eq!(output(&answer["results"][0])["stdout"]["bytes"], 0, "{answer:#}");
    }
}

fn names(world: &World) -> Vec<String> {
    let entries = std::fs::read_dir(world.root()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
