//! Which window is where, and what it is.

use std::collections::HashMap;

use llm_os_core::Fault;
use x11rb::cookie::Cookie;
use x11rb::errors::ReplyError;
use x11rb::protocol::res::{ClientIdMask, ClientIdSpec, ConnectionExt as _, QueryClientIdsReply};
use x11rb::protocol::shape::{ConnectionExt as _, QueryExtentsReply};
use x11rb::protocol::xproto::{
    AtomEnum, ConnectionExt as _, GetGeometryReply, GetPropertyReply, MapState, QueryTreeReply, WindowClass,
};
use x11rb::rust_connection::RustConnection;

use super::{Atoms, Session};
use crate::Trouble;
use crate::geometry::{Point, Rect};
use crate::process::Process;
use crate::shot::Shown;
use crate::window::{Role, Window};

/// `PointerRoot` as the focus: keys go to the window under the pointer.
pub(super) const POINTER_ROOT: u32 = 1;

/// How deep a frame is searched for the window that it frames.
const FRAME_DEPTH: usize = 4;

/// How many windows of one depth are looked at for that; a frame has few, a program's own window may have thousands.
const FRAME_CHILDREN: usize = 256;

/// Longest title or class that is read, in 4-byte units; the rest is cut.
const NAME_UNITS: u32 = 256;

/// The window that has the keyboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Focus {
    /// The window at the top level.
    pub window: Window,
    /// The X id of what has the focus: the window itself, one inside of it, or `PointerRoot`.
    pub input: u32,
}

/// What a window says of itself, while the answer is on its way.
pub(super) struct Names<'c> {
    class: Cookie<'c, RustConnection, GetPropertyReply>,
    net_name: Cookie<'c, RustConnection, GetPropertyReply>,
    name: Cookie<'c, RustConnection, GetPropertyReply>,
}

/// What a window says of itself.
pub(super) struct Said {
    pub(super) class: String,
    pub(super) instance: String,
    pub(super) title: String,
}

impl Names<'_> {
    pub(super) fn reply(self) -> Result<Said, Trouble> {
        let class = self.class.reply()?.value;
        let mut strings = class.split(|byte| *byte == 0).map(text);
        let instance = strings.next().unwrap_or_default();
        let class = strings.next().unwrap_or_default();
        let net_name = self.net_name.reply()?;
        let name = self.name.reply()?;
        let title = if net_name.value_len > 0 { text(&net_name.value) } else { text(&name.value) };
        Ok(Said { class, instance, title })
    }
}

/// UTF-8, else ISO 8859-1, which is what the type `STRING` holds.
fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes)
        .map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
}

impl Session {
    /// The window that has the keyboard; `None` where no window has it and keys are dropped.
    ///
    /// # Errors
    ///
    /// A lost connection, or a window that went away meanwhile.
    pub fn focused(&mut self) -> Result<Option<Focus>, Trouble> {
        let input = self.conn.get_input_focus()?.reply()?.focus;
        let window = match input {
            x11rb::NONE => return Ok(None),
            POINTER_ROOT => {
                let child = self.conn.query_pointer(self.root)?.reply()?.child;
                self.framed(child)?
            }
            input => self.framed(self.top(input)?)?,
        };
        Ok(Some(Focus { window, input }))
    }

    /// The window that input at this pixel reaches.
    ///
    /// # Errors
    ///
    /// A lost connection, or a window that went away meanwhile.
    pub fn at(&mut self, point: Point) -> Result<Window, Trouble> {
        let child = self.under(point)?.reply()?.child;
        self.framed(child)
    }

    /// Every window that is shown, the lowest first; the root is not among them.
    ///
    /// # Errors
    ///
    /// A lost connection.
    pub fn windows(&mut self) -> Result<Vec<Window>, Trouble> {
        // What went away meanwhile is not shown.
        Ok(self.complete(self.shown()?.found).into_iter().map(|shown| shown.window).collect())
    }

    /// What the server knows of every window that is shown, the lowest first. All of them are asked together: there are
    /// as many round trips for a hundred windows as for one.
    pub(super) fn shown(&self) -> Result<Listing, Trouble> {
        let children = self.conn.query_tree(self.root)?.reply()?.children;
        let asked: Vec<_> = children.iter().map(|child| self.conn.get_window_attributes(*child)).collect();
        let mut frames = Vec::new();
        let mut lost = false;
        for (child, attributes) in children.iter().zip(asked) {
            match there(attributes?.reply())? {
                Some(found)
                    if found.map_state == MapState::VIEWABLE && found.class == WindowClass::INPUT_OUTPUT =>
                {
                    frames.push(*child);
                }
                Some(_) => {}
                None => lost = true,
            }
        }
        let framed = self.framed_in(&frames)?;
        let asked: Vec<_> = std::iter::zip(&frames, framed)
            .map(|(frame, id)| id.map(|id| self.ask(id, *frame)).transpose())
            .collect::<Result<_, _>>()?;
        let mut found = Vec::with_capacity(asked.len());
        for asked in asked {
            match asked.map(|asked| asked.reply(&self.atoms)) {
                Some(Ok(listed)) => found.push(listed),
                Some(Err(Trouble::Lost(why))) => return Err(Trouble::Lost(why)),
                Some(Err(Trouble::Fault(_))) | None => lost = true,
            }
        }
        Ok(Listing { found, lost })
    }

    /// Adds what the kernel knows of each window's process, which takes no answer of the server.
    pub(super) fn complete(&self, listed: Vec<Listed>) -> Vec<Shown> {
        let mut processes = HashMap::new();
        let mut process = |pid: u32| processes.entry(pid).or_insert_with(|| Process::of(pid)).clone();
        let display = &self.display;
        listed
            .into_iter()
            .map(|listed| Shown {
                shaped: listed.shaped,
                window: listed.window(display, self.root, &mut process),
            })
            .collect()
    }

    /// The child of the root at a pixel, input shapes considered; the answer is on its way.
    pub(super) fn under(
        &self,
        point: Point,
    ) -> Result<Cookie<'_, RustConnection, x11rb::protocol::xproto::TranslateCoordinatesReply>, Trouble> {
        let at = |value: i32| i16::try_from(value).unwrap_or(if value < 0 { i16::MIN } else { i16::MAX });
        Ok(self.conn.translate_coordinates(self.root, self.root, at(point.x), at(point.y))?)
    }

    /// The child of the root that holds a window.
    pub(super) fn top(&self, window: u32) -> Result<u32, Trouble> {
        let mut top = window;
        loop {
            let parent = self.conn.query_tree(top)?.reply()?.parent;
            if parent == self.root || parent == x11rb::NONE {
                return Ok(top);
            }
            top = parent;
        }
    }

    /// The window in a frame, by its `WM_STATE` (ICCCM 4.1.3.1), or the frame itself; `NONE` is the root.
    pub(super) fn framed(&self, frame: u32) -> Result<Window, Trouble> {
        let (id, frame) = if frame == x11rb::NONE || frame == self.root {
            (self.root, self.root)
        } else {
            let gone = || Fault::new(crate::WINDOW_CHANGED, "a window went away meanwhile; look again");
            (self.framed_in(&[frame])?[0].ok_or_else(gone)?, frame)
        };
        let listed = self.ask(id, frame)?.reply(&self.atoms)?;
        Ok(listed.window(&self.display, self.root, Process::of))
    }

    /// The same for many frames, level by level; `None` for one that went away meanwhile.
    fn framed_in(&self, frames: &[u32]) -> Result<Vec<Option<u32>>, Trouble> {
        let mut found: Vec<Option<u32>> = frames.iter().copied().map(Some).collect();
        let mut searched: Vec<(usize, Vec<u32>)> =
            frames.iter().enumerate().map(|(index, frame)| (index, vec![*frame])).collect();
        for _ in 0..FRAME_DEPTH {
            let asked: Vec<_> = searched.iter().map(|(_, level)| self.ask_level(level)).collect();
            let mut below = Vec::new();
            for ((index, level), asked) in searched.into_iter().zip(asked) {
                let mut next = Vec::new();
                let mut framed = None;
                for (window, (state, tree)) in level.iter().zip(asked?) {
                    let (state, tree) = (there(state.reply())?, there(tree.reply())?);
                    match (state, tree) {
                        (Some(state), Some(tree)) => {
                            if state.type_ != x11rb::NONE {
                                framed = framed.or(Some(*window));
                            }
                            next.extend(tree.children);
                        }
                        _ if *window == frames[index] => found[index] = None,
                        _ => {}
                    }
                }
                match framed {
                    Some(window) => found[index] = Some(window),
                    None if next.is_empty() || next.len() > FRAME_CHILDREN => {}
                    None => below.push((index, next)),
                }
            }
            if below.is_empty() {
                break;
            }
            searched = below;
        }
        Ok(found)
    }

    fn ask_level(&self, level: &[u32]) -> Result<Vec<(Property<'_>, Tree<'_>)>, Trouble> {
        let ask = |window: &u32| {
            let state = self.conn.get_property(false, *window, self.atoms.WM_STATE, AtomEnum::ANY, 0, 0)?;
            Ok((state, self.conn.query_tree(*window)?))
        };
        level.iter().map(ask).collect()
    }

    /// Asks a window for its names.
    pub(super) fn names(&self, window: u32) -> Result<Names<'_>, Trouble> {
        let property = |atom: u32| self.conn.get_property(false, window, atom, AtomEnum::ANY, 0, NAME_UNITS);
        Ok(Names {
            class: property(AtomEnum::WM_CLASS.into())?,
            net_name: property(self.atoms._NET_WM_NAME)?,
            name: property(AtomEnum::WM_NAME.into())?,
        })
    }

    fn ask(&self, id: u32, frame: u32) -> Result<Asked<'_>, Trouble> {
        let owner = ClientIdSpec { client: id, mask: ClientIdMask::LOCAL_CLIENT_PID };
        Ok(Asked {
            id,
            frame,
            names: self.names(id)?,
            kind: self.conn.get_property(false, id, self.atoms._NET_WM_WINDOW_TYPE, AtomEnum::ATOM, 0, 1)?,
            geometry: self.conn.get_geometry(frame)?,
            shape: self.conn.shape_query_extents(frame)?,
            owner: self.conn.res_query_client_ids(&[owner])?,
        })
    }
}

type Property<'c> = Cookie<'c, RustConnection, GetPropertyReply>;
type Tree<'c> = Cookie<'c, RustConnection, QueryTreeReply>;

/// What the server knows of the windows that are shown.
pub(super) struct Listing {
    /// The lowest first.
    pub(super) found: Vec<Listed>,
    /// Whether a window went away while they were asked, which cannot be under a server grab.
    pub(super) lost: bool,
}

/// A window, while the answers are on their way.
struct Asked<'c> {
    id: u32,
    frame: u32,
    names: Names<'c>,
    kind: Property<'c>,
    geometry: Cookie<'c, RustConnection, GetGeometryReply>,
    shape: Cookie<'c, RustConnection, QueryExtentsReply>,
    owner: Cookie<'c, RustConnection, QueryClientIdsReply>,
}

impl Asked<'_> {
    fn reply(self, atoms: &Atoms) -> Result<Listed, Trouble> {
        let kind = self.kind.reply()?.value32().and_then(|mut kinds| kinds.next());
        let geometry = self.geometry.reply()?;
        let border = u32::from(geometry.border_width) * 2;
        Ok(Listed {
            id: self.id,
            frame: self.frame,
            said: self.names.reply()?,
            kind: match kind {
                Some(kind) if kind == atoms._NET_WM_WINDOW_TYPE_DESKTOP => Some("DESKTOP"),
                Some(kind) if kind == atoms._NET_WM_WINDOW_TYPE_DOCK => Some("DOCK"),
                Some(kind) if kind == atoms._NET_WM_WINDOW_TYPE_TOOLBAR => Some("TOOLBAR"),
                Some(_) | None => None,
            },
            pid: self.owner.reply()?.ids.first().and_then(|owner| owner.value.first().copied()),
            rect: Rect {
                x: geometry.x.into(),
                y: geometry.y.into(),
                width: u32::from(geometry.width) + border,
                height: u32::from(geometry.height) + border,
            },
            shaped: self.shape.reply()?.bounding_shaped,
        })
    }
}

/// What the server knows of one window.
pub(super) struct Listed {
    id: u32,
    frame: u32,
    said: Said,
    /// The local name of `_NET_WM_WINDOW_TYPE`, as far as a role depends on it.
    kind: Option<&'static str>,
    pid: Option<u32>,
    rect: Rect,
    shaped: bool,
}

impl Listed {
    fn window(self, display: &str, root: u32, process: impl FnOnce(u32) -> Option<Process>) -> Window {
        let Self { id, frame, said: Said { class, instance, title }, kind, pid, rect, shaped: _ } = self;
        let is_root = id == root;
        // The root is the server's own.
        let pid = pid.filter(|_| !is_root);
        let process = pid.and_then(process);
        let role = if is_root { Role::Desktop } else { Role::of(process.as_ref(), &class, &instance, kind) };
        Window {
            display: display.to_owned(),
            id,
            frame,
            class,
            instance,
            title,
            pid,
            started: process.as_ref().and_then(|process| process.started),
            executable: process.and_then(|process| process.executable),
            role,
            rect,
        }
    }
}

/// `None` for a window that went away.
fn there<T>(reply: Result<T, ReplyError>) -> Result<Option<T>, Trouble> {
    match reply {
        Ok(reply) => Ok(Some(reply)),
        Err(ReplyError::X11Error(_)) => Ok(None),
        Err(ReplyError::ConnectionError(lost)) => Err(lost.into()),
    }
}
