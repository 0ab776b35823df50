//! Waiting for the screen by what is drawn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use llm_os_desktop_test_support::{TestDisplay, until};
use serde_json::json;
use x11rb::protocol::xproto::{ChangeWindowAttributesAux, ConnectionExt as _};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::support::{area, decoded, output, region, world};

/// Draws a window in one colour, and returns once it is drawn.
fn draw(conn: &RustConnection, window: u32, colour: u32) {
    let aux = ChangeWindowAttributesAux::new().background_pixel(colour);
    conn.change_window_attributes(window, &aux).expect("a server");
    conn.clear_area(false, window, 0, 0, 0, 0).expect("a server");
    conn.sync().expect("a server");
}

#[test]
fn a_screen_on_which_nothing_is_drawn_has_settled_after_the_quiet_time() {
    let display = TestDisplay::bare();
    let world = world(&display);
    let start = Instant::now();
    let answer = output(&world, "monitor.wait", json!({"until": "settled", "quiet_ms": 150}));
    assert_eq!(answer, json!({"reached": true}));
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_program_that_draws_for_a_while_has_settled_once_it_stops() {
    const FRAMES: &str = r##"
import sys, tkinter
root = tkinter.Tk(className=sys.argv[2])
label = tkinter.Label(root, width=40, height=10)
label.pack()
def step(count):
    label.config(bg="#%06x" % (count * 40503 & 0xffffff), text=str(count))
    root.update_idletasks()
    if count == 30:
        label.config(bg="#0a141e", text="")
        root.update()
        open(sys.argv[1], "w").write("done")
    else:
        root.after(30, step, count + 1)
root.after(30, step, 0)
root.mainloop()
"##;
    let display = TestDisplay::start();
    let done = display.dir().join("done");
    let _program = display.python(FRAMES, &[done.to_str().expect("a path in UTF-8"), "Frames"]);
    let window = display.window("Frames");
    let world = world(&display);
    assert!(!done.exists(), "it draws for most of a second");
    let answer = output(&world, "monitor.wait", json!({"until": "settled", "quiet_ms": 200}));
    assert_eq!(answer["reached"], true);
    assert!(answer["drawn"].is_object(), "{answer}");
    // Nothing was drawn for six frames, so the program has drawn its last one.
    until("the program's own word", || done.exists().then_some(()));
    let picture = decoded(&output(&world, "monitor.capture", json!({}))["picture"]);
    let (x, y) = window.rect.centre();
    assert_eq!(picture.at(x as u32, y as u32), [10, 20, 30]);
}

#[test]
fn settled_comes_within_30_ms_of_the_last_drawing_and_the_quiet_time() {
    const QUIET: Duration = Duration::from_millis(120);
    let display = TestDisplay::bare();
    let picture = display.picture(area(100, 100, 64, 64), |_, _| [0; 3]);
    let world = world(&display);
    // The machine may be busy with other tests: once in ten times is enough to show what the waiting itself takes.
    let late = (0..10).map(|_| {
        let conn = display.connect();
        let (window, last) = (
            picture.id,
            std::thread::spawn({
                let window = picture.id;
                move || {
                    for colour in 0..8 {
                        draw(&conn, window, colour * 30);
                        std::thread::sleep(Duration::from_millis(25));
                    }
                    draw(&conn, window, 255);
                    Instant::now()
                }
            }),
        );
        let answer = output(&world, "monitor.wait", json!({"until": "settled", "quiet_ms": 120}));
        let end = Instant::now();
        assert_eq!(answer["reached"], true, "{window}");
        let last = last.join().expect("the drawing");
        let since = end.checked_duration_since(last).expect("it waited for the last drawing");
        assert!(since + Duration::from_millis(5) >= QUIET, "{since:?}");
        since.saturating_sub(QUIET)
    });
    let late: Vec<Duration> = late.collect();
    println!("late by {late:?}");
    assert!(late.iter().any(|late| *late <= Duration::from_millis(30)), "{late:?}");
}

#[test]
fn a_change_is_told_with_its_place_and_one_elsewhere_does_not_count() {
    let display = TestDisplay::bare();
    let picture = display.picture(area(100, 100, 64, 64), |_, _| [0; 3]);
    let world = world(&display);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let conn = display.connect();
            for colour in 1.. {
                draw(&conn, picture.id, colour);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let answer = output(&world, "monitor.wait", json!({"until": "changed"}));
        assert_eq!(answer, json!({"reached": true, "drawn": region(picture.rect)}));
        let half = region(area(132, 90, 100, 100));
        let answer = output(&world, "monitor.wait", json!({"until": "changed", "region": half}));
        assert_eq!(answer["drawn"], region(area(132, 100, 32, 64)));
        let beside = region(area(164, 0, 100, 800));
        let params = json!({"until": "changed", "region": beside, "timeout_ms": 300});
        assert_eq!(output(&world, "monitor.wait", params), json!({"reached": false}));
        let params = json!({"until": "settled", "region": beside});
        assert_eq!(output(&world, "monitor.wait", params), json!({"reached": true}));
        let params = json!({"until": "settled", "timeout_ms": 400});
        let never = output(&world, "monitor.wait", params);
        assert_eq!(never, json!({"reached": false, "drawn": region(picture.rect)}));
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_wait_ends_when_the_plan_is_cancelled_or_its_time_is_over() {
    let display = TestDisplay::bare();
    let mut world = world(&display);
    let params = json!({"until": "changed", "timeout_ms": 60_000});
    let start = Instant::now();
    let soon = async { tokio::time::sleep(Duration::from_millis(100)).await };
    let answer = world.send_and_cancel("monitor.wait", params.clone(), soon);
    assert_eq!(answer["results"][0]["error"]["code"], "cancelled", "{answer:#}");
    world.limits.plan = Duration::from_millis(200);
    let answer = world.send("monitor.wait", params);
    assert_eq!(answer["results"][0]["error"]["code"], "deadline_exceeded", "{answer:#}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn others_are_served_while_one_waits() {
    let display = TestDisplay::bare();
    let world = world(&display);
    std::thread::scope(|scope| {
        let params = json!({"until": "changed", "timeout_ms": 3_000});
        let waiting = scope.spawn(|| output(&world, "monitor.wait", params));
        let start = Instant::now();
        for _ in 0..5 {
            output(&world, "monitor.capture", json!({"max_edge": 100}));
        }
        assert!(!waiting.is_finished(), "five pictures took {:?}", start.elapsed());
        assert_eq!(waiting.join().expect("an answer")["reached"], false);
    });
}

// D09
#[test]
fn a_wait_on_a_display_that_dies_says_so() {
    use rustix::process::{Pid, Signal, kill_process};
    let display = TestDisplay::bare();
    let world = world(&display);
    let server = Pid::from_raw(display.server_pid().cast_signed()).expect("a process");
    std::thread::scope(|scope| {
        let params = json!({"until": "changed", "timeout_ms": 60_000});
        let waiting = scope.spawn(|| world.refused("monitor.wait", params, "unavailable"));
        std::thread::sleep(Duration::from_millis(200));
        kill_process(server, Signal::KILL).expect("a server of ours");
        waiting.join().expect("an answer");
    });
}
