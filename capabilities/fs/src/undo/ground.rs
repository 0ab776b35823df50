//! What is really there, opened below the directories that were opened when the undo was judged.

use std::os::fd::{BorrowedFd, OwnedFd};

use llm_os_core::Fault;
use rustix::fs::{Dir, OFlags};
use rustix::io::Errno;

use super::capture;
use super::node::Node;
use super::store::Pace;
use crate::fault::{read_failed, target_changed};
use crate::kernel::{Meta, open_without_symlinks};
use crate::roots::{Entry, Handle, Roots, Slot, is_below};
use crate::tree::Item;

/// The directories that were judged, by their real paths.
pub(crate) struct Ground<'a> {
    anchors: Vec<(&'a [u8], BorrowedFd<'a>)>,
}

impl<'a> Ground<'a> {
    /// Of places that were judged, each of which must still be what it was then.
    pub(crate) fn new(roots: &Roots, places: &'a [Slot]) -> Result<Self, Fault> {
        let mut anchors = Vec::new();
        let mut anchor = |handle: &'a Handle| {
            roots.still_there(handle)?;
            anchors.push((handle.path.as_slice(), handle.fd()));
            Ok::<_, Fault>(())
        };
        for place in places {
            match place {
                Slot::NoDirectory(missing) => anchor(&missing.above)?,
                Slot::Entry(Entry { dir, name, occupant }) => {
                    anchor(dir)?;
                    let is_judged = match (Meta::at(dir.fd(), name), occupant) {
                        (Ok(now), Some(judged)) => now.same(&judged.meta),
                        (Err(Errno::NOENT), None) => true,
                        (Ok(_) | Err(_), _) => false,
                    };
                    if !is_judged {
                        return Err(target_changed(&place.path()));
                    }
                    if let Some(judged) = occupant.as_ref().filter(|judged| judged.meta.is_directory()) {
                        anchor(judged)?;
                    }
                }
            }
        }
        Ok(Self { anchors })
    }

    /// Opens a directory by its real path; a symlink on the way is not followed.
    pub(crate) fn directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let above = self.anchors.iter().filter(|(anchor, _)| is_below(path, anchor));
        let (anchor, fd) = above.max_by_key(|(anchor, _)| anchor.len()).ok_or(Errno::NOENT)?;
        let rest = &path[anchor.len()..];
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        open_without_symlinks(fd, rest, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
    }

    /// What has this real path, and the directory that holds it.
    pub(crate) fn item(&self, path: &[u8]) -> Result<Option<(OwnedFd, Item)>, Fault> {
        let (above, name) = split(path);
        let found = self.directory(above).and_then(|dir| Ok((Meta::at(&dir, name)?, dir)));
        match found {
            Ok((meta, dir)) => {
                let item = Item { name: name.to_vec(), path: path.to_vec(), meta, covered: true };
                Ok(Some((dir, item)))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
            Err(e) => Err(read_failed("look at", path, e)),
        }
    }

    /// The same as a node, what it holds included.
    pub(crate) fn node(&self, path: &[u8], pace: Pace<'_>) -> Result<Option<Node>, Fault> {
        let found = self.item(path)?;
        found.map(|(dir, item)| capture::node(dir, &item, None, pace)).transpose()
    }

    /// The names in a directory.
    pub(crate) fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        let failed = |e| read_failed("read the directory", path, e);
        let mut names = Vec::new();
        for entry in Dir::read_from(self.directory(path).map_err(failed)?).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// The path of the directory that holds what is at a path, and its name there.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(0) => (b"/", &path[1..]),
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
