//! `llmsh audit verify`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use llm_os_core::audit::{Link, Problem, ProblemKind, PublicKey, Verified, Verifier};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::audit::approvals::{Approvals, Told, Unsigned};
use crate::audit::read::each;
use crate::audit::segments::{list, unreadable};
use crate::audit::{VerifyArgs, directory};
use crate::exit::{Exit, Failure};
use crate::output::Form;
use crate::progress::Progress;
use crate::screen::Screen;
use crate::text::{Table, heading, word};
use crate::{output, screen};

/// What is printed of a log that verifies.
#[derive(Debug, Serialize)]
struct Report {
    verifies: bool,
    records: u64,
    /// How many records before them were removed, as a signed one says.
    #[serde(skip_serializing_if = "is_none_retired")]
    retired: u64,
    segments: usize,
    head: Option<String>,
    checkpoints: u64,
    /// The last record that a checkpoint covers whose signature was verified.
    covered: u64,
    covers_end: bool,
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approvals: Option<Told>,
}

/// What is printed of one that does not.
#[derive(Debug, Serialize)]
struct Bad {
    verifies: bool,
    seq: u64,
    problem: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_to: Option<u64>,
    /// Where the line stands that showed it.
    segment: String,
    line: u64,
}

pub(super) fn verify(args: VerifyArgs, form: Form) -> Result<Exit, Failure> {
    let VerifyArgs { dir, pubkey, expect, signers } = args;
    let dir = &directory(dir)?;
    let segments = list(dir)?;
    let key = key(dir, pubkey)?;
    let mut approvals = Approvals::new(signers.as_deref(), key)?;
    let mut verifier = Verifier::new();
    if let Some(key) = key {
        verifier = verifier.key(key);
    }
    if let Some(receipt) = &expect {
        let link = Link::parse(receipt.as_bytes());
        let what = "--expect takes a receipt: the 64 hexadecimal digits of an answer's meta.receipt";
        verifier = verifier.expect(link.ok_or_else(|| Failure::Usage(what.to_owned()))?);
    }
    match read(&segments, verifier, &mut approvals)? {
        Ok(verified) => {
            let words = [holds(&verified, key.is_some()), approvals.words()].concat();
            let covers_end = verified.covers_end();
            let Verified { records, retired, head, checkpoints, covered, receipt } = verified;
            let report = Report {
                verifies: true,
                records,
                retired,
                segments: segments.len(),
                head: head.map(|link| link.as_str().to_owned()),
                checkpoints,
                covered,
                covers_end,
                key: key.map(|key| key.to_string()),
                receipt_seq: receipt,
                approvals: approvals.told(),
            };
            print(&words, &report, form)?;
            Ok(Exit::Ok)
        }
        Err(bad) => {
            let words = format!("the log does not verify: record {}: {}", bad.seq, bad.message);
            print(&[words], &bad, form)?;
            Ok(Exit::Failed)
        }
    }
}

fn read(
    segments: &[PathBuf],
    mut verifier: Verifier,
    approvals: &mut Approvals,
) -> Result<Result<Verified, Bad>, Failure> {
    let name = |at: usize| segments[at].file_name().unwrap_or_default().to_string_lossy().into_owned();
    let length = segments.iter().filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum();
    let mut progress = Progress::new("verifying", length, false);
    let end = segments.len() - 1;
    let (mut rest, mut at) = (Vec::new(), (0, 0));
    let bad = each(segments, &mut progress, &mut |piece| {
        let last = piece.segment == end;
        if piece.torn && last {
            rest.extend_from_slice(piece.bytes);
            return Ok(ControlFlow::Continue(()));
        }
        at = (piece.segment, piece.line);
        // Only the last segment may be in the middle of a line.
        let taken = verifier.line(if piece.torn { b"" } else { piece.bytes });
        Ok(match taken.map(|line| approvals.line(&line)) {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Err(problem) => ControlFlow::Break(Bad::new(&problem, name(piece.segment), piece.line)),
            Ok(Err(unsigned)) => ControlFlow::Break(Bad::unsigned(unsigned, name(piece.segment), piece.line)),
        })
    })?;
    if let Some(bad) = bad {
        return Ok(Err(bad));
    }
    let line = if at.0 == end { at.1 + 1 } else { 1 };
    Ok(verifier.finish(&rest).map_err(|problem| match problem.kind {
        // That the beginning is missing is known at the end only, where no record says that it was removed.
        ProblemKind::Gap { .. } => Bad::new(&problem, name(0), 1),
        _ => Bad::new(&problem, name(end), line),
    }))
}

fn is_none_retired(retired: &u64) -> bool {
    *retired == 0
}

impl Bad {
    fn new(problem: &Problem, segment: String, line: u64) -> Self {
        let (name, missing_to) = match problem.kind {
            ProblemKind::Malformed => ("malformed", None),
            ProblemKind::Gap { to } => ("gap", Some(to)),
            ProblemKind::Number { .. } => ("number", None),
            ProblemKind::Altered => ("altered", None),
            ProblemKind::Signature => ("signature", None),
            ProblemKind::Torn => ("torn", None),
            ProblemKind::NoReceipt { .. } => ("no_receipt", None),
        };
        let message = problem.kind.to_string();
        Self { verifies: false, seq: problem.seq, problem: name, message, missing_to, segment, line }
    }
}

impl Bad {
    fn unsigned(Unsigned { seq, message }: Unsigned, segment: String, line: u64) -> Self {
        Self { verifies: false, seq, problem: "approval", message, missing_to: None, segment, line }
    }
}

/// The key that is named, or the one that the host keeps beside its log.
pub(super) fn key(dir: &Path, named: Option<PathBuf>) -> Result<Option<PublicKey>, Failure> {
    let beside = dir.join("../audit.pub");
    let path = match named {
        Some(path) => path,
        None if beside.exists() => beside,
        None => return Ok(None),
    };
    let text = std::fs::read_to_string(&path).map_err(|e| unreadable(&path, &e))?;
    let what = || {
        format!(
            "{} is not a public key: a host writes it as audit.pub, 64 hexadecimal digits",
            path.display()
        )
    };
    PublicKey::parse(&text).map(Some).ok_or_else(|| Failure::Usage(what()))
}

/// What a log that verifies proves.
pub(super) fn holds(verified: &Verified, with_key: bool) -> Vec<String> {
    let Verified { records, retired, covered, .. } = verified;
    let receipt = "that none is missing after the last, a receipt tells (--expect)";
    let removed = (*retired > 0)
        .then(|| format!("the first {retired} records were removed by the host, as audit.retention says"));
    let proven = match (with_key, verified.covers_end(), covered) {
        (true, true, _) => format!("the log verifies: {records} records, signed to the end"),
        (true, false, 0) => format!("the log verifies: {records} records, none signed yet; {receipt}"),
        (true, false, _) => {
            format!("the log verifies: {records} records, signed up to record {covered}; {receipt}")
        }
        (false, ..) => {
            format!("the chain of {records} records verifies; no signature was checked: give --pubkey FILE")
        }
    };
    removed.into_iter().chain([proven]).collect()
}

/// The words go to stderr beside JSON, and above the fields for people.
fn print(words: &[String], report: &impl Serialize, form: Form) -> Result<(), Failure> {
    let json = serde_json::to_string(report).expect("plain fields");
    if form != Form::Text {
        words.iter().for_each(|words| screen::say(words));
    }
    output::tell(&json, form, |fields: Map<String, Value>| {
        let mut screen = Screen::default();
        words.iter().for_each(|words| heading(2, words, &mut screen));
        let mut table = Table::bare();
        let told =
            fields.iter().filter(|(name, _)| !matches!(name.as_str(), "verifies" | "message" | "approvals"));
        told.for_each(|(name, value)| {
            let value = match value {
                Value::Null => "none".to_owned(),
                Value::String(text) => word(text),
                other => other.to_string(),
            };
            table.row([name.replace('_', " "), value]);
        });
        table.write(2, &mut screen);
        screen
    })
}
