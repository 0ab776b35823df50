//! Reads the whole log once: verifies it, and puts the records that are asked for together, plan by plan.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;

use llm_os_core::audit::{Line, Problem, ProblemKind, PublicKey, Verified, Verifier, printable};
use serde_json::Value;

use crate::audit::approvals::{Approvals, Unsigned};
use crate::audit::filter::Filter;
use crate::audit::read::each;
use crate::exit::Failure;
use crate::progress::Progress;

/// How much is shown of what is no record.
const SHOWN: usize = 2048;

const NOT_AS_WRITTEN: &str = "The chain breaks here: this record is not as it was written.";

/// What the page is about.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) verified: Option<Verified>,
    /// Why it does not verify, and what is not proven.
    pub(super) problems: Vec<String>,
    /// What was found of the approvals.
    pub(super) approvals: Vec<String>,
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
    /// Here something is wrong with the log.
    Break(String),
}

/// A record as it was written.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) line: Box<[u8]>,
    /// What is wrong with it.
    pub(super) mark: Option<String>,
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
    mut approvals: Approvals,
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
        let place = || piece.place(segments);
        let verified = verifier.as_mut().map(|v| v.line(if piece.torn { b"" } else { piece.bytes }));
        let mut mark = None;
        let line = match verified {
            Some(Ok(line)) => {
                if let Err(Unsigned { seq, message }) = approvals.line(&line) {
                    page.problems.push(format!("no person is proven: record {seq}: {message} ({})", place()));
                    mark = Some(format!("No person is proven: {message}."));
                }
                Some(line)
            }
            Some(Err(problem)) => {
                verifier = None;
                mark = page.breaks(&problem, last_seq, &place());
                Line::read(piece.bytes)
            }
            None => Line::read(piece.bytes),
        };
        last_seq = line.as_ref().map_or(last_seq, |line| line.seq);
        let is_passed_over = mark.is_none() && line.as_ref().is_some_and(|line| !filter.may_match(line));
        if is_passed_over {
            return Ok(ControlFlow::Continue(()));
        }
        match line.and_then(|line| serde_json::from_slice::<Value>(line.bytes).ok()) {
            Some(record) if filter.matches(&record) => {
                page.totals.count(&record);
                groups.add(&mut page.items, &record, Record { line: piece.bytes.into(), mark });
            }
            Some(_) => page.items.extend(mark.map(Item::Break)),
            None => {
                let shown = &piece.bytes[..piece.bytes.len().min(SHOWN)];
                page.items.push(Item::Malformed { place: place(), text: printable(shown).into_owned() });
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    match verifier.map(|verifier| verifier.finish(b"")) {
        Some(Ok(verified)) => page.verified = Some(verified),
        Some(Err(problem)) => {
            page.mark(problem.seq);
            let told = does_not_verify(&problem, "its end");
            page.problems.insert(0, told.clone());
            page.items.push(Item::Break(told));
        }
        None => {}
    }
    page.approvals = approvals.words();
    page.totals.plans = page.items.iter().filter(|item| matches!(item, Item::Plan(_))).count() as u64;
    Ok(page)
}

fn does_not_verify(problem: &Problem, place: &str) -> String {
    format!("the log does not verify: {problem} ({place}); what follows proves nothing")
}

impl Collected {
    /// Says that the log does not verify from here. Gives the mark of the record here, unless an earlier one is it.
    fn breaks(&mut self, problem: &Problem, last_seq: u64, place: &str) -> Option<String> {
        let told = does_not_verify(problem, place);
        self.problems.insert(0, told.clone());
        let is_earlier = problem.seq <= last_seq && self.mark(problem.seq);
        if is_earlier {
            return None;
        }
        self.items.push(Item::Break(told));
        (!matches!(problem.kind, ProblemKind::Gap { .. })).then(|| NOT_AS_WRITTEN.to_owned())
    }

    /// Marks an earlier record as the one that is not as it was written. `false` where it is not shown.
    fn mark(&mut self, seq: u64) -> bool {
        let start = format!("{{\"seq\":{seq},");
        let records = self.items.iter_mut().rev().flat_map(|item| match item {
            Item::Plan(records) => records.iter_mut().rev().collect::<Vec<_>>(),
            Item::Event(record) => vec![record],
            Item::Malformed { .. } | Item::Break(_) => Vec::new(),
        });
        let mut found = records.filter(|record| record.line.starts_with(start.as_bytes()));
        found.next().map(|record| record.mark = Some(NOT_AS_WRITTEN.to_owned())).is_some()
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
