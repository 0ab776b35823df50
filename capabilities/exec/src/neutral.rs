//! Programs that read, in the folder they start in, what they are to run: what can be taken back by their environment is
//! taken back, and where a folder names more than that, the program asks.
//!
//! This is about git. It reads `.git/config` of the folder or of one above, which names pagers, hooks, filters, helpers.
//! In its environment stand values that go before those of a file. Some settings have a name of the file's own
//! (`filter.NAME.clean`), or none that means "no program" (`diff.external`): of those it is enough that a word occurs, since
//! git knows no other spelling of a section or a key. Nothing here is the last line: a program that no human confirmed
//! is not let start another one.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::program::Runnable;

/// What goes before every file that git reads (git-config(1)).
const CONFIG: [(&str, &str); 25] = [
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.pager", "cat"),
    ("core.editor", "false"),
    ("core.askPass", "false"),
    ("core.sshCommand", "false"),
    ("core.gitProxy", ""),
    ("core.alternateRefsCommand", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("credential.helper", ""),
    ("diff.ignoreSubmodules", "all"),
    ("diff.submodule", "short"),
    ("format.pretty", "medium"),
    ("gpg.program", "false"),
    ("gpg.openpgp.program", "false"),
    ("gpg.ssh.program", "false"),
    ("gpg.x509.program", "false"),
    ("interactive.diffFilter", "cat"),
    ("log.showSignature", "false"),
    ("safe.bareRepository", "explicit"),
    ("sequence.editor", "false"),
    ("status.submoduleSummary", "false"),
    ("submodule.recurse", "false"),
    ("gc.auto", "0"),
];

/// What else git's environment says (git(1)).
const ENVIRONMENT: [(&str, &str); 13] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_PAGER", "cat"),
    ("PAGER", "cat"),
    ("GIT_EDITOR", "false"),
    ("GIT_SEQUENCE_EDITOR", "false"),
    ("GIT_ASKPASS", "false"),
    ("GIT_SSH_COMMAND", "false"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    // Goes before protocol.NAME.allow of every file: "ext" and "ssh" are programs.
    ("GIT_ALLOW_PROTOCOL", "https"),
];

/// Words of sections and keys by which a repository names programs, or files to read instead, that cannot be taken back.
const WORDS: [&str; 9] =
    ["include", "filter", "external", "textconv", "command", "driver", "submodule", "alias", "worktree"];

/// The longest configuration that is looked at.
const MAX_CONFIG: u64 = 1 << 20;
/// The longest index that is looked at.
const MAX_INDEX: u64 = 256 << 20;

/// The variables that a program gets so that it runs nothing that its folder names; where that is not enough it asks.
pub(crate) fn neutralise(runnable: &mut Runnable, argv0: &str, cwd: &[u8]) -> Vec<(String, String)> {
    let Runnable::Binary(program) = runnable else { return Vec::new() };
    let path = program.path();
    let is_git = [argv0, &path].iter().any(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name == "git" || name.starts_with("git-")
    });
    if !is_git {
        return Vec::new();
    }
    if let Some(why) =
        repository(Path::new(std::ffi::OsStr::from_bytes(cwd))).and_then(|dir| names_programs(&dir))
    {
        program.ask(format!("the repository that it is in names programs to run: {why}"));
    }
    let fixed = ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let config = CONFIG.iter().enumerate().flat_map(|(number, (key, value))| {
        let pair = [("KEY", key), ("VALUE", value)];
        pair.map(|(what, text)| (format!("GIT_CONFIG_{what}_{number}"), (*text).to_owned()))
    });
    fixed.chain(config).chain([("GIT_CONFIG_COUNT".to_owned(), CONFIG.len().to_string())]).collect()
}

/// What git finds from a folder: the nearest `.git` at or above it.
fn repository(cwd: &Path) -> Option<PathBuf> {
    cwd.ancestors().map(|dir| dir.join(".git")).find(|found| found.symlink_metadata().is_ok())
}

/// What in a repository names programs, as far as a look at its files tells; what cannot be read may.
fn names_programs(git: &Path) -> Option<String> {
    let unreadable = |path: &Path| Some(format!("{} cannot be looked at", path.display()));
    let dir = if git.is_file() {
        let Some(text) = read(git, MAX_CONFIG) else { return unreadable(git) };
        let named = text.strip_prefix(b"gitdir: ").map(<[u8]>::trim_ascii_end);
        let Some(named) = named else { return unreadable(git) };
        git.parent()?.join(std::ffi::OsStr::from_bytes(named))
    } else {
        git.to_owned()
    };
    let mut dirs = vec![dir.clone()];
    let shared = dir.join("commondir");
    if shared.symlink_metadata().is_ok() {
        let Some(text) = read(&shared, MAX_CONFIG) else { return unreadable(&shared) };
        dirs.push(dir.join(std::ffi::OsStr::from_bytes(text.trim_ascii_end())));
    }
    for config in dirs.iter().flat_map(|dir| [dir.join("config"), dir.join("config.worktree")]) {
        if config.symlink_metadata().is_err() {
            continue;
        }
        let Some(text) = read(&config, MAX_CONFIG) else { return unreadable(&config) };
        let text = text.to_ascii_lowercase();
        let holds = |word: &&&str| text.windows(word.len()).any(|part| part == word.as_bytes());
        if let Some(word) = WORDS.iter().find(holds) {
            return Some(format!("\"{word}\" stands in {}", config.display()));
        }
    }
    for index in indices(&dir) {
        let Some(bytes) = read(&index, MAX_INDEX) else { return unreadable(&index) };
        // The mode of an entry that is a commit of another repository, whose configuration git would read then.
        if bytes.windows(4).any(|mode| mode == [0, 0, 0xe0, 0]) {
            return Some("it holds another repository".to_owned());
        }
    }
    None
}

/// The index, and the parts that it may be split into.
fn indices(dir: &Path) -> Vec<PathBuf> {
    let entries = dir.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let is_index = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name == "index" || name.as_bytes().starts_with(b"sharedindex."))
    };
    entries.filter(is_index).collect()
}

/// A regular file as a whole, if it is not longer than that; never waits for what is none.
fn read(path: &Path, most: u64) -> Option<Vec<u8>> {
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()?;
    let found = file.metadata().ok()?;
    if !found.is_file() || found.len() > most {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(config: &str) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        std::fs::write(dir.path().join(".git/config"), config).unwrap();
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        names_programs(&repository(&dir.path().join("deep")).unwrap())
    }

    #[test]
    fn a_configuration_that_names_programs_is_seen_however_it_is_written() {
        for text in [
            "[filter \"x\"]\n\tclean = ./x\n",
            "[FILTER.x] Clean=./x",
            "[core]\n[diff]external=./x",
            "[diff \"x\"]\n TextConv = ./x",
            "[diff.x]\ncommand = ./x",
            "[include]\n\tpath = /tmp/x\n",
            "[includeIf \"gitdir:/\"]\n path = x",
            "[merge \"x\"] driver = ./x",
            "[submodule \"x\"]\n\tactive = true\n",
            "[alias]\n\tx = !./x\n",
            "[core]\n\tworktree = /\n",
        ] {
            assert!(why(text).is_some(), "{text}");
        }
        let plain = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tfsmonitor = ./x\n[remote \"origin\"]\n\turl = https://x/y\n";
        assert_eq!(why(plain), None);
    }

    #[test]
    fn what_cannot_be_looked_at_may_name_programs() {
        let dir = tempfile::tempdir().unwrap();
        let git = dir.path().join(".git");
        std::fs::create_dir(&git).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, git.join("config"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        assert!(names_programs(&git).unwrap().contains("cannot be looked at"));
        std::fs::remove_file(git.join("config")).unwrap();
        assert_eq!(names_programs(&git), None);
        std::fs::write(git.join("config"), vec![b' '; MAX_CONFIG as usize + 1]).unwrap();
        assert!(names_programs(&git).is_some());
    }
}
