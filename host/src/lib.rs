//! `llm-osd`: one door between a language model and an operating system.
//!
//! This library is the whole daemon, so that a team links capabilities of its own with a three-line program:
//!
//! ```no_run
//! // use my_capability as _;
//! fn main() -> std::process::ExitCode {
//!     llm_os_host::main()
//! }
//! ```
//!
//! Three things hold for it, and tests keep them:
//!
//! - It names no type of a capability: it links them ([`capabilities`]) and learns the rest from the registry.
//! - A frame reaches a capability only through [`llm_os_core::pipeline::walk`].
//! - What it cannot check at start (policy, log, sockets, configuration) keeps it from starting.
#![deny(unsafe_code)]

mod approvals;
mod audit;
pub mod capabilities;
mod cli;
mod config;
mod describe;
mod display;
mod doctor;
mod evidence;
mod halt;
mod host;
mod init;
mod manual;
mod places;
mod policy;
mod progress;
mod server;
mod settings;
mod signing;
mod start;
mod verbs;

use std::process::ExitCode;

/// Runs the daemon with the arguments of this process; the body of `llm-osd`.
pub fn main() -> ExitCode {
    cli::run()
}
