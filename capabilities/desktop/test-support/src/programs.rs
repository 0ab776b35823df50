//! Programs that write down what reaches them.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Program, Shown, TestDisplay, until};

const GTK: &str = include_str!("programs/gtk_text.py");
const TK: &str = include_str!("programs/tk_text.py");
const CANVAS: &str = include_str!("programs/canvas.py");

/// A program with a window that writes what is typed into it to a file.
pub struct Reader {
    /// Its window, as it was first shown.
    pub window: Shown,
    /// Its process.
    pub program: Program,
    file: PathBuf,
}

impl Reader {
    /// What it has read so far.
    ///
    /// # Panics
    ///
    /// Where it is no UTF-8.
    pub fn content(&self) -> String {
        let bytes = fs::read(&self.file).expect("the program's file");
        // A character may be half written.
        let whole = bytes.utf8_chunks().next().map(|chunk| chunk.valid().to_owned());
        whole.unwrap_or_default()
    }

    /// Waits until the marker was read, and gives everything up to now.
    ///
    /// # Panics
    ///
    /// Where it was not after 20 seconds, with what was.
    #[track_caller]
    pub fn read_until(&self, marker: &str) -> String {
        let mut last = String::new();
        until(&format!("{marker:?} in what the program read"), || {
            let now = self.content();
            if now != last {
                last.clone_from(&now);
                eprintln!("the program has read {} bytes, the last: {:?}", now.len(), tail(&now));
            }
            now.contains(marker).then_some(now)
        })
    }

    /// Waits until this many bytes were read, and gives everything up to now.
    ///
    /// # Panics
    ///
    /// Where they were not after 20 seconds.
    #[track_caller]
    pub fn read_bytes(&self, count: usize) -> String {
        until(&format!("{count} bytes in what the program read, not {:?}", tail(&self.content())), || {
            let now = self.content();
            (now.len() >= count).then_some(now)
        })
    }
}

fn tail(text: &str) -> String {
    text.chars().skip(text.chars().count().saturating_sub(40)).collect()
}

/// What a [`Canvas`] saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointerEvent {
    /// `press`, `release`, `motion`, `double` or `triple`.
    pub kind: String,
    /// The pixel of the screen.
    pub x: i32,
    /// The pixel of the screen.
    pub y: i32,
    /// The logical button, 0 for a motion.
    pub button: u8,
    /// X's key and button mask right before the event.
    pub state: u16,
}

/// A Tk canvas that writes down every pointer event and draws what is dragged: red, three pixels wide, on white.
pub struct Canvas {
    /// Its window, as it was first shown; the canvas fills it.
    pub window: Shown,
    /// Its process.
    pub program: Program,
    file: PathBuf,
}

impl Canvas {
    /// All events so far. Motions that wait in the program's queue together count as one, the last.
    pub fn events(&self) -> Vec<PointerEvent> {
        let text = fs::read_to_string(&self.file).expect("the canvas's file");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(event).collect()
    }

    /// Waits until there are this many events of a kind, and gives all events so far.
    ///
    /// # Panics
    ///
    /// Where there are not after 20 seconds.
    #[track_caller]
    pub fn wait_for(&self, kind: &str, count: usize) -> Vec<PointerEvent> {
        until(&format!("{count} times {kind} on the canvas, not {:?}", self.events()), || {
            let events = self.events();
            (events.iter().filter(|event| event.kind == kind).count() >= count).then_some(events)
        })
    }
}

fn event(line: &str) -> PointerEvent {
    let mut words = line.split(' ');
    let kind = words.next().unwrap_or_default().to_owned();
    let mut number = || words.next().and_then(|word| word.parse::<i32>().ok()).expect("a number");
    let (x, y, button, state) = (number(), number(), number(), number());
    PointerEvent {
        kind,
        x,
        y,
        button: u8::try_from(button).expect("a button"),
        state: u16::try_from(state).expect("a mask"),
    }
}

impl TestDisplay {
    /// An xterm whose program writes each byte of its terminal to a file. The terminal is raw: Return is `\r`.
    pub fn xterm_reader(&self) -> Reader {
        let (file, ready) = (self.file("xterm"), self.file("xterm-ready"));
        let script = format!(
            "stty raw -echo && : >'{ready}' && exec cat >'{file}'",
            ready = ready.display(),
            file = file.display()
        );
        let name = name_of(&file);
        let program = self.spawn("xterm", &["-class", &name, "-u8", "-e", "/bin/sh", "-c", &script]);
        let window = self.window(&name);
        until("a terminal that reads", || (ready.exists() && file.exists()).then_some(()));
        Reader { window, program, file }
    }

    /// A GTK 3 window with a text view.
    pub fn gtk_text(&self) -> Reader {
        self.editor("gtk", GTK)
    }

    /// A Tk window with a text widget.
    pub fn tk_text(&self) -> Reader {
        self.editor("tk", TK)
    }

    fn editor(&self, name: &str, script: &str) -> Reader {
        let file = self.file(name);
        let class = name_of(&file);
        let program = self.python(script, &[file.to_str().expect("a path in UTF-8"), &class]);
        let window = self.window(&class);
        until("a window that reads", || file.exists().then_some(()));
        Reader { window, program, file }
    }

    /// A canvas of 400x300 pixels at 100, 100 (its frame, where it gets one).
    pub fn canvas(&self) -> Canvas {
        self.canvas_at(100, 100, 400, 300)
    }

    /// A canvas of another size and place.
    pub fn canvas_at(&self, x: i32, y: i32, width: u32, height: u32) -> Canvas {
        let file = self.file("canvas");
        let class = name_of(&file);
        let geometry = format!("{width}x{height}+{x}+{y}");
        let program = self.python(CANVAS, &[file.to_str().expect("a path in UTF-8"), &class, &geometry]);
        let window = self.window(&class);
        until("a canvas that is drawn", || file.exists().then_some(()));
        Canvas { window, program, file }
    }

    /// Runs a script by the system's Python, which has GTK 3 and Tk.
    pub fn python(&self, script: &str, arguments: &[&str]) -> Program {
        self.spawn("/usr/bin/python3", &[&["-c", script], arguments].concat())
    }

    fn file(&self, name: &str) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        self.dir().join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A class of the program's own, so that a test with two of them finds each.
fn name_of(file: &std::path::Path) -> String {
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
    name[..1].to_uppercase() + &name[1..]
}
