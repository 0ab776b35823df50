//! The daemon as a whole: the real `llm-osd`, real sockets, programs and files, the real audit log.
//!
//! Every test ends with [`daemon::Daemon::stop`] (or names why it cannot), which holds what must be true after any of
//! them: the daemon answers, the log verifies, every intent has its outcome, no secret stands in log or output, no
//! child and no descriptor is left, and no CANARY appeared. The ids in the docs (J01, C07 ...) are those of the attack
//! list in docs/threat-model.md.

#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

mod activation;
mod audit;
mod child;
mod client;
mod commands;
mod confirm;
mod contained;
mod daemon;
mod describe;
mod desktop;
mod display;
mod doctor;
mod environment;
mod evidence;
mod grants;
mod halt;
mod json;
mod layers;
mod lifecycle;
mod past;
mod plans;
mod process;
mod programs;
mod readers;
mod records;
mod signed;
mod sockets;
mod start;
mod tokens;
mod undo;
