//! `llmsh audit`: verifies and shows the log that a host keeps, offline, from its files.
//!
//! It reads in constant memory and needs no host: the directory, or a copy of it, is enough.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use etcetera::BaseStrategy;
use etcetera::base_strategy::Xdg;

use crate::exit::{Exit, Failure};
use crate::output::Form;

mod about;
mod approvals;
mod filter;
mod print;
mod read;
mod record;
mod report;
mod segments;
mod show;
mod verify;

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Verifies the whole log: its chain, its checkpoints, that no record is missing.
    ///
    /// What no signed checkpoint covers yet could have been cut off at the end, unless --expect names a receipt. The
    /// key beside the log is used unless --pubkey names another: trust a copy that was kept elsewhere more.
    ///
    /// With --signers every approval, and everything that ran on one, must be signed by a key of that file.
    #[command(after_help = "\
Exit code 1 means that the log does not verify.

Examples:
  llmsh audit verify
  llmsh audit verify --json | jq -r .head
  llmsh audit verify /backup/audit --pubkey /backup/audit.pub
  llmsh audit verify --signers ~/.config/llm-osd/approvers
  llmsh audit verify --expect 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    Verify(VerifyArgs),

    /// Prints records, oldest first: for programs one line each, for people as blocks of text, in which long values are cut.
    ///
    /// Every filter that is given must match. The outcome of an action belongs to its intent.
    #[command(after_help = "\
Examples:
  llmsh audit show --request r-1
  llmsh audit show --text | less
  llmsh audit show --json --action exec.run | jq .what.params
  llmsh audit show --action exec.run --decision confirm --since 1h
  llmsh audit show --since 2026-11-23T00:00:00Z --until 2026-11-24T00:00:00Z --limit 100")]
    Show(ShowArgs),

    /// Prints the newest records.
    #[command(after_help = "\
Examples:
  llmsh audit tail
  llmsh audit tail -f -n 0
  llmsh audit tail -f --json | jq .event")]
    Tail(TailArgs),

    /// Writes one HTML page that shows what was asked, decided and done, and whether the log verifies.
    ///
    /// The page has no script and asks nobody for anything. It is written where the log does not verify as well.
    #[command(after_help = "\
Exit code 1 means that the log does not verify.

Examples:
  llmsh audit report -o report.html
  llmsh audit report --session s-1 --since 1day -o report.html
  llmsh audit report /backup/audit --pubkey /backup/audit.pub -o -")]
    Report(report::ReportArgs),
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The directory of the log; by default llm-osd/audit in the XDG state directory.
    dir: Option<PathBuf>,
    /// The host's public key (audit.pub).
    #[arg(long, value_name = "FILE")]
    pubkey: Option<PathBuf>,
    /// A receipt from an answer's meta: the record that it names must be there.
    #[arg(long, value_name = "RECEIPT")]
    expect: Option<String>,
    /// The approvers' keys, as confirmation.approvers of the host names them: each approval must be signed by one, valid at
    /// its time.
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The directory of the log; by default llm-osd/audit in the XDG state directory.
    dir: Option<PathBuf>,
    #[command(flatten)]
    filter: filter::FilterArgs,
    /// Prints the newest so many of what matches.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// The directory of the log; by default llm-osd/audit in the XDG state directory.
    dir: Option<PathBuf>,
    /// Waits for more, until it is stopped.
    #[arg(short, long)]
    follow: bool,
    /// So many records.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
}

/// Does it.
///
/// # Errors
///
/// A log that cannot be read, or a filter that says nothing.
pub(crate) fn run(command: AuditCommand, form: Form) -> Result<Exit, Failure> {
    let done = match command {
        AuditCommand::Verify(args) => verify::verify(args, form),
        AuditCommand::Show(args) => show::show(&directory(args.dir)?, &args.filter, args.limit, form),
        AuditCommand::Tail(args) => show::tail(&directory(args.dir)?, args.lines, args.follow, form),
        AuditCommand::Report(args) => report::report(&directory(args.dir.clone())?, args),
    };
    match done {
        // Whoever read this has seen enough.
        Err(Failure::Stdout(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        done => done,
    }
}

fn directory(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let default = || {
        let xdg = Xdg::new().map_err(|_| {
            Failure::Usage("neither HOME nor XDG_STATE_HOME is set; name the log's directory".to_owned())
        })?;
        let state = xdg.state_dir().unwrap_or_else(|| xdg.home_dir().join(".local/state"));
        Ok(state.join("llm-osd/audit"))
    };
    named.map_or_else(default, Ok)
}
