//! The few system calls that everything here rests on: a lookup that cannot leave its directory, the path that an
//! open descriptor really has, and reopening exactly what is already open.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

/// Opens `path` below `dir`: not above it, not through magic links, not into another mount (openat2(2)).
///
/// A lookup that a rename of one of its directories disturbs is answered `EAGAIN`, and tried again a few times.
pub(crate) fn open_below(dir: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    open_by(dir, path, flags, ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV)
}

/// The same where no part of the path may be a symlink.
pub(crate) fn open_without_symlinks(dir: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    open_by(dir, path, flags, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV)
}

fn open_by(dir: impl AsFd, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    const TRIES: usize = 16;
    let path = if path.is_empty() { b"." } else { path };
    let open = || fs::openat2(dir.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
    (1..TRIES).map(|_| open()).find(|o| !matches!(o, Err(Errno::AGAIN | Errno::INTR))).unwrap_or_else(open)
}

/// Opens the entry `name` of `dir` itself, even where it is a symlink.
pub(crate) fn open_entry(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    open_below(dir, name, OFlags::PATH | OFlags::NOFOLLOW)
}

/// Opens the directory that is the entry `name` of `dir`, to read its names and to sync it.
pub(crate) fn open_directory(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    open_below(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
}

/// The descriptors of this process, as the kernel shows them in `/proc/self/fd`.
#[derive(Debug)]
pub(crate) struct Descriptors(OwnedFd);

impl Descriptors {
    /// Opens `/proc/self/fd`, and makes sure that it is procfs and not something that was put there.
    pub(crate) fn open() -> Result<Self, Errno> {
        const PROC_SUPER_MAGIC: u64 = 0x9fa0;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::openat(fs::CWD, c"/proc/self/fd", flags, Mode::empty())?;
        if magic_of(&fd)? == PROC_SUPER_MAGIC { Ok(Self(fd)) } else { Err(Errno::NODEV) }
    }

    /// What the kernel says the path of `fd` is; with ` (deleted)` at its end where it has none any more.
    pub(crate) fn path_of(&self, fd: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
        Ok(fs::readlinkat(&self.0, number(fd).as_str(), Vec::with_capacity(256))?.into_bytes())
    }

    /// Opens what `fd` is open on once more, for use. No name is looked up. A FIFO or a terminal that took the
    /// file's place neither blocks nor becomes the controlling terminal.
    pub(crate) fn reopen(&self, fd: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        fs::openat(&self.0, number(fd).as_str(), flags, Mode::empty())
    }
}

fn number(fd: BorrowedFd<'_>) -> String {
    fd.as_raw_fd().to_string()
}

/// What statfs(2) says the type of the file system is.
pub(crate) fn magic_of(fd: impl AsFd) -> Result<u64, Errno> {
    // The field is signed, unsigned, and 32 or 64 bits wide depending on the platform; the magic numbers are 32 bits.
    Ok((fs::fstatfs(fd)?.f_type as u64) & 0xffff_ffff)
}

/// What a thing in the file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    Directory,
    Symlink,
    /// A FIFO, a socket or a device.
    Special(&'static str),
}

/// What statx(2) tells, as far as it is used here.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) kind: FileKind,
    pub(crate) bytes: u64,
    pub(crate) links: u32,
    pub(crate) permissions: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    pub(crate) born: Time,
    pub(crate) changed: Time,
    pub(crate) modified: Time,
}

/// Seconds and nanoseconds since 1970.
pub(crate) type Time = (i64, u32);

impl Meta {
    /// Of an open descriptor.
    pub(crate) fn of(fd: impl AsFd) -> Result<Self, Errno> {
        Self::at(fd, b"")
    }

    /// Of the entry `name` of `dir` itself, even where it is a symlink.
    pub(crate) fn at(dir: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let stat = fs::statx(dir, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
        let mode = stat.stx_mode;
        Ok(Self {
            kind: match fs::FileType::from_raw_mode(mode.into()) {
                fs::FileType::RegularFile => FileKind::Regular,
                fs::FileType::Directory => FileKind::Directory,
                fs::FileType::Symlink => FileKind::Symlink,
                fs::FileType::Fifo => FileKind::Special("a FIFO"),
                fs::FileType::Socket => FileKind::Special("a socket"),
                fs::FileType::CharacterDevice | fs::FileType::BlockDevice => FileKind::Special("a device"),
                fs::FileType::Unknown => FileKind::Special("of an unknown type"),
            },
            bytes: stat.stx_size,
            links: stat.stx_nlink,
            permissions: mode & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            born: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        })
    }

    /// Whether both are the same inode. The time of birth tells an inode number that was given out again.
    pub(crate) fn same(&self, other: &Self) -> bool {
        (self.device, self.inode, self.born) == (other.device, other.inode, other.born)
    }

    /// The same as a text.
    pub(crate) fn id(&self) -> String {
        let ((major, minor), (seconds, nanos)) = (self.device, self.born);
        format!("{major}:{minor}:{}:{seconds}.{nanos}", self.inode)
    }

    /// Whether this is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Whether the file has other names than the one that a plan gives, perhaps outside the roots: openat2 does not
    /// see hard links.
    pub(crate) fn has_other_names(&self) -> bool {
        self.links > 1 && !self.is_directory()
    }
}
