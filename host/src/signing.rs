//! Approvals that are signed: whose signatures count, and whether one does.
//!
//! Where the configuration names a file of approvers, an approval counts only with a signature by one of their keys over
//! the statement of exactly that held plan ([`llm_os_core::approval`]). The socket alone then approves nothing.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use llm_os_core::approval::{Moment, NAMESPACE, SignatureError, SignedBy, Signers, SignersError, Statement};
use llm_os_core::audit::PublicKey;
use llm_os_core::{Code, Fault};
use serde_json::{Value, json};

use crate::approvals::Held;

/// More than any list of people.
const MAX_BYTES: u64 = 1 << 20;
/// So many refused signatures of one user...
const MISSES: u32 = 10;
/// ...within so long make that user wait for as long.
const LOCK_OUT: Duration = Duration::from_secs(60);
/// What is about to end counts as over: the record, by whose time others verify, is written a moment later.
const MARGIN: Duration = Duration::from_secs(2);
/// Where a signature stands in its request.
const PATH: &str = "$.actions[0].params.signature";

/// Why a file of approvers is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApproversError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: {why}")]
    Unsafe { path: PathBuf, why: String },
    #[error("{path}: {source}")]
    Refused { path: PathBuf, source: SignersError },
}

/// Whose signatures count, where any are asked for.
pub(crate) struct Approvers {
    path: Option<PathBuf>,
    signers: RwLock<Option<Arc<Signers>>>,
    misses: Mutex<HashMap<u32, (u32, Instant)>>,
}

/// A signature that counts, with all that is needed to verify it again.
pub(crate) struct Signed {
    statement: String,
    signature: String,
    by: SignedBy,
}

impl Signed {
    /// The key that signed.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.by.fingerprint
    }

    /// What the record of the approval says of it.
    pub(crate) fn record(&self) -> Value {
        json!({
            "statement": self.statement,
            "armored": self.signature,
            "fingerprint": self.by.fingerprint,
            "principals": self.by.principals,
        })
    }
}

impl Approvers {
    /// Reads the file at this place; without one, no signatures are asked for.
    ///
    /// # Errors
    ///
    /// A file that is not understood completely, or that other users can change.
    pub(crate) fn load(path: Option<PathBuf>) -> Result<Self, ApproversError> {
        let approvers = Self { path, signers: RwLock::default(), misses: Mutex::default() };
        let signers = approvers.read()?;
        approvers.replace(signers);
        Ok(approvers)
    }

    /// Reads the file anew; what it says counts once it is given to [`Approvers::replace`].
    ///
    /// # Errors
    ///
    /// As [`Approvers::load`].
    pub(crate) fn read(&self) -> Result<Option<Signers>, ApproversError> {
        self.path.as_deref().map(read).transpose()
    }

    /// From now on these count.
    pub(crate) fn replace(&self, signers: Option<Signers>) {
        *self.signers.write().unwrap_or_else(PoisonError::into_inner) = signers.map(Arc::new);
    }

    /// Those who must sign; `None` where approvals need no signature.
    pub(crate) fn asked(&self) -> Option<Arc<Signers>> {
        self.signers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What an approver is asked to sign, for `host.pending`.
    pub(crate) fn question(&self, held: &Held, sha256: &str, host: PublicKey) -> Option<Value> {
        self.asked()?;
        let statement =
            |session| statement(held, sha256, session, host).map(|statement| statement.to_string());
        Some(json!({"namespace": NAMESPACE, "once": statement(false)?, "session": statement(true)?}))
    }

    /// Verifies the signature of an approval, or that none was asked for. A refused one leaves the plan as it is.
    ///
    /// # Errors
    ///
    /// `confirmation_invalid` where a signature is missing or does not count, `busy` after too many of these,
    /// `validation_failed` where nobody asked for one.
    pub(crate) fn verify(
        &self,
        uid: u32,
        held: &Held,
        statement: Option<Statement>,
        signature: Option<&str>,
    ) -> Result<Option<Signed>, Fault> {
        let refused = |message: String| {
            Fault::new(Code::CONFIRMATION_INVALID, message).at(PATH).detail("pending_id", held.id.as_str())
        };
        let (signers, signature) = match (self.asked(), signature) {
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                let why = "nobody asked for a signature, so none is verified: set confirmation.approvers, or approve without it";
                return Err(Fault::invalid(PATH, why));
            }
            (Some(_), None) => {
                let id = &held.id;
                return Err(refused(format!(
                    "approvals on this host are signed: llmsh approve {id} --sign-with KEY"
                )));
            }
            (Some(signers), Some(signature)) => (signers, signature),
        };
        self.may_try(uid)?;
        let now = SystemTime::now();
        let (Some(statement), Some(now), Some(soon)) = (statement, moment(now), moment(now + MARGIN)) else {
            return Err(refused("the host's clock shows no time that can be stated; set it".to_owned()));
        };
        let verify = |at| signers.verify(&statement, signature, at);
        match verify(now).and_then(|_| verify(soon)) {
            Ok(by) => {
                let (statement, signature) = (statement.to_string(), signature.to_owned());
                Ok(Some(Signed { statement, signature, by }))
            }
            Err(e) => {
                self.missed(uid);
                let other = Statement { session: !statement.session, ..statement.clone() };
                let is_other = matches!(e, SignatureError::OtherText { .. })
                    && signers.verify(&other, signature, now).is_ok();
                let why = match (is_other, statement.session) {
                    (true, true) => {
                        "the signature approves the plan once, and the request is to approve for the session: sign what llmsh approve ID --for-session --statement prints"
                            .to_owned()
                    }
                    (true, false) => {
                        "the signature approves for the session, and the request is to approve once: sign what llmsh approve ID --statement prints"
                            .to_owned()
                    }
                    (false, _) => format!("the signature is refused: {e}"),
                };
                let fault = refused(format!("{why}; the plan still waits"));
                Err(match e.fingerprint() {
                    Some(fingerprint) => fault.detail("fingerprint", fingerprint),
                    None => fault,
                })
            }
        }
    }

    fn may_try(&self, uid: u32) -> Result<(), Fault> {
        let mut misses = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        misses.retain(|_, (_, last)| last.elapsed() < LOCK_OUT);
        if misses.get(&uid).is_some_and(|(count, _)| *count >= MISSES) {
            let why = "too many refused signatures from this user; wait a minute, then sign what llmsh approve ID --statement prints";
            return Err(Fault::new(Code::BUSY, why).at(PATH));
        }
        Ok(())
    }

    fn missed(&self, uid: u32) {
        let mut misses = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        let miss = misses.entry(uid).or_insert((0, Instant::now()));
        *miss = (miss.0 + 1, Instant::now());
    }
}

/// What an approval of a held plan states.
pub(crate) fn statement(held: &Held, sha256: &str, session: bool, host: PublicKey) -> Option<Statement> {
    Some(Statement {
        session,
        pending_id: held.id.clone(),
        uid: held.plan.principal.uid,
        sha256: sha256.to_owned(),
        expires: moment(held.expires)?,
        host,
    })
}

/// The people of a list as words: `ann@example.org (SHA256:...)`.
pub(crate) fn words(signers: &Signers) -> String {
    let word = |by: SignedBy| format!("{} ({})", by.principals.join(","), by.fingerprint);
    signers.people().map(word).collect::<Vec<_>>().join(", ")
}

/// The people of a list as a record has them.
pub(crate) fn listed(signers: &Signers) -> Value {
    let person = |by: SignedBy| json!({"fingerprint": by.fingerprint, "principals": by.principals});
    signers.people().map(person).collect()
}

fn moment(time: SystemTime) -> Option<Moment> {
    Moment::rfc3339(&humantime::format_rfc3339_seconds(time).to_string())
}

fn read(path: &Path) -> Result<Signers, ApproversError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ApproversError::Io { path, source }
    };
    let real = fs::canonicalize(path).map_err(at(path))?;
    if !fs::metadata(&real).map_err(at(&real))?.is_file() {
        let why = "expected a regular file of allowed signers, see ssh-keygen(1)".to_owned();
        return Err(ApproversError::Unsafe { path: real, why });
    }
    let file = File::open(&real).map_err(at(&real))?;
    let found = file.metadata().map_err(at(&real))?;
    is_ours(&real, &found)?;
    let directory = real.parent().unwrap_or(Path::new("/"));
    is_ours(directory, &fs::metadata(directory).map_err(at(directory))?)?;
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(at(&real))?;
    if text.len() as u64 > MAX_BYTES {
        let why = format!("it is longer than {MAX_BYTES} bytes");
        return Err(ApproversError::Unsafe { path: real, why });
    }
    Signers::read(&text).map_err(|source| ApproversError::Refused { path: real, source })
}

/// Who can write the file, or put another in its place, can approve.
fn is_ours(path: &Path, found: &Metadata) -> Result<(), ApproversError> {
    let refused = |why: String| Err(ApproversError::Unsafe { path: path.to_owned(), why });
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us && found.uid() != 0 {
        return refused(format!("it belongs to uid {}, expected {us} (the host's own) or 0", found.uid()));
    }
    if found.mode() & 0o022 != 0 {
        let mode = found.mode() & 0o7777;
        return refused(format!(
            "other users can write it (mode {mode:04o}); run: chmod go-w {}",
            path.display()
        ));
    }
    Ok(())
}
