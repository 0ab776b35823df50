//! The habits that every file of the state directory shares.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::OFlags;

use crate::audit::OpenError;

/// Makes `path` where it is missing, and checks that nobody else can put anything into it.
pub(crate) fn directory(path: &Path, forbidden: u32) -> Result<File, OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
    let directory = File::open(path).map_err(at(path))?;
    owned(path, &directory, forbidden)?;
    Ok(directory)
}

/// Gives a file of the host's own to a group, with this mode.
pub(super) fn give(path: &Path, file: &File, gid: u32, mode: u32) -> Result<(), OpenError> {
    let given =
        fchown(file, None, Some(gid)).and_then(|()| file.set_permissions(Permissions::from_mode(mode)));
    given.map_err(|e| OpenError::Unsafe {
        path: path.to_owned(),
        why: format!(
            "cannot be given to the group {gid} of audit.readers_group: {e}; the host's user must be a member of it"
        ),
    })
}

/// Checks that a file is the host's own, and without these permissions.
pub(crate) fn owned(path: &Path, file: &File, forbidden: u32) -> Result<(), OpenError> {
    let found = file.metadata().map_err(at(path))?;
    let refuse = |why: String| Err(OpenError::Unsafe { path: path.to_owned(), why });
    let uid = rustix::process::geteuid().as_raw();
    if found.uid() != uid {
        return refuse(format!(
            "belongs to uid {}, not to the host's own ({uid}): give it away or take it",
            found.uid()
        ));
    }
    if found.mode() & forbidden != 0 {
        let mode = found.mode() & 0o7777;
        return refuse(format!("has mode {mode:04o}, and others must not reach it: chmod go-rwx it"));
    }
    if found.is_file() && found.nlink() != 1 {
        return refuse(format!("has {} links: it must have one name only", found.nlink()));
    }
    if !found.is_file() && !found.is_dir() {
        return refuse("is not a regular file: move it away".to_owned());
    }
    Ok(())
}

/// How a file of the log is opened: by its owner alone, never through a link.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

/// Writes a file that is either not there or complete.
pub(super) fn write_whole(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = private().mode(mode).write(true).create(true).truncate(true).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(parent)?.sync_all()
}

/// Names the path that an error is about.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError + '_ {
    move |source| OpenError::Io { path: path.to_owned(), source }
}
