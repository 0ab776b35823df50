//! Reads the whole log once: verifies it, and puts the records that are asked for together, plan by plan.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;

use llm_os_core::audit::{Line, ProblemKind, PublicKey, Verified, Verifier, printable};
use serde_json::Value;

use crate::audit::filter::Filter;
use crate::audit::read::each;
use crate::exit::Failure;
use crate::progress::Progress;

/// How much is shown of what is no record.
const SHOWN: usize = 2048;

/// What the page is about.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) verified: Option<Verified>,
    /// Why it does not verify.
    pub(super) problem: Option<String>,
    /// Bytes after the last complete line.
    pub(super) torn: u64,
    pub(super) bytes: u64,
    pub(super) items: Vec<Item>,
    pub(super) totals: Totals,
}

/// One thing of the timeline.
#[derive(Debug)]
pub(super) enum Item {
    /// The records of a plan, from its question to its end.
    Plan(Vec<Record>),
    /// Something of the host.
    Event(Record),
    /// Not a record.
    Malformed { place: String, text: String },
    /// Here the log does not verify.
    Break(String),
}

/// A record as it was written.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) line: Box<[u8]>,
    pub(super) broken: bool,
}

/// Counts over what is shown.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) plans: u64,
    pub(super) actions: u64,
    pub(super) allowed: u64,
    pub(super) confirmed: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) output_bytes: u64,
    /// Approvals by user.
    pub(super) approvers: BTreeMap<u64, u64>,
    pub(super) first: Option<String>,
    pub(super) last: Option<String>,
}

/// Reads it.
///
/// # Errors
///
/// A segment that cannot be read.
pub(super) fn collect(
    segments: &[PathBuf],
    key: Option<PublicKey>,
    mut filter: Filter,
    progress: &mut Progress,
) -> Result<Collected, Failure> {
    let verifier = Verifier::new();
    let mut verifier = Some(match key {
        Some(key) => verifier.key(key),
        None => verifier,
    });
    let mut page = Collected::default();
    let mut groups = Groups::default();
    let mut last_seq = 0;
    each::<()>(segments, progress, &mut |piece| {
        page.bytes += piece.bytes.len() as u64 + 1;
        if piece.torn && piece.segment + 1 == segments.len() {
            page.torn = piece.bytes.len() as u64;
            return Ok(ControlFlow::Continue(()));
        }
        let name = || {
            let name = segments[piece.segment].file_name().unwrap_or_default().to_string_lossy();
            format!("line {} of {name}", piece.line)
        };
        let line = Line::read(piece.bytes);
        let mut broken = false;
        if let Some(Err(problem)) =
            verifier.as_mut().map(|v| v.line(if piece.torn { b"" } else { piece.bytes }))
        {
            verifier = None;
            let told = format!("{problem} ({})", name());
            let gap = matches!(problem.kind, ProblemKind::Gap { .. });
            if !page.mark(problem.seq.min(last_seq), problem.seq <= last_seq) {
                page.items.push(Item::Break(told.clone()));
                broken = !gap;
            }
            page.problem = Some(told);
        }
        last_seq = line.map_or(last_seq, |line| line.seq);
        let record = line.and_then(|line| serde_json::from_slice::<Value>(line.bytes).ok());
        match record {
            Some(record) if filter.matches(&record) => {
                page.totals.count(&record);
                groups.add(&mut page.items, &record, Record { line: piece.bytes.into(), broken });
            }
            Some(_) => {}
            None => {
                let shown = &piece.bytes[..piece.bytes.len().min(SHOWN)];
                page.items.push(Item::Malformed { place: name(), text: printable(shown).into_owned() });
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    match verifier.map(|verifier| verifier.finish(b"")) {
        Some(Ok(verified)) => page.verified = Some(verified),
        Some(Err(problem)) => {
            page.mark(problem.seq, true);
            page.items.push(Item::Break(problem.to_string()));
            page.problem = Some(problem.to_string());
        }
        None => {}
    }
    page.totals.plans = page.items.iter().filter(|item| matches!(item, Item::Plan(_))).count() as u64;
    Ok(page)
}

impl Collected {
    /// Marks an earlier record as the one that is not as it was written. `false` where it is not shown.
    fn mark(&mut self, seq: u64, earlier: bool) -> bool {
        let start = format!("{{\"seq\":{seq},");
        let records = self.items.iter_mut().rev().flat_map(|item| match item {
            Item::Plan(records) => records.iter_mut().rev().collect::<Vec<_>>(),
            Item::Event(record) => vec![record],
            Item::Malformed { .. } | Item::Break(_) => Vec::new(),
        });
        let mut found = records.filter(|record| earlier && record.line.starts_with(start.as_bytes()));
        found.next().map(|record| record.broken = true).is_some()
    }
}

/// Which item a run or a held plan has.
#[derive(Debug, Default)]
struct Groups(HashMap<String, usize>);

impl Groups {
    /// Puts a record where it belongs: to its run, else to the held plan that it names, else by itself.
    fn add(&mut self, items: &mut Vec<Item>, value: &Value, record: Record) {
        let run = value["run"].as_str().map(|run| format!("run {run}"));
        let pending = value["data"]["pending_id"].as_str();
        let pending = pending.or(value["decision"]["approved"]["pending_id"].as_str());
        let pending = pending.map(|id| format!("pending {id}"));
        let known = [&run, &pending].into_iter().flatten().find_map(|key| self.0.get(key)).copied();
        if run.is_none() && pending.is_none() {
            items.push(Item::Event(record));
            return;
        }
        let at = known.unwrap_or(items.len());
        self.0.extend([run, pending].into_iter().flatten().map(|key| (key, at)));
        match items.get_mut(at) {
            Some(Item::Plan(records)) => records.push(record),
            Some(_) | None => items.push(Item::Plan(vec![record])),
        }
    }
}

impl Totals {
    fn count(&mut self, record: &Value) {
        let time = record["time"].as_str().map(str::to_owned);
        self.first = self.first.take().or_else(|| time.clone());
        self.last = time;
        match record["event"].as_str().unwrap_or_default() {
            "intent" => {
                self.actions += 1;
                let human = record["decision"]["approved"].is_object();
                *(if human { &mut self.confirmed } else { &mut self.allowed }) += 1;
            }
            "outcome" => {
                self.failed += u64::from(record["outcome"]["status"] == "failed");
                self.output_bytes += record["outcome"]["output_bytes"].as_u64().unwrap_or(0);
            }
            "refused" | "denied" | "token_burnt" => self.refused += 1,
            "approved" => *self.approvers.entry(record["who"]["uid"].as_u64().unwrap_or(0)).or_default() += 1,
            _ => {}
        }
    }
}
