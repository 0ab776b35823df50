//! Atomic changes of one name in a directory: what is new is complete and on disk before it gets the name, and what is
//! replaced or removed is compared with what was judged before it is gone.
//!
//! All of it happens under an unpredictable name in the same directory, next to what it is for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use llm_os_core::Fault;
use llm_os_core::value::hex;
use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::fault::{WRITE_FAILED, target_changed, write_failed};
use crate::kernel::{Meta, open_below, open_directory};
use crate::roots::{Entry, sync};
use crate::undo::{Keep, is_kept};

/// A new file or directory that has no name of its own yet. Dropped before it is published, it is removed.
pub(crate) struct Staged<'a> {
    place: &'a Entry,
    name: Vec<u8>,
    fd: OwnedFd,
    dir: OwnedFd,
    published: bool,
}

impl<'a> Staged<'a> {
    /// An empty file beside the entry that it is for, open for writing, and for reading what was written.
    pub(crate) fn file(place: &'a Entry) -> Result<Self, Fault> {
        Self::create(place, |dir, name| {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
        })
    }

    /// An empty directory beside the entry that it is for.
    pub(crate) fn directory(place: &'a Entry) -> Result<Self, Fault> {
        Self::create(place, |dir, name| {
            fs::mkdirat(dir, name, Mode::RWXU)?;
            open_directory(dir, name)
        })
    }

    fn create(
        place: &'a Entry,
        make: impl FnOnce(BorrowedFd<'_>, &[u8]) -> Result<OwnedFd, Errno>,
    ) -> Result<Self, Fault> {
        let failed = |e| write_failed("create a file beside", &place.path(), e);
        let dir = open_to_sync(place)?;
        let name = temporary_name()?;
        let fd = make(place.dir.fd(), &name).map_err(failed)?;
        Ok(Self { place, name, fd, dir, published: false })
    }

    /// What was staged.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Writes all of `content`.
    pub(crate) fn write(&self, content: &[u8]) -> Result<(), Fault> {
        write_all(&self.fd, content).map_err(|e| write_failed("write", &self.place.path(), e))
    }

    /// Gives it permissions, and the owner of what it replaces.
    pub(crate) fn attribute(&self, permissions: u16, replaces: Option<&Meta>) -> Result<(), Fault> {
        let failed = |e| write_failed("keep the owner and permissions of", &self.place.path(), e);
        if let Some(old) = replaces {
            let own = Meta::of(&self.fd).map_err(failed)?;
            if (own.uid, own.gid) != (old.uid, old.gid) {
                let (uid, gid) =
                    (rustix::process::Uid::from_raw(old.uid), rustix::process::Gid::from_raw(old.gid));
                fs::fchown(&self.fd, Some(uid), Some(gid)).map_err(failed)?;
            }
        }
        fs::fchmod(&self.fd, Mode::from_raw_mode(u32::from(permissions & 0o777))).map_err(failed)
    }

    /// Gives it the name that it is for: a new one, or that of the occupant, which is then gone.
    pub(crate) fn publish(mut self, keep: &Keep<'_>) -> Result<(), Fault> {
        let path = self.place.path();
        fs::fsync(&self.fd).map_err(|e| write_failed("write", &path, e))?;
        let kept = keep.put(self.place, &self.name)?;
        match &self.place.occupant {
            None => {
                rename(
                    &self.place.dir,
                    &self.name,
                    &self.place.dir,
                    &self.place.name,
                    RenameFlags::NOREPLACE,
                )
                .map_err(|e| write_failed("create", &path, e))?;
                self.published = true;
            }
            Some(judged) => {
                let dir = &self.place.dir;
                exchange(dir, &self.name, &self.place.name, &path)?;
                let came_out = Meta::at(dir.fd(), &self.name);
                if !came_out.is_ok_and(|old| old.same(&judged.meta)) || !is_kept(&kept, dir, &self.name) {
                    exchange(dir, &self.name, &self.place.name, &path)?;
                    // Only what was staged here is removed on drop; should yet another file have come out, it stays.
                    let own =
                        Meta::of(&self.fd).and_then(|own| Ok(own.same(&Meta::at(dir.fd(), &self.name)?)));
                    self.published = !own.unwrap_or(false);
                    return Err(target_changed(&path));
                }
                self.published = true;
                fs::unlinkat(dir.fd(), self.name.as_slice(), AtFlags::empty())
                    .map_err(|e| write_failed("remove the old content of", &path, e))?;
            }
        }
        sync(&self.dir, &path)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        let dir = self.place.dir.fd();
        let removed = match fs::unlinkat(dir, self.name.as_slice(), AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => crate::remove::remove_now(dir, &self.name),
            other => other,
        };
        if let Err(e) = removed {
            tracing::warn!(error = %e, "A temporary file could not be removed.");
        }
    }
}

/// An entry that was moved aside under a temporary name. Dropped before it is let go, it is put back.
pub(crate) struct Aside<'a> {
    place: &'a Entry,
    name: Vec<u8>,
    gone: bool,
}

impl<'a> Aside<'a> {
    /// Moves the occupant aside, and makes sure that it is the judged one.
    pub(crate) fn take(place: &'a Entry, judged: &Meta) -> Result<Self, Fault> {
        let name = temporary_name()?;
        rename(&place.dir, &place.name, &place.dir, &name, RenameFlags::NOREPLACE)
            .map_err(|e| write_failed("remove", &place.path(), e))?;
        let aside = Self { place, name, gone: false };
        match Meta::at(place.dir.fd(), &aside.name) {
            Ok(found) if found.same(judged) => Ok(aside),
            _ => Err(target_changed(&place.path())),
        }
    }

    /// The temporary name.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Removes it: a file, or a directory that is empty.
    pub(crate) fn remove(mut self, is_directory: bool) -> Result<(), Fault> {
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        fs::unlinkat(self.place.dir.fd(), self.name.as_slice(), flags)
            .map_err(|e| write_failed("remove", &self.place.path(), e))?;
        self.gone = true;
        Ok(())
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        let dir = &self.place.dir;
        if let Err(e) = rename(dir, &self.name, dir, &self.place.name, RenameFlags::NOREPLACE) {
            tracing::error!(error = %e, name = %String::from_utf8_lossy(&self.name), "An entry could not be put back.");
        }
    }
}

/// Renames one entry, from directory descriptor to directory descriptor.
pub(crate) fn rename(
    from: &crate::roots::Handle,
    name: &[u8],
    to: &crate::roots::Handle,
    new: &[u8],
    flags: RenameFlags,
) -> Result<(), Errno> {
    fs::renameat_with(from.fd(), name, to.fd(), new, flags)
}

fn exchange(dir: &crate::roots::Handle, one: &[u8], other: &[u8], path: &[u8]) -> Result<(), Fault> {
    rename(dir, one, dir, other, RenameFlags::EXCHANGE).map_err(|e| match e {
        Errno::NOENT => target_changed(path),
        e => write_failed("replace", path, e),
    })
}

/// The directory of an entry, open so that what changes in it can be made durable.
pub(crate) fn open_to_sync(place: &Entry) -> Result<OwnedFd, Fault> {
    open_below(place.dir.fd(), b"", OFlags::RDONLY | OFlags::DIRECTORY)
        .map_err(|e| write_failed("open the directory of", &place.path(), e))
}

/// Writes all of it, however often the kernel takes only a part.
pub(crate) fn write_all(fd: impl AsFd, mut content: &[u8]) -> Result<(), Errno> {
    while !content.is_empty() {
        match rustix::io::write(&fd, content) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => content = &content[written..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A name that nobody can have put there before.
pub(crate) fn temporary_name() -> Result<Vec<u8>, Fault> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|e| Fault::new(WRITE_FAILED, format!("the system gives no random numbers: {e}")))?;
    Ok(format!(".llm-os-{}.tmp", hex(&random)).into_bytes())
}
