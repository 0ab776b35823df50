//! What an undo makes of files, for approvers before and as evidence after: the diffs of all of them, one after the other.

use std::time::{Duration, Instant};

use llm_os_core::{Code, Fault};

use super::ground::Ground;
use super::imagined::{Imagined, Seen, Target};
use super::node::{Node, What};
use super::restore::Undo;
use super::store::{Pace, Store};
use crate::copy::open_met;
use crate::diff::{Side, unified};
use crate::fault::read_failed;
use crate::kernel::FileKind;
use crate::roots::Roots;

/// After so many bytes no further file is told.
const MAX_BYTES: usize = 2 << 20;
/// After this time an approver is told that looking took too long.
const MAX_TIME: Duration = Duration::from_millis(500);

impl Undo {
    /// What it would make of files.
    pub(crate) fn preview(&self, roots: &Roots, store: &Store) -> Result<Option<String>, Fault> {
        let start = Instant::now();
        let pace = || match start.elapsed() < MAX_TIME {
            true => Ok(()),
            false => Err(Fault::new(Code::DEADLINE_EXCEEDED, "comparing what is there took too long")),
        };
        let ground = Ground::new(roots, self.places())?;
        let mut imagined = Imagined::new(&ground, store.stand_ins()?, &pace);
        self.steps().iter().try_for_each(|step| imagined.take_back(step).map(drop))?;
        diffs(&ground, store, &imagined.targets()?, &pace)
    }
}

/// The diffs of the files among some names that change; none where none does.
pub(super) fn diffs(
    ground: &Ground<'_>,
    store: &Store,
    targets: &[Target],
    pace: Pace<'_>,
) -> Result<Option<String>, Fault> {
    let moves_away = |target: &Target| {
        let now = target.now().filter(|_| matches!(target.seen, Seen::Missing));
        now.is_some_and(|now| targets.iter().any(|other| other.takes(&now)))
    };
    let (mut told, mut left_out) = (String::new(), 0_usize);
    for target in targets {
        pace()?;
        if moves_away(target) {
            continue;
        }
        let sides = (now(ground, target)?, then(ground, store, target)?);
        let (Some(old), Some(new)) = sides else { continue };
        if matches!((&old, &new), (Side::Nothing, Side::Nothing)) {
            continue;
        }
        let diff = unified(&target.path, &old, &new);
        if told.len() + diff.len() > MAX_BYTES {
            left_out += 1;
        } else {
            told += &diff;
        }
    }
    if left_out > 0 {
        told += &format!("Not shown: {left_out} more files\n");
    }
    Ok(Some(told).filter(|told| !told.is_empty()))
}

/// What a name holds now, unless that is no file.
fn now(ground: &Ground<'_>, target: &Target) -> Result<Option<Side>, Fault> {
    target.now().map_or(Ok(Some(Side::Nothing)), |now| real(ground, &now))
}

/// What it will hold, unless that is no file or the file only moves there.
fn then(ground: &Ground<'_>, store: &Store, target: &Target) -> Result<Option<Side>, Fault> {
    match &target.seen {
        Seen::Missing => Ok(Some(Side::Nothing)),
        Seen::Real(from) => match now(ground, target)? {
            Some(Side::Text(_) | Side::Other { .. }) => real(ground, from),
            Some(Side::Nothing) | None => Ok(None),
        },
        Seen::Kept(Node { what: What::File { sha256, .. }, .. }) => {
            let content = Side::of_file(&store.content(sha256)?);
            content.map(Some).map_err(|e| read_failed("read what was kept of", &target.path, e))
        }
        Seen::Kept(Node { what: What::Directory {} | What::Symlink { .. } | What::Other {}, .. }) => Ok(None),
    }
}

fn real(ground: &Ground<'_>, path: &[u8]) -> Result<Option<Side>, Fault> {
    let Some((dir, item)) = ground.item(path)? else { return Ok(Some(Side::Nothing)) };
    match item.meta.kind {
        FileKind::Regular => {
            let content = Side::of_file(&open_met(&dir, &item)?);
            content.map(Some).map_err(|e| read_failed("read", path, e))
        }
        FileKind::Directory | FileKind::Symlink | FileKind::Special(_) => Ok(None),
    }
}
