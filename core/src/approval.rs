//! Approvals that prove a person: a human signs what is approved, with an SSH key that the operator named.
//!
//! A host that asks for signatures states for each held plan the text that its approver signs ([`Statement`]): which plan
//! of which user, on which host, approved once or for a session, and until when. The signature (SSHSIG, PROTOCOL.sshsig of
//! OpenSSH) over exactly this text, in the namespace [`NAMESPACE`], is verified against the keys of [`Signers`]: by the
//! host before the approval counts, and by whoever reads the log after it.
//!
//! A statement names one held plan of one host, and a plan is held once: a signature is of no use for anything else.

mod moment;
mod signature;
mod signers;
mod statement;

pub use moment::Moment;
pub use signature::{SignatureError, SignedBy, signer};
pub use signers::{Signers, SignersError};
pub use statement::Statement;

/// What the signatures are made for: one of another namespace (`git`, `file`) is no approval.
pub const NAMESPACE: &str = "llm-os";
