//! The commands around the daemon: `init`, `completions`, `man`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::daemon::bare_command;

fn run(home: &std::path::Path, args: &[&str]) -> Output {
    let mut command = bare_command(home);
    command.args(args).stdout(Stdio::piped()).output().unwrap()
}

#[test]
fn init_writes_a_configuration_that_a_host_accepts_and_prints_settings_for_clients() {
    let home = tempfile::tempdir().unwrap();
    let first = run(home.path(), &["init", "--preset", "strict", "--root", "."]);
    let said = String::from_utf8_lossy(&first.stderr);
    assert!(first.status.success(), "{said}");
    let snippet: Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(snippet["local"]["mcpServers"]["llm-os"]["command"], "llmsh");
    assert_eq!(snippet["ssh"]["mcpServers"]["llm-os"]["args"][2], "llmsh");
    let file = home.path().join(".config/llm-osd/llm-osd.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let doctor = run(home.path(), &["doctor"]);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stderr));

    let written = fs::read(&file).unwrap();
    let again = run(home.path(), &["init"]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("--force"));
    assert_eq!(fs::read(&file).unwrap(), written);
    assert!(run(home.path(), &["init", "--force"]).status.success());
    assert!(
        String::from_utf8(fs::read(&file).unwrap()).unwrap().contains("\npolicy = \"preset:workspace\"\n")
    );
}

#[test]
fn completions_are_printed_for_each_shell() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(home.path(), &["completions", shell]);
        assert!(script.status.success() && String::from_utf8_lossy(&script.stdout).contains("doctor"));
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "man itself")]
fn every_man_page_renders_without_a_warning() {
    let home = tempfile::tempdir().unwrap();
    let pages = home.path().join("man1");
    assert!(run(home.path(), &["man", pages.to_str().unwrap()]).status.success());
    let names: Vec<_> = fs::read_dir(&pages).unwrap().map(|page| page.unwrap().path()).collect();
    for name in ["llm-osd.1", "llm-osd-init.1", "llm-osd-policy-check.1"] {
        assert!(names.contains(&pages.join(name)), "{name}");
    }
    let program = run(home.path(), &["man"]).stdout;
    assert_eq!(fs::read(pages.join("llm-osd.1")).unwrap(), program, "the page on stdout is another");
    for page in names {
        let mut man = Command::new("man");
        let man = man.args(["--warnings", "-E", "UTF-8", "-l"]).arg(&page).env("LC_ALL", "C.UTF-8").output();
        let man = man.expect("man; on Debian: apt-get install man-db");
        let said = String::from_utf8_lossy(&man.stderr);
        assert!(
            man.status.success() && said.is_empty() && !man.stdout.is_empty(),
            "{}: {said}",
            page.display()
        );
    }
}
