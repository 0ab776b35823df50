//! `llmsh audit show` and `llmsh audit tail`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use llm_os_core::audit::{Line, printable};

use crate::audit::filter::{Filter, FilterArgs};
use crate::audit::segments::{Next, Segment, list};
use crate::exit::{Exit, Failure};
use crate::{output, screen};

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn show(
    dir: &Path,
    filter: &FilterArgs,
    limit: Option<usize>,
    pretty: bool,
) -> Result<Exit, Failure> {
    let mut filter = Filter::new(filter, SystemTime::now())?;
    let mut newest = VecDeque::new();
    let mut exit = Exit::Ok;
    for path in list(dir)? {
        let mut segment = Segment::open(&path)?;
        let name = segment.name();
        let mut number = 0_u64;
        while let Next::Line(bytes) = segment.next()? {
            number += 1;
            let record = Line::read(bytes).and_then(|line| serde_json::from_slice(line.bytes).ok());
            match record {
                Some(record) if !filter.matches(&record) => {}
                Some(_) => match limit {
                    None => output::print(&printable(bytes), pretty)?,
                    Some(limit) => keep(&mut newest, limit, bytes),
                },
                None => {
                    screen::say(&format!("line {number} of {name} is not a record: see llmsh audit verify"));
                    exit = Exit::Failed;
                }
            }
        }
    }
    print_all(&newest, pretty)?;
    Ok(exit)
}

pub(super) fn tail(dir: &Path, lines: usize, follow: bool, pretty: bool) -> Result<Exit, Failure> {
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
    print_all(&newest, pretty)?;
    match last {
        Some(last) if follow => followed(dir, last, pretty),
        Some(_) | None => Ok(Exit::Ok),
    }
}

/// Prints what comes, through rotations, until nobody reads it any more.
fn followed(dir: &Path, mut segment: Segment, pretty: bool) -> Result<Exit, Failure> {
    loop {
        // Looked for before the rest of this segment is read: once there is a next one, this one is complete.
        let next = after(list(dir)?, &segment.path);
        while let Next::Line(bytes) = segment.next()? {
            output::print(&printable(bytes), pretty)?;
        }
        segment.again()?;
        match next {
            Some(next) => segment = Segment::open(&next)?,
            None => std::thread::sleep(LOOK),
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

fn print_all(lines: &VecDeque<Vec<u8>>, pretty: bool) -> Result<(), Failure> {
    lines.iter().try_for_each(|line| output::print(&printable(line), pretty))
}
