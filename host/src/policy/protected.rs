//! What no policy can grant: the host's own files.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use llm_os_core::effect::{Effect, Fact, Kind, Verb};
use llm_os_core::path::{self, WirePath};

use super::PolicyError;
use super::entities::Entity;
use super::names::real_path;

/// The host's own state, policies, configuration, sockets, log and binary: files, or directories with all below.
///
/// Every verb on them is denied, `observe` too, by their real path and, for a file with several names, by inode.
#[derive(Clone, Debug, Default)]
pub(crate) struct Protected {
    paths: Vec<(String, PathBuf)>,
}

impl Protected {
    /// Protects these paths, in their real form; they need not exist yet.
    ///
    /// # Errors
    ///
    /// A path that has no real form: relative, with `..`, or a symbolic link that leads nowhere.
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, PolicyError> {
        let protect = |path: PathBuf| {
            let real = real_path(&path)
                .map_err(|e| PolicyError::Setup(format!("{} cannot be protected: {e}", path.display())))?;
            Ok((path::spell(real.as_os_str().as_bytes()), real))
        };
        Ok(Self { paths: paths.into_iter().map(protect).collect::<Result<_, _>>()? })
    }

    /// Why an effect is denied whatever the policy says.
    pub(crate) fn refuses(&self, effect: &Effect, resource: &Entity) -> Option<&'static str> {
        if !matches!(effect.resource.kind, Kind::Path | Kind::Program) {
            return None;
        }
        if self.paths.iter().any(|(own, _)| resource.is_in(own)) {
            return Some("it is the host's own state, which no policy can grant");
        }
        if matches!(effect.verb, Verb::Change | Verb::Destroy) && self.has_below(&effect.resource.id) {
            return Some(
                "the host's own state lies below it, and no policy can grant to replace or remove it",
            );
        }
        self.refuses_inode(effect)
    }

    /// A file with several names may be one of the host's under another name.
    fn refuses_inode(&self, effect: &Effect) -> Option<&'static str> {
        let links = match effect.facts.get("links") {
            Some(Fact::Long(links)) => Some(*links),
            _ => None,
        };
        if links.is_some_and(|links| links <= 1) {
            return None;
        }
        let unknown =
            Some("it has several names, and it cannot be checked that it is none of the host's own files");
        let Ok(bytes) = WirePath::new(&effect.resource.id).bytes("") else { return unknown };
        match Path::new(std::ffi::OsStr::from_bytes(&bytes)).symlink_metadata() {
            Ok(found) if !found.is_file() || found.nlink() <= 1 => None,
            Ok(found) => match self.holds((found.dev(), found.ino())) {
                Ok(false) => None,
                Ok(true) => {
                    Some("it is one of the host's own files under another name, which no policy can grant")
                }
                Err(_) => unknown,
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound && links.is_none() => None,
            Err(_) => unknown,
        }
    }

    /// Whether `path` is, or lies below, what is protected.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let above = path::ancestors(path);
        self.paths.iter().any(|(own, _)| own == path || above.contains(own))
    }

    /// Every protected path, in its real form.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|(own, _)| own.as_str())
    }

    /// Whether anything at or below `path` is protected.
    pub(crate) fn touches(&self, path: &str) -> bool {
        self.covers(path) || self.has_below(path)
    }

    /// What is protected strictly below a directory.
    pub(crate) fn below(&self, dir: &str) -> impl Iterator<Item = &str> {
        let own = self.paths.iter().map(|(own, _)| own.as_str());
        own.filter(move |own| path::ancestors(own).iter().any(|above| above == dir))
    }

    fn has_below(&self, path: &str) -> bool {
        self.below(path).next().is_some()
    }

    /// Whether a file with this device and inode number is protected. The directories are walked anew each time, since
    /// what is in them changes, and files with several names are rare.
    fn holds(&self, wanted: (u64, u64)) -> io::Result<bool> {
        let mut left: Vec<PathBuf> = self.paths.iter().map(|(_, path)| path.clone()).collect();
        while let Some(path) = left.pop() {
            let found = match path.symlink_metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                found => found?,
            };
            if (found.dev(), found.ino()) == wanted {
                return Ok(true);
            }
            if found.is_dir() {
                for entry in path.read_dir()? {
                    left.push(entry?.path());
                }
            }
        }
        Ok(false)
    }
}
