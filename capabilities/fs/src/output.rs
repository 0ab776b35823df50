//! What `fs` answers.

use llm_os_core::Text;
use schemars::JsonSchema;
use serde::Serialize;

use crate::kernel::{FileKind, Meta, Time};

/// The answer of an action.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// What was read.
    Read {
        /// The real path.
        path: String,
        /// The bytes from `offset` on.
        content: Text,
        /// Where `content` begins.
        offset: u64,
        /// The size of the whole file.
        size: u64,
        /// The offset to go on at, where more follows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "u64")]
        next: Option<u64>,
    },
    /// What was written.
    Write {
        /// The real path.
        path: String,
        /// How many bytes were written.
        bytes: u64,
        /// The size of the file now.
        size: u64,
    },
    /// What was edited.
    Edit {
        /// The real path.
        path: String,
        /// How often the text was replaced.
        replaced: u32,
        /// Whether the file was changed; false for a dry run.
        changed: bool,
        /// The difference, as a unified diff.
        diff: Text,
    },
    /// What is in a directory.
    List {
        /// The real path.
        path: String,
        /// The entries of this page.
        entries: Vec<Listed>,
        /// How many the policy hides on this page, with all that is below them.
        left_out: u64,
        /// Give it as `next` to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String")]
        next: Option<String>,
    },
    /// What is at a path.
    Stat(Stat),
    /// What was found.
    Search {
        /// The real path that was searched.
        path: String,
        /// The matches of this page, in the order of the paths' names and of the lines.
        matches: Vec<Match>,
        /// How many files and directories the policy hides on this page.
        left_out: u64,
        /// How many files on this page were not searched to their end, since they are binary, too large or unreadable.
        skipped: u64,
        /// Give it as `next` to go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String")]
        next: Option<String>,
    },
    /// Which directories were created.
    Mkdir {
        /// The path of the directory.
        path: String,
        /// The directories that did not exist before, outermost first.
        created: Vec<String>,
    },
    /// What was moved.
    Move {
        /// Where it was.
        from: String,
        /// Where it is.
        to: String,
    },
    /// What was copied.
    Copy {
        /// The original.
        from: String,
        /// The copy.
        to: String,
        /// How many files, directories and symlinks.
        entries: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// What was put back.
    Undo {
        /// The run that was undone.
        run: String,
        /// The paths at which something was put back or removed; none where all was as before that run already.
        restored: Vec<String>,
    },
    /// What was removed.
    Remove {
        /// The path.
        path: String,
        /// How many files, directories and symlinks.
        entries: u64,
    },
}

/// An entry of a directory.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// Its path.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryType,
    /// The size of a regular file, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub bytes: Option<u64>,
}

/// What a path leads to.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Stat {
    /// The real path.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryType,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its permissions, as octal digits.
    pub permissions: String,
    /// Whose it is, a user's number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// How many names it has.
    pub links: u32,
    /// Where a symlink leads, as it stands in the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub target: Option<Text>,
    /// What differs from one run to the next by nature.
    pub meta: StatMeta,
}

/// What differs from one run to the next by nature.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatMeta {
    /// When the content was last changed, in milliseconds since 1970.
    pub modified_ms: i64,
    /// When anything about it was last changed, in milliseconds since 1970.
    pub changed_ms: i64,
    /// The number of its inode.
    pub inode: u64,
    /// The file system, as `major:minor`.
    pub device: String,
}

/// A match of a search.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Match {
    /// The file.
    pub path: String,
    /// The line, counted from 1, where `pattern` was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub line: Option<u64>,
    /// The line's text without its end, cut after 512 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Text")]
    pub text: Option<Text>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink.
    Symlink,
    /// A FIFO, a socket or a device.
    Other,
}

impl From<FileKind> for EntryType {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::Regular => EntryType::File,
            FileKind::Directory => EntryType::Directory,
            FileKind::Symlink => EntryType::Symlink,
            FileKind::Special(_) => EntryType::Other,
        }
    }
}

impl StatMeta {
    pub(crate) fn of(meta: &Meta) -> Self {
        let milliseconds =
            |(seconds, nanos): Time| seconds.saturating_mul(1000) + i64::from(nanos / 1_000_000);
        Self {
            modified_ms: milliseconds(meta.modified),
            changed_ms: milliseconds(meta.changed),
            inode: meta.inode,
            device: format!("{}:{}", meta.device.0, meta.device.1),
        }
    }
}
