//! One plan on the screen: its rows, which of them are visible, and which of them were.

use crate::approve::layout::{Layout, Place};
use crate::approve::picture::{Cell, Picture};
use crate::held::{Held, Page};

/// A plan that was checked and can be shown completely.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) held: Box<Held>,
    page: Page,
    /// `None` while it is on its way.
    pictures: Vec<Option<Result<Picture, String>>>,
    cells: Vec<Vec<Vec<Cell>>>,
    layout: Layout,
    /// What the layout was made for, beside its width.
    made_for: (usize, bool),
    top: usize,
    /// Everything before it was on the screen.
    seen: Place,
}

impl Sheet {
    /// Checks a plan as the line screen does.
    pub(crate) fn new(held: Box<Held>) -> Result<Self, String> {
        let page = held.page()?;
        let pictures = page.pictures().iter().map(|_| None).collect();
        Ok(Self {
            held,
            page,
            pictures,
            cells: Vec::new(),
            layout: Layout::default(),
            made_for: (0, false),
            top: 0,
            seen: Place::default(),
        })
    }

    pub(crate) fn page(&self) -> &Page {
        &self.page
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The rows of pictures.
    pub(crate) fn cells(&self) -> &[Vec<Vec<Cell>>] {
        &self.cells
    }

    /// The first row that is visible.
    pub(crate) fn top(&self) -> usize {
        self.top
    }

    pub(crate) fn rows(&self) -> usize {
        self.layout.rows().len()
    }

    /// How many rows were never on the screen.
    pub(crate) fn unread(&self) -> usize {
        self.rows().saturating_sub(self.layout.row_of(self.seen))
    }

    /// How many of them are left once `body` rows from the top on are on the screen.
    pub(crate) fn unread_below(&self, body: usize) -> usize {
        let seen = self.layout.row_of(self.seen);
        let now = if seen >= self.top { seen.max(self.top + body) } else { seen };
        self.rows().saturating_sub(now)
    }

    /// Whether everything that belongs to the plan is here.
    pub(crate) fn is_whole(&self) -> Result<(), String> {
        match self.pictures.iter().all(Option::is_some) {
            true => Ok(()),
            false => Err("its picture is still on its way".to_owned()),
        }
    }

    /// What is said in the place of a picture.
    pub(crate) fn without_picture(&self, index: usize) -> String {
        match self.pictures.get(index) {
            Some(Some(Err(why))) => format!("(not shown: {why})"),
            Some(None | Some(Ok(_))) | None => "(on its way)".to_owned(),
        }
    }

    pub(crate) fn picture(&self, index: usize) -> Option<&Picture> {
        self.pictures.get(index)?.as_ref()?.as_ref().ok()
    }

    /// The first picture at or below the first visible row, else the first one.
    pub(crate) fn picture_on_screen(&self) -> Option<usize> {
        let there = |index: &usize| self.picture(*index).is_some();
        let from = self.layout.place_of(self.top);
        let below = |index: &usize| Place::below_line(self.page.pictures()[*index].0) >= from;
        let all = || (0..self.pictures.len()).filter(there);
        all().find(below).or_else(|| all().next())
    }

    /// A picture came, or will not. What stands from it on has to be read again.
    pub(crate) fn add_picture(&mut self, index: usize, picture: Result<Picture, String>) {
        if let (Some(place), Some((line, _))) =
            (self.pictures.get_mut(index), self.page.pictures().get(index))
        {
            *place = Some(picture);
            self.seen = self.seen.min(Place::of_line(*line));
            self.layout = Layout::default();
        }
    }

    /// Breaks the plan into rows, unless it is already broken for this width.
    pub(crate) fn arrange(&mut self, columns: usize, picture_rows: usize, in_full_size: bool, body: usize) {
        if self.layout.rows().is_empty()
            || self.layout.width() != columns
            || (!self.pictures.is_empty() && self.made_for != (picture_rows, in_full_size))
        {
            let top = self.layout.place_of(self.top);
            let cells = |picture: &Option<Result<Picture, String>>| match picture {
                Some(Ok(picture)) => picture.cells(columns.saturating_sub(4), picture_rows, in_full_size),
                Some(Err(_)) | None => Vec::new(),
            };
            self.cells = self.pictures.iter().map(cells).collect();
            let is_first = self.layout.rows().is_empty();
            self.layout = Layout::new(&self.page, &self.cells, columns);
            self.made_for = (picture_rows, in_full_size);
            if !is_first {
                self.top = self.layout.row_of(top);
            }
        }
        self.top = self.top.min(self.rows().saturating_sub(body));
    }

    pub(crate) fn scroll(&mut self, to: impl Fn(usize) -> usize, body: usize) {
        self.top = to(self.top).min(self.rows().saturating_sub(body));
    }

    pub(crate) fn scroll_to_unread(&mut self, body: usize) {
        let unread = self.layout.row_of(self.seen);
        self.scroll(|_| unread, body);
    }

    /// So many rows from the top on are on the screen.
    pub(crate) fn drawn(&mut self, body: usize) {
        if self.layout.row_of(self.seen) >= self.top {
            self.seen = self.seen.max(self.layout.place_of(self.top + body));
        }
    }
}
