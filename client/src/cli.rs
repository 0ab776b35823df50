//! The command line.

mod form;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::audit::AuditCommand;
use crate::computer::{Dialect, Version};
use crate::schema::SchemaArgs;
use crate::sign::SigningArgs;

/// Hands plans to llm-osd, decides about held ones, and reads the audit log.
///
/// Data goes to stdout, words go to stderr. On a terminal data is text for people, everywhere else it is JSON.
#[derive(Debug, Parser)]
#[command(name = "llmsh", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  ok
  1  an action failed
  2  wrong usage; nothing was sent
  3  refused: not a valid plan, denied by policy, or denied by a human
  4  a human must confirm the plan
  5  the host cannot be reached
  6  busy, halted, past a deadline, or the audit log is unavailable: try again later

Environment:
  LLM_OSD_SOCKET           the plan socket, unless --socket is given
  LLM_OSD_APPROVAL_SOCKET  the approval socket, unless --approval-socket is given
  LLMSH_MCP_TOKEN          the bearer token of llmsh mcp --http, unless --token-file is given

Examples:
  llmsh ping
  llmsh describe --json | jq '.actions[].action'
  llmsh send examples/plans/echo.json
  llmsh do fs.read path=README.md --reason \"see what this project is\"";

/// What holds for every command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The host's plan socket.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The host's approval socket.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) approval_socket: Option<PathBuf>,
    /// Prints JSON also where stdout is a terminal. Where it is none, JSON is what is printed.
    #[arg(long, global = true)]
    json: bool,
    /// Prints text for people also where stdout is no terminal. send, do, schema, computer and mcp have none: they print JSON
    /// everywhere, and refuse this.
    #[arg(long, global = true)]
    text: bool,
    /// Prints JSON that is indented.
    #[arg(long, global = true)]
    pretty: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sends plans and prints their answers, one line each.
    ///
    /// FILE holds one plan or several one after another (JSON Lines). They run in order and stop at the first that
    /// does not end well.
    #[command(after_help = "\
Examples:
  llmsh send plan.json
  llmsh send plan.json --dry-run
  llmsh send plan.json --wait
  llmsh send examples/plans/desktop/drive.jsonl --save pictures
  generate-plans | llmsh send - --keep-going > answers.jsonl")]
    Send(SendArgs),

    /// Runs one action without writing a plan.
    ///
    /// KEY=TEXT is a string, KEY:=JSON anything else, KEY=@FILE a file's content as a string, KEY:=@FILE a file's
    /// content as JSON. A relative path is completed against the current folder where the action takes a path.
    #[command(after_help = "\
Examples:
  llmsh do fs.read path=README.md --reason \"see what this project is\"
  llmsh do fs.read path=README.md max_bytes:=200 --reason \"see its first lines\"
  llmsh do fs.write path=notes.txt mode=create content=@draft.txt --reason \"keep the draft\" --wait
  llmsh do exec.run argv:='[\"/bin/echo\",\"hi\"]' --reason \"greet\"")]
    Do(DoArgs),

    /// Shows what the host can do, for this user, and what its policy would say.
    #[command(after_help = "\
Examples:
  llmsh describe
  llmsh describe fs.read
  llmsh describe fs.read --pretty
  llmsh describe --json | jq '.policy'")]
    Describe {
        /// Only this action, such as fs.read.
        action: Option<String>,
    },

    /// Prints what this host takes, for a model: JSON Schema, tools of an API, or a grammar.
    ///
    /// Without options it is the JSON Schema (2020-12) of a whole plan. Tools take the params of their action and, beside
    /// them, `reason`, `danger` and `recovery`. docs/schemas.md shows how each form is used.
    #[command(after_help = "\
Examples:
  llmsh schema > plan.schema.json
  llmsh schema --for openai --toolsets fs,exec > tools.json
  llmsh schema --for anthropic --allowed fs.read fs.list fs.search
  llmsh schema --for gbnf --as tools --allowed > call.gbnf")]
    Schema(SchemaArgs),

    /// Runs tool calls as models emit them: computer use and actions of the host.
    ///
    /// Each line of stdin is JSON of the API: a call, or a whole response that holds some. Each is answered by a line with
    /// the results as the API expects them (docs/computer-use.md). Each action is a plan: the policy judges it, and what a
    /// human must confirm waits for one.
    #[command(after_help = "\
Examples:
  llmsh computer --dialect anthropic --tools --toolsets fs,exec > tools.json
  echo '{\"type\":\"tool_use\",\"id\":\"t-1\",\"toolset_name\":\"computer\",\"name\":\"screenshot\",\"input\":{}}' | llmsh computer --dialect anthropic
  agent | llmsh computer --dialect openai > results.jsonl")]
    Computer(ComputerArgs),

    /// Asks the host whether it is there.
    #[command(after_help = "\
Examples:
  llmsh ping
  llmsh ping --json
  llmsh --socket /run/llm-osd/plan/plan.sock ping")]
    Ping,

    /// Serves the host's actions as tools of the Model Context Protocol, on stdin and stdout or on HTTP.
    ///
    /// A tool is an action of the host, judged and recorded as any other plan. What a human must confirm is decided with
    /// `llmsh approve`, never by the client of this server: it is only told that something waits. A call that waits for a human is
    /// answered after --hold-s seconds at the latest; the same call again goes on waiting, or runs once it was approved.
    ///
    /// With --http a bearer token is asked for: that of LLMSH_MCP_TOKEN or of --token-file, else a fresh one in a file of mode
    /// 0600 whose name is printed.
    #[command(after_help = "\
Examples:
  llmsh mcp
  llmsh mcp --start-host --toolsets fs,exec
  llmsh mcp --read-only --hide-denied
  llmsh mcp --http 127.0.0.1:8848 --token-file ~/.config/llmsh/token")]
    Mcp(McpArgs),

    /// Lists the plans that wait for a human, or shows one of them as `llmsh approve` does.
    #[command(after_help = "\
Examples:
  llmsh pending
  llmsh pending p-3f9a
  llmsh pending --json | jq -r '.pending[].pending_id'")]
    Pending {
        /// Only this plan, completely.
        id: Option<String>,
    },

    /// Shows a held plan completely, asks, and prints the token that lets it run once.
    ///
    /// The plan is shown as the bytes that are digested and run. The default answer is no. Without an ID a screen shows all
    /// plans that wait, as they come: it needs a terminal on stdin and stdout, and `?` tells its keys. A host may ask for the
    /// signature of an approver's SSH key: made here with --sign-with, or elsewhere over what --statement prints.
    #[command(after_help = "\
Examples:
  llmsh approve
  llmsh approve p-3f9a
  llmsh approve p-3f9a --for-session
  llmsh approve p-3f9a --sign-with ~/.ssh/id_ed25519
  llmsh approve p-3f9a --statement > p.txt; ssh-keygen -Y sign -n llm-os -f KEY p.txt
  llmsh approve p-3f9a --signature p.txt.sig
  llmsh approve --plan plan.json --uid 1000")]
    Approve(ApproveArgs),

    /// Lists what sessions may do again without asking, as `llmsh approve --for-session` granted it.
    #[command(after_help = "\
Examples:
  llmsh grants
  llmsh grants --json | jq -r '.grants[].grant_id'")]
    Grants,

    /// Ends a grant at once: the same again asks a human.
    #[command(after_help = "\
Examples:
  llmsh revoke g-5f1c7be03a9d2244")]
    Revoke {
        /// The grant, as `llmsh grants` lists it.
        id: String,
    },

    /// Denies a held plan.
    #[command(after_help = "\
Examples:
  llmsh deny p-3f9a")]
    Deny {
        /// The plan, as `llmsh pending` lists it.
        id: String,
    },

    /// Stops everything: cancels what runs, drops what waits for a human, and lets nothing new begin.
    ///
    /// Running programs are killed, keys and buttons that are held down are released. The host stays halted, also when it
    /// is started again, until it is resumed. Whoever may talk to the host may halt it.
    #[command(after_help = "\
Examples:
  llmsh halt
  llmsh --approval-socket /run/llm-osd/approval/approval.sock halt")]
    Halt,

    /// Lets a halted host run again; only an approver may.
    ///
    /// What was cancelled or waited stays so: it has to be sent anew.
    #[command(after_help = "\
Examples:
  llmsh resume")]
    Resume,

    /// Verifies and shows the audit log, offline.
    #[command(
        subcommand,
        after_help = "\
Examples:
  llmsh audit verify
  llmsh audit show --request r-1
  llmsh audit tail -f
  llmsh audit report -o report.html"
    )]
    Audit(AuditCommand),

    /// Prints a completion script for a shell.
    #[command(after_help = "\
Examples:
  llmsh completions bash > ~/.local/share/bash-completion/completions/llmsh")]
    Completions {
        /// For which shell.
        shell: Shell,
    },

    /// Prints the man page, or writes the pages of all commands into a directory.
    #[command(after_help = "\
Examples:
  llmsh man | man -l -
  llmsh man ~/.local/share/man/man1")]
    Man {
        /// The directory; it is made where it is missing.
        directory: Option<PathBuf>,
    },
}

/// How a plan is sent.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sending {
    /// Asks what would happen, and touches nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where a human must confirm: waits for the decision, then finishes the plan.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    /// Leaves out `meta`, which varies between two runs of the same plan.
    #[arg(long)]
    pub(crate) stable: bool,
    /// Writes pictures and other binary data to files DIR/REQUEST-N.EXTENSION, over what is there, and prints their
    /// names in the place of the data.
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// A file of plans, or - for stdin.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) sending: Sending,
    /// Goes on after a plan that did not end well; the exit code is that of the first such plan.
    #[arg(long)]
    pub(crate) keep_going: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoArgs {
    /// The action, such as fs.read.
    pub(crate) action: String,
    /// Its params: KEY=TEXT, KEY:=JSON, KEY=@FILE or KEY:=@FILE.
    #[arg(value_name = "PARAM")]
    pub(crate) params: Vec<String>,
    /// Why; it is recorded and shown to whoever confirms.
    #[arg(long)]
    pub(crate) reason: String,
    /// What could go wrong; stating it asks for confirmation.
    #[arg(long)]
    pub(crate) danger: Option<String>,
    /// How to undo it.
    #[arg(long)]
    pub(crate) recovery: Option<String>,
    /// The session that this belongs to.
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// The id of the request; by default one that names this process.
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
    #[command(flatten)]
    pub(crate) sending: Sending,
}

#[derive(Debug, Args)]
pub(crate) struct ComputerArgs {
    /// Whose API the calls are of.
    #[arg(long)]
    pub(crate) dialect: Dialect,
    /// Prints the `tools` of an API request, and ends.
    #[arg(long)]
    pub(crate) tools: bool,
    /// Which computer tool; by default the newest one.
    #[arg(long, requires = "tools")]
    pub(crate) tool: Option<Version>,
    /// Actions of the host beside the computer, by capability, such as fs,exec.
    #[arg(long, requires = "tools", value_name = "NAMES", value_delimiter = ',')]
    pub(crate) toolsets: Vec<String>,
    /// Adds a screenshot to the last result of a line where the model did not ask for one. Results of OpenAI always have one.
    #[arg(long)]
    pub(crate) screenshot_after: bool,
    /// How long a screenshot waits at most until nothing is drawn any more.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub(crate) settle_ms: u64,
    /// Scales screenshots down to this many pixels on the longer edge, where the API would take larger ones.
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u32).range(64..))]
    pub(crate) max_edge: Option<u32>,
    /// How long a call waits for a human who must confirm it; after that the model is told, and the same call waits on.
    #[arg(long, value_name = "S", default_value_t = 45, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) hold_s: u64,
    /// The session that the plans belong to; by default one that names this process.
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    /// Serves streamable HTTP on this loopback address in the place of stdin and stdout; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) http: Option<String>,
    /// A file with the bearer token that HTTP clients must show.
    #[arg(long, value_name = "FILE", requires = "http")]
    pub(crate) token_file: Option<PathBuf>,
    /// Only tools of these capabilities, such as fs,exec.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) toolsets: Vec<String>,
    /// Only tools that observe.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Leaves out tools that the policy refuses whatever the arguments, and what of the others it refuses.
    #[arg(long)]
    pub(crate) hide_denied: bool,
    /// How long a call waits for a human before it is answered.
    #[arg(long, value_name = "S", default_value_t = 45, value_parser = clap::value_parser!(u64).range(0..=45))]
    pub(crate) hold_s: u64,
    /// Starts llm-osd where none answers, and leaves it running.
    #[arg(long)]
    pub(crate) start_host: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The plan, as `llmsh pending` lists it; without it, a screen for all of them.
    #[arg(conflicts_with = "plan")]
    pub(crate) id: Option<String>,
    /// A plan that was not sent yet: a file, or - for stdin.
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// The user who will send that plan; by default the one who runs this command.
    #[arg(long, requires = "plan")]
    pub(crate) uid: Option<u32>,
    /// Lets its session do the same again without asking, for as long as the host is configured to (an hour): the same
    /// actions with the same params on the same things, whatever the reason. llmsh grants lists it, llmsh revoke ends it.
    #[arg(long, conflicts_with = "plan")]
    pub(crate) for_session: bool,
    /// Approves without asking. The plan is shown all the same.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) signing: SigningArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples_in_its_help() {
        for command in Cli::command().get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            assert!(help.contains(&format!("Examples:\n  llmsh {name}")), "{name}: {help}");
        }
    }
}
