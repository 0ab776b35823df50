//! The command line of `llm-osd`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use llm_os_core::RootMode;
use tracing_subscriber::EnvFilter;

use crate::config::RootConfig;
use crate::display::{Name, Size};
use crate::init::InitArgs;
use crate::policy::PolicyCommand;
use crate::start;

/// The door between a language model and this machine.
///
/// Takes plans on one Unix socket and a human's decisions on another. Works without any configuration: /bin/echo runs,
/// files below the workspace can be read, and everything else asks.
#[derive(Debug, Parser)]
#[command(
    name = "llm-osd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  llm-osd                                       run with what is configured, or the defaults
  llm-osd --root ~/project:write --policy preset:workspace
  llm-osd --virtual-display 1280x800 --policy preset:virtual-desktop
  llm-osd --config /etc/llm-osd.toml
  llm-osd init --root ~/project:write           write a configuration to begin with
  llm-osd doctor                                what can this machine enforce, and would the host start?
  llm-osd policy check my.cedar                 is this policy accepted?
  llm-osd policy schema                         what can policies talk about?

Then, in another terminal: llmsh ping
Logs go to stderr; RUST_LOG=llm_os_host=debug shows more."
)]
struct Args {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Flags over the configuration.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RunArgs {
    /// The configuration, TOML; without it $XDG_CONFIG_HOME/llm-osd/llm-osd.toml is read where it exists.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The socket for plans, in a directory of its own.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The socket for approvals, in a directory of its own.
    #[arg(long, value_name = "PATH")]
    pub(crate) approval_socket: Option<PathBuf>,
    /// Where log and keys are kept.
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The policy: a .cedar file, a directory of them, or preset:strict, preset:workspace, preset:virtual-desktop.
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    /// A directory below which plans may name files; may be repeated. Without :write it is :read.
    #[arg(long = "root", value_name = "DIR[:read|:write]")]
    pub(crate) roots: Vec<RootArg>,
    /// Start a display of the host's own, of this size, and let plans drive it; needs Xvfb and openbox.
    #[arg(long, value_name = "WIDTHxHEIGHT", conflicts_with = "display")]
    pub(crate) virtual_display: Option<Size>,
    /// Let plans drive this display: :0, wayland-0, or env for the one that DISPLAY or WAYLAND_DISPLAY names.
    #[arg(long, value_name = "NAME")]
    pub(crate) display: Option<Name>,
}

/// A `--root`.
#[derive(Clone, Debug)]
pub(crate) struct RootArg(pub(crate) RootConfig);

impl FromStr for RootArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, mode) = match text.rsplit_once(':') {
            Some((path, "read")) => (path, RootMode::Read),
            Some((path, "write")) => (path, RootMode::Write),
            _ => (text, RootMode::Read),
        };
        let path = std::path::absolute(path).map_err(|e| e.to_string())?;
        Ok(Self(RootConfig { path, mode }))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check, test and explain policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Show what this machine can enforce, and whether a host would start on it.
    ///
    /// Looks at what a start looks at, with the same flags and configuration, and leaves everything as it is. The exit code is
    /// 0 where a host would start, else 1.
    #[command(after_help = "\
Examples:
  llm-osd doctor
  llm-osd doctor --config /etc/llm-osd.toml --json")]
    Doctor {
        #[command(flatten)]
        run: RunArgs,
        /// Prints one JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Writes a configuration to begin with, and says what to do next.
    ///
    /// Every key stands in it with its default, as a comment. A configuration that exists is left alone. The settings for a client of
    /// MCP go to stdout as JSON.
    Init(InitArgs),
    /// Prints a completion script for a shell.
    #[command(after_help = "\
Examples:
  llm-osd completions bash > ~/.local/share/bash-completion/completions/llm-osd")]
    Completions {
        /// For which shell.
        shell: Shell,
    },
    /// Prints the man page, or writes the pages of all commands into a directory.
    #[command(after_help = "\
Examples:
  llm-osd man | man -l -
  llm-osd man ~/.local/share/man/man1")]
    Man {
        /// The directory; it is made where it is missing.
        directory: Option<PathBuf>,
    },
}

/// Parses the arguments and does what they say.
pub(crate) fn run() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour).init();
    match args.command {
        Some(Command::Policy(command)) => crate::policy::command(command),
        Some(Command::Doctor { run, json }) => crate::doctor::command(run, json),
        Some(Command::Init(args)) => crate::init::command(args),
        Some(Command::Completions { shell }) => crate::manual::completions(Args::command(), shell),
        Some(Command::Man { directory }) => crate::manual::pages(Args::command(), directory.as_deref()),
        None => match start::run(args.run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error}");
                ExitCode::FAILURE
            }
        },
    }
}
