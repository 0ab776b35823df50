//! Signed checkpoints: statements over everything that a log holds up to and including their own line.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::audit::{Line, Link};
use crate::value::hex;

/// Keeps these signatures apart from any other use of the key.
const DOMAIN: &[u8] = b"llm-os audit checkpoint 1\n";
const EVENT: &str = r#""event":"checkpoint","request_id":null,"session_id":null,"data":{"key":""#;
const SIGNATURE: &str = r#"","signature":""#;
/// The signature's digits, `"}`, and what follows every body.
const END: usize = 128 + 2 + Line::TAIL;

/// The key that signs checkpoints.
pub struct Signer {
    key: SigningKey,
    public: PublicKey,
}

impl Signer {
    /// The key that a seed stands for.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = PublicKey(key.verifying_key());
        Self { key, public }
    }

    /// The key that verifies.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Completes a line whose `seq` and `time` stand in `out` from `start`.
    pub(super) fn sign(&self, start: usize, prev: Link, out: &mut Vec<u8>) {
        out.extend_from_slice(EVENT.as_bytes());
        out.extend_from_slice(self.public.to_string().as_bytes());
        out.extend_from_slice(SIGNATURE.as_bytes());
        let signature = self.key.sign(&message(&out[start..], prev));
        out.extend_from_slice(hex(&signature.to_bytes()).as_bytes());
        out.extend_from_slice(b"\"}");
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public)
    }
}

/// The key that verifies checkpoints, as text 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads the text of a key; a line end after it is accepted, as files have it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = unhex::<32>(text.trim_end_matches(['\r', '\n']).as_bytes())?;
        VerifyingKey::from_bytes(&bytes).ok().map(Self)
    }

    /// Whether a line of the event `checkpoint` is signed with this key, every byte of it.
    pub fn signed(&self, line: &Line<'_>) -> bool {
        let verified = || {
            let stated = line.bytes.len().checked_sub(END)?;
            let (stated, rest) = line.bytes.split_at(stated);
            let signature = rest[128..].starts_with(b"\"}").then(|| unhex::<64>(&rest[..128]))??;
            let message = message(stated, line.prev);
            self.0.verify_strict(&message, &Signature::from_bytes(&signature)).ok()
        };
        verified().is_some()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0.as_bytes()))
    }
}

/// The line up to its signature, and the link that stands after it: with the signature these are all its bytes.
fn message(stated: &[u8], prev: Link) -> Vec<u8> {
    [DOMAIN, stated, b"\n", prev.as_str().as_bytes()].concat()
}

/// Lower-case digits only: a signature has one spelling.
fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Chain;

    const TIME: &str = "2026-11-23T05:54:01.123456Z";

    #[test]
    fn a_checkpoint_is_signed_over_every_byte_of_its_line() {
        let signer = Signer::from_seed(&[7; 32]);
        let mut out = Vec::new();
        Chain::default().checkpoint(&signer, TIME, &mut out);
        out.pop();
        assert!(signer.public().signed(&Line::read(&out).unwrap()));
        assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        for bit in 0..out.len() * 8 {
            let mut other = out.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let signed = Line::read(&other).is_some_and(|line| signer.public().signed(&line));
            assert!(!signed, "{}", String::from_utf8_lossy(&other));
        }
    }

    #[test]
    fn another_key_did_not_sign() {
        let mut out = Vec::new();
        Chain::default().checkpoint(&Signer::from_seed(&[7; 32]), TIME, &mut out);
        out.pop();
        let other = Signer::from_seed(&[8; 32]).public();
        assert!(!other.signed(&Line::read(&out).unwrap()));
        assert_eq!(PublicKey::parse(&format!("{other}\n")), Some(other));
        assert_eq!(PublicKey::parse(&other.to_string().to_uppercase()), None);
    }
}
