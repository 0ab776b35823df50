//! What this crate promises to those outside it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod approval;
mod envelope;
mod invariants;
mod protocol;
