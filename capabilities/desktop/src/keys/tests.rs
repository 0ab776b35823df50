use super::*;

/// What the documentation of each names, and the tables of their code.
const XDOTOOL: &str = "Return BackSpace Tab Escape Delete Insert Home End Page_Up Page_Down Prior Next Left Right Up \
    Down space minus equal plus period comma slash backslash semicolon apostrophe grave bracketleft bracketright \
    F1 F12 F35 KP_0 KP_9 KP_Enter KP_Add KP_Subtract KP_Multiply KP_Divide KP_Decimal KP_Page_Down Num_Lock \
    Caps_Lock Scroll_Lock Print Pause Menu Control_L Control_R Shift_L Shift_R Alt_L Alt_R Super_L Super_R Meta_L \
    ISO_Left_Tab ISO_Level3_Shift Hyper_L Multi_key XF86AudioMute XF86AudioRaiseVolume XF86MonBrightnessUp \
    ctrl control alt shift super meta enter return EuroSign adiaeresis Adiaeresis dead_acute Cyrillic_a U20AC \
    exclam at numbersign dollar percent asciicircum ampersand asterisk parenleft parenright underscore";

const WEB: &str = "/ \\ ALT ARROWDOWN ARROWLEFT ARROWRIGHT ARROWUP BACKSPACE CAPSLOCK CMD CTRL DELETE END ENTER ESC \
    HOME INSERT OPTION PAGEDOWN PAGEUP SHIFT SPACE SUPER TAB WIN META CONTROL ESCAPE F1 F12 ALTGRAPH CONTEXTMENU \
    NUMLOCK SCROLLLOCK PRINTSCREEN PAUSE COMMAND UP DOWN LEFT RIGHT A Z 0 9";

const PYAUTOGUI: &str = "! \" # $ % & ' ( ) * , - . / 0 1 2 3 4 5 6 7 8 9 : ; < = > ? @ [ \\ ] ^ _ ` a b z { | } ~ \
    add alt altleft altright apps backspace browserback browserfavorites browserforward browserhome browserrefresh \
    browsersearch browserstop capslock clear convert ctrl ctrlleft ctrlright decimal del delete divide down end \
    enter esc escape execute f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 f13 f14 f15 f16 f17 f18 f19 f20 f21 f22 f23 f24 \
    fn hanguel hangul hanja help home insert junja kana kanji launchapp1 launchapp2 launchmail \
    launchmediaselect left modechange multiply nexttrack nonconvert num0 num1 num2 num3 num4 num5 num6 num7 num8 \
    num9 numlock pagedown pageup pause pgdn pgup playpause prevtrack print printscreen prntscrn prtsc prtscr return \
    right scrolllock select separator shift shiftleft shiftright sleep space stop subtract tab up volumedown \
    volumemute volumeup win winleft winright yen command option optionleft optionright";

fn chord(text: &str) -> String {
    Chord::parse(text, "keys").unwrap_or_else(|fault| panic!("{text}: {fault}")).to_string()
}

fn refusal(text: &str) -> String {
    let fault = Chord::parse(text, "keys").unwrap_err();
    assert_eq!((fault.code.as_str(), fault.path.as_deref()), ("validation_failed", Some("keys")));
    fault.message.into_owned()
}

#[test]
fn every_name_of_the_three_dialects_is_a_key() {
    for name in [XDOTOOL, WEB, PYAUTOGUI].into_iter().flat_map(str::split_ascii_whitespace) {
        chord(name);
    }
    for text in ["\t", "\n", "\r", " ", "+"] {
        chord(text);
    }
    // Windows' keys for an input method that X has no name for: refused by name, never skipped.
    for name in ["accept", "final"] {
        assert!(refusal(name).contains(name));
    }
}

#[test]
fn the_same_key_has_one_spelling_whatever_the_dialect() {
    for (texts, spelling) in [
        (["ctrl+shift+Page_Down", "SHIFT+CTRL+PAGEDOWN", "shiftleft+ctrlright+pgdn"], "ctrl+shift+Page_Down"),
        (["Return", "ENTER", "enter"], "Return"),
        (["Left", "ARROWLEFT", "left"], "Left"),
        (["super+l", "CMD+L", "win+l"], "super+l"),
        (["alt+Tab", "OPTION+TAB", "altleft+tab"], "alt+Tab"),
        (["Prior", "PAGEUP", "pgup"], "Page_Up"),
        (["ctrl+plus", "CTRL++", "ctrl++"], "ctrl+plus"),
        (["plus", "+", "PLUS"], "plus"),
        (["EuroSign", "U20AC", "€"], "EuroSign"),
        (["KP_5", "NUMPAD5", "num5"], "KP_5"),
    ] {
        for text in texts {
            assert_eq!(chord(text), spelling, "{text}");
        }
    }
}

#[test]
fn a_single_letter_keeps_its_case_and_a_chord_says_shift() {
    for (text, spelling) in
        [("A", "A"), ("a", "a"), ("ctrl+A", "ctrl+a"), ("ctrl+shift+É", "ctrl+shift+eacute"), ("日", "U65E5")]
    {
        assert_eq!(chord(text), spelling);
    }
}

#[test]
fn case_makes_no_difference_where_the_name_stays_unique() {
    assert_eq!(chord("XF86AUDIOMUTE"), "XF86AudioMute");
    assert_eq!(chord("kp_enter"), "KP_Enter");
    assert_eq!((chord("Eacute"), chord("eacute")), ("Eacute".to_owned(), "eacute".to_owned()));
    assert!(refusal("EACUTE").contains("EACUTE"));
}

#[test]
fn an_unknown_key_is_refused_by_name_with_what_was_meant() {
    assert!(
        refusal("ctrl+Retrun").contains("\"Retrun\"; did you mean \"Return\""),
        "{}",
        refusal("ctrl+Retrun")
    );
    assert!(refusal("pagedwon").contains("agedown\""), "{}", refusal("pagedwon"));
    for text in [
        "",
        "ctrl+",
        "+a",
        "ctrl++a",
        "++",
        "+++",
        "a+b+c+d+e+f+g+h+i",
        "ctrl+CTRL",
        "\u{1b}",
        "\0",
        "no such",
    ] {
        refusal(text);
    }
    refusal(&"x".repeat(100_000));
}

#[test]
fn every_name_of_x_is_found_and_answers_are_names_again() {
    let mut known = 0;
    for symbol in (0x20..=0xffff).chain(0x0100_0000..=0x0100_28ff).chain(0x1008_1000..=0x1008_ffff) {
        let Some(name) = Keysym::new(symbol).name() else { continue };
        let name = name.replacen("XK_", "", 1);
        known += 1;
        let found = names::find(&name);
        // A name of pyautogui; see `names::OTHERS`.
        if name != "multiply" {
            assert_eq!(found, Some(symbol), "{name}");
        }
        let key = Key(symbol);
        if key.modifier().is_none() && name.chars().count() > 1 && name != "multiply" {
            let spelled = names::of(symbol).unwrap();
            assert_eq!(names::find(&spelled), Some(symbol), "{spelled}");
        }
    }
    assert!(known > 2000, "{known}");
}

#[test]
fn modifiers_are_known_by_every_name_and_others_are_refused() {
    for (name, modifier) in [
        ("ctrl", Modifier::Ctrl),
        ("Control_R", Modifier::Ctrl),
        ("META", Modifier::Super),
        ("Meta_L", Modifier::Alt),
        ("cmd", Modifier::Super),
        ("option", Modifier::Alt),
        ("AltGraph", Modifier::Altgr),
    ] {
        assert_eq!(Modifier::parse(name, "modifiers").unwrap(), modifier, "{name}");
    }
    assert!(Modifier::parse("Return", "modifiers").unwrap_err().message.contains("no modifier"));
}
