//! The audit log on disk: written ahead, in groups, chained over segments, signed at checkpoints.
//!
//! ```text
//! STATE/audit.key  audit.pub  digest.key  once        0600
//! STATE/audit/     0700: lock, audit-00000001.jsonl, audit-00000002.jsonl, ..., torn-SEQ.bin
//! ```
//!
//! - What [`Log::write`](Ledger::write) returned for is on the disk (`fdatasync`), whatever happens next.
//! - After any error of the disk, or a sign that another hand is on the file, nothing is written any more
//!   (`audit_unavailable`) until the host starts again and closes what was torn. Nothing is retried: after a failed
//!   sync the kernel may report success for pages that it dropped.
//! - No record is dropped in silence: refusals beyond a rate are counted into a `summary`.
//! - With a group of readers the log's directory is 0750, its segments 0640 and `audit.pub` 0644, and the state directory
//!   0710: its members pass through it and list nothing.
//!
//! The format is [`llm_os_core::audit`]'s.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hmac::{Hmac, Mac};
use llm_os_core::audit::{Entry, Event, PublicKey};
use llm_os_core::name::Id;
use llm_os_core::pipeline::{Durable, Ledger};
use llm_os_core::value::hex;
use llm_os_core::{Fault, Principal};
use sha2::Sha256;

use self::disk::{Directory, Disk};
pub(crate) use self::files::{directory, owned, private};
use self::group::Group;
use self::once::Once;

mod disk;
mod files;
mod group;
mod keys;
mod once;
mod recover;
mod refusals;
#[cfg(test)]
mod tests;
mod writer;

/// How the log is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// A segment that is longer is closed and a new one begun.
    pub(crate) segment_bytes: u64,
    /// A signed checkpoint after so many records.
    pub(crate) checkpoint_records: u64,
    /// The group that may read the log, by its gid.
    pub(crate) readers: Option<u32>,
    /// Closed segments whose last record is older are removed.
    pub(crate) retention: Option<Duration>,
}

/// Why there is no log. Each message ends with the next step.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is locked: another llm-osd uses this state directory; stop it, or give --state-dir")]
    Locked { path: PathBuf },
    #[error("{path} {why}")]
    Unsafe { path: PathBuf, why: String },
    #[error("{path} is gone, but the log in {log} is signed with it: put it back, or move the log away")]
    KeyGone { path: PathBuf, log: PathBuf },
    #[error(
        "{path} was altered at record {seq}, before a checkpoint that is signed: see llmsh audit verify, then move the log away"
    )]
    Altered { path: PathBuf, seq: u64 },
}

/// The audit log, and what must be as durable as it: which requests with `once` ran.
pub(crate) struct Log {
    group: Group,
    once: Mutex<Once>,
    digest: Hmac<Sha256>,
    key: PublicKey,
}

impl Log {
    /// Opens the log of a state directory, closes what an unclean end left open, and goes on after it.
    ///
    /// # Errors
    ///
    /// Whatever could keep a record from being written or from being trusted.
    pub(crate) fn open(state: &Path, options: Options) -> Result<Self, OpenError> {
        Self::open_on(state, options, |disk| Box::new(disk))
    }

    /// The same, with something between the log and the disk.
    fn open_on(
        state: &Path,
        options: Options,
        disk: impl FnOnce(Directory) -> Box<dyn Disk>,
    ) -> Result<Self, OpenError> {
        let directory = Directory::open(state, options.readers)?;
        let keys = keys::open(state, &directory)?;
        let found = recover::find(&directory, &keys.signer.public())?;
        let once = Once::open(state)?;
        let key = keys.signer.public();
        let writer = recover::resume(directory, found, keys.signer, options, disk)?;
        Ok(Self { group: Group::new(writer), once: Mutex::new(once), digest: keys.digest, key })
    }

    /// The key that verifies its checkpoints, by which others know this host.
    pub(crate) fn key(&self) -> PublicKey {
        self.key
    }

    /// Removes closed segments that are older than the configuration keeps, after a signed record that says which.
    ///
    /// # Errors
    ///
    /// `audit_unavailable`.
    pub(crate) async fn retire(&self) -> Result<(), Fault> {
        self.group.retire().await
    }

    /// Writes the last records: what is open as interrupted, the stop, and a checkpoint over all. Nothing can be
    /// written after it.
    ///
    /// # Errors
    ///
    /// `audit_unavailable`.
    pub(crate) async fn close(&self) -> Result<(), Fault> {
        self.group.close(Entry::new(Event::Stop)).await
    }

    fn once(&self) -> MutexGuard<'_, Once> {
        self.once.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for Log {
    async fn write(&self, entries: Vec<Entry>) -> Result<Durable, Fault> {
        self.group.write(&entries).await
    }

    fn note(&self, entries: Vec<Entry>) -> Result<(), Fault> {
        self.group.note(entries)
    }

    fn digest(&self, secret: &[u8]) -> String {
        hex(&self.digest.clone().chain_update(secret).finalize().into_bytes())
    }

    fn claim(&self, who: &Principal, request: &Id, run: &str) -> Result<(), Fault> {
        self.once().claim(who, request, run)
    }

    fn settle(&self, who: &Principal, request: &Id, outcome: &str) {
        self.once().settle(who, request, outcome);
    }
}
