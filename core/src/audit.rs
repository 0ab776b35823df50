//! The audit record: what it holds, how it is written, chained and verified. Reading and writing files is for others.

mod entry;

pub use entry::{Approved, Decided, Entry, Event, Outcome, What, Who};
