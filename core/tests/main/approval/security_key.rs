//! Security keys, whose signatures are made here as the hardware makes them (PROTOCOL.u2f), and held against
//! `ssh-keygen -Y verify`.

use llm_os_core::approval::{NAMESPACE, SignatureError};
use sha2::{Digest, Sha256};
use ssh_key::public::{EcdsaPublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{Algorithm, HashAlg, LineEnding, PublicKey, Signature, SigningKey, SshSig};

use super::keygen::Folder;
use super::{now, signers, statement, verify};

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;

/// A key "in hardware": an ordinary one whose public half is told as a security key's.
struct Hardware {
    folder: Folder,
    public: KeyData,
    algorithm: Algorithm,
}

impl Hardware {
    fn ed25519() -> Self {
        let folder = Folder::new();
        folder.key("sk", "ed25519", "");
        let public = *folder.private("sk").public_key().key_data().ed25519().unwrap();
        let public = KeyData::SkEd25519(SkEd25519::new(public, "ssh:"));
        Self { folder, public, algorithm: Algorithm::SkEd25519 }
    }

    fn p256() -> Self {
        let folder = Folder::new();
        folder.key("sk", "ecdsa", "256");
        let EcdsaPublicKey::NistP256(public) = *folder.private("sk").public_key().key_data().ecdsa().unwrap()
        else {
            panic!("not P-256")
        };
        let public = KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(public, "ssh:"));
        Self { folder, public, algorithm: Algorithm::SkEcdsaSha2NistP256 }
    }

    fn line(&self) -> String {
        format!("ann {}\n", PublicKey::from(self.public.clone()).to_openssh().unwrap())
    }

    /// Signs: SHA256(application) || flags || counter || SHA256(message).
    fn sign(&self, text: &str, flags: u8) -> String {
        let message = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, text.as_bytes()).unwrap();
        let trailer = [&[flags][..], &7_u32.to_be_bytes()].concat();
        let data = [&Sha256::digest("ssh:")[..], &trailer, &Sha256::digest(message)].concat();
        let raw = raw(&self.folder.private("sk"), &data);
        let signature = Signature::new(self.algorithm.clone(), [raw.as_bytes(), &trailer].concat()).unwrap();
        let signature = SshSig::new(self.public.clone(), NAMESPACE, HashAlg::Sha512, signature).unwrap();
        signature.to_pem(LineEnding::LF).unwrap()
    }
}

fn raw(key: &impl SigningKey, data: &[u8]) -> Signature {
    key.try_sign(data).unwrap()
}

#[test]
fn a_touched_security_key_signs_as_ssh_keygen_says_too() {
    for hardware in [Hardware::ed25519(), Hardware::p256()] {
        let text = statement().to_string();
        for flags in [PRESENT, PRESENT | VERIFIED] {
            let armored = hardware.sign(&text, flags);
            assert!(
                hardware.folder.accepts(&hardware.line(), "ann", NAMESPACE, &text, &armored),
                "ssh-keygen"
            );
            assert_eq!(verify(&hardware.line(), &armored), Ok(vec!["ann".to_owned()]));
        }
    }
}

#[test]
fn a_security_key_that_nobody_touched_approves_nothing() {
    for hardware in [Hardware::ed25519(), Hardware::p256()] {
        let text = statement().to_string();
        for flags in [0, VERIFIED] {
            let armored = hardware.sign(&text, flags);
            assert!(
                hardware.folder.accepts(&hardware.line(), "ann", NAMESPACE, &text, &armored),
                "it is well signed"
            );
            let refused = verify(&hardware.line(), &armored).unwrap_err();
            assert!(matches!(refused, SignatureError::Untouched { .. }), "{refused}");
        }
    }
}

#[test]
fn any_changed_byte_of_a_security_keys_signature_is_refused() {
    for hardware in [Hardware::ed25519(), Hardware::p256()] {
        let armored = hardware.sign(&statement().to_string(), PRESENT);
        let list = signers(&hardware.line());
        assert!(list.verify(&statement(), &armored, now()).is_ok());
        for at in 0..armored.len() {
            for change in [0x01, 0x20] {
                let mut other = armored.clone().into_bytes();
                other[at] ^= change;
                let other = String::from_utf8(other).unwrap();
                assert!(list.verify(&statement(), &other, now()).is_err(), "byte {at}: {other}");
            }
        }
    }
}

/// The same point as an ordinary key is another key, and signs otherwise.
#[test]
fn a_security_key_and_an_ordinary_one_of_the_same_point_are_two_keys() {
    let hardware = Hardware::ed25519();
    let ordinary = hardware.folder.sign("sk", NAMESPACE, &statement().to_string(), &[]);
    assert!(matches!(verify(&hardware.line(), &ordinary), Err(SignatureError::UnknownKey { .. })));
    let made = SshSig::from_pem(&ordinary).unwrap();
    let mixed =
        SshSig::new(hardware.public.clone(), NAMESPACE, HashAlg::Sha512, made.signature().clone()).unwrap();
    let refused = verify(&hardware.line(), &mixed.to_pem(LineEnding::LF).unwrap()).unwrap_err();
    assert!(matches!(refused, SignatureError::Algorithm { .. }), "{refused}");
}
