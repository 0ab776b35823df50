//! What a machine has of what a host uses: the findings of `llm-osd doctor`.

use serde::Serialize;

/// One thing that a host uses or needs, and whether it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is, such as `landlock`.
    pub name: String,
    /// Whether it is there and works.
    pub held: bool,
    /// Whether the host does not start without it.
    pub required: bool,
    /// What was found; where it is not held, why not and what to do.
    pub detail: String,
}

impl Check {
    /// Something that is there.
    pub fn held(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), held: true, required: false, detail: detail.into() }
    }

    /// Something that is not.
    pub fn lacking(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), held: false, required: false, detail: why.into() }
    }

    /// The host does not start without it.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}
