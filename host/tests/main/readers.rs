//! A group that may read the log, with real users.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::daemon::{Place, refusal};

/// A group that no test runs in, and a user who is nobody.
const READERS: u32 = 54_321;
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Whether another user of this group succeeds with a program on a path.
#[allow(clippy::disallowed_methods, reason = "another user looks")]
fn may(gid: u32, program: &str, path: &Path) -> bool {
    let who = [format!("--reuid={NOBODY}"), format!("--regid={gid}"), "--clear-groups".to_owned()];
    Command::new("setpriv").args(who).arg(program).arg(path).output().unwrap().status.success()
}

#[test]
fn a_group_of_readers_reads_the_log_and_its_public_key_and_nothing_else() {
    let gid = if is_root() { READERS } else { rustix::process::getegid().as_raw() };
    let daemon = Place::new().tables(&format!("[audit]\nreaders_group = {gid}\n")).start();
    let state = daemon.state();
    let segment = state.join("audit/audit-00000001.jsonl");
    assert_eq!((mode(&state), mode(&state.join("audit")), mode(&segment)), (0o710, 0o750, 0o640));
    for path in [&state, &state.join("audit"), &segment] {
        assert_eq!(fs::metadata(path).unwrap().gid(), gid, "{}", path.display());
    }
    for name in ["audit.key", "digest.key", "once", "audit/lock"] {
        assert_eq!(mode(&state.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&state.join("audit.pub")), 0o644);
    if is_root() {
        assert!(may(READERS, "cat", &segment) && may(READERS, "ls", &state.join("audit")));
        assert!(may(READERS, "cat", &state.join("audit.pub")));
        assert!(!may(READERS, "ls", &state), "the state directory is listed");
        assert!(!may(READERS, "cat", &state.join("audit.key")), "the key is read");
        assert!(!may(NOBODY, "cat", &segment), "another group reads the log");
    }
    // The next start, and one without the group, find what is not theirs to open up or close.
    let place = daemon.stop();
    place.start().stop();
}

#[test]
fn a_group_that_does_not_exist_keeps_the_host_from_starting() {
    let said = Place::new().tables("[audit]\nreaders_group = \"no-such-group\"\n").start_refused();
    assert!(said.contains("audit.readers_group: found \"no-such-group\""), "{said}");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the daemon of another user")]
fn a_group_that_the_host_may_not_give_away_keeps_it_from_starting() {
    if !is_root() {
        let said = Place::new().tables("[audit]\nreaders_group = 0\n").start_refused();
        assert!(said.contains("cannot be given to the group 0"), "{said}");
        return;
    }
    let place = Place::new().tables(&format!("[audit]\nreaders_group = {READERS}\n"));
    let daemon = place.command();
    // Where the build is, another user may not look.
    let program = place.path("llm-osd");
    fs::copy(daemon.get_program(), &program).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["", "home", "r", "w", "w/never"] {
        chown(place.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    for name in ["llm-osd.toml", "policy.cedar"] {
        chown(place.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()]);
    command.arg(program).args(daemon.get_args()).env_clear().env("HOME", place.path("home"));
    command.env("PATH", "/usr/bin:/bin").current_dir(place.path("home"));
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    let said = refusal(command);
    assert!(said.contains(&format!("cannot be given to the group {READERS}")), "{said}");
}
