//! Where things are when nothing is configured: the XDG base directories.

use std::path::PathBuf;

use etcetera::BaseStrategy;
use etcetera::base_strategy::Xdg;

/// The default places of a host.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// `llm-osd.toml` is read from here where it exists.
    pub(crate) config: PathBuf,
    /// Log, keys, records of `once`.
    pub(crate) state: PathBuf,
    /// The socket that takes plans, in a directory of its own.
    pub(crate) socket: PathBuf,
    /// The socket that takes approvals, in a directory of its own.
    pub(crate) approval_socket: PathBuf,
    /// The one root where none is configured.
    pub(crate) workspace: PathBuf,
}

impl Places {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// Without a home directory.
    pub(crate) fn find() -> Result<Self, etcetera::HomeDirError> {
        let xdg = Xdg::new()?;
        let state = xdg.state_dir().unwrap_or_else(|| xdg.home_dir().join(".local/state")).join("llm-osd");
        let runtime = xdg.runtime_dir().map_or_else(|| state.join("run"), |dir| dir.join("llm-osd"));
        Ok(Self {
            config: xdg.config_dir().join("llm-osd/llm-osd.toml"),
            socket: runtime.join("plan/plan.sock"),
            approval_socket: runtime.join("approval/approval.sock"),
            workspace: xdg.data_dir().join("llm-osd/workspace"),
            state,
        })
    }
}
