//! A page in rows of one width.

use crate::approve::picture::Cell;
use crate::held::{Line, Look, Page};

/// Places within a line that rows of its picture begin at, behind all of its text.
const PICTURE: usize = 1 << 40;

/// A row on the screen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A piece of a line.
    Text { line: usize, start: usize, end: usize },
    /// A row of a picture that stands below a line.
    Picture { picture: usize, row: usize },
    /// The upper edge of the box around the requester's words.
    Top,
    /// Its lower edge.
    Bottom,
}

/// A place in a page that means the same at every width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    line: usize,
    start: usize,
}

impl Place {
    /// Where the picture below a line begins.
    pub(crate) fn below_line(line: usize) -> Self {
        Self { line, start: PICTURE }
    }

    /// Where a line begins.
    pub(crate) fn of_line(line: usize) -> Self {
        Self { line, start: 0 }
    }
}

/// The rows of a page; made once for each width.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    rows: Vec<Row>,
    places: Vec<Place>,
    width: usize,
}

impl Layout {
    /// Breaks the lines of a page. `pictures` are the rows of each of its pictures.
    pub(crate) fn new(page: &Page, pictures: &[Vec<Vec<Cell>>], width: usize) -> Self {
        let mut layout = Self { width, ..Self::default() };
        for (index, line) in page.lines().iter().enumerate() {
            let is_words = index >= page.words();
            if index == page.words() {
                // Behind everything of the line before it, so that no two rows have one place.
                layout.push(Row::Top, index.saturating_sub(1), usize::MAX);
            }
            let room = width.saturating_sub(before(line, is_words) + if is_words { 2 } else { 0 }).max(8);
            let mut start = 0;
            loop {
                let end = row_end(line, start, room);
                layout.push(Row::Text { line: index, start, end }, index, start);
                start = end;
                if start >= line.text().len() {
                    break;
                }
            }
            for (picture, _) in page.pictures().iter().enumerate().filter(|(_, (below, _))| *below == index) {
                // Where there is no picture, one row says why.
                for row in 0..pictures.get(picture).map_or(1, |rows| rows.len().max(1)) {
                    layout.push(Row::Picture { picture, row }, index, PICTURE + row);
                }
            }
        }
        layout.push(Row::Bottom, usize::MAX, 0);
        layout
    }

    fn push(&mut self, row: Row, line: usize, start: usize) {
        self.rows.push(row);
        self.places.push(Place { line, start });
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The row that a place is in.
    pub(crate) fn row_of(&self, place: Place) -> usize {
        self.places.partition_point(|other| *other < place)
    }

    /// The place that a row begins at; behind the last row that is the end of everything.
    pub(crate) fn place_of(&self, row: usize) -> Place {
        self.places.get(row).copied().unwrap_or(Place { line: usize::MAX, start: usize::MAX })
    }
}

/// How many columns stand before the text of a line.
fn before(line: &Line, is_words: bool) -> usize {
    line.indent + if line.look.has_margin() { 2 } else { 0 } + if is_words { 2 } else { 0 }
}

/// Where a row ends: text of others is cut at the width, sentences of this program between words where that goes.
fn row_end(line: &Line, start: usize, room: usize) -> usize {
    let text = line.text();
    let end = text.len().min(start + room);
    if end == text.len() {
        return end;
    }
    match line.look {
        Look::Head | Look::Text | Look::Attention => {
            text[start..end].rfind(' ').map_or(end, |space| start + space + 1)
        }
        Look::Foreign | Look::Added | Look::Removed | Look::Same => end,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::held::tests::held;

    proptest! {
        /// C12: at every width the rows of a line are the whole line, and no row is wider than the screen.
        #[test]
        fn rows_put_together_are_the_lines(width in 30_usize..200, argument in ".{0,300}") {
            let held = held(&serde_json::json!({"argv": ["/bin/echo", argument]}), "greet");
            let page = held.page().unwrap();
            let layout = Layout::new(&page, &[], width);
            let mut lines = vec![String::new(); page.lines().len()];
            for row in layout.rows() {
                if let Row::Text { line, start, end } = row {
                    let shown = &page.lines()[*line];
                    prop_assert!(before(shown, *line >= page.words()) + end - start <= width.max(20));
                    prop_assert_eq!(lines[*line].len(), *start);
                    lines[*line].push_str(&shown.text()[*start..*end]);
                }
            }
            for (whole, line) in lines.iter().zip(page.lines()) {
                prop_assert_eq!(whole, line.text());
            }
        }
    }

    #[test]
    fn a_place_is_found_again_at_another_width() {
        let held = held(&serde_json::json!({"argv": ["/bin/echo", "x".repeat(5000)]}), "greet");
        let page = held.page().unwrap();
        let (narrow, wide) = (Layout::new(&page, &[], 40), Layout::new(&page, &[], 120));
        for row in 0..narrow.rows().len() {
            assert_eq!(narrow.row_of(narrow.place_of(row)), row);
            let there = wide.place_of(wide.row_of(narrow.place_of(row)));
            assert!(there >= narrow.place_of(row));
        }
        assert_eq!(narrow.row_of(narrow.place_of(usize::MAX)), narrow.rows().len());
    }
}
