//! `llm-osd policy ...`: for whoever writes policies.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use llm_os_core::registry::Registry;
use llm_os_core::request::Request;
use llm_os_core::{Fault, RootMode, Setup};
use serde_json::json;

use super::backtest::Backtest;
use super::learn::{Choice, learn};
use super::past::{Past, Span};
use super::source::preset_tests;
use super::vocabulary::Vocabulary;
use super::{Policy, PolicyError, Protected, Report, Source, test};
use crate::cli::RunArgs;
use crate::config::RootConfig;
use crate::places::Places;
use crate::settings::{Settings, real_root};
use crate::start::StartError;

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
    /// Tells which policies decide a plan, and what would change the answer.
    ///
    /// The plan is resolved as a host with these flags and this configuration would resolve it, on the files that are there.
    /// Nothing of it is executed, no host needs to run, and nothing is recorded.
    #[command(after_help = "\
Examples:
  llm-osd policy explain plan.json
  llm-osd policy explain plan.json --policy new.cedar --uid 1001
  generate-plan | llm-osd policy explain - --json")]
    Explain {
        /// A file with one plan, as llmsh send takes it, or - for stdin.
        plan: PathBuf,
        #[command(flatten)]
        run: Box<RunArgs>,
        /// Who sends it; by default the user who runs this.
        #[arg(long)]
        uid: Option<u32>,
        /// Prints one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Makes every decision of an audit log again by another policy, and lists what would change.
    ///
    /// What becomes more permissive comes first. Decisions that cannot be made again, since the record says too little or its
    /// capability is not linked, are counted and told. The exit code is 0 where nothing changes, 1 where something does.
    #[command(after_help = "\
Examples:
  llm-osd policy backtest new.cedar
  llm-osd policy backtest preset:workspace --audit /backup/audit --since 30days
  llm-osd policy backtest policies/ --json")]
    Backtest {
        /// A .cedar file, a directory of them, or preset:NAME.
        policy: Source,
        #[command(flatten)]
        log: LogArgs,
        /// Prints one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Proposes the narrowest rules for what a human approved.
    ///
    /// Each permits one user one action on exactly the things and with exactly the facts that were approved. What always asks,
    /// what a human also denied and what the policy permits already is left out. The rules are printed, never installed.
    #[command(after_help = "\
Examples:
  llm-osd policy learn
  llm-osd policy learn --policy my.cedar --min 3 --since 30days > proposed.cedar
  llm-osd policy check proposed.cedar")]
    Learn {
        /// The policy in force: a .cedar file, a directory of them, or preset:NAME.
        #[arg(long, default_value = "preset:strict")]
        policy: Source,
        #[command(flatten)]
        log: LogArgs,
        /// Only what was approved so many times.
        #[arg(long, value_name = "N", default_value_t = 1)]
        min: u64,
        /// Learns what removes things as well.
        #[arg(long)]
        destroy: bool,
    },
}

/// Which log, and what of it.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogArgs {
    /// The directory of the log; by default llm-osd/audit in the XDG state directory.
    #[arg(long, value_name = "DIR")]
    audit: Option<PathBuf>,
    /// Not before this time: RFC 3339 in UTC (2026-11-23T05:00:00Z), or so long ago (90s, 2h, 30days).
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<String>,
}

/// A time as records spell it.
fn moment(text: &str) -> Result<String, String> {
    let ago = || humantime::parse_duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    let time = humantime::parse_rfc3339_weak(text).ok().or_else(ago);
    let time = time.ok_or("expected a time such as 2026-11-23T05:00:00Z, or so long ago: 90s, 2h, 30days")?;
    Ok(humantime::format_rfc3339_micros(time).to_string())
}

impl LogArgs {
    fn read(self, registry: &Registry) -> Result<Past, PolicyError> {
        let default = || {
            let places =
                Places::find().map_err(|e| PolicyError::Setup(format!("{e}; name the log by --audit")))?;
            Ok(places.state.join("audit"))
        };
        let dir = self.audit.map_or_else(default, Ok)?;
        let span = Span { since: self.since, until: self.until };
        let vocabulary = Vocabulary::of(registry).map_err(PolicyError::Setup)?;
        let past = Past::read(&dir, &span, &vocabulary)?;
        if let Err(problem) = &past.verified {
            eprintln!("llm-osd policy: the log does not verify: {problem}; see llmsh audit verify");
        }
        Ok(past)
    }
}

/// Runs a command: data on stdout, words on stderr; 0 for yes, 1 for no; where a question to the past cannot be answered, 2.
pub(crate) fn command(command: PolicyCommand) -> ExitCode {
    let refused = match &command {
        PolicyCommand::Check { .. } | PolicyCommand::Test { .. } | PolicyCommand::Schema => ExitCode::FAILURE,
        PolicyCommand::Explain { .. } | PolicyCommand::Backtest { .. } | PolicyCommand::Learn { .. } => {
            ExitCode::from(2)
        }
    };
    let told = match command {
        PolicyCommand::Check { policy } => check(&policy),
        PolicyCommand::Test { policy, tests } => test_all(&policy, tests.as_deref()),
        PolicyCommand::Explain { plan, run, uid, json } => explain(&plan, *run, uid, json),
        PolicyCommand::Backtest { policy, log, json } => backtest(&policy, log, json),
        PolicyCommand::Learn { policy, log, min, destroy } => linked().and_then(|registry| {
            let choice = Choice { min, destroy };
            Ok((true, learn(&log.read(&registry)?, &policy, &registry, &choice)?))
        }),
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
            refused
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

fn backtest(source: &Source, log: LogArgs, as_json: bool) -> Result<(bool, String), PolicyError> {
    let registry = linked()?;
    let tested = Backtest::run(&log.read(&registry)?, source, &registry)?;
    let text = if as_json { json!(tested).to_string() } else { tested.text() };
    Ok((tested.changes.is_empty(), text))
}

fn explain(
    plan: &Path,
    run: RunArgs,
    uid: Option<u32>,
    as_json: bool,
) -> Result<(bool, String), PolicyError> {
    let setup = |e: StartError| PolicyError::Setup(e.to_string());
    let text = match plan.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(plan),
    };
    let refused = |why: String| PolicyError::Read { name: plan.display().to_string(), why };
    let text = text.map_err(|e| refused(format!("{e}; expected a file with one plan, or - for stdin")))?;
    let not_a_plan = |fault: Fault| {
        let at = fault.path.as_deref().map_or_else(String::new, |path| format!(" at {path}"));
        refused(format!("{}{at}: {}", fault.code, fault.message))
    };
    let request = Request::read(text.trim().as_bytes()).map_err(|unread| not_a_plan(unread.fault))?;
    let settings = Settings::of(run).map_err(setup)?;
    let workspace = || vec![RootConfig { path: settings.places.workspace.clone(), mode: RootMode::Write }];
    let roots = if settings.roots.is_empty() { workspace() } else { settings.roots.clone() };
    let roots = roots.iter().map(real_root).collect::<Result<Vec<_>, _>>().map_err(setup)?;
    let mut registry = linked()?;
    let tables = settings.config.capability_tables().map_err(PolicyError::Setup)?;
    let made = Setup { roots: roots.clone(), ..Setup::default() };
    registry.open(&tables, &made).map_err(|e| PolicyError::Setup(e.to_string()))?;
    let protected = settings.protected().map_err(setup)?;
    let policy = Arc::new(Policy::load(&settings.source, &registry, &roots, protected)?);
    let uid = uid.unwrap_or_else(|| rustix::process::getuid().as_raw());
    let name = settings.source.to_string();
    let explained = super::explain::explain(request, uid, policy, &registry, name).map_err(not_a_plan)?;
    let text = if as_json { json!(explained).to_string() } else { explained.text() };
    Ok((true, text))
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
