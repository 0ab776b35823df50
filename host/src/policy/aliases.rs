//! The names by which programs are known in the usual folders: `/bin/sh` is a link to `dash`, in a folder that is a link to
//! `/usr/bin`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where programs have their names (hier(7)).
const FOLDERS: [&str; 6] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Read once, when they are first asked for: a name that is made later is missing until the policy is loaded again.
#[derive(Default)]
pub(super) struct Aliases(OnceLock<Names>);

#[derive(Default)]
struct Names {
    /// For each real folder the names that it has.
    folders: BTreeMap<PathBuf, Vec<&'static str>>,
    /// For each real file the links in these folders that lead to it.
    links: BTreeMap<PathBuf, Vec<PathBuf>>,
}

impl Aliases {
    /// All names of a program that are a text, its real path among them.
    pub(super) fn of(&self, program: &str) -> BTreeSet<String> {
        let Names { folders, links } = self.0.get_or_init(Names::read);
        let real = Path::new(program);
        let files = links.get(real).into_iter().flatten().map(PathBuf::as_path).chain([real]);
        let in_folders = files.flat_map(|file| {
            let names = file.parent().and_then(|folder| folders.get(folder)).into_iter().flatten();
            names.filter_map(|folder| Some(Path::new(folder).join(file.file_name()?)))
        });
        let in_folders = in_folders.filter_map(|path| path.into_os_string().into_string().ok());
        in_folders.chain([program.to_owned()]).collect()
    }
}

impl Names {
    fn read() -> Self {
        let mut names = Self::default();
        for folder in FOLDERS {
            if let Ok(real) = Path::new(folder).canonicalize() {
                names.folders.entry(real).or_default().push(folder);
            }
        }
        let entries = names.folders.keys().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let links =
            entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|ty| ty.is_symlink()));
        for link in links {
            if let Ok(real) = link.path().canonicalize() {
                names.links.entry(real).or_default().push(link.path());
            }
        }
        names
    }
}
