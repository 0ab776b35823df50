//! A window of the test's own that misses no event: toolkits put motions together and know few buttons.

use llm_os_desktop_test_support::{Shown, TestDisplay, until};
use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    AtomEnum, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

/// Its window, and what it saw.
pub(crate) struct Witness {
    pub(crate) window: Shown,
    pub(crate) conn: RustConnection,
    seen: std::cell::RefCell<Vec<Seen>>,
}

/// An event: `press`, `release` or `motion`, the pixel of the screen, the logical button.
pub(crate) type Seen = (&'static str, i32, i32, u8);

impl Witness {
    pub(crate) fn new(display: &TestDisplay, class: &str, x: i16, y: i16, width: u16, height: u16) -> Self {
        let conn = display.connect();
        let id = conn.generate_id().expect("a server");
        let mask = EventMask::BUTTON_PRESS | EventMask::BUTTON_RELEASE | EventMask::POINTER_MOTION;
        let aux = CreateWindowAux::new().event_mask(mask).background_pixel(0xff_ffff);
        let kind = WindowClass::INPUT_OUTPUT;
        conn.create_window(0, id, display.root(), x, y, width, height, 0, kind, 0, &aux).expect("a server");
        let name = format!("{}\0{class}\0", class.to_lowercase());
        conn.change_property8(PropMode::REPLACE, id, AtomEnum::WM_CLASS, AtomEnum::STRING, name.as_bytes())
            .expect("a server");
        // The user's own place (ICCCM, WM_NORMAL_HINTS), which a window manager keeps.
        let mut hints = [0u32; 18];
        hints[0] = 1;
        conn.change_property32(
            PropMode::REPLACE,
            id,
            AtomEnum::WM_NORMAL_HINTS,
            AtomEnum::WM_SIZE_HINTS,
            &hints,
        )
        .expect("a server");
        conn.map_window(id).expect("a server");
        conn.sync().expect("a server");
        Self { window: display.shown(id), conn, seen: std::cell::RefCell::default() }
    }

    /// Everything that it saw until now. What was sent before this call is in it.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.conn.sync().expect("a server");
        while let Some(event) = self.conn.poll_for_event().expect("a server") {
            let seen = match event {
                Event::ButtonPress(event) => ("press", event.root_x, event.root_y, event.detail),
                Event::ButtonRelease(event) => ("release", event.root_x, event.root_y, event.detail),
                Event::MotionNotify(event) => ("motion", event.root_x, event.root_y, 0),
                _ => continue,
            };
            self.seen.borrow_mut().push((seen.0, seen.1.into(), seen.2.into(), seen.3));
        }
        self.seen.borrow().clone()
    }

    /// Its presses and releases.
    pub(crate) fn strokes(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.0 != "motion").collect()
    }

    /// Waits until it saw this many events of a kind.
    #[track_caller]
    pub(crate) fn wait_for(&self, kind: &str, count: usize) -> Vec<Seen> {
        until(&format!("{count} times {kind}"), || {
            let seen = self.seen();
            (seen.iter().filter(|seen| seen.0 == kind).count() >= count).then_some(seen)
        })
    }
}
