//! What is refused, and that nothing is sent then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use llm_os_core::Fact;
use llm_os_core::policy::Decision;
use llm_os_desktop_test_support::{TestDisplay, until};
use serde_json::json;
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{
    AtomEnum, ConfigureWindowAux, ConnectionExt as _, EventMask, GrabMode, PropMode, StackMode,
};
use x11rb::wrapper::ConnectionExt as _;

use crate::support::{all_up, buttons_down, done, mouse, text};
use crate::witness::Witness;

// D04
#[test]
fn a_point_outside_of_every_monitor_is_refused_by_its_name_and_never_clamped() {
    let display = TestDisplay::start();
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 0, 0, 1280, 800));
    let before = done(&world, "mouse.position", json!({}));
    let far = i64::from(i32::MAX);
    for (x, y) in
        [(-1, -1), (far, 5), (5, far), (1280, 0), (0, 800), (i64::MIN, 0), (i64::MAX, i64::MAX), (70_000, 1)]
    {
        for action in ["mouse.move", "mouse.click", "mouse.scroll"] {
            let mut params = json!({"x": x, "y": y});
            if action == "mouse.scroll" {
                params["dy"] = json!(1);
            }
            let answer = world.refused(action, params, "validation_failed");
            assert_eq!(answer["error"]["path"], "$.actions[0].params.x", "{answer:#}");
        }
        let answer = world.refused("mouse.drag", json!({"path": [[5, 5], [x, y]]}), "validation_failed");
        assert_eq!(answer["error"]["path"], "$.actions[0].params.path[1]", "{answer:#}");
    }
    for (dx, dy) in [(-1300, 0), (0, far), (i64::MAX, i64::MAX), (i64::MIN, i64::MIN)] {
        let answer = world.refused("mouse.move", json!({"dx": dx, "dy": dy}), "validation_failed");
        assert_eq!(answer["error"]["path"], "$.actions[0].params.dx", "{answer:#}");
    }
    let space = json!({"width": 100, "height": 100});
    world.refused("mouse.click", json!({"x": 100, "y": 5, "space": space}), "validation_failed");
    let no_space = json!({"width": 0, "height": 100});
    world.refused("mouse.click", json!({"x": 0, "y": 5, "space": no_space}), "validation_failed");
    assert_eq!(done(&world, "mouse.position", json!({})), before);
    assert_eq!(window.strokes(), []);
}

// D04
#[test]
fn a_point_of_a_monitor_that_was_just_unplugged_is_refused() {
    let display = TestDisplay::start();
    display.split_monitors(700);
    let world = mouse(&display);
    done(&world, "mouse.move", json!({"x": 900, "y": 10}));
    display.remove_monitor("right");
    world.refused("mouse.move", json!({"x": 901, "y": 10}), "validation_failed");
    world.refused("mouse.click", json!({}), "validation_failed");
}

// D04
#[test]
fn a_monitor_that_goes_between_the_judgement_and_the_click_stops_it() {
    let display = Arc::new(TestDisplay::bare());
    display.split_monitors(700);
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 900, 100, 300, 200));
    let (x, y) = window.window.rect.centre();
    let unplugged = display.clone();
    between(&world, move || unplugged.remove_monitor("right"));
    let answer = world.refused("mouse.click", json!({"x": x, "y": y}), "validation_failed");
    assert_eq!(answer["results"][0]["output"]["clicks"], 0, "{answer:#}");
    assert_eq!(window.seen(), []);
}

#[test]
fn monitors_that_are_arranged_anew_stop_a_click_by_a_picture() {
    let display = Arc::new(TestDisplay::bare());
    display.split_monitors(700);
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 0, 0, 700, 800));
    let unplugged = display.clone();
    between(&world, move || unplugged.remove_monitor("right"));
    // A picture of the whole screen: where its pixels are depends on the monitors.
    let space = json!({"width": 640, "height": 400});
    world.refused("mouse.click", json!({"x": 100, "y": 100, "space": space}), "display_changed");
    assert_eq!(window.seen(), []);
}

// J13
#[test]
fn only_whole_numbers_that_json_keeps_exactly_are_coordinates() {
    let display = TestDisplay::bare();
    let world = mouse(&display);
    for x in ["1.5", "1e2", "1.0", "NaN", "9007199254740993", "\"5\"", "null", "true", "99999999999999999999"]
    {
        let frame = format!(
            r#"{{"request_id":"t-1","version":"1","mode":"execute","actions":[{{"action":"mouse.click","params":{{"x":{x},"y":5}},"reason":"a test"}}]}}"#
        );
        let answer = world.send_frame(frame.as_bytes());
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        assert!(["parse_failed", "validation_failed"].contains(&code), "{x}: {answer:#}");
    }
    assert_eq!(done(&world, "mouse.position", json!({}))["x"], 640);
}

#[test]
fn params_that_make_no_sense_are_refused_by_the_name_of_the_field() {
    let display = TestDisplay::bare();
    let world = mouse(&display);
    let point = || json!([5, 5]);
    for (action, params, path) in [
        ("mouse.move", json!({}), "x"),
        ("mouse.move", json!({"x": 1}), "y"),
        ("mouse.move", json!({"y": 1}), "x"),
        ("mouse.move", json!({"dx": 1}), "dy"),
        ("mouse.move", json!({"x": 1, "y": 1, "dx": 1, "dy": 1}), "dx"),
        ("mouse.move", json!({"dx": 1, "dy": 1, "space": {"width": 9, "height": 9}}), "space"),
        ("mouse.click", json!({"x": 1}), "y"),
        ("mouse.click", json!({"count": 0}), "count"),
        ("mouse.click", json!({"count": 4}), "count"),
        ("mouse.click", json!({"modifiers": ["ctrl", "Return"]}), "modifiers[1]"),
        ("mouse.click", json!({"modifiers": ["crtl"]}), "modifiers[0]"),
        ("mouse.click", json!({"modifiers": ["ctrl", "Control_R"]}), "modifiers[1]"),
        ("mouse.drag", json!({"path": []}), "path"),
        ("mouse.drag", json!({"path": [point()]}), "path"),
        ("mouse.drag", json!({"path": vec![point(); 257]}), "path"),
        ("mouse.drag", json!({"path": [point(), point()], "duration_ms": 30_001}), "duration_ms"),
        ("mouse.scroll", json!({"x": 5, "y": 5}), "dy"),
        ("mouse.scroll", json!({"dy": 101}), "dy"),
        ("mouse.scroll", json!({"dx": -101}), "dx"),
        ("mouse.scroll", json!({"dx": 51, "dy": -50}), "dy"),
        ("mouse.scroll", json!({"dy": i64::MIN}), "dy"),
        ("mouse.scroll", json!({"dy": 5026, "unit": "pixel"}), "dy"),
    ] {
        let answer = world.refused(action, params.clone(), "validation_failed");
        assert_eq!(answer["error"]["path"], format!("$.actions[0].params.{path}"), "{action} {params}");
    }
    for (action, params) in [
        ("mouse.click", json!({"button": "4"})),
        ("mouse.click", json!({"x": 1, "y": 1, "z": 1})),
        ("mouse.scroll", json!({"dy": 1, "unit": "page"})),
        ("mouse.drag", json!({"path": [[1, 1, 1], [2, 2, 2]]})),
        ("mouse.drag", json!({"path": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]})),
        ("mouse.click", json!({"space": {"width": -1, "height": 5}})),
    ] {
        world.refused(action, params, "parse_failed");
    }
}

#[test]
fn a_window_that_moved_away_after_the_judgement_gets_nothing() {
    let display = Arc::new(TestDisplay::start());
    let (world, canvas) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let (x, y) = canvas.window.rect.centre();
    let (moving, id) = (display.clone(), canvas.window.id);
    between(&world, move || moving.move_window(id, 700, 400));
    let answer = world.refused("mouse.click", json!({"x": x, "y": y}), "window_changed");
    assert_eq!(answer["results"][0]["output"]["clicks"], 0, "{answer:#}");
    assert_eq!(canvas.seen(), []);
}

#[test]
fn a_window_that_was_raised_over_the_point_after_the_judgement_gets_nothing() {
    let display = Arc::new(TestDisplay::bare());
    let world = mouse(&display);
    let hidden = Witness::new(&display, "Hidden", 100, 100, 300, 200);
    let shown = Witness::new(&display, "Shown", 150, 150, 300, 200);
    let (raising, id) = (display.clone(), hidden.window.id);
    between(&world, move || {
        let conn = raising.connect();
        conn.configure_window(id, &ConfigureWindowAux::new().stack_mode(StackMode::ABOVE)).unwrap();
        conn.sync().unwrap();
    });
    world.refused("mouse.click", json!({"x": 200, "y": 200}), "window_changed");
    assert_eq!((hidden.seen(), shown.seen()), (vec![], vec![]));
}

#[test]
fn a_window_that_hears_the_modifiers_and_is_raised_over_the_point_gets_no_click() {
    let display = Arc::new(TestDisplay::bare());
    let world = mouse(&display);
    let focused = Witness::new(&display, "Focused", 100, 100, 300, 200);
    let shown = Witness::new(&display, "Shown", 150, 150, 300, 200);
    display.focus(focused.window.id);
    let (raising, id) = (display.clone(), focused.window.id);
    between(&world, move || {
        let conn = raising.connect();
        conn.configure_window(id, &ConfigureWindowAux::new().stack_mode(StackMode::ABOVE)).unwrap();
        conn.sync().unwrap();
    });
    let params = json!({"x": 200, "y": 200, "modifiers": ["ctrl"]});
    world.refused("mouse.click", params, "window_changed");
    assert_eq!((focused.strokes(), shown.strokes()), (vec![], vec![]));
}

#[test]
fn a_pointer_that_does_not_get_to_the_point_presses_nothing() {
    let display = TestDisplay::bare();
    // A monitor beyond the screen's edge, where the server lets no pointer go.
    display.set_monitor("screen-itself", 0, 0, 1280, 800);
    display.set_monitor("beyond", 1280, 0, 500, 800);
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 0, 0, 1280, 800));
    let answer = world.refused("mouse.click", json!({"x": 1500, "y": 100}), "pointer_moved");
    assert_eq!(answer["results"][0]["output"]["clicks"], 0, "{answer:#}");
    world.refused("mouse.scroll", json!({"x": 1500, "y": 100, "dy": 1}), "pointer_moved");
    world.refused("mouse.drag", json!({"path": [[1500, 100], [5, 100]]}), "pointer_moved");
    assert_eq!(window.strokes(), []);
    let moved = done(&world, "mouse.move", json!({"x": 1500, "y": 100}));
    assert_eq!(moved, json!({"x": 1500, "y": 100, "elsewhere": {"x": 1279, "y": 100}}));
    // On the way there with the button down it is noticed as well, and the button comes up.
    let answer = world.refused("mouse.drag", json!({"path": [[1200, 100], [1500, 100]]}), "pointer_moved");
    assert_eq!(answer["results"][0]["output"]["released"], true, "{answer:#}");
    all_up(&display);
}

#[test]
fn a_window_that_changed_its_title_is_judged_anew_before_the_click() {
    let display = Arc::new(TestDisplay::start());
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let (x, y) = window.window.rect.centre();
    let (id, titles) = (window.window.id, Arc::new(AtomicU32::new(0)));
    let renamed = display.clone();
    let rename = move |title: &str| {
        let conn = renamed.connect();
        let name = AtomEnum::WM_NAME;
        conn.change_property8(PropMode::REPLACE, id, name, AtomEnum::STRING, title.as_bytes()).unwrap();
        conn.sync().unwrap();
    };
    for (title, clicks) in [("harmless", 1), ("Passwords", 0)] {
        let (first, rename) = (titles.clone(), rename.clone());
        first.store(0, Ordering::SeqCst);
        world.judge(move |query| {
            if first.fetch_add(1, Ordering::SeqCst) == 0 {
                rename(title);
            }
            if text(&query, "title") == "Passwords" { Decision::Deny } else { Decision::Allow }
        });
        let before = window.strokes().len();
        let answer = world.send("mouse.click", json!({"x": x, "y": y}));
        let code = answer["results"][0]["error"]["code"].as_str();
        assert_eq!(code, (clicks == 0).then_some("window_changed"), "{answer:#}");
        assert_eq!(window.strokes().len() - before, 2 * clicks);
    }
}

#[test]
fn a_pointer_that_another_program_holds_stops_the_click_with_nothing_delivered() {
    let display = TestDisplay::start();
    let (world, canvas) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let (x, y) = canvas.window.rect.centre();
    let thief = Witness::new(&display, "Thief", 600, 100, 300, 200);
    let (mask, mode) = (EventMask::BUTTON_PRESS | EventMask::POINTER_MOTION, GrabMode::ASYNC);
    let grab =
        thief.conn.grab_pointer(false, thief.window.id, mask, mode, mode, x11rb::NONE, x11rb::NONE, 0u32);
    grab.unwrap().reply().unwrap();
    for (action, params) in [
        ("mouse.click", json!({"x": x, "y": y})),
        ("mouse.move", json!({"x": x, "y": y})),
        ("mouse.scroll", json!({"x": x, "y": y, "dy": 1})),
        ("mouse.drag", json!({"path": [[x, y], [x + 9, y]]})),
    ] {
        world.refused(action, params, "input_grabbed");
    }
    // Whose it is the guard asks by a motion of no distance; that is all.
    assert!(thief.seen().iter().all(|seen| *seen == ("motion", 640, 400, 0)), "{:?}", thief.seen());
    assert_eq!(canvas.seen(), []);
    thief.conn.ungrab_pointer(0u32).unwrap();
    thief.conn.flush().unwrap();
    until("a click", || {
        let answer = world.send("mouse.click", json!({"x": x, "y": y}));
        answer["error"].is_null().then_some(())
    });
}

// D03
#[test]
fn a_window_whose_programs_include_llmsh_gets_no_click_whatever_the_policy_says() {
    let display = TestDisplay::start();
    let world = mouse(&display);
    let stand_in = display.dir().join("llmsh");
    std::fs::copy("/bin/sleep", &stand_in).unwrap();
    let script = format!("'{}' 1000", stand_in.display());
    let _xterm = display.spawn("xterm", &["-class", "Approver", "-e", "/bin/sh", "-c", &script]);
    let (x, y) = display.window("Approver").rect.centre();
    until("the stand-in", || {
        let running = std::fs::read_dir("/proc").unwrap().flatten();
        let is_it = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == stand_in)
        };
        running.into_iter().any(is_it).then_some(())
    });
    for (action, params) in [
        ("mouse.click", json!({"x": x, "y": y})),
        ("mouse.move", json!({"x": x, "y": y})),
        ("mouse.scroll", json!({"x": x, "y": y, "dy": 1})),
        ("mouse.drag", json!({"path": [[5, 790], [x, y]]})),
    ] {
        let answer = world.send_confirmed(action, params);
        assert_eq!(answer["error"]["code"], "policy_denied", "{answer:#}");
    }
    done(&world, "mouse.move", json!({"x": 5, "y": 790}));
}

#[test]
fn the_modifiers_of_a_click_and_those_that_are_held_are_stated() {
    use x11rb::protocol::xtest::ConnectionExt as _;
    let display = TestDisplay::start();
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let focused = Witness::new(&display, "Focused", 600, 100, 300, 200);
    display.focus(focused.window.id);
    let (x, y) = window.window.rect.centre();
    done(&world, "mouse.position", json!({}));
    // Shift_L of a PC keyboard, held by another client.
    let conn = display.connect();
    conn.xtest_fake_input(2, 50, 0, x11rb::NONE, 0, 0, 0).unwrap();
    conn.sync().unwrap();
    let stated = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = stated.clone();
    world.judge(move |query| {
        let Some(Fact::Set(modifiers)) = query.effect.facts.get("modifiers") else { panic!("no modifiers") };
        log.lock()
            .unwrap()
            .push((text(&query, "class"), modifiers.iter().cloned().collect::<Vec<_>>().join("+")));
        Decision::Deny
    });
    world.refused("mouse.click", json!({"x": x, "y": y, "modifiers": ["ctrl"]}), "policy_denied");
    let all = "ctrl+shift".to_owned();
    // The keyboard's window hears of the Control key.
    let expected = [("Paper".to_owned(), all.clone()), ("Focused".to_owned(), all)];
    assert_eq!(stated.lock().unwrap().as_slice(), expected);
    conn.xtest_fake_input(3, 50, 0, x11rb::NONE, 0, 0, 0).unwrap();
    conn.sync().unwrap();
}

#[test]
fn a_modifier_that_goes_down_after_the_judgement_stops_the_click() {
    use x11rb::protocol::xtest::ConnectionExt as _;
    let display = Arc::new(TestDisplay::start());
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let (x, y) = window.window.rect.centre();
    done(&world, "mouse.position", json!({}));
    let pressing = display.clone();
    between(&world, move || {
        let conn = pressing.connect();
        // Super_L of a PC keyboard.
        conn.xtest_fake_input(2, 133, 0, x11rb::NONE, 0, 0, 0).unwrap();
        conn.sync().unwrap();
    });
    world.refused("mouse.click", json!({"x": x, "y": y}), "modifiers_held");
    assert_eq!(window.seen(), []);
}

#[test]
fn a_focus_that_moved_after_the_judgement_gets_no_modifier() {
    let display = Arc::new(TestDisplay::start());
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 300, 200));
    let judged = Witness::new(&display, "Judged", 600, 100, 200, 200);
    let other = Witness::new(&display, "Other", 900, 100, 200, 200);
    display.focus(judged.window.id);
    let (x, y) = window.window.rect.centre();
    let (moving, id) = (display.clone(), other.window.id);
    between(&world, move || moving.focus(id));
    world.refused("mouse.click", json!({"x": x, "y": y, "modifiers": ["ctrl"]}), "window_changed");
    assert_eq!(window.strokes(), []);
    assert_eq!(buttons_down(&display), 0);
}

// D09
#[test]
fn a_server_that_dies_in_a_drag_is_a_fault_with_what_was_delivered() {
    let display = TestDisplay::start();
    let (world, window) = (mouse(&display), Witness::new(&display, "Paper", 100, 100, 500, 200));
    let y = window.window.rect.centre().1;
    let (world, params) = (&world, json!({"path": [[150, y], [550, y]], "duration_ms": 5_000}));
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(move || world.send("mouse.drag", params));
        window.wait_for("motion", 5);
        kill(display.server_pid());
        answer.join().unwrap()
    });
    let result = &answer["results"][0];
    assert_eq!(result["error"]["code"], "unavailable", "{answer:#}");
    assert_eq!(result["output"]["released"], false, "{answer:#}");
    let (points, of) =
        (result["output"]["points"].as_u64().unwrap(), result["output"]["of"].as_u64().unwrap());
    assert!(points >= 1 && points < of, "{result:#}");
    world.refused("mouse.position", json!({}), "unavailable");
}

/// Does something after the first judgement and before anything is sent.
fn between(world: &llm_os_test_support::World, change: impl Fn() + Send + Sync + 'static) {
    let done = AtomicU32::new(0);
    world.judge(move |_| {
        if done.fetch_add(1, Ordering::SeqCst) == 0 {
            change();
        }
        Decision::Allow
    });
}

fn kill(pid: u32) {
    #[expect(clippy::disallowed_methods, reason = "tests start real programs, which nothing contains")]
    let mut kill = std::process::Command::new("kill");
    assert!(kill.args(["-KILL", &pid.to_string()]).status().expect("kill").success());
}
