//! Whether the approvals of a log were signed, and by whom.
//!
//! The chain proves that nobody changed the log since; a signature proves a person's yes also against whoever keeps the
//! log and its key.

use std::collections::BTreeMap;
use std::path::Path;

use llm_os_core::approval::{Moment, Signers, Statement};
use llm_os_core::audit::{Event, Line, PublicKey};
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::screen::plain;

/// Follows the approvals of a log.
#[derive(Debug)]
pub(super) struct Approvals {
    signers: Option<Signers>,
    host: Option<PublicKey>,
    /// Those that verified, by the plan that they approve.
    verified: BTreeMap<String, Verified>,
    /// Whether the log begins later than its first record: what is older was removed.
    is_cut: Option<bool>,
    count: u64,
    signed: u64,
    earlier: u64,
}

#[derive(Debug)]
struct Verified {
    signer: String,
    session: bool,
    /// The run that used it.
    run: Option<String>,
}

/// What is printed of the approvals of a log.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    count: u64,
    signed: u64,
    /// Whether the signatures were verified, and everything that a human confirmed has one.
    verified: bool,
    /// Actions that ran on an approval that is older than the log's first record.
    #[serde(skip_serializing_if = "is_zero")]
    earlier: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An approval, or what ran on one, that no signature proves.
#[derive(Debug)]
pub(super) struct Unsigned {
    pub(super) seq: u64,
    pub(super) message: String,
}

#[derive(Deserialize)]
struct Approval {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    pending_id: String,
    uid: u32,
    plan_sha256: String,
    signature: Option<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    statement: String,
    armored: String,
    fingerprint: String,
}

#[derive(Deserialize)]
struct Intent {
    run: Option<String>,
    decision: Option<Decision>,
}

#[derive(Deserialize)]
struct Decision {
    decision: String,
    approved: Option<By>,
}

#[derive(Deserialize)]
struct By {
    pending_id: String,
    signer: Option<String>,
}

impl Approvals {
    /// Verifies by this list of signers, for the host with this key; counts only, without a list.
    pub(super) fn new(file: Option<&Path>, host: Option<PublicKey>) -> Result<Self, Failure> {
        let read = |file: &Path| {
            let wrong = |why: String| Failure::Usage(format!("--signers {}: {why}", file.display()));
            let text = std::fs::read(file).map_err(|e| wrong(e.to_string()))?;
            Signers::read(&text).map_err(|e| wrong(e.to_string()))
        };
        let signers = file.map(read).transpose()?;
        let verified = BTreeMap::new();
        Ok(Self { signers, host, verified, is_cut: None, count: 0, signed: 0, earlier: 0 })
    }

    /// Takes the next record.
    pub(super) fn line(&mut self, line: &Line<'_>) -> Result<(), Unsigned> {
        self.is_cut.get_or_insert(line.seq > 1);
        if line.event == Event::Approved {
            let approval: Approval = read(line)?;
            self.count += 1;
            self.signed += u64::from(approval.data.signature.is_some());
            return match &self.signers {
                None => Ok(()),
                Some(signers) => {
                    let verified = approval.verify(signers, self.host, line.time);
                    let verified = verified.map_err(|message| Unsigned { seq: line.seq, message })?;
                    match self.verified.insert(approval.data.pending_id.clone(), verified) {
                        None => Ok(()),
                        Some(_) => {
                            let message =
                                format!("plan {} was approved before", plain(&approval.data.pending_id));
                            Err(Unsigned { seq: line.seq, message })
                        }
                    }
                }
            };
        }
        if self.signers.is_none() || line.event != Event::Intent {
            return Ok(());
        }
        let Intent { run, decision } = read(line)?;
        let used = match decision {
            Some(Decision { approved: Some(by), .. }) => self.used(&by, run),
            Some(Decision { decision, approved: None }) if decision == "confirm" => {
                Err("it needed the approval of a human, and names none".to_owned())
            }
            Some(_) | None => Ok(()),
        };
        used.map_err(|message| Unsigned { seq: line.seq, message })
    }

    /// What ran must have an approval, by the same key, that was for it.
    fn used(&mut self, by: &By, run: Option<String>) -> Result<(), String> {
        let id = plain(&by.pending_id);
        let Some(verified) = self.verified.get_mut(&by.pending_id) else {
            if self.is_cut == Some(true) {
                self.earlier += 1;
                return Ok(());
            }
            return Err(format!(
                "it was confirmed by the approval of {id}, and no record before it is that approval"
            ));
        };
        if by.signer.as_ref() != Some(&verified.signer) {
            return Err(format!("it says another signer than the approval of {id}, {}", verified.signer));
        }
        if !verified.session && verified.run.is_some() && verified.run != run {
            return Err(format!("the approval of {id} was for one run, and this is another"));
        }
        verified.run = run;
        Ok(())
    }

    /// What to print; nothing where nothing was approved.
    pub(super) fn told(&self) -> Option<Told> {
        let Self { count, signed, earlier, .. } = *self;
        (count + earlier > 0).then_some(Told { count, signed, verified: self.signers.is_some(), earlier })
    }

    /// What was found of the approvals, in words.
    pub(super) fn words(&self) -> Vec<String> {
        let Self { count, signed, earlier, .. } = self;
        let older = (*earlier > 0).then(|| {
            format!(
                "{earlier} actions ran on approvals that are older than the first record that is left: nothing proves these"
            )
        });
        let found = match (count, &self.signers) {
            (0, _) => None,
            (_, Some(_)) => Some(format!("approvals: {count}, each signed by a key of the file")),
            (_, None) if *signed == 0 => Some(format!("approvals: {count}, none of them signed")),
            (_, None) => Some(format!(
                "approvals: {count}, {signed} of them with a signature, which was not verified: give --signers FILE"
            )),
        };
        older.into_iter().chain(found).collect()
    }
}

impl Approval {
    fn verify(&self, signers: &Signers, host: Option<PublicKey>, time: &str) -> Result<Verified, String> {
        let Data { pending_id, uid, plan_sha256, signature } = &self.data;
        let id = plain(pending_id);
        let Some(Signature { statement, armored, fingerprint }) = signature else {
            return Err(format!("the approval of {id} is not signed"));
        };
        let statement = Statement::read(statement)
            .ok_or_else(|| format!("what was signed for {id} is no statement of an approval"))?;
        if (&statement.pending_id, statement.uid, &statement.sha256) != (pending_id, *uid, plan_sha256) {
            return Err(format!("what was signed for {id} is the statement of another plan"));
        }
        if host.is_some_and(|host| host != statement.host) {
            return Err(format!("what was signed for {id} is the statement of another host"));
        }
        let at = Moment::rfc3339(time).ok_or_else(|| "its time cannot be read".to_owned())?;
        let by = signers.verify(&statement, armored, at);
        let by = by.map_err(|e| format!("the signature of the approval of {id} does not count: {e}"))?;
        if by.fingerprint != *fingerprint {
            return Err(format!(
                "the approval of {id} was signed by {}, and the record says another key",
                by.fingerprint
            ));
        }
        Ok(Verified { signer: by.fingerprint, session: statement.session, run: None })
    }
}

fn read<'a, T: Deserialize<'a>>(line: &Line<'a>) -> Result<T, Unsigned> {
    serde_json::from_slice(line.bytes)
        .map_err(|e| Unsigned { seq: line.seq, message: format!("its approval cannot be read: {e}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] =
        b"ann ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    /// What is said of an action that was confirmed, in a log that begins with it.
    fn first(seq: u64) -> (Result<(), Unsigned>, Option<Told>) {
        let signers = Some(Signers::read(KEY).unwrap());
        let mut approvals = Approvals { signers, ..Approvals::new(None, None).unwrap() };
        let line = line(
            seq,
            r#""intent","request_id":"r","session_id":null,"run":"a","decision":{"decision":"confirm","approved":{"pending_id":"p-1","approver":0,"time":"2026-11-23T05:54:01Z"}}"#,
        );
        (approvals.line(&Line::read(line.as_bytes()).unwrap()), approvals.told())
    }

    fn line(seq: u64, event: &str) -> String {
        let zeros = "0".repeat(64);
        format!(r#"{{"seq":{seq},"time":"2026-11-23T05:54:01.123456Z","event":{event},"prev":"{zeros}"}}"#)
    }

    #[test]
    fn an_approval_that_was_removed_with_the_oldest_records_is_told_and_a_missing_one_is_refused() {
        let (whole, _) = first(1);
        assert!(whole.unwrap_err().message.contains("no record before it"));
        let (cut, told) = first(10);
        assert!(cut.is_ok());
        assert_eq!(told.unwrap().earlier, 1);
    }

    #[test]
    fn a_record_of_another_shape_is_refused_at_its_place() {
        let mut approvals = Approvals::new(None, None).unwrap();
        let line = line(7, r#""approved","data":null"#);
        assert_eq!(approvals.line(&Line::read(line.as_bytes()).unwrap()).unwrap_err().seq, 7);
    }
}
