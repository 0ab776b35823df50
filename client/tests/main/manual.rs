//! The manual pages: one for each command, of both programs, which name each other and render.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::daemon::binary;
use crate::peer::run;

/// Both programs, by name and place.
#[allow(clippy::disallowed_methods, reason = "the programs under test are started here")]
fn programs() -> [(&'static str, impl Fn(&[&str]) -> String); 2] {
    let start = |path: std::path::PathBuf| {
        move |args: &[&str]| {
            let ran = run(Command::new(&path).args(args).env_clear(), "");
            assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
            ran.stdout
        }
    };
    [("llmsh", start(env!("CARGO_BIN_EXE_llmsh").into())), ("llm-osd", start(binary()))]
}

/// The pages of both programs.
fn pages() -> TempDir {
    let folder = TempDir::new().unwrap();
    for (_, program) in programs() {
        program(&["man", folder.path().join("man").to_str().unwrap()]);
    }
    folder
}

fn names(folder: &Path) -> BTreeSet<String> {
    let pages = fs::read_dir(folder.join("man")).unwrap().map(|page| page.unwrap().file_name());
    pages.map(|name| name.to_str().unwrap().strip_suffix(".1").unwrap().to_owned()).collect()
}

/// A program and all of its commands, as its help lists them, by the names of their pages.
fn commands(name: &str, program: &impl Fn(&[&str]) -> String, command: &[&str]) -> Vec<String> {
    let help = program(&[command, &["--help"]].concat());
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let listed = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let below = listed.filter(|word| !word.is_empty() && *word != "help");
    let below = below.flat_map(|word| commands(name, program, &[command, &[word]].concat()));
    [[&[name], command].concat().join("-")].into_iter().chain(below).collect()
}

/// The pages of section 1 that a page names, without what roff needs around them.
fn named(page: &str) -> BTreeSet<String> {
    let plain = page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "");
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let before = plain.match_indices("(1)").map(|(at, _)| &plain[..at]);
    before.map(|text| text.rsplit(|c| !is_letter(c)).next().unwrap().to_owned()).collect()
}

#[test]
fn each_command_has_a_page_and_no_page_is_of_anything_else() {
    let expected = programs().into_iter().flat_map(|(name, program)| commands(name, &program, &[]));
    let expected: BTreeSet<String> = expected.collect();
    assert!(
        expected.contains("llmsh-audit-verify") && expected.contains("llm-osd-policy-check"),
        "{expected:?}"
    );
    assert_eq!(names(pages().path()), expected);
}

#[test]
fn every_page_that_a_page_names_is_there_and_every_command_is_named_by_the_page_above_it() {
    let folder = pages();
    let names = names(folder.path());
    let read = |name: &str| fs::read_to_string(folder.path().join("man").join(format!("{name}.1"))).unwrap();
    for name in &names {
        let named = named(&read(name));
        let own = named.iter().filter(|other| other.starts_with("llm"));
        let missing: Vec<_> = own.filter(|other| !names.contains(*other)).collect();
        assert!(missing.is_empty(), "{name} names {missing:?}");
        let above =
            names.iter().filter(|other| name.starts_with(&format!("{other}-"))).max_by_key(|n| n.len());
        assert!(
            above.is_none_or(|above| self::named(&read(above)).contains(name)),
            "{above:?} leaves out {name}"
        );
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "man itself")]
fn every_page_renders_without_a_warning() {
    let folder = pages();
    for name in names(folder.path()) {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l"])
            .arg(folder.path().join("man").join(format!("{name}.1")));
        let ran = run(man.env("LC_ALL", "C.UTF-8").env("MANROFFSEQ", "").env("MANWIDTH", "80"), "");
        assert!(ran.code == 0 && ran.stderr.is_empty(), "{name}: {}", ran.stderr);
        assert!(ran.stdout.contains("SYNOPSIS"), "{name}: {}", ran.stdout);
    }
}

#[test]
fn the_page_on_stdout_is_the_one_in_the_folder() {
    let folder = pages();
    for (name, program) in programs() {
        let page = fs::read_to_string(folder.path().join("man").join(format!("{name}.1"))).unwrap();
        assert_eq!(program(&["man"]), page, "{name}");
    }
}
