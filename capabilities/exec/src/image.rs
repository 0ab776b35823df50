//! What a program's file holds: its digest, and for one that others than root can change the sealed copy that runs.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use llm_os_core::value::hex;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// The largest program.
pub(crate) const MAX_PROGRAM: u64 = 256 * 1024 * 1024;
/// As much of a file as the kernel looks at to tell how to run it (`BINPRM_BUF_SIZE`, linux/binfmts.h).
pub(crate) const HEAD: usize = 256;
/// How many digests are remembered.
const REMEMBERED: usize = 512;

/// What a file holds, as far as it matters.
#[derive(Clone)]
pub(crate) struct Content {
    /// SHA-256 of all of it, in lower-case hexadecimal.
    pub(crate) sha256: String,
    /// Its first bytes, at most [`HEAD`].
    pub(crate) head: Vec<u8>,
    /// Whether it has file capabilities (capabilities(7)).
    pub(crate) capabilities: bool,
}

/// Content of files that only root can change, by what changes with it.
#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<Stamp, Content>>);

#[derive(PartialEq, Eq, Hash)]
struct Stamp([i128; 7]);

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self([
            stat.st_dev.into(),
            stat.st_ino.into(),
            stat.st_size.into(),
            stat.st_mtime.into(),
            stat.st_mtime_nsec.into(),
            stat.st_ctime.into(),
            stat.st_ctime_nsec.into(),
        ])
    }
}

impl Cache {
    /// Reads a file that only root can change, or remembers what it held: its stamps tell every change.
    pub(crate) fn read(&self, file: &OwnedFd, stat: &Stat) -> io::Result<Content> {
        let known = |cache: &HashMap<_, Content>| cache.get(&Stamp::of(stat)).cloned();
        if let Some(content) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(content);
        }
        let mut opened = open(file)?;
        let content = read(&mut opened, &mut io::sink())?;
        if Stamp::of(&rustix::fs::fstat(&opened)?) == Stamp::of(stat) {
            let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.len() >= REMEMBERED {
                cache.clear();
            }
            cache.insert(Stamp::of(stat), content.clone());
        }
        Ok(content)
    }
}

/// Reads a file that others than root can change.
pub(crate) fn read_whole(file: &OwnedFd) -> io::Result<Content> {
    read(&mut open(file)?, &mut io::sink())
}

/// Copies a file into memory that nobody can change any more, the host included.
pub(crate) fn seal_copy(file: &OwnedFd) -> io::Result<(OwnedFd, Content)> {
    let mut copy = File::from(memfd("program", MemfdFlags::EXEC)?);
    let content = read(&mut open(file)?, &mut copy)?;
    Ok((seal(copy.into())?, content))
}

/// Puts bytes into memory that nobody can change or run, to be read from the start.
pub(crate) fn seal_bytes(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd("stdin", MemfdFlags::NOEXEC_SEAL)?);
    file.write_all(bytes)?;
    Ok(seal(file.into())?)
}

/// Kernels before 6.3 do not know the flags that tell whether the memory may be run.
fn memfd(name: &str, kind: MemfdFlags) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | kind) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        made => made,
    }
}

/// Seals memory and gives it back as a descriptor that reads from its start.
fn seal(memory: OwnedFd) -> Result<OwnedFd, Errno> {
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&memory, seals)?;
    reopen(&memory, OFlags::empty())
}

/// Opens for reading what was opened otherwise.
fn reopen(file: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/self/fd/{}", file.as_raw_fd()), flags, Mode::empty())
}

/// Opens for reading what was opened with `O_PATH`; never waits for the holder of a lease.
fn open(file: &OwnedFd) -> Result<File, Errno> {
    reopen(file, OFlags::NONBLOCK).map(File::from)
}

fn read(file: &mut File, copy: &mut dyn Write) -> io::Result<Content> {
    let mut digest = Sha256::new();
    let mut head = Vec::with_capacity(HEAD);
    let mut buffer = vec![0; 128 * 1024];
    let mut seen = 0;
    loop {
        let chunk = match file.read(&mut buffer)? {
            0 => break,
            length => &buffer[..length],
        };
        seen += chunk.len() as u64;
        if seen > MAX_PROGRAM {
            return Err(Errno::FBIG.into());
        }
        head.extend_from_slice(&chunk[..chunk.len().min(HEAD - head.len())]);
        digest.update(chunk);
        copy.write_all(chunk)?;
    }
    let capabilities = match rustix::fs::fgetxattr(&*file, "security.capability", &mut [0_u8; 0][..]) {
        Ok(length) => length > 0,
        Err(Errno::NODATA | Errno::NOTSUP) => false,
        Err(e) => return Err(e.into()),
    };
    Ok(Content { sha256: hex(&digest.finalize()), head, capabilities })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_copy_cannot_be_changed() {
        let file = tempfile::tempfile().unwrap();
        (&file).write_all(b"#!/bin/sh\n").unwrap();
        let (copy, content) = seal_copy(&file.into()).unwrap();
        assert_eq!(content.head, b"#!/bin/sh\n");
        let writable =
            rustix::fs::open(format!("/proc/self/fd/{}", copy.as_raw_fd()), OFlags::RDWR, Mode::empty());
        let mut writable = File::from(writable.unwrap());
        assert_eq!(writable.write_all(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert!(writable.set_len(0).is_err());
    }
}
