//! What a program sees of the file system, and what Landlock lets it do there: both made of the same list of places.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use landlock::{ABI, Access, AccessFs, BitFlags};
use linux_raw_sys::general::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use llm_os_core::Reach;

use super::system;
use crate::spawn::blueprint::{Op, Rule, Source, View};

/// Where the cookie of a display lies in a view, for `XAUTHORITY`.
pub(crate) const AUTHORITY: &str = "/run/llm-os/Xauthority";

/// The attributes of what can only be read.
const SEALED: u32 = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOSUID;

/// What a view is made for.
pub(crate) struct Wanted<'a> {
    pub(crate) reach: &'a Reach,
    /// Whether other programs may be started from what can be read.
    pub(crate) execute: bool,
    /// Whether there is a network, so that names can be resolved.
    pub(crate) network: bool,
    /// The socket of a display, and its cookie.
    pub(crate) display: Option<(&'a Path, Option<&'a Path>)>,
    /// The size of the private `/tmp`, in bytes.
    pub(crate) temporary_bytes: u64,
    /// Whether `/proc` can be mounted.
    pub(crate) processes: bool,
    /// The Landlock ABI, whose rights the rules are made of.
    pub(crate) abi: ABI,
}

/// How a place may be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Read, and run from.
    System,
    Read,
    Write,
    /// A device file: read and written.
    Device,
    /// Connected to.
    Socket,
}

/// Makes the view, and the rules that go with it.
///
/// # Errors
///
/// Something that must be covered and is not there: it could not be kept away from a program that makes it.
pub(crate) fn plan(wanted: &Wanted<'_>) -> Result<(View, Vec<Rule>), String> {
    let mut plan = Plan::new(wanted);
    plan.system();
    plan.own();
    let Reach { read, write, hidden, kept } = wanted.reach;
    let mut places: Vec<(&Path, Use)> = read.iter().map(|path| (path.as_path(), Use::Read)).collect();
    places.extend(write.iter().map(|path| (path.as_path(), Use::Write)));
    // What lies inside of another is mounted after it.
    places.sort_by_key(|(path, how)| (path.components().count(), *how == Use::Write, path.to_path_buf()));
    for (path, how) in places {
        if plan.is_shown(path) {
            plan.covers.push(text(path));
        }
        plan.show(path, how);
    }
    for path in kept {
        plan.pin(path)?;
        plan.cover(path, |at| Op::Seal { at, below: true });
    }
    for path in hidden {
        plan.hide(path)?;
    }
    plan.display();
    Ok(plan.finish())
}

/// The rules alone, on the host's own root, where nothing can be mounted.
pub(crate) fn rules(wanted: &Wanted<'_>) -> Vec<Rule> {
    let mut plan = Plan::new(wanted);
    for path in system::FOLDERS.iter().chain(system::files(wanted.network)) {
        plan.allow(Path::new(path), Use::System);
    }
    for device in system::DEVICES {
        plan.allow(Path::new(device), Use::Device);
    }
    plan.allow(Path::new("/proc"), Use::Read);
    for (places, how) in [(&wanted.reach.read, Use::Read), (&wanted.reach.write, Use::Write)] {
        for path in places {
            plan.allow(path, how);
        }
    }
    plan.rules
}

struct Plan<'a> {
    wanted: &'a Wanted<'a>,
    sources: Vec<Source>,
    build: Vec<Op>,
    each: Vec<Op>,
    rules: Vec<Rule>,
    covers: Vec<CString>,
    /// What is shown so far, by its path: what lies below need not be made.
    shown: Vec<PathBuf>,
}

impl<'a> Plan<'a> {
    fn new(wanted: &'a Wanted<'a>) -> Self {
        Self {
            wanted,
            sources: Vec::new(),
            build: Vec::new(),
            each: Vec::new(),
            rules: Vec::new(),
            covers: Vec::new(),
            shown: Vec::new(),
        }
    }

    /// The folders of the system: programs, their libraries, and the little of `/etc` that these read.
    fn system(&mut self) {
        for folder in system::FOLDERS {
            let path = Path::new(folder);
            match path.read_link() {
                Ok(target) => {
                    self.build.push(Op::Link { at: relative(path), to: text(&target) });
                    self.allow(path, Use::System);
                }
                Err(_) => self.show(path, Use::System),
            }
        }
        for file in system::files(self.wanted.network) {
            self.show(Path::new(file), Use::System);
        }
        for (at, content) in system::users() {
            self.directories(Path::new(at), 0o755);
            self.build.push(Op::File { at: relative(Path::new(at)), content });
            self.allow_made(Path::new(at), read_file());
        }
    }

    /// What each program has for itself: devices, `/proc`, and memory for temporary files.
    fn own(&mut self) {
        for device in system::DEVICES {
            self.show(Path::new(device), Use::Device);
        }
        for (at, to) in [
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
            ("/dev/ptmx", "/dev/pts/ptmx"),
            ("/dev/shm", "/tmp"),
            ("/var/tmp", "/tmp"),
        ] {
            self.directories(Path::new(at), 0o755);
            self.build.push(Op::Link { at: relative(Path::new(at)), to: text(Path::new(to)) });
        }
        for at in ["/proc/x", "/tmp/x", "/run/x", "/dev/pts/x"] {
            self.directories(Path::new(at), 0o755);
        }
        let terminals = Path::new("/dev/pts");
        self.each.push(Op::Terminals { at: text(terminals) });
        self.rules.push(Rule::new(
            text(terminals),
            bits((device() | AccessFs::ReadDir) & known(self.wanted.abi)),
            true,
        ));
        if self.wanted.processes {
            // In a user namespace the kernel mounts it only beside another one that is whole (mount_namespaces(7)).
            let other = Path::new("/run/llm-os/proc");
            self.show_as(Path::new("/proc"), other, SEALED);
            self.each.push(Op::Processes { at: text(Path::new("/proc")) });
            self.each.push(Op::Away { at: text(other) });
            self.rules.push(Rule::new(text(Path::new("/proc")), bits(read()), true));
        }
        let size = self.wanted.temporary_bytes;
        self.each.push(Op::Memory {
            at: text(Path::new("/tmp")),
            options: text(Path::new(&format!("size={size},mode=1777,nr_inodes=65536"))),
        });
        let execute = if self.wanted.execute { AccessFs::Execute.into() } else { BitFlags::EMPTY };
        let access = (write(self.wanted.abi) | execute) & known(self.wanted.abi);
        self.rules.push(Rule::new(text(Path::new("/tmp")), bits(access), true));
        self.shown.push("/tmp".into());
    }

    /// Shows a place of the host under its own path. What is not there is left out.
    fn show(&mut self, path: &Path, how: Use) {
        if !path.exists() {
            return;
        }
        let read_only = if how == Use::Write { 0 } else { MOUNT_ATTR_RDONLY };
        let device = if how == Use::Device { 0 } else { MOUNT_ATTR_NODEV };
        let execute = if how == Use::System || self.wanted.execute { 0 } else { MOUNT_ATTR_NOEXEC };
        let read_only = if how == Use::Device || how == Use::Socket { 0 } else { read_only };
        self.show_as(path, path, MOUNT_ATTR_NOSUID | device | execute | read_only);
        self.allow(path, how);
    }

    /// Shows a place of the host under a path, with these attributes.
    fn show_as(&mut self, place: &Path, path: &Path, attributes: u32) {
        self.sources.push(Source::new(text(place), attributes.into()));
        let source = self.sources.len() - 1;
        self.mount(path, place.is_dir(), |at| Op::Show { source, at });
    }

    /// Mounts something at a path. What lies in the private `/tmp` is put together for each program, out of what the
    /// launcher holds ready elsewhere.
    fn mount(&mut self, path: &Path, is_directory: bool, op: impl FnOnce(CString) -> Op) {
        let made = |plan: &mut Self, at: &Path, is_directory: bool| {
            plan.directories(at, 0o755);
            if is_directory {
                plan.build.push(Op::Directory { at: relative(at), mode: 0o755 });
            } else {
                plan.build.push(Op::File { at: relative(at), content: Vec::new() });
            }
        };
        if path == Path::new("/") {
            self.build.push(op(text(Path::new("."))));
        } else if path.starts_with("/tmp") {
            let held = PathBuf::from(format!("/run/llm-os/held/{}", self.sources.len()));
            made(self, &held, is_directory);
            self.build.push(op(relative(&held)));
            let mut above: Vec<_> = path.ancestors().skip(1).filter(|dir| dir.starts_with("/tmp")).collect();
            above.reverse();
            if !self.is_shown(path) {
                self.each
                    .extend(above.iter().skip(1).map(|dir| Op::Directory { at: text(dir), mode: 0o755 }));
                self.each.push(if is_directory {
                    Op::Directory { at: text(path), mode: 0o755 }
                } else {
                    Op::File { at: text(path), content: Vec::new() }
                });
            }
            self.each.push(Op::Again { from: text(&held), at: text(path) });
        } else {
            if !self.is_shown(path) {
                made(self, path, is_directory);
            }
            self.build.push(op(relative(path)));
        }
        self.shown.push(path.to_owned());
    }

    /// Whether a path lies in something that is shown, and so is there already.
    fn is_shown(&self, path: &Path) -> bool {
        self.shown.iter().any(|shown| path.starts_with(shown) && path != shown && shown != Path::new("/tmp"))
    }

    /// Mounts a place that is shown on itself, so that it can neither be renamed nor removed.
    fn pin(&mut self, path: &Path) -> Result<(), String> {
        let kept = path.symlink_metadata().map_err(|e| format!("{}: {e}", path.display()))?;
        if kept.is_symlink() {
            return Err(format!("{}: it became a symbolic link", path.display()));
        }
        self.cover(path, |at| Op::Again { from: at.clone(), at });
        self.covers.push(text(path));
        Ok(())
    }

    /// Puts something over a place that is shown.
    fn cover(&mut self, path: &Path, op: impl FnOnce(CString) -> Op) {
        if path.starts_with("/tmp") {
            self.each.push(op(text(path)));
        } else {
            self.build.push(op(relative(path)));
        }
    }

    /// Covers what must not be seen: a directory by an empty one, anything else by a device that cannot be opened.
    fn hide(&mut self, path: &Path) -> Result<(), String> {
        self.pin(path)?;
        if path.is_dir() {
            let options = text(Path::new("size=4k,mode=000,nr_inodes=2"));
            self.cover(path, |at| Op::Memory { at, options });
            self.cover(path, |at| Op::Seal { at, below: false });
        } else {
            self.show_as(Path::new("/dev/null"), path, SEALED);
        }
        Ok(())
    }

    fn display(&mut self) {
        let Some((socket, cookie)) = self.wanted.display else { return };
        self.show(socket, Use::Socket);
        if let Some(cookie) = cookie {
            let attributes =
                u64::from(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
            self.sources.push(Source::new(text(cookie), attributes));
            let source = self.sources.len() - 1;
            self.mount(Path::new(AUTHORITY), false, |at| Op::Show { source, at });
            self.allow_made(Path::new(AUTHORITY), read_file());
        }
    }

    fn finish(mut self) -> (View, Vec<Rule>) {
        self.build.push(Op::Seal { at: text(Path::new(".")), below: false });
        let Self { sources, build, each, rules, covers, .. } = self;
        let scaffold =
            ["/usr", "/etc", "/dev"].into_iter().find(|dir| Path::new(dir).is_dir()).unwrap_or("/");
        (View { scaffold: text(Path::new(scaffold)), sources, build, each, covers }, rules)
    }

    /// Makes the directories above a path.
    fn directories(&mut self, path: &Path, mode: u32) {
        let mut above: Vec<_> = path.ancestors().skip(1).filter(|dir| *dir != Path::new("/")).collect();
        above.reverse();
        for dir in above {
            let op = Op::Directory { at: relative(dir), mode };
            if !self.build.contains(&op) {
                self.build.push(op);
            }
        }
    }

    fn allow(&mut self, path: &Path, how: Use) {
        let Ok(found) = path.metadata() else { return };
        let execute = if self.wanted.execute { AccessFs::Execute.into() } else { BitFlags::EMPTY };
        let access = match how {
            Use::System => read() | AccessFs::Execute,
            Use::Read => read() | execute,
            Use::Write => write(self.wanted.abi) | execute,
            Use::Device => device(),
            Use::Socket => return,
        };
        let access = if found.is_dir() { access } else { access & AccessFs::from_file(self.wanted.abi) };
        self.allow_made(path, access);
    }

    fn allow_made(&mut self, path: &Path, access: BitFlags<AccessFs>) {
        self.rules.push(Rule::new(text(path), bits(access & known(self.wanted.abi)), false));
    }
}

/// Every right on files that this ABI knows.
pub(crate) fn known(abi: ABI) -> BitFlags<AccessFs> {
    AccessFs::from_all(abi)
}

fn read() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

fn read_file() -> BitFlags<AccessFs> {
    AccessFs::ReadFile.into()
}

fn device() -> BitFlags<AccessFs> {
    read_file() | AccessFs::WriteFile | AccessFs::IoctlDev
}

/// Everything but running, and but making device files and sockets.
fn write(abi: ABI) -> BitFlags<AccessFs> {
    let never = AccessFs::Execute
        | AccessFs::MakeChar
        | AccessFs::MakeBlock
        | AccessFs::MakeSock
        | AccessFs::IoctlDev;
    known(abi) & !never
}

pub(crate) fn bits(access: BitFlags<AccessFs>) -> u64 {
    access.bits()
}

/// A path as the kernel takes it; a real path holds no NUL.
fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path without NUL")
}

/// The same, relative to the root that is put together.
fn relative(path: &Path) -> CString {
    let bytes = path.as_os_str().as_bytes();
    text(Path::new(OsStr::from_bytes(bytes.strip_prefix(b"/").unwrap_or(bytes))))
}
