//! Keeps refusals from filling the disk, without dropping any in silence.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use llm_os_core::audit::{Entry, Event};
use serde_json::json;

/// So many notes are recorded one by one...
const MOST: u32 = 20;
/// ...in so long; what comes beyond is counted.
const WINDOW: Duration = Duration::from_secs(1);
/// Users that are counted by name; the rest is counted together.
const USERS: usize = 64;

/// The notes of one window.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    since: Option<Instant>,
    recorded: u32,
    counted: u64,
    by_code: BTreeMap<&'static str, u64>,
    by_user: BTreeMap<String, u64>,
}

impl Refusals {
    /// Whether what is noted now is recorded; else it is counted.
    pub(super) fn admit(&mut self, entries: &[Entry], now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        if self.counted == 0 && now.duration_since(since) >= WINDOW {
            *self = Self { since: Some(now), ..Self::default() };
        }
        if self.recorded < MOST {
            self.recorded += 1;
            return true;
        }
        if let Some(entry) = entries.first() {
            let code = entry.outcome.as_ref().and_then(|outcome| outcome.code);
            self.count(
                code.map_or(entry.event.as_str(), |code| code.as_str()),
                entry.who.as_ref().map(|who| who.uid),
            );
        }
        false
    }

    fn count(&mut self, code: &'static str, uid: Option<u32>) {
        self.counted += 1;
        *self.by_code.entry(code).or_default() += 1;
        let mut user = uid.map_or("unknown".to_owned(), |uid| uid.to_string());
        if self.by_user.len() >= USERS && !self.by_user.contains_key(&user) {
            "others".clone_into(&mut user);
        }
        *self.by_user.entry(user).or_default() += 1;
    }

    /// Whether something is counted that no summary says yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.counted > 0
    }

    /// The summary of a window that is over, or of the current one where it must not wait.
    pub(super) fn summary(&mut self, now: Instant, at_once: bool) -> Option<Entry> {
        let over = self.since.is_some_and(|since| now.duration_since(since) >= WINDOW);
        if !self.is_waiting() || !(over || at_once) {
            return None;
        }
        let Self { counted, by_code, by_user, .. } = std::mem::take(self);
        let data = json!({"not_recorded": counted, "codes": by_code, "uids": by_user});
        Some(Entry { data: Some(data), ..Entry::new(Event::Summary) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm_os_core::Code;
    use llm_os_core::audit::{Outcome, Who};

    fn refusal(uid: u32) -> Vec<Entry> {
        let outcome = Some(Outcome { code: Some(Code::PARSE_FAILED), ..Outcome::new("refused") });
        let who = Some(Who { uid, gid: 0, pid: 1, exe: None });
        vec![Entry { outcome, who, ..Entry::new(Event::Refused) }]
    }

    /// A09.
    #[test]
    fn every_refusal_is_recorded_or_counted() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        let recorded = (0..1_000).filter(|n| refusals.admit(&refusal(n % 2), start)).count();
        assert_eq!(recorded, 20);
        assert!(refusals.summary(start, false).is_none());
        let data = refusals.summary(start + WINDOW, false).unwrap().data.unwrap();
        assert_eq!(
            data,
            json!({"not_recorded": 980, "codes": {"parse_failed": 980}, "uids": {"0": 490, "1": 490}})
        );
        assert!(refusals.admit(&refusal(0), start + WINDOW));
    }

    #[test]
    fn a_slow_stream_is_recorded_completely() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        assert!((0..1_000).all(|n| refusals.admit(&refusal(0), start + WINDOW * n / 10)));
        assert!(!refusals.is_waiting());
    }
}
