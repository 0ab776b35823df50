//! The files that plans are about, on the disk for the one judge and as lists for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;

use llm_os_core::capability::Mode;
use tempfile::TempDir;

/// The roots, some of them inside of others.
pub(super) const ROOTS: [(&str, Mode); 4] =
    [("root", Mode::Write), ("root/kept", Mode::Read), ("read", Mode::Read), ("read/inner", Mode::Write)];

/// What no policy grants, outside of the roots and inside of one.
pub(super) const PROTECTED: [&str; 2] = ["state", "root/a/own"];

pub(super) const DIRS: [&str; 14] = [
    "root",
    "root/a",
    "root/a/b",
    "root/.git",
    "root/kept",
    "root/kept/d",
    "root/a/own",
    "root/a/own/d",
    "root-evil",
    "read",
    "read/d",
    "read/inner",
    "state",
    "outside",
];

pub(super) const FILES: [&str; 17] = [
    "root/f",
    "root/a/f",
    "root/a/b/g.md",
    "root/.bashrc",
    "root/.git/config",
    "root/kept/f",
    "root/kept/d/f",
    "root/a/own/f",
    "root/a/own/d/f",
    "root/\u{fc}n\u{ef} code",
    "root-evil/f",
    "read/f",
    "read/d/f",
    "read/inner/f",
    "state/log",
    "outside/f",
    "root/many",
];

/// Further names of files.
pub(super) const NAMES: [(&str, &str); 2] = [("root/many", "root/a/many"), ("state/log", "root/alias")];

/// Symlinks with their targets.
pub(super) const LINKS: [(&str, &str); 6] = [
    ("root/l", "a"),
    ("root/l2", "l/b"),
    ("root/up", "../outside"),
    ("root/self", "a/own"),
    ("root/a/kept", "../kept"),
    ("read/lf", "d/f"),
];

pub(super) struct Tree {
    dir: TempDir,
    root: String,
    pub(super) dirs: BTreeSet<String>,
    pub(super) files: BTreeSet<String>,
    pub(super) links: BTreeMap<String, &'static str>,
}

impl Tree {
    pub(super) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("llm-os-agreement-").tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().into_os_string().into_string().unwrap();
        let at = |name: &str| format!("{root}/{name}");
        DIRS.iter().for_each(|name| fs::create_dir(at(name)).unwrap());
        FILES.iter().for_each(|name| fs::write(at(name), "x").unwrap());
        NAMES.iter().for_each(|(name, other)| fs::hard_link(at(name), at(other)).unwrap());
        LINKS.iter().for_each(|(name, target)| symlink(target, at(name)).unwrap());
        let files = FILES.iter().copied().chain(NAMES.iter().map(|(_, other)| *other)).map(at).collect();
        let (dirs, links) = (
            DIRS.iter().map(|name| at(name)).collect(),
            LINKS.iter().map(|(name, to)| (at(name), *to)).collect(),
        );
        Self { dir, root, dirs, files, links }
    }

    /// The absolute path of a name.
    pub(super) fn at(&self, name: &str) -> String {
        debug_assert!(self.dir.path().exists());
        format!("{}/{name}", self.root)
    }
}
