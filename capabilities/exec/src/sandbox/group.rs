//! One control group for each action (cgroups(7), version 2), where a group is delegated to the host: the limits then hold
//! for all of its processes together.
//!
//! A group is delegated where its attribute `user.delegate` or `trusted.delegate` is `1`, as systemd sets it
//! (systemd.resource-control(5), `Delegate=`). The host moves itself into `host` below it, since processes live only in
//! leaves.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::SandboxConfig;

/// The group below which each action gets one.
#[derive(Debug)]
pub(crate) struct Groups {
    delegated: PathBuf,
    limits: Vec<(&'static str, String)>,
    /// Controllers that are not there, so that their limit does not hold.
    pub(crate) lacking: Vec<&'static str>,
}

/// The group of one action; removed once this is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    processes: OwnedFd,
}

const CONTROLLERS: [&str; 2] = ["memory", "pids"];
const OURS: &str = "llm-os-exec-";
static MADE: AtomicU64 = AtomicU64::new(0);

impl Groups {
    /// Finds the group that is delegated and makes it ready.
    ///
    /// # Errors
    ///
    /// Why there is none, with what to do.
    pub(crate) fn find(config: &SandboxConfig) -> Result<Self, String> {
        let next = "run the host as a service of systemd with Delegate=yes";
        let own = own()?;
        let above = own.parent().unwrap_or(&own);
        let Some(delegated) = [own.as_path(), above].into_iter().find(|group| is_delegated(group)) else {
            return Err(format!("no control group is delegated to the host: {next}"));
        };
        Self::ready(delegated, delegated == own, config).map_err(|e| format!("{}: {e}", delegated.display()))
    }

    fn ready(delegated: &Path, lives_there: bool, config: &SandboxConfig) -> io::Result<Self> {
        let there = fs::read_to_string(delegated.join("cgroup.controllers"))?;
        let (has, lacking): (Vec<_>, Vec<_>) =
            CONTROLLERS.into_iter().partition(|name| there.split_whitespace().any(|found| found == *name));
        if lives_there {
            let leaf = delegated.join("host");
            fs::create_dir(&leaf)
                .or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })?;
            fs::write(leaf.join("cgroup.procs"), "0")?;
        }
        let wanted: Vec<_> = has.iter().map(|name| format!("+{name}")).collect();
        if !wanted.is_empty() {
            fs::write(delegated.join("cgroup.subtree_control"), wanted.join(" "))?;
        }
        let limits = [
            ("memory", "memory.max", config.memory_bytes.to_string()),
            ("memory", "memory.oom.group", "1".to_owned()),
            ("pids", "pids.max", config.processes.to_string()),
        ];
        let limits = limits.into_iter().filter(|(controller, ..)| has.contains(controller));
        let limits = limits.map(|(_, file, limit)| (file, limit)).collect();
        // What a host that was killed left; one that is in use cannot be removed.
        for entry in fs::read_dir(delegated)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(OURS) {
                let _ = fs::remove_dir(entry.path());
            }
        }
        let groups = Self { delegated: delegated.to_owned(), limits, lacking };
        groups.make().map(drop)?;
        Ok(groups)
    }

    /// Makes a group with the limits of an action.
    pub(crate) fn make(&self) -> io::Result<Group> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = self.delegated.join(format!("{OURS}{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let opened = OpenOptions::new().write(true).open(path.join("cgroup.procs"));
        let processes = opened.inspect_err(|_| drop(fs::remove_dir(&path)))?.into();
        let group = Group { path, processes };
        for (file, limit) in &self.limits {
            fs::write(group.path.join(file), limit)?;
        }
        Ok(group)
    }
}

impl Group {
    /// Who writes `0` to it moves into the group.
    pub(crate) fn processes(&self) -> BorrowedFd<'_> {
        self.processes.as_fd()
    }

    /// Kills every process in it at once.
    pub(crate) fn kill(&self) {
        // It fails only before Linux 5.14, where the end of the init does the same.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
    }

    /// Whether its processes were killed because they used more memory than they may.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        killed.is_some_and(|count| count != "0")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir(&self.path) {
            tracing::warn!(group = %self.path.display(), error = %e, "A control group is left behind.");
        }
    }
}

/// The host's own group, as a directory.
fn own() -> Result<PathBuf, String> {
    let none = || "cgroups of version 2 are not mounted".to_owned();
    let read = |path: &str| fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    let groups = read("/proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(none)?;
    let mounts = read("/proc/self/mountinfo")?;
    let mounted = mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut fields = front.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        back.starts_with("cgroup2 ").then_some((root, point))
    });
    let (root, point) = mounted.ok_or_else(none)?;
    let below = Path::new(path).strip_prefix(root).map_err(|_| none())?;
    Ok(Path::new(point).join(below))
}

fn is_delegated(group: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].into_iter().any(|name| {
        let mut value = [0; 1];
        rustix::fs::getxattr(group, name, &mut value).is_ok_and(|length| length == 1) && &value == b"1"
    })
}
