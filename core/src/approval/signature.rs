//! An approver's signature: read strictly, then verified.
//!
//! What PROTOCOL.sshsig leaves to the reader is decided here: version 1 only, nothing in the reserved field, one armor for
//! one signature. The signature's cryptography is `ssh-key`'s.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, EcdsaCurve, LineEnding, PublicKey, SshSig};

use super::{Moment, NAMESPACE, Statement};
use crate::error::excerpt;

/// More than any armored signature: one of an RSA key of 8,192 bits has about 3,300 bytes.
const MAX_BYTES: usize = 16_384;
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "\n-----END SSH SIGNATURE-----";
/// In a security key's signature flags and counter follow, and this flag says that somebody touched it (PROTOCOL.u2f).
const SECURITY_KEY_TRAILER: usize = 5;
const USER_PRESENT: u8 = 0x01;

/// Who signed: the key, and the people that the list of signers says it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// The key's fingerprint as `ssh-keygen -lf` prints it, `SHA256:...`.
    pub fingerprint: String,
    /// Its principals in the list of signers.
    pub principals: Vec<String>,
}

/// Why a signature is no approval. Each says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SignatureError {
    #[error("it is not a signature as ssh-keygen -Y sign writes it: {0}")]
    Unreadable(String),
    #[error(
        "it was made in the namespace \"{found}\", expected \"{NAMESPACE}\": ssh-keygen -Y sign -n {NAMESPACE}"
    )]
    Namespace { found: String },
    #[error("it signs a digest by \"{found}\", expected sha512 or sha256: leave out -O hashalg")]
    Hash { found: String },
    #[error(
        "the key {fingerprint} is not one of the approvers': sign with one that is, or have it added to the file that confirmation.approvers names"
    )]
    UnknownKey { fingerprint: String },
    #[error(
        "the key {fingerprint} may not sign in the namespace \"{NAMESPACE}\": its line in the approvers' file says namespaces=\"{namespaces}\""
    )]
    KeyNamespace { fingerprint: String, namespaces: String },
    #[error("the key {fingerprint} is not valid before {from}: sign with another key")]
    NotYetValid { fingerprint: String, from: Moment },
    #[error("the key {fingerprint} was valid until {until}: sign with another key")]
    KeyExpired { fingerprint: String, until: Moment },
    #[error("the key {fingerprint} signed by {found}, expected {expected}: update what made the signature")]
    Algorithm { fingerprint: String, found: String, expected: &'static str },
    #[error("nobody touched the security key {fingerprint}: use one that was made without no-touch-required")]
    Untouched { fingerprint: String },
    #[error(
        "the key {fingerprint} signed another text: the statement of another plan, decision or host, or it was altered since; sign exactly what llmsh approve ID --statement prints"
    )]
    OtherText { fingerprint: String },
    #[error("the plan was held until {until}, which is over: let it be sent anew")]
    StatementExpired { until: Moment },
}

impl SignatureError {
    /// The key that signed, as far as it could be read.
    pub fn fingerprint(&self) -> Option<&str> {
        match self {
            Self::Unreadable(_)
            | Self::Namespace { .. }
            | Self::Hash { .. }
            | Self::StatementExpired { .. } => None,
            Self::UnknownKey { fingerprint }
            | Self::KeyNamespace { fingerprint, .. }
            | Self::NotYetValid { fingerprint, .. }
            | Self::KeyExpired { fingerprint, .. }
            | Self::Algorithm { fingerprint, .. }
            | Self::Untouched { fingerprint }
            | Self::OtherText { fingerprint } => Some(fingerprint),
        }
    }
}

/// The fingerprint of the key that signed this statement. Whether it is anybody's who may is for
/// [`Signers::verify`](super::Signers::verify) to say.
///
/// # Errors
///
/// Why this is no signature of the statement.
pub fn signer(statement: &Statement, armored: &str) -> Result<String, SignatureError> {
    let signature = Signature::read(armored)?;
    signature.verify(statement)?;
    Ok(fingerprint(signature.key()))
}

/// A signature that was read: in the right namespace and by a digest that is accepted, but verified by nobody.
pub(super) struct Signature(SshSig);

impl Signature {
    /// Reads an armored signature; a last LF may follow.
    pub(super) fn read(armored: &str) -> Result<Self, SignatureError> {
        let armored = armored.strip_suffix('\n').unwrap_or(armored);
        let bytes = dearmored(armored)?;
        let Envelope { namespace, hash } = Envelope::read(&bytes)?;
        if namespace != NAMESPACE.as_bytes() {
            return Err(SignatureError::Namespace { found: shown(namespace) });
        }
        if !matches!(hash, b"sha256" | b"sha512") {
            return Err(SignatureError::Hash { found: shown(hash) });
        }
        let read = SshSig::from_pem(armored).map_err(|e| unreadable(&e.to_string()))?;
        let again = read.to_pem(LineEnding::LF).map_err(|e| unreadable(&e.to_string()))?;
        if again.trim_end_matches('\n') != armored {
            return Err(unreadable("its parts are spelled in another way than OpenSSH spells them"));
        }
        Ok(Self(read))
    }

    pub(super) fn key(&self) -> &KeyData {
        self.0.public_key()
    }

    /// Verifies it by its own key.
    pub(super) fn verify(&self, statement: &Statement) -> Result<(), SignatureError> {
        let fingerprint = fingerprint(self.key());
        let expected = match self.key() {
            KeyData::Ed25519(_) => "ssh-ed25519",
            KeyData::Ecdsa(_) => "ecdsa-sha2-nistp256",
            KeyData::Rsa(_) => "rsa-sha2-512 or rsa-sha2-256",
            KeyData::SkEd25519(_) => "sk-ssh-ed25519@openssh.com",
            KeyData::SkEcdsaSha2NistP256(_) => "sk-ecdsa-sha2-nistp256@openssh.com",
            _ => "a key of another type",
        };
        let algorithm = self.0.algorithm();
        let fits = match (self.key(), &algorithm) {
            (KeyData::Ed25519(_), Algorithm::Ed25519)
            | (KeyData::Ecdsa(_), Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })
            | (KeyData::Rsa(_), Algorithm::Rsa { hash: Some(_) }) => true,
            (KeyData::SkEd25519(_), Algorithm::SkEd25519)
            | (KeyData::SkEcdsaSha2NistP256(_), Algorithm::SkEcdsaSha2NistP256) => {
                let bytes = self.0.signature_bytes();
                let flags = bytes.len().checked_sub(SECURITY_KEY_TRAILER).map_or(0, |at| bytes[at]);
                if flags & USER_PRESENT == 0 {
                    return Err(SignatureError::Untouched { fingerprint });
                }
                true
            }
            _ => false,
        };
        if !fits {
            let found = excerpt(algorithm.as_str());
            return Err(SignatureError::Algorithm { fingerprint, found, expected });
        }
        let key = PublicKey::from(self.key().clone());
        key.verify(NAMESPACE, statement.to_string().as_bytes(), &self.0)
            .map_err(|_| SignatureError::OtherText { fingerprint })
    }
}

/// A key as `ssh-keygen -lf` names it.
pub(super) fn fingerprint(key: &KeyData) -> String {
    key.fingerprint(ssh_key::HashAlg::Sha256).to_string()
}

fn unreadable(why: &str) -> SignatureError {
    SignatureError::Unreadable(excerpt(why))
}

fn shown(bytes: &[u8]) -> String {
    excerpt(&String::from_utf8_lossy(bytes))
}

/// What stands between the two lines of the armor.
fn dearmored(armored: &str) -> Result<Vec<u8>, SignatureError> {
    if armored.len() > MAX_BYTES {
        let why = format!("it has {} bytes, expected at most {MAX_BYTES}", armored.len());
        return Err(unreadable(&why));
    }
    let inner = armored.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let inner = inner.ok_or_else(|| {
        let why =
            "it does not begin with -----BEGIN SSH SIGNATURE----- and end with -----END SSH SIGNATURE-----";
        SignatureError::Unreadable(why.to_owned())
    })?;
    STANDARD.decode(inner.replace('\n', "")).map_err(|e| unreadable(&e.to_string()))
}

/// The fields of an SSHSIG that say what it is.
struct Envelope<'a> {
    namespace: &'a [u8],
    hash: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, SignatureError> {
        fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (field, after) = after.split_at_checked(length)?;
            *rest = after;
            Some(field)
        }
        let mut rest = bytes.strip_prefix(b"SSHSIG").ok_or_else(|| unreadable("it holds no SSHSIG"))?;
        match rest.split_first_chunk::<4>() {
            Some((version, after)) if u32::from_be_bytes(*version) == 1 => rest = after,
            Some((version, _)) => {
                let why = format!("it has version {}, expected 1", u32::from_be_bytes(*version));
                return Err(unreadable(&why));
            }
            None => return Err(unreadable("it ends too early")),
        }
        let fields = [(); 5].map(|()| string(&mut rest));
        let [Some(_key), Some(namespace), Some(reserved), Some(hash), Some(_signature)] = fields else {
            return Err(unreadable("it ends too early"));
        };
        if !reserved.is_empty() {
            return Err(unreadable("its reserved field is not empty"));
        }
        if !rest.is_empty() {
            return Err(unreadable(&format!("{} bytes follow it", rest.len())));
        }
        Ok(Self { namespace, hash })
    }
}
