//! Menus that are open hold the pointer; a click into them goes through, one past them does not.

use std::path::PathBuf;

use llm_os_desktop_test_support::{Area, Program, TestDisplay, until};
use serde_json::json;
use x11rb::protocol::xproto::{ConnectionExt as _, MapState};

use crate::support::{done, mouse};
use crate::witness::Witness;

const GTK: &str = r#"
import sys, gi
gi.require_version("Gtk", "3.0")
gi.require_version("Gdk", "3.0")
from gi.repository import Gdk, GLib, Gtk
Gdk.set_program_class("Menued")
window = Gtk.Window(title="menu")
window.set_default_size(300, 200)
bar, menu = Gtk.MenuBar(), Gtk.Menu()
file, act = Gtk.MenuItem(label="File"), Gtk.MenuItem(label="Act on this")
act.connect("activate", lambda _: open(sys.argv[1], "w").close())
menu.append(act)
file.set_submenu(menu)
bar.append(file)
box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
box.pack_start(bar, False, False, 0)
window.add(box)
window.show_all()
Gtk.main()
"#;

const TK: &str = r#"
import sys, tkinter
root = tkinter.Tk(className="Menued")
root.geometry("300x200+50+50")
bar = tkinter.Menu(root)
menu = tkinter.Menu(bar, tearoff=False)
menu.add_command(label="Act on this", command=lambda: open(sys.argv[1], "w").close())
bar.add_cascade(label="File", menu=menu)
root.config(menu=bar)
root.mainloop()
"#;

struct Menued {
    _program: Program,
    window: Area,
    acted: PathBuf,
}

impl Menued {
    fn start(display: &TestDisplay, script: &str) -> Self {
        let acted = display.dir().join("acted");
        let program = display.python(script, &[acted.to_str().expect("a path in UTF-8")]);
        Self { window: display.window("Menued").rect, _program: program, acted }
    }

    /// Where its menu bar has its first entry.
    fn entry(&self) -> (i32, i32) {
        (self.window.x + 15, self.window.y + 12)
    }
}

/// The window of the open menu.
fn open_menu(display: &TestDisplay) -> Area {
    let conn = display.connect();
    until("an open menu", || {
        let children = conn.query_tree(display.root()).expect("a server").reply().expect("a root").children;
        children.iter().rev().find_map(|child| {
            let attributes = conn.get_window_attributes(*child).ok()?.reply().ok()?;
            let geometry = conn.get_geometry(*child).ok()?.reply().ok()?;
            let is_menu = attributes.override_redirect
                && attributes.map_state == MapState::VIEWABLE
                && geometry.height > 10
                && geometry.height < 100;
            is_menu.then_some(Area {
                x: geometry.x.into(),
                y: geometry.y.into(),
                width: geometry.width.into(),
                height: geometry.height.into(),
            })
        })
    })
}

#[test]
fn an_entry_of_an_open_gtk_menu_can_be_clicked() {
    let display = TestDisplay::start();
    let (world, program) = (mouse(&display), Menued::start(&display, GTK));
    let (x, y) = program.entry();
    done(&world, "mouse.click", json!({"x": x, "y": y}));
    let (x, y) = open_menu(&display).centre();
    done(&world, "mouse.move", json!({"x": x, "y": y}));
    done(&world, "mouse.click", json!({"x": x, "y": y}));
    until("the entry's action", || program.acted.exists().then_some(()));
}

#[test]
fn an_entry_of_an_open_tk_menu_can_be_clicked() {
    let display = TestDisplay::start();
    let (world, program) = (mouse(&display), Menued::start(&display, TK));
    let (x, y) = program.entry();
    done(&world, "mouse.click", json!({"x": x, "y": y}));
    let (x, y) = open_menu(&display).centre();
    done(&world, "mouse.click", json!({"x": x, "y": y}));
    until("the entry's action", || program.acted.exists().then_some(()));
}

#[test]
fn a_click_past_an_open_menu_into_another_program_is_refused() {
    let display = TestDisplay::start();
    let world = mouse(&display);
    let other = Witness::new(&display, "Other", 700, 400, 200, 200);
    let program = Menued::start(&display, GTK);
    let (x, y) = program.entry();
    done(&world, "mouse.click", json!({"x": x, "y": y}));
    let menu = open_menu(&display).centre();
    let (x, y) = other.window.rect.centre();
    world.refused("mouse.click", json!({"x": x, "y": y}), "input_grabbed");
    world.refused("mouse.click", json!({"x": 5, "y": 795}), "input_grabbed");
    // Modifiers would go to whoever holds the keyboard.
    world.refused("mouse.click", json!({"x": menu.0, "y": menu.1, "modifiers": ["ctrl"]}), "input_grabbed");
    assert_eq!(other.seen(), []);
    assert!(!program.acted.exists());
}
