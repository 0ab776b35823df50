//! The names of keys. `xkeysym` knows the first name of each keysym; the rest stands here.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use xkeysym::Keysym;

use super::{Key, character};

/// What the web and pyautogui call keys, in lower case, before X's own name for the same key. They come before X's names
/// without regard to case; of X's exact names they hide just one: `multiply`, the letter ×, is the keypad's asterisk to
/// pyautogui, and no keyboard has a key for that letter.
const OTHERS: &str = "
    alt Alt_L, altleft Alt_L, altright Alt_R, option Alt_L, optionleft Alt_L, optionright Alt_R, opt Alt_L,
    ctrl Control_L, control Control_L, ctrlleft Control_L, controlleft Control_L, ctrlright Control_R,
    controlright Control_R, shift Shift_L, shiftleft Shift_L, shiftright Shift_R,
    super Super_L, win Super_L, winleft Super_L, winright Super_R, windows Super_L, os Super_L, cmd Super_L,
    command Super_L, meta Super_L, metaleft Super_L, metaright Super_R, hyper Hyper_L,
    altgr ISO_Level3_Shift, altgraph ISO_Level3_Shift, modechange Mode_switch, fn XF86Fn,
    enter Return, return Return, esc Escape, backspace BackSpace, back BackSpace, del Delete, ins Insert,
    tab Tab, space space, spacebar space, clear Clear, help Help, select Select, execute Execute,
    pageup Page_Up, pgup Page_Up, pagedown Page_Down, pgdn Page_Down, pgdown Page_Down,
    arrowleft Left, arrowright Right, arrowup Up, arrowdown Down, apps Menu, contextmenu Menu, capslock Caps_Lock, caps Caps_Lock, numlock Num_Lock,
    scrolllock Scroll_Lock, printscreen Print, prntscrn Print, prtsc Print, prtscr Print, printscr Print, prtscn Print,
    num0 KP_0, num1 KP_1, num2 KP_2, num3 KP_3, num4 KP_4, num5 KP_5, num6 KP_6, num7 KP_7, num8 KP_8, num9 KP_9,
    numpad0 KP_0, numpad1 KP_1, numpad2 KP_2, numpad3 KP_3, numpad4 KP_4, numpad5 KP_5, numpad6 KP_6, numpad7 KP_7,
    numpad8 KP_8, numpad9 KP_9, numpadadd KP_Add, numpadsubtract KP_Subtract, numpadmultiply KP_Multiply,
    numpaddivide KP_Divide, numpaddecimal KP_Decimal, numpadenter KP_Enter, numpadequal KP_Equal,
    add KP_Add, subtract KP_Subtract, multiply KP_Multiply, divide KP_Divide, decimal KP_Decimal,
    separator KP_Separator,
    browserback XF86Back, browserforward XF86Forward, browserrefresh XF86Refresh, browserstop XF86Stop,
    browsersearch XF86Search, browserfavorites XF86Favorites, browserhome XF86HomePage,
    volumemute XF86AudioMute, audiovolumemute XF86AudioMute, volumedown XF86AudioLowerVolume,
    audiovolumedown XF86AudioLowerVolume, volumeup XF86AudioRaiseVolume, audiovolumeup XF86AudioRaiseVolume,
    nexttrack XF86AudioNext, mediatracknext XF86AudioNext, prevtrack XF86AudioPrev, mediatrackprevious XF86AudioPrev,
    stop XF86AudioStop, mediastop XF86AudioStop, playpause XF86AudioPlay, mediaplaypause XF86AudioPlay,
    launchmail XF86Mail, launchmediaselect XF86AudioMedia, launchapp1 XF86MyComputer, launchapp2 XF86Calculator,
    sleep XF86Sleep, kana Hiragana_Katakana, kanji Kanji, hanguel Hangul, hangul Hangul, hanja Hangul_Hanja,
    junja Hangul_Jeonja, convert Henkan, nonconvert Muhenkan, yen yen,
    period period, comma comma, slash slash, backslash backslash, semicolon semicolon, quote apostrophe,
    doublequote quotedbl, backquote grave, backtick grave, tilde asciitilde, hash numbersign,
    dash minus, minus minus, equals equal, equal equal, bracketleft bracketleft,
    bracketright bracketright, pipe bar";

/// X's second names for a keysym, before the first.
const SECOND: &str = "
    Henkan Henkan_Mode, Kanji_Bangou Codeinput, Zen_Koho MultipleCandidate, Mae_Koho PreviousCandidate,
    Page_Up Prior, Page_Down Next, KP_Page_Up KP_Prior, KP_Page_Down KP_Next, script_switch Mode_switch,
    ISO_Group_Shift Mode_switch, kana_switch Mode_switch, Arabic_switch Mode_switch, Greek_switch Mode_switch,
    Hebrew_switch Mode_switch, Hangul_switch Mode_switch, SunAltGraph Mode_switch,
    L1 F11, L2 F12, L3 F13, L4 F14, L5 F15, L6 F16, L7 F17, L8 F18, L9 F19, L10 F20, R1 F21, R2 F22, R3 F23, R4 F24,
    R5 F25, R6 F26, R7 F27, R8 F28, R9 F29, R10 F30, R11 F31, R12 F32, R13 F33, R14 F34, R15 F35,
    dead_perispomeni dead_tilde, dead_psili dead_abovecomma, dead_dasia dead_abovereversedcomma,
    dead_schwa dead_small_schwa, dead_SCHWA dead_capital_schwa, quoteright apostrophe, quoteleft grave,
    guillemetleft guillemotleft, guillemetright guillemotright, ordmasculine masculine, Eth ETH, Ooblique Oslash,
    ooblique oslash, Thorn THORN, kappa kra, kana_middledot kana_conjunctive, kana_tu kana_tsu, kana_TI kana_CHI,
    kana_TU kana_TSU, kana_HU kana_FU, Arabic_heh Arabic_ha, Arabic_farsi_yeh Farsi_yeh, Ukranian_je Ukrainian_ie,
    Ukranian_i Ukrainian_i, Ukranian_yi Ukrainian_yi, Ukranian_JE Ukrainian_IE, Ukranian_I Ukrainian_I,
    Ukranian_YI Ukrainian_YI, Serbian_je Cyrillic_je, Serbian_lje Cyrillic_lje, Serbian_nje Cyrillic_nje,
    Serbian_dze Cyrillic_dzhe, Serbian_JE Cyrillic_JE, Serbian_LJE Cyrillic_LJE, Serbian_NJE Cyrillic_NJE,
    Serbian_DZE Cyrillic_DZHE, Greek_IOTAdiaeresis Greek_IOTAdieresis, Greek_LAMBDA Greek_LAMDA,
    Greek_lambda Greek_lamda, hebrew_beth hebrew_bet, hebrew_gimmel hebrew_gimel, hebrew_daleth hebrew_dalet,
    hebrew_zayin hebrew_zain, hebrew_het hebrew_chet, hebrew_teth hebrew_tet, hebrew_samekh hebrew_samech,
    hebrew_finalzadi hebrew_finalzade, hebrew_zadi hebrew_zade, hebrew_kuf hebrew_qoph, hebrew_taf hebrew_taw,
    Hangul_Codeinput Codeinput, Hangul_SingleCandidate SingleCandidate,
    Hangul_MultipleCandidate MultipleCandidate, Hangul_PreviousCandidate PreviousCandidate,
    Armenian_verjaket Armenian_full_stop, Armenian_but Armenian_separation_mark, Armenian_yentamna Armenian_hyphen,
    Armenian_amanak Armenian_exclam, Armenian_shesht Armenian_accent, Armenian_paruyk Armenian_question,
    SunPrint_Screen Print, SunCompose Multi_key, SunPageUp Prior, SunPageDown Next, SunUndo Undo, SunAgain Redo,
    SunFind Find, SunStop Cancel, Reset hpReset, System hpSystem, User hpUser, ClearLine hpClearLine,
    InsertLine hpInsertLine, DeleteLine hpDeleteLine, InsertChar hpInsertChar, DeleteChar hpDeleteChar,
    BackTab hpBackTab, KP_BackTab hpKP_BackTab, mute_acute hpmute_acute, mute_grave hpmute_grave,
    mute_asciicircum hpmute_asciicircum, mute_diaeresis hpmute_diaeresis, mute_asciitilde hpmute_asciitilde,
    lira hplira, guilder hpguilder, IO hpIO, longminus hplongminus, block hpblock";

/// The second names that people write; answers and policies have them too.
const PREFERRED: [(u32, &str); 4] = [
    (xkeysym::key::Prior, "Page_Up"),
    (xkeysym::key::Next, "Page_Down"),
    (xkeysym::key::KP_Prior, "KP_Page_Up"),
    (xkeysym::key::KP_Next, "KP_Page_Down"),
];

/// Where the named keysyms are: X's own, Unicode's, and the vendors' (HP, OSF, Sun and DEC, XFree86).
const RANGES: [std::ops::RangeInclusive<u32>; 7] = [
    0x20..=0xffff,
    0x0100_0000..=0x0100_28ff,
    0x1000_0000..=0x1000_ffff,
    0x1004_ff00..=0x1004_ffff,
    0x1005_ff00..=0x1005_ffff,
    0x1008_1000..=0x1008_12ff,
    0x1008_fe00..=0x1008_ffff,
];

struct Names {
    /// X's names as they are.
    exact: BTreeMap<String, u32>,
    /// The other dialects, in lower case.
    others: HashMap<&'static str, u32>,
    /// X's names in lower case, as far as they are unique then.
    lower: HashMap<String, Option<u32>>,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let mut exact: BTreeMap<String, u32> =
        RANGES.into_iter().flatten().filter_map(|symbol| Some((first(symbol)?, symbol))).collect();
    for (second, first) in pairs(SECOND) {
        if let Some(symbol) = exact.get(first) {
            exact.insert(second.to_owned(), *symbol);
        }
    }
    let others = pairs(OTHERS).filter_map(|(name, x)| Some((name, *exact.get(x)?))).collect();
    let mut lower: HashMap<String, Option<u32>> = HashMap::with_capacity(exact.len());
    for (name, symbol) in &exact {
        let unique = lower.entry(name.to_ascii_lowercase()).or_insert(Some(*symbol));
        if *unique != Some(*symbol) {
            *unique = None;
        }
    }
    Names { exact, others, lower }
});

fn pairs(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.split(',').filter_map(|pair| pair.trim().split_once(' '))
}

/// The name that `XStringToKeysym` (Xlib) takes: without the `XK_` of the headers' macros.
fn first(symbol: u32) -> Option<String> {
    Keysym::new(symbol).name().map(|name| name.replacen("XK_", "", 1))
}

/// The keysym of a name.
pub(super) fn find(name: &str) -> Option<u32> {
    let lower = name.to_ascii_lowercase();
    let names = &*NAMES;
    let other = names.others.get(lower.as_str());
    // `Meta_L` and the like are X's own even where another dialect reads them otherwise; `multiply` is the exception.
    let found = other.or_else(|| names.exact.get(name)).copied();
    found.or_else(|| names.lower.get(&lower).copied().flatten()).or_else(|| code_point(name))
}

/// `U20AC`, as `XStringToKeysym` has it.
fn code_point(name: &str) -> Option<u32> {
    let digits = name.strip_prefix('U').filter(|digits| (4..=6).contains(&digits.len()))?;
    let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
    Key::of_char(character).map(Key::symbol)
}

/// The name of a keysym, as answers and policies spell it.
pub(super) fn of(symbol: u32) -> Option<String> {
    let preferred = PREFERRED.iter().find(|(of, _)| *of == symbol).map(|(_, name)| (*name).to_owned());
    preferred.or_else(|| first(symbol)).or_else(|| {
        let plain = Key::of_char(character(symbol)?)?.symbol();
        if plain == symbol { None } else { first(plain) }
    })
}

/// The name that was probably meant.
pub(super) fn nearest(name: &str) -> Option<String> {
    const ALIKE: f64 = 0.8;
    if name.len() > 40 {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let names = &*NAMES;
    let known = names.others.keys().map(|name| (*name).to_owned());
    let known =
        known.chain(names.exact.iter().filter(|(name, _)| name.is_ascii()).map(|(name, _)| name.clone()));
    let alike = known.map(|known| (strsim::jaro_winkler(&known.to_ascii_lowercase(), &lower), known));
    let best = alike.max_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| y.cmp(x)));
    best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, known)| known)
}
