//! Approvers whose keys are always the same, and a statement for them to sign.

use llm_os_core::approval::{Moment, NAMESPACE, Statement};
use llm_os_core::audit;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

/// While the statement and what is signed of it may be used.
pub(crate) fn now() -> Moment {
    at("2026-11-29T00:30:00Z")
}

pub(crate) fn at(time: &str) -> Moment {
    Moment::rfc3339(time).expect("a time")
}

pub(crate) fn statement() -> Statement {
    Statement {
        session: false,
        pending_id: "p-5f1c7be03a9d2244".to_owned(),
        uid: 1000,
        sha256: "2c".repeat(32),
        expires: at("2026-11-29T01:00:00Z"),
        host: audit::Signer::from_seed(&[7; 32]).public(),
    }
}

/// Somebody with a key.
pub(crate) struct Approver(PrivateKey);

impl Approver {
    pub(crate) fn from_seed(seed: u8) -> Self {
        Self(PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32])))
    }

    /// What stands in a list of approvers.
    pub(crate) fn key(&self) -> String {
        self.0.public_key().to_openssh().expect("a public key")
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    pub(crate) fn sign(&self, statement: &Statement) -> String {
        let signature = self.0.sign(NAMESPACE, HashAlg::Sha512, statement.to_string().as_bytes());
        signature.and_then(|signature| signature.to_pem(LineEnding::LF)).expect("a signature")
    }
}

/// What is shown to a human can be shown on any terminal.
pub(crate) fn assert_printable(refusal: &str) {
    assert!(!refusal.is_empty() && refusal.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{refusal:?}");
}
