//! Sockets from a service manager: a launcher hands them over as systemd does, and hears what the host tells of itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::client::{Client, act, plan};
use crate::daemon::{Daemon, Place, refusal};

/// Binds a socket for each `PATH NAME MODE LISTENS`, from descriptor 3 on, and becomes the program after `--`.
const LAUNCHER: &str = r#"
import os, socket, sys
split = sys.argv.index("--")
sockets, names = [], []
for spec in sys.argv[1:split]:
    path, name, mode, listens = spec.split("|")
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if listens == "datagram" else socket.SOCK_STREAM)
    s.bind(path)
    os.chmod(path, int(mode, 8))
    if listens == "listens":
        s.listen(64)
    sockets.append(s.detach())
    names.append(name)
high = [os.dup2(fd, 100 + i) for i, fd in enumerate(sockets)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
for fd in sockets + high:
    if fd >= 3 + len(high):
        os.close(fd)
os.environ.update(LISTEN_FDS=str(len(high)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=":".join(names))
os.execv(sys.argv[split + 1], sys.argv[split + 1:])
"#;

/// The daemon's command behind the launcher.
#[allow(clippy::disallowed_methods, reason = "the launcher stands for a service manager")]
fn launched(place: &Place, sockets: &[String]) -> Command {
    let daemon = place.command();
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-c").arg(LAUNCHER).args(sockets).arg("--").arg(daemon.get_program()).args(daemon.get_args());
    command.env_clear();
    for (name, value) in daemon.get_envs() {
        command.env(name, value.unwrap());
    }
    command.current_dir(daemon.get_current_dir().unwrap());
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::piped());
    command
}

fn socket(path: &std::path::Path, name: &str) -> String {
    format!("{}|{name}|600|listens", path.display())
}

fn both(place: &Place) -> Vec<String> {
    vec![socket(&place.plan_socket(), "plan"), socket(&place.approval_socket(), "approval")]
}

fn heard(manager: &UnixDatagram) -> String {
    let mut message = [0; 512];
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let read = manager.recv(&mut message).unwrap();
    String::from_utf8_lossy(&message[..read]).into_owned()
}

#[test]
fn a_host_serves_sockets_that_were_handed_over_tells_so_and_leaves_them() {
    let place = Place::new();
    let manager = UnixDatagram::bind(place.path("notify")).unwrap();
    let notify = place.path("notify");
    let place = place.env("NOTIFY_SOCKET", notify.to_str().unwrap());
    let command = launched(&place, &both(&place));
    let daemon = Daemon::spawn(place.clone(), command);
    assert!(heard(&manager).contains("READY=1"));
    let mut client = Client::connect(&place.plan_socket());
    let answer =
        client.ask(&plan("r-1", &[act("exec.run", serde_json::json!({"argv": ["/usr/bin/printenv"]}))]));
    let told = answer.to_string();
    assert!(!told.contains("LISTEN_") && !told.contains("NOTIFY_SOCKET"), "{told}");
    drop(client);
    daemon.signal(rustix::process::Signal::TERM);
    let place = daemon.settled();
    assert!(heard(&manager).contains("STOPPING=1"));
    assert!(place.plan_socket().exists() && place.approval_socket().exists());
}

#[test]
fn sockets_that_do_not_fit_keep_the_host_from_starting() {
    type Given = fn(&Place) -> Vec<String>;
    let cases: [(&str, Given); 7] = [
        ("mode 0666", |p| vec![format!("{}|plan|666|listens", p.plan_socket().display())]),
        ("does not listen", |p| vec![format!("{}|plan|600|no", p.plan_socket().display())]),
        ("unix stream socket", |p| vec![format!("{}|plan|600|datagram", p.plan_socket().display())]),
        ("name the same path", |p| vec![socket(&p.path("other/plan.sock"), "plan")]),
        ("has the name \"web\"", |p| vec![socket(&p.plan_socket(), "web")]),
        ("two have the name plan", |p| {
            vec![socket(&p.plan_socket(), "plan"), socket(&p.approval_socket(), "plan")]
        }),
        // What is approved must not come in by the socket for plans.
        ("name the same path", |p| {
            vec![socket(&p.plan_socket(), "approval"), socket(&p.approval_socket(), "plan")]
        }),
    ];
    for (expected, sockets) in cases {
        let place = Place::new();
        let said = refusal(launched(&place, &sockets(&place)));
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_directory_that_others_reach_keeps_the_host_from_starting() {
    let place = Place::new();
    fs::create_dir(place.path("plan")).unwrap();
    fs::set_permissions(place.path("plan"), PermissionsExt::from_mode(0o755)).unwrap();
    let said = refusal(launched(&place, &both(&place)));
    assert!(said.contains("mode 0755, expected") && said.contains("mode 0700"), "{said}");
}

/// Each unit of `packaging/systemd`, as systemd reads it.
#[test]
#[allow(clippy::disallowed_methods, reason = "systemd's own check")]
fn systemd_accepts_the_units() {
    let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/systemd");
    for scope in ["user", "system"] {
        let dir = tempfile::tempdir().unwrap();
        for unit in fs::read_dir(format!("{packaging}/{scope}")).unwrap().map(|unit| unit.unwrap().path()) {
            let text = fs::read_to_string(&unit).unwrap();
            // The program must be there to be checked.
            let text = text
                .replace("ExecStart=/usr/bin/llm-osd", concat!("ExecStart=", env!("CARGO_BIN_EXE_llm-osd")));
            let text =
                text.replace("ExecStart=llm-osd", concat!("ExecStart=", env!("CARGO_BIN_EXE_llm-osd")));
            fs::write(dir.path().join(unit.file_name().unwrap()), text).unwrap();
        }
        let units = ["llm-osd.service", "llm-osd-plan.socket", "llm-osd-approval.socket"];
        let mut command = Command::new("systemd-analyze");
        command.env("XDG_RUNTIME_DIR", dir.path()).args(["verify", "--man=no", &format!("--{scope}")]);
        let said = command.args(units.map(|unit| dir.path().join(unit))).output();
        let said = said.expect("systemd-analyze; on Debian: apt-get install systemd");
        let words = String::from_utf8_lossy(&said.stderr);
        let ours: Vec<_> = words.lines().filter(|line| line.contains("llm-osd")).collect();
        assert!(said.status.success() && ours.is_empty(), "{scope}: {words}");
    }
}
