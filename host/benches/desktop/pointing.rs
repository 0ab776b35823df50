//! A move and a click: from the request until the window has the button press.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use llm_os_desktop_test_support::TestDisplay;
use serde_json::json;
use x11rb::COPY_DEPTH_FROM_PARENT;
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    AtomEnum, BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, ConnectionExt as _, CreateWindowAux, EventMask,
    MOTION_NOTIFY_EVENT, PropMode, WindowClass,
};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::host::{Host, frame};
use crate::measure::{append_durably, median, micros};
use crate::table::{Bar, Measured, Table};
use crate::typing::xdotool;

const ROUNDS: usize = 15;
const EACH: usize = 20;

pub(crate) fn measure(table: &mut Table, data: &Path) {
    let display = TestDisplay::start();
    let mut host = Host::on(&display);
    let target = Target::new(&display);
    let raw = display.connect();
    let root = raw.setup().roots[0].root;
    let log = File::options().append(true).create(true).open(data.join("sync.log")).unwrap();
    let (mut to_raw, mut to_xdotool) = (Measured::default(), Measured::default());
    for round in 0..=ROUNDS {
        let [mut floor, mut sync, mut ours, mut peer] = [const { Vec::new() }; 4];
        for n in 0..EACH {
            let (x, y) = (100 + 7 * i16::try_from(n).unwrap(), 120 + 5 * i16::try_from(n).unwrap());
            floor.push(target.time((x, y), || {
                raw.xtest_fake_input(MOTION_NOTIFY_EVENT, 0, 0, root, x, y, 0).unwrap();
                raw.xtest_fake_input(BUTTON_PRESS_EVENT, 1, 0, 0, 0, 0, 0).unwrap();
                raw.xtest_fake_input(BUTTON_RELEASE_EVENT, 1, 0, 0, 0, 0, 0).unwrap();
                raw.flush().unwrap();
            }));
            let start = Instant::now();
            append_durably(&log, 1);
            sync.push(start.elapsed());
            let line = frame("mouse.click", &json!({"x": x, "y": y}));
            ours.push(target.time((x, y), || host.connection.send(&line)));
            assert!(crate::measure::is_ok(host.connection.answer()));
            if n % 4 == 0 {
                let at = [x.to_string(), y.to_string()];
                peer.push(
                    target.time((x, y), || xdotool(&display, &["mousemove", &at[0], &at[1], "click", "1"])),
                );
            }
        }
        if round > 0 {
            let ours = micros(median(ours));
            to_raw.round(micros(median(floor)) + 3.0 * micros(median(sync)), ours);
            to_xdotool.round(micros(median(peer)), ours);
        }
    }
    let what = "move and click, until the window has it";
    table.row(what, "raw XTEST, and three times one `fdatasync`", "us", to_raw, Bar::AtMost(1.0));
    table.row(what, "xdotool mousemove click", "us", to_xdotool, Bar::AtMost(0.25));
}

/// A window of this program's own that hears of clicks.
struct Target {
    conn: RustConnection,
}

impl Target {
    fn new(display: &TestDisplay) -> Self {
        let conn = display.connect();
        let screen = &conn.setup().roots[0];
        let window = conn.generate_id().unwrap();
        let mask = EventMask::BUTTON_PRESS | EventMask::EXPOSURE;
        let aux =
            CreateWindowAux::new().override_redirect(1).event_mask(mask).background_pixel(screen.white_pixel);
        let class = WindowClass::INPUT_OUTPUT;
        conn.create_window(COPY_DEPTH_FROM_PARENT, window, screen.root, 50, 50, 600, 500, 0, class, 0, &aux)
            .unwrap();
        conn.change_property8(
            PropMode::REPLACE,
            window,
            AtomEnum::WM_CLASS,
            AtomEnum::STRING,
            b"bench\0Bench\0",
        )
        .unwrap();
        conn.map_window(window).unwrap();
        conn.flush().unwrap();
        while !matches!(conn.wait_for_event().unwrap(), Event::Expose(_)) {}
        Self { conn }
    }

    /// The time from before `act` until the press arrived, which must be at this very pixel.
    fn time(&self, at: (i16, i16), act: impl FnOnce()) -> Duration {
        let start = Instant::now();
        act();
        loop {
            if let Event::ButtonPress(press) = self.conn.wait_for_event().unwrap() {
                assert_eq!((press.root_x, press.root_y), at);
                return start.elapsed();
            }
        }
    }
}
