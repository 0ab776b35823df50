//! `--start-host`.

use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::daemon::binary;
use crate::mcp::speaker::Speaker;

/// A home of its own, whose hosts end with it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        binary();
        Self(tempfile::Builder::new().prefix("llmsh-").tempdir().unwrap())
    }

    fn mcp(&self, args: &[&str]) -> Command {
        let socket = self.0.path().join(".local/state/llm-osd/run/plan/plan.sock");
        let mut command = crate::peer::command(&socket, self.0.path(), &[&["mcp"], args].concat());
        command.env_remove("LLM_OSD_SOCKET").env_remove("LLM_OSD_APPROVAL_SOCKET");
        command.env("HOME", self.0.path()).env("PATH", "/usr/bin:/bin");
        command
    }

    /// The hosts that run for this home.
    fn hosts(&self) -> Vec<Pid> {
        let home = format!("HOME={}\0", self.0.path().display());
        let is_ours = |process: &Path| {
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            name.trim() == "llm-osd" && String::from_utf8_lossy(&environment).contains(&home)
        };
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let ours = processes.filter(|process| is_ours(process));
        ours.filter_map(|process| Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?)).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for host in self.hosts() {
            let _ = kill_process(host, Signal::TERM);
        }
    }
}

#[test]
fn a_host_is_started_where_none_answers_and_stays() {
    let home = Home::new();
    let mut speaker = Speaker::new(&mut home.mcp(&["--start-host"]));
    assert!(speaker.tools().contains_key("fs_read"));
    speaker.hang_up();
    speaker.child.wait().unwrap();
    assert_eq!(home.hosts().len(), 1);
    let mut second = Speaker::new(&mut home.mcp(&["--start-host"]));
    assert!(second.tools().contains_key("fs_read"));
    assert_eq!(home.hosts().len(), 1);
    assert!(home.0.path().join(".local/state/llmsh/llm-osd.log").exists());
}

#[test]
fn two_that_start_a_host_at_once_share_one() {
    let home = Home::new();
    let mut speakers = [
        Speaker::silent(&mut home.mcp(&["--start-host"])),
        Speaker::silent(&mut home.mcp(&["--start-host"])),
    ];
    for speaker in &mut speakers {
        speaker.initialize(&json!({}));
        assert!(speaker.tools().contains_key("fs_read"));
    }
    // The one that was refused may be about to end.
    let began = std::time::Instant::now();
    while home.hosts().len() != 1 {
        assert!(began.elapsed().as_secs() < 20, "{:?}", home.hosts());
    }
}

#[test]
fn a_host_that_cannot_start_is_said_with_where_its_words_are() {
    let home = Home::new();
    let folder = home.0.path().join(".config/llm-osd");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("llm-osd.toml"), "nonsense = 1\n").unwrap();
    let ran = crate::peer::run(&mut home.mcp(&["--start-host"]), "");
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("llm-osd.log"), "{ran:?}");
}
