//! Which requests with `"once": true` ran: an append-only file of `claim` and `settle` lines.
//!
//! A claim is durable before its request runs. A settlement is not: where it is lost, a second request is still
//! refused, with the outcome `unknown`.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use llm_os_core::name::Id;
use llm_os_core::{Code, Fault, Principal};

use crate::audit::OpenError;
use crate::audit::files::{at, owned, private, write_whole};

/// The newest claims that are remembered.
const MOST: usize = 100_000;
/// How many lines the file may have beyond twice that before it is written anew.
const SLACK: usize = 2 * MOST;

/// The claims of a state directory.
pub(super) struct Once {
    path: PathBuf,
    file: io::Result<File>,
    lines: usize,
    claims: HashMap<Key, Claimed>,
    order: VecDeque<Key>,
}

/// User, session (`-` for none: an id cannot begin so) and request, as they stand in the file.
type Key = String;

struct Claimed {
    run: String,
    outcome: Option<String>,
}

impl Once {
    /// Reads the claims.
    pub(super) fn open(state: &Path) -> Result<Self, OpenError> {
        let path = state.join("once");
        let file = private().read(true).append(true).create(true).open(&path).map_err(at(&path))?;
        owned(&path, &file, 0o077)?;
        File::open(state).and_then(|dir| dir.sync_all()).map_err(at(state))?;
        let text = io::read_to_string(&file).map_err(at(&path))?;
        // A claim that was torn was never answered, and its request did not run.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).map_err(at(&path))?;
        let mut once =
            Self { path, file: Ok(file), lines: 0, claims: HashMap::new(), order: VecDeque::new() };
        for line in text[..whole].lines() {
            once.lines += 1;
            once.follow(line);
        }
        for claimed in once.claims.values_mut().filter(|claimed| claimed.outcome.is_none()) {
            claimed.outcome = Some("unknown".to_owned());
        }
        let path = once.path.clone();
        once.shorten().map_err(at(&path))?;
        Ok(once)
    }

    pub(super) fn claim(&mut self, who: &Principal, request: &Id, run: &str) -> Result<(), Fault> {
        let key = key(who, request);
        if let Some(claimed) = self.claims.get(&key) {
            let outcome = claimed.outcome.as_deref().unwrap_or("running");
            let message = format!(
                "this request runs at most once, and it already came: {outcome}; a new request_id makes a new request"
            );
            let fault = Fault::new(Code::DUPLICATE_REQUEST, message).at("$.request_id");
            return Err(fault.detail("outcome", outcome).detail("run", claimed.run.as_str()));
        }
        let line = format!("claim {key} {run}");
        self.append(&line, true).map_err(|why| {
            let message = "the record of requests that run once cannot be written, so nothing runs";
            Fault::new(Code::AUDIT_UNAVAILABLE, message).log(why)
        })?;
        self.follow(&line);
        Ok(())
    }

    pub(super) fn settle(&mut self, who: &Principal, request: &Id, outcome: &str) {
        let line = format!("settle {} {outcome}", key(who, request));
        if let Err(why) = self.append(&line, false) {
            tracing::error!("the outcome of a request that runs once cannot be written: {why}");
        }
        self.follow(&line);
    }

    fn follow(&mut self, line: &str) {
        let Some((event, rest)) = line.split_once(' ') else { return };
        let Some((key, value)) = rest.rsplit_once(' ') else { return };
        match event {
            "claim" => {
                let claimed = Claimed { run: value.to_owned(), outcome: None };
                if self.claims.insert(key.to_owned(), claimed).is_none() {
                    self.order.push_back(key.to_owned());
                }
                if self.order.len() > MOST
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.claims.remove(&oldest);
                }
            }
            "settle" => {
                if let Some(claimed) = self.claims.get_mut(key) {
                    claimed.outcome = Some(value.to_owned());
                }
            }
            _ => {}
        }
    }

    /// After an error nothing is appended any more: what the disk holds is not known until the next start.
    fn append(&mut self, line: &str, durably: bool) -> Result<(), String> {
        let file = self.file.as_mut().map_err(|e| e.to_string())?;
        let written = file.write_all(format!("{line}\n").as_bytes());
        let written = written.and_then(|()| if durably { file.sync_data() } else { Ok(()) });
        if let Err(e) = written {
            let why = e.to_string();
            self.file = Err(e);
            return Err(why);
        }
        self.lines += 1;
        if let Err(e) = self.shorten() {
            self.file = Err(e);
        }
        Ok(())
    }

    /// Writes the file anew where most of its lines say nothing any more.
    fn shorten(&mut self) -> io::Result<()> {
        if self.lines <= 2 * self.order.len() + SLACK {
            return Ok(());
        }
        let mut text = String::new();
        self.lines = 0;
        for key in &self.order {
            let Claimed { run, outcome } = &self.claims[key];
            text.push_str(&format!("claim {key} {run}\n"));
            self.lines += 1;
            if let Some(outcome) = outcome {
                text.push_str(&format!("settle {key} {outcome}\n"));
                self.lines += 1;
            }
        }
        write_whole(&self.path, 0o600, text.as_bytes())?;
        self.file = private().append(true).open(&self.path);
        Ok(())
    }
}

fn key(who: &Principal, request: &Id) -> Key {
    format!("{} {} {request}", who.uid, who.session.as_ref().map_or("-", Id::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Principal {
        Principal { uid: 1000, session: None }
    }

    fn id(text: &str) -> Id {
        Id::new(text).unwrap()
    }

    fn outcome(once: &mut Once, request: &str) -> String {
        let fault = once.claim(&ann(), &id(request), "run-2").unwrap_err();
        assert_eq!(fault.code, Code::DUPLICATE_REQUEST);
        fault.details.unwrap()["outcome"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_request_that_runs_once_is_claimed_once_across_restarts() {
        let state = tempfile::tempdir().unwrap();
        let mut once = Once::open(state.path()).unwrap();
        for request in ["r-1", "r-2", "r-3"] {
            once.claim(&ann(), &id(request), "run-1").unwrap();
        }
        once.settle(&ann(), &id("r-1"), "ok");
        once.settle(&ann(), &id("r-2"), "exec_failed");
        assert_eq!(outcome(&mut once, "r-3"), "running");
        drop(once);
        let mut once = Once::open(state.path()).unwrap();
        for (request, expected) in [("r-1", "ok"), ("r-2", "exec_failed"), ("r-3", "unknown")] {
            assert_eq!(outcome(&mut once, request), expected);
        }
        let other = Principal { uid: 1001, session: None };
        once.claim(&other, &id("r-1"), "run-3").unwrap();
        let session = Principal { uid: 1000, session: Some(id("s-1")) };
        once.claim(&session, &id("r-1"), "run-4").unwrap();
    }

    #[test]
    fn a_torn_claim_is_no_claim() {
        let state = tempfile::tempdir().unwrap();
        let mut once = Once::open(state.path()).unwrap();
        once.claim(&ann(), &id("r-1"), "run-1").unwrap();
        drop(once);
        let path = state.path().join("once");
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}claim 1000 - r-2 run")).unwrap();
        let mut once = Once::open(state.path()).unwrap();
        once.claim(&ann(), &id("r-2"), "run-2").unwrap();
        drop(once);
        let lines = std::fs::read_to_string(&path).unwrap();
        assert_eq!(lines, "claim 1000 - r-1 run-1\nclaim 1000 - r-2 run-2\n");
    }

    #[test]
    fn the_claims_are_bounded_and_the_newest_stay() {
        let state = tempfile::tempdir().unwrap();
        let lines = (0..5 * MOST).map(|n| format!("claim 1000 - r-{n} run-1\n"));
        let path = state.path().join("once");
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut once = Once::open(state.path()).unwrap();
        assert_eq!((once.claims.len(), once.order.len()), (MOST, MOST));
        let last = 5 * MOST - 1;
        assert_eq!(outcome(&mut once, &format!("r-{last}")), "unknown");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2 * MOST);
        once.claim(&ann(), &id("r-0"), "run-2").unwrap();
    }
}
