//! The wheel turns as often as it was asked to, in each direction.

use llm_os_desktop_test_support::TestDisplay;
use llm_os_mouse::Mouse;
use llm_os_test_support::World;
use serde_json::json;

use crate::support::{done, mouse};
use crate::witness::Witness;

#[test]
fn the_wheel_turns_as_often_as_asked_in_each_direction() {
    let display = TestDisplay::start();
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let (x, y) = window.window.rect.centre();
    let mut count = 0;
    // X knows the wheel as buttons: 4 up, 5 down, 6 left, 7 right.
    for (params, button, clicks) in [
        (json!({"dy": -3}), 4, 3),
        (json!({"dy": 100}), 5, 100),
        (json!({"dx": -1}), 6, 1),
        (json!({"dx": 7}), 7, 7),
    ] {
        let mut params = params;
        params["x"] = json!(x);
        params["y"] = json!(y);
        done(&world, "mouse.scroll", params.clone());
        let strokes = window.strokes();
        let expected: Vec<_> =
            (0..clicks).flat_map(|_| [("press", x, y, button), ("release", x, y, button)]).collect();
        assert_eq!(strokes[count..], expected, "{params}");
        count = strokes.len();
    }
}

#[test]
fn both_directions_of_one_action_are_sent() {
    let display = TestDisplay::start();
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let (x, y) = window.window.rect.centre();
    let output = done(&world, "mouse.scroll", json!({"x": x, "y": y, "dx": -2, "dy": 3}));
    assert_eq!(output, json!({"x": x, "y": y, "dx": -2, "dy": 3}));
    let buttons = |which| window.strokes().iter().filter(|seen| seen.0 == "press" && seen.3 == which).count();
    assert_eq!([buttons(4), buttons(5), buttons(6), buttons(7)], [0, 3, 2, 0]);
}

#[test]
fn pixels_become_clicks_of_the_configured_size_and_never_none() {
    let display = TestDisplay::start();
    let setup = llm_os_core::Setup { display: Some(display.display()), ..llm_os_core::Setup::default() };
    let (world, _) = World::set_up::<Mouse>(json!({"pixels_per_click": 20}), setup);
    for (pixels, clicks) in [(1, 1), (-1, -1), (20, 1), (29, 1), (30, 2), (-31, -2), (400, 20)] {
        let output = done(&world, "mouse.scroll", json!({"dy": pixels, "unit": "pixel"}));
        assert_eq!(output["dy"], clicks, "{pixels} pixels");
    }
}

#[test]
fn a_wheel_of_no_pixels_is_refused_when_the_host_starts() {
    let display = TestDisplay::bare();
    let setup = llm_os_core::Setup { display: Some(display.display()), ..llm_os_core::Setup::default() };
    let (_, unavailable) = World::set_up::<Mouse>(json!({"pixels_per_click": 0}), setup);
    assert!(unavailable.unwrap().contains("expected at least 1"));
}
