//! The keyboard in real windows: on an X server of each test's own, with programs that nobody here wrote.
#![allow(clippy::unwrap_used)]

mod chords;
mod focus;
mod halt_chord;
mod held;
mod support;
mod text;
mod wayland;
