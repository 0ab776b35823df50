//! The `monitor` capability through the real pipeline, on real displays.

mod capture;
mod masks;
mod pictures;
mod refused;
mod support;
mod time;
mod wayland;
