//! Turns entries into chained lines, and lines into durable bytes.

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use llm_os_core::audit::{Body, Chain, Entry, Event, Line, Signer, segment_name};
use llm_os_core::name::Id;
use llm_os_core::pipeline::Durable;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::Options;
use crate::audit::disk::{Closed, Disk};

/// An entry that is ready for its line.
pub(super) struct Item {
    body: Body,
    mark: Option<Mark>,
}

/// The run and the place of an action in it: what an intent and its outcome share.
type Place = (String, u64);

/// What an entry means for what follows it.
enum Mark {
    Opens(Place, OpenIntent),
    Closes(Place),
    /// The roots that everything is decided with from here on.
    Begins(Value),
}

/// An intent without an outcome yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenIntent {
    seq: u64,
    action: String,
    request_id: Option<String>,
    session_id: Option<String>,
}

/// The intents without an outcome.
#[derive(Clone, Debug, Default)]
pub(super) struct Open(BTreeMap<Place, OpenIntent>);

impl Item {
    pub(super) fn of(entry: &Entry) -> Self {
        Self { body: Body::of(entry), mark: Mark::of(entry) }
    }
}

impl Mark {
    fn of(entry: &Entry) -> Option<Self> {
        if entry.event == Event::Start {
            return entry.data.as_ref().map(|data| Mark::Begins(data["roots"].clone()));
        }
        let text = |id: &Option<Id>| id.as_ref().map(|id| id.as_str().to_owned());
        let run = entry.run.clone()?;
        if entry.event == Event::Intent {
            let what = entry.what.as_ref()?;
            let intent = OpenIntent {
                seq: 0,
                action: what.action.clone(),
                request_id: text(&entry.request_id),
                session_id: text(&entry.session_id),
            };
            return Some(Mark::Opens((run, what.index as u64), intent));
        }
        let stated = || entry.data.as_ref().and_then(|data| data["index"].as_u64());
        let index = entry.what.as_ref().map(|what| what.index as u64).or_else(stated)?;
        matches!(entry.event, Event::Outcome | Event::Interrupted).then_some(Mark::Closes((run, index)))
    }
}

/// What of a line tells about open intents.
#[derive(Deserialize)]
struct Seen {
    run: Option<String>,
    request_id: Option<String>,
    session_id: Option<String>,
    what: Option<SeenWhat>,
    data: Option<SeenData>,
}

#[derive(Deserialize)]
struct SeenWhat {
    action: String,
    index: u64,
}

#[derive(Deserialize)]
struct SeenData {
    index: Option<u64>,
    #[serde(default)]
    open: Vec<Listed>,
}

/// An open intent in a `rotated` or `interrupted` record.
#[derive(Serialize, Deserialize)]
struct Listed {
    run: String,
    index: u64,
    #[serde(flatten)]
    intent: OpenIntent,
}

impl Open {
    fn apply(&mut self, mark: &Mark, seq: u64) {
        match mark {
            Mark::Opens(place, intent) => {
                self.0.insert(place.clone(), OpenIntent { seq, ..intent.clone() });
            }
            Mark::Closes(place) => {
                self.0.remove(place);
            }
            Mark::Begins(_) => {}
        }
    }

    /// Follows a line that is read back.
    pub(super) fn follow(&mut self, line: &Line<'_>) {
        if !matches!(line.event, Event::Intent | Event::Outcome | Event::Interrupted | Event::Rotated) {
            return;
        }
        let Ok(seen) = serde_json::from_slice::<Seen>(line.bytes) else { return };
        let index =
            seen.what.as_ref().map(|what| what.index).or(seen.data.as_ref().and_then(|data| data.index));
        match (line.event, seen.run, index, seen.what) {
            (Event::Rotated, ..) => {
                let listed = seen.data.into_iter().flat_map(|data| data.open);
                self.0.extend(listed.map(|l| ((l.run, l.index), l.intent)));
            }
            (Event::Intent, Some(run), Some(index), Some(what)) => {
                let Seen { request_id, session_id, .. } = seen;
                let intent = OpenIntent { seq: line.seq, action: what.action, request_id, session_id };
                self.0.insert((run, index), intent);
            }
            (_, Some(run), Some(index), _) => {
                self.0.remove(&(run, index));
            }
            _ => {}
        }
    }

    fn listed(&self) -> Vec<Listed> {
        let listed = |((run, index), intent): (&Place, &OpenIntent)| Listed {
            run: run.clone(),
            index: *index,
            intent: intent.clone(),
        };
        self.0.iter().map(listed).collect()
    }

    /// A record for each intent whose outcome will never be known.
    pub(super) fn interrupted(&self) -> Vec<Item> {
        let id = |text: &Option<String>| text.as_deref().and_then(Id::new);
        let entry = |listed: Listed| {
            let Listed { run, index, intent } = listed;
            Entry {
                request_id: id(&intent.request_id),
                session_id: id(&intent.session_id),
                run: Some(run),
                data: Some(json!({"index": index, "action": intent.action, "intent_seq": intent.seq})),
                ..Entry::new(Event::Interrupted)
            }
        };
        self.listed().into_iter().map(|listed| Item::of(&entry(listed))).collect()
    }
}

/// Where a log stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Position {
    /// The segment that is written.
    pub(super) number: u32,
    /// Its length.
    pub(super) length: u64,
    /// Its end.
    pub(super) chain: Chain,
    /// How many records no checkpoint covers yet.
    pub(super) uncovered: u64,
    /// The intents without an outcome.
    pub(super) open: Open,
}

/// The one that writes. After an error it must not be used again.
pub(super) struct Writer {
    disk: Box<dyn Disk>,
    signer: Signer,
    options: Options,
    at: Position,
    /// The roots of this start, which each segment repeats: a segment can then be judged without those before it.
    roots: Option<Value>,
    buffer: Vec<u8>,
}

impl Writer {
    pub(super) fn new(disk: Box<dyn Disk>, signer: Signer, options: Options, at: Position) -> Self {
        Self { disk, signer, options, at, roots: None, buffer: Vec::new() }
    }

    /// Makes notes and groups of entries durable, in order, with one write and one sync, and says where each group
    /// stands.
    pub(super) fn commit<'a>(
        &mut self,
        notes: &[Item],
        groups: impl Iterator<Item = &'a [Item]>,
    ) -> io::Result<Vec<Durable>> {
        let rotates = self.at.length >= self.options.segment_bytes;
        if rotates {
            self.rotate()?;
        }
        let time = now();
        notes.iter().for_each(|note| self.push(note, &time));
        let durable = groups.map(|group| self.push_all(group, &time)).collect();
        self.flush()?;
        if self.at.uncovered >= self.options.checkpoint_records {
            self.checkpoint(&time)?;
        }
        if rotates {
            self.retire()?;
        }
        Ok(durable)
    }

    /// Removes the closed segments that are older than `retention`, oldest first and never one after a younger one. Which
    /// they are is durable and signed before the first of them goes, with the end of each, so that the log verifies
    /// wherever the removals are cut short.
    pub(super) fn retire(&mut self) -> io::Result<()> {
        let Some(retention) = self.options.retention else { return Ok(()) };
        let now_is = SystemTime::now();
        let is_old = |closed: &Closed| now_is.duration_since(closed.time).is_ok_and(|age| age > retention);
        let old: Vec<Closed> = self.disk.closed()?.into_iter().take_while(is_old).collect();
        let Some(last) = old.last() else { return Ok(()) };
        let segment = |closed: &Closed| json!({"name": segment_name(closed.number), "seq": closed.seq, "head": closed.head.as_str()});
        let data = json!({"seq": last.seq, "segments": old.iter().map(segment).collect::<Vec<_>>()});
        let time = now();
        self.push(&Item::of(&Entry { data: Some(data), ..Entry::new(Event::Retired) }), &time);
        self.flush()?;
        self.checkpoint(&time)?;
        for closed in &old {
            self.disk.remove(closed.number)?;
        }
        tracing::info!(segments = old.len(), last = last.seq, "old segments of the log were removed");
        Ok(())
    }

    /// Makes the last entries of all durable: what is open is interrupted, then these, then a checkpoint.
    pub(super) fn finish(&mut self, last: &[Item]) -> io::Result<Durable> {
        let time = now();
        self.at.open.interrupted().iter().for_each(|item| self.push(item, &time));
        let durable = self.push_all(last, &time);
        self.flush()?;
        self.checkpoint(&time)?;
        self.disk.trim()?;
        Ok(durable)
    }

    /// Closes the segment with a checkpoint and begins the next one, which says what it follows.
    fn rotate(&mut self) -> io::Result<()> {
        if self.at.uncovered > 0 {
            self.checkpoint(&now())?;
        }
        self.disk.trim()?;
        let number =
            self.at.number.checked_add(1).ok_or_else(|| io::Error::other("no segment number is left"))?;
        self.disk.create(number)?;
        self.at.length = 0;
        let previous = std::mem::replace(&mut self.at.number, number);
        self.push_rotated(previous);
        Ok(())
    }

    /// The first record of a segment that follows another.
    pub(super) fn push_rotated(&mut self, previous: u32) {
        let head = self.at.chain.head();
        let mut data =
            json!({"previous": segment_name(previous), "head": head.as_str(), "open": self.at.open.listed()});
        if let Some(roots) = &self.roots {
            data["roots"] = roots.clone();
        }
        let rotated = Entry { data: Some(data), ..Entry::new(Event::Rotated) };
        self.push(&Item::of(&rotated), &now());
    }

    fn push_all(&mut self, items: &[Item], time: &str) -> Durable {
        let first = self.at.chain.seq() + 1;
        for item in items {
            self.push(item, time);
        }
        let chain = &self.at.chain;
        Durable { first, last: chain.seq(), receipt: chain.head().as_str().to_owned() }
    }

    fn push(&mut self, item: &Item, time: &str) {
        self.at.chain.append(&item.body, time, &mut self.buffer);
        self.at.uncovered += 1;
        match &item.mark {
            Some(Mark::Begins(roots)) => self.roots = Some(roots.clone()),
            Some(mark) => self.at.open.apply(mark, self.at.chain.seq()),
            None => {}
        }
    }

    /// Signs what is on the disk already, so that a checkpoint never stands after a record that a lost power tore.
    fn checkpoint(&mut self, time: &str) -> io::Result<()> {
        self.at.chain.checkpoint(&self.signer, time, &mut self.buffer);
        self.at.uncovered = 0;
        self.flush()
    }

    /// Only what the disk did not take, or was interrupted at before it took anything, is handed to it again.
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.disk.check()?;
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            match self.disk.append(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => rest = &rest[taken..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.disk.sync()?;
        self.at.length += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}
