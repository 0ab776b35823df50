//! Where a policy comes from: a preset in the binary, a file, or a directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use llm_os_core::error::excerpt;
use sha2::{Digest, Sha256};

use super::PolicyError;

/// A file of a preset with the cases that it is held against.
struct Part {
    name: &'static str,
    text: &'static str,
    tests: &'static str,
}

macro_rules! parts {
    ($($name:literal),*) => {
        &[$(Part {
            name: $name,
            text: include_str!(concat!("../../../examples/policies/", $name, ".cedar")),
            tests: include_str!(concat!("../../../examples/policies/", $name, ".tests.json")),
        }),*]
    };
}

/// The presets: name and files.
const PRESETS: [(&str, &[Part]); 3] = [
    ("strict", parts!("strict")),
    (
        "workspace",
        parts!(
            "workspace",
            "programs/cat",
            "programs/diff",
            "programs/find",
            "programs/git",
            "programs/grep",
            "programs/head",
            "programs/ls",
            "programs/rg",
            "programs/sort",
            "programs/tail",
            "programs/wc"
        ),
    ),
    ("virtual-desktop", parts!("virtual-desktop")),
];

/// The most bytes of all files of a policy.
const MAX_BYTES: u64 = 4 << 20;

/// Where a policy comes from; `preset:NAME` or a path on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One of the presets in the binary.
    Preset(&'static str),
    /// A `.cedar` file, or a directory of them.
    Path(PathBuf),
}

/// The cases of a preset, by the file that they belong to.
pub(crate) fn preset_tests(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let parts = PRESETS.iter().find(|(preset, _)| *preset == name).map_or(&[][..], |(_, parts)| *parts);
    parts.iter().map(|part| (part.name, part.tests))
}

impl Default for Source {
    fn default() -> Self {
        Source::Preset("strict")
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(wanted) = text.strip_prefix("preset:") else { return Ok(Source::Path(text.into())) };
        match PRESETS.iter().find(|(name, _)| *name == wanted) {
            Some((name, _)) => Ok(Source::Preset(name)),
            None => {
                let names = PRESETS.map(|(name, _)| format!("preset:{name}")).join(", ");
                Err(format!("found \"{}\", expected a path or one of {names}", excerpt(text)))
            }
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Preset(name) => write!(f, "preset:{name}"),
            Source::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What was read.
pub(crate) struct Text {
    pub(crate) files: Vec<File>,
    /// As `sha256sum` prints it of the one file; of several, that of the list that `sha256sum *.cedar` prints.
    pub(crate) sha256: String,
    /// Whether it is a preset, which is written for any set of capabilities.
    pub(crate) is_preset: bool,
}

/// One file of a policy.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Text {
    /// A policy in one file.
    pub(crate) fn one(name: String, text: String, is_preset: bool) -> Self {
        let sha256 = sha256(text.as_bytes());
        Self { files: vec![File { name, text }], sha256, is_preset }
    }

    /// A policy in several files.
    fn several(files: Vec<File>, is_preset: bool) -> Self {
        let line = |file: &File| format!("{}  {}\n", sha256(file.text.as_bytes()), file.name);
        let sha256 = sha256(files.iter().map(line).collect::<String>().as_bytes());
        Self { files, sha256, is_preset }
    }
}

impl Source {
    pub(crate) fn read(&self) -> Result<Text, PolicyError> {
        match self {
            Source::Preset(name) => {
                let (_, parts) = PRESETS.iter().find(|(preset, _)| preset == name).ok_or_else(|| {
                    PolicyError::Read { name: self.to_string(), why: "there is no such preset".to_owned() }
                })?;
                let file =
                    |part: &Part| File { name: format!("{}.cedar", part.name), text: part.text.to_owned() };
                match parts {
                    [part] => Ok(Text::one(self.to_string(), part.text.to_owned(), true)),
                    parts => Ok(Text::several(parts.iter().map(file).collect(), true)),
                }
            }
            Source::Path(path) if path.is_dir() => read_directory(path),
            Source::Path(path) => {
                let text = read_file(path, &mut MAX_BYTES.clone())?;
                Ok(Text::one(path.display().to_string(), text, false))
            }
        }
    }
}

/// Reads every `.cedar` file of a directory, by name. A file of another sort is refused rather than left out, since
/// what is left out may be a `forbid`; tests and notes may lie beside.
fn read_directory(dir: &Path) -> Result<Text, PolicyError> {
    let refused = |path: &Path, why: String| PolicyError::Read { name: path.display().to_string(), why };
    check_mode(dir)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| refused(dir, e.to_string()))? {
        let path = entry.map_err(|e| refused(dir, e.to_string()))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let plain =
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) && !name.starts_with('.');
        if plain && name.ends_with(".cedar") {
            names.push(name);
        } else if !(plain && (name.ends_with(".tests.json") || name.ends_with(".md"))) {
            let why = "expected NAME.cedar (or NAME.tests.json, NAME.md beside it), with letters, digits, \".\", \
                       \"_\" and \"-\" in NAME; move it away";
            return Err(refused(&path, why.to_owned()));
        }
    }
    if names.is_empty() {
        return Err(refused(dir, "it holds no .cedar file".to_owned()));
    }
    names.sort();
    let (mut files, mut left) = (Vec::new(), MAX_BYTES);
    for name in names {
        let text = read_file(&dir.join(&name), &mut left)?;
        files.push(File { name, text });
    }
    Ok(Text::several(files, false))
}

fn read_file(path: &Path, left: &mut u64) -> Result<String, PolicyError> {
    let refused = |why: String| PolicyError::Read { name: path.display().to_string(), why };
    let found = fs::metadata(path).map_err(|e| refused(e.to_string()))?;
    if !found.is_file() {
        return Err(refused("expected a regular file of Cedar policies, or a directory of them".to_owned()));
    }
    *left =
        left.checked_sub(found.len()).ok_or_else(|| refused("the policy is longer than 4 MiB".to_owned()))?;
    check_mode(path)?;
    fs::read_to_string(path).map_err(|e| refused(e.to_string()))
}

/// Anyone could lift a policy that anyone can write.
fn check_mode(path: &Path) -> Result<(), PolicyError> {
    let mode = fs::metadata(path).map_or(0, |found| found.permissions().mode());
    if mode & 0o002 == 0 {
        return Ok(());
    }
    let path = path.display();
    let why = format!("every user can write it (mode {:04o}); run: chmod o-w {path}", mode & 0o7777);
    Err(PolicyError::Read { name: path.to_string(), why })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_in_the_order_of_its_names_and_hashed_as_sha256sum_does() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("b.cedar", "// b\n"), ("a.cedar", "// a\n"), ("a.tests.json", "{}"), ("README.md", "")]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let text = Source::Path(dir.path().into()).read().unwrap();
        assert_eq!(
            text.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
            ["a.cedar", "b.cedar"]
        );
        let list = format!("{}  a.cedar\n{}  b.cedar\n", sha256(b"// a\n"), sha256(b"// b\n"));
        assert_eq!(text.sha256, sha256(list.as_bytes()));
    }

    #[test]
    fn a_file_that_would_be_left_out_silently_is_refused() {
        for odd in ["forbid.cedar.bak", "forbid.txt", ".hidden.cedar", "sp ace.cedar"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("a.cedar"), "").unwrap();
            fs::write(dir.path().join(odd), "").unwrap();
            assert!(Source::Path(dir.path().into()).read().is_err(), "{odd}");
        }
    }

    #[test]
    fn a_policy_that_every_user_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.cedar");
        fs::write(&file, "").unwrap();
        assert!(Source::Path(file.clone()).read().is_ok());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
        let refused = Source::Path(file).read().err().unwrap().to_string();
        assert!(refused.contains("chmod o-w"), "{refused}");
    }

    #[test]
    fn an_unknown_preset_names_those_that_exist() {
        assert_eq!("preset:strict".parse(), Ok(Source::default()));
        assert!("preset:lax".parse::<Source>().unwrap_err().contains("preset:workspace"));
    }
}
