//! The stop for everything: nothing new runs, what runs is ended, and it stays so until an approver says otherwise.
//!
//! In memory a halt takes effect before anything is written, under the one lock under which plans are admitted
//! ([`Running`](crate::host::running::Running)). On disk it is the file `halted` in the state directory. That the file is
//! there is the halt; what it says is only told: one that cannot be read, or that says something else, halts as well.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use llm_os_core::audit::{Entry, Event, Who};
use llm_os_core::pipeline::Ledger;
use llm_os_core::{Code, Fault};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::audit::private;
use crate::host::Host;

/// How long a halt waits for what it cancelled: longer than an action may take to stop.
const ENDING: Duration = Duration::from_secs(5);
/// The longest halt file that is read.
const MOST_BYTES: u64 = 4096;

/// A halt, as the halt file tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Halt {
    /// RFC 3339 in UTC, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
    /// A user, or the key chord.
    pub(crate) by: String,
}

impl Halt {
    pub(crate) fn now(by: String) -> Self {
        let since = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Self { since: Some(since), by }
    }

    /// The answer to whoever wants something to run.
    pub(crate) fn fault(&self) -> Fault {
        let since = self.since.as_ref().map_or(String::new(), |since| format!(" since {since}"));
        let by = &self.by;
        let message = format!(
            "the host is halted{since} by {by}: nothing runs until an approver resumes it (llmsh resume)"
        );
        Fault::new(Code::HALTED, message)
    }
}

/// The halt file. Its lock is held by whoever changes it.
pub(crate) struct HaltFile {
    path: PathBuf,
    change: Mutex<()>,
}

impl HaltFile {
    pub(crate) fn of(state: &Path) -> Self {
        Self { path: state.join("halted"), change: Mutex::default() }
    }

    /// The halt that an earlier start of the host was left in. Only where there is surely no file there is none.
    pub(crate) fn read(&self) -> Option<Halt> {
        let read = || {
            let mut bytes = Vec::new();
            private().read(true).open(&self.path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
            io::Result::Ok(bytes)
        };
        let unknown = |why: String| {
            tracing::warn!(file = %self.path.display(), "the halt file is not readable, and counts as one: {why}");
            Halt { since: None, by: format!("a halt file that cannot be read ({})", self.path.display()) }
        };
        match read() {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap_or_else(|e| unknown(e.to_string()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => Some(unknown(e.to_string())),
        }
    }

    /// From the moment at which the file is made a host that starts here is halted, whatever is in it.
    fn write(&self, halt: &Halt) -> io::Result<()> {
        let mut file = private().write(true).create(true).truncate(true).open(&self.path)?;
        file.write_all(&serde_json::to_vec(halt)?)?;
        file.sync_data()?;
        self.sync_directory()
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            Ok(()) | Err(_) => self.sync_directory(),
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        let directory = self.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::File::open(directory)?.sync_all()
    }
}

impl Host {
    /// Halts the host. Once this returns nothing runs, and nothing will, also after a restart.
    ///
    /// # Errors
    ///
    /// What could not be made durable: the host is halted all the same, as the message says.
    pub(crate) async fn halt(
        &self,
        by: String,
        who: Option<&Who>,
        why: Option<&str>,
    ) -> Result<Value, Fault> {
        let (_, at_once) = self.running.halt(Halt::now(by.clone()));
        self.registry.halted();
        self.desk.clear();
        tracing::warn!(by, cancelled = at_once, "the host is halted");
        let _change = self.halt_file.change.lock().await;
        // A resume that had the lock took this halt for one of those before it, and ended it.
        let (halt, since) = self.running.halt(Halt::now(by.clone()));
        let cancelled = at_once.max(since);
        let written = self.halt_file.write(&halt);
        let entry = Entry {
            who: who.cloned(),
            why: why.map(str::to_owned),
            data: Some(json!({"by": by, "cancelled": cancelled})),
            ..Entry::new(Event::Halted)
        };
        let recorded = self.log.write(vec![entry]).await;
        // What began to run, hold or wait before it was cancelled does so no longer than this.
        let _ = tokio::time::timeout(ENDING, self.running.idle()).await;
        self.registry.halted();
        self.desk.clear();
        written.map_err(|e| {
            let path = self.halt_file.path.display();
            let message = format!(
                "the host is halted, but would not be after a restart: {path} cannot be written ({e}); stop the host"
            );
            Fault::new(Code::UNAVAILABLE, message)
        })?;
        let _durable = recorded?;
        let mut told = json!(halt);
        told["halted"] = json!(true);
        told["cancelled"] = json!(cancelled);
        told["running"] = json!(self.running.count());
        Ok(told)
    }

    /// Lets a halted host run again. Nothing that was on its way before the halt is on its way after it.
    ///
    /// # Errors
    ///
    /// What still runs, or could not be recorded or removed, and a halt that came meanwhile: the host stays halted.
    pub(crate) async fn resume(&self, who: &Who, why: &str) -> Result<Value, Fault> {
        let _change = self.halt_file.change.lock().await;
        let (Some(halt), halts) = self.running.halted() else {
            return Ok(json!({"halted": false, "resumed": false}));
        };
        if tokio::time::timeout(ENDING, self.running.idle()).await.is_err() {
            let message = "something that was cancelled by the halt still runs; try again, or restart the host, which stays halted";
            return Err(Fault::new(Code::BUSY, message));
        }
        self.desk.clear();
        let entry = Entry {
            who: Some(who.clone()),
            why: Some(why.to_owned()),
            data: Some(json!({"since": halt.since, "by": halt.by})),
            ..Entry::new(Event::Resumed)
        };
        let _durable = self.log.write(vec![entry]).await?;
        if let Err(e) = self.halt_file.remove() {
            let still = json!({"by": halt.by, "cancelled": 0, "why": "the halt file cannot be removed"});
            let _durable =
                self.log.write(vec![Entry { data: Some(still), ..Entry::new(Event::Halted) }]).await?;
            let path = self.halt_file.path.display();
            let message = format!(
                "the host stays halted: {path} cannot be removed ({e}); remove it, then resume again"
            );
            return Err(Fault::new(Code::UNAVAILABLE, message));
        }
        if !self.running.resume(halts) {
            // Whoever halts it waits for the file's lock, and writes the file anew.
            return Err(halt.fault().detail("again", true));
        }
        tracing::warn!(uid = who.uid, "the host runs again");
        Ok(json!({"halted": false, "resumed": true}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_there_is_surely_no_file_there_is_no_halt() {
        let state = tempfile::tempdir().unwrap();
        let file = HaltFile::of(state.path());
        assert_eq!(file.read(), None);
        let halt = Halt::now("user 7".to_owned());
        file.write(&halt).unwrap();
        assert_eq!(file.read(), Some(halt));
        for garbled in ["", "{", "null", r#"{"by":1}"#, r#"{"by":"user 7","more":1}"#, "\u{0}\u{0}"] {
            fs::write(&file.path, garbled).unwrap();
            assert!(file.read().is_some_and(|halt| halt.since.is_none()), "{garbled}");
        }
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.read(), None);
        std::os::unix::fs::symlink("/nowhere/at/all", &file.path).unwrap();
        assert!(file.read().is_some(), "a link that leads nowhere");
        file.remove().unwrap();
        fs::create_dir(&file.path).unwrap();
        assert!(file.read().is_some(), "a directory");
        assert!(file.remove().is_err());
    }
}
