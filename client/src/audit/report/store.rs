//! What is kept beside the log.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use llm_os_core::value::hex;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

/// What is larger is not shown.
const LARGEST: u64 = 64 << 20;

/// The folder of evidence, which may be missing.
#[derive(Debug)]
pub(super) struct Store(pub(super) PathBuf);

impl Store {
    /// The bytes with this digest.
    ///
    /// # Errors
    ///
    /// Why they cannot be shown, for the page.
    pub(super) fn read(&self, sha256: &str) -> Result<Vec<u8>, &'static str> {
        if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("its digest is none");
        }
        let path = self.0.join(&sha256[..2]).join(sha256);
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => "no longer there",
            _ => "cannot be read",
        })?;
        match file.metadata() {
            Ok(data) if !data.is_file() => return Err("damaged: it is no file"),
            Ok(data) if data.len() > LARGEST => return Err("too large to be shown"),
            Ok(_) => {}
            Err(_) => return Err("cannot be read"),
        }
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes).map_err(|_| "cannot be read")?;
        if hex(&Sha256::digest(&bytes)) == sha256 { Ok(bytes) } else { Err("damaged: it has another digest") }
    }
}
