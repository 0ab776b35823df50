//! The table `[capabilities.fs]`.

use std::num::NonZeroU64;

use llm_os_core::{Fault, Setup};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::fault::UNDO_UNAVAILABLE;
use crate::undo::Store;

/// What an operator may set.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Keeps what every change replaces, so that `fs.undo` can put it back. A change whose old content cannot be kept is not made.
    pub undo: bool,
    /// How many bytes are kept at most; the oldest runs are dropped first.
    pub undo_quota: NonZeroU64,
}

impl Default for Config {
    fn default() -> Self {
        Self { undo: false, undo_quota: NonZeroU64::new(1 << 30).expect("it is not zero") }
    }
}

impl Config {
    /// Opens the store where undo is on.
    pub(crate) fn store(&self, setup: &Setup) -> Result<Option<Store>, Fault> {
        if !self.undo {
            return Ok(None);
        }
        let state = setup.state.as_ref().ok_or_else(|| {
            Fault::new(UNDO_UNAVAILABLE, "undo = true needs a state directory, and there is none")
        })?;
        Store::open(state, self.undo_quota.get()).map(Some)
    }
}
