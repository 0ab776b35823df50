//! Under sway: `cargo nextest run -p llm-os-keyboard --run-ignored only` (packages: sway foot wev).

use llm_os_core::{Decision, Fact, Kind, Setup};
use llm_os_desktop_test_support::TestCompositor;
use llm_os_keyboard::Keyboard;
use llm_os_test_support::World;
use serde_json::json;

const ONE: &[(&str, &str, &str)] = &[("1280x800", "0 0", "1")];

fn open(compositor: &TestCompositor) -> World {
    let setup = Setup { display: Some(compositor.display()), ..Setup::default() };
    let (world, unavailable) = World::set_up::<Keyboard>(json!({}), setup);
    assert_eq!(unavailable, None);
    world
}

#[test]
#[ignore = "needs sway and foot"]
fn text_and_chords_arrive_whole() {
    TestCompositor::within("wayland::text_and_chords_arrive_whole", ONE, |compositor| {
        let foot = compositor.foot_reader();
        let world = open(compositor);
        assert_eq!(world.lacks("keyboard.type"), None);
        let text = format!("Grüße 日本語 🙂 ñ ß € →{}", "The quick Brown fox ".repeat(20));
        let output = json!({"characters": text.chars().count(), "class": ""});
        world.check("keyboard.type", json!({"text": text}), output);
        for (keys, repeat) in
            [("ctrl+a", 1), ("Up", 2), ("shift+b", 1), ("alt+x", 1), ("BACKSPACE", 1), ("enter", 1)]
        {
            let answer = world.send("keyboard.press", json!({"keys": keys, "repeat": repeat}));
            assert_eq!(answer["results"][0]["output"]["presses"], repeat, "{answer:#}");
        }
        assert_eq!(foot.read_until("\r"), format!("{text}\x01\x1b[A\x1b[AB\x1bx\x7f\r"));
    });
}

#[test]
#[ignore = "needs sway and foot"]
fn keys_are_an_effect_on_the_whole_display_and_a_policy_of_windows_permits_none() {
    let name = "wayland::keys_are_an_effect_on_the_whole_display_and_a_policy_of_windows_permits_none";
    TestCompositor::within(name, ONE, |compositor| {
        let foot = compositor.foot_reader();
        let world = open(compositor);
        world.judge(|query| match query.effect.resource.kind {
            Kind::Window => Decision::Allow,
            _ => Decision::Deny,
        });
        world.refused("keyboard.type", json!({"text": "CANARY"}), "policy_denied");
        world.refused("keyboard.press", json!({"keys": "Return"}), "policy_denied");
        world.judge(|query| {
            assert_eq!(
                (query.effect.resource.kind, query.effect.resource.id.as_str()),
                (Kind::Display, "wayland")
            );
            assert_eq!(query.effect.facts["role"], Fact::Text("unknown".to_owned()));
            Decision::Allow
        });
        world.send("keyboard.type", json!({"text": "x\n", "controls": ["newline"]}));
        assert_eq!(foot.read_until("\r"), "x\r");
    });
}

// D05
#[test]
#[ignore = "needs sway and wev"]
fn a_modifier_is_held_for_its_connection_and_no_text_is_typed_meanwhile() {
    let name = "wayland::a_modifier_is_held_for_its_connection_and_no_text_is_typed_meanwhile";
    TestCompositor::within(name, ONE, |compositor| {
        let log = compositor.pointer_log();
        let world = open(compositor);
        world.refused("keyboard.up", json!({"keys": "ctrl"}), "not_held");
        world.check("keyboard.down", json!({"keys": "ctrl"}), json!({"key": "ctrl", "class": ""}));
        log.read_until("sym: Control_L");
        world.refused("keyboard.type", json!({"text": "c"}), "modifiers_held");
        world.judge(|query| {
            let held = Fact::Set(["ctrl".to_owned()].into());
            if query.effect.facts["modifiers"] == held { Decision::Deny } else { Decision::Allow }
        });
        world.refused("keyboard.press", json!({"keys": "c"}), "policy_denied");
        world.judge(|_| Decision::Allow);
        world.disconnect();
        log.read_until("state: 0 (released)\n                      sym: Control_L");
        world.check("keyboard.type", json!({"text": "c"}), json!({"characters": 1, "class": ""}));
        log.read_until("utf8: 'c'");
    });
}

#[test]
#[ignore = "needs sway and wev"]
fn a_hold_that_is_cancelled_lets_go() {
    TestCompositor::within("wayland::a_hold_that_is_cancelled_lets_go", ONE, |compositor| {
        let log = compositor.pointer_log();
        let world = open(compositor);
        let (pressed, seen) = tokio::sync::oneshot::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                log.read_until("sym: F5 ");
                pressed.send(()).unwrap();
            });
            let answer =
                world.send_and_cancel("keyboard.hold", json!({"keys": "F5", "duration_ms": 60_000}), async {
                    seen.await.unwrap();
                });
            assert_eq!(answer["results"][0]["error"]["code"], "cancelled", "{answer:#}");
        });
        log.read_until("state: 0 (released)\n                      sym: F5 ");
    });
}

#[test]
#[ignore = "needs sway"]
fn a_compositor_that_is_gone_is_told_by_describe_and_by_the_action() {
    let name = "wayland::a_compositor_that_is_gone_is_told_by_describe_and_by_the_action";
    TestCompositor::within(name, ONE, |compositor| {
        let world = open(compositor);
        world.send("keyboard.press", json!({"keys": "a"}));
        compositor.end();
        let typed = json!({"text": "a"});
        llm_os_desktop_test_support::until("an error", || {
            let answer = world.send("keyboard.type", typed.clone());
            (answer["results"][0]["status"] != "ok").then_some(())
        });
        world.refused("keyboard.type", typed, "unavailable");
        assert!(world.lacks("keyboard.type").unwrap().contains("XDG_RUNTIME_DIR"));
    });
}
