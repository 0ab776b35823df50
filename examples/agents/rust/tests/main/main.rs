//! Both agents as their users run them: on a real host, which has a display of its own where the task needs one, and
//! against an endpoint of the test's own that plays the model and refuses what the real one would.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod agent;
mod dialect;
mod endpoint;
mod failures;
mod host;
mod judged;
mod picture;
mod safety;
mod work;
