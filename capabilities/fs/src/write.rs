//! `fs.write` and `fs.mkdir`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use llm_os_core::error::excerpt;
use llm_os_core::path::{WirePath, spell};
use llm_os_core::{Context, Effects, Fault, Secret, Verb};
use rustix::fs::{self, Mode, OFlags};

use crate::action::WriteMode;
use crate::diff::{self, Before, Side, unified};
use crate::fault::{WRITE_FAILED, already_exists, not_found, shown, write_failed};
use crate::kernel::{FileKind, Meta, open_directory};
use crate::output::Output;
use crate::roots::{Entry, Handle, Missing, Roots, Slot, join};
use crate::stage::{Staged, write_all};
use crate::undo::Keep;

/// The permissions of a file that is created without any being named.
const NEW_FILE: u16 = 0o644;

/// A file to write.
#[derive(Debug)]
pub(crate) struct Write {
    slot: Slot,
    content: Vec<u8>,
    mode: WriteMode,
    permissions: Option<u16>,
}

/// Brings the two spellings of content together.
pub(crate) fn content(text: Option<&Secret>, base64: Option<&Secret>) -> Result<Vec<u8>, Fault> {
    match (text, base64) {
        (Some(text), None) => Ok(text.expose().as_bytes().to_vec()),
        (None, Some(base64)) => STANDARD.decode(base64.expose()).map_err(|_| {
            Fault::invalid("content_base64", "it is not standard base64 with padding (RFC 4648, section 4)")
        }),
        (Some(_), Some(_)) => {
            Err(Fault::invalid("content_base64", "content is given as well: give one of the two"))
        }
        (None, None) => {
            Err(Fault::invalid("content", "neither content nor content_base64 is given: give one of the two"))
        }
    }
}

/// Reads permissions: three octal digits, so that no setuid, setgid or sticky bit can be spelled.
pub(crate) fn permissions(text: &str) -> Result<u16, Fault> {
    let digits = match text.len() {
        4 => text.strip_prefix('0').unwrap_or_default(),
        _ => text,
    };
    if digits.len() == 3 && digits.bytes().all(|b| (b'0'..=b'7').contains(&b)) {
        Ok(digits.bytes().fold(0, |bits, digit| bits * 8 + u16::from(digit - b'0')))
    } else {
        let message = format!("\"{}\" is not three octal digits, such as \"644\"", excerpt(text));
        Err(Fault::invalid("permissions", message))
    }
}

/// Reads the permissions that go with a mode.
pub(crate) fn permissions_for(mode: WriteMode, text: Option<&str>) -> Result<Option<u16>, Fault> {
    if mode == WriteMode::Append && text.is_some() {
        return Err(Fault::invalid("permissions", "append changes no permissions: leave them out"));
    }
    text.map(permissions).transpose()
}

impl Write {
    pub(crate) fn resolve(
        roots: &Roots,
        path: &WirePath,
        content: Vec<u8>,
        mode: WriteMode,
        permissions: Option<u16>,
    ) -> Result<Self, Fault> {
        let slot = writable_slot(roots, path, "path")?;
        Ok(Self { slot, content, mode, permissions })
    }

    pub(crate) fn effects(&self) -> Effects {
        Effects::one(self.slot.effect(Verb::Change))
    }

    /// What it would make of the file.
    pub(crate) fn preview(&self, roots: &Roots) -> Result<Option<String>, Fault> {
        let entry = self.slot.look()?;
        let path = entry.path();
        let (old, new) = match (self.mode, &entry.occupant) {
            (WriteMode::Create, None) => (Side::Nothing, Side::of_bytes(&self.content)),
            (WriteMode::Create, Some(_)) => return Err(there_already(&path)),
            (WriteMode::Replace | WriteMode::Append, None) => return Err(not_found(&path)),
            (WriteMode::Replace, Some(old)) => {
                (Side::of(roots, regular(old)?)?, Side::of_bytes(&self.content))
            }
            (WriteMode::Append, Some(old)) => {
                let old = Side::of(roots, regular(old)?)?;
                let new = old.and(&self.content);
                (old, new)
            }
        };
        Ok(Some(unified(&path, &old, &new)))
    }

    pub(crate) fn run(self, roots: &Roots, cx: &Context, keep: &Keep<'_>) -> Result<Output, Fault> {
        let Self { slot, content, mode, permissions } = self;
        let entry = slot.entry()?;
        roots.still_there(&entry.dir)?;
        let path = entry.path();
        let bytes = content.len() as u64;
        let before = match (mode, &entry.occupant) {
            (WriteMode::Create, None) => {
                let replaced = Before::open(cx, roots, None);
                put(&entry, &content, permissions.unwrap_or(NEW_FILE), keep)?;
                keep_content(replaced, &path, &content);
                0
            }
            (WriteMode::Create, Some(_)) => {
                return Err(there_already(&path));
            }
            (WriteMode::Replace | WriteMode::Append, None) => return Err(not_found(&path)),
            (WriteMode::Replace, Some(old)) => {
                let replaced = Before::open(cx, roots, Some(regular(old)?));
                put(&entry, &content, permissions.unwrap_or(old.meta.permissions), keep)?;
                keep_content(replaced, &path, &content);
                0
            }
            (WriteMode::Append, Some(old)) => {
                let old = regular(old)?;
                let shorter = cx.keeps_evidence().then(|| Side::of(roots, old));
                let before = append(roots, old, &content, keep)?;
                if let Some(shorter) = shorter {
                    let sides = shorter.map(|old| {
                        let new = old.and(&content);
                        (old, new)
                    });
                    diff::keep(cx, &path, sides.map_err(|fault| fault.message.into_owned()));
                }
                before
            }
        };
        Ok(Output::Write { path: spell(&path), bytes, size: before + bytes })
    }
}

fn there_already(path: &[u8]) -> Fault {
    already_exists(path, "write with mode \"replace\" to put other content in its place")
}

/// Keeps what came in the place of a file, or of nothing.
pub(crate) fn keep_content(replaced: Option<Before<'_>>, path: &[u8], content: &[u8]) {
    if let Some(replaced) = replaced {
        replaced.keep(path, Ok(Side::of_bytes(content)));
    }
}

/// The entry that is to be written, where nothing there forbids it: a symlink is never written through.
pub(crate) fn writable_slot(roots: &Roots, path: &WirePath, field: &str) -> Result<Slot, Fault> {
    let slot = roots.entry(&path.bytes(field)?)?;
    match slot {
        Slot::Entry(Entry { dir, name, occupant: Some(occupant) }) => {
            let occupant = Some(occupant.file_or_directory()?);
            Ok(Slot::Entry(Entry { dir, name, occupant }))
        }
        other => Ok(other),
    }
}

/// Puts a complete file in the place of the entry.
pub(crate) fn put(entry: &Entry, content: &[u8], permissions: u16, keep: &Keep<'_>) -> Result<(), Fault> {
    let staged = Staged::file(entry)?;
    staged.write(content)?;
    staged.attribute(permissions, entry.occupant.as_ref().map(|old| &old.meta))?;
    staged.publish(keep)
}

/// Only regular files are written.
pub(crate) fn regular(handle: &Handle) -> Result<&Handle, Fault> {
    match handle.meta.kind {
        FileKind::Regular => Ok(handle),
        FileKind::Directory | FileKind::Symlink | FileKind::Special(_) => {
            Err(Fault::new(WRITE_FAILED, format!("\"{}\" is a directory, not a file", shown(&handle.path))))
        }
    }
}

/// Adds to the end of the judged file, and takes it off again where not all of it could be written. Gives the size before.
fn append(roots: &Roots, judged: &Handle, content: &[u8], keep: &Keep<'_>) -> Result<u64, Fault> {
    keep.append(roots, judged, content)?;
    let (file, meta) = roots.reopen(judged, OFlags::WRONLY | OFlags::APPEND)?;
    let failed = |e| write_failed("append to", &judged.path, e);
    let before = meta.bytes;
    match write_all(&file, content).and_then(|()| fs::fdatasync(&file)) {
        Ok(()) => Ok(before),
        Err(e) => {
            // What somebody else appended meanwhile is not ours to cut.
            let now = Meta::of(&file).map_err(failed)?.bytes;
            if now > before && now - before <= content.len() as u64 {
                fs::ftruncate(&file, before).map_err(failed)?;
            }
            Err(failed(e))
        }
    }
}

/// A directory to create.
#[derive(Debug)]
pub(crate) struct Mkdir {
    slot: Slot,
    parents: bool,
    permissions: u16,
}

impl Mkdir {
    pub(crate) fn resolve(
        roots: &Roots,
        path: &WirePath,
        parents: bool,
        permissions: u16,
    ) -> Result<Self, Fault> {
        Ok(Self { slot: roots.entry(&path.bytes("path")?)?, parents, permissions })
    }

    pub(crate) fn effects(&self) -> Effects {
        Effects::one(self.slot.effect(Verb::Change))
    }

    pub(crate) fn run(self, roots: &Roots, cx: &Context, keep: &Keep<'_>) -> Result<Output, Fault> {
        let Self { slot, parents, permissions } = self;
        let path = slot.path();
        let created = match slot {
            Slot::Entry(Entry { occupant: Some(found), .. }) if parents && found.meta.is_directory() => {
                Vec::new()
            }
            Slot::Entry(Entry { occupant: Some(_), .. }) => {
                return Err(already_exists(&path, "choose another name"));
            }
            Slot::Entry(entry) => {
                roots.still_there(&entry.dir)?;
                make(&entry, &[], permissions, keep)?
            }
            Slot::NoDirectory(missing) if parents => make_all(roots, cx, missing, permissions, keep)?,
            missing @ Slot::NoDirectory(_) => {
                let fault = missing.entry().err().unwrap_or_else(|| not_found(&path));
                return Err(Fault {
                    message: format!("{} first, or give parents", fault.message).into(),
                    ..fault
                });
            }
        };
        Ok(Output::Mkdir { path: spell(&path), created: created.iter().map(|path| spell(path)).collect() })
    }
}

/// Creates a directory in each one that is missing on the way, all at once. The policy is asked about all of them before the
/// first.
fn make_all(
    roots: &Roots,
    cx: &Context,
    missing: Missing,
    permissions: u16,
    keep: &Keep<'_>,
) -> Result<Vec<Vec<u8>>, Fault> {
    if let Some(denied) = missing.effects_on_the_way(Verb::Change).iter().find(|effect| !cx.permits(effect)) {
        let message =
            format!("the policy does not permit to create \"{}\" on the way", excerpt(&denied.resource.id));
        return Err(Fault::denied(message));
    }
    roots.still_there(&missing.above)?;
    let Missing { above, mut rest } = missing;
    let below = rest.split_off(1);
    let name = rest.pop().unwrap_or_default();
    make(&Entry { dir: above, name, occupant: None }, &below, permissions, keep)
}

/// Creates a directory, with others in each other in it, all with exactly these permissions whatever the umask is. Gives
/// their paths.
fn make(entry: &Entry, below: &[Vec<u8>], permissions: u16, keep: &Keep<'_>) -> Result<Vec<Vec<u8>>, Fault> {
    let staged = Staged::directory(entry)?;
    let mut created = vec![entry.path()];
    let mut inner = Vec::new();
    for name in below {
        let path = join(&created[created.len() - 1], name);
        let failed = |e| write_failed("create", &path, e);
        let dir = inner.last().unwrap_or(staged.fd());
        fs::mkdirat(dir, name.as_slice(), Mode::RWXU).map_err(failed)?;
        inner.push(open_directory(dir, name).map_err(failed)?);
        created.push(path);
    }
    // The permissions may keep even their owner out, so they come last, from the innermost on.
    for (dir, path) in inner.iter().zip(&created[1..]).rev() {
        let done = fs::fchmod(dir, Mode::from_raw_mode(permissions.into())).and_then(|()| fs::fsync(dir));
        done.map_err(|e| write_failed("create", path, e))?;
    }
    staged.attribute(permissions, None)?;
    staged.publish(keep)?;
    Ok(created)
}
