//! What an approver signs.

use std::fmt;

use super::Moment;
use crate::audit::PublicKey;

/// Keeps these texts apart from any other that somebody may be asked to sign, and says their version.
const DOMAIN: &str = "llm-os approval 1";
const ONCE: &str = "approve";
const SESSION: &str = "approve for this session";

/// An approval of one held plan, in words. Its text, which is what is signed, has one spelling: seven lines of printable
/// ASCII, each ended by a LF.
///
/// ```text
/// llm-os approval 1
/// decision: approve
/// plan: p-5f1c7be03a9d2244
/// user: 1000
/// sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
/// expires: 2026-11-29T01:00:00Z
/// host: ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Whether it approves the same again for the plan's session, and not only this plan once.
    pub session: bool,
    /// The held plan, as the host names it.
    pub pending_id: String,
    /// The user who sent it.
    pub uid: u32,
    /// The SHA-256 of its canonical form, in lower-case hexadecimal.
    pub sha256: String,
    /// Until when it is held. No approval counts after that.
    pub expires: Moment,
    /// The host that holds it, by the key that signs its audit log.
    pub host: PublicKey,
}

impl Statement {
    /// Reads the text of a statement, which must be exactly the one that such a statement has.
    pub fn read(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let mut field = |name: &str| lines.next()?.strip_prefix(name);
        field(DOMAIN)?;
        let session = match field("decision: ")? {
            ONCE => false,
            SESSION => true,
            _ => return None,
        };
        let pending_id = field("plan: ")?.to_owned();
        let uid = field("user: ")?.parse().ok()?;
        let sha256 = field("sha256: ")?.to_owned();
        let expires = Moment::rfc3339(field("expires: ")?)?;
        let host = PublicKey::parse(field("host: ")?)?;
        let statement = Self { session, pending_id, uid, sha256, expires, host };
        (statement.is_plain() && statement.to_string() == text).then_some(statement)
    }

    /// Whether no field can be taken for another line, or for a value that it is not.
    fn is_plain(&self) -> bool {
        let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=64).contains(&self.pending_id.len())
            && self.pending_id.bytes().all(letter)
            && self.sha256.len() == 64
            && self.sha256.bytes().all(digit)
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, pending_id, uid, sha256, expires, host } = self;
        let decision = if *session { SESSION } else { ONCE };
        write!(
            f,
            "{DOMAIN}\ndecision: {decision}\nplan: {pending_id}\nuser: {uid}\nsha256: {sha256}\nexpires: {expires}\nhost: {host}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Signer;

    fn statement() -> Statement {
        Statement {
            session: false,
            pending_id: "p-5f1c7be03a9d2244".to_owned(),
            uid: 1000,
            sha256: "2c".repeat(32),
            expires: Moment::rfc3339("2026-11-29T01:00:00Z").unwrap(),
            host: Signer::from_seed(&[7; 32]).public(),
        }
    }

    #[test]
    fn the_text_is_lines_that_a_human_can_read_and_is_read_back() {
        for statement in [statement(), Statement { session: true, ..statement() }] {
            let text = statement.to_string();
            assert!(text.ends_with('\n') && text.lines().count() == 7, "{text}");
            assert!(text.lines().all(|line| line.bytes().all(|b| (b' '..=b'~').contains(&b))), "{text}");
            assert_eq!(Statement::read(&text), Some(statement));
        }
        assert_ne!(statement().to_string(), Statement { session: true, ..statement() }.to_string());
    }

    #[test]
    fn a_text_that_is_not_exactly_one_is_none() {
        let text = statement().to_string();
        let others = [
            text.trim_end().to_owned(),
            format!("{text}\n"),
            format!("{text}note: also everything else\n"),
            text.replace("approval 1", "approval 2"),
            text.replace("approval 1", "approval 1 "),
            text.replace("decision: approve", "decision: Approve"),
            text.replace("user: 1000", "user: +1000"),
            text.replace("user: 1000", "user: 01000"),
            text.replace("01:00:00Z", "01:00:00.0Z"),
            text.replace('\n', "\r\n"),
            text.replace("2c2c", "2C2C"),
            text.replace("p-5f1c7be03a9d2244", "p-\u{430}"),
            text.replace("p-5f1c7be03a9d2244", ""),
            text.to_uppercase(),
            String::new(),
        ];
        for other in others {
            assert_eq!(Statement::read(&other), None, "{other}");
        }
    }
}
