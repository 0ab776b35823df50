//! Pictures of the screen.
//!
//! A picture and the list of windows belong together only if nothing moves in between, so both are taken in one server
//! grab (GrabServer, X11 protocol). What takes no answer of the server, such as looking at processes, waits until the
//! grab ended.

use std::sync::{Arc, Mutex, PoisonError};

use llm_os_core::{Code, Fault};
use x11rb::connection::{Connection as _, RequestConnection as _};
use x11rb::cookie::Cookie;
use x11rb::protocol::shm::{self, ConnectionExt as _};
use x11rb::protocol::xfixes::ConnectionExt as _;
use x11rb::protocol::xproto::{
    ConnectionExt as _, GetImageReply, ImageFormat, ImageOrder, Screen, VisualClass,
};
use x11rb::protocol::{damage, xfixes};
use x11rb::rust_connection::RustConnection;

use super::shm::Segment;
use super::windows::Listed;
use super::{Session, cursor};
use crate::geometry::Rect;
use crate::shot::{Cursor, Pixels, Shot};
use crate::{DISPLAY_CHANGED, Trouble};

/// All bits of a pixel (`AllPlanes`).
const ALL_PLANES: u32 = u32::MAX;

/// Segments that are kept while no picture uses them.
const SPARE: usize = 1;

/// What pictures need of a session.
#[derive(Default)]
pub(super) struct Camera {
    /// Segments that no picture uses.
    spare: Arc<Mutex<Vec<Segment>>>,
    checked: bool,
    shares: bool,
    cursors: bool,
}

/// A picture that is on its way: into a segment, or through the socket.
enum Image<'c> {
    Shared(Cookie<'c, RustConnection, shm::GetImageReply>),
    Sent(Cookie<'c, RustConnection, GetImageReply>),
}

impl Session {
    /// Takes a picture of a region, which must be on the screen.
    ///
    /// # Errors
    ///
    /// `display_changed` where it no longer is; `unavailable` where the screen's pixels are not four bytes of blue, green
    /// and red; a lost connection.
    pub fn shoot(&mut self, region: Rect, cursor: bool) -> Result<Shot, Trouble> {
        self.prepare_camera()?;
        let length = region.width as usize * region.height as usize * 4;
        let segment = self.segment(length)?;
        let id = segment.as_ref().map(|segment| segment.id);
        let spare = Arc::downgrade(&self.camera.spare);
        let shared = segment.map(|segment| Pixels::shared(segment, length, spare));
        self.conn.grab_server()?;
        let seen = self.hold_still(region, id, cursor && self.camera.cursors);
        self.conn.ungrab_server()?;
        self.conn.flush()?;
        let Seen { image, listed, composited, cursor } = seen?;
        let pixels = match image {
            Image::Shared(image) => {
                let size = image.reply()?.size as usize;
                shared.filter(|_| size == length).ok_or_else(cut)?
            }
            Image::Sent(image) => image.reply()?.data.into(),
        };
        if pixels.len() != length {
            return Err(cut());
        }
        Ok(Shot { region, pixels, shown: self.complete(listed), composited, cursor })
    }

    /// Asks for everything under the grab.
    fn hold_still(&self, region: Rect, segment: Option<shm::Seg>, cursor: bool) -> Result<Seen<'_>, Trouble> {
        let screen = self.conn.get_geometry(self.root)?;
        let manager = self.conn.get_selection_owner(self.atoms._NET_WM_CM_S0)?;
        let pointer = cursor.then(|| self.conn.xfixes_get_cursor_image()).transpose()?;
        let listing = self.shown()?;
        if listing.lost {
            let message = "a window went away in spite of the server grab; take the picture again";
            return Err(Fault::new(crate::WINDOW_CHANGED, message).into());
        }
        let screen = screen.reply()?;
        let (width, height) = (u32::from(screen.width), u32::from(screen.height));
        if !(Rect { x: 0, y: 0, width, height }).encloses(&region) {
            let message = format!("the screen is now {width}x{height}; look again by monitor.list");
            return Err(Fault::new(DISPLAY_CHANGED, message).into());
        }
        Ok(Seen {
            // Nothing waits for it under the grab: the server takes the end of the grab after it.
            image: self.ask_image(region, segment)?,
            listed: listing.found,
            composited: manager.reply()?.owner != x11rb::NONE,
            cursor: match pointer {
                Some(pointer) => cursor::cursor(pointer.reply()?),
                None => None,
            },
        })
    }

    fn ask_image(&self, region: Rect, segment: Option<shm::Seg>) -> Result<Image<'_>, Trouble> {
        let (x, y) = (i16::try_from(region.x), i16::try_from(region.y));
        let (width, height) = (u16::try_from(region.width), u16::try_from(region.height));
        let (Ok(x), Ok(y), Ok(width), Ok(height)) = (x, y, width, height) else { return Err(cut()) };
        let (root, format) = (self.root, ImageFormat::Z_PIXMAP);
        Ok(match segment {
            Some(id) => {
                let format = format.into();
                Image::Shared(self.conn.shm_get_image(root, x, y, width, height, ALL_PLANES, format, id, 0)?)
            }
            None => Image::Sent(self.conn.get_image(format, root, x, y, width, height, ALL_PLANES)?),
        })
    }

    /// A segment that is long enough, where the server shares memory: an old one, or a new one for the whole screen.
    fn segment(&mut self, length: usize) -> Result<Option<Segment>, Trouble> {
        if !self.camera.shares {
            return Ok(None);
        }
        let mut fit = None;
        let mut spare = self.camera.spare.lock().unwrap_or_else(PoisonError::into_inner);
        for segment in std::mem::take(&mut *spare) {
            if segment.length() < length || spare.len() == SPARE {
                self.conn.shm_detach(segment.id)?;
            } else if fit.is_none() {
                fit = Some(segment);
            } else {
                spare.push(segment);
            }
        }
        drop(spare);
        if fit.is_none() {
            let screen = self.conn.get_geometry(self.root)?.reply()?;
            let whole = usize::from(screen.width) * usize::from(screen.height) * 4;
            fit = Segment::new(&self.conn, whole.max(length))?;
            self.camera.shares = fit.is_some();
        }
        Ok(fit)
    }

    /// Whether descriptors can be passed to the server.
    fn is_local(&self) -> bool {
        rustix::net::getsockname(self.conn.stream())
            .is_ok_and(|address| address.address_family() == rustix::net::AddressFamily::UNIX)
    }

    /// Checks once for a session how the screen stores pixels, and what the server can do.
    fn prepare_camera(&mut self) -> Result<(), Trouble> {
        if self.camera.checked {
            return Ok(());
        }
        let setup = self.conn.setup();
        let screen = setup.roots.iter().find(|screen| screen.root == self.root);
        let format = |screen: &Screen| {
            let format = setup.pixmap_formats.iter().find(|format| format.depth == screen.root_depth)?;
            let visuals = screen.allowed_depths.iter().flat_map(|depth| &depth.visuals);
            let visual = visuals.into_iter().find(|visual| visual.visual_id == screen.root_visual)?;
            let masks = [visual.red_mask, visual.green_mask, visual.blue_mask];
            let fits = format.bits_per_pixel == 32
                && format.scanline_pad == 32
                && setup.image_byte_order == ImageOrder::LSB_FIRST
                && masks == [0x00ff_0000, 0xff00, 0xff]
                && visual.class == VisualClass::TRUE_COLOR;
            Some(fits)
        };
        if screen.and_then(format) != Some(true) {
            let depth = screen.map_or(0, |screen| screen.root_depth);
            let message = format!(
                "the display has pixels of an unknown format (depth {depth}); a screen of depth 24 with 32 bits for each pixel is needed"
            );
            return Err(Fault::new(Code::UNAVAILABLE, message).into());
        }
        for extension in [shm::X11_EXTENSION_NAME, xfixes::X11_EXTENSION_NAME, damage::X11_EXTENSION_NAME] {
            self.conn.prefetch_extension_information(extension)?;
        }
        if self.is_local() && self.conn.extension_information(shm::X11_EXTENSION_NAME)?.is_some() {
            let version = self.conn.shm_query_version()?.reply()?;
            self.camera.shares = (version.major_version, version.minor_version) >= (1, 2);
        }
        if self.conn.extension_information(xfixes::X11_EXTENSION_NAME)?.is_some() {
            self.camera.cursors = self.conn.xfixes_query_version(5, 0)?.reply().is_ok();
        }
        self.camera.checked = true;
        Ok(())
    }
}

fn cut() -> Trouble {
    Trouble::Lost("a picture of another size than was asked for".to_owned())
}

/// What was seen under one grab.
struct Seen<'c> {
    image: Image<'c>,
    listed: Vec<Listed>,
    composited: bool,
    cursor: Option<Cursor>,
}
