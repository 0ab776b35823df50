//! The display as its capabilities use it, against a real compositor.

mod wayland;
