"""Writes the content of a text widget to a file on each change. Arguments: the file, the window's class."""
import os
import sys
import tkinter

FILE, CLASS = sys.argv[1:]


def write(_=None):
    with open(FILE + ".new", "w", encoding="utf-8", newline="") as file:
        file.write(text.get("1.0", "end-1c"))
    os.rename(FILE + ".new", FILE)
    # The widget tells of a change only when this flag goes up.
    text.edit_modified(False)


root = tkinter.Tk(className=CLASS)
text = tkinter.Text(root)
text.pack()
text.focus_set()
text.bind("<<Modified>>", write)
root.update()
write()
root.mainloop()
