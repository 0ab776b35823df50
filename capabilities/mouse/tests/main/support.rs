//! A mouse behind the real pipeline, on a display of the test's own.

use llm_os_core::policy::{Decision, Query};
use llm_os_core::{Fact, Setup, Verb};
use llm_os_desktop_test_support::{Canvas, PointerEvent, TestDisplay};
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

/// Sends a click that arrives after all that was sent before, and gives the events up to it.
pub(crate) fn all_events(display: &TestDisplay, canvas: &Canvas) -> Vec<PointerEvent> {
    use x11rb::protocol::xtest::ConnectionExt as _;
    use x11rb::wrapper::ConnectionExt as _;
    let (conn, area) = (display.connect(), canvas.window.rect);
    let (x, y) = (area.x as i16 + 1, area.y as i16 + 1);
    let before = canvas.events().iter().filter(|event| event.button == 2).count();
    for (kind, detail) in [(6, 0), (4, 2), (5, 2)] {
        conn.xtest_fake_input(kind, detail, 0, display.root(), x, y, 0).unwrap();
    }
    conn.sync().unwrap();
    llm_os_desktop_test_support::until("the last click", || {
        let events = canvas.events();
        (events.iter().filter(|event| event.button == 2).count() == before + 2).then_some(events)
    })
}
