//! The fixture itself: what it starts is there, and ends.

use llm_os_desktop_test_support::{Area, TestDisplay, until};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::wrapper::ConnectionExt as _;

/// X protocol: KeyPress 2, KeyRelease 3, ButtonPress 4, ButtonRelease 5, MotionNotify 6.
fn send(display: &TestDisplay, events: &[(u8, u8, i16, i16)]) {
    use x11rb::connection::Connection as _;
    let conn = display.connect();
    for (kind, detail, x, y) in events {
        conn.xtest_fake_input(*kind, *detail, x11rb::CURRENT_TIME, display.root(), *x, *y, 0)
            .expect("a server");
    }
    conn.sync().expect("a server");
    conn.flush().expect("a server");
}

/// The letter A, by its place on a PC keyboard.
const KEY_A: u8 = 38;

#[test]
fn a_key_reaches_the_terminal_the_gtk_view_and_the_tk_text_that_have_the_focus() {
    let display = TestDisplay::start();
    for reader in [display.xterm_reader(), display.gtk_text(), display.tk_text()] {
        display.focus(reader.window.id);
        send(&display, &[(2, KEY_A, 0, 0), (3, KEY_A, 0, 0)]);
        assert_eq!(reader.read_until("a"), "a");
    }
}

#[test]
fn another_layout_is_loaded_when_the_call_returns() {
    let display = TestDisplay::start();
    let reader = display.xterm_reader();
    display.focus(reader.window.id);
    display.layout_of("fr");
    send(&display, &[(2, KEY_A, 0, 0), (3, KEY_A, 0, 0)]);
    assert_eq!(reader.read_bytes(1), "q");
}

#[test]
fn the_canvas_tells_where_it_was_clicked_and_draws_what_is_dragged() {
    let display = TestDisplay::start();
    let canvas = display.canvas();
    let Area { x, y, width, height } = canvas.window.rect;
    assert_eq!((width, height), (400, 300));
    let (x, y) = (x as i16, y as i16);
    send(&display, &[(6, 0, x + 10, y + 20), (4, 1, 0, 0), (6, 0, x + 60, y + 20), (5, 1, 0, 0)]);
    let events = canvas.wait_for("release", 1);
    let press = events.iter().find(|event| event.kind == "press").unwrap();
    assert_eq!((press.x, press.y, press.button), (i32::from(x) + 10, i32::from(y) + 20, 1));
    until("a red line", || (display.pixel(x + 30, y + 20) == [255, 0, 0]).then_some(()));
}

#[test]
fn a_picture_is_on_the_screen_when_the_call_returns() {
    let display = TestDisplay::bare();
    let picture = display
        .picture(Area { x: 30, y: 40, width: 500, height: 300 }, |x, y| [x as u8, y as u8, (x ^ y) as u8]);
    for (x, y) in [(30, 40), (529, 339), (200, 100)] {
        assert_eq!(display.pixel(x, y), picture.pixel(x.into(), y.into()));
    }
}

#[test]
fn two_monitors_are_two_and_one_can_go() {
    use x11rb::protocol::randr::ConnectionExt as _;
    let display = TestDisplay::bare();
    display.split_monitors(700);
    let monitors = || {
        let found =
            display.connect().randr_get_monitors(display.root(), true).unwrap().reply().unwrap().monitors;
        found.iter().map(|monitor| (monitor.x, monitor.width, monitor.primary)).collect::<Vec<_>>()
    };
    assert_eq!(monitors(), [(0, 700, true), (700, 580, false)]);
    display.remove_monitor("right");
    assert_eq!(monitors(), [(0, 700, true)]);
}

#[test]
fn a_display_ends_with_its_value_and_leaves_nothing() {
    let display = TestDisplay::start();
    // Its number may be that of another test's display at once.
    let server = display.server_pid();
    drop(display);
    assert!(!std::path::Path::new(&format!("/proc/{server}")).exists());
}
