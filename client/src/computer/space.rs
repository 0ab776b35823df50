//! The pixels of a picture, and those of the screen.

use serde::Deserialize;
use serde_json::Value;

use crate::computer::act::Point;
use crate::computer::plans::Trouble;

/// A picture's size and the part of the screen that it shows; `space` of the host's actions.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Space {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) region: Region,
    /// The same as it came.
    #[serde(skip)]
    pub(crate) given: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Region {
    pub(crate) x: i64,
    pub(crate) y: i64,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Space {
    /// The `space` to send, once it is clear that all points are inside of the picture.
    pub(crate) fn holding(&self, name: &str, points: &[Point]) -> Result<Value, Trouble> {
        let (width, height) = (i64::from(self.width), i64::from(self.height));
        let outside = |[x, y]: &&Point| !(0..width).contains(x) || !(0..height).contains(y);
        match points.iter().find(outside) {
            None => Ok(self.given.clone()),
            Some([x, y]) => Err(Trouble::Told(format!(
                "{name}: ({x}, {y}) is outside of the screenshot, which is {width}x{height}: x goes from 0 to {}, y from 0 to \
                 {}; nothing was done",
                width - 1,
                height - 1
            ))),
        }
    }

    /// The pixel of the picture that shows a pixel of the screen.
    pub(crate) fn shown(&self, [x, y]: Point) -> Point {
        let Region { x: left, y: upper, width, height } = self.region;
        let scaled = |at: i64, to: u32, from: u32| at * i64::from(to) / i64::from(from.max(1));
        [scaled(x - left, self.width, width), scaled(y - upper, self.height, height)]
    }

    /// The pixel of the screen under the middle of a pixel of the picture, as the host finds it.
    pub(crate) fn on_screen(&self, [x, y]: Point) -> Point {
        let Region { x: left, y: upper, width, height } = self.region;
        let scaled =
            |at: i64, to: u32, from: u32| (2 * at + 1) * i64::from(to) / (2 * i64::from(from.max(1)));
        [left + scaled(x, width, self.width), upper + scaled(y, height, self.height)]
    }
}
