//! A part of the screen as it was at one moment, and what of it may be seen.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError, Weak};

use crate::geometry::{Point, Rect};
use crate::window::Window;
use crate::x11::Segment;

/// More pieces than this of one window are not told apart: all of it counts.
const MOST_PIECES: usize = 1024;

/// A picture of a part of the screen, with the windows that were shown in the same moment.
pub struct Shot {
    /// The part of the screen.
    pub region: Rect,
    /// Row after row without padding, four bytes for each pixel: blue, green, red, and one that means nothing.
    pub pixels: Pixels,
    /// Every window that was shown, the lowest first, also those outside of the region.
    pub shown: Vec<Shown>,
    /// Whether a program composes the screen from windows (a compositing manager), so that what is below a window may
    /// shine through.
    pub composited: bool,
    /// The pointer's picture, where it was asked for.
    pub cursor: Option<Cursor>,
}

/// A window, and whether its outline is anything but a rectangle (SHAPE).
#[derive(Debug)]
pub struct Shown {
    /// The window.
    pub window: Window,
    /// Whether pixels inside of its rectangle may show what is below it.
    pub shaped: bool,
}

/// The picture of the pointer.
#[derive(Debug)]
pub struct Cursor {
    /// Where its picture is.
    pub rect: Rect,
    /// The pixel that it points at.
    pub hot: Point,
    /// Row after row, alpha in the highest byte, then red, green and blue, each already multiplied by alpha.
    pub pixels: Vec<u32>,
}

impl Shot {
    /// What the picture shows of windows that are hidden from the caller, one entry for each such window that it shows
    /// anything of. A window is covered by those above it, except where pixels of it may shine through them.
    pub fn parts_of(&self, mut hidden: impl FnMut(&Window) -> bool) -> Vec<Vec<Rect>> {
        let mut parts = Vec::new();
        for (index, Shown { window, .. }) in self.shown.iter().enumerate() {
            let Some(inside) = window.rect.intersection(&self.region) else { continue };
            if !hidden(window) {
                continue;
            }
            let pieces = self.uncovered(inside, index);
            if !pieces.is_empty() {
                parts.push(pieces);
            }
        }
        parts
    }

    fn uncovered(&self, whole: Rect, index: usize) -> Vec<Rect> {
        let mut pieces = vec![whole];
        if self.composited {
            return pieces;
        }
        for Shown { window, shaped } in &self.shown[index + 1..] {
            if !shaped {
                pieces = pieces.iter().flat_map(|piece| piece.without(&window.rect)).collect();
            }
            if pieces.len() > MOST_PIECES {
                return vec![whole];
            }
        }
        pieces
    }

    /// Paints a part of the screen black, as far as the picture shows it.
    pub fn blacken(&mut self, part: &Rect) {
        let Some(part) = part.intersection(&self.region) else { return };
        for y in 0..part.height {
            self.row_of(&part, y).fill(0);
        }
    }

    /// Draws the pointer, unless it points at one of these parts: what it looks like there is not for the caller.
    pub fn draw_cursor(&mut self, hidden: &[Vec<Rect>]) {
        let Some(cursor) = self.cursor.take() else { return };
        let Some(part) = cursor.rect.intersection(&self.region) else { return };
        if hidden.iter().flatten().any(|rect| rect.contains(cursor.hot)) {
            return;
        }
        let (left, top) = (part.x - cursor.rect.x, part.y - cursor.rect.y);
        let (left, top) = (left.unsigned_abs() as usize, top.unsigned_abs() as usize);
        let rows = cursor.pixels.chunks(cursor.rect.width as usize).skip(top);
        for (y, row) in (0..part.height).zip(rows) {
            for (pixel, over) in self.row_of(&part, y).chunks_exact_mut(4).zip(&row[left..]) {
                let [blue, green, red, alpha] = over.to_le_bytes();
                for (below, above) in pixel.iter_mut().zip([blue, green, red]) {
                    let rest = u32::from(*below) * u32::from(255 - alpha);
                    *below = above.saturating_add(u8::try_from((rest + 127) / 255).unwrap_or(u8::MAX));
                }
            }
        }
    }

    /// The bytes of a row of `part`, which is inside of the region.
    fn row_of(&mut self, part: &Rect, y: u32) -> &mut [u8] {
        let from = |at: i32, origin: i32| (at - origin).unsigned_abs() as usize;
        let (left, top) = (from(part.x, self.region.x), from(part.y, self.region.y) + y as usize);
        let start = (top * self.region.width as usize + left) * 4;
        &mut self.pixels[start..start + part.width as usize * 4]
    }
}

/// The bytes of a picture.
pub struct Pixels {
    store: Store,
    length: usize,
}

enum Store {
    /// Goes back to the session when the picture is dropped, for the next one.
    Shared(Option<Segment>, Weak<Mutex<Vec<Segment>>>),
    Own(Vec<u8>),
}

impl From<Vec<u8>> for Pixels {
    fn from(bytes: Vec<u8>) -> Self {
        Self { length: bytes.len(), store: Store::Own(bytes) }
    }
}

impl Pixels {
    /// The first `length` bytes of a segment; `spare` takes it back.
    pub(crate) fn shared(segment: Segment, length: usize, spare: Weak<Mutex<Vec<Segment>>>) -> Self {
        Self { store: Store::Shared(Some(segment), spare), length }
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes = match &self.store {
            Store::Shared(segment, _) => segment.as_ref().map_or(&[][..], Segment::as_slice),
            Store::Own(bytes) => bytes,
        };
        &bytes[..self.length]
    }
}

impl DerefMut for Pixels {
    fn deref_mut(&mut self) -> &mut [u8] {
        let bytes = match &mut self.store {
            Store::Shared(segment, _) => segment.as_mut().map_or(&mut [][..], Segment::as_mut_slice),
            Store::Own(bytes) => bytes,
        };
        &mut bytes[..self.length]
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        if let Store::Shared(segment, spare) = &mut self.store
            && let (Some(segment), Some(spare)) = (segment.take(), spare.upgrade())
        {
            spare.lock().unwrap_or_else(PoisonError::into_inner).push(segment);
        }
    }
}
