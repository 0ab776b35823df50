//! The picture of the pointer (XFIXES 1.0).

use x11rb::protocol::xfixes::GetCursorImageReply;

use crate::geometry::{Point, Rect};
use crate::shot::Cursor;

/// `None` where the pointer has no picture.
pub(super) fn cursor(image: GetCursorImageReply) -> Option<Cursor> {
    let hot = Point { x: image.x.into(), y: image.y.into() };
    let rect = Rect {
        x: hot.x - i32::from(image.xhot),
        y: hot.y - i32::from(image.yhot),
        width: image.width.into(),
        height: image.height.into(),
    };
    let whole = usize::from(image.width) * usize::from(image.height);
    (whole > 0 && image.cursor_image.len() == whole).then_some(Cursor {
        rect,
        hot,
        pixels: image.cursor_image,
    })
}
