//! git in a repository that names programs: none of them runs. Each trap is tried without the host first.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use llm_os_test_support::World;
use serde_json::{Value, json};

use crate::support::{asks, world};

fn git() -> &'static str {
    ["/usr/bin/git", "/usr/local/bin/git"].into_iter().find(|path| Path::new(path).exists()).expect("git")
}

/// A repository `repo` with one commit and a changed file, and a program that leaves a trace.
struct Repository {
    world: World,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { world: world() };
        fs::create_dir(repository.dir()).unwrap();
        fs::write(repository.program(), format!("#!/bin/sh\n: > '{}'\n", repository.canary().display()))
            .unwrap();
        fs::set_permissions(repository.program(), PermissionsExt::from_mode(0o755)).unwrap();
        repository.set_up(&repository.dir());
        fs::write(repository.dir().join("file"), "two\n").unwrap();
        repository
    }

    fn set_up(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        self.git_in(dir, &["init", "-q"]);
        for (key, value) in [("user.name", "a"), ("user.email", "a@example.org")] {
            self.git_in(dir, &["config", key, value]);
        }
        fs::write(dir.join("file"), "one\n").unwrap();
        self.git_in(dir, &["add", "file"]);
        self.git_in(dir, &["commit", "-qm", "one"]);
    }

    fn dir(&self) -> PathBuf {
        self.world.root().join("repo")
    }

    fn program(&self) -> PathBuf {
        self.world.root().join("canary.sh")
    }

    fn canary(&self) -> PathBuf {
        self.world.root().join("CANARY")
    }

    /// Runs git outside of the host, with what its own configuration says.
    fn git_in(&self, dir: &Path, args: &[&str]) -> String {
        let mut command = Command::new(git());
        command.args(args).current_dir(dir).env_clear().env("PATH", "/usr/bin:/bin:/usr/local/bin");
        let output = command.stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn config(&self, key: &str, value: &str) {
        self.git_in(
            &self.dir(),
            &["config", key, &value.replace("CANARY", self.program().to_str().unwrap())],
        );
    }

    fn params(&self, args: &[&str]) -> Value {
        let argv = [&[git()], args].concat();
        json!({"argv": argv, "cwd": self.dir()})
    }

    /// Whether git asks here, whatever the policy says.
    fn asks(&self, args: &[&str]) -> bool {
        self.world.send("exec.run", self.params(args))["error"]["code"] == "confirmation_required"
    }

    /// The trap works without the host, and not in it: git asks, or the program does not run.
    #[track_caller]
    fn check(&self, args: &[&str], must_ask: bool) {
        self.git_in(&self.dir(), args);
        assert!(self.canary().exists(), "the trap does not work: git {args:?}");
        fs::remove_file(self.canary()).unwrap();
        fs::write(self.dir().join("file"), "three\n").unwrap();
        assert_eq!(self.asks(args), must_ask, "git {args:?}");
        assert!(!self.canary().exists(), "the repository's program ran: git {args:?}");
    }
}

const STATUS: &[&str] = &["status", "--short"];

#[test]
fn a_monitor_of_files_does_not_run() {
    let repository = Repository::new();
    repository.config("core.fsmonitor", "CANARY");
    repository.check(STATUS, false);
}

#[test]
fn hooks_do_not_run() {
    let repository = Repository::new();
    fs::copy(repository.program(), repository.dir().join(".git/hooks/pre-commit")).unwrap();
    repository.check(&["commit", "-qam", "two"], false);
    let moved = Repository::new();
    fs::create_dir(moved.dir().join("hooks")).unwrap();
    fs::copy(moved.program(), moved.dir().join("hooks/pre-commit")).unwrap();
    moved.config("core.hooksPath", "hooks");
    moved.check(&["commit", "-qam", "two"], false);
}

#[test]
fn an_editor_does_not_run() {
    let repository = Repository::new();
    repository.config("core.editor", "CANARY");
    repository.check(&["commit", "--allow-empty"], false);
}

#[test]
fn a_program_that_checks_signatures_does_not_run() {
    let repository = Repository::new();
    let dir = repository.dir();
    let commit = repository.git_in(&dir, &["cat-file", "commit", "HEAD"]);
    let signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ==\n -----END PGP SIGNATURE-----";
    let signed = commit.replacen("\n\n", &format!("\n{signature}\n\n"), 1) + "\n";
    fs::write(dir.join("signed"), signed).unwrap();
    let id = repository.git_in(&dir, &["hash-object", "-t", "commit", "-w", "signed"]);
    repository.git_in(&dir, &["update-ref", "HEAD", &id]);
    repository.config("gpg.program", "CANARY");
    repository.config("log.showSignature", "true");
    repository.check(&["log"], false);
    repository.config("log.showSignature", "false");
    repository.config("format.pretty", "%G?");
    repository.check(&["log"], false);
}

#[test]
fn a_transport_that_is_a_program_does_not_run() {
    let repository = Repository::new();
    repository.config("protocol.ext.allow", "always");
    repository.config("remote.o.url", "ext::CANARY");
    repository.check(&["fetch", "-q", "o"], false);
    let over_ssh = Repository::new();
    over_ssh.config("core.sshCommand", "CANARY");
    over_ssh.config("remote.o.url", "ssh://host.invalid/x");
    over_ssh.check(&["fetch", "-q", "o"], true);
}

#[test]
fn a_program_that_shows_differences_asks() {
    let repository = Repository::new();
    repository.config("diff.external", "CANARY");
    repository.check(&["diff"], true);
    for key in ["diff.x.command", "diff.x.textconv"] {
        let repository = Repository::new();
        fs::write(repository.dir().join(".gitattributes"), "file diff=x\n").unwrap();
        repository.config(key, "CANARY");
        repository.check(&["diff"], true);
    }
}

#[test]
fn a_filter_asks() {
    for key in ["filter.x.clean", "filter.x.process"] {
        let repository = Repository::new();
        fs::write(repository.dir().join(".gitattributes"), "file filter=x\n").unwrap();
        repository.config(key, "CANARY");
        repository.check(&["diff"], true);
    }
}

#[test]
fn a_configuration_that_includes_another_asks() {
    let repository = Repository::new();
    fs::write(repository.dir().join(".gitattributes"), "file filter=x\n").unwrap();
    let other = repository.world.root().join("other");
    fs::write(&other, format!("[filter \"x\"]\nclean = {}\n", repository.program().display())).unwrap();
    repository.config("include.path", other.to_str().unwrap());
    repository.check(&["diff"], true);
}

/// E08. Guard: aliases of a repository are named among what git cannot be kept from.
#[test]
fn an_alias_asks() {
    let repository = Repository::new();
    repository.config("alias.x", "!CANARY");
    repository.check(&["x"], true);
}

/// What is passed to git itself is not passed on to the one that it starts in another repository.
#[test]
fn a_repository_in_the_repository_asks() {
    let repository = Repository::new();
    let inner = repository.dir().join("inner");
    repository.set_up(&inner);
    repository.git_in(&repository.dir(), &["add", "inner"]);
    repository.git_in(&inner, &["config", "core.fsmonitor", repository.program().to_str().unwrap()]);
    repository.check(STATUS, true);
}

#[test]
fn a_linked_work_tree_is_looked_at_in_the_repository_that_it_belongs_to() {
    let repository = Repository::new();
    let linked = repository.world.root().join("linked");
    repository.git_in(&repository.dir(), &["worktree", "add", "-q", linked.to_str().unwrap()]);
    repository.config("filter.x.clean", "CANARY");
    let params = json!({"argv": [git(), "status"], "cwd": linked});
    assert_eq!(repository.world.send("exec.run", params)["error"]["code"], "confirmation_required");
}

#[test]
fn a_plain_repository_does_not_ask_and_git_answers() {
    let repository = Repository::new();
    let answer = repository.world.send("exec.run", repository.params(STATUS));
    assert_eq!(answer["results"][0]["output"]["stdout"]["text"], " M file\n", "{answer:#}");
    assert_eq!(asks(&repository.world, &[git(), "status"]), "");
}
