//! Typing: from the request until the program has read the last character.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use llm_os_desktop_test_support::{Program, TestDisplay};
use serde_json::json;
use tempfile::TempDir;
use x11rb::connection::Connection as _;
use x11rb::protocol::xproto::{ConnectionExt as _, KEY_PRESS_EVENT, KEY_RELEASE_EVENT};
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::RustConnection;

use crate::host::{Host, frame};
use crate::measure::micros;
use crate::table::{Bar, Measured, Table};

const ROUNDS: usize = 11;
const UNICODE: &str = "Grüße 日本語 🙂";
const INTACT: usize = 50;

pub(crate) fn measure(table: &mut Table) {
    let display = TestDisplay::start();
    let mut host = Host::on(&display);
    let mut xterm = Reader::xterm(&display);
    ascii(table, &display, &mut host, &mut xterm);
    unicode(table, "xterm", &display, &mut host, &mut xterm);
    drop(xterm);
    let mut gtk = Reader::gtk(&display);
    unicode(table, "a GTK text view", &display, &mut host, &mut gtk);
}

/// 1,000 characters of the layout, a third of them with Shift.
fn ascii(table: &mut Table, display: &TestDisplay, host: &mut Host, reader: &mut Reader) {
    let text: String = ('!'..='~').cycle().take(1000).collect();
    let raw = Raw::new(display);
    let line = frame("keyboard.type", &json!({"text": text}));
    let (mut to_raw, mut to_xdotool) = (Measured::default(), Measured::default());
    for round in 0..=ROUNDS {
        let floor = reader.time(&text, || raw.type_text(&text));
        let ours = reader.time(&text, || host.run(&line));
        let peer = reader.time(&text, || xdotool(display, &["type", "--delay", "0", &text]));
        if round > 0 {
            to_raw.round(micros(floor), micros(ours));
            to_xdotool.round(micros(peer), micros(ours));
        }
    }
    let what = "1,000 ASCII characters until xterm's program has read the last";
    table.row(what, "raw XTEST", "us", to_raw, Bar::AtMost(2.0));
    table.row(what, "xdotool type --delay 0", "us", to_xdotool, Bar::AtMost(0.125));
}

/// Text outside of the layout, beside xdotool at the pace at which it is right, with and without a compiler running.
fn unicode(table: &mut Table, window: &str, display: &TestDisplay, host: &mut Host, reader: &mut Reader) {
    let line = frame("keyboard.type", &json!({"text": UNICODE}));
    for load in [false, true] {
        let _compiler = load.then(Compiler::start);
        let mut measured = Measured::default();
        let mut intact = 0;
        for _ in 0..INTACT {
            let (ours, read) = reader.take(UNICODE.len(), || host.run(&line));
            intact += usize::from(read == UNICODE.as_bytes());
            if !load {
                let peer =
                    reader.take(UNICODE.len(), || xdotool(display, &["type", "--delay", "12", UNICODE])).0;
                measured.round(micros(peer), micros(ours));
            }
        }
        if load {
            table.note(format!(
                "\"{UNICODE}\" into {window} with a compiler running: {intact} of {INTACT} intact."
            ));
        } else {
            let what = format!("\"{UNICODE}\" into {window}, {intact} of {INTACT} intact");
            table.row(&what, "xdotool type --delay 12", "us", measured, Bar::AtMost(1.0));
        }
    }
}

/// A program that hands on what it reads, byte for byte, as soon as it has it.
struct Reader {
    pipe: File,
    _program: Program,
    _dir: TempDir,
}

impl Reader {
    fn xterm(display: &TestDisplay) -> Self {
        let (dir, path) = fifo();
        let pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let script = format!("stty raw -echo; printf R >{0}; exec cat >{0}", path.display());
        let program = display.spawn("xterm", &["-u8", "-e", "sh", "-c", &script]);
        Self::ready(display, "XTerm", pipe, program, dir)
    }

    fn gtk(display: &TestDisplay) -> Self {
        let (dir, path) = fifo();
        let pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let script = format!(
            "import os,gi\ngi.require_version('Gtk','3.0')\nfrom gi.repository import Gtk\n\
             fd=os.open({:?},os.O_WRONLY)\nw=Gtk.Window()\nw.set_wmclass('Bench','Bench')\nt=Gtk.TextView()\nw.add(t)\n\
             t.get_buffer().connect('insert-text',lambda b,i,s,n:os.write(fd,s.encode()))\n\
             t.connect('focus-in-event',lambda *a:os.write(fd,b'R') and False)\n\
             w.connect('destroy',Gtk.main_quit)\nw.show_all()\nGtk.main()\n",
            path.to_str().unwrap()
        );
        let program = display.spawn("/usr/bin/python3", &["-c", &script]);
        Self::ready(display, "Bench", pipe, program, dir)
    }

    fn ready(display: &TestDisplay, class: &str, mut pipe: File, program: Program, dir: TempDir) -> Self {
        let window = display.window(class);
        display.focus(window.id);
        let mut ready = [0];
        pipe.read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"R");
        Self { pipe, _program: program, _dir: dir }
    }

    /// The time from before `act` until `text` was read, whole and right.
    fn time(&mut self, text: &str, act: impl FnOnce()) -> Duration {
        let (time, read) = self.take(text.len(), act);
        assert_eq!(String::from_utf8_lossy(&read), text);
        time
    }

    /// The same, whatever was read.
    fn take(&mut self, bytes: usize, act: impl FnOnce()) -> (Duration, Vec<u8>) {
        let mut read = vec![0; bytes];
        let start = Instant::now();
        act();
        self.pipe.read_exact(&mut read).unwrap();
        (start.elapsed(), read)
    }
}

fn fifo() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("read");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    (dir, path)
}

/// The least: every key at once, unchecked, by XTEST.
struct Raw {
    conn: RustConnection,
    keys: HashMap<u32, (u8, bool)>,
    shift: u8,
}

impl Raw {
    fn new(display: &TestDisplay) -> Self {
        const SHIFT_L: u32 = 0xffe1;
        let conn = display.connect();
        let (first, last) = (conn.setup().min_keycode, conn.setup().max_keycode);
        let map = conn.get_keyboard_mapping(first, last - first + 1).unwrap().reply().unwrap();
        let per = usize::from(map.keysyms_per_keycode);
        let mut keys = HashMap::new();
        for (code, syms) in (first..=last).zip(map.keysyms.chunks(per)) {
            for (level, sym) in syms.iter().take(2).enumerate() {
                keys.entry(*sym).or_insert((code, level == 1));
            }
        }
        let shift = keys[&SHIFT_L].0;
        Self { conn, keys, shift }
    }

    fn type_text(&self, text: &str) {
        let send = |kind, code| {
            self.conn.xtest_fake_input(kind, code, 0, 0, 0, 0, 0).unwrap();
        };
        for character in text.chars() {
            let (code, shifted) = self.keys[&u32::from(character)];
            if shifted {
                send(KEY_PRESS_EVENT, self.shift);
            }
            send(KEY_PRESS_EVENT, code);
            send(KEY_RELEASE_EVENT, code);
            if shifted {
                send(KEY_RELEASE_EVENT, self.shift);
            }
        }
        self.conn.flush().unwrap();
    }
}

pub(crate) fn xdotool(display: &TestDisplay, arguments: &[&str]) {
    let shown = display.display();
    let status = Command::new("xdotool")
        .args(arguments)
        .env("DISPLAY", &shown.name)
        .env("XAUTHORITY", shown.authority.unwrap())
        .env("LC_ALL", "C.UTF-8")
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

/// A C compiler that is never done.
struct Compiler {
    process: Child,
    _dir: TempDir,
}

impl Compiler {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("load.c");
        let functions = (0..400).map(|n| {
            format!("int f{n}(int a,int b){{int s=0;for(int i=0;i<a;i++)for(int j=0;j<b;j++)s+=(i*{n}+j)%7;return s;}}\n")
        });
        fs::write(&source, functions.collect::<String>()).unwrap();
        let loops = format!(
            "while :; do cc -O3 -c {} -o /dev/null & cc -O3 -c {0} -o /dev/null; wait; done",
            shown(&source)
        );
        use std::os::unix::process::CommandExt as _;
        let process = Command::new("sh").args(["-c", &loops]).process_group(0).spawn().unwrap();
        Self { process, _dir: dir }
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.process.wait();
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}
