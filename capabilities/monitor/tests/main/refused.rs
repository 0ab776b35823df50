//! What is refused, and how.

use llm_os_desktop_test_support::{TestDisplay, until};
use llm_os_test_support::World;
use serde_json::{Value, json};

use crate::support::{area, output, world};

#[track_caller]
fn refused(world: &World, action: &str, params: Value, code: &str, path: &str) {
    let answer = world.refused(action, params.clone(), code);
    let found = [&answer["error"], &answer["results"][0]["error"]];
    let found = found.iter().filter_map(|error| error["path"].as_str()).next();
    assert_eq!(found, Some(format!("$.actions[0].params.{path}").as_str()), "{params}: {answer:#}");
}

#[test]
fn every_action_keeps_the_contract() {
    let display = TestDisplay::bare();
    world(&display).keeps_the_contract();
}

// D08, J13
#[test]
fn a_region_that_is_not_on_the_screen_is_refused() {
    let display = TestDisplay::bare();
    let world = world(&display);
    for (x, y, width, height) in [
        (-1i64, 0i64, 10i64, 10i64),
        (0, -1, 10, 10),
        (0, 0, 0, 10),
        (0, 0, 10, -1),
        (0, 0, 1281, 10),
        (1279, 799, 2, 1),
        (0, 0, 1_000_000_000, 1_000_000_000),
        (9_007_199_254_740_993, 0, 1, 1),
        (i64::MAX, i64::MAX, i64::MAX, i64::MAX),
    ] {
        let region = json!({"x": x, "y": y, "width": width, "height": height});
        let invalid = "validation_failed";
        refused(&world, "monitor.capture", json!({"target": {"region": region}}), invalid, "target.region");
        refused(&world, "monitor.zoom", json!({"region": region}), invalid, "region");
        refused(&world, "monitor.wait", json!({"until": "changed", "region": region}), invalid, "region");
    }
    for text in ["1.5", "1e3", "18446744073709551616", "null", "\"1\"", "[1]"] {
        let frame = format!(
            r#"{{"request_id":"t-1","version":"1","mode":"execute","actions":[{{"action":"monitor.zoom","reason":"a test","params":{{"region":{{"x":{text},"y":0,"width":1,"height":1}}}}}}]}}"#
        );
        assert_eq!(world.send_frame(frame.as_bytes())["error"]["code"], "parse_failed", "{text}");
    }
}

// D08
#[test]
fn a_picture_of_an_absurd_size_is_refused() {
    let display = TestDisplay::bare();
    let world = world(&display);
    let invalid = "validation_failed";
    refused(&world, "monitor.capture", json!({"width": 1_000_000_000}), invalid, "width");
    refused(&world, "monitor.capture", json!({"width": 8192, "height": 8192}), invalid, "width");
    refused(&world, "monitor.capture", json!({"height": 0}), invalid, "height");
    refused(&world, "monitor.capture", json!({"max_edge": 0}), invalid, "max_edge");
    refused(&world, "monitor.capture", json!({"max_edge": 10, "width": 10}), invalid, "max_edge");
}

#[test]
fn values_that_mean_nothing_are_refused_by_name() {
    let display = TestDisplay::bare();
    let world = world(&display);
    let invalid = "validation_failed";
    let capture = |params, path| refused(&world, "monitor.capture", params, invalid, path);
    capture(json!({"target": {"display": {"name": "DP-9"}}}), "target.display.name");
    capture(json!({"quality": 80}), "quality");
    capture(json!({"format": "jpeg", "quality": 0}), "quality");
    capture(json!({"format": "jpeg", "quality": 101}), "quality");
    capture(json!({"space": {"width": 10, "height": 10}}), "space");
    capture(json!({"target": {"window": {}}}), "target.window");
    capture(json!({"target": {"window": {"id": 1, "class": "a"}}}), "target.window");
    capture(json!({"output": "file"}), "output");
    let region = json!({"x": 0, "y": 0, "width": 1, "height": 1});
    let space = json!({"width": 0, "height": 1});
    capture(json!({"target": {"region": region}, "space": space}), "space");
    let wait = |params, path| refused(&world, "monitor.wait", params, invalid, path);
    wait(json!({"until": "settled", "timeout_ms": 60_001}), "timeout_ms");
    wait(json!({"until": "settled", "timeout_ms": 0}), "timeout_ms");
    wait(json!({"until": "settled", "timeout_ms": 50}), "quiet_ms");
    wait(json!({"until": "changed", "space": {"width": 1, "height": 1}}), "space");
    refused(&world, "monitor.diff", json!({"since": "A".repeat(64)}), invalid, "since");
    let unknown = |params, path| refused(&world, "monitor.capture", params, "not_found", path);
    unknown(json!({"target": {"window": {"id": 12345}}}), "target.window.id");
    unknown(json!({"target": {"window": {"class": "Nobody"}}}), "target.window.class");
    refused(&world, "monitor.diff", json!({"since": "0".repeat(64)}), "not_found", "since");
    for bad in [
        json!({"target": {"screen": {}}}),
        json!({"target": "all"}),
        json!({"format": "gif"}),
        json!({"format": "PNG"}),
        json!({"output": "/tmp/x.png"}),
    ] {
        world.refused("monitor.capture", bad, "parse_failed");
    }
}

#[test]
fn a_class_that_two_windows_have_is_refused_with_their_ids() {
    let display = TestDisplay::start();
    let _first = display.spawn("xterm", &["-class", "Twin"]);
    let first = display.window("Twin").id;
    let _second = display.spawn("xterm", &["-class", "Twin"]);
    let world = world(&display);
    let twins = || {
        let listed = output(&world, "monitor.windows", json!({}));
        let windows = listed["windows"].as_array().expect("windows").clone();
        let twins = windows.into_iter().filter(|window| window["class"] == "Twin");
        twins.map(|window| window["id"].as_u64().expect("an id")).collect::<Vec<_>>()
    };
    let ids = until("two windows", || Some(twins()).filter(|twins| twins.len() == 2));
    assert!(ids.contains(&first.into()));
    let answer = world.refused(
        "monitor.capture",
        json!({"target": {"window": {"class": "Twin"}}}),
        "validation_failed",
    );
    assert!(
        ids.iter()
            .all(|id| answer["error"]["message"].as_str().unwrap_or_default().contains(&id.to_string()))
    );
}

#[test]
fn the_policy_decides_about_looking_at_all() {
    let display = TestDisplay::bare();
    let world = world(&display);
    world.judge(|_| llm_os_core::Decision::Deny);
    for (action, params) in [
        ("monitor.list", json!({})),
        ("monitor.windows", json!({})),
        ("monitor.capture", json!({})),
        ("monitor.wait", json!({"until": "changed"})),
    ] {
        let answer = world.refused(action, params, "policy_denied");
        assert_eq!(answer["executed"], false);
    }
}

#[test]
fn without_a_display_the_answer_says_what_to_do() {
    use llm_os_monitor::Monitor;
    let (world, unavailable) = World::set_up::<Monitor>(json!({}), llm_os_core::Setup::default());
    assert!(unavailable.expect("no display").contains("--virtual-display"));
    world.refused("monitor.capture", json!({}), "unavailable");
}

// D09
#[test]
fn a_display_that_dies_is_an_error_and_the_next_picture_works_once_it_is_back() {
    use rustix::process::{Pid, Signal, kill_process};
    let mut display = TestDisplay::bare();
    let world = world(&display);
    output(&world, "monitor.capture", json!({}));
    let server = Pid::from_raw(display.server_pid().cast_signed()).expect("a process");
    kill_process(server, Signal::KILL).expect("a server of ours");
    for action in ["monitor.capture", "monitor.list"] {
        world.refused(action, json!({}), "unavailable");
    }
    display.replace();
    let picture = display.picture(area(0, 0, 1280, 800), |_, _| [1, 2, 3]);
    let answer = output(&world, "monitor.capture", json!({}));
    let found = crate::support::decoded(&answer["picture"]);
    assert!(found.pixels().all(|(x, y, pixel)| pixel == picture.pixel(x as i32, y as i32)));
}
