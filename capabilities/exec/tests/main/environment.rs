//! The environment of a program is made from nothing.

use llm_os_exec::Exec;
use llm_os_test_support::World;
use serde_json::json;

use crate::support::{alone, params, run_probe, stdout, world};

const FIXED: [&str; 5] =
    ["HOME=/nonexistent", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin", "TERM=dumb", "TZ=UTC"];

/// V01 to V06. Guard: `env_allow`, asked before anything is resolved.
#[test]
fn a_variable_that_is_not_allowed_refuses_the_plan() {
    let world = world();
    let names = "LD_PRELOAD LD_AUDIT LD_LIBRARY_PATH PATH BASH_ENV ENV PROMPT_COMMAND BASH_FUNC_x%% PYTHONPATH PYTHONSTARTUP \
         NODE_OPTIONS PERL5OPT RUBYOPT JAVA_TOOL_OPTIONS GIT_SSH_COMMAND GIT_PAGER GIT_EXTERNAL_DIFF PAGER EDITOR LESSOPEN \
         GCONV_PATH LOCPATH NLSPATH MALLOC_CHECK_ GLIBC_TUNABLES";
    for name in names.split_whitespace() {
        let params = json!({"argv": ["/bin/echo", "hi"], "env": {name: "/tmp/x"}});
        let answer = world.refused("exec.run", params, "validation_failed");
        assert_eq!(answer["executed"], false);
        assert_eq!(answer["error"]["path"], "$.actions[0].params.env", "{answer:#}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(name), "{answer:#}");
    }
}

/// V08. Guard: the spelling of names and the bounds of values.
#[test]
fn names_and_values_that_do_not_survive_execve_refuse_the_plan() {
    let world = world();
    let thousand: serde_json::Map<_, _> = (0..1000).map(|n| (format!("K{n}"), json!("v"))).collect();
    let long = "x".repeat(32 * 1024);
    for env in [
        json!({"A=B": "x"}),
        json!({"": "x"}),
        json!({"A\0B": "x"}),
        json!(thousand),
        json!({ "LANG": long }),
    ] {
        world.refused("exec.run", json!({"argv": ["/bin/echo"], "env": env}), "validation_failed");
    }
}

/// V09. Guard: the environment is made from nothing. And that allowed names replace the fixed values.
#[test]
fn a_program_sees_the_fixed_variables_and_what_the_plan_may_set() {
    let world = world();
    let result = run_probe(&world, &["env"], json!({}));
    assert_eq!(stdout(&result).lines().collect::<Vec<_>>(), FIXED);
    let result = run_probe(&world, &["env"], json!({"env": {"TZ": "Europe/Zurich", "NO_COLOR": "1"}}));
    let expected = [FIXED[0], FIXED[1], "NO_COLOR=1", FIXED[2], FIXED[3], "TZ=Europe/Zurich"];
    assert_eq!(stdout(&result).lines().collect::<Vec<_>>(), expected);
}

/// V07, V09. Guard: the environment is made from nothing.
#[test]
fn nothing_of_the_hosts_own_environment_reaches_a_program() {
    let mut host = alone("environment::in_a_host_with_a_hostile_environment");
    for name in [
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
        "DBUS_SESSION_BUS_ADDRESS",
        "SSH_AUTH_SOCK",
        "GIT_PAGER",
        "BASH_ENV",
        "ENV",
        "IFS",
        "LD_BIND_NOW",
        "PYTHONPATH",
    ] {
        host.env(name, "/tmp/hostile");
    }
    let path = format!(".:{}", std::env::var("PATH").unwrap());
    assert!(host.env("PATH", path).env("LANG", "hostile").status().unwrap().success());
}

#[test]
#[ignore = "a part of nothing_of_the_hosts_own_environment_reaches_a_program, which runs it"]
fn in_a_host_with_a_hostile_environment() {
    assert_eq!(std::env::var("DISPLAY").unwrap(), "/tmp/hostile");
    let result = run_probe(&world(), &["env"], json!({}));
    assert_eq!(stdout(&result).lines().collect::<Vec<_>>(), FIXED);
}

#[test]
fn the_operator_can_allow_names_and_set_the_path() {
    let world = World::configured::<Exec>(json!({"env_allow": ["APP_MODE"], "path": "/opt/bin"}), &[]);
    let result = run_probe(&world, &["env"], json!({"env": {"APP_MODE": "test"}}));
    let expected = ["APP_MODE=test", FIXED[0], FIXED[1], "PATH=/opt/bin", FIXED[3], FIXED[4]];
    assert_eq!(stdout(&result).lines().collect::<Vec<_>>(), expected);
    world.refused("exec.run", params(&["env"], json!({"env": {"TZ": "UTC"}})), "validation_failed");
}

#[test]
fn values_of_variables_and_input_are_not_in_the_log() {
    let world = world();
    run_probe(&world, &["env"], json!({"env": {"LANG": "s3cret-value"}, "stdin": "s3cret-input"}));
    let log = json!(world.records()).to_string();
    assert!(log.contains("hmac_sha256") && !log.contains("s3cret"), "{log}");
}
