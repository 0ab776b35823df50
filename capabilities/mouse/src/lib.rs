//! The mouse.
