//! `fs.list`: pages in the order of the names' bytes.

use std::os::fd::OwnedFd;

use llm_os_core::path::{WirePath, spell};
use llm_os_core::{Context, Effect, Effects, Fault, Identity, Verb};

use crate::effects::metadata_effect;
use crate::output::{EntryType, Listed, Output};
use crate::page::Cursor;
use crate::roots::{Last, Place, Roots, names_of};
use crate::tree::{BATCH, Item, Pace, Step, Walk, covers};

const MAX_LIMIT: u32 = 10_000;
const MAX_DEPTH: u32 = 64;
/// A page ends here even where its limit is not reached, so that an answer stays small.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// A directory to list.
#[derive(Debug)]
pub(crate) struct List {
    place: Place,
    depth: usize,
    limit: usize,
    after: Option<Cursor>,
}

/// Refuses pages that would not be pages.
pub(crate) fn check(depth: u32, limit: u32) -> Result<(), Fault> {
    if !(1..=MAX_DEPTH).contains(&depth) {
        return Err(Fault::invalid("depth", format!("it is {depth}, expected 1 to {MAX_DEPTH}")));
    }
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Fault::invalid("limit", format!("it is {limit}, expected 1 to {MAX_LIMIT}")));
    }
    Ok(())
}

impl List {
    pub(crate) fn resolve(
        roots: &Roots,
        path: &WirePath,
        depth: u32,
        limit: u32,
        next: Option<&str>,
    ) -> Result<Self, Fault> {
        let place = roots.place(&path.bytes("path")?, Last::Follow)?.file_or_directory()?;
        let after = next.map(Cursor::decode).transpose()?;
        Ok(Self { place, depth: depth as usize, limit: limit as usize, after })
    }

    pub(crate) fn effects(&self) -> Effects {
        Effects::one(self.place.metadata_effect(Verb::Observe))
    }

    pub(crate) async fn run(self, roots: &Roots, cx: &Context) -> Result<Output, Fault> {
        let top = self.place.metadata_effect(Verb::Observe);
        let judged = self.place.found()?;
        let dir = roots.reopen_directory(&judged)?;
        let batch = if self.depth == 1 { self.limit + 1 } else { BATCH };
        let mut lister = Lister { cx, depth: self.depth, top: judged.path.len() };
        let mut walk = lister.start(dir, &judged.path, batch, &top, self.after.as_ref());
        let mut pace = Pace::new(cx);
        let (mut entries, mut left_out, mut bytes, mut next) = (Vec::new(), 0, 0, None);
        let mut last = None;
        while let Some(step) = walk.step()? {
            pace.step().await?;
            let Step::Met(item) = step else { continue };
            if entries.len() == self.limit || bytes > MAX_PAGE_BYTES {
                next = last;
                break;
            }
            last = Some(Cursor { path: lister.relative(&item).to_vec(), line: 0 });
            if !lister.permits(&item) {
                left_out += 1;
                continue;
            }
            lister.enter(&mut walk, &item);
            let path = spell(&item.path);
            bytes += path.len();
            let kind = EntryType::from(item.meta.kind);
            entries.push(Listed { path, kind, bytes: (kind == EntryType::File).then_some(item.meta.bytes) });
        }
        Ok(Output::List {
            path: spell(&judged.path),
            entries,
            left_out,
            next: next.map(|next| next.encode()),
        })
    }
}

struct Lister<'a> {
    cx: &'a Context,
    depth: usize,
    /// The length of the top's path.
    top: usize,
}

impl Lister<'_> {
    /// A walk that stands behind the entry where the last page ended.
    fn start(
        &mut self,
        dir: OwnedFd,
        path: &[u8],
        batch: usize,
        top: &Effect,
        after: Option<&Cursor>,
    ) -> Walk {
        let mut walk = Walk::new(dir, path, batch, covers(self.cx, std::slice::from_ref(top)));
        for name in after.iter().flat_map(|cursor| names_of(&cursor.path)) {
            match walk.seek(name, false) {
                Some(item) if self.permits(&item) && self.enter(&mut walk, &item) => {}
                _ => break,
            }
        }
        walk
    }

    fn relative<'i>(&self, item: &'i Item) -> &'i [u8] {
        item.path[self.top..].strip_prefix(b"/").unwrap_or(&item.path[self.top..])
    }

    fn permits(&self, item: &Item) -> bool {
        item.covered || self.cx.permits(&effect_on(item))
    }

    /// Enters a directory as far as the depth goes. One that cannot be entered is listed, and what is in it is not.
    fn enter(&self, walk: &mut Walk, item: &Item) -> bool {
        let wanted = item.meta.is_directory() && walk.depth() + 1 < self.depth;
        wanted && walk.enter(item, item.covered || self.cx.covers_subtree(&effect_on(item))).is_ok()
    }
}

fn effect_on(item: &Item) -> Effect {
    let identity: Identity = item.meta.identity();
    metadata_effect(Verb::Observe, &item.path, Some(&item.meta), identity)
}
