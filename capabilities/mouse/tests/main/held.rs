//! Buttons that stay down between actions.

use llm_os_core::policy::Decision;
use llm_os_desktop_test_support::{TestDisplay, until};
use serde_json::json;

use crate::support::{all_up, buttons_down, done, forbid, mouse, text};
use crate::witness::Witness;

const BUTTON_1: u16 = 0x100;

#[test]
fn a_button_stays_down_from_down_to_up_and_the_window_sees_the_way() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let (x, y) = canvas.window.rect.centre();
    done(&world, "mouse.move", json!({"x": x, "y": y}));
    assert_eq!(done(&world, "mouse.down", json!({})), json!({"x": x, "y": y, "button": "left"}));
    assert_eq!(buttons_down(&display), BUTTON_1);
    assert_eq!(done(&world, "mouse.position", json!({}))["buttons"], json!(["left"]));
    done(&world, "mouse.move", json!({"x": x + 60, "y": y}));
    done(&world, "mouse.up", json!({}));
    all_up(&display);
    canvas.wait_for("release", 1);
    let (x, y) = ((x + 30) as i16, y as i16);
    until("a red line", || (display.pixel(x, y) == [255, 0, 0]).then_some(()));
}

#[test]
fn a_button_that_is_held_is_released_by_a_halt() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let (x, y) = canvas.window.rect.centre();
    done(&world, "mouse.move", json!({"x": x, "y": y}));
    done(&world, "mouse.down", json!({}));
    assert_eq!(buttons_down(&display), BUTTON_1);
    world.halt();
    all_up(&display);
    canvas.wait_for("release", 1);
}

#[test]
fn a_side_button_is_held_and_released_too() {
    let display = TestDisplay::start();
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let (x, y) = window.window.rect.centre();
    done(&world, "mouse.move", json!({"x": x, "y": y}));
    done(&world, "mouse.down", json!({"button": "forward"}));
    assert_eq!(done(&world, "mouse.position", json!({}))["buttons"], json!(["forward"]));
    done(&world, "mouse.up", json!({"button": "forward"}));
    assert_eq!(window.strokes(), [("press", x, y, 9), ("release", x, y, 9)]);
}

#[test]
fn down_move_and_up_work_in_one_plan() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let (x, y) = canvas.window.rect.centre();
    let action = |action: &str, params| json!({"action": action, "params": params, "reason": "a test"});
    let answer = world.send_plan(
        json!([
            action("mouse.move", json!({"x": x, "y": y})),
            action("mouse.down", json!({"button": "left"})),
            action("mouse.move", json!({"dx": 30, "dy": 0})),
            action("mouse.up", json!({"button": "left"})),
        ]),
        None,
    );
    assert_eq!(answer["error"], json!(null), "{answer:#}");
    let events = canvas.wait_for("release", 1);
    let release = events.iter().find(|event| event.kind == "release").unwrap();
    assert_eq!((release.x, release.y), (x + 30, y));
}

// D05
#[test]
fn what_is_down_comes_up_when_the_connection_ends() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let (x, y) = canvas.window.rect.centre();
    done(&world, "mouse.move", json!({"x": x, "y": y}));
    done(&world, "mouse.down", json!({"button": "left"}));
    assert_eq!(buttons_down(&display), BUTTON_1);
    world.disconnect();
    all_up(&display);
    canvas.wait_for("release", 1);
}

// D05
#[test]
fn what_a_killed_host_left_down_comes_up_when_the_next_one_looks() {
    use x11rb::protocol::xtest::ConnectionExt as _;
    use x11rb::wrapper::ConnectionExt as _;
    let display = TestDisplay::bare();
    let conn = display.connect();
    conn.xtest_fake_input(4, 1, 0, x11rb::NONE, 0, 0, 0).unwrap();
    conn.sync().unwrap();
    drop(conn);
    assert_eq!(buttons_down(&display), BUTTON_1);
    let world = mouse(&display);
    assert_eq!(done(&world, "mouse.position", json!({}))["buttons"], json!([]));
    assert_eq!(buttons_down(&display), 0);
}

#[test]
fn what_is_not_held_cannot_go_up_and_what_is_held_cannot_go_down() {
    let display = TestDisplay::start();
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let (x, y) = window.window.rect.centre();
    done(&world, "mouse.move", json!({"x": x, "y": y}));
    world.refused("mouse.up", json!({}), "not_held");
    done(&world, "mouse.down", json!({}));
    world.refused("mouse.down", json!({}), "already_held");
    world.refused("mouse.click", json!({}), "already_held");
    world.refused("mouse.drag", json!({"path": [[x, y], [x + 5, y]]}), "already_held");
    world.refused("mouse.up", json!({"button": "right"}), "not_held");
    assert_eq!(window.strokes(), [("press", x, y, 1)]);
    assert_eq!(buttons_down(&display), BUTTON_1);
}

#[test]
fn a_move_with_a_button_down_is_judged_over_its_way_and_by_the_button() {
    let display = TestDisplay::start();
    let world = mouse(&display);
    let left = Witness::new(&display, "Left", 100, 100, 200, 200);
    let middle = Witness::new(&display, "Middle", 400, 100, 40, 200);
    let right = Witness::new(&display, "Right", 600, 100, 200, 200);
    let [from, to] = [left.window.rect.centre(), right.window.rect.centre()];
    forbid(&world, "Middle");
    done(&world, "mouse.move", json!({"x": from.0, "y": from.1}));
    done(&world, "mouse.move", json!({"x": to.0, "y": to.1}));
    done(&world, "mouse.move", json!({"x": from.0, "y": from.1}));
    done(&world, "mouse.down", json!({}));
    world.refused("mouse.move", json!({"x": to.0, "y": to.1}), "policy_denied");
    world.judge(|query| match text(&query, "button").as_str() {
        "left" => Decision::Deny,
        _ => Decision::Allow,
    });
    world.refused("mouse.move", json!({"dx": 1, "dy": 0}), "policy_denied");
    world.judge(|_| Decision::Allow);
    // The window with the button has every event, also beyond its edge; so it is judged wherever the pointer is.
    done(&world, "mouse.move", json!({"x": to.0, "y": to.1}));
    forbid(&world, "Left");
    world.refused("mouse.up", json!({}), "policy_denied");
    world.judge(|_| Decision::Allow);
    done(&world, "mouse.up", json!({}));
    assert_eq!(left.strokes(), [("press", from.0, from.1, 1), ("release", to.0, to.1, 1)]);
    assert_eq!((middle.strokes(), right.strokes()), (vec![], vec![]));
}
