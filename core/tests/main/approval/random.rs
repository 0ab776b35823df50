//! Bytes that nobody meant: the readers refuse them, and never panic.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use llm_os_core::approval::{Moment, NAMESPACE, Signers, Statement, signer};
use proptest::prelude::*;

use super::keygen::Folder;
use super::{KINDS, statement};

/// The SSHSIG in an armor.
pub(super) fn blob(armored: &str) -> Vec<u8> {
    let inner: String = armored.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(inner).unwrap()
}

/// An SSHSIG in its armor, as OpenSSH wraps it.
pub(super) fn armored(blob: &[u8]) -> String {
    wrapped(blob, 70)
}

/// The same in lines of another length.
pub(super) fn wrapped(blob: &[u8], width: usize) -> String {
    let text = STANDARD.encode(blob);
    let lines: Vec<_> = text.as_bytes().chunks(width).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}

/// Signatures of the statement by a key of each type, and the list of these keys.
static MADE: LazyLock<(Vec<String>, String)> = LazyLock::new(|| {
    let folder = Folder::new();
    let lines =
        KINDS.map(|(kind, bits)| format!("{kind} namespaces=\"llm-os\" {}\n", folder.key(kind, kind, bits)));
    let signatures = KINDS.map(|(kind, _)| folder.sign(kind, NAMESPACE, &statement().to_string(), &[]));
    (signatures.to_vec(), lines.concat())
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_without_a_panic(text in "(?s).{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Signers::read(text.as_bytes()), Signers::read(&bytes), Statement::read(&text));
        let _ = (Moment::rfc3339(&text), Moment::stamp(&text));
        prop_assert!(signer(&statement(), &text).is_err());
        prop_assert!(signer(&statement(), &armored(&bytes)).is_err());
        prop_assert!(signer(&statement(), &armored(&[b"SSHSIG\0\0\0\x01", &bytes[..]].concat())).is_err());
    }

    #[test]
    fn a_signature_with_any_bytes_changed_inside_is_refused(
        which in 0..KINDS.len(), at in any::<prop::sample::Index>(), taken in 0_usize..6,
        put in prop::collection::vec(any::<u8>(), 0..6)
    ) {
        let original = blob(&MADE.0[which]);
        let mut other = original.clone();
        let at = at.index(other.len());
        let end = (at + taken).min(other.len());
        other.splice(at..end, put);
        prop_assert_eq!(signer(&statement(), &armored(&other)).is_ok(), other == original);
    }

    #[test]
    fn a_list_with_any_bytes_changed_is_read_without_a_panic(
        at in any::<prop::sample::Index>(), taken in 0_usize..40, put in prop::collection::vec(any::<u8>(), 0..20)
    ) {
        let mut text = MADE.1.clone().into_bytes();
        let at = at.index(text.len());
        let end = (at + taken).min(text.len());
        text.splice(at..end, put);
        if let Ok(signers) = Signers::read(&text) {
            prop_assert!(signers.people().count() <= KINDS.len() + 20);
        }
    }
}
