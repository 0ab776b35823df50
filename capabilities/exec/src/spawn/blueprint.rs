//! What a launcher and its inits are to be, as data that is complete before they exist: they may not even allocate.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_uint};
use std::os::fd::RawFd;

use seccompiler::sock_filter;

use super::{Isolation, NO_FD};

/// Everything that is the same for the programs of one kind.
pub(crate) struct Blueprint {
    /// In which namespaces they live.
    pub(crate) isolation: Isolation,
    /// The root that they see; without one they see the host's.
    pub(crate) view: Option<View>,
    /// Whether they keep the host's network.
    pub(crate) network: bool,
    /// What Landlock holds them to.
    pub(crate) landlock: Option<Landlock>,
    /// The system calls that they may make.
    pub(crate) filter: Vec<sock_filter>,
    /// Limits as setrlimit(2) takes them.
    pub(crate) limits: Vec<(c_uint, libc::rlimit)>,
    /// How many processes one of them may have, as text for `/proc/sys/kernel/pid_max`, which counts within a PID
    /// namespace since Linux 6.14.
    pub(crate) processes: Option<CString>,
    /// The maps of a user namespace.
    pub(crate) maps: Option<[(&'static CStr, CString); 3]>,
}

/// A root that is put together in a mount namespace of its own.
pub(crate) struct View {
    /// A directory of the host on which the new root lies until it is one.
    pub(crate) scaffold: CString,
    /// What is shown of the host's files; cloned before anything is mounted.
    pub(crate) sources: Vec<Source>,
    /// Puts the root together, once; paths are relative to it.
    pub(crate) build: Vec<Op>,
    /// What each program has for itself; paths are absolute.
    pub(crate) each: Vec<Op>,
    /// Absolute paths that must be mounts: one whose file was replaced from outside is none any more.
    pub(crate) covers: Vec<CString>,
}

/// A file or directory of the host that is shown.
pub(crate) struct Source {
    pub(crate) path: CString,
    /// `MOUNT_ATTR_*` (mount_setattr(2)), for all mounts below.
    pub(crate) attributes: u64,
    /// Its clone, in the launcher.
    pub(crate) tree: Cell<RawFd>,
}

/// One step of putting a root together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Makes a directory, if it is not there.
    Directory { at: CString, mode: u32 },
    /// Makes a file with this content.
    File { at: CString, content: Vec<u8> },
    /// Makes a symbolic link.
    Link { at: CString, to: CString },
    /// Mounts an empty file system in memory.
    Memory { at: CString, options: CString },
    /// Mounts the processes of the PID namespace, and limits their number.
    Processes { at: CString },
    /// Mounts pseudoterminals that belong to nobody else (`devpts`).
    Terminals { at: CString },
    /// Takes what is mounted away.
    Away { at: CString },
    /// Shows a source.
    Show { source: usize, at: CString },
    /// Shows again what is shown elsewhere.
    Again { from: CString, at: CString },
    /// Makes one mount, or with `below` all of its mounts, read-only.
    Seal { at: CString, below: bool },
}

/// What Landlock (landlock(7)) holds a program to.
pub(crate) struct Landlock {
    /// `LANDLOCK_ACCESS_FS_*` that nothing is allowed of but by a rule.
    pub(crate) files: u64,
    /// The same for `LANDLOCK_ACCESS_NET_*`.
    pub(crate) network: u64,
    /// `LANDLOCK_SCOPE_*`.
    pub(crate) scopes: u64,
    /// What is allowed below a path.
    pub(crate) rules: Vec<Rule>,
    /// TCP ports that may be connected to.
    pub(crate) ports: Vec<u16>,
}

/// What is allowed below a path of the view.
pub(crate) struct Rule {
    pub(crate) path: CString,
    pub(crate) access: u64,
    /// Opened by each init, since it is what the init mounted for itself; else once by the launcher.
    pub(crate) own: bool,
    pub(crate) file: Cell<RawFd>,
}

impl Source {
    pub(crate) fn new(path: CString, attributes: u64) -> Self {
        Self { path, attributes, tree: Cell::new(NO_FD) }
    }
}

impl Rule {
    pub(crate) fn new(path: CString, access: u64, own: bool) -> Self {
        Self { path, access, own, file: Cell::new(NO_FD) }
    }
}
