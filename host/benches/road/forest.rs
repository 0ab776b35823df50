//! What is searched: 10,000 empty files, and five of them by their names.

use std::fs::{self, File};

use crate::daemon::Places;

const FILES: usize = 10_000;

/// The names that are sought.
pub(crate) const SOUGHT: [&str; 5] =
    ["file-00007.txt", "file-02500.txt", "file-05000.txt", "file-07500.txt", "file-09999.txt"];

/// How the files lie.
#[derive(Clone, Copy)]
pub(crate) enum Forest {
    OneFolder,
    HundredFolders,
}

impl Forest {
    pub(crate) fn path(self, places: &Places) -> String {
        let name = match self {
            Self::OneFolder => "one-folder",
            Self::HundredFolders => "hundred-folders",
        };
        places.files().join(name).to_str().unwrap().to_owned()
    }

    /// Makes the files.
    pub(crate) fn plant(self, places: &Places) {
        let top = self.path(places);
        for n in 0..FILES {
            let folder = match self {
                Self::OneFolder => top.clone(),
                Self::HundredFolders => format!("{top}/folder-{:02}", n % 100),
            };
            fs::create_dir_all(&folder).unwrap();
            File::create(format!("{folder}/file-{n:05}.txt")).unwrap();
        }
    }

    /// The params of a search for the five.
    pub(crate) fn search(self, places: &Places) -> String {
        format!(r#"{{"path":"{}","glob":"{{{}}}"}}"#, self.path(places), SOUGHT.join(","))
    }
}
