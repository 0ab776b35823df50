//! What a host takes, in the forms in which models are told of it: JSON Schema, tools of APIs, grammars.
//!
//! They all say the same, as far as they can: what the host reads they accept, and what they accept the host reads. Three
//! things lie outside of any of them: how an integer is spelled (`1.0` is one for JSON Schema and none for the host),
//! lengths in bytes, and keys that stand twice. Rules between fields the host checks alone. What each form lacks beyond
//! that is said in its module, and nothing else gets lost: a schema that has no form is an error.

mod absent;
mod gbnf;
mod keywords;
mod lark;
mod listing;
mod plan;
mod strict;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::connection::Host;
use crate::exit::{Exit, Failure};
use crate::mcp;
use crate::output;
use crate::screen::plain;
use crate::tools::{self, Tool};

use keywords::Unsupported;

pub(crate) use absent::drop_absent;
pub(crate) use listing::Entry;

/// What is printed, and of which actions.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// In which form.
    #[arg(long = "for", value_name = "FORMAT", default_value = "json-schema")]
    format: Format,
    /// Whether a whole plan is described or each action as a tool; by default what the form is mostly used for.
    #[arg(long = "as", value_name = "WHAT")]
    what: Option<What>,
    /// Leaves out what the policy refuses, whole actions and values, so that it cannot even be written.
    #[arg(long)]
    allowed: bool,
    /// Only the actions of these capabilities.
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',')]
    toolsets: Vec<String>,
    /// Only these actions, such as fs.read.
    #[arg(value_name = "ACTION")]
    actions: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON Schema 2020-12.
    JsonSchema,
    /// Tools of OpenAI's Responses API, strict.
    Openai,
    /// Tools of OpenAI's Chat Completions API, strict.
    OpenaiChat,
    /// Tools of Anthropic's Messages API.
    Anthropic,
    /// Tools as an MCP server lists them.
    Mcp,
    /// A grammar of llama.cpp.
    Gbnf,
    /// A grammar of llguidance.
    Lark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// A whole plan.
    Plan,
    /// Each action as a tool.
    Tools,
}

/// Prints what a host takes.
pub(crate) fn schema(host: &Host, args: &SchemaArgs, pretty: bool) -> Result<Exit, Failure> {
    let params = if args.actions.is_empty() { json!({}) } else { json!({"actions": args.actions}) };
    let tools = selected(tools::ask(host, &params)?, args)?;
    let text = written(&tools, args).map_err(|(about, why)| unsupported(&about, &why))?;
    match text {
        Text::Json(json) => output::print(&json.to_string(), pretty)?,
        Text::Grammar(grammar) => output::print_text(&grammar)?,
    }
    Ok(Exit::Ok)
}

/// What has no form, and why.
pub(crate) fn unsupported(about: &str, why: &Unsupported) -> Failure {
    let why = plain(&why.to_string());
    Failure::Usage(format!(
        "{about} cannot be written in this form: {why}; leave the action out, or use --for json-schema"
    ))
}

enum Text {
    Json(Value),
    Grammar(String),
}

fn selected(tools: Vec<Tool>, args: &SchemaArgs) -> Result<Vec<Tool>, Failure> {
    let mut tools = tools::of_toolsets(tools, &args.toolsets)?;
    if args.allowed {
        tools.retain(|tool| !tool.is_refused());
    }
    if tools.is_empty() {
        let message =
            "no action is left: the policy, or this machine, refuses each of them; llmsh describe says why";
        return Err(Failure::Refused { code: "policy_denied".to_owned(), message: message.to_owned() });
    }
    Ok(tools)
}

/// The text, or what of it has no form and why.
fn written(tools: &[Tool], args: &SchemaArgs) -> Result<Text, (String, Unsupported)> {
    let allowed = args.allowed;
    let lists = matches!(args.format, Format::Openai | Format::OpenaiChat | Format::Anthropic | Format::Mcp);
    let what = args.what.unwrap_or(if lists { What::Tools } else { What::Plan });
    let whole = || match what {
        What::Plan => plan::plan(tools, allowed),
        What::Tools => plan::call(tools, allowed),
    };
    let of_whole = |why| ("the schema".to_owned(), why);
    let entries = || match what {
        What::Plan => vec![Entry::plan(plan::plan(tools, allowed))],
        What::Tools => tools.iter().map(|tool| Entry::action(tool, allowed)).collect(),
    };
    match args.format {
        Format::JsonSchema => Ok(Text::Json(whole())),
        Format::Openai => listed(&entries(), Entry::openai),
        Format::OpenaiChat => listed(&entries(), Entry::openai_chat),
        Format::Anthropic => listed(&entries(), |entry| Ok(entry.anthropic())),
        Format::Mcp => {
            let tools: Vec<_> = match what {
                What::Plan => vec![mcp::listed_plan(false)],
                What::Tools => tools.iter().map(|tool| mcp::listed(tool, allowed)).collect(),
            };
            Ok(Text::Json(json!(tools)))
        }
        Format::Gbnf => Ok(Text::Grammar(gbnf::grammar(&whole()).map_err(of_whole)?)),
        Format::Lark => Ok(Text::Grammar(lark::grammar(&whole()).map_err(of_whole)?)),
    }
}

fn listed<'a>(
    entries: &[Entry<'a>],
    form: impl Fn(&Entry<'a>) -> Result<Value, Unsupported>,
) -> Result<Text, (String, Unsupported)> {
    let each = entries.iter().map(|entry| form(entry).map_err(|why| (entry.name().to_owned(), why)));
    Ok(Text::Json(each.collect::<Result<_, _>>()?))
}
