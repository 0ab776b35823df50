//! `mouse` in real windows, each test on a display of its own.

mod clicking;
mod dragging;
mod held;
mod menus;
mod refused;
mod scrolling;
mod support;
mod wayland;
mod witness;
