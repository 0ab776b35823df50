//! `llm-osd policy ...`: for whoever writes policies.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use llm_os_core::registry::Registry;
use serde_json::json;

use super::source::preset_tests;
use super::{Policy, PolicyError, Protected, Report, Source, test};

/// What can be done with a policy without a running host.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Says whether a policy would be loaded, or everything that is wrong with it.
    Check {
        /// A .cedar file, a directory of them, or preset:NAME.
        #[arg(default_value = "preset:strict")]
        policy: Source,
    },
    /// Holds a policy against a file of cases with the decisions that are expected.
    Test {
        /// A .cedar file, a directory of them, or preset:NAME.
        policy: Source,
        /// The cases; NAME.tests.json beside NAME.cedar where left out.
        tests: Option<PathBuf>,
    },
    /// Prints the Cedar schema that policies are validated against.
    Schema,
}

/// Runs a command: data on stdout, words on stderr; 0 for yes, 1 for no.
pub(crate) fn command(command: PolicyCommand) -> ExitCode {
    let told = match command {
        PolicyCommand::Check { policy } => check(&policy),
        PolicyCommand::Test { policy, tests } => test_all(&policy, tests.as_deref()),
        PolicyCommand::Schema => {
            linked().and_then(|registry| Policy::schema(&registry)).map(|text| (true, text))
        }
    };
    match told {
        Ok((good, text)) => {
            let written = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
            if good && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(e) => {
            eprintln!("llm-osd policy: {e}");
            ExitCode::FAILURE
        }
    }
}

fn linked() -> Result<Registry, PolicyError> {
    Registry::linked().map_err(|e| PolicyError::Setup(e.to_string()))
}

fn check(source: &Source) -> Result<(bool, String), PolicyError> {
    use llm_os_core::policy::Judge;
    let policy = Policy::load(source, &linked()?, &[], Protected::default())?;
    let ids: Vec<_> = policy.ids().collect();
    let report = json!({
        "policy": source.to_string(),
        "sha256": policy.policy_sha256(),
        "policies": ids,
        "notes": policy.notes(),
    });
    Ok((true, report.to_string()))
}

fn test_all(source: &Source, tests: Option<&Path>) -> Result<(bool, String), PolicyError> {
    let mut all = Report::default();
    for (name, text) in tests_of(source, tests)? {
        let Report { passed, skipped, failed } = test(source, &text, linked()?)?;
        all.passed += passed;
        all.skipped.extend(skipped);
        all.failed.extend(failed.into_iter().map(|failed| format!("{name}: {failed}")));
    }
    for failed in &all.failed {
        eprintln!("{failed}");
    }
    Ok((all.failed.is_empty() && all.passed > 0, json!(all).to_string()))
}

/// The files of cases that belong to a policy, by name.
fn tests_of(source: &Source, tests: Option<&Path>) -> Result<Vec<(String, String)>, PolicyError> {
    let read = |path: &Path| {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok((name, text)),
            Err(e) => Err(PolicyError::Read { name, why: e.to_string() }),
        }
    };
    match (source, tests) {
        (_, Some(tests)) => Ok(vec![read(tests)?]),
        (Source::Preset(name), None) => {
            Ok(preset_tests(name).map(|(part, tests)| (part.to_owned(), tests.to_owned())).collect())
        }
        (Source::Path(dir), None) if dir.is_dir() => {
            let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let refused = |why: String| PolicyError::Read { name: dir.display().to_string(), why };
            let mut paths: Vec<_> =
                entries.map_err(|e| refused(e.to_string()))?.iter().map(std::fs::DirEntry::path).collect();
            paths.retain(|path| path.to_string_lossy().ends_with(".tests.json"));
            paths.sort();
            if paths.is_empty() {
                return Err(refused("it holds no NAME.tests.json; name the tests".to_owned()));
            }
            paths.iter().map(|path| read(path)).collect()
        }
        (Source::Path(file), None) => Ok(vec![read(&file.with_extension("tests.json"))?]),
    }
}
