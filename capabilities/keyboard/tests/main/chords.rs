//! Chords, as programs see them and as policies judge them.

use std::collections::BTreeSet;

use llm_os_core::Fact;
use serde_json::json;

use crate::support::{Desk, Facts, Xev};

#[test]
fn xev_sees_each_chord_as_a_person_presses_it() {
    let desk = Desk::new();
    let xev = Xev::start(&desk.display);
    let mut all = Vec::new();
    for (keys, expected) in [
        ("ctrl+shift+Page_Down", "+Control_L +Shift_L +Next -Next -Shift_L -Control_L"),
        ("CTRL+C", "+Control_L +c -c -Control_L"),
        ("alt+F2", "+Alt_L +F2 -F2 -Alt_L"),
        ("win+l", "+Super_L +l -l -Super_L"),
        ("altgr+q", "+ISO_Level3_Shift +q -q -ISO_Level3_Shift"),
        ("A", "+Shift_L +A -Shift_L -a"),
        ("ctrl++", "+Control_L +Shift_L +plus -Shift_L -equal -Control_L"),
        ("ENTER", "+Return -Return"),
        ("esc", "+Escape -Escape"),
        ("super", "+Super_L -Super_L"),
        ("volumeup", "+XF86AudioRaiseVolume -XF86AudioRaiseVolume"),
        ("日", "+U65E5 -U65E5"),
        ("a+b", "+a +b -b -a"),
    ] {
        let output = desk.does("keyboard.press", json!({"keys": keys}));
        assert_eq!(output["presses"], 1, "{keys}");
        all.push(expected);
        xev.saw(&all.join(" "));
    }
}

#[test]
fn the_modifiers_are_down_when_the_key_comes() {
    let desk = Desk::new();
    let xev = Xev::start(&desk.display);
    desk.does("keyboard.press", json!({"keys": "ctrl+alt+shift+t"}));
    let events = xev.events_until("Control_L");
    let key = events.iter().find(|event| event.down && event.symbol == "T").unwrap();
    // Shift, Control and Mod1 (X11 protocol, KEYBUTMASK).
    assert_eq!(key.state, 1 | 4 | 8);
}

#[test]
fn a_key_is_pressed_as_often_as_was_asked() {
    let desk = Desk::new();
    let reader = desk.display.tk_text();
    desk.display.focus(reader.window.id);
    let output = desk.does("keyboard.press", json!({"keys": "x", "repeat": 100}));
    assert_eq!((&output["presses"], &output["key"]), (&json!(100), &json!("x")));
    desk.types("!");
    assert_eq!(reader.read_until("!"), format!("{}!", "x".repeat(100)));
}

#[test]
fn keys_that_nobody_knows_and_values_out_of_bounds_are_refused_by_name() {
    // D06
    let desk = Desk::new();
    for (action, params, path) in [
        ("keyboard.press", json!({"keys": "ctrl+Retrun"}), "keys"),
        ("keyboard.press", json!({"keys": "a+b+c+d+e+f+g+h+i"}), "keys"),
        ("keyboard.press", json!({"keys": ""}), "keys"),
        ("keyboard.press", json!({"keys": "a", "repeat": 0}), "repeat"),
        ("keyboard.press", json!({"keys": "a", "repeat": 101}), "repeat"),
        ("keyboard.press", json!({"keys": "a", "repeat": 1_000_000}), "repeat"),
        ("keyboard.hold", json!({"keys": "a", "duration_ms": 0}), "duration_ms"),
        ("keyboard.hold", json!({"keys": "a", "duration_ms": 60_001}), "duration_ms"),
        ("keyboard.down", json!({"keys": "nokey"}), "keys"),
        ("keyboard.up", json!({"keys": "nokey"}), "keys"),
        ("keyboard.type", json!({"text": "a", "delay_ms": 1001}), "delay_ms"),
        ("keyboard.type", json!({"text": "a".repeat(10_001)}), "text"),
        ("keyboard.type", json!({"text": "a\u{1b}"}), "text"),
    ] {
        let answer = desk.world.refused(action, params, "validation_failed");
        assert_eq!(answer["error"]["path"], format!("$.actions[0].params.{path}"), "{answer:#}");
        assert_eq!(answer["executed"], false);
    }
    let answer = desk.world.refused("keyboard.press", json!({"keys": "ctrl+Retrun"}), "validation_failed");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("Retrun") && message.contains("Return"), "{message}");
    desk.world.refused("keyboard.press", json!({"keys": "a", "repeat": 1.5}), "parse_failed");
}

#[test]
fn what_was_typed_is_in_the_record_as_length_and_digest() {
    let desk = Desk::new();
    let reader = desk.display.tk_text();
    desk.display.focus(reader.window.id);
    desk.types("hunter2");
    let records = serde_json::to_string(&desk.world.records()).unwrap();
    assert!(!records.contains("hunter2"));
    assert!(records.contains(r#""text":{"bytes":7,"hmac_sha256""#), "{records}");
}

#[test]
fn a_command_line_is_not_typed_into_a_terminal_that_the_policy_leaves_out() {
    // D01
    let desk = Desk::new();
    let xterm = desk.display.xterm_reader();
    desk.display.focus(xterm.window.id);
    let seen = desk.judged(|facts| facts["role"] != Fact::Text("terminal".to_owned()));
    let params = json!({"text": "touch CANARY\n", "controls": ["newline"]});
    desk.world.refused("keyboard.type", params, "policy_denied");
    {
        let seen = seen.lock().unwrap();
        let facts = &seen[0];
        assert_eq!(facts["class"], Fact::Text(xterm.window.class.clone()));
        assert_eq!(facts["characters"], Fact::Long(13));
        assert_eq!((&facts["newline"], &facts["tab"]), (&Fact::Bool(true), &Fact::Bool(false)));
    }
    desk.judged(|_| true);
    desk.types("~");
    assert_eq!(xterm.read_until("~"), "~");
}

fn modifiers(facts: &Facts) -> BTreeSet<String> {
    match &facts["modifiers"] {
        Fact::Set(modifiers) => modifiers.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn dangerous_chords_are_judged_by_their_one_spelling_and_their_modifiers() {
    // D02
    let desk = Desk::new();
    let xev = Xev::start(&desk.display);
    let seen = desk.judged(|facts| modifiers(facts).is_subset(&BTreeSet::from(["shift".to_owned()])));
    for (keys, key, of) in [
        ("alt+F2", "alt+F2", "alt"),
        ("OPTION+f2", "alt+F2", "alt"),
        ("ctrl+alt+t", "ctrl+alt+t", "alt ctrl"),
        ("T+altleft+CONTROL", "ctrl+alt+t", "alt ctrl"),
        ("super", "super", "super"),
        ("CMD", "super", "super"),
        ("ctrl+alt+F1", "ctrl+alt+F1", "alt ctrl"),
        ("ctrl+alt+F12", "ctrl+alt+F12", "alt ctrl"),
        ("ctrl+alt+Delete", "ctrl+alt+Delete", "alt ctrl"),
        ("alt+Sys_Req", "alt+Sys_Req", "alt"),
    ] {
        desk.world.refused("keyboard.press", json!({"keys": keys}), "policy_denied");
        let facts = seen.lock().unwrap().pop().unwrap();
        assert_eq!(facts["key"], Fact::Text(key.to_owned()), "{keys}");
        assert_eq!(modifiers(&facts), of.split(' ').map(str::to_owned).collect(), "{keys}");
    }
    desk.does("keyboard.press", json!({"keys": "shift+F5"}));
    xev.saw("+Shift_L +F5 -F5 -Shift_L");
}

#[test]
fn a_chord_that_is_split_over_two_actions_is_judged_as_a_whole() {
    // D02
    let desk = Desk::new();
    let xev = Xev::start(&desk.display);
    let seen = desk.judged(|facts| modifiers(facts).len() < 2);
    desk.does("keyboard.down", json!({"keys": "ctrl"}));
    desk.world.refused("keyboard.press", json!({"keys": "alt+t"}), "policy_denied");
    let facts = seen.lock().unwrap().pop().unwrap();
    assert_eq!(modifiers(&facts), BTreeSet::from(["alt".to_owned(), "ctrl".to_owned()]));
    desk.does("keyboard.press", json!({"keys": "c"}));
    desk.does("keyboard.up", json!({"keys": "ctrl"}));
    // In one plan too: what went down first is seen when the second is judged again, right before it runs.
    let step =
        |action: &str, keys: &str| json!({"action": action, "params": {"keys": keys}, "reason": "a test"});
    let steps = json!([step("keyboard.down", "ctrl"), step("keyboard.press", "alt+t")]);
    let answer = desk.world.send_plan(steps, None);
    assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
    assert_eq!(answer["error"]["code"], "policy_denied", "{answer:#}");
    desk.world.disconnect();
    xev.saw("+Control_L +c -c -Control_L +Control_L -Control_L");
}

#[test]
fn the_contract_is_kept() {
    let desk = Desk::new();
    desk.world.keeps_the_contract();
}
