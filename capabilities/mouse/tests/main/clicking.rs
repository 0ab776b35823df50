//! Clicks and moves arrive at the very pixel.

use llm_os_desktop_test_support::{TestDisplay, until};
use serde_json::json;

use crate::support::{done, mouse, strokes};
use crate::witness::Witness;

#[test]
fn the_contract_is_kept() {
    let display = TestDisplay::bare();
    mouse(&display).keeps_the_contract();
}

#[test]
fn a_click_arrives_at_the_very_pixel_up_to_the_corners() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let area = canvas.window.rect;
    let (right, bottom) = (area.x + 399, area.y + 299);
    let mut expected = Vec::new();
    for (x, y) in [(area.x, area.y), (right, area.y), (area.x, bottom), (right, bottom), area.centre()] {
        let output = done(&world, "mouse.click", json!({"x": x, "y": y}));
        assert_eq!(output, json!({"x": x, "y": y, "button": "left", "clicks": 1}));
        expected.extend([("press", x, y, 1), ("release", x, y, 1)]);
    }
    assert_eq!(strokes(&canvas.wait_for("release", 5)), expected);
}

#[test]
fn every_button_is_seen_as_itself() {
    let display = TestDisplay::start();
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let (x, y) = window.window.rect.centre();
    let mut expected = Vec::new();
    for (name, button) in [("left", 1), ("middle", 2), ("right", 3), ("back", 8), ("forward", 9)] {
        done(&world, "mouse.click", json!({"x": x, "y": y, "button": name}));
        expected.extend([("press", x, y, button), ("release", x, y, button)]);
        assert_eq!(window.strokes(), expected);
    }
}

#[test]
fn a_double_click_is_one_for_the_program_and_a_triple_click_too() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let (x, y) = canvas.window.rect.centre();
    done(&world, "mouse.click", json!({"x": x, "y": y, "count": 2}));
    assert_eq!(strokes(&canvas.wait_for("double", 1)).len(), 4);
    done(&world, "mouse.click", json!({"x": x - 100, "y": y, "count": 3}));
    canvas.wait_for("triple", 1);
}

#[test]
fn modifiers_are_down_for_the_click_and_up_again_after() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    display.focus(canvas.window.id);
    let (x, y) = canvas.window.rect.centre();
    // X protocol, KEYBUTMASK: Shift 1, Control 4, Mod1 8, Mod4 64.
    for (modifiers, mask) in [
        (json!(["ctrl"]), 4),
        (json!(["Shift_L", "CONTROL"]), 5),
        (json!(["alt", "super"]), 72),
        (json!([]), 0),
    ] {
        let before = canvas.events().iter().filter(|event| event.kind == "press").count();
        done(&world, "mouse.click", json!({"x": x, "y": y, "modifiers": modifiers}));
        let events = canvas.wait_for("press", before + 1);
        let press = events.iter().rfind(|event| event.kind == "press").unwrap();
        assert_eq!(press.state & 0xff, mask, "{modifiers}");
    }
    assert_eq!(done(&world, "mouse.position", json!({}))["modifiers"], json!([]));
}

#[test]
fn a_point_of_a_scaled_picture_is_where_the_picture_shows_it() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let area = canvas.window.rect;
    // A picture of the canvas alone, at a quarter of its size.
    let region = json!({"x": area.x, "y": area.y, "width": 400, "height": 300});
    let space = json!({"width": 100, "height": 75, "region": region});
    done(&world, "mouse.click", json!({"x": 10, "y": 20, "space": space}));
    let (x, y) = (area.x + 42, area.y + 82);
    assert_eq!(strokes(&canvas.wait_for("release", 1)), [("press", x, y, 1), ("release", x, y, 1)]);
    // And of the whole screen at half of it.
    done(&world, "mouse.move", json!({"x": 0, "y": 399, "space": {"width": 640, "height": 400}}));
    let position = done(&world, "mouse.position", json!({}));
    assert_eq!((&position["x"], &position["y"]), (&json!(1), &json!(799)));
}

#[test]
fn a_click_arrives_at_the_very_pixel_of_both_of_two_monitors() {
    let display = TestDisplay::start();
    display.split_monitors(700);
    let world = mouse(&display);
    for (x, monitor) in [(60, "left"), (760, "right")] {
        let canvas = display.canvas_at(x, 100, 300, 200);
        let (x, y) = canvas.window.rect.centre();
        done(&world, "mouse.click", json!({"x": x, "y": y}));
        assert_eq!(strokes(&canvas.wait_for("release", 1)), [("press", x, y, 1), ("release", x, y, 1)]);
        assert_eq!(done(&world, "mouse.position", json!({}))["monitor"], monitor);
    }
}

#[test]
fn a_left_handed_mouse_clicks_left_where_left_is_asked_for() {
    use x11rb::protocol::xproto::ConnectionExt as _;
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let conn = display.connect();
    let mut map = conn.get_pointer_mapping().unwrap().reply().unwrap().map;
    map.swap(0, 2);
    conn.set_pointer_mapping(&map).unwrap().reply().unwrap();
    let (x, y) = canvas.window.rect.centre();
    done(&world, "mouse.click", json!({"x": x, "y": y, "button": "left"}));
    done(&world, "mouse.click", json!({"x": x, "y": y, "button": "right"}));
    let events = canvas.wait_for("release", 2);
    let expected = [("press", x, y, 1), ("release", x, y, 1), ("press", x, y, 3), ("release", x, y, 3)];
    assert_eq!(strokes(&events), expected);
}

#[test]
fn a_move_goes_to_a_point_or_by_a_distance_and_a_click_without_one_stays() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let (x, y) = canvas.window.rect.centre();
    assert_eq!(done(&world, "mouse.move", json!({"x": x, "y": y})), json!({"x": x, "y": y}));
    assert_eq!(done(&world, "mouse.move", json!({"dx": -20, "dy": 7})), json!({"x": x - 20, "y": y + 7}));
    let (x, y) = (x - 20, y + 7);
    let found = until("the last motion", || {
        let events = canvas.events();
        events
            .iter()
            .rfind(|event| event.kind == "motion")
            .map(|event| (event.x, event.y))
            .filter(|at| *at == (x, y))
    });
    assert_eq!(found, (x, y));
    done(&world, "mouse.click", json!({}));
    assert_eq!(strokes(&canvas.wait_for("release", 1)), [("press", x, y, 1), ("release", x, y, 1)]);
    let position = done(&world, "mouse.position", json!({}));
    assert_eq!(position, json!({"x": x, "y": y, "monitor": "screen", "buttons": [], "modifiers": []}));
}

#[test]
fn the_window_manager_has_focused_the_clicked_window_before_the_answer() {
    use x11rb::protocol::xproto::ConnectionExt as _;
    let display = TestDisplay::start();
    let world = mouse(&display);
    let canvases = [display.canvas_at(20, 20, 300, 200), display.canvas_at(500, 20, 300, 200)];
    let conn = display.connect();
    for round in 0..20 {
        let canvas = &canvases[round % 2];
        let (x, y) = canvas.window.rect.centre();
        done(&world, "mouse.click", json!({"x": x, "y": y}));
        let focus = conn.get_input_focus().unwrap().reply().unwrap().focus;
        let children = conn.query_tree(canvas.window.id).unwrap().reply().unwrap().children;
        assert!(focus == canvas.window.id || children.contains(&focus), "round {round}: {focus:#x}");
    }
}
