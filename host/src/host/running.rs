//! Admission: how many plans run at once, how many wait, and how they are cancelled.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llm_os_core::name::Id;
use llm_os_core::{Code, Fault};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

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
}

#[derive(Default)]
struct Plans {
    next: u64,
    running: HashMap<u64, (Key, CancellationToken)>,
}

/// A plan's place among the running ones; it is free again once this is dropped.
pub(crate) struct Place<'a> {
    running: &'a Running,
    number: u64,
    _permit: SemaphorePermit<'a>,
}

impl Running {
    pub(crate) fn new(places: usize, queued: usize) -> Self {
        Self {
            places: Semaphore::new(places),
            queued,
            waiting: AtomicUsize::new(0),
            closed: CancellationToken::new(),
            plans: Mutex::default(),
            empty: Notify::new(),
        }
    }

    /// Waits for a place in order of arrival.
    ///
    /// # Errors
    ///
    /// `busy` where too many wait already, `halted` while the host stops, `cancelled` where the caller went away.
    pub(crate) async fn admit(&self, key: Key, cancel: CancellationToken) -> Result<Place<'_>, Fault> {
        let permit = match self.places.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.queue(&cancel).await?,
        };
        let mut plans = self.plans();
        if self.closed.is_cancelled() {
            return Err(Fault::new(Code::HALTED, "the host is stopping; send the plan once it runs again"));
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

    /// Resolves once nothing is admitted any more.
    pub(crate) async fn closing(&self) {
        self.closed.cancelled().await;
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
        let running = Running::new(1, 1);
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
        let running = Running::new(2, 0);
        let (mine, other) = (CancellationToken::new(), CancellationToken::new());
        let _a = running.admit(key("a"), mine.clone()).await.map_err(|f| f.code).unwrap();
        let _b = running.admit(key("b"), other.clone()).await.map_err(|f| f.code).unwrap();
        assert_eq!(running.cancel(&key("a")), 1);
        assert!(mine.is_cancelled() && !other.is_cancelled());
        assert_eq!(running.cancel(&Key::new(2, None, Id::new("b").unwrap())), 0, "another user's");
    }

    #[tokio::test]
    async fn nothing_is_admitted_once_the_host_stops() {
        let running = Running::new(1, 0);
        running.stop_admitting();
        assert_eq!(
            running.admit(key("a"), CancellationToken::new()).await.err().map(|f| f.code),
            Some(Code::HALTED)
        );
        running.idle().await;
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
