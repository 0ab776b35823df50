//! Signed approvals, held against the real `ssh-keygen`.

mod keygen;
mod list;
mod random;
mod security_key;

use llm_os_core::approval::{Moment, NAMESPACE, SignatureError, Signers, Statement, signer};
use llm_os_core::audit::Signer;
use ssh_key::{Algorithm, HashAlg, LineEnding, Signature, SshSig};

use keygen::Folder;

/// Types and lengths of ordinary keys.
const KINDS: [(&str, &str); 3] = [("ed25519", ""), ("ecdsa", "256"), ("rsa", "2048")];

fn statement() -> Statement {
    Statement {
        session: false,
        pending_id: "p-5f1c7be03a9d2244".to_owned(),
        uid: 1000,
        sha256: "2c".repeat(32),
        expires: at("2026-11-29T01:00:00Z"),
        host: Signer::from_seed(&[7; 32]).public(),
    }
}

fn at(text: &str) -> Moment {
    Moment::rfc3339(text).unwrap()
}

fn now() -> Moment {
    at("2026-11-29T00:30:00Z")
}

fn signers(text: &str) -> Signers {
    Signers::read(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// What the verifier says of a signature by the key of a line.
fn verify(line: &str, armored: &str) -> Result<Vec<String>, SignatureError> {
    signers(line).verify(&statement(), armored, now()).map(|by| by.principals)
}

#[test]
fn what_ssh_keygen_signs_counts_with_its_person_and_fingerprint() {
    let folder = Folder::new();
    for (kind, bits) in KINDS {
        let public = folder.key(kind, kind, bits);
        let list = format!("# approvers\n\nann@example.org,ann {public} Ann's key\n");
        for hash in ["sha512", "sha256"] {
            let option = format!("hashalg={hash}");
            let armored = folder.sign(kind, NAMESPACE, &statement().to_string(), &["-O", &option]);
            let by = signers(&list)
                .verify(&statement(), &armored, now())
                .unwrap_or_else(|e| panic!("{kind}: {e}"));
            assert_eq!(by.principals, ["ann@example.org", "ann"]);
            assert_eq!(by.fingerprint, folder.fingerprint(&format!("{kind}.pub")));
            assert_eq!(signer(&statement(), &armored), Ok(by.fingerprint));
            assert!(folder.accepts(&list, "ann", NAMESPACE, &statement().to_string(), &armored));
        }
    }
}

#[test]
fn a_signature_holds_for_one_statement() {
    let folder = Folder::new();
    let list = format!("ann {}", folder.key("ann", "ed25519", ""));
    let armored = folder.sign("ann", NAMESPACE, &statement().to_string(), &[]);
    let others = [
        Statement { session: true, ..statement() },
        Statement { pending_id: "p-5f1c7be03a9d2245".to_owned(), ..statement() },
        Statement { uid: 1001, ..statement() },
        Statement { sha256: "2d".repeat(32), ..statement() },
        Statement { expires: at("2026-11-29T01:00:01Z"), ..statement() },
        Statement { host: Signer::from_seed(&[8; 32]).public(), ..statement() },
    ];
    for other in others {
        let refused = signers(&list).verify(&other, &armored, now());
        assert!(matches!(refused, Err(SignatureError::OtherText { .. })), "{refused:?}");
    }
    let late = signers(&list).verify(&statement(), &armored, at("2026-11-29T01:00:01Z"));
    assert_eq!(late, Err(SignatureError::StatementExpired { until: statement().expires }));
    assert!(signers(&list).verify(&statement(), &armored, statement().expires).is_ok());
}

#[test]
fn a_signature_for_something_else_is_refused() {
    let folder = Folder::new();
    let list = format!("ann {}", folder.key("ann", "ed25519", ""));
    for namespace in ["git", "file", "llm-os ", "LLM-OS", "llm-os.example"] {
        let armored = folder.sign("ann", namespace, &statement().to_string(), &[]);
        assert_eq!(verify(&list, &armored), Err(SignatureError::Namespace { found: namespace.to_owned() }));
    }
}

#[test]
fn a_key_that_is_not_in_the_list_is_named_by_its_fingerprint() {
    let folder = Folder::new();
    let list = format!("ann {}", folder.key("ann", "ed25519", ""));
    folder.key("eve", "ed25519", "");
    let refused = verify(&list, &folder.sign("eve", NAMESPACE, &statement().to_string(), &[])).unwrap_err();
    let fingerprint = folder.fingerprint("eve.pub");
    assert_eq!(refused.fingerprint(), Some(fingerprint.as_str()));
    assert!(refused.to_string().contains(&fingerprint), "{refused}");
    assert_eq!(refused, SignatureError::UnknownKey { fingerprint });
}

#[test]
fn a_key_counts_only_in_its_time_and_namespaces() {
    let folder = Folder::new();
    let public = folder.key("ann", "ed25519", "");
    let armored = folder.sign("ann", NAMESPACE, &statement().to_string(), &[]);
    for permitted in [
        "valid-after=\"20261129003000Z\"",
        "valid-before=\"202611290030Z\"",
        "Valid-After=\"20260101Z\",VALID-BEFORE=\"20270101Z\"",
        "namespaces=\"git,llm-os\"",
        "namespaces=\"llm-*\"",
        "namespaces=\"ll?-os\",valid-after=\"20260101Z\"",
        "namespaces=\"*,!git\"",
    ] {
        assert_eq!(
            verify(&format!("ann {permitted} {public}"), &armored),
            Ok(vec!["ann".to_owned()]),
            "{permitted}"
        );
    }
    let early = verify(&format!("ann valid-after=\"20261129003001Z\" {public}"), &armored).unwrap_err();
    assert!(matches!(early, SignatureError::NotYetValid { .. }), "{early}");
    let late = verify(&format!("ann valid-before=\"20261129002959Z\" {public}"), &armored).unwrap_err();
    assert!(matches!(late, SignatureError::KeyExpired { .. }), "{late}");
    let bob = folder.key("bob", "ed25519", "");
    for namespaces in ["git", "llm", "*,!llm-*", "LLM-OS", "llm-os?"] {
        let list = format!("bob {bob}\nann namespaces=\"{namespaces}\" {public}");
        let refused = verify(&list, &armored).unwrap_err();
        assert!(matches!(refused, SignatureError::KeyNamespace { .. }), "{namespaces}: {refused}");
    }
}

#[test]
fn sha1_is_refused_before_anything_is_verified() {
    let folder = Folder::new();
    let list = format!("ann {}", folder.key("ann", "rsa", "2048"));
    let made = SshSig::from_pem(folder.sign("ann", NAMESPACE, &statement().to_string(), &[])).unwrap();
    let sha1 = Signature::new(Algorithm::Rsa { hash: None }, made.signature_bytes()).unwrap();
    let sha1 = SshSig::new(made.public_key().clone(), NAMESPACE, HashAlg::Sha512, sha1).unwrap();
    let refused = verify(&list, &sha1.to_pem(LineEnding::LF).unwrap()).unwrap_err();
    assert!(refused.to_string().contains("by ssh-rsa, expected rsa-sha2-512"), "{refused}");
}

/// Every byte, in three ways.
#[test]
fn any_changed_byte_of_a_signature_or_a_statement_is_refused() {
    let folder = Folder::new();
    let text = statement().to_string();
    for (kind, bits) in KINDS {
        let list = signers(&format!("ann {}", folder.key(kind, kind, bits)));
        let armored = folder.sign(kind, NAMESPACE, &text, &[]);
        assert!(list.verify(&statement(), &armored, now()).is_ok());
        for change in [0x01, 0x02, 0x20] {
            for at in 0..armored.len() {
                let mut other = armored.clone().into_bytes();
                other[at] ^= change;
                let Ok(other) = String::from_utf8(other) else { continue };
                assert!(list.verify(&statement(), &other, now()).is_err(), "{kind}, byte {at}: {other}");
            }
            for at in 0..text.len() {
                let mut other = text.clone().into_bytes();
                other[at] ^= change;
                let Some(other) = String::from_utf8(other).ok().and_then(|other| Statement::read(&other))
                else {
                    continue;
                };
                assert!(list.verify(&other, &armored, now()).is_err(), "{kind}, byte {at}: {other}");
            }
        }
    }
}

#[test]
fn an_armor_with_anything_around_or_between_is_refused() {
    let folder = Folder::new();
    let list = format!("ann {}", folder.key("ann", "ed25519", ""));
    let armored = folder.sign("ann", NAMESPACE, &statement().to_string(), &[]);
    assert!(verify(&list, &armored).is_ok());
    assert!(verify(&list, armored.trim_end()).is_ok());
    let (first, rest) = armored.split_at(60);
    for other in [
        format!("{armored}\n"),
        format!("{armored}x"),
        format!(" {armored}"),
        format!("note\n{armored}"),
        format!("{armored}{armored}"),
        format!("{first}\n{rest}"),
        random::wrapped(&random::blob(&armored), 64),
        random::wrapped(&random::blob(&armored), 1000),
        armored.replace('\n', "\r\n"),
        armored.replace("SSH SIGNATURE", "PGP SIGNATURE"),
        armored.replace("-----\n", "-----\nX: y\n\n"),
        "A".repeat(100_000),
        String::new(),
    ] {
        let refused = verify(&list, &other);
        assert!(matches!(refused, Err(SignatureError::Unreadable(_))), "{refused:?}: {other}");
    }
}

#[test]
fn a_version_a_reserved_field_a_digest_or_an_end_of_another_kind_is_refused_by_name() {
    let folder = Folder::new();
    let list = format!("ann {}", folder.key("ann", "ed25519", ""));
    let armored = folder.sign("ann", NAMESPACE, &statement().to_string(), &[]);
    let blob = random::blob(&armored);
    // "SSHSIG", version, key (4 + 51), namespace (4 + 6), reserved (4), digest (4 + 6), signature.
    let reserved = 10 + 55 + 10;
    let check = |blob: Vec<u8>, words: &str| {
        let refused = verify(&list, &random::armored(&blob)).unwrap_err().to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    };
    assert_eq!(verify(&list, &random::armored(&blob)), Ok(vec!["ann".to_owned()]));
    let with = |at: usize, bytes: &[u8]| {
        let mut blob = blob.clone();
        blob.splice(at..at + bytes.len(), bytes.iter().copied());
        blob
    };
    check(with(6, &[0, 0, 0, 0]), "version 0, expected 1");
    check(with(6, &[0, 0, 0, 2]), "version 2, expected 1");
    check(with(0, b"SSHSIP"), "no SSHSIG");
    check([&blob[..reserved], &[0, 0, 0, 1, 9], &blob[reserved + 4..]].concat(), "reserved field");
    check(with(reserved + 8, b"sha384"), "\"sha384\", expected sha512");
    check([&blob[..], b"x"].concat(), "1 bytes follow");
    check(blob[..blob.len() - 1].to_vec(), "ends too early");
    check(with(10, &[0xff; 4]), "ends too early");
}
