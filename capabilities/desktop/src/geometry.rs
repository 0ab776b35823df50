//! Coordinates: where things are on the screen, and how a caller may speak of them.
//!
//! There is one space: the pixels of the X screen (of the compositor's layout on Wayland). The origin is the top left
//! corner of the rectangle around all monitors, x grows to the right and y downwards, everything is an integer. A point
//! names the pixel whose top left corner it is. A [`Space`] lets a caller speak in the pixels of a scaled picture.

use std::fmt;

use llm_os_core::Fault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pixel of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub struct Point {
    /// To the right.
    pub x: i32,
    /// Downwards.
    pub y: i32,
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rect {
    /// The left edge.
    pub x: i32,
    /// The upper edge.
    pub y: i32,
    /// In pixels, at least 1.
    pub width: u32,
    /// In pixels, at least 1.
    pub height: u32,
}

impl Rect {
    /// Whether a pixel is inside.
    pub fn contains(&self, point: Point) -> bool {
        let (x, y) = (i64::from(point.x), i64::from(point.y));
        (i64::from(self.x)..self.right()).contains(&x) && (i64::from(self.y)..self.bottom()).contains(&y)
    }

    /// Whether every pixel of `other` is inside.
    pub fn encloses(&self, other: &Rect) -> bool {
        self.intersection(other) == Some(*other)
    }

    /// The pixels that are in both, if any.
    pub fn intersection(&self, other: &Rect) -> Option<Rect> {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let width = u32::try_from(self.right().min(other.right()) - i64::from(x)).ok()?;
        let height = u32::try_from(self.bottom().min(other.bottom()) - i64::from(y)).ok()?;
        (width > 0 && height > 0).then_some(Rect { x, y, width, height })
    }

    /// This rectangle without `hole`, as at most four rectangles.
    pub fn without(&self, hole: &Rect) -> Vec<Rect> {
        let Some(hole) = self.intersection(hole) else { return vec![*self] };
        let span = |from: i64, to: i64| u32::try_from(to - from).unwrap_or(0);
        let below = i32::try_from(hole.bottom()).unwrap_or(i32::MAX);
        let beside = i32::try_from(hole.right()).unwrap_or(i32::MAX);
        let parts = [
            Rect { height: span(self.y.into(), hole.y.into()), ..*self },
            Rect { y: below, height: span(hole.bottom(), self.bottom()), ..*self },
            Rect { x: self.x, width: span(self.x.into(), hole.x.into()), ..hole },
            Rect { x: beside, width: span(hole.right(), self.right()), ..hole },
        ];
        parts.into_iter().filter(|part| part.width > 0 && part.height > 0).collect()
    }

    fn right(&self) -> i64 {
        i64::from(self.x) + i64::from(self.width)
    }

    fn bottom(&self) -> i64 {
        i64::from(self.y) + i64::from(self.height)
    }

    /// The smallest rectangle around both.
    pub fn around(&self, other: &Rect) -> Rect {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let extent = |to: i64, from: i32| u32::try_from(to - i64::from(from)).unwrap_or(u32::MAX);
        Rect {
            x,
            y,
            width: extent(self.right().max(other.right()), x),
            height: extent(self.bottom().max(other.bottom()), y),
        }
    }
}

/// A monitor as the display arranges it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Monitor {
    /// Its name, such as `DP-1` or `screen`.
    pub name: String,
    /// Its place in the one space.
    pub rect: Rect,
    /// How many pixels stand for one of a 96 dpi display (`Xft.dpi / 96` on X11).
    pub scale: f64,
    /// Whether it is the primary one.
    pub primary: bool,
}

/// The monitors; at least one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layout {
    /// In the display's order.
    pub monitors: Vec<Monitor>,
}

impl Layout {
    /// The rectangle around all monitors.
    pub fn bounds(&self) -> Rect {
        let rects = self.monitors.iter().map(|monitor| monitor.rect);
        rects.reduce(|a, b| a.around(&b)).unwrap_or(Rect { x: 0, y: 0, width: 1, height: 1 })
    }

    /// A monitor by name.
    ///
    /// # Errors
    ///
    /// `validation_failed` at `path`, with the names that exist.
    pub fn monitor(&self, name: &str, path: &str) -> Result<&Monitor, Fault> {
        self.monitors.iter().find(|monitor| monitor.name == name).ok_or_else(|| {
            let names = self.monitors.iter().map(|monitor| monitor.name.as_str()).collect::<Vec<_>>();
            let found = llm_os_core::error::excerpt(name);
            Fault::invalid(path, format!("there is no monitor \"{found}\"; there are: {}", names.join(", ")))
        })
    }

    /// Whether some monitor shows this pixel.
    pub fn shows(&self, point: Point) -> bool {
        self.monitors.iter().any(|monitor| monitor.rect.contains(point))
    }

    /// The pixel at `x`, `y` of the one space, or of `space` where one is given.
    ///
    /// # Errors
    ///
    /// `validation_failed` at `path` where no monitor shows it; nothing is ever moved to the nearest edge.
    pub fn point(&self, x: i64, y: i64, space: Option<&Space>, path: &str) -> Result<Point, Fault> {
        let outside = |within: String| {
            Fault::invalid(path, format!("({x}, {y}) is on no monitor: {within}; nothing is clamped"))
        };
        let (x, y) = match space {
            None => (x, y),
            Some(space) => space.to_screen(x, y, self, path)?,
        };
        let point = i32::try_from(x).ok().zip(i32::try_from(y).ok()).map(|(x, y)| Point { x, y });
        point.filter(|point| self.shows(*point)).ok_or_else(|| outside(self.described()))
    }

    /// An area of the one space, or of `space` where one is given: all screen pixels that it holds any part of.
    ///
    /// # Errors
    ///
    /// `validation_failed` at `path` where it is empty, reaches beyond the rectangle around all monitors, or no monitor
    /// shows any of it; nothing is ever cut off.
    pub fn region(&self, area: &Area, space: Option<&Space>, path: &str) -> Result<Rect, Fault> {
        if area.width < 1 || area.height < 1 {
            return Err(Fault::invalid(path, format!("{area} is empty: width and height are at least 1")));
        }
        let edges = match space {
            None => {
                let (x, y) = (i128::from(area.x), i128::from(area.y));
                [x, y, x + i128::from(area.width), y + i128::from(area.height)]
            }
            Some(space) => space.edges(area, self, path)?,
        };
        let rect = || {
            let [x, y, right, bottom] = edges;
            Some(Rect {
                x: x.try_into().ok()?,
                y: y.try_into().ok()?,
                width: (right - x).try_into().ok()?,
                height: (bottom - y).try_into().ok()?,
            })
        };
        let is_shown = |rect: &Rect| {
            self.bounds().encloses(rect)
                && self.monitors.iter().any(|monitor| monitor.rect.intersection(rect).is_some())
        };
        rect().filter(is_shown).ok_or_else(|| {
            let all = self.described();
            Fault::invalid(path, format!("{area} is not on the screen: {all}; nothing is cut off"))
        })
    }

    fn described(&self) -> String {
        let all = self.monitors.iter().map(|monitor| {
            let Rect { x, y, width, height } = monitor.rect;
            format!("{} is {width}x{height} at ({x}, {y})", monitor.name)
        });
        all.collect::<Vec<_>>().join(", ")
    }
}

/// A rectangle as a caller wrote it; [`Layout::region`] checks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// The left edge.
    pub x: i64,
    /// The upper edge.
    pub y: i64,
    /// In pixels, at least 1.
    pub width: i64,
    /// In pixels, at least 1.
    pub height: i64,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} at ({}, {})", self.width, self.height, self.x, self.y)
    }
}

/// The coordinates of a picture that shows a part of the screen at another size. `monitor.capture` answers with one
/// that can be given back as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Space {
    /// The picture's width in its own pixels.
    pub width: u32,
    /// The picture's height in its own pixels.
    pub height: u32,
    /// The part of the screen that the picture shows; the rectangle around all monitors if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Rect>,
}

impl Space {
    /// The part of the screen that the picture shows.
    pub fn region(&self, layout: &Layout) -> Rect {
        self.region.unwrap_or_else(|| layout.bounds())
    }

    /// The screen pixel under the middle of the picture's pixel.
    fn to_screen(&self, x: i64, y: i64, layout: &Layout, path: &str) -> Result<(i64, i64), Fault> {
        let Space { width, height, .. } = *self;
        if width == 0 || height == 0 {
            return Err(Fault::invalid("space", "a picture is at least 1x1"));
        }
        if !(0..i64::from(width)).contains(&x) || !(0..i64::from(height)).contains(&y) {
            let message = format!("({x}, {y}) is outside of the picture, which is {width}x{height}");
            return Err(Fault::invalid(path, message));
        }
        let region = self.region(layout);
        // Below 2^66, whatever a caller says.
        let scaled = |at: i64, from: i32, extent: u32, of: u32| {
            let offset = (2 * i128::from(at) + 1) * i128::from(extent) / (2 * i128::from(of));
            i64::from(from).saturating_add(i64::try_from(offset).unwrap_or(i64::MAX))
        };
        Ok((scaled(x, region.x, region.width, width), scaled(y, region.y, region.height, height)))
    }

    /// The screen pixels that an area of the picture shows any part of, as left, upper, right and lower edge.
    fn edges(&self, area: &Area, layout: &Layout, path: &str) -> Result<[i128; 4], Fault> {
        let Space { width, height, .. } = *self;
        let (x, y) = (i128::from(area.x), i128::from(area.y));
        let (right, bottom) = (x + i128::from(area.width), y + i128::from(area.height));
        if x < 0 || y < 0 || right > i128::from(width) || bottom > i128::from(height) {
            let message = format!("{area} is not inside of the picture, which is {width}x{height}");
            return Err(Fault::invalid(path, message));
        }
        let region = self.region(layout);
        let (across, down) = (i128::from(region.width), i128::from(region.height));
        let (width, height) = (i128::from(width), i128::from(height));
        Ok([
            i128::from(region.x) + x * across / width,
            i128::from(region.y) + y * down / height,
            i128::from(region.x) + (right * across + width - 1) / width,
            i128::from(region.y) + (bottom * down + height - 1) / height,
        ])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rect(x: i32, y: i32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    fn two_monitors() -> Layout {
        let monitor =
            |name: &str, rect, primary| Monitor { name: name.to_owned(), rect, scale: 1.0, primary };
        Layout {
            monitors: vec![
                monitor("left", rect(0, 200, 1280, 800), true),
                monitor("right", rect(1280, 0, 1920, 1080), false),
            ],
        }
    }

    #[test]
    fn a_point_that_no_monitor_shows_is_refused_and_never_clamped() {
        let layout = two_monitors();
        for (x, y) in
            [(-1, 500), (5, 199), (3200, 5), (1280, 1080), (i64::MAX, 5), (9_007_199_254_740_993, 0)]
        {
            let fault = layout.point(x, y, None, "x").unwrap_err();
            assert_eq!(fault.code.as_str(), "validation_failed", "({x}, {y})");
        }
        for (x, y) in [(0, 200), (1279, 999), (1280, 0), (3199, 1079)] {
            assert_eq!(layout.point(x, y, None, "x").unwrap(), Point { x: x as i32, y: y as i32 });
        }
    }

    #[test]
    fn a_point_of_a_scaled_picture_is_the_middle_of_its_pixel() {
        let space = Space { width: 960, height: 540, region: Some(rect(1280, 0, 1920, 1080)) };
        let at = |x, y| two_monitors().point(x, y, Some(&space), "x");
        assert_eq!(at(0, 0).unwrap(), Point { x: 1281, y: 1 });
        assert_eq!(at(959, 539).unwrap(), Point { x: 3199, y: 1079 });
        assert!(at(960, 0).is_err() && at(0, -1).is_err());
    }

    // D08
    #[test]
    fn a_region_that_reaches_beyond_the_screen_is_refused_and_never_cut() {
        let layout = two_monitors();
        let area = |x, y, width, height| Area { x, y, width, height };
        for bad in [
            area(-1, 300, 10, 10),
            area(0, 300, 0, 10),
            area(0, 300, 10, -1),
            area(0, 300, 1_000_000_000, 1_000_000_000),
            area(3199, 0, 2, 1),
            area(i64::MAX, i64::MAX, i64::MAX, i64::MAX),
            // Beside the left monitor, where no monitor is.
            area(0, 0, 1280, 200),
        ] {
            let fault = layout.region(&bad, None, "region").unwrap_err();
            assert_eq!(fault.code.as_str(), "validation_failed", "{bad}");
            assert_eq!(fault.path.as_deref(), Some("region"), "{bad}");
        }
        assert_eq!(layout.region(&area(1279, 0, 2, 201), None, "region").unwrap(), rect(1279, 0, 2, 201));
    }

    #[test]
    fn a_region_of_a_scaled_picture_holds_every_pixel_that_it_shows() {
        let space = Space { width: 640, height: 360, region: Some(rect(1280, 0, 1920, 1080)) };
        let area = |x, y, width, height| Area { x, y, width, height };
        let found = |area| two_monitors().region(&area, Some(&space), "region");
        assert_eq!(found(area(1, 2, 3, 4)).unwrap(), rect(1283, 6, 9, 12));
        assert_eq!(found(area(0, 0, 640, 360)).unwrap(), rect(1280, 0, 1920, 1080));
        assert!(found(area(0, 0, 641, 360)).is_err() && found(area(-1, 0, 5, 5)).is_err());
        let huge = Space { width: u32::MAX, height: u32::MAX, region: Some(rect(0, 0, u32::MAX, u32::MAX)) };
        let far = i64::from(u32::MAX) - 1;
        assert!(two_monitors().point(far, far, Some(&huge), "x").is_err());
        assert!(two_monitors().region(&area(far, far, 1, 1), Some(&huge), "region").is_err());
    }

    proptest! {
        /// What an approver is shown in a picture is where the click goes.
        #[test]
        fn a_pixel_of_a_picture_that_is_not_larger_than_what_it_shows_is_found_again(
            size in (1u32..1920, 1u32..1080), x in 0u32..1920, y in 0u32..1080
        ) {
            let (width, height) = size;
            let region = rect(1280, 0, 1920, 1080);
            let space = Space { width, height, region: Some(region) };
            let (x, y) = (x % width, y % height);
            let point = two_monitors().point(x.into(), y.into(), Some(&space), "x").unwrap();
            let view = llm_os_core::View { size: [width, height], corner: [1280, 0], extent: [1920, 1080] };
            prop_assert_eq!(view.pixel([point.x, point.y]), Some([x, y]));
        }

        #[test]
        fn a_picture_of_the_same_size_maps_each_pixel_to_itself(x in 0i64..1920, y in 0i64..1080) {
            let space = Space { width: 1920, height: 1080, region: Some(rect(1280, 0, 1920, 1080)) };
            let point = two_monitors().point(x, y, Some(&space), "x").unwrap();
            prop_assert_eq!((i64::from(point.x) - 1280, i64::from(point.y)), (x, y));
        }

        #[test]
        fn what_is_cut_out_and_what_is_left_make_the_whole(
            a in (-20i32..20, -20i32..20, 1u32..20, 1u32..20),
            b in (-20i32..20, -20i32..20, 1u32..20, 1u32..20),
        ) {
            let (whole, hole) = (rect(a.0, a.1, a.2, a.3), rect(b.0, b.1, b.2, b.3));
            let left = whole.without(&hole);
            for (x, y) in (-20..40).flat_map(|x| (-20..40).map(move |y| (x, y))) {
                let point = Point { x, y };
                let expected = usize::from(whole.contains(point) && !hole.contains(point));
                prop_assert_eq!(left.iter().filter(|part| part.contains(point)).count(), expected);
            }
        }
    }
}
