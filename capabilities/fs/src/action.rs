//! What a plan can ask of `fs`. The doc comments are what a model reads.

use llm_os_core::Secret;
use llm_os_core::path::WirePath;
use schemars::JsonSchema;
use serde::Deserialize;

/// An action on files below the configured roots. Every path is absolute.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Reads a part of a regular file. Where more follows, the answer's `next` is the offset to go on at. Bytes that
    /// are not UTF-8 come as base64.
    Read {
        /// The file. A symlink is followed as long as it stays below the root.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["observe"]}))]
        path: WirePath,
        /// Where to begin, in bytes.
        #[serde(default)]
        offset: u64,
        /// How many bytes at most.
        #[serde(default = "default_max_bytes")]
        #[schemars(range(min = 4, max = 8_388_608))]
        max_bytes: u64,
    },
    /// Writes a regular file. `create` and `replace` are atomic: the file is complete under its name or not there.
    /// Give exactly one of `content` and `content_base64`.
    Write {
        /// The file. Its directory must exist; a symlink is never written through.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["change"]}))]
        path: WirePath,
        /// The content, as text.
        #[serde(default)]
        #[schemars(with = "Secret", skip_serializing_if = "Option::is_none")]
        content: Option<Secret>,
        /// The content, as standard base64 with padding, where it is not text.
        #[serde(default)]
        #[schemars(with = "Secret", skip_serializing_if = "Option::is_none")]
        content_base64: Option<Secret>,
        /// What is expected to be there.
        mode: WriteMode,
        /// The permissions as three octal digits, such as "644" (the default of a new file); a file that is replaced
        /// keeps its own. Not with `append`.
        #[serde(default)]
        #[schemars(
            with = "String",
            skip_serializing_if = "Option::is_none",
            regex(pattern = "^0?[0-7]{3}$")
        )]
        permissions: Option<String>,
    },
    /// Replaces text in a UTF-8 file, exactly as often as expected, and shows what changed as a unified diff.
    Edit {
        /// The file.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["observe"], "root": "write"}))]
        path: WirePath,
        /// The exact text to replace, white space and line ends included.
        #[schemars(length(min = 1))]
        old: Secret,
        /// The text to put in its place.
        new: Secret,
        /// How often `old` must stand in the file; anything else fails and changes nothing.
        #[serde(default = "default_expected")]
        #[schemars(range(min = 1, max = 1000))]
        expected: u32,
        /// Shows the diff and changes nothing.
        #[serde(default)]
        dry_run: bool,
    },
    /// Lists a directory, sorted by the bytes of the names. What the policy hides is left out and counted. Symlinks are
    /// listed and not followed.
    List {
        /// The directory.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["observe"]}))]
        path: WirePath,
        /// How many levels: 1 is the directory itself, 2 its subdirectories too, and so on.
        #[serde(default = "default_depth")]
        #[schemars(range(min = 1, max = 64))]
        depth: u32,
        /// How many entries at most in this answer.
        #[serde(default = "default_list_limit")]
        #[schemars(range(min = 1, max = 10_000))]
        limit: u32,
        /// `next` of the answer before, to go on behind it.
        #[serde(default)]
        #[schemars(with = "String", skip_serializing_if = "Option::is_none")]
        next: Option<String>,
    },
    /// Tells what is at a path: its type, size and permissions. A symlink is not followed.
    Stat {
        /// The path.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["observe"]}))]
        path: WirePath,
    },
    /// Finds files below a directory by name (`glob`), by content (`pattern`), or by both. Skips what `.gitignore` files
    /// below that directory name, `.git`, binary files and files of more than 64 MiB.
    Search {
        /// The directory to search below, or one file.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["observe"]}))]
        path: WirePath,
        /// Which files, such as "*.rs" (anywhere below) or "src/**/*.rs" (from `path` on).
        #[serde(default)]
        #[schemars(with = "String", skip_serializing_if = "Option::is_none")]
        glob: Option<String>,
        /// A regular expression (Rust's regex syntax) that a line must match.
        #[serde(default)]
        #[schemars(with = "String", skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
        /// Makes no difference between upper and lower case in `pattern`.
        #[serde(default)]
        ignore_case: bool,
        /// Searches what `.gitignore` names and `.git` as well.
        #[serde(default)]
        include_ignored: bool,
        /// How many matches at most in this answer.
        #[serde(default = "default_max_results")]
        #[schemars(range(min = 1, max = 10_000))]
        max_results: u32,
        /// `next` of the answer before, to go on behind it.
        #[serde(default)]
        #[schemars(with = "String", skip_serializing_if = "Option::is_none")]
        next: Option<String>,
    },
    /// Creates a directory.
    Mkdir {
        /// The directory.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["change"]}))]
        path: WirePath,
        /// Creates the directories above it that are missing, and is content if it exists.
        #[serde(default)]
        parents: bool,
        /// The permissions as three octal digits.
        #[serde(default = "default_directory_permissions")]
        #[schemars(regex(pattern = "^0?[0-7]{3}$"))]
        permissions: String,
    },
    /// Renames a file or a directory with all that is in it, within one file system, atomically.
    Move {
        /// What to move. A symlink is moved itself.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["observe", "destroy"]}))]
        from: WirePath,
        /// Its new path, name included. Its directory must exist.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["change"]}))]
        to: WirePath,
        /// Replaces a file that is at `to`.
        #[serde(default)]
        replace: bool,
    },
    /// Copies a regular file, or a directory with all that is in it. The copy appears complete or not at all.
    Copy {
        /// What to copy. A symlink is followed here, and copied as a symlink below.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["observe"]}))]
        from: WirePath,
        /// The path of the copy, name included. Its directory must exist.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["change"]}))]
        to: WirePath,
        /// Copies a directory.
        #[serde(default)]
        recursive: bool,
        /// Replaces a file that is at `to`.
        #[serde(default)]
        replace: bool,
    },
    /// Removes a file, a symlink (not what it leads to) or a directory. `undo` brings it back where the host keeps what is replaced.
    Remove {
        /// What to remove.
        #[schemars(extend("x-resource" = {"kind": "Path", "verbs": ["destroy"]}))]
        path: WirePath,
        /// Removes a directory with all that is in it; without, only an empty one.
        #[serde(default)]
        recursive: bool,
    },
    /// Puts back what a run of yours replaced, created, moved or removed, the last change first: all of it, or nothing where
    /// something was changed since. An undo is a run too, and undone in the same way.
    Undo {
        /// The run, as `meta.run` of its answer.
        #[schemars(length(min = 1, max = 128))]
        run: String,
        /// Only what this action of the run changed, counted from 0.
        #[serde(default)]
        #[schemars(with = "usize", skip_serializing_if = "Option::is_none")]
        index: Option<usize>,
    },
}

/// What a write expects to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// Nothing: fails if the path exists.
    Create,
    /// A file: its content is replaced, atomically.
    Replace,
    /// A file: the content is added at its end.
    Append,
}

fn default_max_bytes() -> u64 {
    65_536
}

fn default_expected() -> u32 {
    1
}

fn default_depth() -> u32 {
    1
}

fn default_list_limit() -> u32 {
    1000
}

fn default_max_results() -> u32 {
    200
}

fn default_directory_permissions() -> String {
    "755".to_owned()
}
