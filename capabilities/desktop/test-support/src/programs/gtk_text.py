"""Writes the content of a text view to a file when it has read all keys so far. Arguments: the file, the window's class."""
import os
import sys

import gi

gi.require_version("Gdk", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GLib, Gtk

FILE, CLASS = sys.argv[1:]
GLib.set_prgname(CLASS.lower())
Gdk.set_program_class(CLASS)


pending = []


def write(buffer):
    pending.clear()
    text = buffer.get_text(buffer.get_start_iter(), buffer.get_end_iter(), True)
    with open(FILE + ".new", "w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.rename(FILE + ".new", FILE)
    return GLib.SOURCE_REMOVE


def changed(buffer):
    # One that writes on each change is slower than any program that is typed into.
    if not pending:
        pending.append(GLib.idle_add(write, buffer))


view = Gtk.TextView()
view.get_buffer().connect("changed", changed)
window = Gtk.Window(title=CLASS)
window.set_default_size(500, 300)
window.add(view)
window.connect("destroy", Gtk.main_quit)
window.connect("map-event", lambda *_: write(view.get_buffer()))
window.show_all()
view.grab_focus()
Gtk.main()
