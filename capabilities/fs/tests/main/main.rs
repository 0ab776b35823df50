//! `fs` through the real pipeline, against real files. Cases of the attack list are named by their ids.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "mount and umount run as they are")]

mod actions;
mod change;
mod escape;
mod evidence;
mod files;
mod policy;
mod races;
mod search;
mod support;
mod swapped;
mod undo;
mod undo_faults;
mod undo_random;
