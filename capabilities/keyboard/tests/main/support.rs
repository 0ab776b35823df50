//! A display with the capability behind the real pipeline.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use llm_os_core::{Decision, Fact, Setup};
use llm_os_desktop_test_support::{Program, TestDisplay, until};
use llm_os_keyboard::Keyboard;
use llm_os_test_support::World;
use serde_json::{Value, json};
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{
    ConnectionExt as _, CreateWindowAux, EventMask, InputFocus, KEY_PRESS_EVENT, WindowClass,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

/// Fields are dropped in this order: the keyboard gives back what it lent while the display is still there.
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) display: TestDisplay,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::on(TestDisplay::start())
    }

    pub(crate) fn on(display: TestDisplay) -> Self {
        Self { world: open(&display), display }
    }

    /// Types, and expects that all of it was sent.
    #[track_caller]
    pub(crate) fn types(&self, text: &str) {
        let answer = self.world.send("keyboard.type", json!({"text": text, "controls": ["newline", "tab"]}));
        assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
        assert_eq!(answer["results"][0]["output"]["characters"], text.chars().count(), "{answer:#}");
        self.world.matches_schema("keyboard.type", &answer["results"][0]["output"]);
    }

    /// Sends an action and expects it to succeed.
    #[track_caller]
    pub(crate) fn does(&self, action: &str, params: Value) -> Value {
        let answer = self.world.send(action, params);
        assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
        self.world.matches_schema(action, &answer["results"][0]["output"]);
        answer["results"][0]["output"].clone()
    }
}

pub(crate) fn open(display: &TestDisplay) -> World {
    let setup = Setup { display: Some(display.display()), ..Setup::default() };
    let (world, unavailable) = World::set_up::<Keyboard>(json!({}), setup);
    assert_eq!(unavailable, None);
    world
}

/// The facts of one effect.
pub(crate) type Facts = BTreeMap<&'static str, Fact>;

impl Desk {
    /// Writes down the facts of every effect from now on, and refuses those that the rule refuses.
    pub(crate) fn judged(
        &self,
        permits: impl Fn(&Facts) -> bool + Send + Sync + 'static,
    ) -> Arc<Mutex<Vec<Facts>>> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = seen.clone();
        self.world.judge(move |query| {
            let facts = query.effect.facts.clone();
            let permitted = permits(&facts);
            notes.lock().unwrap().push(facts);
            if permitted { Decision::Allow } else { Decision::Deny }
        });
        seen
    }
}

/// A key event as a program saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyEvent {
    pub(crate) down: bool,
    pub(crate) symbol: String,
    /// X's key and button mask right before.
    pub(crate) state: u16,
}

/// `xev`, which prints what its window gets.
pub(crate) struct Xev {
    pub(crate) window: u32,
    _program: Program,
    file: PathBuf,
}

impl Xev {
    pub(crate) fn start(display: &TestDisplay) -> Self {
        let file = display.dir().join("xev");
        let script = format!("exec stdbuf -oL xev -event keyboard >'{}'", file.display());
        let program = display.spawn("/bin/sh", &["-c", &script]);
        let window = until("a window of xev", || {
            let text = fs::read_to_string(&file).ok()?;
            let id = text.split("Outer window is 0x").nth(1)?.split(',').next()?.to_owned();
            u32::from_str_radix(&id, 16).ok()
        });
        display.shown(window);
        display.focus(window);
        Self { window, _program: program, file }
    }

    pub(crate) fn events(&self) -> Vec<KeyEvent> {
        let text = fs::read_to_string(&self.file).unwrap();
        text.split("\n\n").filter(|event| event.contains("XFilterEvent returns")).filter_map(event).collect()
    }

    /// Waits for as many events as are expected, in the spelling of [`names`], and compares them with all that came.
    pub(crate) fn saw(&self, expected: &str) {
        let wanted = expected.split(' ').count();
        let events = until(&format!("{wanted} events"), || {
            let events = self.events();
            (events.len() >= wanted).then_some(events)
        });
        assert_eq!(names(&events), expected);
    }

    /// Waits until this key came up, for a key that comes up once, and gives all events.
    pub(crate) fn events_until(&self, symbol: &str) -> Vec<KeyEvent> {
        until(&format!("{symbol} coming up"), || {
            let events = self.events();
            events.last().is_some_and(|last| !last.down && last.symbol == symbol).then_some(events)
        })
    }
}

/// `+a -a` for a key that went down and up.
pub(crate) fn names(events: &[KeyEvent]) -> String {
    let spelled =
        events.iter().map(|event| format!("{}{}", if event.down { '+' } else { '-' }, event.symbol));
    spelled.collect::<Vec<_>>().join(" ")
}

fn event(paragraph: &str) -> Option<KeyEvent> {
    let down = match paragraph.trim_start() {
        text if text.starts_with("KeyPress") => true,
        text if text.starts_with("KeyRelease") => false,
        _ => return None,
    };
    let after = |marker: &str| paragraph.split(marker).nth(1);
    let state = after("state 0x")?.split(',').next()?;
    let symbol = after("(keysym 0x")?.split(", ").nth(1)?.split(')').next()?;
    Some(KeyEvent { down, symbol: symbol.to_owned(), state: u16::from_str_radix(state, 16).ok()? })
}

/// A second client, with a window of its own.
pub(crate) struct Rival {
    pub(crate) conn: RustConnection,
    pub(crate) root: u32,
    pub(crate) window: u32,
}

impl Rival {
    /// Shows a window without a frame in a corner.
    pub(crate) fn on(display: &TestDisplay) -> Self {
        let conn = display.connect();
        let root = display.root();
        let window = conn.generate_id().unwrap();
        let aux = CreateWindowAux::new().override_redirect(1).event_mask(EventMask::KEY_PRESS);
        conn.create_window(24, window, root, 1200, 700, 50, 50, 0, WindowClass::INPUT_OUTPUT, 0, &aux)
            .unwrap();
        conn.map_window(window).unwrap();
        let rival = Self { conn, root, window };
        rival.done();
        rival
    }

    /// Returns once the server has done what was asked.
    pub(crate) fn done(&self) {
        self.conn.get_input_focus().unwrap().reply().unwrap();
    }

    pub(crate) fn take_focus(&self, window: u32) {
        self.conn.set_input_focus(InputFocus::PARENT, window, x11rb::CURRENT_TIME).unwrap();
        self.done();
    }

    /// Presses or releases a key as a person does.
    pub(crate) fn key(&self, kind: u8, keycode: u8) {
        self.conn.xtest_fake_input(kind, keycode, 0, 0, 0, 0, 0).unwrap();
        self.done();
    }

    /// How many presses came to its window.
    pub(crate) fn presses(&self) -> usize {
        self.done();
        let mut presses = 0;
        while let Some(event) = self.conn.poll_for_event().unwrap() {
            presses += usize::from(event.response_type() == KEY_PRESS_EVENT);
        }
        presses
    }

    /// The keycodes that are down.
    pub(crate) fn down(&self) -> Vec<u8> {
        let keys = self.conn.query_keymap().unwrap().reply().unwrap().keys;
        (0..=255u8).filter(|code| keys[usize::from(code / 8)] & 1 << (code % 8) != 0).collect()
    }

    pub(crate) fn keymap(&self) -> Vec<u32> {
        self.conn.get_keyboard_mapping(8, 248).unwrap().reply().unwrap().keysyms
    }

    /// The keys that repeat while they are held.
    pub(crate) fn repeating(&self) -> [u8; 32] {
        self.conn.get_keyboard_control().unwrap().reply().unwrap().auto_repeats
    }
}
