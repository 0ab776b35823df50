//! Group commit: one write and one sync for everybody who waits.
//!
//! Whoever finds nobody writing writes at once, on its own thread: a single request pays no hand-over. Whoever comes
//! meanwhile queues, and when the write ends, a thread of the blocking pool takes everything that is queued, and again,
//! until nothing is. The [`Writer`] itself is the right to write: there is one, and whoever has it writes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use llm_os_core::audit::Entry;
use llm_os_core::pipeline::Durable;
use llm_os_core::{Code, Fault};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::audit::refusals::Refusals;
use crate::audit::writer::{Item, Writer};

/// What is noted waits at most so long for others to be written with.
const NOTED: Duration = Duration::from_millis(50);

/// The queue before the one writer.
pub(super) struct Group(Arc<Shared>);

struct Shared(Mutex<Queue>);

struct Queue {
    /// Absent while somebody writes.
    writer: Option<Box<Writer>>,
    waiting: Vec<Waiting>,
    notes: Vec<Item>,
    /// The notes have waited long enough.
    notes_due: bool,
    /// A timer will see to the notes.
    timer: bool,
    refusals: Refusals,
    /// Why nothing is written any more.
    sealed: Option<Arc<str>>,
}

struct Waiting {
    items: Vec<Item>,
    kind: Kind,
    done: oneshot::Sender<Written>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Entries,
    /// Nothing to write but what retention asks for.
    Retire,
    /// The last entries of all.
    Stop,
}

type Written = Result<Durable, Arc<str>>;

impl Group {
    pub(super) fn new(writer: Writer) -> Self {
        Self(Arc::new(Shared(Mutex::new(Queue {
            writer: Some(Box::new(writer)),
            waiting: Vec::new(),
            notes: Vec::new(),
            notes_due: false,
            timer: false,
            refusals: Refusals::default(),
            sealed: None,
        }))))
    }

    pub(super) async fn write(&self, entries: &[Entry]) -> Result<Durable, Fault> {
        self.submit(entries.iter().map(Item::of).collect(), Kind::Entries).await
    }

    pub(super) async fn close(&self, stop: Entry) -> Result<(), Fault> {
        self.submit(vec![Item::of(&stop)], Kind::Stop).await.map(|_| ())
    }

    pub(super) async fn retire(&self) -> Result<(), Fault> {
        self.submit(Vec::new(), Kind::Retire).await.map(|_| ())
    }

    async fn submit(&self, items: Vec<Item>, kind: Kind) -> Result<Durable, Fault> {
        let (done, mut written) = oneshot::channel();
        let writer = {
            let mut queue = self.0.queue();
            queue.check()?;
            queue.waiting.push(Waiting { items, kind, done });
            queue.writer.take()
        };
        if let Some(writer) = writer {
            self.0.clone().round(writer);
        }
        // Where this thread wrote, the answer is already there.
        let written = match written.try_recv() {
            Ok(written) => written,
            Err(_) => written.await.unwrap_or_else(|_| Err("the writer is gone".into())),
        };
        written.map_err(|why| unavailable(&why))
    }

    pub(super) fn note(&self, entries: Vec<Entry>) -> Result<(), Fault> {
        let mut queue = self.0.queue();
        queue.check()?;
        if queue.refusals.admit(&entries, Instant::now()) {
            queue.notes.extend(entries.iter().map(Item::of));
        }
        if std::mem::replace(&mut queue.timer, true) {
            return Ok(());
        }
        drop(queue);
        match Handle::try_current() {
            Ok(runtime) => {
                let shared = self.0.clone();
                runtime.spawn(async move {
                    loop {
                        tokio::time::sleep(NOTED).await;
                        if !shared.notes_are_due() {
                            break;
                        }
                    }
                });
            }
            Err(_) => {
                self.0.notes_are_due();
            }
        }
        Ok(())
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the notes written. Whether the timer must look again.
    fn notes_are_due(self: &Arc<Self>) -> bool {
        let mut queue = self.queue();
        let summary = queue.refusals.summary(Instant::now(), false);
        queue.notes.extend(summary.iter().map(Item::of));
        queue.timer = queue.refusals.is_waiting() && queue.sealed.is_none();
        queue.notes_due = !queue.notes.is_empty();
        let again = queue.timer;
        let writer = queue.take_writer_if_due();
        drop(queue);
        if let Some(writer) = writer {
            self.clone().drain(writer);
        }
        again
    }

    /// Writes what is queued, then lets go, or hands over to a thread that goes on with what was queued meanwhile.
    fn round(self: Arc<Self>, writer: Box<Writer>) {
        self.write_queued(writer);
        let writer = self.queue().take_writer_if_due();
        if let Some(writer) = writer {
            self.drain(writer);
        }
    }

    /// Writes rounds until nothing is queued, on a thread that may wait for the disk.
    fn drain(self: Arc<Self>, writer: Box<Writer>) {
        let mut turn = Turn { shared: self, writer: Some(writer) };
        let mut rounds = move || {
            while let Some(writer) = turn.writer.take() {
                turn.shared.write_queued(writer);
                turn.writer = turn.shared.queue().take_writer_if_due();
            }
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(rounds)),
            Err(_) => rounds(),
        }
    }

    /// One write and one sync for everything that is queued. Then the writer is back, or the log is sealed, and
    /// everybody is answered.
    fn write_queued(&self, mut writer: Box<Writer>) {
        let (notes, waiting) = self.queue().take();
        let stops = waiting.last().is_some_and(|last| last.kind == Kind::Stop);
        // A panic is an error like the disk's: what was written is not known.
        let written = catch_unwind(AssertUnwindSafe(|| write(&mut writer, &notes, &waiting)))
            .unwrap_or_else(|_| Err(io::Error::other("the writer panicked")));
        let mut queue = self.queue();
        let answers = match written {
            Ok(durable) if stops => {
                queue.sealed = Some("the host is stopping".into());
                durable.into_iter().map(Ok).collect()
            }
            Ok(durable) => {
                queue.writer = Some(writer);
                durable.into_iter().map(Ok).collect()
            }
            Err(e) => {
                tracing::error!("the audit log is sealed, nothing runs until the host is started again: {e}");
                let why: Arc<str> = e.to_string().into();
                queue.sealed = Some(why.clone());
                vec![Err(why); waiting.len()]
            }
        };
        let late = queue.sealed.clone().map(|why| (std::mem::take(&mut queue.waiting), why));
        drop(queue);
        for (waiting, answer) in waiting.into_iter().zip(answers) {
            waiting.tell(answer);
        }
        for (waiting, why) in
            late.into_iter().flat_map(|(late, why)| late.into_iter().map(move |w| (w, why.clone())))
        {
            waiting.tell(Err(why));
        }
    }
}

/// What is noted first, then who waits, in order; a stop stands last.
fn write(writer: &mut Writer, notes: &[Item], waiting: &[Waiting]) -> io::Result<Vec<Durable>> {
    let (stops, entries): (Vec<&Waiting>, Vec<_>) = waiting.iter().partition(|w| w.kind == Kind::Stop);
    let mut durable = writer.commit(notes, entries.iter().map(|waiting| waiting.items.as_slice()))?;
    if waiting.iter().any(|waiting| waiting.kind == Kind::Retire) {
        writer.retire()?;
    }
    for stop in stops {
        durable.push(writer.finish(&stop.items)?);
    }
    Ok(durable)
}

/// The right to write, on its way to another thread. Where that thread never runs, the right returns.
struct Turn {
    shared: Arc<Shared>,
    writer: Option<Box<Writer>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.shared.queue().writer = Some(writer);
        }
    }
}

impl Waiting {
    /// Who is gone does not hear it; the record stands all the same.
    fn tell(self, answer: Written) {
        let _ = self.done.send(answer);
    }
}

impl Queue {
    fn check(&self) -> Result<(), Fault> {
        self.sealed.as_ref().map_or(Ok(()), |why| Err(unavailable(why)))
    }

    /// Everything that is queued, a stop last and with the summary that would have come.
    fn take(&mut self) -> (Vec<Item>, Vec<Waiting>) {
        self.notes_due = false;
        let (mut notes, mut waiting) = (std::mem::take(&mut self.notes), std::mem::take(&mut self.waiting));
        waiting.sort_by_key(|waiting| waiting.kind == Kind::Stop);
        if waiting.last().is_some_and(|last| last.kind == Kind::Stop) {
            notes.extend(self.refusals.summary(Instant::now(), true).iter().map(Item::of));
        }
        (notes, waiting)
    }

    fn take_writer_if_due(&mut self) -> Option<Box<Writer>> {
        if self.waiting.is_empty() && !self.notes_due { None } else { self.writer.take() }
    }
}

fn unavailable(why: &str) -> Fault {
    let message = "the audit log cannot be written, so nothing runs; the host's log on stderr says why";
    Fault::new(Code::AUDIT_UNAVAILABLE, message).log(why)
}
