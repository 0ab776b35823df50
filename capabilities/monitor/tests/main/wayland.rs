//! Under sway: `cargo nextest run -p llm-os-monitor --run-ignored only wayland` (packages: sway foot wev).

use llm_os_core::{Decision, Fact, Kind, Setup};
use llm_os_desktop_test_support::{TestCompositor, until};
use llm_os_monitor::Monitor;
use llm_os_test_support::World;
use serde_json::json;

use crate::support::{Decoded, decoded, output};

/// Two outputs beside each other, of which the first has a scale of 2.
const TWO: &[(&str, &str, &str)] = &[("1280x800", "0 0", "2"), ("800x600", "640 0", "1")];

const RED: [u8; 3] = [200, 30, 50];
const BLUE: [u8; 3] = [10, 20, 230];

fn open(compositor: &TestCompositor) -> World {
    let setup = Setup { display: Some(compositor.display()), ..Setup::default() };
    let (world, unavailable) = World::set_up::<Monitor>(json!({}), setup);
    assert_eq!(unavailable, None);
    world
}

fn paint(compositor: &TestCompositor, number: u32, [red, green, blue]: [u8; 3]) {
    compositor.tell(&format!("output HEADLESS-{number} bg #{red:02x}{green:02x}{blue:02x} solid_color"));
}

/// Takes pictures until this pixel has this colour.
fn picture_with(world: &World, (x, y): (u32, u32), colour: [u8; 3]) -> (Decoded, String) {
    until("the painted output", || {
        let taken = output(world, "monitor.capture", json!({}));
        let picture = decoded(&taken["picture"]);
        let sha256 = taken["picture"]["sha256"].as_str()?.to_owned();
        (picture.at(x, y) == colour).then_some((picture, sha256))
    })
}

#[test]
#[ignore = "needs sway"]
fn each_pixel_of_two_outputs_and_a_scale_is_where_its_coordinates_are() {
    let name = "wayland::each_pixel_of_two_outputs_and_a_scale_is_where_its_coordinates_are";
    TestCompositor::within(name, TWO, |compositor| {
        let world = open(compositor);
        // A compositor that draws the pointer itself has it in every picture: here in the last corner.
        compositor.tell("seat - cursor set 1439 599");
        paint(compositor, 1, RED);
        paint(compositor, 2, BLUE);
        let listed = output(&world, "monitor.list", json!({}));
        assert_eq!(listed["bounds"], json!({"x": 0, "y": 0, "width": 1440, "height": 600}));
        assert_eq!(
            (&listed["monitors"][0]["scale"], &listed["monitors"][1]["rect"]["x"]),
            (&json!(2.0), &json!(640))
        );
        picture_with(&world, (5, 5), RED);
        let (picture, _) = picture_with(&world, (700, 5), BLUE);
        assert_eq!((picture.width, picture.height), (1440, 600));
        for (x, y, found) in picture.pixels().filter(|(x, y, _)| *x < 1430 || *y < 590) {
            let expected = if x >= 640 {
                BLUE
            } else if y < 400 {
                RED
            } else {
                [0, 0, 0]
            };
            assert_eq!(found, expected, "({x}, {y})");
        }
        let region = json!({"target": {"region": {"x": 630, "y": 390, "width": 20, "height": 20}}});
        let part = decoded(&output(&world, "monitor.capture", region)["picture"]);
        assert_eq!([part.at(9, 9), part.at(10, 9), part.at(9, 10)], [RED, BLUE, [0, 0, 0]]);
    });
}

#[test]
#[ignore = "needs sway"]
fn a_difference_is_found_without_damage_events() {
    TestCompositor::within("wayland::a_difference_is_found_without_damage_events", TWO, |compositor| {
        let world = open(compositor);
        paint(compositor, 1, RED);
        paint(compositor, 2, RED);
        picture_with(&world, (700, 5), RED);
        let (_, since) = picture_with(&world, (5, 5), RED);
        paint(compositor, 2, BLUE);
        picture_with(&world, (700, 5), BLUE);
        let changed = output(&world, "monitor.diff", json!({"since": since}));
        assert_eq!(changed["changed"], json!([{"x": 640, "y": 0, "width": 800, "height": 600}]));
    });
}

#[test]
#[ignore = "needs sway"]
fn what_nobody_tells_is_unavailable_and_described_so() {
    TestCompositor::within("wayland::what_nobody_tells_is_unavailable_and_described_so", TWO, |compositor| {
        let world = open(compositor);
        for (action, params, why) in [
            ("monitor.windows", json!({}), "windows"),
            ("monitor.wait", json!({"until": "settled"}), "drawn"),
        ] {
            assert!(world.lacks(action).is_some_and(|lacking| lacking.contains(why)), "{action}");
            world.refused(action, params, "unavailable");
        }
        world.refused("monitor.capture", json!({"target": {"window": {"class": "foot"}}}), "unavailable");
        for action in ["monitor.list", "monitor.capture", "monitor.zoom", "monitor.diff"] {
            assert_eq!(world.lacks(action), None, "{action}");
        }
        compositor.end();
        until("an error", || world.lacks("monitor.capture"));
        world.refused("monitor.capture", json!({}), "unavailable");
    });
}

// D07
#[test]
#[ignore = "needs sway"]
fn a_picture_that_cannot_hide_windows_is_no_effect_that_a_rule_for_x11_permits() {
    let name = "wayland::a_picture_that_cannot_hide_windows_is_no_effect_that_a_rule_for_x11_permits";
    TestCompositor::within(name, TWO, |compositor| {
        let world = open(compositor);
        world.judge(|query| {
            assert_eq!(query.effect.resource.kind, Kind::Display);
            let bare = query.effect.facts["role"] == Fact::Text("display".to_owned());
            if bare { Decision::Allow } else { Decision::Deny }
        });
        world.refused("monitor.capture", json!({}), "policy_denied");
    });
}

// D08
#[test]
#[ignore = "needs sway"]
fn a_region_that_no_output_has_is_refused() {
    TestCompositor::within("wayland::a_region_that_no_output_has_is_refused", TWO, |compositor| {
        let world = open(compositor);
        for region in [
            json!({"x": -1, "y": 0, "width": 10, "height": 10}),
            json!({"x": 0, "y": 0, "width": 1_000_000_000, "height": 10}),
            json!({"x": 1435, "y": 0, "width": 10, "height": 10}),
        ] {
            let target = json!({"target": {"region": region}});
            world.refused("monitor.capture", target, "validation_failed");
        }
    });
}
