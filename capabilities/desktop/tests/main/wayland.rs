//! Under sway: `cargo nextest run -p llm-os-desktop --run-ignored only` (packages: sway foot wev).

use std::collections::BTreeSet;
use std::sync::Arc;

use llm_os_core::{ConnectionId, Fault, Setup};
use llm_os_desktop::geometry::{Layout, Point};
use llm_os_desktop::other::{BATCH, Button, Held, Session};
use llm_os_desktop::{Desktop, Trouble};
use llm_os_desktop_test_support::{TestCompositor, Transcript, until};

const ONE: &[(&str, &str, &str)] = &[("1280x800", "0 0", "1")];

fn open(compositor: &TestCompositor) -> Arc<Desktop> {
    Desktop::open(&Setup { display: Some(compositor.display()), ..Setup::default() }).expect("a display")
}

/// Types as a capability does, batch by batch.
fn type_all(desktop: &Desktop, text: &str) {
    let characters: Vec<char> = text.chars().collect();
    for batch in characters.chunks(BATCH) {
        let batch: String = batch.iter().collect();
        on(desktop, move |session| session.text(&batch)).expect("a compositor that reads");
    }
}

fn on<T: Send + 'static>(
    desktop: &Desktop,
    work: impl FnOnce(&mut Session) -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Fault> {
    desktop.look_other(work)
}

#[test]
#[ignore = "needs sway and foot"]
fn text_of_any_script_arrives_whole() {
    TestCompositor::within("wayland::text_of_any_script_arrives_whole", ONE, |compositor| {
        let foot = compositor.foot_reader();
        let desktop = open(compositor);
        type_all(&desktop, "Grüße 日本語 🙂 ñ ß € →\n");
        assert_eq!(foot.read_until("\r"), "Grüße 日本語 🙂 ñ ß € →\r");
    });
}

#[test]
#[ignore = "needs sway and foot"]
fn a_thousand_characters_arrive_in_order_and_none_is_lost() {
    TestCompositor::within(
        "wayland::a_thousand_characters_arrive_in_order_and_none_is_lost",
        ONE,
        |compositor| {
            let foot = compositor.foot_reader();
            let desktop = open(compositor);
            let text: String = (0..1000u32).filter_map(|n| char::from_u32(0x20 + (n * 7) % 95)).collect();
            let began = std::time::Instant::now();
            type_all(&desktop, &format!("{text}\n"));
            let typed = began.elapsed();
            assert_eq!(foot.read_until("\r"), format!("{text}\r"));
            eprintln!("1,000 characters: sent after {typed:?}, read after {:?}", began.elapsed());
        },
    );
}

#[test]
#[ignore = "needs sway and wev"]
fn the_pointer_goes_to_the_very_pixel_with_two_outputs_and_a_scale() {
    let outputs = &[("1280x800", "0 0", "2"), ("1920x1080", "640 0", "1")];
    let name = "wayland::the_pointer_goes_to_the_very_pixel_with_two_outputs_and_a_scale";
    TestCompositor::within(name, outputs, |compositor| {
        // The window opens on the output that has the focus: the second one.
        compositor.tell("focus output HEADLESS-2");
        let log = compositor.pointer_log();
        let desktop = open(compositor);
        let layout = on(&desktop, Session::layout).unwrap();
        let seen: Vec<_> =
            layout.monitors.iter().map(|m| (m.name.as_str(), m.rect.x, m.rect.width, m.scale)).collect();
        assert_eq!(seen, [("HEADLESS-1", 0, 640, 2.0), ("HEADLESS-2", 640, 1920, 1.0)]);
        for (x, y) in [(640, 1), (641, 0), (1333, 777), (2559, 1079)] {
            on(&desktop, move |session| session.motion(Point { x, y })).unwrap();
            log.read_until(&format!("x, y: {}.000000, {y}.000000", x - 640));
        }
    });
}

#[test]
#[ignore = "needs sway and wev"]
fn clicks_and_wheel_steps_arrive_one_by_one() {
    TestCompositor::within("wayland::clicks_and_wheel_steps_arrive_one_by_one", ONE, |compositor| {
        let log = compositor.pointer_log();
        let desktop = open(compositor);
        on(&desktop, |session| {
            session.motion(Point { x: 300, y: 200 })?;
            for button in [Button::Left, Button::Middle, Button::Right, Button::Back, Button::Forward] {
                session.press(Held::Button(button), true)?;
                session.press(Held::Button(button), false)?;
            }
            session.scroll(3, false)?;
            session.scroll(-2, true)
        })
        .unwrap();
        log.read_until("axis: 1 (horizontal), value: -30.000000");
        // wev asks for the pointer each time that the seat changes, and so hears of all of it more than once.
        let content = log.content();
        let seen: BTreeSet<&str> =
            content.lines().filter_map(|line| line.split_once("] ")).map(|(_, what)| what).collect();
        for code in [272, 273, 274, 277, 278] {
            let code = format!("button: {code} ");
            assert_eq!(seen.iter().filter(|what| what.contains(&code)).count(), 2, "{code}: {seen:#?}");
        }
        for steps in ["axis: 0 (vertical), discrete: 3", "axis: 1 (horizontal), discrete: -2"] {
            assert_eq!(seen.iter().filter(|what| what.ends_with(steps)).count(), 1, "{steps}: {seen:#?}");
        }
    });
}

// D05
#[test]
#[ignore = "needs sway and wev"]
fn what_a_connection_holds_down_goes_up_with_it() {
    TestCompositor::within("wayland::what_a_connection_holds_down_goes_up_with_it", ONE, |compositor| {
        let log = compositor.pointer_log();
        let desktop = open(compositor);
        let (gone, stays) = (ConnectionId(1), ConnectionId(2));
        on(&desktop, move |session| {
            session.motion(Point { x: 300, y: 200 })?;
            for (holder, what) in [
                (gone, Held::Key(u32::from('a'))),
                (gone, Held::Button(Button::Left)),
                (stays, Held::Key(u32::from('b'))),
            ] {
                session.hold(holder, what)?;
            }
            Ok(())
        })
        .unwrap();
        log.read_until("sym: b ");
        desktop.release(gone);
        let seen = log.read_until("state: 0 (released)\n                      sym: a ");
        assert!(seen.contains("button: 272 (left), state: 0 (released)"), "{seen}");
        assert!(!released(&log, 'b'), "{seen}");
        desktop.release(stays);
        until("b to go up", || released(&log, 'b').then_some(()));
    });
}

fn released(log: &Transcript, key: char) -> bool {
    log.content().contains(&format!("state: 0 (released)\n                      sym: {key} "))
}

// D04
#[test]
#[ignore = "needs sway"]
fn a_point_that_an_output_no_longer_shows_is_refused() {
    let outputs = &[("1280x800", "0 0", "1"), ("1280x800", "1280 0", "1")];
    let name = "wayland::a_point_that_an_output_no_longer_shows_is_refused";
    TestCompositor::within(name, outputs, |compositor| {
        let desktop = open(compositor);
        let at = |layout: &Layout| layout.point(2000, 100, None, "x").map(|point| (point.x, point.y));
        assert_eq!(at(&on(&desktop, Session::layout).unwrap()).unwrap(), (2000, 100));
        compositor.tell("output HEADLESS-2 resolution 640x480");
        let fault = until("the smaller output", || at(&on(&desktop, Session::layout).unwrap()).err());
        assert_eq!(fault.code.as_str(), "validation_failed");
    });
}

// D09
#[test]
#[ignore = "needs sway"]
fn a_compositor_that_ends_gives_unavailable_and_no_panic() {
    TestCompositor::within(
        "wayland::a_compositor_that_ends_gives_unavailable_and_no_panic",
        ONE,
        |compositor| {
            let desktop = open(compositor);
            on(&desktop, |session| session.text("a")).unwrap();
            compositor.end();
            let fault = until("an error", || on(&desktop, |session: &mut Session| session.text("a")).err());
            assert_eq!(fault.code.as_str(), "unavailable");
        },
    );
}
