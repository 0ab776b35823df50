//! A Wayland compositor, on a connection of this module's own beside the one that `enigo` types on.
//!
//! It does what `enigo` cannot: tell where the outputs are (wl_output, xdg-output), whether the compositor lets clients
//! send input at all, and drive the pointer. `enigo` scales absolute motion by the first output alone, which is wrong
//! with two outputs or a scale, and scrolls without counting steps; the virtual pointer here speaks in the whole layout
//! (wlr-virtual-pointer-unstable-v1).

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use wayland_client::protocol::wl_output::{self, WlOutput};
use wayland_client::protocol::wl_pointer::{Axis, AxisSource, ButtonState};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::{Connection, Dispatch, EventQueue, QueueHandle, WEnum, delegate_noop};
use wayland_protocols::xdg::xdg_output::zv1::client::zxdg_output_manager_v1::ZxdgOutputManagerV1;
use wayland_protocols::xdg::xdg_output::zv1::client::zxdg_output_v1::{self, ZxdgOutputV1};
use wayland_protocols_wlr::virtual_pointer::v1::client::zwlr_virtual_pointer_manager_v1::ZwlrVirtualPointerManagerV1;
use wayland_protocols_wlr::virtual_pointer::v1::client::zwlr_virtual_pointer_v1::ZwlrVirtualPointerV1;

use crate::Trouble;
use crate::geometry::{Layout, Monitor, Point, Rect};

/// What one click of a wheel is worth, in the units of wl_pointer.axis (libinput's convention).
const CLICK: f64 = 15.0;

/// How often the compositor is asked for outputs that it announced and did not yet describe.
const ROUNDS: usize = 4;

/// A connection to a compositor.
pub(super) struct Compositor {
    queue: EventQueue<State>,
    state: State,
    pointer: Option<ZwlrVirtualPointerV1>,
    began: Instant,
}

impl Compositor {
    /// Connects to the socket of this name, in `XDG_RUNTIME_DIR` unless it is absolute, as wl_display_connect does.
    pub(super) fn connect(name: &str) -> Result<Self, String> {
        let connection = connection(name)?;
        let mut queue = connection.new_event_queue();
        let handle = queue.handle();
        connection.display().get_registry(&handle, ());
        let mut state = State::default();
        queue.roundtrip(&mut state).map_err(|e| e.to_string())?;
        let pointer = match (&state.pointers, &state.seat) {
            (Some(pointers), Some(seat)) => Some(pointers.create_virtual_pointer(Some(seat), &handle, ())),
            _ => None,
        };
        Ok(Self { queue, state, pointer, began: Instant::now() })
    }

    /// Why no key can be sent, if so.
    pub(super) fn lacks_keyboard(&self) -> Option<String> {
        (!self.state.keyboards).then(|| lacking("zwp_virtual_keyboard_manager_v1"))
    }

    /// Why the pointer cannot be driven, if so.
    pub(super) fn lacks_pointer(&self) -> Option<String> {
        self.pointer.is_none().then(|| lacking("zwlr_virtual_pointer_manager_v1"))
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
            return Err(super::unavailable("the compositor describes no output (xdg-output)").into());
        }
        Ok(Layout { monitors })
    }

    /// Moves the pointer. The position is a share of the whole layout, which comes out at the very pixel.
    pub(super) fn motion(&mut self, to: Point) -> Result<(), Trouble> {
        let bounds = self.layout()?.bounds();
        let from = |at: i32, origin: i32| u32::try_from(i64::from(at) - i64::from(origin)).ok();
        let (Some(x), Some(y)) = (from(to.x, bounds.x), from(to.y, bounds.y)) else {
            return Err(super::unavailable("the outputs changed meanwhile; look again").into());
        };
        self.point(|pointer, time| pointer.motion_absolute(time, x, y, bounds.width, bounds.height))
    }

    /// Presses or releases a button, by its code in linux/input-event-codes.h.
    pub(super) fn button(&mut self, code: u32, down: bool) -> Result<(), Trouble> {
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

    /// Returns once the compositor has read what was sent on `enigo`'s connection before, as long as that was less than
    /// 4,096 bytes: libwayland reads so much of each connection that is ready in one turn of its loop, and the second
    /// answer is of a later turn than the first.
    pub(super) fn settle(&mut self) -> Result<(), Trouble> {
        self.roundtrip()?;
        self.roundtrip()
    }

    fn point(&mut self, send: impl FnOnce(&ZwlrVirtualPointerV1, u32)) -> Result<(), Trouble> {
        let Some(pointer) = &self.pointer else {
            return Err(super::unavailable(&lacking("zwlr_virtual_pointer_manager_v1")).into());
        };
        // Milliseconds that may wrap, as the protocol says of every time stamp.
        send(pointer, self.began.elapsed().as_millis() as u32);
        pointer.frame();
        self.roundtrip()
    }

    fn roundtrip(&mut self) -> Result<(), Trouble> {
        self.queue.roundtrip(&mut self.state).map(|_| ()).map_err(|e| Trouble::Lost(e.to_string()))
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        if let Some(pointer) = self.pointer.take() {
            pointer.destroy();
            let _ = self.queue.flush();
        }
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
    keyboards: bool,
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
                "zwp_virtual_keyboard_manager_v1" => state.keyboards = true,
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

delegate_noop!(State: ignore WlSeat);
delegate_noop!(State: ZxdgOutputManagerV1);
delegate_noop!(State: ZwlrVirtualPointerManagerV1);
delegate_noop!(State: ZwlrVirtualPointerV1);
