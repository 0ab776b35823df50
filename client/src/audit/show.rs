//! `llmsh audit show` and `llmsh audit tail`.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use llm_os_core::audit::Line;
use serde_json::Value;

use crate::audit::filter::{Filter, FilterArgs};
use crate::audit::print::Printer;
use crate::audit::read::each;
use crate::audit::segments::{Next, Segment, list};
use crate::exit::{Exit, Failure};
use crate::output::{self, Form};
use crate::progress::Progress;
use crate::screen;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn show(
    dir: &Path,
    filter: &FilterArgs,
    limit: Option<usize>,
    form: Form,
) -> Result<Exit, Failure> {
    let mut filter = Filter::new(filter, SystemTime::now())?;
    let mut newest = VecDeque::new();
    let mut exit = Exit::Ok;
    let segments = list(dir)?;
    let length = segments.iter().filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum();
    let mut printer = Printer::new(form);
    let mut progress = Progress::new("reading", length, std::io::stdout().is_terminal());
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    each::<()>(&segments, &mut progress, &mut |piece| {
        // A host may be writing what no line end closes yet.
        if piece.torn {
            return Ok(ControlFlow::Continue(()));
        }
        let line = Line::read(piece.bytes);
        if line.as_ref().is_some_and(|line| !filter.may_match(line)) {
            return Ok(ControlFlow::Continue(()));
        }
        match line.and_then(|line| read(line.bytes)) {
            Some(record) if !filter.matches(&record) => {}
            Some(_) => match limit {
                None => printer.record(piece.bytes)?,
                Some(limit) => keep(&mut newest, limit, piece.bytes),
            },
            None => {
                printer.flush()?;
                let place = piece.place(&segments);
                screen::say(&format!("{place} is not a record: see llmsh audit verify"));
                exit = Exit::Failed;
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    print_all(&newest, &mut printer)?;
    printer.end("no record matches")?;
    Ok(exit)
}

pub(super) fn tail(dir: &Path, lines: usize, follow: bool, form: Form) -> Result<Exit, Failure> {
    let segments = list(dir)?;
    let mut newest: VecDeque<Vec<u8>> = VecDeque::new();
    let mut last = None;
    for path in segments.iter().rev() {
        let mut segment = Segment::open(path)?;
        let mut here = VecDeque::new();
        while let Next::Line(bytes) = segment.next()? {
            keep(&mut here, lines - newest.len(), bytes);
        }
        segment.again()?;
        here.append(&mut newest);
        newest = here;
        last.get_or_insert(segment);
        if newest.len() >= lines {
            break;
        }
    }
    let mut printer = Printer::new(form);
    print_all(&newest, &mut printer)?;
    match last {
        Some(last) if follow => followed(dir, last, &mut printer),
        Some(_) | None => Ok(Exit::Ok),
    }
}

/// Prints what comes, through rotations, until nobody reads it any more.
fn followed(dir: &Path, mut segment: Segment, printer: &mut Printer) -> Result<Exit, Failure> {
    loop {
        // Looked for before the rest of this segment is read: once there is a next one, this one is complete.
        let next = after(list(dir)?, &segment.path);
        while let Next::Line(bytes) = segment.next()? {
            printer.record(bytes)?;
        }
        segment.again()?;
        printer.flush()?;
        match next {
            Some(next) => segment = Segment::open(&next)?,
            None => output::pause(LOOK)?,
        }
    }
}

fn after(segments: Vec<PathBuf>, current: &Path) -> Option<PathBuf> {
    segments.into_iter().find(|path| path.as_path() > current)
}

fn keep(newest: &mut VecDeque<Vec<u8>>, most: usize, line: &[u8]) {
    newest.push_back(line.to_vec());
    if newest.len() > most {
        newest.pop_front();
    }
}

fn print_all(lines: &VecDeque<Vec<u8>>, printer: &mut Printer) -> Result<(), Failure> {
    lines.iter().try_for_each(|line| printer.record(line))?;
    printer.flush()
}
