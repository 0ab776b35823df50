//! What a plan can ask of `monitor`. The doc comments are what a model reads.

use llm_os_core::Fault;
use llm_os_desktop::geometry::{Area, Space};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scale::{MAX_EDGE, Size};

/// The longest that `wait` waits, in milliseconds.
pub(crate) const MAX_TIMEOUT_MS: u64 = 60_000;

/// What `x-choice` calls the names of the monitors.
pub(crate) const MONITOR: &str = "monitor";

/// An action that looks at the screen and changes nothing on it. Coordinates are pixels of the one space of all monitors,
/// or of `space` where it is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Lists the monitors: name, place in the one space of coordinates, scale, and which is the primary one.
    List {},
    /// Lists the windows that are shown, the lowest first. Those that the policy hides are left out and only counted.
    Windows {},
    /// Takes a picture of the screen. Windows that the policy hides are black in it. The answer's `space` maps the picture
    /// to the screen: give it back as it is to speak of the picture's pixels in other actions.
    Capture {
        /// What to show; all monitors if not given.
        #[serde(default)]
        target: Target,
        /// The space of the coordinates in `target.region`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        space: Option<Space>,
        /// Scale the picture down until its longer edge has at most this many pixels. Not with `width` or `height`.
        #[serde(default)]
        #[schemars(range(min = 1, max = 8192))]
        max_edge: Option<u32>,
        /// The picture's exact width; its height follows where it is not given.
        #[serde(default)]
        #[schemars(range(min = 1, max = 8192))]
        width: Option<u32>,
        /// The picture's exact height; its width follows where it is not given.
        #[serde(default)]
        #[schemars(range(min = 1, max = 8192))]
        height: Option<u32>,
        /// The picture's format.
        #[serde(default)]
        format: Format,
        /// How good a JPEG is, 85 if not given.
        #[serde(default)]
        #[schemars(range(min = 1, max = 100))]
        quality: Option<u8>,
        /// Whether the pointer is in the picture.
        #[serde(default)]
        cursor: bool,
        /// Whether the picture is in the answer or in a file.
        #[serde(default)]
        output: Destination,
    },
    /// Takes a picture of a region at full resolution, to read what is small in an earlier picture. Coordinates of later
    /// actions are still those of the earlier picture: its `space` stays the one to give.
    Zoom {
        /// The region.
        region: Area,
        /// The space of its coordinates: that of the earlier picture.
        #[serde(default)]
        space: Option<Space>,
        /// Scale the picture down until its longer edge has at most this many pixels.
        #[serde(default)]
        #[schemars(range(min = 1, max = 8192))]
        max_edge: Option<u32>,
    },
    /// Waits until the screen changes from now on, or until nothing was drawn on it for a while. It is no failure where
    /// the time runs out first: the answer's `reached` is then false.
    Wait {
        /// What to wait for.
        until: Until,
        /// Only what is drawn in this region counts; the whole screen if not given.
        #[serde(default)]
        region: Option<Area>,
        /// The space of the region's coordinates.
        #[serde(default)]
        space: Option<Space>,
        /// How long nothing must have been drawn for the screen to count as settled.
        #[serde(default = "default_quiet_ms")]
        #[schemars(range(min = 1, max = 60_000))]
        quiet_ms: u64,
        /// How long to wait at most.
        #[serde(default = "default_timeout_ms")]
        #[schemars(range(min = 1, max = 60_000))]
        timeout_ms: u64,
    },
    /// Tells which parts of the screen look different than in an earlier picture, as rectangles of whole tiles of 16x16
    /// pixels. The last 32 pictures are remembered.
    Diff {
        /// The `sha256` of the picture of an earlier `capture` or `zoom`.
        #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
        since: String,
        /// Only this part of what the picture showed; all of it if not given.
        #[serde(default)]
        region: Option<Area>,
        /// The space of the region's coordinates.
        #[serde(default)]
        space: Option<Space>,
    },
}

/// What a picture shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// A monitor, or the rectangle around all of them.
    Display {
        /// The monitor's name, as `list` gives it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("x-choice" = MONITOR))]
        name: Option<String>,
    },
    /// A part of the screen.
    Region {
        /// The left edge.
        x: i64,
        /// The upper edge.
        y: i64,
        /// In pixels, at least 1.
        width: i64,
        /// In pixels, at least 1.
        height: i64,
    },
    /// The rectangle of a window with its frame, as it is on the screen: what covers it is in the picture. Give exactly
    /// one of `id` and `class`.
    Window {
        /// The window's id, as `windows` gives it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        /// The window's class, where only one window has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<String>,
    },
}

impl Default for Target {
    fn default() -> Self {
        Target::Display { name: None }
    }
}

/// A picture's format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Exact, and the fastest.
    #[default]
    Png,
    /// Small, not exact.
    Jpeg,
    /// Exact and smaller than PNG, and slower.
    Webp,
}

/// Where a picture goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// Into the answer.
    #[default]
    Inline,
    /// Into a new file of the directory that the operator configured, named by the picture's SHA-256.
    File,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Nothing was drawn for `quiet_ms`.
    Settled,
    /// Something is drawn.
    Changed,
}

fn default_quiet_ms() -> u64 {
    100
}

fn default_timeout_ms() -> u64 {
    5_000
}

/// Checks values, and nothing but them.
pub(crate) fn check(action: &Action) -> Result<(), Fault> {
    match action {
        Action::List {} | Action::Windows {} => Ok(()),
        Action::Capture { target, space, max_edge, width, height, format, quality, cursor: _, output: _ } => {
            let is_region = matches!(target, Target::Region { .. });
            check_space(space.as_ref(), is_region, "target.region")?;
            check_size(&Size { max_edge: *max_edge, width: *width, height: *height })?;
            if let Some(quality) = quality {
                if *format != Format::Jpeg {
                    return Err(Fault::invalid("quality", "only a JPEG has a quality: leave it out"));
                }
                if !(1..=100).contains(quality) {
                    return Err(Fault::invalid("quality", format!("{quality} is not from 1 to 100")));
                }
            }
            match target {
                Target::Window { id, class } if id.is_some() == class.is_some() => {
                    Err(Fault::invalid("target.window", "give exactly one of id and class"))
                }
                Target::Region { .. } | Target::Display { .. } | Target::Window { .. } => Ok(()),
            }
        }
        Action::Zoom { region: _, space: _, max_edge } => {
            check_size(&Size { max_edge: *max_edge, width: None, height: None })
        }
        Action::Wait { until, region, space, quiet_ms, timeout_ms } => {
            check_space(space.as_ref(), region.is_some(), "region")?;
            for (value, path) in [(quiet_ms, "quiet_ms"), (timeout_ms, "timeout_ms")] {
                if !(1..=MAX_TIMEOUT_MS).contains(value) {
                    return Err(Fault::invalid(path, format!("{value} is not from 1 to {MAX_TIMEOUT_MS}")));
                }
            }
            if *until == Until::Settled && quiet_ms > timeout_ms {
                let message = format!(
                    "{quiet_ms} ms without drawing do not fit into {timeout_ms} ms: raise timeout_ms or lower quiet_ms"
                );
                return Err(Fault::invalid("quiet_ms", message));
            }
            Ok(())
        }
        Action::Diff { since, region, space } => {
            check_space(space.as_ref(), region.is_some(), "region")?;
            let is_digest = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if since.len() != 64 || !since.bytes().all(is_digest) {
                let message = "it is the sha256 of an earlier picture: 64 hexadecimal digits in lower case";
                return Err(Fault::invalid("since", message));
            }
            Ok(())
        }
    }
}

fn check_space(space: Option<&Space>, is_used: bool, by: &str) -> Result<(), Fault> {
    match space {
        Some(_) if !is_used => {
            let message = format!("it gives the space of {by}, which is not given: leave it out");
            Err(Fault::invalid("space", message))
        }
        Some(space) if space.width == 0 || space.height == 0 => {
            Err(Fault::invalid("space", "a picture is at least 1x1"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_size(size: &Size) -> Result<(), Fault> {
    for (value, path) in [(size.max_edge, "max_edge"), (size.width, "width"), (size.height, "height")] {
        if value.is_some_and(|value| !(1..=MAX_EDGE).contains(&value)) {
            return Err(Fault::invalid(path, format!("it is from 1 to {MAX_EDGE} pixels")));
        }
    }
    if size.max_edge.is_some() && (size.width.is_some() || size.height.is_some()) {
        return Err(Fault::invalid("max_edge", "give either max_edge, or width and height"));
    }
    Ok(())
}
