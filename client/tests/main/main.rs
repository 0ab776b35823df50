//! The program as its users run it, against a host that says what the test tells it to, or against a real one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod approve;
mod ask;
mod audit;
mod compose;
mod computer;
mod daemon;
mod examples;
mod golden;
mod grants;
mod halt;
mod manual;
mod mcp;
mod peer;
mod pty;
mod report;
mod retired;
mod schema;
mod screen;
mod send;
mod signed;
mod ssh;
mod terminal;
mod tmux;
mod wait;
