//! A display with the capability behind the real pipeline.

use llm_os_core::Setup;
use llm_os_desktop_test_support::TestDisplay;
use llm_os_keyboard::Keyboard;
use llm_os_test_support::World;
use serde_json::{Value, json};

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
