//! One program as an init gets it: a file in memory that it maps, with texts and the places of texts.
//!
//! ```text
//! words of 64 bits: argc, envc, flags, directory, its device, its inode, argv..., 0, env..., 0    then the texts
//! ```
//!
//! The places of texts are counted from the start of the file; the init, which maps a copy of its own, makes pointers of them.

use std::ffi::{CStr, CString, c_char};
use std::fs::File;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::os::fd::{OwnedFd, RawFd};
use std::ptr::null_mut;

use rustix::fs::MemfdFlags;

/// The program gets descriptor 0 for its controlling terminal.
pub(super) const TTY: u64 = 1;

const WORD: usize = size_of::<u64>();
const FIXED: usize = 6;

/// Writes a spec.
pub(super) fn write(
    argv: &[CString],
    env: &[CString],
    directory: &CStr,
    identity: (u64, u64),
    flags: u64,
) -> io::Result<OwnedFd> {
    let texts = || argv.iter().chain(env).map(CString::as_c_str).chain([directory]);
    let words = FIXED + argv.len() + 1 + env.len() + 1;
    let mut place = words * WORD;
    let mut places = texts().map(|text| {
        let at = place as u64;
        place += text.to_bytes_with_nul().len();
        at
    });
    let of_argv: Vec<u64> = places.by_ref().take(argv.len()).chain([0]).collect();
    let of_env: Vec<u64> = places.by_ref().take(env.len()).chain([0]).collect();
    let of_directory = places.next().unwrap_or(0);
    drop(places);
    let fixed = [argv.len() as u64, env.len() as u64, flags, of_directory, identity.0, identity.1];
    let mut bytes = Vec::with_capacity(place);
    for word in fixed.into_iter().chain(of_argv).chain(of_env) {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    texts().for_each(|text| bytes.extend_from_slice(text.to_bytes_with_nul()));
    let mut file = File::from(rustix::fs::memfd_create("program", MemfdFlags::CLOEXEC)?);
    file.write_all(&bytes)?;
    Ok(file.into())
}

/// A spec that is mapped into this process, with pointers in it.
#[derive(Clone, Copy)]
pub(super) struct Header<'a> {
    words: *mut u64,
    _mapped: PhantomData<&'a u64>,
}

impl Header<'_> {
    /// Maps a file that [`write`] made. It stays mapped until this process ends.
    ///
    /// # Safety
    ///
    /// The file is one of [`write`].
    pub(super) unsafe fn map(file: RawFd) -> Option<Self> {
        // SAFETY: a private mapping of the whole file, which nothing else writes to; every place in it was written by
        // `write` and lies within.
        unsafe {
            let length = usize::try_from(libc::lseek(file, 0, libc::SEEK_END)).ok()?;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let mapped = libc::mmap(null_mut(), length, access, libc::MAP_PRIVATE, file, 0);
            if mapped == libc::MAP_FAILED || length < FIXED * WORD {
                return None;
            }
            let spec = Self { words: mapped.cast(), _mapped: PhantomData };
            let pointers = (spec.word(0) + spec.word(1)) as usize + 2;
            for at in FIXED..FIXED + pointers {
                if spec.word(at) != 0 {
                    spec.words.add(at).write(mapped as u64 + spec.word(at));
                }
            }
            Some(spec)
        }
    }

    fn word(&self, at: usize) -> u64 {
        // SAFETY: callers ask for words that `write` wrote.
        unsafe { self.words.add(at).read() }
    }

    pub(super) fn flags(&self) -> u64 {
        self.word(2)
    }

    pub(super) fn directory(&self) -> *const c_char {
        (self.words as u64 + self.word(3)) as *const c_char
    }

    pub(super) fn directory_identity(&self) -> (u64, u64) {
        (self.word(4), self.word(5))
    }

    pub(super) fn argv(&self) -> *const *const c_char {
        // SAFETY: the pointers follow the fixed words.
        unsafe { self.words.add(FIXED).cast() }
    }

    pub(super) fn env(&self) -> *const *const c_char {
        // SAFETY: the pointers of the environment follow those of the arguments and their end.
        unsafe { self.words.add(FIXED + self.word(0) as usize + 1).cast() }
    }
}
