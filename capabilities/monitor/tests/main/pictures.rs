//! Pictures are what is on the screen, pixel by pixel.

use llm_os_desktop_test_support::TestDisplay;
use serde_json::json;

use crate::support::{area, decoded, gradient, output, region, world};

#[test]
fn the_whole_screen_is_taken_pixel_by_pixel() {
    let display = TestDisplay::bare();
    let picture = display.picture(area(0, 0, 1280, 800), gradient);
    let world = world(&display);
    let answer = output(&world, "monitor.capture", json!({}));
    assert_eq!(
        answer["space"],
        json!({"width": 1280, "height": 800, "region": {"x": 0, "y": 0, "width": 1280, "height": 800}})
    );
    assert_eq!(answer["masked"], 0);
    let found = decoded(&answer["picture"]);
    assert_eq!((found.width, found.height), (1280, 800));
    for (x, y, pixel) in found.pixels() {
        assert_eq!(pixel, picture.pixel(x as i32, y as i32), "({x}, {y})");
    }
}

#[test]
fn a_region_is_taken_in_every_format() {
    let display = TestDisplay::bare();
    let picture = display.picture(area(0, 0, 1280, 800), gradient);
    let world = world(&display);
    for format in ["png", "webp", "jpeg"] {
        let shown = area(101, 57, 333, 211);
        let params = json!({"target": {"region": region(shown)}, "format": format});
        let answer = output(&world, "monitor.capture", params);
        assert_eq!(answer["picture"]["media_type"], format!("image/{format}"));
        let found = decoded(&answer["picture"]);
        assert_eq!((found.width, found.height), (333, 211));
        for (x, y, pixel) in found.pixels() {
            let expected = picture.pixel(x as i32 + 101, y as i32 + 57);
            // A JPEG is near; where the gradient wraps it cannot be.
            let far = |(a, b): (&u8, &u8)| a.abs_diff(*b) > 24;
            let wraps = [x + 101, y + 57].iter().any(|at| at % 256 < 17 || at % 256 > 239);
            match format {
                "jpeg" if wraps => {}
                "jpeg" => {
                    assert!(!pixel.iter().zip(&expected).any(far), "({x}, {y}): {pixel:?}, not {expected:?}");
                }
                _ => assert_eq!(pixel, expected, "({x}, {y}) as {format}"),
            }
        }
    }
}

#[test]
fn a_jpeg_of_lower_quality_is_smaller() {
    let display = TestDisplay::bare();
    let _picture = display.picture(area(0, 0, 1280, 800), |x, y| gradient(x * 7, y * 13));
    let world = world(&display);
    let size = |quality: u8| {
        let answer = output(&world, "monitor.capture", json!({"format": "jpeg", "quality": quality}));
        answer["picture"]["bytes"].as_u64().expect("a length")
    };
    assert!(size(10) < size(95));
}

#[test]
fn half_the_size_keeps_flat_areas_exactly_in_every_format() {
    let display = TestDisplay::bare();
    let colours = [[250, 10, 20], [0, 128, 255], [3, 77, 200], [255, 255, 255]];
    let _picture = display.picture(area(0, 0, 1280, 800), |x, y| colours[(x / 640 + y / 400 * 2) as usize]);
    let world = world(&display);
    for format in ["png", "webp", "jpeg"] {
        let answer = output(&world, "monitor.capture", json!({"max_edge": 640, "format": format}));
        assert_eq!((&answer["space"]["width"], &answer["space"]["height"]), (&json!(640), &json!(400)));
        let found = decoded(&answer["picture"]);
        assert_eq!((found.width, found.height), (640, 400));
        for (x, y, pixel) in found.pixels() {
            // The filter, and a JPEG's blocks, reach over the edges.
            if x.abs_diff(320) < 16 || y.abs_diff(200) < 16 {
                continue;
            }
            let expected = colours[(x / 320 + y / 200 * 2) as usize];
            let slack = if format == "jpeg" { 3 } else { 0 };
            assert!(
                pixel.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= slack),
                "({x}, {y}) as {format}: {pixel:?}, not {expected:?}"
            );
        }
    }
}

#[test]
fn an_exact_size_may_be_larger_and_of_another_shape() {
    let display = TestDisplay::bare();
    let _picture = display.picture(area(0, 0, 1280, 800), |_, _| [9, 8, 7]);
    let world = world(&display);
    for format in ["png", "webp"] {
        let params = json!({
            "target": {"region": {"x": 5, "y": 5, "width": 100, "height": 100}},
            "width": 400, "height": 50, "format": format,
        });
        let found = decoded(&output(&world, "monitor.capture", params)["picture"]);
        assert_eq!((found.width, found.height), (400, 50));
        assert!(found.pixels().all(|(_, _, pixel)| pixel == [9, 8, 7]));
    }
}

#[test]
fn the_second_of_two_monitors_is_taken_by_name() {
    let display = TestDisplay::bare();
    let picture = display.picture(area(0, 0, 1280, 800), gradient);
    display.split_monitors(500);
    let world = world(&display);
    let answer = output(&world, "monitor.capture", json!({"target": {"display": {"name": "right"}}}));
    let shown = json!({"x": 500, "y": 0, "width": 780, "height": 800});
    assert_eq!(answer["space"]["region"], shown);
    assert_eq!(answer["monitors"][0]["name"], "right");
    assert_eq!(answer["monitors"].as_array().map(Vec::len), Some(1));
    let found = decoded(&answer["picture"]);
    assert_eq!((found.width, found.height), (780, 800));
    assert!(found.pixels().all(|(x, y, pixel)| pixel == picture.pixel(x as i32 + 500, y as i32)));
    let listed = output(&world, "monitor.list", json!({}));
    assert_eq!(listed["bounds"], json!({"x": 0, "y": 0, "width": 1280, "height": 800}));
    assert_eq!(listed["monitors"][1]["rect"], shown);
    assert_eq!(listed["monitors"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_a_picture_answers_as_space_is_what_the_next_one_understands() {
    let display = TestDisplay::bare();
    let picture = display.picture(area(0, 0, 1280, 800), gradient);
    display.split_monitors(640);
    let world = world(&display);
    let half = json!({"target": {"display": {"name": "right"}}, "max_edge": 400});
    let space = output(&world, "monitor.capture", half)["space"].clone();
    assert_eq!((&space["width"], &space["height"]), (&json!(320), &json!(400)));
    let small = json!({"x": 10, "y": 20, "width": 30, "height": 40});
    let zoomed = output(&world, "monitor.zoom", json!({"region": small, "space": space}));
    let shown = json!({"x": 660, "y": 40, "width": 60, "height": 80});
    assert_eq!(zoomed["mapping"], json!({"width": 60, "height": 80, "region": shown}));
    assert!(zoomed.get("space").is_none());
    let found = decoded(&zoomed["picture"]);
    assert!(found.pixels().all(|(x, y, pixel)| pixel == picture.pixel(x as i32 + 660, y as i32 + 40)));
    let again = output(&world, "monitor.capture", json!({"target": {"region": small}, "space": space}));
    assert_eq!(again["space"]["region"], shown);
}

#[test]
fn a_window_is_taken_with_its_frame_and_with_what_covers_it() {
    let display = TestDisplay::start();
    let canvas = display.canvas();
    let world = world(&display);
    let windows = output(&world, "monitor.windows", json!({}));
    let listed = windows["windows"].as_array().expect("windows");
    let listed =
        listed.iter().find(|window| window["class"] == json!(canvas.window.class)).expect("the canvas");
    assert_eq!(listed["pid"], canvas.program.pid());
    assert_eq!(listed["role"], "application");
    let inside = canvas.window.rect;
    let cover = display.picture(area(inside.x + 50, inside.y + 60, 40, 30), |_, _| [1, 200, 3]);
    for target in [json!({"class": canvas.window.class}), json!({"id": listed["id"]})] {
        let answer = output(&world, "monitor.capture", json!({"target": {"window": target}}));
        assert_eq!(answer["space"]["region"], listed["rect"]);
        let found = decoded(&answer["picture"]);
        let (left, top) =
            (listed["rect"]["x"].as_i64().expect("x"), listed["rect"]["y"].as_i64().expect("y"));
        let at = |x: i32, y: i32| found.at((i64::from(x) - left) as u32, (i64::from(y) - top) as u32);
        assert_eq!(at(cover.rect.x, cover.rect.y), [1, 200, 3]);
        assert_eq!(at(cover.rect.x + 39, cover.rect.y + 29), [1, 200, 3]);
        assert_eq!(at(cover.rect.x - 1, cover.rect.y), [255, 255, 255]);
        assert_eq!(at(inside.x + 5, inside.y + 5), display.pixel(inside.x as i16 + 5, inside.y as i16 + 5));
        assert_eq!(found.at(0, 0), display.pixel(left as i16, top as i16));
    }
}

#[test]
fn the_pointer_is_in_the_picture_only_where_it_is_asked_for() {
    use x11rb::connection::Connection as _;
    use x11rb::protocol::xproto::ConnectionExt as _;
    use x11rb::wrapper::ConnectionExt as _;
    let display = TestDisplay::start();
    let picture = display.picture(area(0, 0, 1280, 800), |_, _| [90, 160, 230]);
    let conn = display.connect();
    conn.warp_pointer(x11rb::NONE, display.root(), 0, 0, 0, 0, 640, 400).expect("a server");
    conn.flush().expect("a server");
    conn.sync().expect("a server");
    let world = world(&display);
    let changed = |cursor: bool| {
        let found = decoded(&output(&world, "monitor.capture", json!({"cursor": cursor}))["picture"]);
        let differs = found.pixels().filter(|(x, y, pixel)| *pixel != picture.pixel(*x as i32, *y as i32));
        differs.map(|(x, y, _)| (x, y)).collect::<Vec<_>>()
    };
    assert_eq!(changed(false), []);
    let with = changed(true);
    assert!(with.len() > 10, "{with:?}");
    assert!(with.iter().all(|(x, y)| x.abs_diff(640) < 64 && y.abs_diff(400) < 64), "{with:?}");
}

#[test]
fn a_server_without_shared_memory_sends_the_same_picture() {
    let pictures = [TestDisplay::bare(), TestDisplay::without("MIT-SHM")].map(|display| {
        let _picture = display.picture(area(0, 0, 1280, 800), gradient);
        output(&world(&display), "monitor.capture", json!({}))["picture"]["sha256"].clone()
    });
    assert_eq!(pictures[0], pictures[1]);
}

#[test]
fn pictures_that_are_taken_at_once_do_not_share_their_memory() {
    let display = TestDisplay::bare();
    let picture = display.picture(area(0, 0, 1280, 800), gradient);
    let world = world(&display);
    std::thread::scope(|scope| {
        for column in 0..6u32 {
            let (world, picture) = (&world, &picture);
            scope.spawn(move || {
                let shown = area(column as i32 * 200, 0, 200, 800);
                for _ in 0..4 {
                    let params = json!({"target": {"region": region(shown)}, "format": "webp"});
                    let found = decoded(&output(world, "monitor.capture", params)["picture"]);
                    let same = |(x, y, pixel)| pixel == picture.pixel(x as i32 + shown.x, y as i32);
                    assert!(found.pixels().all(same), "column {column}");
                }
            });
        }
    });
}
