//! Admission: how many plans run at once, how many wait, and how they are cancelled.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llm_os_core::name::Id;
use llm_os_core::{Code, Fault};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::halt::Halt;

/// Whose plan it is, as `host.cancel` names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    uid: u32,
    session: Option<Id>,
    request: Id,
}

impl Key {
    pub(crate) fn new(uid: u32, session: Option<Id>, request: Id) -> Self {
        Self { uid, session, request }
    }
}

/// The plans that run or wait to.
pub(crate) struct Running {
    places: Semaphore,
    queued: usize,
    waiting: AtomicUsize,
    closed: CancellationToken,
    plans: Mutex<Plans>,
    empty: Notify,
    halting: Notify,
}

/// One lock over the plans and the halt: a plan is in here, and is then cancelled by a halt, or it is refused.
#[derive(Default)]
struct Plans {
    next: u64,
    running: HashMap<u64, (Key, CancellationToken)>,
    halt: Option<Halt>,
    /// How often the host was told to halt.
    halts: u64,
}

/// A plan's place among the running ones; it is free again once this is dropped.
pub(crate) struct Place<'a> {
    running: &'a Running,
    number: u64,
    _permit: SemaphorePermit<'a>,
}

impl Running {
    pub(crate) fn new(places: usize, queued: usize, halt: Option<Halt>) -> Self {
        Self {
            places: Semaphore::new(places),
            queued,
            waiting: AtomicUsize::new(0),
            closed: CancellationToken::new(),
            plans: Mutex::new(Plans { halt, ..Plans::default() }),
            empty: Notify::new(),
            halting: Notify::new(),
        }
    }

    /// Waits for a place in order of arrival.
    ///
    /// # Errors
    ///
    /// `busy` where too many wait already, `halted` while the host is halted or stops, `cancelled` where the caller went
    /// away.
    pub(crate) async fn admit(&self, key: Key, cancel: CancellationToken) -> Result<Place<'_>, Fault> {
        let permit = match self.places.try_acquire() {
            Ok(permit) => permit,
            Err(_) => tokio::select! {
                biased;
                fault = self.refusing() => return Err(fault),
                permit = self.queue(&cancel) => permit?,
            },
        };
        let mut plans = self.plans();
        if let Some(fault) = self.refusal(&plans) {
            return Err(fault);
        }
        let number = plans.next;
        plans.next += 1;
        plans.running.insert(number, (key, cancel));
        drop(plans);
        Ok(Place { running: self, number, _permit: permit })
    }

    async fn queue(&self, cancel: &CancellationToken) -> Result<SemaphorePermit<'_>, Fault> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= self.queued {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            let message =
                "too many plans run and wait; try again later, or raise limits.running or limits.queued";
            return Err(Fault::new(Code::BUSY, message));
        }
        let _waiting = Waiting(&self.waiting);
        tokio::select! {
            permit = self.places.acquire() => Ok(permit.expect("the semaphore is never closed")),
            () = cancel.cancelled() => Err(Fault::new(Code::CANCELLED, "the plan was cancelled before it ran")),
        }
    }

    /// Cancels the plans with this key; how many there were.
    pub(crate) fn cancel(&self, key: &Key) -> usize {
        let plans = self.plans();
        let matching = plans.running.values().filter(|(other, _)| other == key);
        matching.map(|(_, cancel)| cancel.cancel()).count()
    }

    /// From now on nothing is admitted.
    pub(crate) fn stop_admitting(&self) {
        self.closed.cancel();
    }

    /// Resolves once the host stops.
    pub(crate) async fn stopping(&self) {
        self.closed.cancelled().await;
    }

    /// Resolves, with the answer to who waits, once nothing is admitted any more.
    pub(crate) async fn refusing(&self) -> Fault {
        loop {
            let mut halting = std::pin::pin!(self.halting.notified());
            halting.as_mut().enable();
            if let Some(fault) = self.refusal(&self.plans()) {
                return fault;
            }
            tokio::select! {
                () = halting => {}
                () = self.closed.cancelled() => {}
            }
        }
    }

    fn refusal(&self, plans: &Plans) -> Option<Fault> {
        let stopping = || Fault::new(Code::HALTED, "the host is stopping; send the plan once it runs again");
        plans.halt.as_ref().map(Halt::fault).or_else(|| self.closed.is_cancelled().then(stopping))
    }

    /// From now on nothing is admitted, and what was is cancelled: how many plans that were. A host that is halted
    /// already stays halted since then.
    pub(crate) fn halt(&self, halt: Halt) -> (Halt, usize) {
        let mut plans = self.plans();
        plans.halts += 1;
        let halt = plans.halt.get_or_insert(halt).clone();
        plans.running.values().for_each(|(_, cancel)| cancel.cancel());
        let cancelled = plans.running.len();
        drop(plans);
        self.halting.notify_waiters();
        (halt, cancelled)
    }

    /// Since when the host is halted, if it is, and how often it was told to.
    pub(crate) fn halted(&self) -> (Option<Halt>, u64) {
        let plans = self.plans();
        (plans.halt.clone(), plans.halts)
    }

    /// Admits plans again, unless the host was told to halt once more since `halts` was read.
    pub(crate) fn resume(&self, halts: u64) -> bool {
        let mut plans = self.plans();
        let is_last = plans.halts == halts;
        if is_last {
            plans.halt = None;
        }
        is_last
    }

    /// How many plans run.
    pub(crate) fn count(&self) -> usize {
        self.plans().running.len()
    }

    pub(crate) fn cancel_all(&self) {
        self.plans().running.values().for_each(|(_, cancel)| cancel.cancel());
    }

    /// Resolves once nothing runs.
    pub(crate) async fn idle(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.empty.notified());
            emptied.as_mut().enable();
            if self.plans().running.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut plans = self.running.plans();
        plans.running.remove(&self.number);
        if plans.running.is_empty() {
            self.running.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(1, None, Id::new(name).unwrap())
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_its_excess_is_busy() {
        let running = Running::new(1, 1, None);
        let token = CancellationToken::new;
        let first = running.admit(key("a"), token()).await.map_err(|f| f.code).unwrap();
        let second = running.admit(key("b"), token());
        let mut second = std::pin::pin!(second);
        assert!(futures_poll(second.as_mut()).await.is_none(), "it waits");
        assert_eq!(running.admit(key("c"), token()).await.err().map(|f| f.code), Some(Code::BUSY));
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn cancel_reaches_only_its_own_key() {
        let running = Running::new(2, 0, None);
        let (mine, other) = (CancellationToken::new(), CancellationToken::new());
        let _a = running.admit(key("a"), mine.clone()).await.map_err(|f| f.code).unwrap();
        let _b = running.admit(key("b"), other.clone()).await.map_err(|f| f.code).unwrap();
        assert_eq!(running.cancel(&key("a")), 1);
        assert!(mine.is_cancelled() && !other.is_cancelled());
        assert_eq!(running.cancel(&Key::new(2, None, Id::new("b").unwrap())), 0, "another user's");
    }

    #[tokio::test]
    async fn nothing_is_admitted_once_the_host_stops() {
        let running = Running::new(1, 0, None);
        running.stop_admitting();
        assert_eq!(
            running.admit(key("a"), CancellationToken::new()).await.err().map(|f| f.code),
            Some(Code::HALTED)
        );
        running.idle().await;
    }

    /// The guard is the look at the halt under the lock under which the plan is entered.
    #[test]
    fn whatever_is_admitted_before_a_halt_is_cancelled_and_nothing_is_admitted_after_it() {
        for _ in 0..200 {
            let running = Running::new(64, 0, None);
            let started = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        started.wait();
                        let mut tokens = Vec::new();
                        loop {
                            let token = CancellationToken::new();
                            let mut admitted = std::pin::pin!(running.admit(key("a"), token.clone()));
                            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                            match admitted.as_mut().poll(&mut context) {
                                // Entered again at once, so that the halt comes at any moment of it.
                                std::task::Poll::Ready(Ok(place)) => tokens.push((token, place)),
                                std::task::Poll::Ready(Err(fault)) => {
                                    assert_eq!(fault.code, Code::HALTED);
                                    break;
                                }
                                std::task::Poll::Pending => unreachable!("there are places enough"),
                            }
                            if tokens.len() > 16 {
                                tokens.remove(0);
                            }
                        }
                        assert!(tokens.iter().all(|(token, _)| token.is_cancelled()));
                    });
                }
                started.wait();
                std::thread::yield_now();
                running.halt(Halt::now("a test".to_owned()));
            });
        }
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match future.as_mut().poll(cx) {
                std::task::Poll::Ready(value) => Some(value),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
