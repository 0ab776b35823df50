//! What the policy hides is in no picture, no list and no difference.

use llm_os_core::Decision;
use llm_os_desktop_test_support::{Area, Picture, TestDisplay};
use serde_json::{Value, json};
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, PropMode, Rectangle};
use x11rb::wrapper::ConnectionExt as _;

use crate::support::{area, decoded, hide, output, region, world};

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLACK: [u8; 3] = [0; 3];

/// Gives a window a class.
fn classed(display: &TestDisplay, picture: &Picture, class: &str) {
    let conn = display.connect();
    let value = format!("{class}\0{class}\0");
    conn.change_property8(
        PropMode::REPLACE,
        picture.id,
        AtomEnum::WM_CLASS,
        AtomEnum::STRING,
        value.as_bytes(),
    )
    .expect("a server");
    conn.sync().expect("a server");
}

fn inside(area: &Area, x: i32, y: i32) -> bool {
    (area.x..area.x + area.width as i32).contains(&x) && (area.y..area.y + area.height as i32).contains(&y)
}

// D07
#[test]
fn a_hidden_window_is_black_where_it_shows_and_nothing_else_is() {
    let display = TestDisplay::bare();
    let ground =
        display.picture(area(0, 0, 1280, 800), |x, y| [(x % 200) as u8 + 55, (y % 200) as u8 + 55, 99]);
    let secret = display.picture(area(200, 100, 300, 200), |_, _| RED);
    classed(&display, &secret, "keepassxc");
    let above = display.picture(area(400, 200, 300, 200), |_, _| GREEN);
    let world = world(&display);
    let see = |params: Value| output(&world, "monitor.capture", params);
    assert_eq!(decoded(&see(json!({}))["picture"]).at(210, 110), RED);
    hide(&world, &["keepassxc"]);
    for format in ["png", "webp"] {
        let answer = see(json!({"format": format}));
        assert_eq!(answer["masked"], 1);
        for (x, y, pixel) in decoded(&answer["picture"]).pixels() {
            let (x, y) = (x as i32, y as i32);
            let expected = match (inside(&above.rect, x, y), inside(&secret.rect, x, y)) {
                (true, _) => GREEN,
                (false, true) => BLACK,
                (false, false) => ground.pixel(x, y),
            };
            assert_eq!(pixel, expected, "({x}, {y}) as {format}");
        }
    }
    // Only what the picture shows counts, also in pictures of a part, of other sizes and at full resolution.
    let beside = json!({"target": {"region": region(area(0, 0, 200, 800))}});
    assert_eq!(see(beside)["masked"], 0);
    let covered = json!({"target": {"region": region(area(400, 200, 50, 50))}});
    assert_eq!(see(covered)["masked"], 0);
    let part = decoded(
        &see(json!({"target": {"region": region(area(250, 150, 100, 100))}, "max_edge": 50}))["picture"],
    );
    assert!(part.pixels().all(|(_, _, pixel)| pixel == BLACK));
    let zoomed = output(&world, "monitor.zoom", json!({"region": region(area(190, 90, 20, 20))}));
    assert_eq!(zoomed["masked"], 1);
    let found = decoded(&zoomed["picture"]);
    assert_eq!((found.at(9, 9), found.at(10, 10)), (ground.pixel(199, 99), BLACK));
}

// D07
#[test]
fn what_covers_a_hidden_window_without_being_a_rectangle_does_not_show_it() {
    use x11rb::protocol::shape::{ConnectionExt as _, SK, SO};
    let display = TestDisplay::bare();
    let secret = display.picture(area(200, 100, 300, 200), |_, _| RED);
    classed(&display, &secret, "keepassxc");
    let above = display.picture(area(250, 150, 200, 100), |_, _| GREEN);
    let conn = display.connect();
    let hole = [Rectangle { x: 0, y: 0, width: 100, height: 100 }];
    conn.shape_rectangles(SO::SET, SK::BOUNDING, 0.into(), above.id, 0, 0, &hole).expect("a server");
    conn.sync().expect("a server");
    let world = world(&display);
    let seen = decoded(&output(&world, "monitor.capture", json!({}))["picture"]);
    assert_eq!((seen.at(260, 160), seen.at(440, 160)), (GREEN, RED), "one half shows what is below");
    hide(&world, &["keepassxc"]);
    let hidden = decoded(&output(&world, "monitor.capture", json!({}))["picture"]);
    let all = hidden.pixels().filter(|(x, y, _)| inside(&secret.rect, *x as i32, *y as i32));
    assert!(all.into_iter().all(|(_, _, pixel)| pixel == BLACK));
}

// D07
#[test]
fn where_a_compositing_manager_runs_a_hidden_window_is_black_as_a_whole() {
    let display = TestDisplay::bare();
    let secret = display.picture(area(200, 100, 300, 200), |_, _| RED);
    classed(&display, &secret, "keepassxc");
    let _above = display.picture(area(250, 150, 200, 100), |_, _| GREEN);
    let conn = display.connect();
    let atom = conn.intern_atom(false, b"_NET_WM_CM_S0").expect("a server").reply().expect("an atom").atom;
    conn.set_selection_owner(secret.id, atom, x11rb::CURRENT_TIME).expect("a server");
    conn.sync().expect("a server");
    let world = world(&display);
    hide(&world, &["keepassxc"]);
    let found = decoded(&output(&world, "monitor.capture", json!({}))["picture"]);
    let all = found.pixels().filter(|(x, y, _)| inside(&secret.rect, *x as i32, *y as i32));
    assert!(all.into_iter().all(|(_, _, pixel)| pixel == BLACK));
}

// D07
#[test]
fn a_real_programs_hidden_window_is_black_with_its_frame_and_its_pointer() {
    let display = TestDisplay::start();
    let canvas = display.canvas();
    let frame = {
        let world = world(&display);
        let windows = output(&world, "monitor.windows", json!({}));
        let windows = windows["windows"].as_array().expect("windows");
        windows.iter().find(|window| window["class"] == json!(canvas.window.class)).expect("it")["rect"]
            .clone()
    };
    let number = |name: &str| frame[name].as_i64().expect("a number") as i32;
    let rect = area(number("x"), number("y"), number("width") as u32, number("height") as u32);
    let conn = display.connect();
    let (x, y) = rect.centre();
    conn.warp_pointer(x11rb::NONE, display.root(), 0, 0, 0, 0, x as i16, y as i16).expect("a server");
    conn.flush().expect("a server");
    conn.sync().expect("a server");
    let world = world(&display);
    let class = canvas.window.class.clone();
    world
        .judge(move |query| if query.effect.resource.id == class { Decision::Deny } else { Decision::Allow });
    let answer = output(&world, "monitor.capture", json!({"cursor": true}));
    assert_eq!(answer["masked"], 1);
    let found = decoded(&answer["picture"]);
    let all = found.pixels().filter(|(x, y, _)| inside(&rect, *x as i32, *y as i32));
    assert!(all.into_iter().all(|(_, _, pixel)| pixel == BLACK));
    let listed = output(&world, "monitor.windows", json!({}));
    assert_eq!(listed["hidden"], 1);
    assert!(!listed.to_string().contains(&canvas.window.class), "{listed:#}");
    let target = json!({"target": {"window": {"class": canvas.window.class}}});
    world.refused("monitor.capture", target, "policy_denied");
}

#[test]
fn the_title_that_a_policy_is_asked_about_is_that_of_the_picture() {
    let display = TestDisplay::bare();
    let page = display.picture(area(200, 100, 300, 200), |_, _| RED);
    classed(&display, &page, "Browser");
    let world = world(&display);
    world.judge(|query| match query.effect.facts.get("title") {
        Some(llm_os_core::Fact::Text(title)) if title.contains("Bank") => Decision::Deny,
        _ => Decision::Allow,
    });
    let pixel = || decoded(&output(&world, "monitor.capture", json!({}))["picture"]).at(250, 150);
    assert_eq!(pixel(), RED);
    let conn = display.connect();
    conn.change_property8(PropMode::REPLACE, page.id, AtomEnum::WM_NAME, AtomEnum::STRING, b"My Bank")
        .expect("a server");
    conn.sync().expect("a server");
    assert_eq!(pixel(), BLACK);
}

#[test]
fn a_change_inside_of_a_hidden_window_is_no_difference() {
    let display = TestDisplay::bare();
    let secret = display.picture(area(208, 96, 64, 64), |_, _| RED);
    classed(&display, &secret, "keepassxc");
    let world = world(&display);
    hide(&world, &["keepassxc"]);
    let since = output(&world, "monitor.capture", json!({}))["picture"]["sha256"].clone();
    let inner = display.connect();
    inner.clear_area(false, secret.id, 0, 0, 1, 1).expect("a server");
    let aux = x11rb::protocol::xproto::ChangeWindowAttributesAux::new().background_pixel(0x00ff_ffff);
    inner.change_window_attributes(secret.id, &aux).expect("a server");
    inner.clear_area(false, secret.id, 0, 0, 0, 0).expect("a server");
    inner.sync().expect("a server");
    assert_eq!(display.pixel(210, 100), [255; 3]);
    let diff = output(&world, "monitor.diff", json!({"since": since}));
    assert_eq!(diff["changed"], json!([]));
    world.judge(|_| Decision::Allow);
    let diff = output(&world, "monitor.diff", json!({"since": since}));
    assert_eq!(diff["changed"], json!([{"x": 208, "y": 96, "width": 64, "height": 64}]));
}
