//! A mouse behind the real pipeline, on a display of the test's own.

use llm_os_core::policy::{Decision, Query};
use llm_os_core::{Fact, Setup, Verb};
use llm_os_desktop_test_support::{PointerEvent, TestDisplay, until};
use llm_os_mouse::Mouse;
use llm_os_test_support::World;
use serde_json::{Value, json};

pub(crate) fn mouse(display: &TestDisplay) -> World {
    let setup = Setup { display: Some(display.display()), ..Setup::default() };
    let (world, unavailable) = World::set_up::<Mouse>(json!({}), setup);
    assert_eq!(unavailable, None);
    world
}

/// Forbids input to windows of a class.
pub(crate) fn forbid(world: &World, class: &str) {
    let class = class.to_owned();
    world.judge(move |query: Query<'_>| {
        let is_it = query.effect.verb == Verb::Inject && text(&query, "class") == class;
        if is_it { Decision::Deny } else { Decision::Allow }
    });
}

pub(crate) fn text(query: &Query<'_>, fact: &str) -> String {
    match query.effect.facts.get(fact) {
        Some(Fact::Text(text)) => text.clone(),
        other => panic!("{fact} is {other:?}"),
    }
}

/// Sends one action that must be `ok`, and gives its output, which must match its schema.
#[track_caller]
pub(crate) fn done(world: &World, action: &str, params: Value) -> Value {
    let answer = world.send(action, params);
    assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
    let output = answer["results"][0]["output"].clone();
    world.matches_schema(action, &output);
    output
}

/// Presses and releases, as (kind, x, y, button).
pub(crate) fn strokes(events: &[PointerEvent]) -> Vec<(&str, i32, i32, u8)> {
    let of = |event: &&PointerEvent| matches!(event.kind.as_str(), "press" | "release");
    events.iter().filter(of).map(|event| (event.kind.as_str(), event.x, event.y, event.button)).collect()
}

/// The buttons and modifiers that are down, as X's key and button mask, seen by another client.
pub(crate) fn buttons_down(display: &TestDisplay) -> u16 {
    use x11rb::protocol::xproto::ConnectionExt as _;
    display.connect().query_pointer(display.root()).expect("a server").reply().expect("a server").mask.into()
}

/// Waits until no button is down. The window manager froze the pointer when the button went down on a window, and a busy one
/// takes its time to thaw it: until then the server keeps the release to itself.
pub(crate) fn all_up(display: &TestDisplay) {
    until("the button to be up", || (buttons_down(display) == 0).then_some(()));
}
