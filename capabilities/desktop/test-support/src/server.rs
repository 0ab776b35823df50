//! The X server of a test, and its window manager.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::ChildStdout;

use llm_os_core::Display;
use tempfile::TempDir;
use x11rb::connection::Connection as _;
use x11rb::protocol::randr::{ConnectionExt as _, MonitorInfo};
use x11rb::protocol::xproto::{AtomEnum, ClientMessageEvent, ConnectionExt as _, EventMask, InputFocus};
use x11rb::reexports::x11rb_protocol::parse_display::parse_display;
use x11rb::rust_connection::{DefaultStream, RustConnection};

use crate::process::Environment;
use crate::shown::Finder;
use crate::{Program, Shown, until};

/// Without key bindings and menus; a click focuses and raises and goes on to the window.
const OPENBOX: &str = include_str!("openbox.xml");

/// An X server of the test's own.
pub struct TestDisplay {
    name: String,
    cookie: Vec<u8>,
    finder: Finder,
    manager: Option<Program>,
    server: Program,
    /// Open for as long as the server may write to it.
    number: BufReader<ChildStdout>,
    dir: TempDir,
}

impl TestDisplay {
    /// 1280x800 with a window manager.
    pub fn start() -> Self {
        Self::sized(1280, 800)
    }

    /// Another size, with a window manager.
    pub fn sized(width: u16, height: u16) -> Self {
        let mut display = Self::server(width, height, &[]);
        display.manage();
        display
    }

    /// 1280x800 without a window manager.
    pub fn bare() -> Self {
        Self::server(1280, 800, &[])
    }

    /// The same, and the server lacks an extension, such as `MIT-SHM`.
    pub fn without(extension: &str) -> Self {
        Self::server(1280, 800, &["-extension", extension])
    }

    fn server(width: u16, height: u16, more: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("display-").tempdir().expect("a temporary directory");
        let mut cookie = vec![0; 16];
        fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut cookie)).expect("random");
        let authority = dir.path().join("authority");
        fs::write(&authority, authority_of(&cookie)).expect("an authority file");
        let (server, out) = run(None, &format!("{width}x{height}x24"), more, &authority, dir.path());
        let mut out = BufReader::new(out);
        let mut number = String::new();
        out.read_line(&mut number).expect("the display's number");
        let number = number.trim();
        assert!(!number.is_empty(), "Xvfb ended before it had a display");
        let name = format!(":{number}");
        let finder = Finder::new(connect(&name, &cookie));
        Self { name, cookie, finder, manager: None, server, number: out, dir }
    }

    /// Starts another server in the place of this one, without a window manager; it has to be dead.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn replace(&mut self) {
        drop(self.manager.take());
        self.server.end();
        let authority = self.dir.path().join("authority");
        // A server of another test may have taken the number in between, and has it for as long as that test lasts.
        until("a server that has the number again", || {
            let (server, out) = run(Some(&self.name), "1280x800x24", &[], &authority, self.dir.path());
            self.server.end();
            self.server = server;
            self.number = BufReader::new(out);
            let mut number = String::new();
            self.number.read_line(&mut number).expect("what the server says");
            (!number.is_empty()).then_some(())
        });
        self.finder = Finder::new(connect(&self.name, &self.cookie));
    }

    fn manage(&mut self) {
        let config = self.dir.path().join("openbox.xml");
        fs::write(&config, OPENBOX).expect("a configuration");
        let config = config.to_str().expect("a path in UTF-8");
        let manager = self.spawn("openbox", &["--sm-disable", "--config-file", config]);
        until("a window manager", || self.finder.is_managed().then_some(()));
        // It tells of itself before it takes windows, and forgets those that are mapped in between.
        until("a window manager that takes windows", || self.finder.takes_windows().then_some(()));
        self.manager = Some(manager);
    }

    /// For a host's `Setup`; its id is `virtual`.
    pub fn display(&self) -> Display {
        Display {
            id: "virtual".to_owned(),
            name: self.name.clone(),
            authority: Some(self.dir.path().join("authority")),
        }
    }

    /// A connection of the test's own, a second client.
    pub fn connect(&self) -> RustConnection {
        connect(&self.name, &self.cookie)
    }

    /// The root window.
    pub fn root(&self) -> u32 {
        self.finder.root
    }

    /// A directory for what programs write; gone with the display.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The X server's process, to stop or to kill it.
    pub fn server_pid(&self) -> u32 {
        self.server.pid()
    }

    /// Starts a program on this display.
    pub fn spawn(&self, name: &str, arguments: &[&str]) -> Program {
        let authority = self.dir.path().join("authority");
        let environment =
            Environment { display: Some(&self.name), authority: &authority, home: self.dir.path() };
        Program::start(name, arguments, &environment)
    }

    /// Waits until a window of this class (the second string of `WM_CLASS`) is shown.
    ///
    /// # Panics
    ///
    /// Where there is none in 20 seconds.
    #[track_caller]
    pub fn window(&self, class: &str) -> Shown {
        until(&format!("a window of the class {class}"), || self.finder.find(class))
    }

    /// The same by its id, as it is now.
    ///
    /// # Panics
    ///
    /// Where it is not shown within 20 seconds.
    #[track_caller]
    pub fn shown(&self, id: u32) -> Shown {
        until("a window by its id", || self.finder.shown(id))
    }

    /// Gives a window the keyboard, and waits until it, or a window inside of it, has it.
    ///
    /// # Panics
    ///
    /// Where it does not have it in 20 seconds.
    #[track_caller]
    pub fn focus(&self, id: u32) {
        let conn = &self.finder.conn;
        if self.manager.is_some() {
            // Source 2: a pager, which window managers obey at once (EWMH, _NET_ACTIVE_WINDOW).
            let event =
                ClientMessageEvent::new(32, id, self.finder.atoms._NET_ACTIVE_WINDOW, [2, 0, 0, 0, 0]);
            let mask = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
            conn.send_event(false, self.finder.root, mask, event).expect("a server");
        } else {
            conn.set_input_focus(InputFocus::PARENT, id, x11rb::CURRENT_TIME).expect("a server");
        }
        conn.flush().expect("a server");
        until("the focus", || self.finder.has_focus(id).then_some(()));
    }

    /// Moves a window's upper left corner (its frame's, where it has one) and waits until it is there.
    ///
    /// # Panics
    ///
    /// Where it is not there in 20 seconds.
    #[track_caller]
    pub fn move_window(&self, id: u32, x: i32, y: i32) {
        let before = self.shown(id);
        let aux = x11rb::protocol::xproto::ConfigureWindowAux::new().x(x).y(y);
        self.finder.conn.configure_window(id, &aux).expect("a server");
        self.finder.conn.flush().expect("a server");
        until("a moved window", || self.finder.shown(id).filter(|now| now.rect != before.rect));
    }

    /// Loads another keyboard layout, such as `de` or `fr`.
    ///
    /// # Panics
    ///
    /// Where there is none of this name.
    pub fn layout_of(&self, name: &str) {
        assert!(self.spawn("setxkbmap", &["-layout", name]).wait(), "there is no keyboard layout {name}");
    }

    /// Two monitors beside one another, `left` with this width and `right` with the rest.
    pub fn split_monitors(&self, left: u16) {
        let screen =
            self.finder.conn.get_geometry(self.finder.root).expect("a server").reply().expect("a root");
        let right = screen.width.checked_sub(left).expect("a left monitor narrower than the screen");
        self.set_monitor("left", 0, 0, left, screen.height);
        self.set_monitor("right", left.cast_signed(), 0, right, screen.height);
    }

    /// Adds a monitor or arranges it anew (RandR 1.5, SetMonitor). The first one takes the place of the screen's only
    /// output, whose own monitor is then gone.
    ///
    /// # Panics
    ///
    /// Where the server refuses it.
    pub fn set_monitor(&self, name: &str, x: i16, y: i16, width: u16, height: u16) {
        let conn = &self.finder.conn;
        let name = self.finder.atom(name);
        let monitors =
            conn.randr_get_monitors(self.finder.root, false).expect("a server").reply().expect("RandR");
        let automatic = monitors.monitors.iter().find(|monitor| monitor.automatic);
        let outputs = automatic.map(|monitor| monitor.outputs.clone()).unwrap_or_default();
        let monitor = MonitorInfo {
            name,
            primary: !outputs.is_empty(),
            automatic: false,
            x,
            y,
            width,
            height,
            width_in_millimeters: u32::from(width) / 4,
            height_in_millimeters: u32::from(height) / 4,
            outputs,
        };
        conn.randr_set_monitor(self.finder.root, monitor).expect("a server").check().expect("a monitor");
    }

    /// Removes a monitor, as if it was unplugged.
    ///
    /// # Panics
    ///
    /// Where there is none of this name.
    pub fn remove_monitor(&self, name: &str) {
        let name = self.finder.atom(name);
        let conn = &self.finder.conn;
        conn.randr_delete_monitor(self.finder.root, name).expect("a server").check().expect("a monitor");
    }

    /// The colour that a pixel of the screen has now, red first.
    ///
    /// # Panics
    ///
    /// Where it is not on the screen.
    pub fn pixel(&self, x: i16, y: i16) -> [u8; 3] {
        use x11rb::protocol::xproto::ImageFormat;
        let conn = &self.finder.conn;
        let image = conn.get_image(ImageFormat::Z_PIXMAP, self.finder.root, x, y, 1, 1, u32::MAX);
        let data = image.expect("a server").reply().expect("a pixel of the screen").data;
        [data[2], data[1], data[0]]
    }

    /// What a window says in a property of type text, as it is now.
    pub fn text_property(&self, window: u32, name: &str) -> Option<String> {
        let conn = &self.finder.conn;
        let atom = self.finder.atom(name);
        let value = conn.get_property(false, window, atom, AtomEnum::ANY, 0, 4096).ok()?.reply().ok()?.value;
        String::from_utf8(value).ok()
    }
}

impl Drop for TestDisplay {
    fn drop(&mut self) {
        drop(self.manager.take());
        // Asked, it removes its socket and its lock file.
        self.server.end();
    }
}

/// Runs a server on a display, or on one with a free number that it chooses itself; it writes the number to its standard
/// output once it listens.
fn run(
    name: Option<&str>,
    screen: &str,
    more: &[&str],
    authority: &std::path::Path,
    home: &std::path::Path,
) -> (Program, ChildStdout) {
    let environment = Environment { display: None, authority, home };
    let fixed =
        ["-displayfd", "1", "-screen", "0", screen, "-nolisten", "tcp", "-noreset", "-dpi", "96", "-s", "0"];
    let mut arguments: Vec<&std::ffi::OsStr> =
        name.into_iter().chain(fixed).chain(more.iter().copied()).map(std::ffi::OsStr::new).collect();
    arguments.extend([std::ffi::OsStr::new("-auth"), authority.as_os_str()]);
    Program::piped("Xvfb", &arguments, &environment)
}

fn connect(name: &str, cookie: &[u8]) -> RustConnection {
    let parsed = parse_display(Some(name)).expect("a display's name");
    let (stream, _) = parsed
        .connect_instruction()
        .find_map(|address| DefaultStream::connect(&address).ok())
        .expect("a server that listens");
    let name = b"MIT-MAGIC-COOKIE-1".to_vec();
    RustConnection::connect_to_stream_with_auth_info(stream, 0, name, cookie.to_vec()).expect("a connection")
}

/// One entry for any host and any display (xauth(1), FamilyWild): the number is not known yet.
fn authority_of(cookie: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xff];
    for field in [b"".as_slice(), b"", b"MIT-MAGIC-COOKIE-1", cookie] {
        bytes.extend(u16::try_from(field.len()).expect("a short field").to_be_bytes());
        bytes.extend(field);
    }
    bytes
}
