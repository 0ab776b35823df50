//! What the journal says of the file system: what was at a path before a change, and what is there after it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use llm_os_core::path::spell;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kernel::{Meta, Time};

/// One change, as it was about to be made.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    /// What is at a path and below it becomes something else.
    Put { path: Bytes, before: Tree, after: Tree },
    /// What is at `from`, with all that is in it, gets the name `to`, where nothing is.
    Move { from: Bytes, to: Bytes, moved: Node },
}

/// Everything at a path and below it, what holds before what it holds; empty where nothing is there.
pub(crate) type Tree = Vec<(Bytes, Node)>;

/// One file, directory or symlink.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// Device, inode and time of birth.
    pub(crate) id: String,
    pub(crate) permissions: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// When its content was last changed.
    pub(crate) modified: Time,
    pub(crate) what: What,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum What {
    File {
        bytes: u64,
        sha256: String,
    },
    Directory {},
    Symlink {
        target: Bytes,
    },
    /// A FIFO, a socket or a device, which is moved and never made.
    Other {},
}

/// A path or the target of a symlink, which can hold any bytes. In the journal UTF-8 stands as it is behind a `=`, all else
/// as base64 behind a `:`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Step {
    /// What takes this step back.
    pub(crate) fn reversed(self) -> Self {
        match self {
            Step::Put { path, before, after } => Step::Put { path, before: after, after: before },
            Step::Move { from, to, moved } => Step::Move { from: to, to: from, moved },
        }
    }

    /// The digests of what it replaces.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &str> {
        let before = match self {
            Step::Put { before, .. } => before.as_slice(),
            Step::Move { .. } => &[],
        };
        before.iter().filter_map(|(_, node)| node.sha256())
    }
}

impl Node {
    /// Of something that holds `what`.
    pub(crate) fn of(meta: &Meta, what: What) -> Self {
        let Meta { permissions, uid, gid, modified, .. } = *meta;
        Self { id: meta.id(), permissions, uid, gid, modified, what }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.what, What::Directory {})
    }

    pub(crate) fn sha256(&self) -> Option<&str> {
        match &self.what {
            What::File { sha256, .. } => Some(sha256),
            What::Directory {} | What::Symlink { .. } | What::Other {} => None,
        }
    }

    /// Whether what was looked at is still as it was then, without reading it.
    pub(crate) fn is_still(&self, meta: &Meta) -> bool {
        let same = self.id == meta.id()
            && (self.permissions, self.uid, self.gid) == (meta.permissions, meta.uid, meta.gid);
        same && match &self.what {
            What::File { bytes, .. } => (*bytes, self.modified) == (meta.bytes, meta.modified),
            What::Directory {} | What::Symlink { .. } | What::Other {} => true,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spell(&self.0))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.collect_str(&format_args!("={text}")),
            Err(_) => serializer.collect_str(&format_args!(":{}", STANDARD.encode(&self.0))),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = match (text.strip_prefix('='), text.strip_prefix(':')) {
            (Some(text), _) => Ok(text.as_bytes().to_vec()),
            (None, Some(encoded)) => STANDARD.decode(encoded).map_err(D::Error::custom),
            (None, None) => Err(D::Error::custom("neither = nor : before a path")),
        };
        bytes.map(Self)
    }
}
