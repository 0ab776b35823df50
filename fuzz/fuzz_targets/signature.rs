//! A statement has one text, and a signature counts for the statement that was signed, as its signer wrote it, and for
//! nothing else.
//!
//! Input: what the rest is; then the text of a statement, fields of one, an armored signature, the length of its
//! lines and the bytes inside of them, or which byte is changed and to what.
#![no_main]

mod approver;

use std::sync::LazyLock;

use approver::{Approver, assert_printable, now, statement};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use llm_os_core::approval::{SignatureError, Signers, Statement};

/// How long the lines are that OpenSSH writes.
const WIDTH: usize = 70;

static ANN: LazyLock<Approver> = LazyLock::new(|| Approver::from_seed(1));
static LIST: LazyLock<Signers> =
    LazyLock::new(|| Signers::read(format!("ann {}", ANN.key()).as_bytes()).expect("a list"));
/// Of [`statement`].
static SIGNATURE: LazyLock<String> = LazyLock::new(|| ANN.sign(&statement()));

fuzz_target!(|input: &[u8]| {
    match input {
        [0, text @ ..] => any_text(&String::from_utf8_lossy(text)),
        [1, session, a, b, c, d, name @ ..] => {
            let uid = u32::from_be_bytes([*a, *b, *c, *d]);
            any_fields(session & 1 == 1, uid, &String::from_utf8_lossy(name));
        }
        [2, armored @ ..] => any_signature(&String::from_utf8_lossy(armored)),
        [3, width @ 1..=255, inside @ ..] => any_signature(&armored(inside, usize::from(*width))),
        [4, value @ 1..=255, high, low] => one_byte(*value, usize::from(u16::from_be_bytes([*high, *low]))),
        _ => {}
    }
});

fn any_text(text: &str) {
    let Some(read) = Statement::read(text) else { return };
    assert_eq!(read.to_string(), text);
    assert!(text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{text:?}");
    is_signed_alone(&read);
}

fn any_fields(session: bool, uid: u32, name: &str) {
    let made = Statement { session, uid, pending_id: name.to_owned(), ..statement() };
    let is_name =
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    assert_eq!(Statement::read(&made.to_string()), is_name.then(|| made.clone()), "{made}");
    is_signed_alone(&made);
}

/// What was signed of this statement counts for no other one, and for this one nothing else does.
fn is_signed_alone(one: &Statement) {
    let signature = ANN.sign(one);
    match LIST.verify(one, &signature, now()) {
        Ok(by) => assert!(by.principals == ["ann"] && by.fingerprint == ANN.fingerprint()),
        Err(refused) => assert_eq!(refused, SignatureError::StatementExpired { until: one.expires }),
    }
    assert_eq!(counts(&statement(), &signature), *one == statement(), "{one}");
    assert_eq!(counts(one, &SIGNATURE), *one == statement(), "{one}");
}

/// Nobody but the key's owner makes a signature by it, and there is one way to write it.
fn any_signature(armored: &str) {
    let is_own = armored.strip_suffix('\n').unwrap_or(armored) == SIGNATURE.trim_end();
    assert_eq!(counts(&statement(), armored), is_own, "{armored}");
}

fn one_byte(value: u8, at: usize) {
    let changed = |bytes: &[u8]| {
        let mut other = bytes.to_vec();
        other[at % bytes.len()] ^= value;
        other
    };
    let inside = STANDARD.decode(SIGNATURE.lines().filter(|line| !line.starts_with('-')).collect::<String>());
    assert!(!counts(&statement(), &armored(&changed(&inside.expect("base64")), WIDTH)), "byte {at} inside");
    if let Ok(other) = String::from_utf8(changed(SIGNATURE.as_bytes())) {
        assert!(!counts(&statement(), &other), "{other}");
    }
    let other = String::from_utf8(changed(statement().to_string().as_bytes()));
    if let Some(other) = other.ok().and_then(|other| Statement::read(&other)) {
        assert!(!counts(&other, &SIGNATURE), "{other}");
    }
}

fn counts(statement: &Statement, armored: &str) -> bool {
    let verified = LIST.verify(statement, armored, now());
    if let Err(refused) = &verified {
        assert_printable(&refused.to_string());
    }
    verified.is_ok()
}

/// These bytes in an armor, in lines of this length.
fn armored(inside: &[u8], width: usize) -> String {
    let text = STANDARD.encode(inside);
    let lines: Vec<_> =
        text.as_bytes().chunks(width).map(|line| str::from_utf8(line).expect("base64")).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"))
}
