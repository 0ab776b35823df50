"""Writes each pointer event to a file, one line each, and draws what is dragged with the first button.

Arguments: the file, the window's class, its geometry."""
import sys
import tkinter

FILE, CLASS, GEOMETRY = sys.argv[1:]

root = tkinter.Tk(className=CLASS)
root.geometry(GEOMETRY)
canvas = tkinter.Canvas(root, background="white", highlightthickness=0, borderwidth=0)
canvas.pack(fill="both", expand=True)
last = None
log = None


def write(kind, event):
    button = event.num if isinstance(event.num, int) else 0
    state = event.state if isinstance(event.state, int) else 0
    log.write(f"{kind} {event.x_root} {event.y_root} {button} {state}\n")
    log.flush()


def press(event):
    global last
    last = (event.x, event.y)
    write("press", event)


def release(event):
    global last
    last = None
    write("release", event)


def motion(event):
    global last
    if last and event.state & 0x100:
        canvas.create_line(*last, event.x, event.y, fill="#ff0000", width=3)
        last = (event.x, event.y)
    write("motion", event)


canvas.bind("<ButtonPress>", press)
canvas.bind("<ButtonRelease>", release)
canvas.bind("<Motion>", motion)
# On another binding tag, or they would take the place of the press.
root.bind("<Double-ButtonPress>", lambda event: write("double", event))
root.bind("<Triple-ButtonPress>", lambda event: write("triple", event))
root.wait_visibility(canvas)
root.update()
log = open(FILE, "w", encoding="utf-8")
root.mainloop()
