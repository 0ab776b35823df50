//! What was typed is what programs read.

use llm_os_desktop_test_support::{Reader, TestDisplay};

use x11rb::protocol::xproto::{ConnectionExt as _, InputFocus};

use crate::support::Desk;

const GREETING: &str = "Grüße 日本語 🙂 ñ ß € →";

/// 1,000 characters of ASCII, each printable one many times.
fn ascii() -> String {
    (0..1000u32).map(|at| char::from(0x20 + u8::try_from(at * 7 % 95).unwrap())).collect()
}

fn arrives(open: fn(&TestDisplay) -> Reader, layout: &str) {
    let desk = Desk::new();
    desk.display.layout_of(layout);
    let reader = open(&desk.display);
    desk.display.focus(reader.window.id);
    let text = format!("{}{GREETING}", ascii());
    desk.types(&text);
    assert_eq!(reader.read_bytes(text.len()), text);
}

#[test]
fn text_arrives_in_xterm_on_a_us_layout() {
    arrives(TestDisplay::xterm_reader, "us");
}

#[test]
fn text_arrives_in_xterm_on_a_german_layout() {
    arrives(TestDisplay::xterm_reader, "de");
}

#[test]
fn text_arrives_in_xterm_on_a_french_layout() {
    arrives(TestDisplay::xterm_reader, "fr");
}

#[test]
fn text_arrives_in_a_gtk_text_view_on_a_us_layout() {
    arrives(TestDisplay::gtk_text, "us");
}

#[test]
fn text_arrives_in_a_gtk_text_view_on_a_german_layout() {
    arrives(TestDisplay::gtk_text, "de");
}

#[test]
fn text_arrives_in_a_gtk_text_view_on_a_french_layout() {
    arrives(TestDisplay::gtk_text, "fr");
}

#[test]
fn text_arrives_in_a_tk_window_on_a_us_layout() {
    arrives(TestDisplay::tk_text, "us");
}

#[test]
fn text_arrives_in_a_tk_window_on_a_german_layout() {
    arrives(TestDisplay::tk_text, "de");
}

#[test]
fn text_arrives_in_a_tk_window_on_a_french_layout() {
    arrives(TestDisplay::tk_text, "fr");
}

#[test]
fn text_arrives_in_a_tk_window_on_a_russian_layout() {
    arrives(TestDisplay::tk_text, "ru");
}

#[test]
fn text_arrives_in_the_window_under_the_pointer_where_no_window_has_the_focus() {
    let desk = Desk::on(TestDisplay::bare());
    let reader = desk.display.tk_text();
    let conn = desk.display.connect();
    let (x, y) = reader.window.rect.centre();
    let at = |place: i32| i16::try_from(place).unwrap();
    conn.warp_pointer(x11rb::NONE, desk.display.root(), 0, 0, 0, 0, at(x), at(y)).unwrap();
    let follow = u32::from(InputFocus::POINTER_ROOT);
    conn.set_input_focus(InputFocus::POINTER_ROOT, follow, x11rb::CURRENT_TIME).unwrap();
    conn.get_input_focus().unwrap().reply().unwrap();
    desk.types("here 日本");
    assert_eq!(reader.read_bytes(11), "here 日本");
}

/// More characters than there are keycodes to lend: the program must have read before one is lent anew.
fn many_glyphs(open: fn(&TestDisplay) -> Reader) {
    let desk = Desk::new();
    let reader = open(&desk.display);
    desk.display.focus(reader.window.id);
    let text: String = (0..400).filter_map(|at| char::from_u32(0x4e00 + at)).collect();
    desk.types(&text);
    assert_eq!(reader.read_bytes(text.len()), text);
}

#[test]
fn four_hundred_different_characters_arrive_in_xterm() {
    many_glyphs(TestDisplay::xterm_reader);
}

#[test]
fn four_hundred_different_characters_arrive_in_a_gtk_text_view() {
    many_glyphs(TestDisplay::gtk_text);
}

#[test]
fn four_hundred_different_characters_arrive_in_a_tk_window() {
    many_glyphs(TestDisplay::tk_text);
}
