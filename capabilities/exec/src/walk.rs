//! From a path to the one file that it names, opened once: component by component, so that each link on the way and
//! the owner of each directory is seen.

use std::os::fd::{AsRawFd, OwnedFd};

use llm_os_core::error::excerpt;
use llm_os_core::path::spell;
use llm_os_core::{Code, Fault};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::{EXEC_FAILED, EXEC_NOT_FOUND};

/// The most symlinks on the way, as in the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The file at the end of a path.
pub(crate) struct Found {
    /// Opened with `O_PATH`: nothing of it was read.
    pub(crate) file: OwnedFd,
    /// Its absolute path without links, as the kernel tells it.
    pub(crate) real: Vec<u8>,
    /// Of `file`.
    pub(crate) stat: Stat,
    /// Whether nobody but root can change it or put another in its place.
    pub(crate) trusted: bool,
}

/// Follows an absolute path to a file, over links of root only.
pub(crate) fn walk(path: &[u8]) -> Result<Found, Fault> {
    let mut trail = vec![Step::open_root().map_err(|e| refused(path, e))?];
    let mut pending: Vec<Vec<u8>> = Vec::new();
    push(&mut pending, path);
    let mut links = 0;
    while let Some(name) = pending.pop() {
        let here = trail.last().expect("the root is never left");
        if !here.is(FileType::Directory) {
            return Err(refused(path, Errno::NOTDIR));
        }
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => trail.truncate((trail.len() - 1).max(1)),
            _ => {
                let step = here.open(&name).map_err(|e| refused(path, e))?;
                if !step.is(FileType::Symlink) {
                    trail.push(step);
                    continue;
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(refused(path, Errno::LOOP));
                }
                let target = step.target(path)?;
                if target.first() == Some(&b'/') {
                    trail.truncate(1);
                }
                push(&mut pending, &target);
            }
        }
    }
    let real =
        trail.iter().skip(1).flat_map(|step| [b"/", step.name.as_slice()].concat()).collect::<Vec<_>>();
    let trusted = trail.iter().all(Step::only_root_changes);
    let Step { fd: file, stat, .. } = trail.pop().expect("the root is never left");
    if read_back(&file).map_err(|e| refused(path, e))? != real && !real.is_empty() {
        return Err(Fault::new(
            EXEC_FAILED,
            format!("{} was moved while it was opened; send the plan again", shown(path)),
        ));
    }
    Ok(Found { file, real, stat, trusted })
}

/// The path of an open file as the kernel tells it.
pub(crate) fn read_back(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    rustix::fs::readlink(format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new())
        .map(std::ffi::CString::into_bytes)
}

/// Puts the components of `path` on the stack, the first on top.
fn push(pending: &mut Vec<Vec<u8>>, path: &[u8]) {
    pending.extend(path.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
}

/// One component, opened.
struct Step {
    name: Vec<u8>,
    fd: OwnedFd,
    stat: Stat,
}

impl Step {
    fn open_root() -> Result<Self, Errno> {
        let fd = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { name: Vec::new(), stat: rustix::fs::fstat(&fd)?, fd })
    }

    fn open(&self, name: &[u8]) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&self.fd, name, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
        Ok(Self { name: name.to_vec(), stat: rustix::fs::fstat(&fd)?, fd })
    }

    fn is(&self, file_type: FileType) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == file_type
    }

    /// Access control lists count: where one grants writing, the group bits show it (acl(5)).
    fn only_root_changes(&self) -> bool {
        self.stat.st_uid == 0 && self.stat.st_mode & 0o022 == 0
    }

    /// Where a link leads, if it is one that may be followed.
    fn target(&self, path: &[u8]) -> Result<Vec<u8>, Fault> {
        let system = rustix::fs::fstatfs(&self.fd).map_err(|e| refused(path, e))?;
        if system.f_type == rustix::fs::PROC_SUPER_MAGIC {
            return Err(Fault::denied(format!(
                "{} leads over a link in /proc, which names no file of its own",
                shown(path)
            )));
        }
        if self.stat.st_uid != 0 {
            let link = excerpt(&String::from_utf8_lossy(&self.name));
            let message =
                format!("{} leads over the link \"{link}\", which belongs to another than root", shown(path));
            return Err(Fault::denied(format!("{message}: name the program by its own path")));
        }
        let target = rustix::fs::readlinkat(&self.fd, "", Vec::new()).map_err(|e| refused(path, e))?;
        Ok(target.into_bytes())
    }
}

/// Opens a directory to work in.
pub(crate) fn open_directory(path: &[u8]) -> Result<Found, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || {
        let file = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
        let (real, stat) = (read_back(&file)?, rustix::fs::fstat(&file)?);
        Ok(Found { file, real, stat, trusted: false })
    };
    open().map_err(|e| refused(path, e))
}

fn shown(path: &[u8]) -> String {
    format!("\"{}\"", excerpt(&spell(path)))
}

fn refused(path: &[u8], e: Errno) -> Fault {
    let path = shown(path);
    match e {
        Errno::NOENT => Fault::new(EXEC_NOT_FOUND, format!("{path} does not exist")),
        Errno::NOTDIR => {
            Fault::new(EXEC_NOT_FOUND, format!("{path} does not exist: a part of it is no directory"))
        }
        Errno::LOOP => {
            Fault::new(Code::POLICY_DENIED, format!("{path} leads over too many links, or over one in /proc"))
        }
        Errno::ACCESS | Errno::PERM => {
            Fault::new(EXEC_FAILED, format!("{path} cannot be reached: permission denied"))
        }
        other => Fault::new(EXEC_FAILED, format!("{path} cannot be opened: {other}")),
    }
}
