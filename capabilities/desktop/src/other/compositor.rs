//! A Wayland compositor: where its outputs are, and a keyboard and a pointer of our own on its seat.
//!
//! The protocols are wl_output and xdg-output for the layout, virtual-keyboard-unstable-v1 for keys and
//! wlr-virtual-pointer-unstable-v1 for the pointer. `enigo` speaks the same ones, and is not used on them, because of what
//! was seen under sway 1.7:
//!
//! - It flushes after every key, so the compositor sends each one to the program in a message of its own. A program that
//!   was kept waiting for a moment had more of them unread than a socket holds, and the compositor cut it off: 1,000
//!   characters ended the terminal that they were typed into. Here a batch is one message.
//! - A key that is missing in the layout costs it 15 ms; its text goes to an input method and is silently lost where the
//!   program has none; a key that went down under one modifier may not come up under another.
//! - It scales absolute motion by the first output alone, which is wrong with two outputs or a scale.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use llm_os_core::{Display, Fault};
use rustix::fs::MemfdFlags;
use wayland_client::protocol::wl_keyboard::KeymapFormat;
use wayland_client::protocol::wl_output::{self, WlOutput};
use wayland_client::protocol::wl_pointer::{Axis, AxisSource, ButtonState};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_seat::{self, WlSeat};
use wayland_client::{Connection, Dispatch, EventQueue, QueueHandle, WEnum, delegate_noop};
use wayland_protocols::xdg::xdg_output::zv1::client::zxdg_output_manager_v1::ZxdgOutputManagerV1;
use wayland_protocols::xdg::xdg_output::zv1::client::zxdg_output_v1::{self, ZxdgOutputV1};
use wayland_protocols_misc::zwp_virtual_keyboard_v1::client::zwp_virtual_keyboard_manager_v1::ZwpVirtualKeyboardManagerV1;
use wayland_protocols_misc::zwp_virtual_keyboard_v1::client::zwp_virtual_keyboard_v1::ZwpVirtualKeyboardV1;
use wayland_protocols_wlr::virtual_pointer::v1::client::zwlr_virtual_pointer_manager_v1::ZwlrVirtualPointerManagerV1;
use wayland_protocols_wlr::virtual_pointer::v1::client::zwlr_virtual_pointer_v1::ZwlrVirtualPointerV1;
use xkeysym::Keysym;

use super::keymap::{FIRST, Keymap, LOCK, Place, SHIFT, SHIFT_PLACE};
use super::{Button, unavailable};
use crate::Trouble;
use crate::geometry::{Layout, Monitor, Point, Rect};

/// What one click of a wheel is worth, in the units of wl_pointer.axis (libinput's convention).
const CLICK: f64 = 15.0;

/// How often the compositor is asked for outputs that it announced and did not yet describe.
const ROUNDS: usize = 4;

/// On a seat without keyboard or pointer, such as that of a headless compositor, ours are the first. Every program then
/// has to ask for its part of them, nobody learns when it has, and what is sent before is lost.
const NEW_DEVICES: Duration = Duration::from_millis(500);

/// Why nobody learns the pointer's place here.
const NO_POSITION: &str = "a Wayland compositor tells no program where the pointer is; give x and y";

/// A connection to a compositor.
pub(super) struct Compositor {
    queue: EventQueue<State>,
    state: State,
    keyboard: Option<Keyboard>,
    pointer: Option<ZwlrVirtualPointerV1>,
    began: Instant,
}

/// Our keyboard.
struct Keyboard {
    proxy: ZwpVirtualKeyboardV1,
    keymap: Keymap,
    /// The keysyms that are down.
    down: Vec<u32>,
    /// The modifiers that are down, as the modifier mask.
    depressed: u32,
    /// The locks that are on.
    locked: u32,
}

impl Compositor {
    /// Connects to the socket of this name, in `XDG_RUNTIME_DIR` unless it is absolute, as wl_display_connect does.
    pub(super) fn connect(display: &Display) -> Result<Self, Fault> {
        let name = &display.name;
        Self::begin(name).map_err(|why| {
            let advice = "check that the compositor runs, that this user may connect, and XDG_RUNTIME_DIR";
            unavailable(format!("the Wayland display {name} cannot be used: {why}; {advice}"))
        })
    }

    fn begin(name: &str) -> Result<Self, String> {
        let connection = connection(name)?;
        let mut queue = connection.new_event_queue();
        let handle = queue.handle();
        connection.display().get_registry(&handle, ());
        let mut state = State::default();
        // The first answer names what there is, the second one says what the seat can do.
        for _ in 0..2 {
            queue.roundtrip(&mut state).map_err(|e| e.to_string())?;
        }
        let devices = wl_seat::Capability::Keyboard | wl_seat::Capability::Pointer;
        let complete = state.capabilities.is_some_and(|had| had.contains(devices));
        let seat = state.seat.clone();
        let pointer = seat.as_ref().zip(state.pointers.as_ref());
        let pointer = pointer.map(|(seat, by)| by.create_virtual_pointer(Some(seat), &handle, ()));
        let keyboard = seat.as_ref().zip(state.keyboards.as_ref());
        let keyboard = keyboard.map(|(seat, by)| Keyboard {
            proxy: by.create_virtual_keyboard(seat, &handle, ()),
            keymap: Keymap::default(),
            down: Vec::new(),
            depressed: 0,
            locked: 0,
        });
        if let Some(keyboard) = &keyboard {
            keyboard.tell().map_err(|e| e.to_string())?;
        }
        // A compositor that does not let this client type ends the connection here.
        queue.roundtrip(&mut state).map_err(|e| e.to_string())?;
        if !complete {
            std::thread::sleep(NEW_DEVICES);
        }
        Ok(Self { queue, state, keyboard, pointer, began: Instant::now() })
    }

    /// Why no key can be sent, if so.
    pub(super) fn lacks_keyboard(&self) -> Option<String> {
        self.keyboard.is_none().then(|| lacking("zwp_virtual_keyboard_manager_v1"))
    }

    /// Why the pointer cannot be driven, if so.
    pub(super) fn lacks_pointer(&self) -> Option<String> {
        self.pointer.is_none().then(|| lacking("zwlr_virtual_pointer_manager_v1"))
    }

    /// Why nobody learns where the pointer is.
    pub(super) fn position(&mut self) -> Result<Point, Trouble> {
        Err(unavailable(NO_POSITION).into())
    }

    /// The outputs as they are now, in the coordinates of the compositor's layout.
    pub(super) fn layout(&mut self) -> Result<Layout, Trouble> {
        self.roundtrip()?;
        for _ in 0..ROUNDS {
            if self.state.outputs.values().all(|output| output.monitor().is_some()) {
                break;
            }
            self.roundtrip()?;
        }
        let monitors: Vec<Monitor> = self.state.outputs.values().filter_map(Output::monitor).collect();
        if monitors.is_empty() {
            return Err(unavailable("the compositor describes no output (xdg-output)").into());
        }
        Ok(Layout { monitors })
    }

    /// Types text; the compositor has read all of it when this returns.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Trouble> {
        let keysyms: Vec<u32> = text.chars().map(keysym).collect();
        self.type_keys(|keyboard, time| {
            keyboard.make_room(&keysyms)?;
            for keysym in &keysyms {
                keyboard.stroke(keyboard.find(*keysym)?, time);
            }
            Ok(())
        })
    }

    /// Presses or releases a key by its keysym.
    pub(super) fn key(&mut self, keysym: u32, down: bool) -> Result<(), Trouble> {
        self.type_keys(|keyboard, time| {
            keyboard.make_room(&[keysym])?;
            let place = keyboard.find(keysym)?;
            keyboard.send(place.code, down, time);
            keyboard.down.retain(|held| *held != keysym);
            if down {
                keyboard.down.push(keysym);
            }
            Ok(())
        })
    }

    /// Moves the pointer. The position is a share of the whole layout, which comes out at the very pixel.
    pub(super) fn motion(&mut self, to: Point) -> Result<(), Trouble> {
        let bounds = self.layout()?.bounds();
        let from = |at: i32, origin: i32| u32::try_from(i64::from(at) - i64::from(origin)).ok();
        let (Some(x), Some(y)) = (from(to.x, bounds.x), from(to.y, bounds.y)) else {
            return Err(unavailable("the outputs changed meanwhile; look again").into());
        };
        self.point(|pointer, time| pointer.motion_absolute(time, x, y, bounds.width, bounds.height))
    }

    /// Presses or releases a button.
    pub(super) fn button(&mut self, button: Button, down: bool) -> Result<(), Trouble> {
        // linux/input-event-codes.h
        let code = match button {
            Button::Left => 0x110,
            Button::Right => 0x111,
            Button::Middle => 0x112,
            Button::Forward => 0x115,
            Button::Back => 0x116,
        };
        let state = if down { ButtonState::Pressed } else { ButtonState::Released };
        self.point(|pointer, time| pointer.button(time, code, state))
    }

    /// Turns the wheel by clicks; to the right and downwards where positive.
    pub(super) fn scroll(&mut self, clicks: i32, horizontal: bool) -> Result<(), Trouble> {
        let axis = if horizontal { Axis::HorizontalScroll } else { Axis::VerticalScroll };
        self.point(|pointer, time| {
            pointer.axis_source(AxisSource::Wheel);
            pointer.axis_discrete(time, axis, f64::from(clicks) * CLICK, clicks);
        })
    }

    fn type_keys(
        &mut self,
        send: impl FnOnce(&mut Keyboard, u32) -> Result<(), Fault>,
    ) -> Result<(), Trouble> {
        let time = self.time();
        let Some(keyboard) = &mut self.keyboard else {
            return Err(unavailable(lacking("zwp_virtual_keyboard_manager_v1")).into());
        };
        send(keyboard, time)?;
        self.roundtrip()
    }

    fn point(&mut self, send: impl FnOnce(&ZwlrVirtualPointerV1, u32)) -> Result<(), Trouble> {
        let Some(pointer) = &self.pointer else {
            return Err(unavailable(lacking("zwlr_virtual_pointer_manager_v1")).into());
        };
        send(pointer, self.time());
        pointer.frame();
        self.roundtrip()
    }

    /// Milliseconds that may wrap, as the protocol says of every time stamp.
    fn time(&self) -> u32 {
        self.began.elapsed().as_millis() as u32
    }

    fn roundtrip(&mut self) -> Result<(), Trouble> {
        self.queue.roundtrip(&mut self.state).map(|_| ()).map_err(|e| Trouble::Lost(e.to_string()))
    }
}

impl Drop for Compositor {
    /// The compositor lets go of what a keyboard or a pointer held once it is gone.
    fn drop(&mut self) {
        if let Some(keyboard) = self.keyboard.take() {
            keyboard.proxy.destroy();
        }
        if let Some(pointer) = self.pointer.take() {
            pointer.destroy();
        }
        let _ = self.queue.flush();
    }
}

impl Keyboard {
    /// Gives these keysyms a key each, where they have none.
    fn make_room(&mut self, keysyms: &[u32]) -> Result<(), Fault> {
        if self.keymap.prepare(keysyms, &self.down) {
            self.tell().map_err(|e| unavailable("no memory for a keymap").log(e.to_string()))?;
        }
        Ok(())
    }

    fn find(&self, keysym: u32) -> Result<Place, Fault> {
        self.keymap.place(keysym).ok_or_else(|| unavailable("too many keys are held down; release some"))
    }

    /// Hands over the keymap, in a file as the protocol wants it.
    fn tell(&self) -> std::io::Result<()> {
        let mut text = self.keymap.text().into_bytes();
        text.push(0);
        let file = rustix::fs::memfd_create("keymap", MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(file);
        file.write_all(&text)?;
        let size = u32::try_from(text.len()).map_err(std::io::Error::other)?;
        self.proxy.keymap(KeymapFormat::XkbV1.into(), file.as_fd(), size);
        Ok(())
    }

    /// Types one character, whatever locks are on.
    fn stroke(&mut self, place: Place, time: u32) {
        let modifiers = |mask: u32| self.proxy.modifiers(mask, 0, 0, 0);
        let shifts = place.shift && self.depressed & SHIFT == 0;
        if shifts {
            self.proxy.key(time, SHIFT_PLACE - FIRST, 1);
            modifiers(self.depressed | SHIFT);
        } else if self.locked != 0 {
            modifiers(self.depressed);
        }
        self.proxy.key(time, place.code - FIRST, 1);
        self.proxy.key(time, place.code - FIRST, 0);
        if shifts {
            self.proxy.key(time, SHIFT_PLACE - FIRST, 0);
        }
        if shifts || self.locked != 0 {
            self.proxy.modifiers(self.depressed, 0, self.locked, 0);
        }
    }

    /// Presses or releases a key, and tells what that makes of the modifiers, which the compositor leaves to us.
    fn send(&mut self, code: u32, down: bool, time: u32) {
        self.proxy.key(time, code - FIRST, u32::from(down));
        let bit = Keymap::modifier(code);
        match (bit, down) {
            (0, _) => return,
            (LOCK, true) => self.locked ^= LOCK,
            (LOCK, false) => {}
            (_, true) => self.depressed |= bit,
            (_, false) => self.depressed &= !bit,
        }
        self.proxy.modifiers(self.depressed, 0, self.locked, 0);
    }
}

/// The keysym of a character; a line feed is Return and a tab is Tab.
fn keysym(character: char) -> u32 {
    match character {
        '\n' => Keysym::Return.raw(),
        '\t' => Keysym::Tab.raw(),
        other => Keysym::from_char(other).raw(),
    }
}

/// A new connection to the compositor of this name.
///
/// # Errors
///
/// What is missing, in words.
pub fn connection(name: &str) -> Result<Connection, String> {
    let directory = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let path = match directory {
        Some(directory) => directory.join(name),
        None if name.starts_with('/') => PathBuf::from(name),
        None => return Err("XDG_RUNTIME_DIR is not set".to_owned()),
    };
    let stream = UnixStream::connect(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Connection::from_socket(stream).map_err(|e| e.to_string())
}

fn lacking(protocol: &str) -> String {
    format!("the compositor does not offer {protocol}; sway, Hyprland and others of the wlroots family do")
}

/// What the compositor told.
#[derive(Default)]
struct State {
    /// By the number of their global.
    outputs: BTreeMap<u32, Output>,
    describes: Option<ZxdgOutputManagerV1>,
    pointers: Option<ZwlrVirtualPointerManagerV1>,
    seat: Option<WlSeat>,
    capabilities: Option<wl_seat::Capability>,
    keyboards: Option<ZwpVirtualKeyboardManagerV1>,
}

struct Output {
    proxy: WlOutput,
    described: Option<ZxdgOutputV1>,
    name: String,
    at: Option<(i32, i32)>,
    size: Option<(i32, i32)>,
    mode: Option<(i32, i32)>,
    sideways: bool,
}

impl Output {
    fn describe(&mut self, number: u32, by: &ZxdgOutputManagerV1, handle: &QueueHandle<State>) {
        if self.described.is_none() {
            self.described = Some(by.get_xdg_output(&self.proxy, handle, number));
        }
    }

    /// `None` until all of it is known.
    fn monitor(&self) -> Option<Monitor> {
        let ((x, y), (width, height), (across, down)) = (self.at?, self.size?, self.mode?);
        let pixels = if self.sideways { down } else { across };
        let rect = Rect { x, y, width: u32::try_from(width).ok()?, height: u32::try_from(height).ok()? };
        let scale = f64::from(pixels) / f64::from(width);
        (rect.width > 0 && rect.height > 0).then(|| Monitor {
            name: self.name.clone(),
            rect,
            scale,
            primary: false,
        })
    }
}

impl Dispatch<WlRegistry, ()> for State {
    fn event(
        state: &mut Self,
        registry: &WlRegistry,
        event: wl_registry::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<Self>,
    ) {
        match event {
            wl_registry::Event::Global { name: number, interface, version } => match interface.as_str() {
                "wl_output" => {
                    let proxy = registry.bind(number, version.min(4), handle, number);
                    let mut output = Output {
                        proxy,
                        described: None,
                        name: format!("output-{number}"),
                        at: None,
                        size: None,
                        mode: None,
                        sideways: false,
                    };
                    if let Some(by) = &state.describes {
                        output.describe(number, by, handle);
                    }
                    state.outputs.insert(number, output);
                }
                "zxdg_output_manager_v1" => {
                    let by = registry.bind(number, version.min(3), handle, ());
                    for (number, output) in &mut state.outputs {
                        output.describe(*number, &by, handle);
                    }
                    state.describes = Some(by);
                }
                "zwlr_virtual_pointer_manager_v1" => {
                    state.pointers = Some(registry.bind(number, version.min(2), handle, ()));
                }
                "wl_seat" if state.seat.is_none() => {
                    state.seat = Some(registry.bind(number, version.min(5), handle, ()));
                }
                "zwp_virtual_keyboard_manager_v1" => {
                    state.keyboards = Some(registry.bind(number, 1, handle, ()));
                }
                _ => {}
            },
            wl_registry::Event::GlobalRemove { name: number } => {
                if let Some(Output { described: Some(described), .. }) = state.outputs.remove(&number) {
                    described.destroy();
                }
            }
            _ => {}
        }
    }
}

impl Dispatch<WlSeat, ()> for State {
    fn event(
        state: &mut Self,
        _: &WlSeat,
        event: wl_seat::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_seat::Event::Capabilities { capabilities: WEnum::Value(capabilities) } = event {
            state.capabilities = Some(capabilities);
        }
    }
}

impl Dispatch<WlOutput, u32> for State {
    fn event(
        state: &mut Self,
        _: &WlOutput,
        event: wl_output::Event,
        number: &u32,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        use wl_output::Transform;
        let Some(output) = state.outputs.get_mut(number) else { return };
        match event {
            wl_output::Event::Geometry { transform: WEnum::Value(transform), .. } => {
                output.sideways = matches!(
                    transform,
                    Transform::_90 | Transform::_270 | Transform::Flipped90 | Transform::Flipped270
                );
            }
            wl_output::Event::Mode { flags: WEnum::Value(flags), width, height, .. }
                if flags.contains(wl_output::Mode::Current) =>
            {
                output.mode = Some((width, height));
            }
            wl_output::Event::Name { name } => output.name = name,
            _ => {}
        }
    }
}

impl Dispatch<ZxdgOutputV1, u32> for State {
    fn event(
        state: &mut Self,
        _: &ZxdgOutputV1,
        event: zxdg_output_v1::Event,
        number: &u32,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let Some(output) = state.outputs.get_mut(number) else { return };
        match event {
            zxdg_output_v1::Event::LogicalPosition { x, y } => output.at = Some((x, y)),
            zxdg_output_v1::Event::LogicalSize { width, height } => output.size = Some((width, height)),
            zxdg_output_v1::Event::Name { name } => output.name = name,
            _ => {}
        }
    }
}

delegate_noop!(State: ZxdgOutputManagerV1);
delegate_noop!(State: ZwpVirtualKeyboardManagerV1);
delegate_noop!(State: ZwpVirtualKeyboardV1);
delegate_noop!(State: ZwlrVirtualPointerManagerV1);
delegate_noop!(State: ZwlrVirtualPointerV1);
