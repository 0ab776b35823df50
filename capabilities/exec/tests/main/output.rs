//! What a program reads and writes, and how it ended.

use serde_json::json;

use crate::support::{planned, run_probe, stdout, world};

/// E17, E18. Guard: no shell; the arguments go to execve(2) as they are.
#[test]
fn arguments_reach_the_program_as_they_stand() {
    let world = world();
    for arg in [
        "ok; touch CANARY",
        "$(touch CANARY)",
        "`touch CANARY`",
        "a\ntouch CANARY",
        "*",
        "~root",
        "${IFS}x",
        "a b",
        "",
        "\\n",
        "é",
        "> CANARY",
        "| tee CANARY",
        "&& touch CANARY",
    ] {
        let answer = world.send("exec.run", json!({"argv": ["/bin/echo", arg]}));
        assert_eq!(stdout(&answer["results"][0]), format!("{arg}\n"));
    }
    assert_eq!(std::fs::read_dir(world.root()).unwrap().count(), 0, "a canary");
}

/// P06. Guard: `/dev/null` in the place of an input that is not given.
#[test]
fn the_input_is_empty_unless_it_is_given() {
    let world = world();
    let cat = |more: serde_json::Value| {
        let mut params = json!({"argv": ["/bin/cat"], "timeout_ms": 5000});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stdout(&world.send("exec.run", params)["results"][0]).to_owned()
    };
    assert_eq!(cat(json!({})), "");
    assert_eq!(cat(json!({"stdin": "line\nz\u{e9}ro"})), "line\nz\u{e9}ro");
    let long = "x".repeat(60_000);
    assert_eq!(cat(json!({ "stdin": long })), long);
}

/// P05. Guard: what is beyond the limit is counted and dropped as it is read.
#[test]
fn output_beyond_the_limit_is_counted_and_dropped() {
    const TOTAL: u64 = 64 * 1024 * 1024;
    let result = run_probe(&world(), &["flood", &TOTAL.to_string()], json!({"max_output_bytes": 10}));
    for stream in ["stdout", "stderr"] {
        let expected = json!({"text": "yyyyyyyyyy", "encoding": "utf-8", "bytes": TOTAL, "truncated": true});
        assert_eq!(result["output"][stream], expected);
    }
    assert_eq!(result["output"]["exit_code"], 0);
}

/// P09. Guard: the encoding of `Text`.
#[test]
fn output_that_is_not_utf8_is_base64() {
    let result = run_probe(&world(), &["bytes"], json!({}));
    let expected = json!({"text": "YQD/Cg==", "encoding": "base64", "bytes": 4, "truncated": false});
    assert_eq!(result["output"]["stdout"], expected);
}

#[test]
fn a_program_that_ends_is_ok_whatever_its_exit_code() {
    let world = world();
    let result = run_probe(&world, &["exit", "7"], json!({}));
    assert_eq!((&result["status"], &result["output"]["exit_code"]), (&json!("ok"), &json!(7)));
    world.matches_schema("exec.run", &result["output"]);
    let result = run_probe(&world, &["signal", "15"], json!({}));
    assert_eq!(result["output"]["signal"], json!({"number": 15, "name": "SIGTERM"}));
    assert_eq!(result["output"].get("exit_code"), None);
    world.matches_schema("exec.run", &result["output"]);
}

#[test]
fn an_exit_code_that_was_not_expected_fails_the_action_and_keeps_the_output() {
    let world = world();
    let result = run_probe(&world, &["exit", "7"], json!({"expect_exit": [0, 1]}));
    assert_eq!((&result["status"], &result["error"]["code"]), (&json!("failed"), &json!("exec_failed")));
    assert_eq!(result["error"]["message"], "the program exited with 7, expected the exit code 0 or 1");
    assert_eq!(result["output"]["exit_code"], 7);
    assert_eq!(run_probe(&world, &["exit", "7"], json!({"expect_exit": [7]}))["status"], "ok");
    assert_eq!(run_probe(&world, &["signal", "9"], json!({"expect_exit": [0]}))["status"], "failed");
}

#[test]
fn usage_is_told_in_what_varies() {
    let result = run_probe(&world(), &["flood", "33554432"], json!({}));
    let meta = &result["output"]["meta"];
    assert!(meta["user_us"].as_u64().unwrap() + meta["system_us"].as_u64().unwrap() > 0, "{meta}");
    assert!(meta["max_rss_bytes"].as_u64().unwrap() > 100_000, "{meta}");
    assert!(meta["duration_us"].as_u64().unwrap() > 0, "{meta}");
}

#[test]
fn a_program_starts_in_the_directory_that_was_judged() {
    let world = world();
    let pwd = |params| stdout(&world.send("exec.run", params)["results"][0]).trim_end().to_owned();
    assert_eq!(pwd(json!({"argv": ["/bin/pwd"]})), world.root().to_str().unwrap());
    std::fs::create_dir(world.root().join("sub")).unwrap();
    std::os::unix::fs::symlink("sub", world.root().join("link")).unwrap();
    let sub = world.at("sub");
    assert_eq!(pwd(json!({"argv": ["/bin/pwd"], "cwd": world.at("link")})), sub);
    let judged = planned(&world, &json!({"argv": ["/bin/pwd"], "cwd": world.at("link")}));
    assert_eq!(judged["effects"][1]["resource"]["id"], sub);
    assert_eq!(judged["effects"][0]["facts"]["cwd"], sub);
}

#[test]
fn a_directory_that_is_not_one_starts_nothing() {
    let world = world();
    std::fs::write(world.root().join("file"), "").unwrap();
    for (cwd, code) in [
        (world.at("none"), "exec_not_found"),
        (world.at("file"), "exec_not_found"),
        ("/proc/self/cwd".to_owned(), "policy_denied"),
    ] {
        let answer = world.refused("exec.run", json!({"argv": ["/bin/pwd"], "cwd": cwd}), code);
        assert_eq!(answer["executed"], false, "{answer:#}");
    }
}
