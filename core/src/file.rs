//! What every capability says of a file that it reads or changes, so that one policy is about all of them.

use crate::effect::{FactSpec, FactType};

/// The facts of an effect on a file by its path.
pub const FACTS: &[FactSpec] = &[
    FactSpec { name: "exists", ty: FactType::Bool, doc: "Whether something is at the path already." },
    FactSpec {
        name: "file_type",
        ty: FactType::Text,
        doc: "What is at the path: \"file\", \"directory\", \"symlink\", \"other\" (FIFO, socket, device) or \"missing\".",
    },
    FactSpec {
        name: "links",
        ty: FactType::Long,
        doc: "How many names the file has, 0 where it is missing. With more than one it may also be a file outside.",
    },
    FactSpec {
        name: "persistent",
        ty: FactType::Bool,
        doc: "Whether a file of this name acts later by itself: shell start-up files, git hooks, .desktop files, keys, \
              libraries, timers, editor tasks.",
    },
];

// Which names make a file act later by itself: run at login, by a commit, by a build, by an editor, by a loader. Policies
// see this as the fact `persistent`. Case is ignored, since some file systems ignore it.

/// The names, in lower case; a `*` stands for anything but a slash. A pattern with a slash is matched against the end
/// of the path, one without against the last name; one that ends in a slash covers everything below that directory.
const PATTERNS: &[&str] = &[
    // Shells and terminals, at login and at every start.
    ".bash*",
    ".profile",
    ".login",
    ".logout",
    ".zsh*",
    ".zprofile",
    ".zlog*",
    ".kshrc",
    ".cshrc",
    ".tcshrc",
    ".inputrc",
    ".envrc",
    ".direnv/",
    "fish/",
    ".tmux.conf",
    ".screenrc",
    ".xinitrc",
    ".xsession*",
    ".xprofile",
    ".pam_environment",
    "environment.d/",
    "profile.d/",
    // Desktop sessions.
    "*.desktop",
    "autostart/",
    "autostart-scripts/",
    // Keys and remote access.
    ".ssh/",
    "authorized_keys*",
    ".netrc",
    ".pgpass",
    ".gnupg/",
    "sudoers*",
    "sudoers.d/",
    // Timers and services.
    "crontab*",
    "cron.*/",
    "crontabs/",
    "systemd/",
    "*.service",
    "*.timer",
    "init.d/",
    "rc.local",
    "udev/",
    "dbus-1/",
    // Version control runs hooks and configured programs.
    ".git",
    ".git/",
    ".gitconfig",
    ".gitmodules",
    "*.git/hooks/",
    ".hg/",
    ".hgrc",
    ".husky/",
    ".pre-commit-config.yaml",
    ".lefthook.yml",
    "lefthook.yml",
    // Editors and agents run tasks and servers that a folder brings along.
    ".vscode/",
    ".idea/",
    ".cursor/",
    ".claude/",
    ".mcp.json",
    "mcp.json",
    ".vimrc",
    ".exrc",
    ".nvimrc",
    ".nvim.lua",
    ".emacs",
    ".dir-locals.el",
    ".devcontainer/",
    ".devcontainer.json",
    // What loaders and interpreters load without being asked.
    "*.so",
    "*.so.*",
    "*.dylib",
    "*.dll",
    "*.ko",
    "ld.so.*",
    "ld.so.conf.d/",
    "*.pth",
    "sitecustomize.py",
    "usercustomize.py",
    ".pythonrc",
    ".npmrc",
    ".yarnrc*",
    ".cargo/",
    ".gdbinit",
    ".lldbinit",
    // Continuous integration runs it with other people's rights.
    ".github/workflows/",
    ".github/actions/",
    ".gitlab-ci.yml",
    ".forgejo/workflows/",
    ".gitea/workflows/",
];

/// Whether a file at this path may act later by itself.
pub fn is_persistent(path: &[u8]) -> bool {
    let path = path.to_ascii_lowercase();
    let names: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|name| !name.is_empty()).collect();
    PATTERNS.iter().any(|pattern| covers(pattern, &names))
}

fn covers(pattern: &str, names: &[&[u8]]) -> bool {
    let (pattern, below) = match pattern.strip_suffix('/') {
        Some(directory) => (directory, true),
        None => (pattern, false),
    };
    let length = pattern.split('/').count();
    let matches_at =
        |window: &[&[u8]]| pattern.split('/').zip(window).all(|(part, name)| fits(part.as_bytes(), name));
    if below {
        names.windows(length).any(matches_at)
    } else {
        names.len() >= length && matches_at(&names[names.len() - length..])
    }
}

/// Whether `name` fits `pattern`, whose every `*` takes as little as it can; backtracks to the last one only.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::is_persistent;

    #[test]
    fn files_that_act_later_are_known_in_any_case() {
        for path in [
            "/w/x.desktop",
            "/w/.bashrc",
            "/w/.BashRC",
            "/w/.git/config",
            "/w/.GIT/Hooks/pre-commit",
            "/w/authorized_keys",
            "/w/.ssh/config",
            "/w/lib/evil.so",
            "/w/evil.so.1.2",
            "/w/.config/autostart/x",
            "/etc/cron.d/job",
            "/w/.vscode/tasks.json",
            "/w/.envrc",
            "/w/user.service",
            "/w/.github/workflows/ci.yml",
            "/w/crontab",
            "/w/.git",
            "/w/.ssh",
        ] {
            assert!(is_persistent(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn ordinary_files_are_not() {
        for path in [
            "/w/notes.md",
            "/w/src/main.rs",
            "/w/git/config",
            "/w/so",
            "/w/.github/readme.md",
            "/w/bashrc",
            "/w/src/hooks/use.ts",
            "/",
        ] {
            assert!(!is_persistent(path.as_bytes()), "{path}");
        }
    }
}
