//! From coordinates of a plan to pixels of the screen.

use llm_os_core::Fault;
use llm_os_desktop::DISPLAY_CHANGED;
use llm_os_desktop::geometry::{Layout, Point, Space};

/// Most pixels of a way at which the pointer is shown; a longer way is cut into longer steps.
const MOST_STEPS: i64 = 1000;

/// Where an action is asked to be.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// At coordinates, of the picture where one is given.
    At {
        /// To the right.
        x: i64,
        /// Downwards.
        y: i64,
        /// The picture.
        space: Option<Space>,
        /// What names it in the params.
        path: String,
    },
    /// This far from where the pointer is.
    By {
        /// To the right.
        dx: i64,
        /// Downwards.
        dy: i64,
    },
    /// Where the pointer is.
    Here,
}

impl Place {
    /// `x` and `y` of the params, both or none.
    ///
    /// # Errors
    ///
    /// `validation_failed` where one is missing, or a picture is described for no point.
    pub(crate) fn of(x: Option<i64>, y: Option<i64>, space: Option<&Space>) -> Result<Option<Self>, Fault> {
        match both(x, y, ["x", "y"])? {
            Some((x, y)) => Ok(Some(Place::At { x, y, space: space.cloned(), path: "x".to_owned() })),
            None if space.is_some() => Err(Fault::invalid(
                "space",
                "a picture was described for no point; give x and y, or leave it out",
            )),
            None => Ok(None),
        }
    }

    /// The pixel of the screen.
    ///
    /// # Errors
    ///
    /// `validation_failed` where no monitor shows it.
    pub(crate) fn locate(&self, layout: &Layout, pointer: Point) -> Result<Point, Fault> {
        match self {
            Place::At { x, y, space, path } => layout.point(*x, *y, space.as_ref(), path),
            Place::By { dx, dy } => {
                let (x, y) =
                    (i64::from(pointer.x).saturating_add(*dx), i64::from(pointer.y).saturating_add(*dy));
                layout.point(x, y, None, "dx")
            }
            Place::Here => layout.point(pointer.x.into(), pointer.y.into(), None, "x"),
        }
    }

    /// Refuses a layout under which this is no longer the pixel that was judged.
    pub(crate) fn is_still(&self, point: Point, layout: &Layout) -> Result<(), Fault> {
        let now = match self {
            Place::At { x, y, space, path } => layout.point(*x, *y, space.as_ref(), path)?,
            Place::By { .. } | Place::Here => layout.point(point.x.into(), point.y.into(), None, "x")?,
        };
        if now == point {
            return Ok(());
        }
        let message = format!(
            "the monitors were arranged anew: ({}, {}) of the screen is now ({}, {}); look again and send the plan anew",
            point.x, point.y, now.x, now.y
        );
        Err(Fault::new(DISPLAY_CHANGED, message))
    }
}

/// Two numbers that go together.
pub(crate) fn both(a: Option<i64>, b: Option<i64>, names: [&str; 2]) -> Result<Option<(i64, i64)>, Fault> {
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(lacks(names[0], names[1])),
        (None, Some(_)) => Err(lacks(names[1], names[0])),
    }
}

fn lacks(given: &str, missing: &str) -> Fault {
    Fault::invalid(missing, format!("{given} is given without {missing}; give both, or none of them"))
}

/// The pixels at which the pointer is shown on its way along straight lines, both ends of each included.
///
/// # Errors
///
/// `validation_failed` where the way leaves the monitors, such as between two of different height.
pub(crate) fn along(
    corners: &[Point],
    layout: &Layout,
    path: impl Fn(usize) -> String,
) -> Result<Vec<Point>, Fault> {
    let spans = || corners.windows(2).map(|pair| (pair[0], pair[1], span(pair[0], pair[1])));
    let whole: i64 = spans().map(|(_, _, length)| length).sum();
    let step = (whole / MOST_STEPS).max(1);
    let mut points: Vec<Point> = corners.first().copied().into_iter().collect();
    for (index, (from, to, length)) in spans().enumerate() {
        let steps = (length / step).max(1);
        for done in 1..=steps {
            let between = |a: i32, b: i32| {
                // Rounded to the nearest pixel; at most 2^31 times 1000.
                let moved = (2 * (i64::from(b) - i64::from(a)) * done + steps).div_euclid(2 * steps);
                i32::try_from(i64::from(a) + moved).unwrap_or(b)
            };
            let point = Point { x: between(from.x, to.x), y: between(from.y, to.y) };
            if !layout.shows(point) {
                let message = format!(
                    "the way to this point leaves the monitors at ({}, {}); lead it along pixels that a monitor shows",
                    point.x, point.y
                );
                return Err(Fault::invalid(path(index + 1), message));
            }
            points.push(point);
        }
    }
    Ok(points)
}

/// The length of a line in pixels.
fn span(from: Point, to: Point) -> i64 {
    let along = |a: i32, b: i32| (i64::from(a) - i64::from(b)).abs();
    along(from.x, to.x).max(along(from.y, to.y))
}

#[cfg(test)]
mod tests {
    use llm_os_desktop::geometry::{Monitor, Rect};
    use proptest::prelude::*;

    use super::*;

    fn monitor(name: &str, x: i32, y: i32, width: u32, height: u32) -> Monitor {
        Monitor { name: name.to_owned(), rect: Rect { x, y, width, height }, scale: 1.0, primary: x == 0 }
    }

    fn steps(monitors: Vec<Monitor>, corners: &[(i32, i32)]) -> Result<Vec<Point>, Fault> {
        let corners: Vec<_> = corners.iter().map(|(x, y)| Point { x: *x, y: *y }).collect();
        along(&corners, &Layout { monitors }, |index| format!("path[{index}]"))
    }

    #[test]
    fn a_way_that_leaves_the_monitors_between_two_of_them_is_refused_by_its_end() {
        let two = vec![monitor("a", 0, 0, 100, 50), monitor("b", 100, 0, 100, 100)];
        assert!(steps(two.clone(), &[(10, 40), (110, 40)]).is_ok());
        let fault = steps(two, &[(10, 40), (20, 40), (150, 95)]).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.path.as_deref()), ("validation_failed", Some("path[2]")));
    }

    #[test]
    fn a_short_way_shows_each_pixel_and_a_long_one_at_most_a_thousand_and_its_corners() {
        let screen = || vec![monitor("a", 0, 0, 30_000, 30_000)];
        let points = steps(screen(), &[(5, 5), (9, 5), (9, 7)]).unwrap();
        let found: Vec<_> = points.iter().map(|point| (point.x, point.y)).collect();
        assert_eq!(found, [(5, 5), (6, 5), (7, 5), (8, 5), (9, 5), (9, 6), (9, 7)]);
        let there_and_back: Vec<_> =
            (0..256).map(|n| if n % 2 == 0 { (0, 0) } else { (29_999, 29_999) }).collect();
        let points = steps(screen(), &there_and_back).unwrap();
        assert!(points.len() <= 1000 + 256, "{}", points.len());
        assert_eq!(points.iter().filter(|point| point.x == 29_999).count(), 128);
    }

    proptest! {
        #[test]
        fn a_way_begins_and_ends_where_it_should_and_goes_forward(
            a in (0i32..4000, 0i32..4000), b in (0i32..4000, 0i32..4000)
        ) {
            let points = steps(vec![monitor("a", 0, 0, 4000, 4000)], &[a, b]).unwrap();
            let ends = [points[0], points[points.len() - 1]].map(|point| (point.x, point.y));
            prop_assert_eq!(ends, [a, b]);
            for pair in points.windows(2) {
                prop_assert!((pair[1].x - pair[0].x) * (b.0 - a.0).signum() >= 0);
                prop_assert!((pair[1].y - pair[0].y) * (b.1 - a.1).signum() >= 0);
            }
        }
    }
}
