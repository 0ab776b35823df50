//! What this crate promises to those outside it.

mod envelope;
mod invariants;
mod protocol;
