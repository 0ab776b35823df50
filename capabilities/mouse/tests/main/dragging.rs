//! Drags go along the whole way with the button down, and let go whatever happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llm_os_core::policy::Decision;
use llm_os_desktop_test_support::{TestDisplay, until};
use serde_json::json;
use x11rb::protocol::xproto::{ConfigureWindowAux, ConnectionExt as _, KeyButMask, StackMode};
use x11rb::wrapper::ConnectionExt as _;

use crate::support::{buttons_down, done, forbid, mouse, text};
use crate::witness::Witness;

const RED: [u8; 3] = [255, 0, 0];

#[test]
fn a_drag_draws_along_its_path() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let area = canvas.window.rect;
    let at = |x, y| json!([area.x + x, area.y + y]);
    let path = json!([at(20, 20), at(220, 20), at(220, 180)]);
    let output = done(&world, "mouse.drag", json!({"path": path}));
    assert_eq!(
        (&output["points"], &output["of"], &output["released"]),
        (&json!(361), &json!(361), &json!(true))
    );
    canvas.wait_for("release", 1);
    for (x, y) in [(30, 20), (120, 20), (220, 100), (220, 175)] {
        let (x, y) = ((area.x + x) as i16, (area.y + y) as i16);
        until("a red line", || (display.pixel(x, y) == RED).then_some(()));
    }
}

#[test]
fn every_pixel_of_a_drag_is_shown_in_order_with_the_button_down() {
    let display = TestDisplay::start();
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let (x, y) = window.window.rect.centre();
    done(
        &world,
        "mouse.drag",
        json!({"path": [[x, y], [x + 40, y - 20]], "button": "right", "duration_ms": 80}),
    );
    let seen = window.wait_for("release", 1);
    let press = seen.iter().position(|seen| seen.0 == "press").unwrap();
    assert_eq!(seen[press], ("press", x, y, 3));
    let motions: Vec<_> =
        seen[press + 1..].iter().filter(|seen| seen.0 == "motion").map(|seen| seen.1).collect();
    // The server gives one place for many motions while the window manager keeps the press back.
    assert!(motions.is_sorted() && motions.last() == Some(&(x + 40)), "{motions:?}");
    assert_eq!(seen.last(), Some(&("release", x + 40, y - 20, 3)));
}

#[test]
fn a_drag_takes_the_time_that_it_was_given() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let (x, y) = canvas.window.rect.centre();
    let start = std::time::Instant::now();
    done(&world, "mouse.drag", json!({"path": [[x, y], [x + 50, y]], "duration_ms": 700}));
    assert!(start.elapsed().as_millis() >= 700, "{:?}", start.elapsed());
}

#[test]
fn a_drag_by_its_title_bar_moves_a_window() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let before = canvas.window.rect;
    let (x, y) = (before.x + 200, before.y - 10);
    done(&world, "mouse.drag", json!({"path": [[x, y], [x + 150, y + 90]]}));
    let moved =
        until("a moved window", || Some(display.shown(canvas.window.id).rect).filter(|now| *now != before));
    until("the end of the move", || {
        let now = display.shown(canvas.window.id).rect;
        ((now.x - before.x - 150).abs() <= 2 && (now.y - before.y - 90).abs() <= 2).then_some(())
    });
    assert_eq!((moved.width, moved.height), (400, 300));
}

#[test]
fn modifiers_are_down_for_the_whole_drag_and_up_after() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), display.canvas());
    let other = display.canvas_at(700, 100, 200, 200);
    display.focus(other.window.id);
    let (x, y) = canvas.window.rect.centre();
    let path = json!([[x, y], [x + 80, y + 10]]);
    done(&world, "mouse.drag", json!({"path": path, "modifiers": ["ctrl", "shift"]}));
    let events = canvas.wait_for("release", 1);
    let dragged: Vec<_> = events.iter().skip_while(|event| event.kind != "press").collect();
    assert!(dragged.len() > 3 && dragged.iter().all(|event| event.state & 5 == 5), "{dragged:?}");
    assert_eq!(done(&world, "mouse.position", json!({}))["modifiers"], json!([]));
}

#[test]
fn a_drag_that_crosses_a_window_that_the_policy_denies_is_denied_as_a_whole() {
    let display = TestDisplay::start();
    let world = mouse(&display);
    let left = Witness::new(&display, "Left", 100, 100, 200, 200);
    let middle = Witness::new(&display, "Middle", 400, 100, 20, 200);
    let right = Witness::new(&display, "Right", 600, 100, 200, 200);
    let [from, to] = [left.window.rect.centre(), right.window.rect.centre()];
    let path = json!({"path": [[from.0, from.1], [to.0, to.1]], "duration_ms": 50});
    forbid(&world, "Middle");
    world.refused("mouse.drag", path.clone(), "policy_denied");
    assert_eq!([left.seen(), middle.seen(), right.seen()], [vec![], vec![], vec![]]);
    forbid(&world, "Elsewhere");
    done(&world, "mouse.drag", path);
    assert_eq!(left.wait_for("release", 1).iter().filter(|seen| seen.0 == "press").count(), 1);
}

#[test]
fn each_window_of_the_way_is_stated_once_with_the_button() {
    let display = TestDisplay::start();
    let world = mouse(&display);
    let left = Witness::new(&display, "Left", 100, 100, 200, 200);
    let right = Witness::new(&display, "Right", 600, 100, 200, 200);
    let [from, to] = [left.window.rect.centre(), right.window.rect.centre()];
    let stated = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = stated.clone();
    world.judge(move |query| {
        log.lock().unwrap().push((text(&query, "class"), text(&query, "role"), text(&query, "button")));
        Decision::Deny
    });
    world.refused("mouse.drag", json!({"path": [[from.0, from.1], [to.0, to.1]]}), "policy_denied");
    let mut stated = stated.lock().unwrap().clone();
    stated.sort();
    stated.dedup();
    let of = |class: &str, role: &str| (class.to_owned(), role.to_owned(), "left".to_owned());
    assert_eq!(stated, [of("", "desktop"), of("Left", "application"), of("Right", "application")]);
}

#[test]
fn a_window_that_comes_up_on_the_way_stops_the_drag_with_what_was_done_and_the_button_up() {
    let display = TestDisplay::bare();
    let other = display.canvas_at(100, 500, 300, 200);
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 500, 200));
    let y = window.window.rect.centre().1;
    let (world, params) = (&world, json!({"path": [[150, y], [550, y]], "duration_ms": 3_000}));
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(move || world.send("mouse.drag", params));
        window.wait_for("motion", 5);
        let conn = display.connect();
        let aux = ConfigureWindowAux::new().x(400).y(90).stack_mode(StackMode::ABOVE);
        conn.configure_window(other.window.id, &aux).unwrap();
        conn.sync().unwrap();
        answer.join().unwrap()
    });
    let result = &answer["results"][0];
    assert_eq!(result["error"]["code"], "window_changed", "{answer:#}");
    assert_eq!(result["output"]["released"], true);
    let (points, of) =
        (result["output"]["points"].as_u64().unwrap(), result["output"]["of"].as_u64().unwrap());
    assert!(points > 1 && points < of, "{result:#}");
    assert!(result["output"]["x"].as_i64().unwrap() < 400);
    assert_eq!(window.wait_for("release", 1).last().unwrap().0, "release");
    assert_eq!(buttons_down(&display), 0);
}

// D05
#[test]
fn a_cancelled_drag_lets_go_of_the_button_and_the_modifiers() {
    let display = TestDisplay::start();
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 500, 200));
    display.focus(window.window.id);
    let y = window.window.rect.centre().1;
    let conn = display.connect();
    let root = display.root();
    let was_down = Arc::new(AtomicBool::new(false));
    let down = was_down.clone();
    let when = async move {
        // Once the button is seen down, by another client.
        while !conn.query_pointer(root).unwrap().reply().unwrap().mask.contains(KeyButMask::BUTTON1) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        down.store(true, Ordering::SeqCst);
    };
    let params = json!({"path": [[150, y], [550, y]], "duration_ms": 30_000, "modifiers": ["ctrl"]});
    let answer = world.send_and_cancel("mouse.drag", params, when);
    assert_eq!(answer["results"][0]["error"]["code"], "cancelled", "{answer:#}");
    assert_eq!(answer["results"][0]["output"]["released"], true, "{answer:#}");
    assert!(was_down.load(Ordering::SeqCst));
    until("everything let go", || (buttons_down(&display) == 0).then_some(()));
    window.wait_for("release", 1);
}

const DROP: &str = r#"
import sys, gi
gi.require_version("Gtk", "3.0")
gi.require_version("Gdk", "3.0")
from gi.repository import Gdk, Gtk
Gdk.set_program_class("Dropped")
window = Gtk.Window(title="drop")
window.set_default_size(500, 200)
box = Gtk.Box(homogeneous=True)
source, target = Gtk.Button(label="source"), Gtk.Label(label="target")
source.drag_source_set(Gdk.ModifierType.BUTTON1_MASK, [], Gdk.DragAction.COPY)
source.drag_source_add_text_targets()
source.connect("drag-data-get", lambda w, c, data, i, t: data.set_text("moved", -1))
target.drag_dest_set(Gtk.DestDefaults.ALL, [], Gdk.DragAction.COPY)
target.drag_dest_add_text_targets()
def received(w, c, x, y, data, i, t):
    with open(sys.argv[1], "w") as file:
        file.write(data.get_text())
target.connect("drag-data-received", received)
box.add(source)
box.add(target)
window.add(box)
window.show_all()
Gtk.main()
"#;

#[test]
fn what_a_program_shows_under_the_pointer_while_it_is_dragged_from_does_not_stop_the_drag() {
    let display = TestDisplay::start();
    let world = mouse(&display);
    let file = display.dir().join("dropped");
    let _program = display.python(DROP, &[file.to_str().unwrap()]);
    let area = display.window("Dropped").rect;
    let (x, y) = area.centre();
    done(&world, "mouse.drag", json!({"path": [[x - 150, y], [x + 150, y + 10]], "duration_ms": 600}));
    until("what was dropped", || std::fs::read_to_string(&file).ok().filter(|text| text == "moved"));
}

#[test]
fn what_a_program_shows_on_the_way_is_judged_as_well() {
    let display = TestDisplay::start();
    let world = mouse(&display);
    let file = display.dir().join("dropped");
    let _program = display.python(DROP, &[file.to_str().unwrap()]);
    let window = display.window("Dropped");
    let (x, y) = window.rect.centre();
    // Everything but the window itself.
    world.judge(|query| if text(&query, "title") == "drop" { Decision::Allow } else { Decision::Deny });
    let params = json!({"path": [[x - 150, y], [x + 150, y + 10]], "duration_ms": 600});
    let answer = world.refused("mouse.drag", params, "window_changed");
    assert_eq!(answer["results"][0]["output"]["released"], true, "{answer:#}");
    assert!(!file.exists());
}
