//! Text for people: rows whose cells stand below each other.
//!
//! What somebody else wrote cannot pass for a row of this program: each cell is printable ASCII, broken into rows that begin
//! where its column does.

use crate::screen::{self, Screen, hanging, plain, quoted, wrapped};

/// How wide what is no terminal is.
const COLUMNS: usize = 80;
/// How wide a column becomes for its longest cell, unless it is the last one.
const WIDE: usize = 32;
/// What the others give way to the last column for.
const LAST: usize = 32;
/// What the last column has in the narrowest terminal.
const NARROW: usize = 8;
/// The longest word that a column keeps whole.
const WORD: usize = 16;
/// What the first column keeps: the ids of a host are no longer.
const NAME: usize = 20;
const GAP: usize = 2;
/// How far the rest of a name that is too long is set in: no row begins with it.
const HANGING: usize = 2;

/// Cells in columns. The first one is a name.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
    columns: usize,
}

impl<const N: usize> Table<N> {
    /// Columns below these words.
    pub(crate) fn new(head: [&str; N]) -> Self {
        let mut table = Self::bare();
        table.row(head.map(str::to_owned));
        table
    }

    /// Columns that need no words above them.
    pub(crate) fn bare() -> Self {
        Self { rows: Vec::new(), columns: columns() }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| plain(&cell)));
    }

    pub(crate) fn write(&self, indent: usize, screen: &mut Screen) {
        let widths = self.widths(self.columns.saturating_sub(indent));
        for row in &self.rows {
            let mut cells = [const { Vec::new() }; N];
            for ((cell, text), width) in cells.iter_mut().zip(row).zip(widths) {
                *cell = wrapped(text, width);
            }
            cells[0] = hanging(&row[0], widths[0], HANGING);
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            for line in 0..height {
                let pieces = cells.iter().zip(widths).map(|(cell, width)| {
                    let piece = cell.get(line).map_or("", String::as_str);
                    format!("{piece:<0$}", width + GAP)
                });
                screen.line(indent, pieces.collect::<String>().trim_end());
            }
        }
    }

    fn widths(&self, columns: usize) -> [usize; N] {
        let widest = |at: usize| self.rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
        let word = |at: usize| self.rows.iter().flat_map(move |row| row[at].split(' ')).map(str::len).max();
        let mut widths: [usize; N] = std::array::from_fn(|at| widest(at).min(WIDE));
        let (last, others) = widths.split_last_mut().expect("a table has columns");
        let wanted = widest(N - 1).min(LAST);
        // Those in the middle give way, as long as no word of theirs is broken; further only where nothing fits else.
        let whole = |at| if at == 0 { WIDE } else { word(at).unwrap_or(0).clamp(NARROW, WORD) };
        give_way(others, whole, columns.saturating_sub(wanted));
        let all = |at| if at == 0 { NAME } else { NARROW };
        give_way(others, all, columns.saturating_sub(NARROW));
        *last = columns.saturating_sub(taken(others)).max(NARROW);
        widths
    }
}

fn taken(widths: &[usize]) -> usize {
    widths.iter().map(|width| width + GAP).sum()
}

/// Makes the widest columns narrower, none below its least, until all of them have room.
fn give_way(widths: &mut [usize], least: impl Fn(usize) -> usize, room: usize) {
    while taken(widths) > room {
        let can = widths.iter_mut().enumerate().filter(|(at, width)| **width > least(*at));
        let Some((_, widest)) = can.max_by_key(|(_, width)| **width) else { break };
        *widest -= 1;
    }
}

fn columns() -> usize {
    screen::columns().unwrap_or(COLUMNS)
}

/// Text from others as one word: as it is where it looks like one, else in quotes.
pub(crate) fn word(text: &str) -> String {
    let is_one = !matches!(text, "" | "-") && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    if is_one { text.to_owned() } else { quoted(text) }
}

/// [`word`], and a dash for none.
pub(crate) fn word_or_dash(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), word)
}

/// A text of sentences, whatever lines it was written in.
pub(crate) fn prose(text: &str) -> String {
    text.replace('\n', " ")
}

/// A text of sentences in rows of the terminal's width, all of them indented.
pub(crate) fn paragraph(indent: usize, text: &str, screen: &mut Screen) {
    let rows = wrapped(&plain(&prose(text)), columns().saturating_sub(indent));
    rows.iter().for_each(|row| screen.line(indent, row));
}

/// A row that begins at the edge; what is too long for it goes on further in.
pub(crate) fn heading(inward: usize, text: &str, screen: &mut Screen) {
    let rows = hanging(&plain(text), columns(), inward);
    rows.iter().for_each(|row| screen.line(0, row));
}

/// One thing that this program says.
pub(crate) fn sentence(text: &str) -> Screen {
    let mut screen = Screen::default();
    heading(HANGING, text, &mut screen);
    screen
}

/// So many seconds, in the largest unit of which there are two.
pub(crate) fn seconds(seconds: u64) -> String {
    let units = [(86_400, "days"), (3_600, "h"), (60, "min"), (1, "s")];
    let (length, unit) = units.into_iter().find(|(length, _)| seconds >= 2 * length).unwrap_or((1, "s"));
    format!("{} {unit}", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table in a terminal of so many columns.
    fn shown<const N: usize>(columns: usize, rows: &[[&str; N]]) -> String {
        let mut table = Table::new(rows[0]);
        table.columns = columns;
        rows[1..].iter().for_each(|row| table.row(row.map(str::to_owned)));
        let mut screen = Screen::default();
        table.write(0, &mut screen);
        screen.as_str().to_owned()
    }

    #[test]
    fn cells_stand_below_each_other() {
        let rows = [["NAME", "USER", "WHAT"], ["a", "1000", "one"], ["longer", "0", "two"]];
        assert_eq!(shown(80, &rows), "NAME    USER  WHAT\na       1000  one\nlonger  0     two\n");
    }

    #[test]
    fn the_last_column_is_broken_between_words_and_stays_in_its_place() {
        let rows = [["NAME", "WHAT"], ["a", "some words that are too many for one row of it"]];
        assert_eq!(
            shown(32, &rows),
            "NAME  WHAT\na     some words that are too\n      many for one row of it\n"
        );
    }

    #[test]
    fn a_narrow_terminal_takes_from_the_columns_in_the_middle() {
        let long = ["many"; 6].join(" ");
        let shown = shown(50, &[["NAME", "MIDDLE", "LAST"], ["a", &long, "the last one has its columns"]]);
        assert_eq!(
            shown.lines().nth(1),
            Some("a     many many       the last one has its columns"),
            "{shown}"
        );
        assert!(shown.lines().all(|row| row.len() <= 50), "{shown}");
    }

    #[test]
    fn no_text_begins_a_row_that_is_not_its_own() {
        let hostile = format!("{}Approve exactly this? [y/N] y\n\u{1b}[2Jp-2  yes", "x ".repeat(40));
        for columns in [40, 80, 200] {
            let shown = shown(columns, &[["NAME", "MIDDLE", "LAST"], [&hostile, &hostile, &hostile]]);
            assert!(shown.is_ascii() && !shown.contains('\u{1b}'), "{shown}");
            let begun = shown.lines().filter(|row| !row.starts_with("  ")).count();
            assert_eq!(begun, 2, "{shown}");
        }
    }

    #[test]
    fn times_are_told_in_one_unit() {
        let told = [0, 1, 119, 120, 7_199, 7_200, 172_800].map(seconds);
        assert_eq!(told, ["0 s", "1 s", "119 s", "2 min", "119 min", "2 h", "2 days"]);
    }

    #[test]
    fn what_is_no_word_is_quoted() {
        let check = |text, expected| assert_eq!(word(text), expected);
        check("p-3f9a", "p-3f9a");
        check("/tmp/a'b", "/tmp/a'b");
        check("", "\"\"");
        check("-", "\"-\"");
        check("two words", "\"two words\"");
        check("a\n\u{202e}b", "\"a\\n\\u{202e}b\"");
        check("\"a\"", "\"\\\"a\\\"\"");
    }
}
