//! Keys reach the window that was judged, or nobody.

use llm_os_core::Fact;
use llm_os_desktop_test_support::until;
use serde_json::{Value, json};
use x11rb::protocol::xproto::{
    AtomEnum, ConnectionExt as _, GrabMode, GrabStatus, KEY_PRESS_EVENT, KEY_RELEASE_EVENT, ModMask, PropMode,
};
use x11rb::wrapper::ConnectionExt as _;

use crate::support::{Desk, Rival, Xev};

fn delivered(answer: &Value) -> usize {
    let characters = answer["results"][0]["output"]["characters"].as_u64();
    usize::try_from(characters.unwrap_or_else(|| panic!("{answer:#}"))).unwrap()
}

#[test]
fn typing_stops_when_the_focus_is_stolen_and_says_how_much_arrived() {
    let desk = Desk::new();
    let (first, second) = (desk.display.xterm_reader(), desk.display.xterm_reader());
    let rival = Rival::on(&desk.display);
    desk.display.focus(first.window.id);
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            until("the first letters", || (first.content().len() > 20).then_some(()));
            rival.take_focus(second.window.id);
        });
        desk.world.send("keyboard.type", json!({"text": "a".repeat(5000), "delay_ms": 2}))
    });
    assert_eq!(answer["results"][0]["error"]["code"], "window_changed", "{answer:#}");
    let typed = delivered(&answer);
    assert!((21..5000).contains(&typed), "{typed}");
    assert_eq!(first.read_bytes(typed), "a".repeat(typed));
    desk.types("z");
    assert_eq!(second.read_until("z"), "z");
    assert_eq!(first.content().len(), typed);
}

#[test]
fn nothing_is_sent_while_another_program_holds_the_keyboard() {
    let desk = Desk::new();
    let reader = desk.display.xterm_reader();
    desk.display.focus(reader.window.id);
    let rival = Rival::on(&desk.display);
    let grab =
        rival.conn.grab_keyboard(false, rival.window, x11rb::CURRENT_TIME, GrabMode::ASYNC, GrabMode::ASYNC);
    assert_eq!(grab.unwrap().reply().unwrap().status, GrabStatus::SUCCESS);
    let answer = desk.world.refused("keyboard.type", json!({"text": "secret"}), "input_grabbed");
    assert_eq!(delivered(&answer), 0);
    let answer = desk.world.refused("keyboard.press", json!({"keys": "ctrl+c"}), "input_grabbed");
    assert_eq!(answer["results"][0]["output"]["presses"], 0);
    desk.world.refused("keyboard.down", json!({"keys": "ctrl"}), "input_grabbed");
    assert_eq!(rival.presses(), 0);
    rival.conn.ungrab_keyboard(x11rb::CURRENT_TIME).unwrap();
    rival.done();
    desk.types("z");
    assert_eq!(reader.read_until("z"), "z");
}

#[test]
fn a_chord_that_another_program_has_taken_is_not_sent() {
    let desk = Desk::new();
    let xev = Xev::start(&desk.display);
    let rival = Rival::on(&desk.display);
    let grab = |window: u32, mask: u16, keycode: u8| {
        let mode = GrabMode::ASYNC;
        rival
            .conn
            .grab_key(false, window, ModMask::from(mask), keycode, mode, mode)
            .unwrap()
            .check()
            .unwrap();
    };
    // ctrl+alt+t (28 on a pc105) for a window manager, Super_L (133) alone for a launcher, a (38) with anything.
    grab(rival.root, 4 | 8, 28);
    grab(rival.root, 0, 133);
    grab(xev.window, ModMask::ANY.into(), 38);
    for keys in ["ctrl+alt+t", "super+l", "super", "a", "A", "ctrl+a"] {
        let answer = desk.world.refused("keyboard.press", json!({"keys": keys}), "input_grabbed");
        assert_eq!(answer["results"][0]["output"]["presses"], 0, "{keys}");
    }
    let answer = desk.world.refused("keyboard.type", json!({"text": "banana"}), "input_grabbed");
    assert_eq!(delivered(&answer), 0);
    assert_eq!((rival.presses(), xev.events().len(), rival.down()), (0, 0, vec![]));
    desk.does("keyboard.press", json!({"keys": "ctrl+t"}));
    desk.types("t");
    xev.saw("+Control_L +t -t -Control_L +t -t");
}

#[test]
fn typing_stops_when_the_window_becomes_one_that_the_policy_does_not_permit() {
    let desk = Desk::new();
    let reader = desk.display.xterm_reader();
    desk.display.focus(reader.window.id);
    let rival = Rival::on(&desk.display);
    desk.judged(|facts| facts["title"] != Fact::Text("Sign in".to_owned()));
    let title = |text: &str| {
        let (name, ty) = (AtomEnum::WM_NAME, AtomEnum::STRING);
        rival.conn.change_property8(PropMode::REPLACE, reader.window.id, name, ty, text.as_bytes()).unwrap();
        let net_name = rival.conn.intern_atom(false, b"_NET_WM_NAME").unwrap().reply().unwrap().atom;
        rival.conn.delete_property(reader.window.id, net_name).unwrap();
        rival.done();
    };
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            until("the first letters", || (reader.content().len() > 10).then_some(()));
            // Another one that is permitted: typing goes on.
            title("Notes");
            let so_far = reader.content().len();
            until("more letters", || (reader.content().len() > so_far + 10).then_some(()));
            title("Sign in");
        });
        desk.world.send("keyboard.type", json!({"text": "a".repeat(5000), "delay_ms": 2}))
    });
    assert_eq!(answer["results"][0]["error"]["code"], "window_changed", "{answer:#}");
    let typed = delivered(&answer);
    assert!((21..5000).contains(&typed), "{typed}");
    title("Notes");
    desk.types("z");
    assert_eq!(reader.read_until("z"), format!("{}z", "a".repeat(typed)));
}

#[test]
fn without_a_window_that_has_the_keyboard_nothing_is_typed() {
    let desk = Desk::on(llm_os_desktop_test_support::TestDisplay::bare());
    let rival = Rival::on(&desk.display);
    rival.take_focus(x11rb::NONE);
    desk.world.refused("keyboard.type", json!({"text": "a"}), "no_focus");
    desk.world.refused("keyboard.press", json!({"keys": "a"}), "no_focus");
}

#[test]
fn a_modifier_that_somebody_holds_stops_typing() {
    let desk = Desk::new();
    let reader = desk.display.xterm_reader();
    desk.display.focus(reader.window.id);
    let rival = Rival::on(&desk.display);
    // The first action connects, which releases what an earlier host left.
    desk.types("a");
    rival.key(KEY_PRESS_EVENT, 37);
    let answer = desk.world.refused("keyboard.type", json!({"text": "c"}), "modifiers_held");
    assert_eq!(delivered(&answer), 0);
    assert!(answer["results"][0]["error"]["message"].as_str().unwrap().contains("ctrl"));
    desk.world.refused("keyboard.press", json!({"keys": "c"}), "modifiers_held");
    rival.key(KEY_RELEASE_EVENT, 37);
    desk.types("z");
    assert_eq!(reader.read_until("z"), "az");
}

#[test]
fn a_display_that_dies_gives_a_typed_error_and_the_next_one_is_found() {
    // D09
    let mut desk = Desk::new();
    let reader = desk.display.xterm_reader();
    desk.display.focus(reader.window.id);
    let server = rustix::process::Pid::from_raw(desk.display.server_pid().cast_signed()).unwrap();
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            until("the first letters", || (reader.content().len() > 20).then_some(()));
            rustix::process::kill_process(server, rustix::process::Signal::KILL).unwrap();
        });
        desk.world.send("keyboard.type", json!({"text": "a".repeat(5000), "delay_ms": 2}))
    });
    assert_eq!(answer["results"][0]["error"]["code"], "unavailable", "{answer:#}");
    let typed = delivered(&answer);
    assert!((21..5000).contains(&typed), "{typed}");
    // Nothing beyond what was told, but for the one character that was on its way.
    assert!(reader.content().len() <= typed + 1, "{} {typed}", reader.content().len());
    desk.world.refused("keyboard.press", json!({"keys": "a"}), "unavailable");

    desk.display.replace();
    let rival = Rival::on(&desk.display);
    rival.take_focus(rival.window);
    desk.does("keyboard.press", json!({"keys": "a"}));
    assert_eq!(rival.presses(), 1);
}
