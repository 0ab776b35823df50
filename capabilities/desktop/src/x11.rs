//! An X session: one connection to the server of the display, owned by the display's thread.
//!
//! The protocol is X11 (X Window System Protocol, X.Org), with XTEST to send input, XRes for the process behind a window,
//! RandR for the monitors, EWMH and ICCCM for what windows say of themselves.

mod authority;
mod capture;
mod chord;
mod cursor;
mod damage;
mod grabs;
mod guard;
mod held;
mod holder;
mod keymap;
mod modifiers;
mod pointing;
mod reading;
mod scene;
#[allow(unsafe_code, reason = "memory that is mapped, to share it with the server")]
mod shm;
mod spares;
mod typing;
mod windows;

use std::collections::HashMap;

use llm_os_core::{Code, Display, Fault};
use x11rb::connection::Connection as _;
use x11rb::errors::{ConnectionError, ReplyError, ReplyOrIdError};
use x11rb::protocol::randr::ConnectionExt as _;
use x11rb::protocol::xkb::ConnectionExt as _;
use x11rb::protocol::xproto::{ConnectionExt as _, CreateWindowAux, EventMask, WindowClass};
use x11rb::protocol::{res, xtest};
use x11rb::rust_connection::RustConnection;

pub use chord::ChordWatch;
pub use damage::Watch;
pub use guard::{Aim, Guarded};
pub use held::Held;
pub use reading::Reader;
pub use scene::{Pointer, Scene};
pub(crate) use shm::Segment;
pub use typing::{Pressed, Sent};
pub use windows::Focus;

use crate::Trouble;

x11rb::atom_manager! {
    /// The names that are asked for.
    pub(crate) Atoms:
    AtomsCookie {
        UTF8_STRING,
        WM_STATE,
        _LLM_OS_KEYBOARD,
        _NET_ACTIVE_WINDOW,
        _NET_WM_CM_S0,
        _NET_WM_NAME,
        _NET_WM_PID,
        _NET_WM_WINDOW_TYPE,
        _NET_WM_WINDOW_TYPE_DESKTOP,
        _NET_WM_WINDOW_TYPE_DOCK,
        _NET_WM_WINDOW_TYPE_TOOLBAR,
    }
}

impl From<ConnectionError> for Trouble {
    fn from(error: ConnectionError) -> Self {
        Trouble::Lost(error.to_string())
    }
}

impl From<ReplyError> for Trouble {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::ConnectionError(error) => error.into(),
            ReplyError::X11Error(error) => {
                let fault = Fault::new(crate::WINDOW_CHANGED, "a window went away meanwhile; look again");
                fault.log(format!("{error:?}")).into()
            }
        }
    }
}

impl From<ReplyOrIdError> for Trouble {
    fn from(error: ReplyOrIdError) -> Self {
        match error {
            ReplyOrIdError::ConnectionError(error) => error.into(),
            ReplyOrIdError::X11Error(error) => ReplyError::X11Error(error).into(),
            ReplyOrIdError::IdsExhausted => Trouble::Lost("no X ids are left".to_owned()),
        }
    }
}

/// A connection to an X server.
pub struct Session {
    pub(crate) conn: RustConnection,
    pub(crate) root: u32,
    pub(crate) atoms: Atoms,
    /// The display's id in policies.
    pub(crate) display: String,
    /// A window that is never mapped: who tries to grab for it learns whether another client has a grab, and gets none.
    unmapped: u32,
    held: Vec<(llm_os_core::ConnectionId, Held)>,
    captor: Option<u32>,
    listener: Option<holder::Listener>,
    /// Of monitors, by their atoms.
    names: HashMap<u32, String>,
    address: Display,
    camera: capture::Camera,
    spares: spares::Spares,
}

impl Session {
    /// Connects, and lets go of what an earlier connection of a host left pressed.
    ///
    /// # Errors
    ///
    /// `unavailable` with what to do: no server, no permission, a missing extension.
    pub(crate) fn connect(display: &Display) -> Result<Self, Fault> {
        let mut session = Self::look(display)?;
        session
            .release_leftovers()
            .map_err(|_| Self::unavailable(display, "its input devices cannot be read"))?;
        Ok(session)
    }

    /// Connects and leaves everything as it is.
    ///
    /// # Errors
    ///
    /// As [`Session::connect`].
    pub(crate) fn look(display: &Display) -> Result<Self, Fault> {
        let (conn, screen) = authority::connect(display).map_err(|why| Self::unavailable(display, &why))?;
        let root = conn.setup().roots[screen].root;
        Self::prepare(conn, root, display).map_err(|trouble| match trouble {
            Trouble::Lost(why) => Self::unavailable(display, &why),
            Trouble::Fault(fault) => fault,
        })
    }

    fn unavailable(display: &Display, why: &str) -> Fault {
        let message = format!(
            "the display {} cannot be used: {why}; check that its X server runs and that this user may connect to it",
            display.name
        );
        Fault::new(Code::UNAVAILABLE, message)
    }

    fn prepare(conn: RustConnection, root: u32, display: &Display) -> Result<Self, Trouble> {
        let lacking = |name: &str| {
            let message =
                format!("the X server lacks the extension {name}, without which nothing here is safe");
            Trouble::Fault(Fault::new(Code::UNAVAILABLE, message))
        };
        let atoms = Atoms::new(&conn)?;
        let xtest = xtest::get_version(&conn, 2, 2).map_err(|_| lacking("XTEST"))?;
        let res = res::query_version(&conn, 1, 2).map_err(|_| lacking("X-Resource"))?;
        let randr = conn.randr_query_version(1, 5).map_err(|_| lacking("RANDR"))?;
        let xkb = conn.xkb_use_extension(1, 0).map_err(|_| lacking("XKEYBOARD"))?;
        let unmapped = conn.generate_id()?;
        let aux = CreateWindowAux::new().override_redirect(1).event_mask(EventMask::PROPERTY_CHANGE);
        conn.create_window(0, unmapped, root, -1, -1, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &aux)?;
        // A client that holds the server grabbed could otherwise keep everything here waiting; XTEST lets it through.
        xtest.reply().map_err(|_| lacking("XTEST"))?;
        res.reply().map_err(|_| lacking("X-Resource"))?;
        randr.reply().map_err(|_| lacking("RANDR"))?;
        xkb.reply().map_err(|_| lacking("XKEYBOARD"))?;
        let atoms = atoms.reply()?;
        Ok(Self {
            conn,
            root,
            atoms,
            display: display.id.clone(),
            unmapped,
            held: Vec::new(),
            captor: None,
            listener: None,
            names: HashMap::new(),
            address: display.clone(),
            camera: capture::Camera::default(),
            spares: spares::Spares::default(),
        })
    }
}
