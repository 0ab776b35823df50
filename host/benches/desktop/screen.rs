//! Captures: from the request until the whole answer is there; and how soon a settled screen is noticed.

use std::process::Command;
use std::time::{Duration, Instant};

use llm_os_desktop_test_support::TestDisplay;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use serde_json::json;
use x11rb::COPY_DEPTH_FROM_PARENT;
use x11rb::connection::Connection as _;
use x11rb::protocol::shm::ConnectionExt as _;
use x11rb::protocol::xproto::{
    ConnectionExt as _, CreateGCAux, CreateWindowAux, ImageFormat, Rectangle, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::host::{Host, frame};
use crate::measure::{median, micros};
use crate::table::{Bar, Measured, Table};

const ROUNDS: usize = 11;
const QUIET_MS: u64 = 100;

pub(crate) fn measure(table: &mut Table) {
    for (width, height) in [(1280, 800), (1920, 1080), (3840, 2160)] {
        captures(table, width, height);
    }
    settled(table);
}

fn captures(table: &mut Table, width: u16, height: u16) {
    const EACH: usize = 5;
    let display = TestDisplay::sized(width, height);
    let _programs = furnish(&display);
    let mut host = Host::on(&display);
    let mut floor = Floor::new(&display, width, height);
    let line = frame("monitor.capture", &json!({"format": "png"}));
    let shot = tempfile::Builder::new().suffix(".png").tempfile_in("/dev/shm").unwrap();
    let (mut to_floor, mut to_scrot) = (Measured::default(), Measured::default());
    for round in 0..=ROUNDS {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..EACH {
            bare.push(time(|| drop(floor.capture())));
            ours.push(time(|| host.run(&line)));
        }
        let peer = time(|| scrot(&display, shot.path().to_str().unwrap()));
        if round > 0 {
            let ours = micros(median(ours));
            to_floor.round(micros(median(bare)), ours);
            to_scrot.round(micros(peer), ours);
        }
    }
    let bytes = floor.capture().len() / 1024;
    let what = format!("capture of {width}x{height} as PNG ({bytes} KiB), in the answer");
    table.row(&what, "MIT-SHM and the fastest PNG", "us", to_floor, Bar::AtMost(1.5));
    table.row(&what, "scrot", "us", to_scrot, Bar::AtMost(0.125));
}

/// What a desktop looks like: text in windows, flat areas, and a picture with no flat area in it.
fn furnish(display: &TestDisplay) -> Vec<llm_os_desktop_test_support::Program> {
    let conn = display.connect();
    let screen = &conn.setup().roots[0];
    let (width, height) = (screen.width_in_pixels / 4, screen.height_in_pixels / 3);
    let window = conn.generate_id().unwrap();
    let aux = CreateWindowAux::new().override_redirect(1).background_pixel(0x00f0_e8d8);
    let class = WindowClass::INPUT_OUTPUT;
    let at = (i16::try_from(width).unwrap(), i16::try_from(height).unwrap());
    conn.create_window(
        COPY_DEPTH_FROM_PARENT,
        window,
        screen.root,
        at.0,
        at.1,
        width,
        height,
        0,
        class,
        0,
        &aux,
    )
    .unwrap();
    conn.map_window(window).unwrap();
    let gc = conn.generate_id().unwrap();
    conn.create_gc(gc, window, &CreateGCAux::new()).unwrap();
    let mut seed = 1_u32;
    let pixels = (0..u32::from(width) * u32::from(height)).flat_map(|n| {
        let (x, y) = (n % u32::from(width), n / u32::from(width));
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = seed >> 29;
        [(x / 3 + noise) as u8, (y / 2 + noise) as u8, ((x + y) / 5 + noise) as u8, 0]
    });
    let pixels: Vec<u8> = pixels.collect();
    let row = usize::from(width) * 4;
    for (y, lines) in pixels.chunks(row * 16).enumerate() {
        let rows = u16::try_from(lines.len() / row).unwrap();
        let y = i16::try_from(y * 16).unwrap();
        conn.put_image(ImageFormat::Z_PIXMAP, window, gc, width, rows, 0, y, 0, screen.root_depth, lines)
            .unwrap();
    }
    conn.sync().unwrap();
    // The window lives as long as its connection.
    std::mem::forget(conn);
    let list = "ls -lR /usr/share | head -n 400; exec sleep 100000";
    let terminals = ["100x40+20+20", "90x30+500+300"];
    let programs =
        terminals.map(|geometry| display.spawn("xterm", &["-geometry", geometry, "-e", "sh", "-c", list]));
    display.window("XTerm");
    std::thread::sleep(Duration::from_secs(2));
    programs.into()
}

fn scrot(display: &TestDisplay, file: &str) {
    let shown = display.display();
    let mut command = Command::new("scrot");
    command.args(["-o", file]).env("DISPLAY", &shown.name).env("XAUTHORITY", shown.authority.unwrap());
    assert!(command.status().unwrap().success());
}

fn time(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

/// The least: the screen by shared memory, its pixels as RGB, the fastest encoding of the `png` crate.
struct Floor {
    conn: RustConnection,
    root: u32,
    segment: u32,
    pixels: &'static [u8],
    size: (u16, u16),
}

impl Floor {
    #[allow(unsafe_code)]
    fn new(display: &TestDisplay, width: u16, height: u16) -> Self {
        let conn = display.connect();
        let root = conn.setup().roots[0].root;
        let bytes = usize::from(width) * usize::from(height) * 4;
        let segment = conn.generate_id().unwrap();
        conn.shm_query_version().unwrap().reply().unwrap();
        let shared =
            conn.shm_create_segment(segment, u32::try_from(bytes).unwrap(), false).unwrap().reply().unwrap();
        // SAFETY: the segment has this many bytes, is mapped for reading alone, and is never unmapped.
        let pixels = unsafe {
            let at = mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, &shared.shm_fd, 0)
                .unwrap();
            std::slice::from_raw_parts(at.cast::<u8>(), bytes)
        };
        Self { conn, root, segment, pixels, size: (width, height) }
    }

    fn capture(&mut self) -> Vec<u8> {
        let (width, height) = self.size;
        let format = ImageFormat::Z_PIXMAP.into();
        let image = self.conn.shm_get_image(self.root, 0, 0, width, height, !0, format, self.segment, 0);
        image.unwrap().reply().unwrap();
        let mut rgb = vec![0; self.pixels.len() / 4 * 3];
        for (to, from) in rgb.chunks_exact_mut(3).zip(self.pixels.chunks_exact(4)) {
            to.copy_from_slice(&[from[2], from[1], from[0]]);
        }
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, width.into(), height.into());
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fastest);
        encoder.write_header().unwrap().write_image_data(&rgb).unwrap();
        out
    }
}

/// How long after the last damage and the quiet time `monitor.wait` answers.
fn settled(table: &mut Table) {
    let display = TestDisplay::start();
    let mut host = Host::on(&display);
    let conn = display.connect();
    let screen = &conn.setup().roots[0];
    let window = conn.generate_id().unwrap();
    let aux = CreateWindowAux::new().override_redirect(1).background_pixel(screen.white_pixel);
    let class = WindowClass::INPUT_OUTPUT;
    conn.create_window(COPY_DEPTH_FROM_PARENT, window, screen.root, 10, 10, 300, 300, 0, class, 0, &aux)
        .unwrap();
    conn.map_window(window).unwrap();
    let gc = conn.generate_id().unwrap();
    conn.create_gc(gc, window, &CreateGCAux::new().foreground(0x00ff_0000)).unwrap();
    conn.sync().unwrap();
    let params = json!({"until": "settled", "quiet_ms": QUIET_MS, "timeout_ms": 10_000});
    let line = frame("monitor.wait", &params);
    let times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            host.connection.send(&line);
            for n in 0..20 {
                std::thread::sleep(Duration::from_millis(20));
                let rectangle = Rectangle { x: n * 10, y: n * 10, width: 40, height: 40 };
                conn.poly_fill_rectangle(window, gc, &[rectangle]).unwrap();
                conn.sync().unwrap();
            }
            let last = Instant::now();
            assert!(crate::measure::is_ok(host.connection.answer()));
            micros(last.elapsed()) / 1000.0 - QUIET_MS as f64
        })
        .collect();
    table.absolute("`monitor.wait settled` after the last damage and its quiet time", "ms", &times, 30.0);
}
