//! `fs.read` and `fs.stat`.

use std::os::fd::OwnedFd;

use llm_os_core::path::{WirePath, spell};
use llm_os_core::value::Encoding;
use llm_os_core::{Effects, Fault, Text, Verb};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::fault::{READ_FAILED, read_failed, shown};
use crate::kernel::{FileKind, Meta};
use crate::output::{Output, Stat as StatOutput, StatMeta};
use crate::roots::{Handle, Last, Place, Roots};

/// The most that one read gives.
pub(crate) const MAX_BYTES: u64 = 8 << 20;
/// The least: enough for one character, so that each page of a text brings it forward.
const MIN_BYTES: u64 = 4;

/// A file to read from.
#[derive(Debug)]
pub(crate) struct Read {
    place: Place,
    offset: u64,
    max_bytes: usize,
}

/// Refuses lengths that no answer could hold, before anything is opened or allocated.
pub(crate) fn check_length(max_bytes: u64) -> Result<usize, Fault> {
    if !(MIN_BYTES..=MAX_BYTES).contains(&max_bytes) {
        let message = format!(
            "max_bytes is {max_bytes}, expected {MIN_BYTES} to {MAX_BYTES}: read a long file in parts"
        );
        return Err(Fault::invalid("max_bytes", message));
    }
    usize::try_from(max_bytes).map_err(|_| Fault::invalid("max_bytes", "it does not fit into memory"))
}

impl Read {
    pub(crate) fn resolve(
        roots: &Roots,
        path: &WirePath,
        offset: u64,
        max_bytes: u64,
    ) -> Result<Self, Fault> {
        let place = roots.place(&path.bytes("path")?, Last::Follow)?.file_or_directory()?;
        Ok(Self { place, offset, max_bytes: check_length(max_bytes)? })
    }

    pub(crate) fn effects(&self) -> Effects {
        Effects::one(self.place.effect(Verb::Observe))
    }

    pub(crate) fn run(self, roots: &Roots) -> Result<Output, Fault> {
        let Self { place, offset, max_bytes } = self;
        let judged = place.found()?;
        let (file, meta) = open_file(roots, &judged)?;
        let rest = meta.bytes.saturating_sub(offset);
        let kept =
            read_up_to(&file, offset, max_bytes, rest).map_err(|e| read_failed("read", &judged.path, e))?;
        let kept_bytes = kept.len() as u64;
        // Shorter than it was: what is there now is all there is.
        let seen = if kept.len() < max_bytes { kept_bytes } else { rest.max(kept_bytes) };
        let content = Text::new(kept, seen);
        let shown_bytes = match content.encoding {
            Encoding::Utf8 => content.text.len() as u64,
            Encoding::Base64 => kept_bytes,
        };
        let next = (shown_bytes < seen).then_some(offset + shown_bytes);
        Ok(Output::Read { path: spell(&judged.path), content, offset, size: meta.bytes, next })
    }
}

/// Opens a judged file for reading; a directory is answered with what to do instead.
pub(crate) fn open_file(roots: &Roots, judged: &Handle) -> Result<(OwnedFd, Meta), Fault> {
    if judged.meta.is_directory() {
        let message = format!("\"{}\" is a directory: list it with fs.list", shown(&judged.path));
        return Err(Fault::new(READ_FAILED, message));
    }
    roots.reopen(judged, OFlags::RDONLY)
}

/// Reads at most `most` bytes; what is reserved follows the file's own size and never `most` alone.
pub(crate) fn read_up_to(file: &OwnedFd, offset: u64, most: usize, expected: u64) -> Result<Vec<u8>, Errno> {
    const GROWTH: usize = 64 << 10;
    // One byte more than expected, so that the read that finds the end needs no more room.
    let expected = usize::try_from(expected).unwrap_or(usize::MAX).saturating_add(1);
    let mut bytes = vec![0; expected.min(most)];
    let mut filled = 0;
    loop {
        if filled == bytes.len() {
            if filled >= most {
                return Ok(bytes);
            }
            // The file grew, or ends here: one more read tells.
            bytes.resize(most.min(filled + GROWTH), 0);
        }
        match rustix::io::pread(file, &mut bytes[filled..], offset.saturating_add(filled as u64)) {
            Ok(0) => {
                bytes.truncate(filled);
                return Ok(bytes);
            }
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            // An offset that no file can have.
            Err(Errno::INVAL | Errno::OVERFLOW) if filled == 0 => return Ok(Vec::new()),
            Err(e) => return Err(e),
        }
    }
}

/// Something to tell about.
#[derive(Debug)]
pub(crate) struct Stat {
    place: Place,
}

impl Stat {
    pub(crate) fn resolve(roots: &Roots, path: &WirePath) -> Result<Self, Fault> {
        Ok(Self { place: roots.place(&path.bytes("path")?, Last::Keep)? })
    }

    pub(crate) fn effects(&self) -> Effects {
        Effects::one(self.place.metadata_effect(Verb::Observe))
    }

    pub(crate) fn run(self) -> Result<Output, Fault> {
        let handle = self.place.found()?;
        let meta = Meta::of(handle.fd()).map_err(|e| read_failed("look at", &handle.path, e))?;
        let target = if meta.kind == FileKind::Symlink {
            let target = rustix::fs::readlinkat(handle.fd(), c"", Vec::new());
            Some(Text::from(
                target.map_err(|e| read_failed("read the symlink", &handle.path, e))?.into_bytes(),
            ))
        } else {
            None
        };
        Ok(Output::Stat(StatOutput {
            path: spell(&handle.path),
            kind: meta.kind.into(),
            bytes: meta.bytes,
            permissions: format!("{:03o}", meta.permissions),
            uid: meta.uid,
            gid: meta.gid,
            links: meta.links,
            target,
            meta: StatMeta::of(&meta),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm_os_core::{Root, RootMode, Setup};

    #[test]
    #[ignore = "a measurement: run it alone, optimised"]
    fn a_read_of_4_kib_costs_less_than_25_microseconds() {
        const ROUNDS: u32 = 20_000;
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let file = path.join("src").join("file");
        std::fs::create_dir(path.join("src")).unwrap();
        std::fs::write(&file, "x".repeat(4096)).unwrap();
        let roots =
            Roots::open(&Setup { roots: vec![Root { path, mode: RootMode::Write }], ..Setup::default() })
                .unwrap();
        let file = WirePath::new(file.to_str().unwrap());
        // The thread's own time: other work on the machine does not count.
        let now = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            std::time::Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
        };
        let start = now();
        for _ in 0..ROUNDS {
            let read = Read::resolve(&roots, &file, 0, 65_536).unwrap();
            std::hint::black_box((read.effects(), read.run(&roots).unwrap()));
        }
        let each = (now() - start) / ROUNDS;
        println!("resolve, effects and read: {each:?}");
        assert!(each.as_micros() < 25, "{each:?}");
    }
}
