//! The two keys of a state directory: one signs checkpoints, one turns secrets into digests.

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hmac::{Hmac, KeyInit};
use llm_os_core::audit::Signer;
use sha2::Sha256;

use crate::audit::OpenError;
use crate::audit::disk::Directory;
use crate::audit::files::{at, owned, private, write_whole};

/// What the keys are used as.
pub(super) struct Keys {
    pub(super) signer: Signer,
    pub(super) digest: Hmac<Sha256>,
}

/// Reads the keys, or makes them at the first start.
pub(super) fn open(state: &Path, log: &Directory) -> Result<Keys, OpenError> {
    let path = state.join("audit.key");
    let is_new = !path.try_exists().map_err(at(&path))?;
    if is_new && log.last().is_some() {
        return Err(OpenError::KeyGone { path, log: log.path().to_owned() });
    }
    let signer = Signer::from_seed(&key(&path)?);
    let public = state.join("audit.pub");
    let text = format!("{}\n", signer.public());
    if fs::read(&public).ok().as_deref() != Some(text.as_bytes()) {
        write_whole(&public, 0o644, text.as_bytes()).map_err(at(&public))?;
    }
    if log.has_readers() {
        fs::set_permissions(&public, Permissions::from_mode(0o644)).map_err(at(&public))?;
    }
    let digest =
        Hmac::new_from_slice(&key(&state.join("digest.key"))?).expect("HMAC takes keys of any length");
    Ok(Keys { signer, digest })
}

/// 32 random bytes that stay the same.
fn key(path: &Path) -> Result<[u8; 32], OpenError> {
    let mut key = [0; 32];
    match private().read(true).open(path) {
        Ok(mut file) => {
            owned(path, &file, 0o077)?;
            let mut bytes = Vec::new();
            Read::take(&mut file, 64).read_to_end(&mut bytes).map_err(at(path))?;
            let why = || format!("holds {} bytes, and a key has 32: put the key back", bytes.len());
            key = bytes
                .as_slice()
                .try_into()
                .map_err(|_| OpenError::Unsafe { path: path.to_owned(), why: why() })?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            getrandom::fill(&mut key).map_err(|e| at(path)(io::Error::other(e)))?;
            write_whole(path, 0o600, &key).map_err(at(path))?;
        }
        Err(e) => return Err(at(path)(e)),
    }
    Ok(key)
}
