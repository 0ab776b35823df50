//! The `tools` of an API request: the computer, and actions of the host beside it.

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::computer::desk::Desk;
use crate::computer::limits::Limits;
use crate::computer::plans::Trouble;
use crate::connection::Host;
use crate::exit::Failure;
use crate::schema::{Entry, unsupported};
use crate::tools;

/// Whose API it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dialect {
    /// The Messages API.
    Anthropic,
    /// The Responses API.
    Openai,
}

/// A version of a computer tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    #[value(name = "computer_20241022")]
    Computer20241022,
    #[value(name = "computer_20250124")]
    Computer20250124,
    #[value(name = "computer_20251124")]
    Computer20251124,
    #[value(name = "computer_toolset_20260801")]
    Toolset20260801,
    #[value(name = "computer_use_preview")]
    Preview,
    #[value(name = "computer")]
    Computer,
}

impl Version {
    /// The newest one of a dialect.
    fn newest(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Anthropic => Version::Toolset20260801,
            Dialect::Openai => Version::Computer,
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Version::Computer20241022
            | Version::Computer20250124
            | Version::Computer20251124
            | Version::Toolset20260801 => Dialect::Anthropic,
            Version::Preview | Version::Computer => Dialect::Openai,
        }
    }
}

/// The actions of the host that each member of the toolset needs.
const MEMBERS: [(&str, &[&str]); 17] = [
    ("screenshot", &["monitor.list", "monitor.capture"]),
    ("zoom", &["monitor.list", "monitor.zoom"]),
    ("left_click", &["mouse.click"]),
    ("right_click", &["mouse.click"]),
    ("middle_click", &["mouse.click"]),
    ("double_click", &["mouse.click"]),
    ("triple_click", &["mouse.click"]),
    ("left_click_drag", &["mouse.drag"]),
    ("mouse_move", &["mouse.move"]),
    ("left_mouse_down", &["mouse.down"]),
    ("left_mouse_up", &["mouse.up"]),
    ("cursor_position", &["mouse.position"]),
    ("scroll", &["mouse.scroll"]),
    ("type", &["keyboard.type"]),
    ("key", &["keyboard.press"]),
    ("hold_key", &["keyboard.hold"]),
    ("wait", &["monitor.wait"]),
];

/// The array for a version of the computer tool, and for the toolsets of the host that are named.
pub(crate) fn tools(
    host: &Host,
    desk: &mut Desk<'_>,
    dialect: Dialect,
    version: Option<Version>,
    toolsets: &[String],
) -> Result<Value, Failure> {
    let version = version.unwrap_or_else(|| Version::newest(dialect));
    if version.dialect() != dialect {
        let message = "--tool names a tool of the other dialect; what there is tells: llmsh computer --help";
        return Err(Failure::Usage(message.to_owned()));
    }
    let actions = tools::ask(host, &json!({}))?;
    let can = |needed: &[&str]| {
        needed.iter().all(|name| actions.iter().any(|tool| tool.action == *name && !tool.is_refused()))
    };
    let mut size = |limits| match desk.size(limits) {
        Ok(size) => Ok(size),
        Err(Trouble::Told(words)) => {
            Err(Failure::NoAnswer(format!("the size of the screen is not known: {words}")))
        }
        Err(Trouble::Ends(failure)) => Err(failure),
    };
    let mut earlier = |name: &str| {
        let (width, height) = size(Limits::ANTHROPIC)?;
        Ok::<_, Failure>(
            json!({"type": name, "name": "computer", "display_width_px": width, "display_height_px": height}),
        )
    };
    let computer = match version {
        Version::Computer20241022 => earlier("computer_20241022")?,
        Version::Computer20250124 => earlier("computer_20250124")?,
        Version::Computer20251124 => {
            let mut tool = earlier("computer_20251124")?;
            tool["enable_zoom"] = json!(can(&["monitor.list", "monitor.zoom"]));
            tool
        }
        Version::Toolset20260801 => {
            let off = MEMBERS.iter().filter(|(_, needed)| !can(needed));
            let configs: Map<_, _> =
                off.map(|(name, _)| ((*name).to_owned(), json!({"enabled": false}))).collect();
            let mut tool = json!({"type": "computer_toolset_20260801"});
            if !configs.is_empty() {
                tool["configs"] = Value::Object(configs);
            }
            tool
        }
        Version::Preview => {
            let (width, height) = size(Limits::PREVIEW)?;
            json!({"type": "computer_use_preview", "environment": "linux", "display_width": width, "display_height": height})
        }
        Version::Computer => json!({"type": "computer"}),
    };
    let mut offered = vec![computer];
    if !toolsets.is_empty() {
        let chosen = tools::of_toolsets(actions, toolsets)?;
        for tool in chosen.iter().filter(|tool| !tool.is_refused()) {
            let entry = Entry::action(tool, true);
            offered.push(match dialect {
                Dialect::Anthropic => entry.anthropic(),
                Dialect::Openai => entry.openai().map_err(|why| unsupported(entry.name(), &why))?,
            });
        }
    }
    Ok(Value::Array(offered))
}
