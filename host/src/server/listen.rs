//! Where the sockets lie and who may reach them.
//!
//! Each socket has a directory of its own, made 0700 before anything is bound in it, so that there is no moment in
//! which another user could connect. With other users listed the directory is 0750 and the socket 0660, both with the
//! configured group; who may speak is decided by `SO_PEERCRED` all the same.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Who may reach a socket besides the host's own user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nobody.
    Own,
    /// Members of this group.
    Group(u32),
}

/// Why a socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(
        "{path} is in use by a running llm-osd: stop it, or choose another --socket and --approval-socket"
    )]
    Running { path: PathBuf },
    #[error("{path} exists and {why}: it is not removed; choose another path")]
    Taken { path: PathBuf, why: &'static str },
    #[error("the directory {path} {why}")]
    Directory { path: PathBuf, why: String },
    #[error("cannot open {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the sockets of the service manager: {why}; expected Unix stream sockets with FileDescriptorName=plan and approval"
    )]
    Activation { why: String },
    #[error("the socket of the service manager for {path} {why}; see the socket units of llm-osd")]
    Unfit { path: PathBuf, why: String },
}

/// Opens a listening socket.
///
/// # Errors
///
/// A directory that others can write to, or a path that is anything but a stale socket of this user.
pub(crate) fn listen(path: &Path, access: Access) -> Result<UnixListener, ListenError> {
    let io_error = |source| ListenError::Io { path: path.to_owned(), source };
    let directory = path.parent().filter(|p| path.is_absolute() && !p.as_os_str().is_empty());
    let directory = directory.ok_or_else(|| io_error(io::Error::other("the path must be absolute")))?;
    prepare(directory, access)?;
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(io_error)?;
    let mode = match access {
        Access::Own => 0o600,
        Access::Group(gid) => {
            chown(path, None, Some(gid)).map_err(io_error)?;
            0o660
        }
    };
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io_error)?;
    listener.set_nonblocking(true).map_err(io_error)?;
    Ok(listener)
}

fn prepare(directory: &Path, access: Access) -> Result<(), ListenError> {
    let refused = |why: String| ListenError::Directory { path: directory.to_owned(), why };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|e| refused(format!("cannot be made: {e}")))?;
    let found = fs::symlink_metadata(directory).map_err(|e| refused(format!("cannot be read: {e}")))?;
    if !found.is_dir() {
        return Err(refused("is not a directory".to_owned()));
    }
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us {
        return Err(refused(format!("belongs to user {}, not to {us}", found.uid())));
    }
    let (mode, gid) = match access {
        Access::Own => (0o700, None),
        Access::Group(gid) => (0o750, Some(gid)),
    };
    if let Some(gid) = gid {
        chown(directory, None, Some(gid))
            .map_err(|e| refused(format!("cannot be given to group {gid}: {e}")))?;
    }
    let set = fs::set_permissions(directory, Permissions::from_mode(mode));
    set.map_err(|e| refused(format!("cannot be made {mode:o}: {e}")))
}

/// Removes a socket of ours that nobody listens on; refuses everything else.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let io_error = |source| ListenError::Io { path: path.to_owned(), source };
    let taken = |why| Err(ListenError::Taken { path: path.to_owned(), why });
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io_error(e)),
    };
    if !found.file_type().is_socket() {
        return taken("is not a socket");
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return taken("belongs to another user");
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(io_error),
        Ok(_) => Err(ListenError::Running { path: path.to_owned() }),
        Err(e) => Err(io_error(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_of_ours_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan/plan.sock");
        let first = listen(&path, Access::Own).unwrap();
        assert!(matches!(listen(&path, Access::Own), Err(ListenError::Running { .. })));
        drop(first);
        listen(&path, Access::Own).unwrap();
    }

    #[test]
    fn what_is_not_a_socket_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "precious").unwrap();
        for name in ["file", "link", "dangling"] {
            let path = dir.path().join("d").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match name {
                "file" => fs::write(&path, "precious").unwrap(),
                "link" => std::os::unix::fs::symlink(&target, &path).unwrap(),
                _ => std::os::unix::fs::symlink("/nowhere/at/all", &path).unwrap(),
            }
            assert!(matches!(listen(&path, Access::Own), Err(ListenError::Taken { .. })), "{name}");
            assert!(fs::symlink_metadata(&path).is_ok(), "{name}");
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn the_directory_is_closed_before_the_socket_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("open");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o777)).unwrap();
        let path = place.join("plan.sock");
        listen(&path, Access::Own).unwrap();
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn other_users_reach_a_socket_only_through_its_group() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan/plan.sock");
        let gid = rustix::process::getegid().as_raw();
        listen(&path, Access::Group(gid)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o750);
    }
}
