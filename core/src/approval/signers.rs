//! Whose signatures count: the file of ALLOWED SIGNERS in ssh-keygen(1), read strictly.
//!
//! What cannot be decided by it, or decided in one way only, is refused: certificates, unknown options and key types,
//! times without a zone, patterns in the place of a name.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::signature::{Signature, SignatureError, SignedBy, fingerprint};
use super::{Moment, NAMESPACE, Statement};
use crate::error::excerpt;

/// The bits of RSA keys that are accepted.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// The key types that are accepted.
const TYPES: [&str; 5] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// The keys whose signatures count.
#[derive(Debug)]
pub struct Signers(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    principals: Vec<String>,
    options: Options,
    key: KeyData,
    fingerprint: String,
}

#[derive(Debug, Default)]
struct Options {
    namespaces: Option<String>,
    after: Option<Moment>,
    before: Option<Moment>,
}

/// Why a file of allowed signers is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignersError {
    /// What is wrong with one line, counted from 1.
    #[error("line {line}: {why}")]
    Line {
        /// Which one.
        line: usize,
        /// What was found, and what is expected.
        why: String,
    },
    /// There is nobody whose signature would count.
    #[error("{0}")]
    Nobody(&'static str),
}

impl Signers {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The first line that is not understood completely, or a file that nobody could approve by.
    pub fn read(text: &[u8]) -> Result<Self, SignersError> {
        let mut entries = Vec::new();
        let mut lines = BTreeMap::new();
        for (index, line) in text.split(|b| *b == b'\n').enumerate() {
            let at = |why: String| SignersError::Line { line: index + 1, why };
            let line = str::from_utf8(line).map_err(|_| at("it is not UTF-8".to_owned()))?;
            if let Some(control) = line.chars().find(|c| c.is_control() && *c != '\t') {
                let why = format!(
                    "found the control character {}, expected lines of text",
                    control.escape_default()
                );
                return Err(at(why));
            }
            let line = line.trim_matches([' ', '\t']);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = Entry::read(line).map_err(at)?;
            if let Some(first) = lines.insert(entry.fingerprint.clone(), index + 1) {
                let why =
                    format!("the key {} stands on line {first} already: keep one of both", entry.fingerprint);
                return Err(at(why));
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(SignersError::Nobody(
                "it names no key: add a line \"NAME ssh-ed25519 KEY\" for each approver",
            ));
        }
        if !entries.iter().any(|entry| entry.options.permits(NAMESPACE)) {
            let why = "none of its keys may sign in the namespace \"llm-os\": add it to namespaces=\"...\" of the approvers' keys";
            return Err(SignersError::Nobody(why));
        }
        Ok(Self(entries))
    }

    /// Who signed this statement, if that counts at this time.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub fn verify(
        &self,
        statement: &Statement,
        armored: &str,
        at: Moment,
    ) -> Result<SignedBy, SignatureError> {
        let signature = Signature::read(armored)?;
        let Some(entry) = self.0.iter().find(|entry| entry.key == *signature.key()) else {
            return Err(SignatureError::UnknownKey { fingerprint: fingerprint(signature.key()) });
        };
        entry.may_sign(at)?;
        signature.verify(statement)?;
        if at > statement.expires {
            return Err(SignatureError::StatementExpired { until: statement.expires });
        }
        Ok(entry.signer())
    }

    /// Everybody whose signature may count, in the order of the file.
    pub fn people(&self) -> impl Iterator<Item = SignedBy> {
        self.0.iter().filter(|entry| entry.options.permits(NAMESPACE)).map(Entry::signer)
    }
}

impl Entry {
    fn signer(&self) -> SignedBy {
        SignedBy { fingerprint: self.fingerprint.clone(), principals: self.principals.clone() }
    }

    fn read(line: &str) -> Result<Self, String> {
        let (principals, rest) = word(line);
        let principals = names(principals)?;
        let (first, after) = word(rest);
        let (options, kind, rest) = if TYPES.contains(&first) {
            (Options::default(), first, after)
        } else {
            let options = Options::read(first)?;
            let (kind, rest) = word(after);
            (options, kind, rest)
        };
        if !TYPES.contains(&kind) {
            return Err(format!(
                "found the key type \"{}\", expected one of {}",
                excerpt(kind),
                TYPES.join(", ")
            ));
        }
        let (base64, _comment) = word(rest);
        let key = PublicKey::from_openssh(&format!("{kind} {base64}"));
        let key = key.map_err(|e| {
            let why = excerpt(&e.to_string());
            format!("its key cannot be read ({why}): copy the line of the .pub file again")
        })?;
        let key = key.key_data().clone();
        let fingerprint = fingerprint(&key);
        check(&key).map_err(|why| format!("the key {fingerprint} {why}"))?;
        Ok(Self { principals, options, key, fingerprint })
    }

    /// Whether the file lets this key sign approvals now.
    fn may_sign(&self, at: Moment) -> Result<(), SignatureError> {
        let Self { options, fingerprint, .. } = self;
        let fingerprint = fingerprint.clone();
        if !options.permits(NAMESPACE) {
            let namespaces = excerpt(options.namespaces.as_deref().unwrap_or_default());
            return Err(SignatureError::KeyNamespace { fingerprint, namespaces });
        }
        match (options.after, options.before) {
            (Some(from), _) if at < from => Err(SignatureError::NotYetValid { fingerprint, from }),
            (_, Some(until)) if at > until => Err(SignatureError::KeyExpired { fingerprint, until }),
            _ => Ok(()),
        }
    }
}

impl Options {
    fn read(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for option in split(text) {
            let (name, value) =
                option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            let quoted = || {
                let inner = value.and_then(|value| value.strip_prefix('"')?.strip_suffix('"'));
                let inner = inner.filter(|inner| !inner.is_empty() && !inner.contains(['"', '\\']));
                inner.ok_or_else(|| format!("found {}, expected {name}=\"...\"", excerpt(option)))
            };
            let moment = || {
                let found = quoted()?;
                Moment::stamp(found).ok_or_else(|| {
                    format!(
                        "{name}: found \"{}\", expected a time in UTC: YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ",
                        excerpt(found)
                    )
                })
            };
            let twice = match name.to_ascii_lowercase().as_str() {
                "namespaces" => options.namespaces.replace(quoted()?.to_owned()).is_some(),
                "valid-after" => options.after.replace(moment()?).is_some(),
                "valid-before" => options.before.replace(moment()?).is_some(),
                "cert-authority" => {
                    return Err("cert-authority is not supported: list the approvers' own keys".to_owned());
                }
                _ => {
                    let types = TYPES.join(", ");
                    return Err(format!(
                        "found \"{}\", expected an option (namespaces, valid-after, valid-before) or a key type ({types})",
                        excerpt(option)
                    ));
                }
            };
            if twice {
                return Err(format!("{name} is given twice: keep one of both"));
            }
        }
        match (options.after, options.before) {
            (Some(after), Some(before)) if before <= after => Err(format!(
                "valid-before ({before}) is not later than valid-after ({after}): the key is never valid"
            )),
            _ => Ok(options),
        }
    }

    /// Whether a signature in this namespace is accepted: a pattern list, in which one that is negated wins.
    fn permits(&self, namespace: &str) -> bool {
        let Some(patterns) = &self.namespaces else { return true };
        let matched = |negated: bool| {
            patterns.split(',').any(|pattern| match pattern.strip_prefix('!') {
                Some(pattern) => negated && matches(pattern.as_bytes(), namespace.as_bytes()),
                None => !negated && matches(pattern.as_bytes(), namespace.as_bytes()),
            })
        };
        matched(false) && !matched(true)
    }
}

/// PATTERNS of ssh_config(5): `*` is any text, `?` any one character.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    let mut star = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(&c) if c == b'?' || c == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => {
                let Some((before, taken)) = star else { return false };
                star = Some((before, taken + 1));
                at = before + 1;
                in_text = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|c| *c == b'*')
}

/// The people of a line. A record says by these names who approved, so a pattern is none.
fn names(text: &str) -> Result<Vec<String>, String> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| (b'!'..=b'~').contains(&b) && !b"*?!\"\\".contains(&b))
    };
    match text.split(',').find(|name| !is_name(name)) {
        None => Ok(text.split(',').map(str::to_owned).collect()),
        Some(found) => Err(format!(
            "found the principal \"{}\", expected the name of a person such as ann@example.org, without patterns: records say by it who approved",
            excerpt(found)
        )),
    }
}

/// Whether a key is strong enough to prove anything.
fn check(key: &KeyData) -> Result<(), String> {
    let curve = |bytes: &[u8; 32]| match VerifyingKey::from_bytes(bytes) {
        Ok(key) if !key.is_weak() => Ok(()),
        Ok(_) | Err(_) => Err("is no point of Ed25519 that could sign: make a new key".to_owned()),
    };
    match key {
        KeyData::Ed25519(key) => curve(&key.0),
        KeyData::SkEd25519(key) => curve(&key.public_key().0),
        KeyData::Rsa(key) => {
            let modulus = key.n().as_positive_bytes().unwrap_or_default();
            let zeros = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
            let bits = (modulus.len() * 8).saturating_sub(zeros);
            if RSA_BITS.contains(&bits) {
                return Ok(());
            }
            Err(format!("has {bits} bits, expected {} to {} of RSA", RSA_BITS.start(), RSA_BITS.end()))
        }
        _ => Ok(()),
    }
}

/// The first word, in which blanks may stand between double quotes, and what follows it.
fn word(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let end = text.find(|c| {
        quoted ^= c == '"';
        !quoted && matches!(c, ' ' | '\t')
    });
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    (word, rest.trim_start_matches([' ', '\t']))
}

/// The options of a word, which commas outside of double quotes separate.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        !quoted && c == ','
    })
}
