//! What the keyboard, mouse and monitor capabilities share: the display, its windows, its coordinates.
//!
//! Two things hold for this crate:
//!
//! - Input reaches a window only after that very window was checked, in the same server grab as the event
//!   ([`x11::Session::guarded`]): no other client can act in between.
//! - A window's class and title are what its program says; its process is what the X server says (XRes), and nothing
//!   here believes a window about that.
//!
//! On X11 everything goes through `x11rb`, beside `enigo` and `xcap`: under a server grab an event from any other
//! connection would wait for ever, `enigo` does not search shift levels and loses characters outside of the layout, and
//! `xcap` knows neither shared memory nor damage. What is not X11 is in [`other`].
//!
//! ```text
//! Desktop (one thread that owns the connection) -> x11::Session -> guarded(windows, where, events)
//! ```

mod desktop;
pub mod geometry;
pub mod keys;
pub mod other;
mod process;
pub mod shot;
pub mod window;
pub mod x11;

pub use desktop::{Backend, Desktop, Trouble, Turn};

use llm_os_core::Code;

/// The window that was judged is gone, lost the focus, moved away from the point or became another; nothing more was
/// sent.
pub const WINDOW_CHANGED: Code = Code::own("window_changed");

/// Another program holds the keyboard or the pointer, and would receive what is meant for the window.
pub const INPUT_GRABBED: Code = Code::own("input_grabbed");

/// The screen or its monitors are no longer what they were when the action was judged.
pub const DISPLAY_CHANGED: Code = Code::own("display_changed");

/// Somebody holds a modifier down, or it is no longer the one that was judged; it would change what arrives.
pub const MODIFIERS_HELD: Code = Code::own("modifiers_held");

/// The program behind the window does not read its input.
pub const NOT_RESPONDING: Code = Code::own("not_responding");

/// No window has the keyboard, so that what is typed would reach nobody.
pub const NO_FOCUS: Code = Code::own("no_focus");

/// No key of the keyboard writes a character, and none is free to be lent to it.
pub const NO_KEY: Code = Code::own("no_key");

/// A key is held down already, and could not be pressed.
pub const KEY_HELD: Code = Code::own("key_held");
