//! What pictures looked like, as fingerprints of their tiles: enough to tell which parts of the screen look different,
//! and nothing that could be shown.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use llm_os_desktop::geometry::Rect;

/// Edge of a tile, in pixels. Tiles lie at multiples of it on the screen.
const TILE: u32 = 16;

/// How many pictures are remembered.
pub(crate) const REMEMBERED: usize = 32;

/// The most rectangles of an answer; where there would be more, tiles are taken together.
const MOST_RECTANGLES: usize = 256;

/// Unknown to who draws on the screen, so that nobody can draw a change that leaves a fingerprint as it was.
static KEY: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("tiles") | 1);

/// The tiles of a picture, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prints {
    /// What the picture showed.
    pub(crate) region: Rect,
    tiles: Vec<u64>,
}

/// Where a region's tiles are, counted in tiles of the screen.
#[derive(Clone, Copy)]
struct Grid {
    left: i32,
    top: i32,
    columns: usize,
    rows: usize,
}

impl Grid {
    fn of(region: &Rect) -> Self {
        let span = |from: i32, extent: u32| {
            let tile = i64::from(TILE);
            let first = i64::from(from).div_euclid(tile);
            let last = (i64::from(from) + i64::from(extent) - 1).div_euclid(tile);
            (i32::try_from(first).unwrap_or(0), usize::try_from(last - first + 1).unwrap_or(0))
        };
        let ((left, columns), (top, rows)) = (span(region.x, region.width), span(region.y, region.height));
        Self { left, top, columns, rows }
    }
}

impl Prints {
    /// Takes the fingerprints of a picture of a region: four bytes for each pixel, of which the last means nothing.
    pub(crate) fn of(region: Rect, pixels: &[u8]) -> Self {
        const COLOURS: u64 = 0x00ff_ffff_00ff_ffff;
        let grid = Grid::of(&region);
        let mut tiles = vec![*KEY; grid.columns * grid.rows];
        let lead = (region.x.rem_euclid(TILE.cast_signed()) * 4).unsigned_abs() as usize;
        let row_bytes = region.width as usize * 4;
        let offset = region.y.rem_euclid(TILE.cast_signed()).unsigned_abs() as usize;
        for (y, row) in pixels.chunks_exact(row_bytes).enumerate() {
            let tiles = &mut tiles[(offset + y) / TILE as usize * grid.columns..][..grid.columns];
            let (first, rest) = row.split_at((TILE as usize * 4 - lead).min(row_bytes));
            for (tile, part) in
                tiles.iter_mut().zip(std::iter::once(first).chain(rest.chunks(TILE as usize * 4)))
            {
                let (words, last) = part.as_chunks::<8>();
                let mut print = *tile;
                for word in words {
                    print = mix(print, u64::from_le_bytes(*word) & COLOURS);
                }
                if let [blue, green, red, _] = last {
                    print = mix(print, u64::from_le_bytes([*blue, *green, *red, 0, 0, 0, 0, 0]));
                }
                *tile = print;
            }
        }
        Self { region, tiles }
    }

    /// The part of the picture whose tiles hold any of `area`, to take a new picture of and to compare.
    pub(crate) fn around(&self, area: &Rect) -> Option<Rect> {
        let inside = area.intersection(&self.region)?;
        let Grid { left, top, columns, rows } = Grid::of(&inside);
        let tile = TILE.cast_signed();
        let extent = |count: usize| u32::try_from(count).unwrap_or(0) * TILE;
        let whole = Rect { x: left * tile, y: top * tile, width: extent(columns), height: extent(rows) };
        whole.intersection(&self.region)
    }

    /// Where a later picture of a part of the same region, as [`Prints::around`] gives it, looks different.
    pub(crate) fn differ(&self, later: &Prints) -> Vec<Rect> {
        let (old, new) = (Grid::of(&self.region), Grid::of(&later.region));
        let (across, down) =
            ((new.left - old.left).unsigned_abs() as usize, (new.top - old.top).unsigned_abs() as usize);
        let changed: Vec<bool> = (0..new.rows)
            .flat_map(|row| (0..new.columns).map(move |column| (row, column)))
            .map(|(row, column)| {
                let before = self.tiles.get((row + down) * old.columns + column + across);
                before != later.tiles.get(row * new.columns + column)
            })
            .collect();
        let mut edge = 1;
        loop {
            let rects = merged(&changed, &new, edge, &later.region);
            if rects.len() <= MOST_RECTANGLES {
                return rects;
            }
            edge *= 2;
        }
    }
}

/// One step of a hash: what differs here differs in the end, except by chance.
fn mix(print: u64, word: u64) -> u64 {
    let product = u128::from(print ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (product as u64) ^ ((product >> 64) as u64).rotate_left(23)
}

/// Changed tiles as rectangles, `edge` by `edge` tiles taken together: neighbours in a row, then equal rows.
fn merged(changed: &[bool], grid: &Grid, edge: usize, region: &Rect) -> Vec<Rect> {
    let mut done: Vec<Rect> = Vec::new();
    let mut open: Vec<Rect> = Vec::new();
    let is_changed = |row: usize, column: usize| {
        (row..(row + edge).min(grid.rows)).any(|row| {
            changed[row * grid.columns..][column..(column + edge).min(grid.columns)].contains(&true)
        })
    };
    let place = |tile: i32, count: usize| (tile + i32::try_from(count).unwrap_or(0)) * TILE.cast_signed();
    let size = u32::try_from(edge).unwrap_or(1) * TILE;
    for row in (0..grid.rows).step_by(edge) {
        let y = place(grid.top, row);
        let mut runs: Vec<Rect> = Vec::new();
        for column in (0..grid.columns).step_by(edge).filter(|column| is_changed(row, *column)) {
            let x = place(grid.left, column);
            match runs.last_mut() {
                Some(run) if run.x + run.width.cast_signed() == x => run.width += size,
                _ => runs.push(Rect { x, y, width: size, height: size }),
            }
        }
        let mut next = Vec::with_capacity(runs.len());
        for run in runs {
            let above = open.iter().position(|above| (above.x, above.width) == (run.x, run.width));
            next.push(match above.map(|above| open.swap_remove(above)) {
                Some(above) => Rect { height: above.height + size, ..above },
                None => run,
            });
        }
        done.append(&mut open);
        open = next;
    }
    done.append(&mut open);
    done.sort_by_key(|rect| (rect.y, rect.x));
    done.iter().filter_map(|rect| rect.intersection(region)).collect()
}

/// The pictures that were given out last, by the SHA-256 of their bytes.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<VecDeque<(String, Arc<Prints>)>>);

impl Remembered {
    /// Adds a picture, and forgets the oldest where there are too many.
    pub(crate) fn add(&self, sha256: &str, prints: Prints) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| known != sha256);
        kept.push_back((sha256.to_owned(), Arc::new(prints)));
        if kept.len() > REMEMBERED {
            kept.pop_front();
        }
    }

    /// The picture with this SHA-256, as long as it is remembered.
    pub(crate) fn get(&self, sha256: &str) -> Option<Arc<Prints>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(known, _)| known == sha256).map(|(_, prints)| Arc::clone(prints))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm_os_desktop::geometry::Point;
    use proptest::prelude::*;

    fn rect(x: i32, y: i32, width: u32, height: u32) -> Rect {
        Rect { x, y, width, height }
    }

    fn flat(region: &Rect) -> Vec<u8> {
        vec![7; (region.width * region.height * 4) as usize]
    }

    fn paint(pixels: &mut [u8], region: &Rect, point: Point) {
        let at = ((point.y - region.y) as usize * region.width as usize + (point.x - region.x) as usize) * 4;
        pixels[at + 1] ^= 1;
    }

    #[test]
    fn neighbours_become_one_rectangle_that_ends_where_the_picture_does() {
        let region = rect(10, 5, 60, 50);
        let before = Prints::of(region, &flat(&region));
        let mut pixels = flat(&region);
        for point in
            [Point { x: 69, y: 5 }, Point { x: 60, y: 20 }, Point { x: 69, y: 20 }, Point { x: 10, y: 54 }]
        {
            paint(&mut pixels, &region, point);
        }
        let changed = before.differ(&Prints::of(region, &pixels));
        assert_eq!(changed, [rect(64, 5, 6, 11), rect(48, 16, 22, 16), rect(10, 48, 6, 7)]);
    }

    #[test]
    fn the_byte_that_means_nothing_is_no_change() {
        let region = rect(3, 3, 33, 33);
        let (before, mut pixels) = (Prints::of(region, &flat(&region)), flat(&region));
        pixels.iter_mut().skip(3).step_by(4).for_each(|byte| *byte = 0xff);
        assert_eq!(before.differ(&Prints::of(region, &pixels)), []);
    }

    #[test]
    fn a_change_everywhere_in_pieces_stays_a_short_answer() {
        let region = rect(0, 0, 1600, 1600);
        let mut pixels = flat(&region);
        for (row, column) in (0..100).flat_map(|row| (0..100).map(move |column| (row, column))) {
            if (row + column) % 2 == 0 {
                paint(&mut pixels, &region, Point { x: column * 16, y: row * 16 });
            }
        }
        let changed = Prints::of(region, &flat(&region)).differ(&Prints::of(region, &pixels));
        assert!(changed.len() <= MOST_RECTANGLES, "{}", changed.len());
    }

    #[test]
    fn the_oldest_picture_is_forgotten_first() {
        let remembered = Remembered::default();
        let prints = Prints::of(rect(0, 0, 1, 1), &[0; 4]);
        for number in 0..=REMEMBERED {
            remembered.add(&number.to_string(), prints.clone());
        }
        assert!(remembered.get("0").is_none() && remembered.get("1").is_some());
    }

    proptest! {
        #[test]
        fn a_pixel_that_changed_is_in_a_rectangle_and_the_rest_of_the_tiles_is_not(
            region in (0i32..70, 0i32..70, 1u32..90, 1u32..90),
            points in proptest::collection::vec((0u32..90, 0u32..90), 0..6),
            part in (0i32..70, 0i32..70, 1u32..90, 1u32..90),
        ) {
            let region = rect(region.0, region.1, region.2, region.3);
            let part = rect(part.0, part.1, part.2, part.3);
            let before = Prints::of(region, &flat(&region));
            let mut pixels = flat(&region);
            let mut points: Vec<Point> = points
                .iter()
                .map(|(x, y)| Point { x: region.x + (x % region.width) as i32, y: region.y + (y % region.height) as i32 })
                .collect();
            points.sort_by_key(|point| (point.x, point.y));
            points.dedup();
            points.iter().for_each(|point| paint(&mut pixels, &region, *point));
            let Some(shot) = before.around(&part) else { return Ok(()) };
            let rows: Vec<u8> = (shot.y..shot.y + shot.height as i32)
                .flat_map(|y| {
                    let start = ((y - region.y) as usize * region.width as usize + (shot.x - region.x) as usize) * 4;
                    pixels[start..start + shot.width as usize * 4].to_vec()
                })
                .collect();
            let changed = before.differ(&Prints::of(shot, &rows));
            let tile = |point: &Point| (point.x / 16, point.y / 16);
            for (x, y) in (shot.x..shot.x + shot.width as i32).flat_map(|x| (shot.y..shot.y + shot.height as i32).map(move |y| (x, y))) {
                let point = Point { x, y };
                let expected = points.iter().any(|changed| tile(changed) == tile(&point));
                prop_assert_eq!(changed.iter().filter(|rect| rect.contains(point)).count(), usize::from(expected));
            }
        }
    }
}
