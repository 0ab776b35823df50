//! `llm-osd` as it is released, on places of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The default policy and one program more.
const POLICY: &str = concat!(
    include_str!("../../../examples/policies/strict.cedar"),
    "\n@id(\"true\")\n@reason(\"it does nothing\")\n",
    "permit (principal, action in Action::\"run\", resource == Program::\"/usr/bin/true\");\n"
);

/// Where everything lies: sockets where their paths stay short, all else on the file system of the build.
pub(crate) struct Places {
    sockets: TempDir,
    data: TempDir,
}

impl Places {
    pub(crate) fn new() -> Self {
        let data = tempfile::Builder::new().prefix("road-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let places = Self { sockets: tempfile::tempdir().unwrap(), data };
        fs::create_dir(places.files()).unwrap();
        let text = "The quick brown fox jumps over the lazy dog.\n".chars().cycle().take(4096);
        fs::write(places.file(), text.collect::<String>()).unwrap();
        fs::write(places.policy(), POLICY).unwrap();
        places
    }

    /// Adds to the policy.
    pub(crate) fn permit(&self, rules: &str) {
        fs::write(self.policy(), format!("{POLICY}{rules}")).unwrap();
    }

    /// The directory of what is measured on a disk.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    pub(crate) fn sockets(&self) -> &Path {
        self.sockets.path()
    }

    /// The file of 4 KiB that is read.
    pub(crate) fn file(&self) -> PathBuf {
        self.files().join("four-kib.txt")
    }

    /// The root of plans.
    pub(crate) fn files(&self) -> PathBuf {
        self.data().canonicalize().unwrap().join("files")
    }

    fn policy(&self) -> PathBuf {
        self.data().join("bench.cedar")
    }

    fn state(&self) -> PathBuf {
        self.data().join("state")
    }

    /// Removes what a daemon left, so that the next one begins anew.
    pub(crate) fn forget_state(&self) {
        let _ = fs::remove_dir_all(self.state());
    }
}

/// A daemon that runs; it ends when this is dropped.
pub(crate) struct Daemon {
    pub(crate) socket: PathBuf,
    process: Child,
}

impl Daemon {
    /// Starts it, and does not wait until it listens.
    pub(crate) fn start(places: &Places) -> Self {
        let socket = places.sockets().join("plan/plan.sock");
        let process = Command::new(env!("CARGO_BIN_EXE_llm-osd"))
            .env_clear()
            .env("HOME", places.data())
            .env("RUST_LOG", "warn")
            .arg("--socket")
            .arg(&socket)
            .arg("--approval-socket")
            .arg(places.sockets().join("approval/approval.sock"))
            .arg("--state-dir")
            .arg(places.state())
            .arg("--policy")
            .arg(places.policy())
            .arg("--root")
            .arg(format!("{}:write", places.files().display()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { socket, process }
    }

    /// Resident memory in bytes, as the kernel counts it (`VmRSS`).
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}
