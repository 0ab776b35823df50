//! What the actions of `monitor` answer.

use llm_os_core::Binary;
use llm_os_desktop::geometry::{Monitor, Rect, Space};
use llm_os_desktop::window::Role;
use schemars::JsonSchema;
use serde::Serialize;

/// The answer to an [`Action`](crate::Action).
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// To `list`.
    List {
        /// The monitors, in the display's order.
        monitors: Vec<Monitor>,
        /// The rectangle around all of them: the one space of coordinates.
        bounds: Rect,
    },
    /// To `windows`.
    Windows {
        /// The windows, the lowest first.
        windows: Vec<Listed>,
        /// How many more there are that the policy hides.
        hidden: u32,
    },
    /// To `capture`.
    Capture {
        /// The picture, where it was to be in the answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        picture: Option<Binary>,
        /// The file, where it was to be in one.
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<Saved>,
        /// The picture's size and the region that it shows: what other actions take as `space`.
        space: Space,
        /// The monitors that the picture shows any part of.
        monitors: Vec<Monitor>,
        /// How many windows are black in it since the policy hides them.
        masked: u32,
    },
    /// To `zoom`.
    Zoom {
        /// The picture.
        picture: Binary,
        /// The picture's size and the region that it shows; not meant as the `space` of later actions.
        mapping: Space,
        /// How many windows are black in it since the policy hides them.
        masked: u32,
    },
    /// To `wait`.
    Wait {
        /// Whether what was waited for happened in time.
        reached: bool,
        /// The smallest rectangle around everything that was seen to be drawn in the region, if anything was.
        #[serde(skip_serializing_if = "Option::is_none")]
        drawn: Option<Rect>,
    },
    /// To `diff`.
    Diff {
        /// What looks different, in screen coordinates; empty where nothing does.
        changed: Vec<Rect>,
        /// What was compared.
        region: Rect,
    },
}

/// A window that is shown.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listed {
    /// What `capture` takes as `target.window.id`.
    pub id: u32,
    /// Its title.
    pub title: String,
    /// Its class, which policies name.
    pub class: String,
    /// Its instance name.
    pub instance: String,
    /// The process that made it, as the X server says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The real path of that process's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// What it is for.
    pub role: Role,
    /// Where it is, its frame included.
    pub rect: Rect,
    /// How many windows are below it.
    pub stacking: u32,
    /// Whether it has the keyboard.
    pub focused: bool,
}

/// A picture in a file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Saved {
    /// The absolute path.
    pub path: String,
    /// The media type (RFC 6838), such as `image/png`.
    pub media_type: String,
    /// The file's length.
    pub bytes: u64,
    /// SHA-256 of the file, in lower-case hexadecimal.
    pub sha256: String,
}
