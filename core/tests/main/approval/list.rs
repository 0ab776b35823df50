//! What a file of allowed signers may say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use llm_os_core::approval::{Signers, SignersError};
use ssh_key::PublicKey;
use ssh_key::public::{Ed25519PublicKey, KeyData};

use super::keygen::Folder;

fn refusal(text: &str) -> String {
    Signers::read(text.as_bytes()).map(drop).unwrap_err().to_string()
}

#[test]
fn a_file_is_read_in_the_order_of_its_lines() {
    let folder = Folder::new();
    let (ann, bob) = (folder.key("ann", "ed25519", ""), folder.key("bob", "ecdsa", "256"));
    let text = format!(
        "# approvers\n\n \t# more\n  ann@example.org,ann\t{ann} with a comment, \"quoted\"\nbob namespaces=\"llm-os\" {bob}"
    );
    let people: Vec<_> = Signers::read(text.as_bytes()).unwrap().people().collect();
    assert_eq!(people[0].principals, ["ann@example.org", "ann"]);
    assert_eq!(people[1].principals, ["bob"]);
    assert_eq!(people[1].fingerprint, folder.fingerprint("bob.pub"));
}

/// Each with its line.
#[test]
fn what_is_not_understood_completely_is_refused_with_its_line() {
    let folder = Folder::new();
    let (ann, bob) = (folder.key("ann", "ed25519", ""), folder.key("bob", "ed25519", ""));
    let p384 = folder.key("p384", "ecdsa", "384");
    let short = folder.key("short", "rsa", "1024");
    let cut = &ann[..ann.len() - 6];
    let check = |line: &str, words: &str| {
        let refused = refusal(&format!("bob {bob}\n# a comment\n{line}\n"));
        assert!(
            refused.starts_with("line 3: ") && refused.contains(words),
            "{line}: expected {words:?}: {refused}"
        );
        assert!(refused.bytes().all(|b| (b' '..=b'~').contains(&b)), "{refused:?}");
    };
    check(&format!("ann cert-authority {ann}"), "cert-authority is not supported");
    check(&format!("ann no-touch-required {ann}"), "expected an option");
    check(&format!("ann verify-required,namespaces=\"llm-os\" {ann}"), "expected an option");
    check(&format!("ann namespaces=llm-os {ann}"), "expected namespaces=\"...\"");
    check(&format!("ann namespaces=\"\" {ann}"), "expected namespaces=\"...\"");
    check(&format!("ann namespaces=\"a\",namespaces=\"b\" {ann}"), "given twice");
    check(&format!("ann valid-after=\"20260101\" {ann}"), "expected a time in UTC");
    check(&format!("ann valid-before=\"20261301Z\" {ann}"), "expected a time in UTC");
    check(&format!("ann valid-after=\"20260102Z\",valid-before=\"20260101Z\" {ann}"), "never valid");
    check(&format!("ann {p384}"), "expected an option");
    check(&format!("ann namespaces=\"llm-os\" {p384}"), "key type \"ecdsa-sha2-nistp384\"");
    check("ann ssh-dss AAAAB3NzaC1kc3MAAACB", "ssh-dss");
    check(&format!("ann {}", ann.replace("ssh-ed25519", "ssh-rsa")), "cannot be read");
    check(&format!("ann {cut}"), "cannot be read");
    check("ann ssh-ed25519", "cannot be read");
    check("ann", "expected an option");
    check(&ann, "expected an option");
    check(&format!("ann {short}"), "1024 bits, expected 2048 to 8192");
    check(&format!("bo,b {bob}"), "stands on line 1 already");
    check(&format!("* {ann}"), "without patterns");
    check(&format!("*@example.org {ann}"), "without patterns");
    check(&format!("ann,!bob {ann}"), "without patterns");
    check(&format!("ann,, {ann}"), "without patterns");
    check(&format!("\"ann smith\" {ann}"), "without patterns");
    check(&format!("\u{430}nn {ann}"), "without patterns");
    check(&format!("ann {ann}\r"), "control character \\r");
    check(&format!("ann\u{0} {ann}"), "control character");
    assert!(matches!(Signers::read(b"ann \xff"), Err(SignersError::Line { line: 1, .. })));
}

/// A key says its type once more, in its own bytes.
#[test]
fn what_a_key_says_of_itself_is_refused_in_printable_text() {
    let says = "\u{1b}[2J\u{202e}\r\n";
    let length = u32::try_from(says.len()).unwrap().to_be_bytes();
    let blob = STANDARD.encode([&length, says.as_bytes()].concat());
    let refused = refusal(&format!("ann ssh-ed25519 {blob}"));
    assert!(refused.contains("cannot be read") && refused.contains("\\u{1b}[2J"), "{refused:?}");
    assert!(refused.bytes().all(|b| (b' '..=b'~').contains(&b)), "{refused:?}");
}

#[test]
fn a_file_by_which_nobody_could_approve_is_refused() {
    let folder = Folder::new();
    let ann = folder.key("ann", "ed25519", "");
    for nobody in ["", "\n\n", "# ann ssh-ed25519 AAAA\n"] {
        assert!(refusal(nobody).contains("names no key"), "{nobody:?}");
    }
    assert!(refusal(&format!("ann namespaces=\"git\" {ann}")).contains("none of its keys"));
}

/// Anyone can sign for a point of small order.
#[test]
fn a_key_that_proves_nothing_is_refused() {
    for weak in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let key = PublicKey::from(KeyData::Ed25519(Ed25519PublicKey(weak))).to_openssh().unwrap();
        assert!(refusal(&format!("ann {key}")).contains("make a new key"), "{weak:?}");
    }
}

#[test]
fn ssh_keygen_agrees_about_namespaces_and_times() {
    let folder = Folder::new();
    let ann = folder.key("ann", "ed25519", "");
    let armored = folder.sign("ann", "llm-os", "text", &[]);
    let namespaces = [
        "llm-os",
        "*",
        "llm-?s",
        "git,llm-os",
        "git",
        "*,!llm-os",
        "!git,*",
        "!git",
        "llm-os,!l*",
        "ll*o*s",
        "*x",
    ];
    for option in namespaces.map(|patterns| format!("namespaces=\"{patterns}\"")) {
        let text = format!("ann {option} {ann}\n");
        let ours = Signers::read(text.as_bytes()).is_ok();
        assert_eq!(ours, folder.accepts(&text, "ann", "llm-os", "text", &armored), "{option}");
    }
}
