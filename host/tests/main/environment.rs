//! Class V: what a program inherits of a daemon that was started in a hostile environment.

use serde_json::{Value, json};

use crate::client::{act, code, confirmed, plan, run};
use crate::daemon::{Daemon, Place};

fn lines(answer: &Value) -> Vec<&str> {
    let text = answer["results"][0]["output"]["stdout"]["text"].as_str();
    text.unwrap_or_else(|| panic!("{answer:#}")).lines().collect()
}

const HOSTILE: [(&str, &str); 20] = [
    ("LD_PRELOAD", "/nonexistent/canary.so"),
    ("LD_LIBRARY_PATH", "/nonexistent"),
    ("PATH", "."),
    ("BASH_ENV", "/nonexistent/canary"),
    ("ENV", "/nonexistent/canary"),
    ("BASH_FUNC_echo%%", "() { touch CANARY; }"),
    ("IFS", "/"),
    ("PYTHONPATH", "."),
    ("NODE_OPTIONS", "--require ./canary"),
    ("PERL5OPT", "-Mcanary"),
    ("GIT_SSH_COMMAND", "touch CANARY"),
    ("PAGER", "touch CANARY"),
    ("GCONV_PATH", "."),
    ("GLIBC_TUNABLES", "glibc.malloc.check=3"),
    ("DISPLAY", ":0"),
    ("WAYLAND_DISPLAY", "wayland-0"),
    ("XAUTHORITY", "/home/ann/.Xauthority"),
    ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent"),
    ("SSH_AUTH_SOCK", "/nonexistent/agent"),
    ("LLM_OSD_APPROVAL_SOCKET", "/nonexistent/approval.sock"),
];

/// V07, V09. Guard: the environment is made from nothing.
#[test]
fn a_program_sees_the_fixed_variables_and_nothing_of_the_hosts() {
    let place = HOSTILE.iter().fold(Place::new(), |place, (name, value)| place.env(name, value));
    let daemon = place.start();
    let answer = daemon.ask(&plan("v09", &[run(&["/usr/bin/printenv"])]));
    let lines = lines(&answer);
    let mut names: Vec<_> = lines.iter().map(|line| line.split_once('=').unwrap().0).collect();
    names.sort_unstable();
    assert!(names.iter().all(|name| ["HOME", "LANG", "PATH", "TERM", "TZ"].contains(name)), "{lines:?}");
    assert!(lines.contains(&"PATH=/usr/local/bin:/usr/bin:/bin"), "{lines:?}");
    daemon.stop();
}

/// V01 to V06, V08. Guard: `env_allow`.
#[test]
fn a_plan_sets_only_the_variables_that_the_operator_allows() {
    let daemon = Daemon::start();
    let others = ["LD_AUDIT", "PERL5LIB", "EDITOR", "A=B", "", "HOME", "LANG ", "lang"];
    for name in HOSTILE.iter().map(|(name, _)| *name).chain(others) {
        let action = act("exec.run", json!({"argv": ["/bin/echo", "x"], "env": {name: "x"}}));
        let answer = daemon.ask(&plan("v01", &[action]));
        assert_eq!(code(&answer), "validation_failed", "{name}: {answer:#}");
        assert_eq!(
            answer["error"]["path"].as_str().map(|path| path.starts_with("$.actions[0].params.env")),
            Some(true),
            "{name}"
        );
    }
    let allowed = act("exec.run", json!({"argv": ["/usr/bin/printenv", "LANG"], "env": {"LANG": "C.UTF-8"}}));
    assert_eq!(lines(&daemon.ask(&plan("lang", &[allowed]))), ["C.UTF-8"]);
    daemon.stop();
}

/// P11. Guard: the init closes all but the streams: only its own three descriptors.
#[test]
fn a_program_inherits_no_descriptor_of_the_host() {
    let daemon = Daemon::start();
    let mut other = daemon.connect();
    assert_eq!(other.ask(&crate::daemon::ping())["executed"], true);
    let frame = plan("p11", &[run(&["/bin/ls", "-l", "/proc/self/fd"])]);
    let answer = daemon.ask(&confirmed(&frame, &daemon.token_for(&frame)));
    let text = lines(&answer).join("\n");
    for word in ["socket", "audit", "eventpoll"] {
        assert!(!text.contains(word), "{text}");
    }
    drop(other);
    daemon.stop();
}
