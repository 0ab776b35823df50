//! A file that takes the output of a pipe: found below a root as `fs.write` finds it, judged as it is judged there, and
//! written beside its place before it gets its name.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use llm_os_core::capability::Mode as RootMode;
use llm_os_core::error::excerpt;
use llm_os_core::path::{WirePath, spell};
use llm_os_core::value::hex;
use llm_os_core::{Effect, Fact, Fault, Identity, Resource, Setup, Verb, file};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Statx, StatxFlags, Uid};
use rustix::io::Errno;

use crate::run::{Refused, Sink};
use crate::{EXEC_LIMIT_EXCEEDED, WRITE_FAILED, walk};

/// The directories below which plans may name files, opened once.
pub(crate) struct Roots(Vec<Root>);

struct Root {
    path: Vec<u8>,
    mode: RootMode,
    /// Not there where it could not be opened; it still counts as the root of what lies below.
    fd: Option<OwnedFd>,
}

/// A name in a directory, and what has it.
pub(crate) struct Target {
    directory: OwnedFd,
    /// The real path of the directory, and of the file.
    above: Vec<u8>,
    path: Vec<u8>,
    name: Vec<u8>,
    occupant: Option<Statx>,
    identity: Identity,
}

impl Roots {
    pub(crate) fn open(setup: &Setup) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |root: &llm_os_core::capability::Root| Root {
            path: root.path.as_os_str().as_bytes().to_vec(),
            mode: root.mode,
            fd: rustix::fs::open(&root.path, flags, Mode::empty()).ok(),
        };
        Self(setup.roots.iter().map(open).collect())
    }

    /// Opens the directory of a path, and what has its name there. Faults are about `stdout_file`.
    pub(crate) fn target(&self, path: &WirePath) -> Result<Target, Fault> {
        self.find(&path.bytes("stdout_file")?).map_err(|fault| fault.at("stdout_file"))
    }

    fn find(&self, path: &[u8]) -> Result<Target, Fault> {
        let shown = shown(path);
        if names(path).any(|name| name == b"..") {
            return Err(Fault::denied(format!("{shown} climbs by \"..\": name the path itself")));
        }
        let Some(root) = self.deepest(path) else {
            return Err(Fault::denied(format!("{shown} is below no root")));
        };
        let failed = |e: Errno| match e {
            Errno::XDEV | Errno::LOOP => Fault::denied(format!(
                "{shown} leaves its root (by a symlink or into another mount), or its symlinks run in a circle"
            )),
            Errno::NOENT | Errno::NOTDIR => Fault::new(
                WRITE_FAILED,
                format!("the directory of {shown} does not exist: create it with fs.mkdir"),
            ),
            e => write_failed("look up", path, e),
        };
        let Some(fd) = &root.fd else { return Err(failed(Errno::ACCESS)) };
        let below: Vec<_> = names(path).skip(names(&root.path).count()).collect();
        let Some((name, above)) = below.split_last() else {
            return Err(Fault::denied(format!("{shown} is a root itself: name something below it")));
        };
        let directory =
            open_below(fd, &above.join(&b'/'), OFlags::PATH | OFlags::DIRECTORY).map_err(failed)?;
        let above = walk::read_back(&directory).map_err(failed)?;
        // A symlink, or an outer root, does not lead around a root for reading that lies inside one for writing.
        for real in [&above, &path.to_vec()] {
            if self.deepest(real).is_none_or(|root| root.mode == RootMode::Read) {
                return Err(Fault::denied(format!("{shown} is not below a root for writing")));
            }
        }
        let (path, occupant) = match open_below(&directory, name, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT) => (join(&above, name), None),
            Err(e) => return Err(failed(e)),
            Ok(fd) => {
                let occupant = stat(&fd, b"").map_err(failed)?;
                if FileType::from_raw_mode(occupant.stx_mode.into()) != FileType::RegularFile {
                    let message = format!("{shown} is there and no regular file: name another path");
                    return Err(Fault::denied(message));
                }
                (walk::read_back(&fd).map_err(failed)?, Some(occupant))
            }
        };
        let identity = match &occupant {
            Some(occupant) => identity(occupant),
            None => {
                let above = identity(&stat(&directory, b"").map_err(failed)?);
                format!("absent:{above}:{}", spell(name))
            }
        };
        let identity = Identity::new(identity);
        Ok(Target { directory, above, path, name: name.to_vec(), occupant, identity })
    }

    /// The deepest root that holds a path, component by component: it says what may be done there.
    fn deepest(&self, path: &[u8]) -> Option<&Root> {
        let holds = |root: &&Root| {
            let mut names_of_path = names(path);
            names(&root.path).all(|name| names_of_path.next() == Some(name))
        };
        self.0.iter().filter(holds).max_by_key(|root| names(&root.path).count())
    }
}

impl Target {
    /// The effect of writing it, as `fs.write` states it.
    pub(crate) fn effect(&self) -> Effect {
        let links = self.occupant.as_ref().map_or(0, |occupant| occupant.stx_nlink);
        let file_type = if self.occupant.is_some() { "file" } else { "missing" };
        let effect = Effect::new(Verb::Change, Resource::path(&self.path), self.identity.clone())
            .fact("exists", Fact::Bool(self.occupant.is_some()))
            .fact("file_type", Fact::Text(file_type.to_owned()))
            .fact("links", Fact::Long(links.into()))
            .fact("persistent", Fact::Bool(file::is_persistent(&self.path)));
        match links {
            0 | 1 => effect,
            _ => effect.asks(format!("the file has {links} names (hard links), perhaps outside the roots")),
        }
    }

    /// Makes an empty file beside it.
    pub(crate) fn fill(self, limit: u64) -> Result<Filling, Fault> {
        let failed = |e| write_failed("create a file beside", &self.path, e);
        if walk::read_back(&self.directory) != Ok(self.above.clone()) {
            return Err(changed(&self.path));
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random)
            .map_err(|e| Fault::new(WRITE_FAILED, format!("the system gives no random numbers: {e}")))?;
        let temporary = format!(".llm-os-{}.tmp", hex(&random)).into_bytes();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.directory, temporary.as_slice(), flags, Mode::RUSR | Mode::WUSR);
        let fd = fd.map_err(failed)?;
        Ok(Filling { target: self, temporary, fd, limit, bytes: 0, failed: None, published: false })
    }
}

/// A file that is being written and has no name of its own yet. Dropped before it is published, it is removed.
pub(crate) struct Filling {
    target: Target,
    temporary: Vec<u8>,
    fd: OwnedFd,
    limit: u64,
    bytes: u64,
    failed: Option<Fault>,
    published: bool,
}

impl Sink for Filling {
    fn take(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        let written = if self.bytes + chunk.len() as u64 > self.limit {
            let limit = self.limit;
            let message = format!(
                "the pipe wrote more than {limit} bytes, file_bytes, which [capabilities.exec.sandbox] sets"
            );
            Err(Fault::new(EXEC_LIMIT_EXCEEDED, message))
        } else {
            write_all(&self.fd, chunk).map_err(|e| write_failed("write", &self.target.path, e))
        };
        self.bytes += chunk.len() as u64;
        written.map_err(|fault| {
            self.failed = Some(fault);
            Refused
        })
    }
}

impl Filling {
    /// What went wrong while it was written, if anything did.
    pub(crate) fn take_failure(&mut self) -> Option<Fault> {
        self.failed.take()
    }

    /// Gives it its name; yields its path and length. What has that name is exchanged, compared with what was judged, and
    /// put back where it is another.
    pub(crate) fn publish(mut self) -> Result<(String, u64), Fault> {
        const NEW: u32 = 0o644;
        let Target { directory, path, name, occupant, .. } = &self.target;
        let failed = |e| write_failed("write", path, e);
        let mode = match occupant {
            Some(old) => {
                let own = stat(&self.fd, b"").map_err(failed)?;
                if (own.stx_uid, own.stx_gid) != (old.stx_uid, old.stx_gid) {
                    let (uid, gid) = (Uid::from_raw(old.stx_uid), Gid::from_raw(old.stx_gid));
                    rustix::fs::fchown(&self.fd, Some(uid), Some(gid)).map_err(failed)?;
                }
                u32::from(old.stx_mode) & 0o777
            }
            None => NEW,
        };
        rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode)).map_err(failed)?;
        rustix::fs::fdatasync(&self.fd).map_err(failed)?;
        let rename = |how| {
            let (from, to) = (self.temporary.as_slice(), name.as_slice());
            rustix::fs::renameat_with(directory, from, directory, to, how)
        };
        match occupant {
            None => match rename(RenameFlags::NOREPLACE) {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(changed(path)),
                Err(e) => return Err(failed(e)),
            },
            Some(judged) => {
                match rename(RenameFlags::EXCHANGE) {
                    Ok(()) => {}
                    Err(Errno::NOENT) => return Err(changed(path)),
                    Err(e) => return Err(failed(e)),
                }
                if stat(directory, &self.temporary).is_ok_and(|out| identity(&out) != identity(judged)) {
                    rename(RenameFlags::EXCHANGE).map_err(failed)?;
                    return Err(changed(path));
                }
                rustix::fs::unlinkat(directory, self.temporary.as_slice(), AtFlags::empty())
                    .map_err(failed)?;
            }
        }
        let told = (spell(path), self.bytes);
        let opened = open_below(directory, b"", OFlags::RDONLY | OFlags::DIRECTORY);
        let synced = opened.and_then(rustix::fs::fsync).map_err(failed);
        self.published = true;
        synced.map(|()| told)
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        // Only what was made here is removed: what came out of an exchange that could not be undone stays.
        let directory = &self.target.directory;
        let is_own = stat(&self.fd, b"")
            .and_then(|own| Ok(identity(&own) == identity(&stat(directory, &self.temporary)?)));
        if is_own == Ok(true)
            && let Err(e) = rustix::fs::unlinkat(directory, self.temporary.as_slice(), AtFlags::empty())
        {
            tracing::warn!(error = %e, "A temporary file could not be removed.");
        }
    }
}

fn changed(path: &[u8]) -> Fault {
    let message =
        format!("{} was changed by somebody else since it was judged; send the plan anew", shown(path));
    Fault::new(WRITE_FAILED, message)
}

fn write_failed(doing: &str, path: &[u8], e: Errno) -> Fault {
    Fault::new(WRITE_FAILED, format!("cannot {doing} {}: {e}", shown(path)))
}

fn shown(path: &[u8]) -> String {
    format!("\"{}\"", excerpt(&spell(path)))
}

/// The components of a path; empty ones and `.` say nothing.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".")
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if directory == b"/" { b"" } else { b"/" };
    [directory, separator, name].concat()
}

/// Opens a path below a directory: not above it, not through magic links, not into another mount (openat2(2)).
///
/// What is no file system for files takes no new files, so that nothing need be known of file systems here.
fn open_below(directory: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let path = if path.is_empty() { b"." } else { path };
    rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn stat(directory: impl AsFd, name: &[u8]) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)
}

fn identity(stat: &Statx) -> String {
    let Statx { stx_dev_major, stx_dev_minor, stx_ino, stx_btime, .. } = stat;
    format!("{stx_dev_major}:{stx_dev_minor}:{stx_ino}:{}.{}", stx_btime.tv_sec, stx_btime.tv_nsec)
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
