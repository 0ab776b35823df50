//! A program gets at the host's display where its plan asks for it, and the policy allows that.

use llm_os_core::{Decision, Display, Setup, Verb};
use llm_os_exec::Exec;
use llm_os_test_support::World;
use serde_json::{Value, json};

use crate::support::{alone, params, planned, run_probe, stdout, world};

fn with(display: Display) -> World {
    let (world, unavailable) =
        World::set_up::<Exec>(json!({}), Setup { display: Some(display), ..Setup::default() });
    assert_eq!(unavailable, None);
    world
}

fn own() -> Display {
    let authority = Some("/run/host/display/Xauthority".into());
    Display { id: "virtual".to_owned(), name: ":99".to_owned(), authority }
}

fn found(result: &Value) -> Vec<&str> {
    let is_found =
        |line: &&str| ["DISPLAY=", "XAUTHORITY=", "WAYLAND_"].iter().any(|name| line.starts_with(name));
    stdout(result).lines().filter(is_found).collect()
}

/// D10: the way to the display is given by the plan alone.
#[test]
fn only_a_program_whose_plan_asks_for_the_display_finds_it() {
    let world = with(own());
    assert_eq!(found(&run_probe(&world, &["env"], json!({}))), [""; 0]);
    assert_eq!(found(&run_probe(&world, &["env"], json!({"display": false}))), [""; 0]);
    let given = run_probe(&world, &["env"], json!({"display": true}));
    assert_eq!(found(&given), ["DISPLAY=:99", "XAUTHORITY=/run/llm-os/Xauthority"]);
    let wayland = Display { id: "w".to_owned(), name: "/run/user/1/wayland-0".to_owned(), authority: None };
    let given = run_probe(&with(wayland), &["env"], json!({"display": true}));
    assert_eq!(found(&given), ["WAYLAND_DISPLAY=/run/user/1/wayland-0"]);
}

#[test]
fn a_program_with_the_display_states_that_it_sees_and_drives_all_of_it() {
    let world = with(own());
    let on_display = |params: &Value| -> Vec<Value> {
        let effects = planned(&world, params)["effects"].as_array().unwrap().clone();
        effects.into_iter().filter(|effect| effect["resource"]["kind"] == "Display").collect()
    };
    let effect = |verb| json!({"verb": verb, "resource": {"kind": "Display", "id": "virtual"}, "facts": {}});
    let with_display = on_display(&json!({"argv": ["/bin/echo"], "display": true}));
    assert_eq!(with_display, [effect("observe"), effect("inject")]);
    assert!(on_display(&json!({"argv": ["/bin/echo"]})).is_empty());
    for denied in [Verb::Observe, Verb::Inject] {
        world.judge(move |query| {
            let on_display = query.effect.resource.id == "virtual" && query.effect.verb == denied;
            if on_display { Decision::Deny } else { Decision::Allow }
        });
        world.refused("exec.run", json!({"argv": ["/bin/echo"], "display": true}), "policy_denied");
    }
}

#[test]
fn without_a_display_a_program_that_asks_for_one_is_not_started() {
    let answer = world().refused("exec.run", params(&["env"], json!({"display": true})), "unavailable");
    assert_eq!(answer["executed"], false);
    assert_eq!(answer["error"]["path"], "$.actions[0].params.display");
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("--virtual-display 1280x800"),
        "{answer:#}"
    );
}

/// A display that exists has its cookie where the host's user has it.
#[test]
fn a_program_on_the_users_own_display_gets_the_users_own_cookie() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "the cookie").unwrap();
    let mut host = alone("display::in_a_host_with_a_cookie");
    assert!(host.env("XAUTHORITY", file.path()).status().unwrap().success());
}

#[test]
#[ignore = "a part of a_program_on_the_users_own_display_gets_the_users_own_cookie, which runs it"]
fn in_a_host_with_a_cookie() {
    const AT: &str = "/run/llm-os/Xauthority";
    let world = with(Display { id: ":5".to_owned(), name: ":5".to_owned(), authority: None });
    let given = run_probe(&world, &["env"], json!({"display": true}));
    assert_eq!(found(&given), ["DISPLAY=:5", &format!("XAUTHORITY={AT}")]);
    assert_eq!(stdout(&run_probe(&world, &["read", AT], json!({"display": true}))), "the cookie");
    let without = run_probe(&world, &["read", AT], json!({}));
    assert_eq!(stdout(&without), "ENOENT\n", "only the program that got the display finds its cookie");
}
