//! What a host keeps beside the log, and what an approver sees of a plan before it runs.
//!
//! A record digests what an action gave out and what it replaced. Where a host keeps evidence, the bytes themselves lie
//! beside the log, found by their SHA-256, and the record names them ([`Evidence`]). What is kept is not what a plan
//! asked for: params are never evidence.

use std::sync::Arc;

use serde::Serialize;

use crate::audit::Evidence;
use crate::policy::Principal;
use crate::value::Text;

/// The name of what an action answered.
pub const OUTPUT: &str = "output";
/// The name of what an action does to the content of a file.
pub const DIFF: &str = "diff";
/// The name of what a caller saw of a display.
pub const PICTURE: &str = "picture";
/// The media type of a unified diff.
pub const DIFF_TYPE: &str = "text/x-diff";

/// Where a host keeps evidence. A host that keeps none has no keeper.
pub trait Keeper: Send + Sync {
    /// Keeps bytes, and tells by what they are found. It need not be durable: the record that names them is.
    ///
    /// # Errors
    ///
    /// Why they are not kept. Nothing else fails because of it; the record says it.
    fn keep(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<Evidence, String>;

    /// Takes note that a caller was given a picture of a display, in the place of the one before; none where it is not kept.
    fn saw(&self, caller: &Principal, display: &str, picture: Option<Picture>);

    /// The last picture that a caller was given of a display, as long as it is kept.
    fn seen(&self, caller: &Principal, display: &str) -> Option<Picture>;
}

/// A picture of a display that is kept, and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// By what it is found.
    pub evidence: Evidence,
    /// What it shows.
    pub view: View,
}

/// The part of a screen that a picture shows, perhaps at another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Width and height of the picture, in its own pixels.
    pub size: [u32; 2],
    /// The upper left corner of the part, in pixels of the screen.
    pub corner: [i32; 2],
    /// Width and height of the part, in pixels of the screen.
    pub extent: [u32; 2],
}

impl View {
    /// The pixel of the picture that shows the middle of a pixel of the screen; none where it is outside of the part.
    pub fn pixel(&self, [x, y]: [i32; 2]) -> Option<[u32; 2]> {
        let scaled = |at: i32, from: i32, extent: u32, size: u32| {
            let offset = i128::from(at) - i128::from(from);
            let inside = (0..i128::from(extent)).contains(&offset);
            let pixel = inside.then(|| (2 * offset + 1) * i128::from(size) / (2 * i128::from(extent)))?;
            u32::try_from(pixel).ok().filter(|pixel| *pixel < size)
        };
        Some([
            scaled(x, self.corner[0], self.extent[0], self.size[0])?,
            scaled(y, self.corner[1], self.extent[1], self.size[1])?,
        ])
    }
}

/// A pixel of a display that an action sends input to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The display, by its id in policies.
    pub display: String,
    /// The pixel, in the coordinates of the whole screen.
    pub point: [i32; 2],
}

/// What a capability tells of an action before it runs ([`Capability::preview`](crate::Capability::preview)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preview {
    /// A unified diff of a file as it is against what it would be.
    Diff(String),
    /// There is a diff to be shown, but it cannot be: why.
    NoDiff(String),
}

/// A preview as an approver gets it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Shown {
    /// Text, of which a part may be left out.
    Text {
        /// What it is: `diff`.
        name: &'static str,
        /// Its media type (RFC 6838).
        media_type: &'static str,
        /// As much of it as is shown.
        text: Text,
        /// All of it, until it is kept.
        #[serde(skip)]
        whole: Option<Arc<str>>,
        /// By what all of it is found, or why it is not kept; none where the host keeps no evidence.
        #[serde(skip)]
        kept: Option<Result<Evidence, String>>,
    },
    /// A picture that is kept, with the point that the action aims at.
    Picture(Evidence),
    /// What cannot be shown.
    Missing {
        /// What it is: `diff` or `picture`.
        name: &'static str,
        /// Why.
        missing: String,
    },
}

impl Shown {
    /// Keeps what is not kept yet.
    pub(crate) fn keep(&mut self, keeper: &dyn Keeper) {
        if let Shown::Text { name, media_type, whole, kept, .. } = self
            && let Some(whole) = whole.take()
        {
            *kept = Some(keeper.keep(name, media_type, whole.as_bytes()));
        }
    }

    /// Without what only the one who keeps it needs.
    pub(crate) fn without_whole(&self) -> Self {
        match self.clone() {
            Shown::Text { name, media_type, text, whole: _, kept } => {
                Shown::Text { name, media_type, text, whole: None, kept }
            }
            other @ (Shown::Picture(_) | Shown::Missing { .. }) => other,
        }
    }

    /// By what it is found.
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Shown::Text { kept, .. } => kept.as_ref()?.as_ref().ok(),
            Shown::Picture(evidence) => Some(evidence),
            Shown::Missing { .. } => None,
        }
    }

    /// Why it was to be kept and is not.
    pub fn not_kept(&self) -> Option<&str> {
        match self {
            Shown::Text { kept: Some(Err(why)), .. } => Some(why),
            Shown::Text { .. } | Shown::Picture(_) | Shown::Missing { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_found_in_a_picture_only_where_the_picture_shows_it() {
        let view = View { size: [640, 360], corner: [1280, -10], extent: [1920, 1080] };
        assert_eq!(view.pixel([1280, -10]), Some([0, 0]));
        assert_eq!(view.pixel([1284, -7]), Some([1, 1]));
        assert_eq!(view.pixel([3199, 1069]), Some([639, 359]));
        for outside in [[1279, 0], [3200, 0], [1280, -11], [1280, 1070], [i32::MIN, i32::MAX]] {
            assert_eq!(view.pixel(outside), None, "{outside:?}");
        }
        let all = View { size: [u32::MAX; 2], corner: [i32::MIN; 2], extent: [u32::MAX; 2] };
        assert_eq!(all.pixel([i32::MAX - 1; 2]), Some([u32::MAX - 1; 2]));
        assert_eq!(View { extent: [0, 0], ..view }.pixel([1280, -10]), None);
    }
}
