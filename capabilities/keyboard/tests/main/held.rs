//! Keys that stay down, and what must not stay after them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use llm_os_core::Setup;
use llm_os_desktop_test_support::{TestDisplay, until};
use llm_os_keyboard::Keyboard;
use llm_os_test_support::World;
use serde_json::json;
use x11rb::connection::Connection as _;
use x11rb::protocol::xkb::{ConnectionExt as _, Group, ID};
use x11rb::protocol::xproto::{KEY_PRESS_EVENT, ModMask};

use crate::support::{Desk, Rival, Xev, open};

/// Control_L and the letter a on a pc105 keyboard.
const CONTROL: u8 = 37;
const A: u8 = 38;

#[test]
fn what_a_connection_holds_is_released_when_it_ends() {
    // D05
    let desk = Desk::new();
    let _xev = Xev::start(&desk.display);
    let rival = Rival::on(&desk.display);
    let repeating = rival.repeating();
    desk.does("keyboard.down", json!({"keys": "ctrl+a"}));
    assert_eq!(rival.down(), [CONTROL, A]);
    assert_ne!(rival.repeating(), repeating, "a held key must not repeat by itself");
    desk.world.disconnect();
    assert_eq!((rival.down(), rival.repeating()), (vec![], repeating));
    desk.world.refused("keyboard.up", json!({"keys": "ctrl"}), "not_held");
}

#[test]
fn what_is_held_is_released_by_a_halt_and_the_keyboard_works_on() {
    let desk = Desk::new();
    let xev = Xev::start(&desk.display);
    let rival = Rival::on(&desk.display);
    let repeating = rival.repeating();
    desk.does("keyboard.down", json!({"keys": "ctrl+a"}));
    assert_eq!(rival.down(), [CONTROL, A]);
    desk.world.halt();
    assert_eq!((rival.down(), rival.repeating()), (vec![], repeating));
    desk.world.refused("keyboard.up", json!({"keys": "ctrl"}), "not_held");
    desk.does("keyboard.press", json!({"keys": "b"}));
    xev.events_until("b");
}

#[test]
fn what_a_killed_host_held_is_released_by_the_next_one() {
    // D05
    let display = TestDisplay::start();
    let xev = Xev::start(&display);
    let rival = Rival::on(&display);
    rival.key(KEY_PRESS_EVENT, CONTROL);
    assert_eq!(rival.down(), [CONTROL]);
    let desk = Desk::on(display);
    desk.does("keyboard.press", json!({"keys": "b"}));
    assert_eq!(rival.down(), [] as [u8; 0]);
    xev.events_until("b");
}

#[test]
fn a_key_goes_up_as_it_went_down_and_only_for_the_one_who_holds_it() {
    let desk = Desk::new();
    let xev = Xev::start(&desk.display);
    let answer = desk.world.refused("keyboard.up", json!({"keys": "shift"}), "not_held");
    assert!(answer["results"][0]["error"]["message"].as_str().unwrap().contains("shift"));
    desk.does("keyboard.down", json!({"keys": "shift"}));
    desk.does("keyboard.press", json!({"keys": "a"}));
    desk.world.refused("keyboard.type", json!({"text": "a"}), "modifiers_held");
    desk.does("keyboard.up", json!({"keys": "SHIFT"}));
    desk.does("keyboard.down", json!({"keys": "b"}));
    let answer = desk.world.refused("keyboard.type", json!({"text": "ab"}), "key_held");
    assert_eq!(answer["results"][0]["output"]["characters"], 0);
    desk.world.refused("keyboard.press", json!({"keys": "b"}), "key_held");
    desk.does("keyboard.up", json!({"keys": "b"}));
    desk.types("a");
    let events = xev.events_until("a");
    let symbols: Vec<_> = events.iter().map(|event| event.symbol.as_str()).collect();
    assert_eq!(symbols, ["Shift_L", "A", "A", "Shift_L", "b", "b", "a", "a"]);
}

#[test]
fn a_key_that_is_down_never_repeats_by_itself() {
    let desk = Desk::new();
    let xev = Xev::start(&desk.display);
    let rival = Rival::on(&desk.display);
    let repeating = rival.repeating();
    desk.does("keyboard.down", json!({"keys": "a"}));
    // The server would begin after 660 ms; a held Right repeats meanwhile.
    desk.does("keyboard.hold", json!({"keys": "Right", "duration_ms": 900}));
    desk.does("keyboard.up", json!({"keys": "a"}));
    let events = xev.events_until("a");
    assert_eq!(events.iter().filter(|event| event.down && event.symbol == "a").count(), 1);
    assert!(events.iter().filter(|event| event.down && event.symbol == "Right").count() > 1);
    assert_eq!(rival.repeating(), repeating);
}

#[test]
fn a_hold_repeats_as_a_keyboard_does_and_ends_in_time() {
    let desk = Desk::new();
    let reader = desk.display.tk_text();
    desk.display.focus(reader.window.id);
    let rival = Rival::on(&desk.display);
    let output = desk.does("keyboard.hold", json!({"keys": "x", "duration_ms": 1000}));
    let (repeats, held) =
        (output["meta"]["repeats"].as_u64().unwrap(), output["meta"]["held_ms"].as_u64().unwrap());
    // Half a second at 30 a second; fewer where the machine was busy.
    assert!((2..=16).contains(&repeats) && held >= 1000, "{output}");
    assert_eq!(rival.down(), [] as [u8; 0]);
    desk.types("!");
    let text = reader.read_until("!");
    assert_eq!(text, format!("{}!", "x".repeat(usize::try_from(repeats).unwrap() + 1)));
}

#[test]
fn a_hold_is_released_and_repeats_nowhere_when_the_focus_moves() {
    let desk = Desk::new();
    let (first, second) = (desk.display.tk_text(), desk.display.tk_text());
    let rival = Rival::on(&desk.display);
    desk.display.focus(first.window.id);
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| {
            until("repetitions", || (first.content().len() > 3).then_some(()));
            desk.display.focus(second.window.id);
        });
        desk.world.send("keyboard.hold", json!({"keys": "x", "duration_ms": 30_000}))
    });
    assert_eq!(answer["results"][0]["error"]["code"], "window_changed", "{answer:#}");
    let repeats = answer["results"][0]["output"]["meta"]["repeats"].as_u64().unwrap();
    assert_eq!(rival.down(), [] as [u8; 0]);
    desk.types("!");
    assert_eq!(second.read_until("!"), "!");
    // The first program may still have to write down what came last.
    assert_eq!(first.read_bytes(usize::try_from(repeats).unwrap() + 1).len() as u64, repeats + 1);
}

#[test]
fn a_hold_that_is_cancelled_is_released() {
    let desk = Desk::new();
    let _xev = Xev::start(&desk.display);
    let rival = Rival::on(&desk.display);
    let conn = desk.display.connect();
    let answer = desk.world.send_and_cancel(
        "keyboard.hold",
        json!({"keys": "ctrl+a", "duration_ms": 60_000}),
        async move {
            use x11rb::protocol::xproto::ConnectionExt as _;
            while conn.query_keymap().unwrap().reply().unwrap().keys.iter().all(|byte| *byte == 0) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        },
    );
    assert_eq!(answer["results"][0]["error"]["code"], "cancelled", "{answer:#}");
    assert_eq!(rival.down(), [] as [u8; 0]);
}

#[test]
fn caps_lock_num_lock_and_another_group_change_nothing_and_stay() {
    let desk = Desk::new();
    desk.display.layout_of("us,ru");
    let reader = desk.display.tk_text();
    desk.display.focus(reader.window.id);
    let rival = Rival::on(&desk.display);
    rival.conn.xkb_use_extension(1, 0).unwrap().reply().unwrap();
    let (device, locks) = (ID::USE_CORE_KBD.into(), ModMask::LOCK | ModMask::M2);
    let none = ModMask::from(0u16);
    rival.conn.xkb_latch_lock_state(device, locks, locks, true, Group::M2, none, false, 0).unwrap();
    rival.conn.flush().unwrap();
    rival.done();
    let text = "Hello World [xyz] 日本 ñÑ ß 123!";
    desk.types(text);
    assert_eq!(reader.read_bytes(text.len()), text);
    let state = rival.conn.xkb_get_state(device).unwrap().reply().unwrap();
    assert_eq!((state.locked_mods, u8::from(state.locked_group)), (locks, 1));
    // Pressed by name, Caps Lock does what it does.
    desk.does("keyboard.press", json!({"keys": "Caps_Lock"}));
    let state = rival.conn.xkb_get_state(device).unwrap().reply().unwrap();
    assert_eq!(state.locked_mods, ModMask::M2);
}

#[test]
fn lent_keycodes_are_given_back_when_the_host_ends() {
    let desk = Desk::new();
    let reader = desk.display.tk_text();
    desk.display.focus(reader.window.id);
    let rival = Rival::on(&desk.display);
    let before = rival.keymap();
    desk.types("日本語");
    assert_ne!(rival.keymap(), before);
    drop(desk.world);
    // At once: the process of a host may end right after.
    assert_eq!(rival.keymap(), before);
    assert_eq!(reader.read_bytes(9), "日本語");
}

#[test]
fn what_a_killed_host_lent_is_taken_over_by_the_next_one() {
    let desk = Desk::new();
    let reader = desk.display.tk_text();
    desk.display.focus(reader.window.id);
    let rival = Rival::on(&desk.display);
    let (before, repeating) = (rival.keymap(), rival.repeating());
    desk.types("日本語");
    desk.does("keyboard.down", json!({"keys": "a"}));
    // It gives nothing back, as one that was killed does not.
    std::mem::forget(desk.world);
    let mut display = desk.display.display();
    display.name.push_str(".0");
    let setup = Setup { display: Some(display), ..Setup::default() };
    let (next, _) = World::set_up::<Keyboard>(json!({}), setup);
    let answer = next.send("keyboard.type", json!({"text": "語x"}));
    assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
    assert_eq!(rival.down(), [] as [u8; 0]);
    assert_eq!(reader.read_until("x"), "日本語a語x");
    drop(next);
    assert_eq!(rival.keymap(), before);
    assert_eq!(rival.repeating(), repeating);
}

#[test]
fn two_worlds_on_one_display_share_it() {
    let desk = Desk::new();
    let reader = desk.display.tk_text();
    desk.display.focus(reader.window.id);
    let second = open(&desk.display);
    for (world, text) in [(&desk.world, "日"), (&second, "本"), (&desk.world, "語"), (&second, "x")] {
        let answer = world.send("keyboard.type", json!({"text": text}));
        assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
    }
    assert_eq!(reader.read_until("x"), "日本語x");
}

#[test]
fn no_character_is_lost_however_often_the_map_changes_while_a_program_reads() {
    let desk = Desk::new();
    let reader = desk.display.tk_text();
    desk.display.focus(reader.window.id);
    let second = open(&desk.display);
    let text: Vec<char> = ('\u{4e00}'..).take(200).collect();
    // A program on a busy machine is late in reading.
    let busy = Arc::new(AtomicBool::new(true));
    for _ in 0..4 {
        let busy = busy.clone();
        std::thread::spawn(move || while busy.load(Ordering::Relaxed) {});
    }
    // A text of its own for each: nearly every one needs another keycode, or the other half of one.
    for (index, character) in text.iter().enumerate() {
        let world = if index % 4 < 2 { &desk.world } else { &second };
        let answer = world.send("keyboard.type", json!({"text": character.to_string()}));
        assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
    }
    busy.store(false, Ordering::Relaxed);
    desk.types("x");
    assert_eq!(reader.read_until("x"), text.iter().chain(['x'].iter()).collect::<String>());
}
