//! `fs.search`: files by name, by content, or both, with ripgrep's parts on descriptors of our own.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use globset::{GlobBuilder, GlobMatcher};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkFinish, SinkMatch};
use llm_os_core::error::excerpt;
use llm_os_core::path::{WirePath, spell};
use llm_os_core::{Context, Effect, Effects, Fault, Text, Verb};
use rustix::fs::FileType;

use crate::copy::open_met;
use crate::effects::effect_below;
use crate::ignored::Ignored;
use crate::kernel::FileKind;
use crate::output::{Match, Output};
use crate::page::Cursor;
use crate::read::open_file;
use crate::roots::{Handle, Last, Place, Roots, names_of};
use crate::tree::{BATCH, Item, Named, Pace, Step, Walk, covers, permits};

const MAX_RESULTS: u32 = 10_000;
/// How long a glob or a regular expression may be.
const MAX_PATTERN: usize = 4096;
/// How much memory a compiled regular expression may take.
const MAX_COMPILED: usize = 4 << 20;
/// The largest file that is searched.
const MAX_FILE: u64 = 64 << 20;
/// The longest line that is searched.
const MAX_LINE: usize = 4 << 20;
/// How much of a line is shown.
const MAX_SHOWN: usize = 512;

/// What to look for.
#[derive(Debug)]
pub(crate) struct Query {
    glob: Option<GlobMatcher>,
    /// Whether the glob is for the last name only, wherever the file is.
    glob_is_name: bool,
    pattern: Option<RegexMatcher>,
    include_ignored: bool,
    max_results: usize,
    after: Option<Cursor>,
}

/// The params of a search beside its path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) glob: Option<&'a str>,
    pub(crate) pattern: Option<&'a str>,
    pub(crate) ignore_case: bool,
    pub(crate) include_ignored: bool,
    pub(crate) max_results: u32,
    pub(crate) next: Option<&'a str>,
}

impl Query {
    /// Compiles what is asked, within bounds.
    pub(crate) fn new(asked: &Asked<'_>) -> Result<Self, Fault> {
        let Asked { glob, pattern, ignore_case, include_ignored, max_results, next } = *asked;
        if glob.is_none() && pattern.is_none() {
            return Err(Fault::invalid("pattern", "neither glob nor pattern is given: give one or both"));
        }
        if !(1..=MAX_RESULTS).contains(&max_results) {
            return Err(Fault::invalid(
                "max_results",
                format!("it is {max_results}, expected 1 to {MAX_RESULTS}"),
            ));
        }
        for (field, text) in [("glob", glob), ("pattern", pattern)] {
            if text.is_some_and(|text| text.len() > MAX_PATTERN) {
                return Err(Fault::invalid(field, format!("it is longer than {MAX_PATTERN} bytes")));
            }
        }
        let glob = glob.map(|text| {
            let built = GlobBuilder::new(text).literal_separator(true).build();
            let not_accepted = |why: String| {
                Fault::invalid("glob", format!("\"{}\" is not a glob: {}", excerpt(text), excerpt(&why)))
            };
            Ok((
                built.map_err(|e| not_accepted(e.kind().to_string()))?.compile_matcher(),
                !text.contains('/'),
            ))
        });
        let (glob, glob_is_name) = glob.transpose()?.unzip();
        let pattern = pattern.map(|text| {
            let mut builder = RegexMatcherBuilder::new();
            builder.case_insensitive(ignore_case).line_terminator(Some(b'\n')).size_limit(MAX_COMPILED);
            builder.dfa_size_limit(MAX_COMPILED).build(text).map_err(|e| {
                let why = e.to_string();
                let last = why.lines().last().unwrap_or_default().to_owned();
                Fault::invalid(
                    "pattern",
                    format!("\"{}\" is not accepted: {}", excerpt(text), excerpt(&last)),
                )
            })
        });
        Ok(Self {
            glob,
            glob_is_name: glob_is_name.unwrap_or_default(),
            pattern: pattern.transpose()?,
            include_ignored,
            max_results: max_results as usize,
            after: next.map(Cursor::decode).transpose()?,
        })
    }

    /// Whether an entry may be one to search or to enter, before anything is known of it but its name and what its
    /// directory says of its type. `relative` is room for its path below the top, which is `top` bytes long.
    fn may_concern(&self, named: &Named<'_>, top: usize, relative: &mut Vec<u8>) -> bool {
        if matches!(named.file_type, FileType::Directory | FileType::Unknown) {
            return true;
        }
        if !self.glob_is_name {
            relative.clear();
            relative.extend_from_slice(below(named.dir, top));
            if !relative.is_empty() {
                relative.push(b'/');
            }
            relative.extend_from_slice(named.name);
        }
        self.names(relative, named.name)
    }

    /// Whether what was met is to be searched or entered, as far as its name and kind say.
    fn concerns(&self, item: &Item, relative: &[u8]) -> bool {
        item.meta.is_directory() || self.names(relative, &item.name)
    }

    fn names(&self, relative: &[u8], name: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        let tried = std::ffi::OsStr::from_bytes(if self.glob_is_name { name } else { relative });
        self.glob.as_ref().is_none_or(|glob| glob.is_match(tried))
    }
}

/// A search below a place.
#[derive(Debug)]
pub(crate) struct Search {
    place: Place,
    query: Query,
}

impl Search {
    pub(crate) fn resolve(roots: &Roots, path: &WirePath, query: Query) -> Result<Self, Fault> {
        let place = roots.place(&path.bytes("path")?, Last::Follow)?.file_or_directory()?;
        Ok(Self { place, query })
    }

    pub(crate) fn effects(&self) -> Effects {
        Effects::one(self.place.effect(Verb::Observe))
    }

    pub(crate) async fn run(self, roots: &Roots, cx: &Context) -> Result<Output, Fault> {
        let judged = self.place.found()?;
        let mut page = Page::new(&self.query);
        if judged.meta.is_directory() {
            search_below(roots, cx, &judged, &mut page).await?;
        } else {
            let name = judged.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
            if self.query.names(name, name) {
                let (file, meta) = open_file(roots, &judged)?;
                let line = self.query.after.as_ref().map_or(0, |cursor| cursor.line);
                page.file(&judged.path, name, line, meta.bytes, || Ok(file));
            }
        }
        let Page { matches, left_out, skipped, next, .. } = page;
        let next = next.map(|next| next.encode());
        Ok(Output::Search { path: spell(&judged.path), matches, left_out, skipped, next })
    }
}

async fn search_below(
    roots: &Roots,
    cx: &Context,
    judged: &Handle,
    page: &mut Page<'_>,
) -> Result<(), Fault> {
    let dir = roots.reopen_directory(judged)?;
    let mut walk = Walk::new(dir, &judged.path, BATCH, covers(cx, &[judged.effect(Verb::Observe)]));
    let mut ignored = Ignored::new(!page.query.include_ignored);
    let may_read = |item: &Item| permits(cx, item.covered, &item.meta, || vec![effect_on(item)]);
    ignored.entered(&walk, &judged.path, may_read);
    let mut line = 0;
    if let Some(after) = &page.query.after {
        line = after.line;
        let mut names = names_of(&after.path).peekable();
        while let Some(name) = names.next() {
            // The file where the last page ended is searched again, behind that line.
            let met = walk.seek(name, names.peek().is_none());
            let Some(item) = met.filter(|item| names.peek().is_some() && item.meta.is_directory()) else {
                break;
            };
            if !may_read(&item) || walk.enter(&item, item.covered).is_err() {
                break;
            }
            ignored.entered(&walk, &item.path, may_read);
        }
    }
    let mut pace = Pace::new(cx);
    let (query, top) = (page.query, judged.path.len());
    let mut spelled = Vec::new();
    while let Some(step) = walk.step_among(|named| query.may_concern(named, top, &mut spelled))? {
        pace.step().await?;
        let item = match step {
            Step::Reading => continue,
            Step::Left(_) => {
                ignored.left();
                continue;
            }
            Step::Met(item) => item,
        };
        let relative = below(&item.path, top);
        let followed = matches!(item.meta.kind, FileKind::Regular | FileKind::Directory);
        if !query.concerns(&item, relative) || !followed || ignored.covers(&item) {
            continue;
        }
        if page.is_full() {
            page.next = Some(Cursor { path: relative.to_vec(), line: 0 });
            return Ok(());
        }
        if !may_read(&item) {
            page.left_out += 1;
        } else if item.meta.is_directory() {
            let covered = item.covered || covers(cx, &[effect_on(&item)]);
            match walk.enter(&item, covered) {
                Ok(()) => ignored.entered(&walk, &item.path, may_read),
                Err(_) => page.skipped += 1,
            }
        } else if let Some(dir) = walk.dir() {
            let from = std::mem::take(&mut line);
            let is_resumed = page.query.after.as_ref().is_some_and(|after| after.path == relative);
            let from = if is_resumed { from } else { 0 };
            if page.file(&item.path, relative, from, item.meta.bytes, || open_met(dir.as_fd(), &item)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A path below a top whose path is `top` bytes long, as it is spelled from there.
fn below(path: &[u8], top: usize) -> &[u8] {
    let below = &path[top..];
    below.strip_prefix(b"/").unwrap_or(below)
}

fn effect_on(item: &Item) -> Effect {
    effect_below(Verb::Observe, &item.path, Some(&item.meta))
}

/// The page that is being filled.
struct Page<'q> {
    query: &'q Query,
    searcher: Searcher,
    matches: Vec<Match>,
    left_out: u64,
    skipped: u64,
    next: Option<Cursor>,
}

impl<'q> Page<'q> {
    fn new(query: &'q Query) -> Self {
        let searcher = SearcherBuilder::new()
            .line_number(true)
            .bom_sniffing(false)
            .heap_limit(Some(MAX_LINE))
            .binary_detection(BinaryDetection::quit(0))
            .build();
        Self { query, searcher, matches: Vec::new(), left_out: 0, skipped: 0, next: None }
    }

    fn is_full(&self) -> bool {
        self.matches.len() >= self.query.max_results
    }

    /// Adds what one file has behind a line; whether the page is over in the middle of it.
    fn file(
        &mut self,
        path: &[u8],
        relative: &[u8],
        after: u64,
        bytes: u64,
        open: impl FnOnce() -> Result<std::os::fd::OwnedFd, Fault>,
    ) -> bool {
        let Some(pattern) = &self.query.pattern else {
            self.matches.push(Match { path: spell(path), line: None, text: None });
            return false;
        };
        if bytes > MAX_FILE {
            self.skipped += 1;
            return false;
        }
        let Ok(file) = open() else {
            self.skipped += 1;
            return false;
        };
        let room = self.query.max_results - self.matches.len();
        let mut lines =
            Lines { path: spell(path), after, room, found: Vec::new(), is_over: false, is_binary: false };
        let searched = self.searcher.search_file(pattern, &File::from(file), &mut lines);
        if searched.is_err() || lines.is_binary {
            self.skipped += 1;
        }
        if lines.is_over {
            let line = lines.found.last().and_then(|found| found.line).unwrap_or(after);
            self.next = Some(Cursor { path: relative.to_vec(), line });
        }
        let is_over = lines.is_over;
        self.matches.append(&mut lines.found);
        is_over
    }
}

/// Collects the lines of one file.
struct Lines {
    path: String,
    after: u64,
    room: usize,
    found: Vec<Match>,
    is_over: bool,
    is_binary: bool,
}

impl Sink for Lines {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        let line = found.line_number().unwrap_or_default();
        if line <= self.after {
            return Ok(true);
        }
        if self.found.len() == self.room {
            self.is_over = true;
            return Ok(false);
        }
        let whole = found.bytes();
        let whole = whole.strip_suffix(b"\n").unwrap_or(whole);
        let whole = whole.strip_suffix(b"\r").unwrap_or(whole);
        let text = Text::new(whole[..whole.len().min(MAX_SHOWN)].to_vec(), whole.len() as u64);
        self.found.push(Match { path: self.path.clone(), line: Some(line), text: Some(text) });
        Ok(true)
    }

    fn finish(&mut self, _: &Searcher, end: &SinkFinish) -> Result<(), io::Error> {
        self.is_binary = end.binary_byte_offset().is_some();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::{CWD, Mode, OFlags};

    use super::*;

    /// What a search of a tree concerns, where its directories say this of the types, and how much was looked at.
    fn concerned(top: &std::path::Path, glob: &str, says: fn(FileType) -> FileType) -> (Vec<String>, usize) {
        let asked = Asked {
            glob: Some(glob),
            pattern: None,
            ignore_case: false,
            include_ignored: true,
            max_results: 1,
            next: None,
        };
        let query = Query::new(&asked).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut walk =
            Walk::new(rustix::fs::openat(CWD, top, flags, Mode::empty()).unwrap(), b"/top", BATCH, true);
        let (mut found, mut met, mut relative) = (Vec::new(), 0, Vec::new());
        while let Some(step) = walk
            .step_among(|named| {
                let named = Named { file_type: says(named.file_type), ..*named };
                query.may_concern(&named, 4, &mut relative)
            })
            .unwrap()
        {
            let Step::Met(item) = step else { continue };
            met += 1;
            if query.concerns(&item, below(&item.path, 4)) {
                found.push(spell(&item.path));
            }
            if item.meta.is_directory() {
                walk.enter(&item, true).unwrap();
            }
        }
        (found, met)
    }

    #[test]
    fn where_directories_tell_no_types_everything_is_looked_at_and_the_same_is_found() {
        let top = tempfile::tempdir().unwrap();
        for dir in ["d/e.rs", "x"] {
            fs::create_dir_all(top.path().join(dir)).unwrap();
        }
        for file in ["a", "b.rs", "d/a", "d/c.rs", "d/e.rs/d.rs", "x/a"] {
            fs::write(top.path().join(file), "").unwrap();
        }
        for (glob, looked_at) in [("*.rs", 6), ("d/*.rs", 4), ("**/a", 6), ("a", 6), ("nothing", 3)] {
            let told = concerned(top.path(), glob, |told| told);
            let untold = concerned(top.path(), glob, |_| FileType::Unknown);
            assert_eq!(told.0, untold.0, "{glob}");
            assert_eq!((told.1, untold.1), (looked_at, 9), "{glob}");
        }
    }
}
