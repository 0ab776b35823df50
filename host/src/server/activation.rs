//! Sockets that a service manager opened for the host (`sd_listen_fds(3)`): `LISTEN_FDS` from descriptor 3 on, named
//! `plan` and `approval` by `LISTEN_FDNAMES`.
//!
//! They hold to what the host would have made itself: listening Unix stream sockets at the configured paths, with the
//! same owner, group and modes. What does not fit keeps the host from starting.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use llm_os_core::error::excerpt;

use super::listen::{Access, ListenError, listen};

/// What was handed over; a socket that was not is opened by the host.
#[derive(Debug, Default)]
pub(crate) struct Activated {
    pub(crate) plan: Option<UnixListener>,
    pub(crate) approval: Option<UnixListener>,
}

impl Activated {
    /// Takes the sockets, once, and marks them to be closed in programs; the variables that tell of them are removed.
    ///
    /// # Errors
    ///
    /// A descriptor without one of the two names, twice the same, or what is no Unix stream socket.
    pub(crate) fn take() -> Result<Self, ListenError> {
        let ours = std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut handed = ListenFd::from_env();
        if !ours || handed.len() == 0 {
            return Ok(Self::default());
        }
        let names: Vec<&str> = names.split(':').collect();
        if names.len() != handed.len() {
            let (sockets, names) = (handed.len(), names.len());
            return Err(refused(format!("{sockets} sockets came with {names} names in LISTEN_FDNAMES")));
        }
        let mut taken = Self::default();
        for (index, name) in names.into_iter().enumerate() {
            let place = match name {
                "plan" => &mut taken.plan,
                "approval" => &mut taken.approval,
                other => return Err(refused(format!("one has the name \"{}\"", excerpt(other)))),
            };
            let socket = handed.take_unix_listener(index).map_err(|e| refused(format!("{name}: {e}")))?;
            if std::mem::replace(place, socket).is_some() {
                return Err(refused(format!("two have the name {name}")));
            }
        }
        Ok(taken)
    }
}

/// The socket that was handed over where it fits, else one that the host opens.
///
/// # Errors
///
/// One that was handed over and does not fit, or those of [`listen`].
pub(crate) fn listen_or_take(
    path: &Path,
    access: Access,
    handed: Option<UnixListener>,
) -> Result<UnixListener, ListenError> {
    let Some(listener) = handed else { return listen(path, access) };
    let unfit = |why: String| ListenError::Unfit { path: path.to_owned(), why };
    let bound = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    if bound.as_deref() != Some(path) {
        let bound = bound.unwrap_or_else(|| PathBuf::from("no path"));
        return Err(unfit(format!("is at {}: name the same path in both", bound.display())));
    }
    if !rustix::net::sockopt::socket_acceptconn(&listener).is_ok_and(|listens| listens) {
        return Err(unfit("does not listen".to_owned()));
    }
    let (directory_mode, socket_mode, group) = match access {
        Access::Own => (0o700, 0o600, None),
        Access::Group(gid) => (0o750, 0o660, Some(gid)),
    };
    let directory = path.parent().ok_or_else(|| unfit("is in no directory".to_owned()))?;
    for (place, mode) in [(directory, directory_mode), (path, socket_mode)] {
        let found = fs::symlink_metadata(place).map_err(|e| unfit(format!("cannot be looked at: {e}")))?;
        let is_socket = found.file_type().is_socket();
        if is_socket != (place == path) || !(is_socket || found.is_dir()) {
            return Err(unfit(format!("is not what lies at {}", place.display())));
        }
        let us = rustix::process::geteuid().as_raw();
        let (uid, gid, found) = (found.uid(), found.gid(), found.mode() & 0o7777);
        if uid != us || found != mode || group.is_some_and(|group| group != gid) {
            let group = group.map_or(String::new(), |group| format!(", group {group}"));
            return Err(unfit(format!(
                "{} has user {uid}, group {gid}, mode {found:04o}, expected user {us}{group}, mode {mode:04o}",
                place.display()
            )));
        }
    }
    let nonblocking = listener.set_nonblocking(true);
    nonblocking.map_err(|source| ListenError::Io { path: path.to_owned(), source })?;
    Ok(listener)
}

fn refused(why: String) -> ListenError {
    ListenError::Activation { why }
}
