//! `fs.edit`: exact replacement, shown as a unified diff.

use std::ops::Range;
use std::os::fd::OwnedFd;

use llm_os_core::evidence::{DIFF, DIFF_TYPE};
use llm_os_core::path::{WirePath, spell};
use llm_os_core::{Context, Effects, Fault, Secret, Text, Verb};
use similar::DiffOp;

use crate::diff::{Side, header, push_hunks, unified};
use crate::fault::{EDIT_FAILED, not_found, read_failed, shown, target_changed};
use crate::kernel::Meta;
use crate::output::Output;
use crate::read::{open_file, read_up_to};
use crate::roots::{Entry, Roots, Slot};
use crate::undo::Keep;
use crate::write::{put, writable_slot};

/// The largest file that is edited, and the largest that an edit may make of it.
const MAX_BYTES: usize = 8 << 20;
/// How many replacements one edit makes.
const MAX_EXPECTED: u32 = 1000;
/// How much of a diff is shown.
const MAX_DIFF: usize = 64 << 10;

/// A file to edit.
#[derive(Debug)]
pub(crate) struct Edit {
    slot: Slot,
    old: Secret,
    new: Secret,
    expected: u32,
    dry_run: bool,
}

/// Refuses an edit that means nothing.
pub(crate) fn check(old: &Secret, new: &Secret, expected: u32) -> Result<(), Fault> {
    if old.expose().is_empty() {
        return Err(Fault::invalid("old", "it is empty, expected the text to replace"));
    }
    if old.expose() == new.expose() {
        return Err(Fault::invalid("new", "it is the same as old: there is nothing to do"));
    }
    if !(1..=MAX_EXPECTED).contains(&expected) {
        return Err(Fault::invalid("expected", format!("it is {expected}, expected 1 to {MAX_EXPECTED}")));
    }
    Ok(())
}

impl Edit {
    pub(crate) fn resolve(
        roots: &Roots,
        path: &WirePath,
        old: Secret,
        new: Secret,
        expected: u32,
        dry_run: bool,
    ) -> Result<Self, Fault> {
        Ok(Self { slot: writable_slot(roots, path, "path")?, old, new, expected, dry_run })
    }

    /// The diff shows what stands in the file, so an edit observes it too.
    pub(crate) fn effects(&self) -> Effects {
        let observe = Effects::one(self.slot.effect(Verb::Observe));
        if self.dry_run { observe } else { observe.and(self.slot.effect(Verb::Change)) }
    }

    /// What it would make of the file.
    pub(crate) fn preview(&self, roots: &Roots) -> Result<Option<String>, Fault> {
        if self.dry_run {
            return Ok(None);
        }
        Ok(Some(self.edited(roots, self.slot.look()?)?.diff()))
    }

    /// Reads the file and works out the edit.
    fn edited(&self, roots: &Roots, entry: &Entry) -> Result<Edited, Fault> {
        let path = entry.path();
        let judged = entry.occupant.as_ref().ok_or_else(|| not_found(&path))?;
        let (file, before) = open_file(roots, judged)?;
        let text =
            read_up_to(&file, 0, MAX_BYTES + 1, before.bytes).map_err(|e| read_failed("read", &path, e))?;
        if text.len() > MAX_BYTES {
            return Err(Fault::new(
                EDIT_FAILED,
                format!("\"{}\" is larger than {MAX_BYTES} bytes", shown(&path)),
            ));
        }
        let text = String::from_utf8(text).map_err(|_| {
            Fault::new(EDIT_FAILED, format!("\"{}\" is not UTF-8: replace it with fs.write", shown(&path)))
        })?;
        let places = places(&text, self.old.expose(), self.expected, &path)?;
        let new = replaced(&text, &places, self.new.expose());
        if new.len() > MAX_BYTES {
            let message = format!("\"{}\" would be larger than {MAX_BYTES} bytes", shown(&path));
            return Err(Fault::new(EDIT_FAILED, message));
        }
        let hunks = hunks(&text, &places, self.new.expose());
        Ok(Edited { file, before, permissions: judged.meta.permissions, path, text, new, hunks })
    }

    pub(crate) fn run(self, roots: &Roots, cx: &Context, keep: &Keep<'_>) -> Result<Output, Fault> {
        let entry = self.slot.look()?;
        let edited = self.edited(roots, entry)?;
        let path = &edited.path;
        if !self.dry_run {
            roots.still_there(&entry.dir)?;
            let now = Meta::of(&edited.file).map_err(|e| read_failed("look at", path, e))?;
            if (now.bytes, now.modified) != (edited.before.bytes, edited.before.modified) {
                return Err(target_changed(path));
            }
            put(entry, edited.new.as_bytes(), edited.permissions, keep)?;
            if cx.keeps_evidence() {
                cx.keep(DIFF, DIFF_TYPE, edited.diff().as_bytes());
            }
        }
        let path = spell(path);
        let mut diff = format!("--- {path}\n+++ {path}\n{}", edited.hunks).into_bytes();
        let seen = diff.len() as u64;
        diff.truncate(MAX_DIFF);
        let diff = Text::new(diff, seen);
        Ok(Output::Edit { path, replaced: self.expected, changed: !self.dry_run, diff })
    }
}

/// An edit that is worked out and not written yet.
struct Edited {
    file: OwnedFd,
    before: Meta,
    permissions: u16,
    path: Vec<u8>,
    text: String,
    new: String,
    hunks: String,
}

impl Edited {
    /// The diff for whoever approves it, or looks at it later.
    fn diff(&self) -> String {
        let (old, new) = (Side::of_bytes(self.text.as_bytes()), Side::of_bytes(self.new.as_bytes()));
        if old.is_text() && new.is_text() {
            header(&self.path, &old, &new) + &self.hunks
        } else {
            unified(&self.path, &old, &new)
        }
    }
}

/// Where `old` stands, without overlaps, if that is as often as expected.
fn places(text: &str, old: &str, expected: u32, path: &[u8]) -> Result<Vec<Range<usize>>, Fault> {
    let most = expected as usize;
    let mut found = text.match_indices(old).map(|(at, _)| at..at + old.len());
    let places: Vec<_> = found.by_ref().take(most).collect();
    let count = places.len() + found.count();
    if count == most {
        return Ok(places);
    }
    let next = match count {
        0 => "read the file and copy the text exactly",
        _ => "give more of the text around it, or the count as expected",
    };
    let message = format!("old stands {count} times in \"{}\", expected {expected}: {next}", shown(path));
    Err(Fault::new(EDIT_FAILED, message).detail("found", count))
}

fn replaced(text: &str, places: &[Range<usize>], new: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    for place in places {
        out.push_str(&text[at..place.start]);
        out.push_str(new);
        at = place.end;
    }
    out.push_str(&text[at..]);
    out
}

/// The hunks of the diff, from the places that are known to change: searching for them again could take very long, and a search that
/// is cut short would not give the same answer twice.
fn hunks(text: &str, places: &[Range<usize>], new: &str) -> String {
    let old_lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut starts = Vec::with_capacity(old_lines.len() + 1);
    starts.push(0);
    starts.extend(old_lines.iter().scan(0, |at, line| {
        *at += line.len();
        Some(*at)
    }));
    let mut ops = Vec::new();
    let mut new_lines: Vec<String> = Vec::new();
    let (mut old_at, mut rest) = (0, places);
    while let Some(first) = rest.first() {
        // Every place that shares a line with the one before belongs to the same change.
        let from = starts.partition_point(|start| *start <= first.start) - 1;
        let (mut to, mut taken) = (line_behind(&starts, first, new), 1);
        while let Some(place) = rest.get(taken).filter(|place| place.start < starts[to]) {
            to = to.max(line_behind(&starts, place, new));
            taken += 1;
        }
        let (start, end) = (starts[from], starts[to]);
        let local: Vec<_> =
            rest[..taken].iter().map(|place| place.start - start..place.end - start).collect();
        equal(&mut ops, old_at, new_lines.len(), from - old_at);
        new_lines.extend(old_lines[old_at..from].iter().map(|line| (*line).to_owned()));
        let changed = replaced(&text[start..end], &local, new);
        let changed: Vec<_> = changed.split_inclusive('\n').map(str::to_owned).collect();
        ops.push(DiffOp::Replace {
            old_index: from,
            old_len: to - from,
            new_index: new_lines.len(),
            new_len: changed.len(),
        });
        new_lines.extend(changed);
        (old_at, rest) = (to, &rest[taken..]);
    }
    equal(&mut ops, old_at, new_lines.len(), old_lines.len() - old_at);
    let new_lines: Vec<&str> = new_lines.iter().map(String::as_str).collect();
    let mut out = String::new();
    push_hunks(&mut out, &old_lines, &new_lines, ops);
    out
}

/// The first line that a replacement leaves alone. One that takes a line's end away joins the next line to it.
fn line_behind(starts: &[usize], place: &Range<usize>, new: &str) -> usize {
    let ended = starts.partition_point(|start| *start < place.end);
    let at_line_start = starts.get(ended) == Some(&place.end);
    let keeps_lines = new.ends_with('\n') || (new.is_empty() && starts.binary_search(&place.start).is_ok());
    let last = starts.len() - 1;
    if at_line_start && !keeps_lines { (ended + 1).min(last) } else { ended.min(last) }
}

fn equal(ops: &mut Vec<DiffOp>, old_index: usize, new_index: usize, len: usize) {
    if len > 0 {
        ops.push(DiffOp::Equal { old_index, new_index, len });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_diff_of_an_edit_applied_to_the_old_text_gives_the_new_one(
            text in "([ab]{0,3}\n){0,12}[ab]{0,2}", old in "[ab\n]{1,4}", new in "[ac\n]{0,4}",
        ) {
            let count = u32::try_from(text.matches(&old).count()).unwrap();
            let places = places(&text, &old, count, b"/t").unwrap();
            let diff = format!("--- /t\n+++ /t\n{}", hunks(&text, &places, &new));
            prop_assert_eq!(llm_os_test_support::patched(&text, &diff), text.replace(&old, &new), "{}", diff);
        }
    }
}
