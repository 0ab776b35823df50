//! Evidence: what records only digest, kept beside the log and found by its SHA-256.
//!
//! ```text
//! STATE/evidence/       0700
//! STATE/evidence/9f/    0700: 9f86d081...0a08  0600, the bytes themselves
//! ```
//!
//! - The record is what is durable. A file appears under its name at once and complete, and is not synced: one that a
//!   crash lost or damaged is told as missing, since its SHA-256 is its name.
//! - Never more is kept than the quota, the oldest goes first. Each file counts in whole blocks of 4 KiB, so that the
//!   index, which is in memory, is bounded by it too.
//! - What cannot be kept fails nothing: the record says so.

mod index;
mod pictures;

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use llm_os_core::audit::Evidence;
use llm_os_core::evidence::Picture;
use llm_os_core::value::hex;
use llm_os_core::{Binary, Code, Fault, Keeper, Principal};
use rustix::fs::{AtFlags, CWD, Timestamps, utimensat};
use rustix::time::Timespec;
use sha2::{Digest, Sha256};

use crate::audit::{OpenError, directory, owned, private};
use index::{Index, blocks};
use pictures::Pictures;

/// A SHA-256.
type Sha256Bytes = [u8; 32];

/// The store of a state directory. Only who holds the log's lock opens it.
pub(crate) struct Store {
    folder: PathBuf,
    quota: u64,
    retention: Option<Duration>,
    index: Mutex<Index>,
    pictures: Pictures,
    /// Numbers the files that are being written.
    parts: AtomicU64,
}

/// Where the evidence of a state directory lies.
pub(crate) fn folder(state: &Path) -> PathBuf {
    state.join("evidence")
}

impl Store {
    /// Opens the store, takes stock of it, and lets go of what is too old or too much.
    ///
    /// # Errors
    ///
    /// What could keep it from being written, or let others into it.
    pub(crate) fn open(state: &Path, quota: u64, retention: Option<Duration>) -> Result<Self, OpenError> {
        let folder = folder(state);
        directory(&folder, 0o077)?;
        let mut index = Index::default();
        look(&folder, |found| match found {
            Found::Folder(path) => File::open(path)
                .map_err(|source| OpenError::Io { path: path.to_owned(), source })
                .and_then(|opened| owned(path, &opened, 0o077)),
            Found::Kept { sha256, bytes, time } => {
                index.insert(sha256, bytes, time, false);
                Ok(())
            }
            Found::Part(path) => {
                fs::remove_file(path).map_err(|source| OpenError::Io { path: path.to_owned(), source })
            }
        })?;
        let (index, pictures, parts) = (Mutex::new(index), Pictures::default(), AtomicU64::new(0));
        let store = Self { folder, quota, retention, index, pictures, parts };
        store.make_room(&mut store.index(), 0);
        store.expire();
        Ok(store)
    }

    /// How long evidence is kept, if not for as long as there is room.
    pub(crate) fn retention(&self) -> Option<Duration> {
        self.retention
    }

    /// Lets go of what is older than the retention.
    pub(crate) fn expire(&self) {
        let Some(oldest) = self.retention.and_then(|life| SystemTime::now().checked_sub(life)) else {
            return;
        };
        let mut index = self.index();
        while let Some(sha256) = index.oldest_before(oldest) {
            self.let_go(&mut index, &sha256);
        }
    }

    /// What is kept under a SHA-256, as it goes over the wire.
    ///
    /// # Errors
    ///
    /// `validation_failed` where nothing is, `unavailable` where it is damaged or cannot be read, `response_too_large`
    /// where its base64 is longer than `most`.
    pub(crate) fn read(&self, sha256: &str, most: usize) -> Result<Binary, Fault> {
        let at = "$.actions[0].params.sha256";
        let Some(wanted) = parsed(sha256) else {
            let found = llm_os_core::error::excerpt(sha256);
            return Err(Fault::invalid(at, format!("found \"{found}\", expected 64 digits of 0-9 and a-f")));
        };
        let gone = "nothing is kept under this SHA-256 (any more): audit.evidence_quota and audit.evidence_retention say for how long";
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => Fault::invalid(at, gone),
            _ => {
                Fault::new(Code::UNAVAILABLE, format!("what is kept under this SHA-256 cannot be read: {e}"))
            }
        };
        let file = private().read(true).open(self.path(&wanted)).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length.div_ceil(3).saturating_mul(4) > most as u64 {
            let message = format!(
                "it has {length} bytes, and limits.response_bytes is {most}: read it from the state directory"
            );
            return Err(Fault::new(Code::RESPONSE_TOO_LARGE, message));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.take(length + 1).read_to_end(&mut bytes).map_err(failed)?;
        let binary = Binary::new(media_type(&bytes), &bytes);
        if binary.sha256 == sha256 {
            return Ok(binary);
        }
        self.index().damaged(&wanted);
        let message =
            "what is kept under this SHA-256 is damaged, and counts as missing: it has another SHA-256";
        Err(Fault::new(Code::UNAVAILABLE, message))
    }

    fn store(&self, sha256: Sha256Bytes, bytes: &[u8]) -> io::Result<()> {
        let now = SystemTime::now();
        if self.index().touch(&sha256, now) && set_time(&self.path(&sha256), now).is_ok() {
            return Ok(());
        }
        let path = self.path(&sha256);
        let part = path.with_extension(format!("{}.part", self.parts.fetch_add(1, Ordering::Relaxed)));
        let written = self.write(&part, bytes).and_then(|()| {
            let mut index = self.index();
            index.remove(&sha256);
            self.make_room(&mut index, blocks(bytes.len() as u64));
            fs::rename(&part, &path)?;
            index.insert(sha256, bytes.len() as u64, now, true);
            Ok(())
        });
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written
    }

    fn write(&self, part: &Path, bytes: &[u8]) -> io::Result<()> {
        let open = || private().write(true).create_new(true).open(part);
        let mut file = match open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let folder = part.parent().unwrap_or(&self.folder);
                match DirBuilder::new().mode(0o700).create(folder) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                    Ok(()) | Err(_) => open()?,
                }
            }
            opened => opened?,
        };
        file.write_all(bytes)
    }

    /// Lets the oldest go until what counts so much fits as well.
    fn make_room(&self, index: &mut Index, more: u64) {
        while index.used().saturating_add(more) > self.quota {
            let Some(oldest) = index.oldest() else { return };
            self.let_go(index, &oldest);
        }
    }

    fn let_go(&self, index: &mut Index, sha256: &Sha256Bytes) {
        index.remove(sha256);
        let path = self.path(sha256);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), "evidence could not be removed: {e}");
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn path(&self, sha256: &Sha256Bytes) -> PathBuf {
        let name = hex(sha256);
        self.folder.join(&name[..2]).join(name)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper for Store {
    fn keep(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<Evidence, String> {
        let length = bytes.len() as u64;
        if blocks(length) > self.quota {
            return Err(format!("{length} bytes of {name} do not fit into audit.evidence_quota"));
        }
        let sha256: Sha256Bytes = Sha256::digest(bytes).into();
        self.store(sha256, bytes).map_err(|e| {
            tracing::warn!("evidence could not be kept: {e}");
            format!("{length} bytes of {name} could not be written: {e}")
        })?;
        let (name, media_type) = (name.to_owned(), media_type.to_owned());
        Ok(Evidence { name, media_type, bytes: length, sha256: hex(&sha256), point: None })
    }

    fn saw(&self, caller: &Principal, display: &str, picture: Option<Picture>) {
        self.pictures.saw(caller, display, picture);
    }

    fn seen(&self, caller: &Principal, display: &str) -> Option<Picture> {
        let picture = self.pictures.seen(caller, display)?;
        let is_kept = parsed(&picture.evidence.sha256).is_some_and(|sha256| self.index().holds(&sha256));
        is_kept.then_some(picture)
    }
}

/// What is in a store: how many files, and how many bytes they count.
pub(crate) fn stock(state: &Path) -> Result<(u64, u64), OpenError> {
    let (mut files, mut used) = (0, 0);
    look(&folder(state), |found| {
        if let Found::Kept { bytes, .. } = found {
            (files, used) = (files + 1, used + blocks(bytes));
        }
        Ok(())
    })?;
    Ok((files, used))
}

enum Found<'a> {
    /// One of the folders that files are in.
    Folder(&'a Path),
    Kept {
        sha256: Sha256Bytes,
        bytes: u64,
        time: SystemTime,
    },
    /// What was being written when a host ended.
    Part(&'a Path),
}

/// Looks at everything of a store, and at nothing else that lies there.
fn look(folder: &Path, mut each: impl FnMut(Found<'_>) -> Result<(), OpenError>) -> Result<(), OpenError> {
    let listed = |path: &Path| -> Result<Vec<PathBuf>, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        let entries = fs::read_dir(path).map_err(failed)?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
    };
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    for inner in listed(folder)? {
        let prefix = name(&inner);
        let is_prefix = prefix.len() == 2 && prefix.bytes().all(is_digit);
        if !is_prefix || !inner.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            continue;
        }
        each(Found::Folder(&inner))?;
        for path in listed(&inner)? {
            let name = name(&path);
            let Ok(found) = path.symlink_metadata() else { continue };
            match parsed(&name) {
                Some(sha256) if name.starts_with(&prefix) && found.is_file() => {
                    let time = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    each(Found::Kept { sha256, bytes: found.len(), time })?;
                }
                _ if name.ends_with(".part") && found.is_file() => each(Found::Part(&path))?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn is_digit(digit: u8) -> bool {
    matches!(digit, b'0'..=b'9' | b'a'..=b'f')
}

/// A SHA-256 in lower-case hexadecimal.
fn parsed(text: &str) -> Option<Sha256Bytes> {
    let value = |digit: u8| if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
    if text.len() != 64 || !text.bytes().all(is_digit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
        *byte = value(*high) << 4 | value(*low);
    }
    Some(bytes)
}

/// A file that is named again is as young as a new one, also for the next start.
fn set_time(path: &Path, time: SystemTime) -> io::Result<()> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    let seconds = i64::try_from(since.as_secs()).map_err(io::Error::other)?;
    let time = Timespec { tv_sec: seconds, tv_nsec: since.subsec_nanos().into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The media type of what is kept, by how it begins: a file here has no name that would say it.
fn media_type(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'-', b'-', b'-', b' ', ..] => "text/x-diff",
        [b'{' | b'[', ..] => "application/json",
        _ => "application/octet-stream",
    }
}
