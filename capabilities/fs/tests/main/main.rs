//! `fs` through the real pipeline, against real files. Cases of the attack list are named by their ids.
#![allow(clippy::unwrap_used)]

mod actions;
mod change;
mod escape;
mod files;
mod policy;
mod races;
mod search;
mod support;
