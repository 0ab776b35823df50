//! From a path in a plan to open descriptors below a root, and to nothing else.
//!
//! A plan's path must begin with a root, component by component; of several the deepest is taken. What remains is
//! opened by the kernel relative to that root's descriptor ([`open_below`]), so that neither `..`, nor a symlink, nor a
//! mount, nor a rename in between leads out. What a policy is asked about is the path that the kernel reports for the
//! open descriptor, never the text of the plan.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use llm_os_core::{Fault, RootMode, Setup};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::fault::{
    NOT_FOUND, READ_FAILED, TARGET_CHANGED, not_found, read_failed, shown, target_changed, write_failed,
};
use crate::filesystem;
use crate::kernel::{Descriptors, FileKind, Meta, open_below, open_entry};

/// The roots, open.
#[derive(Debug)]
pub(crate) struct Roots {
    roots: Vec<Root>,
    descriptors: Descriptors,
}

#[derive(Debug)]
struct Root {
    path: Vec<u8>,
    fd: OwnedFd,
    mode: RootMode,
}

/// Something that exists, by a descriptor that can neither read nor write it (`O_PATH`).
#[derive(Debug)]
pub(crate) struct Handle {
    fd: OwnedFd,
    /// The real path, as the kernel reported it.
    pub(crate) path: Vec<u8>,
    pub(crate) meta: Meta,
}

/// Something that does not exist: the deepest directory on the way that does, and the names below it.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) above: Handle,
    pub(crate) rest: Vec<Vec<u8>>,
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Place {
    Found(Handle),
    Missing(Missing),
}

/// A name in a directory: what is created, replaced or removed.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) dir: Handle,
    pub(crate) name: Vec<u8>,
    /// What has this name, be it a symlink.
    pub(crate) occupant: Option<Handle>,
}

/// Where an entry is, or would be if its directory existed.
#[derive(Debug)]
pub(crate) enum Slot {
    Entry(Entry),
    NoDirectory(Missing),
}

/// Whether a symlink at the end of a path is followed. On the way it always is, as far as it stays below the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Follow,
    Keep,
}

impl Roots {
    /// Opens the roots. One that cannot be opened, or whose file system is refused, is a fault: better no `fs` than
    /// one that knows only some of the places that were configured.
    pub(crate) fn open(setup: &Setup) -> Result<Self, Fault> {
        use std::os::unix::ffi::OsStrExt as _;
        let descriptors = Descriptors::open().map_err(|e| {
            Fault::new(READ_FAILED, format!("/proc/self/fd cannot be used: {e}; mount procfs at /proc"))
        })?;
        let open = |root: &llm_os_core::Root| {
            let asked = root.path.as_os_str().as_bytes();
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(&root.path, flags, rustix::fs::Mode::empty());
            let fd = fd.map_err(|e| read_failed("open the root", asked, e))?;
            filesystem::check(&fd, asked)?;
            let path = descriptors.path_of(fd.as_fd()).map_err(|e| read_failed("open the root", asked, e))?;
            if path != asked {
                let message =
                    format!("the root \"{}\" is really \"{}\": name that one", shown(asked), shown(&path));
                return Err(Fault::new(READ_FAILED, message));
            }
            Ok(Root { path, fd, mode: root.mode })
        };
        let roots = setup.roots.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { roots, descriptors })
    }

    /// Opens what `path` leads to, to look at it.
    pub(crate) fn place(&self, path: &[u8], last: Last) -> Result<Place, Fault> {
        let (root, names) = self.locate(path)?;
        self.lookup(root, &names, last, path)
    }

    /// Opens the directory that holds the entry `path`, and the entry itself, to change it.
    pub(crate) fn entry(&self, path: &[u8]) -> Result<Slot, Fault> {
        let (root, names) = self.locate(path)?;
        self.check_writable(&root.path)?;
        let Some((name, above)) = names.split_last() else {
            return Err(Fault::denied(format!(
                "\"{}\" is a root itself: name something below it",
                shown(path)
            )));
        };
        match self.lookup(root, above, Last::Follow, path)? {
            Place::Missing(mut missing) => {
                self.check_writable(&missing.above.path)?;
                missing.rest.push(name.to_vec());
                Ok(Slot::NoDirectory(missing))
            }
            Place::Found(dir) if !dir.meta.is_directory() => {
                Err(Fault::new(READ_FAILED, format!("\"{}\" is not a directory", shown(&dir.path))))
            }
            Place::Found(dir) => {
                self.check_writable(&dir.path)?;
                self.check_holds_no_root(&join(&dir.path, name))?;
                let occupant = match open_entry(&dir.fd, name) {
                    Ok(fd) => Some(self.handle(root, fd, path)?),
                    Err(Errno::NOENT) => None,
                    Err(e) => return Err(refused(path, root, e)),
                };
                Ok(Slot::Entry(Entry { dir, name: name.to_vec(), occupant }))
            }
        }
    }

    /// Refuses a real path at which nothing may be changed, whatever is there.
    pub(crate) fn check_place(&self, real: &[u8]) -> Result<(), Fault> {
        self.locate(real)?;
        self.check_writable(real)?;
        self.check_holds_no_root(real)
    }

    /// Reopens a regular file for use, and makes sure that it is what was judged.
    pub(crate) fn reopen(&self, judged: &Handle, flags: OFlags) -> Result<(OwnedFd, Meta), Fault> {
        let refused = if flags.contains(OFlags::WRONLY) { write_failed } else { read_failed };
        let fd = self.descriptors.reopen(judged.fd(), flags).map_err(|e| refused("open", &judged.path, e))?;
        let meta = Meta::of(&fd).map_err(|e| refused("open", &judged.path, e))?;
        if meta.kind == FileKind::Regular && meta.same(&judged.meta) {
            Ok((fd, meta))
        } else {
            Err(target_changed(&judged.path))
        }
    }

    /// Opens a directory to read its names, exactly the judged one.
    pub(crate) fn reopen_directory(&self, judged: &Handle) -> Result<OwnedFd, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.descriptors.reopen(judged.fd(), flags) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOTDIR) => {
                Err(Fault::new(READ_FAILED, format!("\"{}\" is not a directory", shown(&judged.path))))
            }
            Err(e) => Err(read_failed("open", &judged.path, e)),
        }
    }

    /// Makes sure that a directory is still where it was judged to be, right before something in it changes.
    pub(crate) fn still_there(&self, judged: &Handle) -> Result<(), Fault> {
        match self.descriptors.path_of(judged.fd()) {
            Ok(path) if path == judged.path => Ok(()),
            _ => Err(target_changed(&judged.path)),
        }
    }

    /// The deepest root of a real path says whether something below it may change: a symlink, or a plan that names an
    /// outer root, does not get around a root for reading that lies inside one for writing.
    fn check_writable(&self, real: &[u8]) -> Result<(), Fault> {
        let holding = self.roots.iter().filter(|root| is_below(real, &root.path));
        match holding.max_by_key(|root| root.path.len()) {
            Some(root) if root.mode == RootMode::Read => {
                let root = shown(&root.path);
                Err(Fault::denied(format!(
                    "the root \"{root}\" is for reading only: nothing below it changes"
                )))
            }
            _ => Ok(()),
        }
    }

    /// A root, or what holds one, is not replaced, moved or removed.
    fn check_holds_no_root(&self, entry: &[u8]) -> Result<(), Fault> {
        match self.roots.iter().find(|root| is_below(&root.path, entry)) {
            Some(root) => {
                let (entry, root) = (shown(entry), shown(&root.path));
                Err(Fault::denied(format!("\"{entry}\" holds the root \"{root}\": name something below it")))
            }
            None => Ok(()),
        }
    }

    /// Finds the root of a path, and the names that remain.
    fn locate<'p>(&self, path: &'p [u8]) -> Result<(&Root, Vec<&'p [u8]>), Fault> {
        let names: Vec<&[u8]> = names_of(path).collect();
        if names.contains(&b"..".as_slice()) {
            return Err(Fault::denied(format!("\"{}\" climbs by \"..\": name the path itself", shown(path))));
        }
        let depth_in = |root: &Root| {
            let depth = names_of(&root.path).count();
            (names.len() >= depth && names_of(&root.path).eq(names[..depth].iter().copied())).then_some(depth)
        };
        let deepest = self
            .roots
            .iter()
            .filter_map(|root| Some((depth_in(root)?, root)))
            .max_by_key(|(depth, _)| *depth);
        match deepest {
            Some((depth, root)) => Ok((root, names[depth..].to_vec())),
            None => Err(Fault::denied(format!("\"{}\" is below no root: {}", shown(path), self.listed()))),
        }
    }

    fn listed(&self) -> String {
        if self.roots.is_empty() {
            return "none is configured".to_owned();
        }
        let named = self.roots.iter().map(|root| {
            format!("{} ({})", shown(&root.path), if root.mode == RootMode::Read { "read" } else { "write" })
        });
        format!("the roots are {}", named.collect::<Vec<_>>().join(", "))
    }

    fn lookup(&self, root: &Root, names: &[&[u8]], last: Last, plan: &[u8]) -> Result<Place, Fault> {
        let flags = if last == Last::Keep { OFlags::PATH | OFlags::NOFOLLOW } else { OFlags::PATH };
        match open_below(&root.fd, &names.join(&b'/'), flags) {
            Ok(fd) => return self.handle(root, fd, plan).map(Place::Found),
            Err(Errno::NOENT) if !names.is_empty() => {}
            Err(e) => return Err(refused(plan, root, e)),
        }
        for depth in (0..names.len()).rev() {
            match open_below(&root.fd, &names[..depth].join(&b'/'), OFlags::PATH | OFlags::DIRECTORY) {
                Ok(fd) => {
                    let above = self.handle(root, fd, plan)?;
                    let rest = names[depth..].iter().map(|name| name.to_vec()).collect();
                    return Ok(Place::Missing(Missing { above, rest }));
                }
                Err(Errno::NOENT) => {}
                Err(e) => return Err(refused(plan, root, e)),
            }
        }
        Err(not_found(&root.path))
    }

    /// Reads back what was opened, and refuses what is not below the root any more.
    fn handle(&self, root: &Root, fd: OwnedFd, plan: &[u8]) -> Result<Handle, Fault> {
        let failed = |e| read_failed("look at", plan, e);
        let path = self.descriptors.path_of(fd.as_fd()).map_err(failed)?;
        let meta = Meta::of(&fd).map_err(failed)?;
        if !is_below(&path, &root.path) {
            return Err(Fault::denied(format!(
                "\"{}\" leaves the root \"{}\"",
                shown(plan),
                shown(&root.path)
            )));
        }
        if path.ends_with(b" (deleted)") && !self.is_named(root, &path, &meta) {
            return Err(target_changed(plan));
        }
        Ok(Handle { fd, path, meta })
    }

    /// Whether this path does lead to this inode: a name may itself end in what the kernel appends to deleted ones.
    fn is_named(&self, root: &Root, path: &[u8], meta: &Meta) -> bool {
        let below: Vec<&[u8]> = names_of(path).skip(names_of(&root.path).count()).collect();
        let opened = open_below(&root.fd, &below.join(&b'/'), OFlags::PATH | OFlags::NOFOLLOW);
        opened.and_then(Meta::of).is_ok_and(|found| found.same(meta))
    }
}

/// The components of a path; empty ones and `.` say nothing.
pub(crate) fn names_of(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// Whether `path` is `above`, or below it, component by component.
pub(crate) fn is_below(path: &[u8], above: &[u8]) -> bool {
    let mut names = names_of(path);
    names_of(above).all(|name| names.next() == Some(name))
}

/// The path of `name` in the directory `dir`.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if dir == b"/" { b"" } else { b"/" };
    [dir, separator, name].concat()
}

fn refused(plan: &[u8], root: &Root, e: Errno) -> Fault {
    let (plan_shown, root_shown) = (shown(plan), shown(&root.path));
    match e {
        // One answer for what is inside and outside, so that nobody learns from it what exists outside.
        Errno::XDEV | Errno::LOOP => Fault::denied(format!(
            "\"{plan_shown}\" leaves the root \"{root_shown}\" (by a symlink or into another mount), or its symlinks run in a circle"
        )),
        Errno::AGAIN => Fault::new(
            TARGET_CHANGED,
            format!(
                "\"{plan_shown}\" was renamed again and again while it was looked up: send the plan again"
            ),
        ),
        e => read_failed("look up", plan, e),
    }
}

impl Handle {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Refuses everything but regular files and directories: a FIFO would block, a device does who knows what.
    pub(crate) fn file_or_directory(self) -> Result<Self, Fault> {
        match self.meta.kind {
            FileKind::Regular | FileKind::Directory => Ok(self),
            FileKind::Symlink => {
                let message =
                    format!("\"{}\" is a symlink: name the file that it leads to", shown(&self.path));
                Err(Fault::denied(message))
            }
            FileKind::Special(what) => {
                let message = format!("\"{}\" is {what}: only regular files are used", shown(&self.path));
                Err(Fault::denied(message))
            }
        }
    }
}

impl Place {
    /// What is there, or `not_found`.
    pub(crate) fn found(self) -> Result<Handle, Fault> {
        match self {
            Place::Found(handle) => Ok(handle),
            Place::Missing(missing) => Err(not_found(&missing.path())),
        }
    }

    /// As [`Handle::file_or_directory`]; what is missing may become one before the action runs.
    pub(crate) fn file_or_directory(self) -> Result<Self, Fault> {
        match self {
            Place::Found(handle) => handle.file_or_directory().map(Place::Found),
            Place::Missing(missing) => Ok(Place::Missing(missing)),
        }
    }
}

impl Missing {
    /// The path that it would have.
    pub(crate) fn path(&self) -> Vec<u8> {
        self.rest.iter().fold(self.above.path.clone(), |path, name| join(&path, name))
    }

    fn no_directory(&self) -> Fault {
        let above = &self.rest[..self.rest.len() - 1];
        let directory = above.iter().fold(self.above.path.clone(), |path, name| join(&path, name));
        let message =
            format!("the directory \"{}\" does not exist: create it with fs.mkdir", shown(&directory));
        Fault::new(NOT_FOUND, message)
    }
}

impl Entry {
    /// Its path; where something has this name already, that one's own, which a file system that ignores case spells
    /// differently.
    pub(crate) fn path(&self) -> Vec<u8> {
        match &self.occupant {
            Some(occupant) => occupant.path.clone(),
            None => join(&self.dir.path, &self.name),
        }
    }
}

impl Slot {
    /// The path of the entry.
    pub(crate) fn path(&self) -> Vec<u8> {
        match self {
            Slot::Entry(entry) => entry.path(),
            Slot::NoDirectory(missing) => missing.path(),
        }
    }

    /// The entry, or `not_found` for its directory.
    pub(crate) fn entry(self) -> Result<Entry, Fault> {
        match self {
            Slot::Entry(entry) => Ok(entry),
            Slot::NoDirectory(missing) => Err(missing.no_directory()),
        }
    }

    /// The same, to look at.
    pub(crate) fn look(&self) -> Result<&Entry, Fault> {
        match self {
            Slot::Entry(entry) => Ok(entry),
            Slot::NoDirectory(missing) => Err(missing.no_directory()),
        }
    }
}

/// The effect of a directory that could not be synced is done, but may be lost when the power fails.
pub(crate) fn sync(dir: &OwnedFd, path: &[u8]) -> Result<(), Fault> {
    rustix::fs::fsync(dir)
        .map_err(|e| write_failed("make durable what was done in the directory of", path, e))
}
