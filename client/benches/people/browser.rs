//! A headless Chromium, spoken to by its pipe (Chrome DevTools Protocol).

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser of its own; it ends when this is dropped.
pub(crate) struct Browser {
    _place: TempDir,
    child: Child,
    to: File,
    from: BufReader<File>,
    asked: u64,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let place = TempDir::new().unwrap();
        let fifo = |name: &str| {
            let path = place.path().join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
            let end = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            (path, end)
        };
        let ((to, to_end), (from, from_end)) = (fifo("to"), fifo("from"));
        let mut command = Command::new("sh");
        command.args(["-c", "exec chromium --headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-pipe --user-data-dir=\"$0\" about:blank 3<\"$1\" 4>\"$2\""]);
        command.arg(place.path().join("profile")).arg(to).arg(from);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { _place: place, child, to: to_end, from: BufReader::new(from_end), asked: 0 }
    }

    /// How long after it began to open a page something of it was painted (the first entry of Paint Timing), and all of it was there.
    pub(crate) fn opens(mut self, page: &Path) -> (Duration, Duration) {
        let target = self.ask(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session =
            self.ask(None, "Target.attachToTarget", &attach)["sessionId"].as_str().unwrap().to_owned();
        let url = format!("file://{}", page.display());
        self.ask(Some(&session), "Page.navigate", &json!({"url": url}));
        // The page is told to call back: asking it again and again would take the time that is measured.
        let mut when = |entry: &str, time: &str| {
            let expression = format!(
                "new Promise(told => new PerformanceObserver(list => {{
                    for (const entry of list.getEntries()) if (entry.{time} > 0) told(entry.{time});
                }}).observe({{type: '{entry}', buffered: true}}))"
            );
            let asked = json!({"expression": expression, "awaitPromise": true});
            let told = self.ask(Some(&session), "Runtime.evaluate", &asked);
            let at = told["result"]["value"].as_f64();
            Duration::from_secs_f64(at.unwrap_or_else(|| panic!("the page told no time: {told}")) / 1000.0)
        };
        (when("paint", "startTime"), when("navigation", "loadEventEnd"))
    }

    fn ask(&mut self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.asked += 1;
        let mut asked = json!({"id": self.asked, "method": method, "params": params});
        if let Some(session) = session {
            asked["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{asked}\0").as_bytes()).unwrap();
        loop {
            let mut told = Vec::new();
            self.from.read_until(0, &mut told).unwrap();
            let told: Value = serde_json::from_slice(&told[..told.len() - 1]).unwrap();
            if told["id"] == json!(self.asked) {
                return told["result"].clone();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}
