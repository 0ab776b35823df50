//! The exec capability through the real pipeline, with real programs.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "main/display.rs"]
mod display;
#[path = "main/environment.rs"]
mod environment;
#[path = "main/escape.rs"]
mod escape;
#[path = "main/git.rs"]
mod git;
#[path = "main/group.rs"]
mod group;
#[path = "main/limits.rs"]
mod limits;
#[path = "main/machine.rs"]
mod machine;
#[path = "main/output.rs"]
mod output;
#[path = "main/pipe.rs"]
mod pipe;
#[path = "main/program.rs"]
mod program;
#[path = "main/races.rs"]
mod races;
#[path = "main/start.rs"]
mod start;
#[path = "main/support.rs"]
mod support;
#[path = "main/tree.rs"]
mod tree;
