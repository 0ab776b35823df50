//! The chord by which a human halts the host, pressed by another client as a person presses it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use llm_os_core::json::Json;
use llm_os_core::{Display, HaltChord, Registration, Registry, Setup};
use llm_os_desktop_test_support::{TestDisplay, until};
use llm_os_keyboard::Keyboard;
use llm_os_test_support::World;
use serde_json::json;
use x11rb::protocol::xproto::{ConnectionExt as _, GrabMode, KEY_PRESS_EVENT, KEY_RELEASE_EVENT, ModMask};

use crate::support::{Desk, Rival, Xev};

const CHORD: &str = "ctrl+alt+Pause";
/// Keysyms (X11 protocol, appendix A).
const PAUSE: u32 = 0xff13;
const CONTROL: u32 = 0xffe4;
const ALT: u32 = 0xffe9;
const SHIFT: u32 = 0xffe1;
const CAPS_LOCK: u32 = 0xffe5;
const NUM_LOCK: u32 = 0xff7f;
const A: u32 = 0x61;

/// A host's keyboard that watches the chord, and how often it was pressed.
fn watching(display: TestDisplay) -> (Desk, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counting = count.clone();
    let chord = HaltChord::new(CHORD, move || {
        counting.fetch_add(1, Ordering::SeqCst);
    });
    let setup =
        Setup { display: Some(display.display()), halt_chord: Some(chord.clone()), ..Setup::default() };
    let (world, unavailable) = World::set_up::<Keyboard>(json!({}), setup);
    assert_eq!(unavailable, None);
    assert!(chord.is_watched());
    (Desk { world, display }, count)
}

/// Why a host does not start with this chord.
fn refusal(display: Display, keys: &str) -> String {
    static KEYBOARD: Registration = Registration::of::<Keyboard>();
    let setup =
        Setup { display: Some(display), halt_chord: Some(HaltChord::new(keys, || ())), ..Setup::default() };
    let mut registry = Registry::of([&KEYBOARD]).unwrap();
    registry.open(&BTreeMap::<String, Json>::new(), &setup).unwrap_err().to_string()
}

/// The first key with this symbol, as the keyboard is now.
fn keycode(rival: &Rival, symbol: u32) -> u8 {
    let map = rival.conn.get_keyboard_mapping(8, 248).unwrap().reply().unwrap();
    let mut rows = map.keysyms.chunks(map.keysyms_per_keycode.into());
    u8::try_from(8 + rows.position(|row| row[0] == symbol).expect("a key")).unwrap()
}

fn strike(rival: &Rival, symbols: &[u32]) {
    let codes: Vec<u8> = symbols.iter().map(|symbol| keycode(rival, *symbol)).collect();
    codes.iter().for_each(|code| rival.key(KEY_PRESS_EVENT, *code));
    codes.iter().rev().for_each(|code| rival.key(KEY_RELEASE_EVENT, *code));
}

/// Presses the chord, and waits until it was noticed as often as this in all.
#[track_caller]
fn noticed(rival: &Rival, count: &AtomicUsize, times: usize) {
    strike(rival, &[CONTROL, ALT, PAUSE]);
    until("the chord to be noticed", || (count.load(Ordering::SeqCst) >= times).then_some(()));
    rival.done();
    assert_eq!(count.load(Ordering::SeqCst), times);
}

#[test]
fn the_chord_is_noticed_whatever_is_locked_and_no_other_one_is_and_no_window_gets_it() {
    let (desk, count) = watching(TestDisplay::start());
    let (xev, rival) = (Xev::start(&desk.display), Rival::on(&desk.display));
    for other in
        [&[PAUSE][..], &[CONTROL, PAUSE], &[ALT, PAUSE], &[CONTROL, ALT, SHIFT, PAUSE], &[CONTROL, ALT, A]]
    {
        strike(&rival, other);
    }
    noticed(&rival, &count, 1);
    for (lock, times) in [(CAPS_LOCK, 2), (NUM_LOCK, 3), (CAPS_LOCK, 4)] {
        strike(&rival, &[lock]);
        noticed(&rival, &count, times);
    }
    // Released in another order, nothing of it stays.
    let [control, alt, pause] = [CONTROL, ALT, PAUSE].map(|symbol| keycode(&rival, symbol));
    [control, alt, pause].iter().for_each(|code| rival.key(KEY_PRESS_EVENT, *code));
    [control, alt, pause].iter().for_each(|code| rival.key(KEY_RELEASE_EVENT, *code));
    until("the fifth press", || (count.load(Ordering::SeqCst) == 5).then_some(()));
    strike(&rival, &[ALT, PAUSE]);
    strike(&rival, &[PAUSE]);
    noticed(&rival, &count, 6);
    strike(&rival, &[A]);
    let seen = xev.events_until("a");
    let pauses =
        seen.iter().filter(|event| event.down && ["Pause", "Break"].contains(&event.symbol.as_str()));
    assert_eq!(pauses.count(), 6, "the window got those that are other chords: {seen:#?}");
}

/// The guard is what listens for raw presses: a grab of the key alone hears nothing here.
#[test]
fn the_chord_is_noticed_while_another_program_holds_the_keyboard() {
    let (desk, count) = watching(TestDisplay::start());
    let rival = Rival::on(&desk.display);
    let grab = rival.conn.grab_keyboard(false, rival.window, 0u32, GrabMode::ASYNC, GrabMode::ASYNC);
    assert_eq!(u8::from(grab.unwrap().reply().unwrap().status), 0);
    noticed(&rival, &count, 1);
}

#[test]
fn the_chord_follows_its_keys_over_the_keyboard() {
    let (desk, count) = watching(TestDisplay::start());
    let rival = Rival::on(&desk.display);
    let before = keycode(&rival, PAUSE);
    let columns = rival.conn.get_keyboard_mapping(before, 1).unwrap().reply().unwrap().keysyms_per_keycode;
    let row = |symbol: u32| vec![symbol; columns.into()];
    let spare = keycode(&rival, A);
    rival.conn.change_keyboard_mapping(1, before, columns, &row(A)).unwrap();
    rival.conn.change_keyboard_mapping(1, spare, columns, &row(PAUSE)).unwrap();
    rival.done();
    assert_eq!(keycode(&rival, PAUSE), spare);
    // The new key is taken a moment after the map has changed.
    until("the chord at its new place", || {
        strike(&rival, &[CONTROL, ALT, PAUSE]);
        (count.load(Ordering::SeqCst) > 0).then_some(())
    });
    let (control, alt) = (ModMask::CONTROL, ModMask::M1);
    let grab =
        |code| rival.conn.grab_key(false, rival.root, control | alt, code, GrabMode::ASYNC, GrabMode::ASYNC);
    assert!(grab(spare).unwrap().check().is_err(), "it is taken where it is now");
    assert!(grab(before).unwrap().check().is_ok(), "and free where it was");
}

#[test]
fn the_chord_is_watched_again_once_a_server_that_died_is_back() {
    let (mut desk, count) = watching(TestDisplay::bare());
    let server = rustix::process::Pid::from_raw(desk.display.server_pid().cast_signed()).unwrap();
    rustix::process::kill_process(server, rustix::process::Signal::KILL).unwrap();
    desk.display.replace();
    let rival = Rival::on(&desk.display);
    until("the chord on the new server", || {
        strike(&rival, &[CONTROL, ALT, PAUSE]);
        (count.load(Ordering::SeqCst) > 0).then_some(())
    });
}

#[test]
fn a_plan_cannot_press_the_chord() {
    let (desk, count) = watching(TestDisplay::start());
    let _xev = Xev::start(&desk.display);
    desk.world.refused("keyboard.press", json!({"keys": CHORD}), "input_grabbed");
    let rival = Rival::on(&desk.display);
    noticed(&rival, &count, 1);
}

#[test]
fn a_chord_that_cannot_be_had_keeps_the_host_from_starting_and_is_named() {
    let display = TestDisplay::bare();
    for (keys, words) in [
        ("ctrl+alt+Pasue", "did you mean \"pause\""),
        ("ctrl+alt", "modifiers and one other key"),
        ("a+b", "modifiers and one other key"),
        ("ctrl+alt+ssharp", "ctrl+alt+ssharp cannot be pressed here"),
        ("", "lacks a key"),
    ] {
        let why = refusal(display.display(), keys);
        assert!(why.to_lowercase().contains(&words.to_lowercase()), "{keys}: {why}");
    }
    let rival = Rival::on(&display);
    let (code, mode) = (keycode(&rival, PAUSE), GrabMode::ASYNC);
    rival.conn.grab_key(false, rival.root, ModMask::ANY, code, mode, mode).unwrap();
    rival.done();
    let why = refusal(display.display(), CHORD);
    assert!(why.contains("another program has taken the halt chord ctrl+alt+Pause"), "{why}");
    drop(rival);
    let (watching, _) = watching(display);
    let why = refusal(watching.display.display(), CHORD);
    assert!(why.contains("another program has taken"), "another host: {why}");
    for (name, words) in
        [(":54321", "the display :54321 cannot be reached"), ("wayland-7", "is no X11 display")]
    {
        let elsewhere = Display { id: name.to_owned(), name: name.to_owned(), authority: None };
        let why = refusal(elsewhere, CHORD);
        assert!(why.contains(words), "{why}");
    }
}
