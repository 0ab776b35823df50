//! Under sway: `cargo nextest run -p llm-os-mouse --run-ignored only` (packages: sway foot wev).

use std::collections::BTreeSet;

use llm_os_core::{Decision, Fact, Kind, Setup};
use llm_os_desktop_test_support::{TestCompositor, Transcript};
use llm_os_mouse::Mouse;
use llm_os_test_support::World;
use serde_json::{Value, json};

/// Two outputs beside each other, of which the first has a scale of 2.
const TWO: &[(&str, &str, &str)] = &[("1280x800", "0 0", "2"), ("1920x1080", "640 0", "1")];
const ONE: &[(&str, &str, &str)] = &[("1280x800", "0 0", "1")];

fn open(compositor: &TestCompositor) -> World {
    let setup = Setup { display: Some(compositor.display()), ..Setup::default() };
    let (world, unavailable) = World::set_up::<Mouse>(json!({}), setup);
    assert_eq!(unavailable, None);
    world
}

fn ok(world: &World, action: &str, params: Value) -> Value {
    let answer = world.send(action, params);
    assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
    world.matches_schema(action, &answer["results"][0]["output"]);
    answer["results"][0]["output"].clone()
}

/// Each event once: wev asks for the pointer whenever the seat changes, and hears of all of it as often.
fn events(log: &Transcript) -> Vec<String> {
    let content = log.content();
    let mut known = BTreeSet::new();
    let events = content.lines().filter_map(|line| line.split_once("wl_pointer] ").map(|(_, what)| what));
    events.filter(|what| known.insert(*what) && *what != "frame").map(str::to_owned).collect()
}

#[test]
#[ignore = "needs sway and wev"]
fn clicks_and_drags_reach_the_very_pixel_of_a_second_output() {
    let name = "wayland::clicks_and_drags_reach_the_very_pixel_of_a_second_output";
    TestCompositor::within(name, TWO, |compositor| {
        compositor.tell("focus output HEADLESS-2");
        let log = compositor.pointer_log();
        let world = open(compositor);
        let output = json!({"x": 1333, "y": 777, "button": "left", "clicks": 2});
        world.check("mouse.click", json!({"x": 1333, "y": 777, "count": 2}), output);
        log.read_until("x, y: 693.000000, 777.000000");
        let drag =
            json!({"path": [[700, 100], [900, 100], [900, 300]], "button": "right", "duration_ms": 100});
        let dragged = ok(&world, "mouse.drag", drag);
        assert_eq!(
            (&dragged["x"], &dragged["y"], &dragged["released"]),
            (&json!(900), &json!(300), &json!(true))
        );
        log.read_until("(right), state: 0 (released)");
        let events = events(&log);
        let find = |what: &str| {
            events
                .iter()
                .position(|event| event.contains(what))
                .unwrap_or_else(|| panic!("{what}: {events:#?}"))
        };
        assert_eq!(
            events.iter().filter(|event| event.contains("(left), state: 1")).count(),
            2,
            "{events:#?}"
        );
        let order = [
            find("x, y: 60.000000, 100.000000"),
            find("(right), state: 1"),
            find("x, y: 260.000000, 100.000000"),
            find("x, y: 260.000000, 300.000000"),
            find("(right), state: 0"),
        ];
        assert!(order.is_sorted(), "{order:?}: {events:#?}");
        // The coordinates of a picture that shows both outputs at half their size.
        let space = json!({"width": 1280, "height": 540});
        ok(&world, "mouse.move", json!({"x": 1279, "y": 539, "space": space}));
        log.read_until("x, y: 1919.000000, 1079.000000");
    });
}

// D04
#[test]
#[ignore = "needs sway"]
fn a_point_that_no_output_shows_is_refused() {
    TestCompositor::within("wayland::a_point_that_no_output_shows_is_refused", TWO, |compositor| {
        let world = open(compositor);
        for (x, y) in [(-1, 5), (5, 400), (2560, 5), (2_147_483_647, 5)] {
            world.refused("mouse.click", json!({"x": x, "y": y}), "validation_failed");
        }
        compositor.tell("output HEADLESS-2 resolution 800x600");
        world.refused("mouse.click", json!({"x": 2000, "y": 700}), "validation_failed");
    });
}

#[test]
#[ignore = "needs sway and wev"]
fn what_nobody_tells_is_unavailable_and_a_gesture_goes_where_the_last_one_was() {
    let name = "wayland::what_nobody_tells_is_unavailable_and_a_gesture_goes_where_the_last_one_was";
    TestCompositor::within(name, ONE, |compositor| {
        let log = compositor.pointer_log();
        let world = open(compositor);
        assert!(world.lacks("mouse.position").is_some_and(|why| why.contains("where the pointer is")));
        assert_eq!(world.lacks("mouse.click"), None);
        world.refused("mouse.position", json!({}), "unavailable");
        for (action, params) in [
            ("mouse.move", json!({"dx": 1, "dy": 1})),
            ("mouse.click", json!({})),
            ("mouse.down", json!({})),
            ("mouse.scroll", json!({"dy": 1})),
        ] {
            world.refused(action, params, "unavailable");
        }
        ok(&world, "mouse.move", json!({"x": 300, "y": 200}));
        world.check("mouse.move", json!({"dx": 20, "dy": -10}), json!({"x": 320, "y": 190}));
        log.read_until("x, y: 320.000000, 190.000000");
        world.check(
            "mouse.scroll",
            json!({"dy": -3, "dx": 1}),
            json!({"x": 320, "y": 190, "dx": 1, "dy": -3}),
        );
        log.read_until("axis: 1 (horizontal), value: 15.000000");
        world.refused("mouse.move", json!({"dx": 2000, "dy": 0}), "validation_failed");
    });
}

// D05
#[test]
#[ignore = "needs sway and wev"]
fn a_button_goes_up_with_its_connection_and_with_a_drag_that_is_cancelled() {
    let name = "wayland::a_button_goes_up_with_its_connection_and_with_a_drag_that_is_cancelled";
    TestCompositor::within(name, ONE, |compositor| {
        let log = compositor.pointer_log();
        let world = open(compositor);
        ok(&world, "mouse.move", json!({"x": 300, "y": 200}));
        ok(&world, "mouse.down", json!({"button": "middle"}));
        world.refused("mouse.click", json!({"button": "middle"}), "already_held");
        world.refused("mouse.up", json!({"button": "left"}), "not_held");
        world.judge(|query| {
            let dragging = query.effect.facts["button"] == Fact::Text("middle".to_owned());
            if dragging { Decision::Deny } else { Decision::Allow }
        });
        world.refused("mouse.move", json!({"x": 301, "y": 200}), "policy_denied");
        world.judge(|_| Decision::Allow);
        world.disconnect();
        log.read_until("(middle), state: 0 (released)");
        let (pressed, seen) = tokio::sync::oneshot::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                log.read_until("(left), state: 1 (pressed)");
                pressed.send(()).unwrap();
            });
            let drag =
                json!({"path": [[100, 100], [900, 100]], "duration_ms": 30_000, "modifiers": ["shift"]});
            let answer = world.send_and_cancel("mouse.drag", drag, async { seen.await.unwrap() });
            let result = &answer["results"][0];
            assert_eq!(
                (&result["error"]["code"], &result["output"]["released"]),
                (&json!("cancelled"), &json!(true))
            );
        });
        log.read_until("(left), state: 0 (released)");
        log.read_until("state: 0 (released)\n                      sym: Shift_L");
    });
}

#[test]
#[ignore = "needs sway"]
fn a_policy_of_windows_permits_no_gesture() {
    TestCompositor::within("wayland::a_policy_of_windows_permits_no_gesture", ONE, |compositor| {
        let world = open(compositor);
        world.judge(|query| match query.effect.resource.kind {
            Kind::Window => Decision::Allow,
            _ => Decision::Deny,
        });
        world.refused("mouse.click", json!({"x": 5, "y": 5}), "policy_denied");
        world.judge(|query| {
            assert_eq!(
                (query.effect.resource.kind, query.effect.resource.id.as_str()),
                (Kind::Display, "wayland")
            );
            assert_eq!(query.effect.facts["role"], Fact::Text("unknown".to_owned()));
            Decision::Allow
        });
        ok(&world, "mouse.click", json!({"x": 5, "y": 5}));
    });
}
