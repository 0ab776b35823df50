//! A program in a real terminal: tmux draws what it writes, and types.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long something may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal of its own; it ends when this is dropped.
pub(crate) struct Tmux {
    dir: TempDir,
}

impl Tmux {
    /// Runs a program in `folder`, then says how it ended and what the terminal is set to.
    pub(crate) fn start(
        (columns, rows): (u16, u16),
        folder: &Path,
        variables: &[(&str, &str)],
        program: &[&str],
    ) -> Self {
        let tmux = Self { dir: TempDir::new().unwrap() };
        let quoted = |word: &str| format!("'{}'", word.replace('\'', "'\\''"));
        let variables = variables.iter().map(|(name, value)| format!("{name}={}", quoted(value)));
        let variables = variables.collect::<Vec<_>>().join(" ");
        let program = program.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let line = format!("env -i {variables} {program}; echo \"exit=$?\"; stty -a; exec cat");
        let size = (columns.to_string(), rows.to_string());
        tmux.tell(&[
            "new-session",
            "-d",
            "-x",
            &size.0,
            "-y",
            &size.1,
            "-c",
            folder.to_str().unwrap(),
            "sh",
            "-c",
            &line,
        ]);
        tmux
    }

    #[allow(clippy::disallowed_methods, reason = "tmux is started here")]
    fn tell(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh").env("LANG", "C.UTF-8");
        command.arg("-u").arg("-S").arg(self.dir.path().join("tmux")).args(["-f", "/dev/null"]).args(args);
        let output = command.output().expect("tmux is installed");
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {args:?}: {failed}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What is on the screen.
    pub(crate) fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"])
    }

    /// What is on the screen, with the escape sequences that make it look so.
    pub(crate) fn coloured(&self) -> String {
        self.tell(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen has what is looked for, and is drawn to its end.
    #[track_caller]
    pub(crate) fn until(&self, what: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if what(&screen) && self.screen() == screen {
                return screen;
            }
            assert!(start.elapsed() < PATIENCE, "it did not come; the screen is:\n{screen}");
            std::thread::yield_now();
        }
    }

    #[track_caller]
    pub(crate) fn until_it_says(&self, text: &str) -> String {
        self.until(|screen| screen.contains(text))
    }

    /// Types keys by their names in tmux.
    pub(crate) fn press(&self, keys: &[&str]) {
        self.tell(&[&["send-keys"], keys].concat());
    }

    /// Types text in one go.
    pub(crate) fn types(&self, text: &str) {
        self.tell(&["send-keys", "-l", text]);
    }

    /// The process of the program that runs in it.
    pub(crate) fn pid(&self) -> i32 {
        let shell = self.tell(&["list-panes", "-F", "#{pane_pid}"]);
        let shell = shell.trim();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        children.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.tell(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Ends the terminal as somebody does who closes its window.
    pub(crate) fn close(&self) {
        self.tell(&["kill-server"]);
    }
}

impl Drop for Tmux {
    #[allow(clippy::disallowed_methods, reason = "tmux is ended here")]
    fn drop(&mut self) {
        let socket = self.dir.path().join("tmux");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}
