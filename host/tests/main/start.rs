//! What keeps a daemon from starting, and what it needs to: nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;

use crate::client::{Client, act, code, plan, read, run, write};
use crate::daemon::{Daemon, Place, bare_command, refusal};

#[test]
fn a_daemon_without_any_configuration_echoes_reads_and_asks_about_the_rest() {
    let place = Place::new();
    let (home, runtime) = (place.path("home"), place.path("runtime"));
    fs::create_dir(&runtime).unwrap();
    let mut command = bare_command(&home);
    command.env("XDG_RUNTIME_DIR", &runtime).env("XDG_STATE_HOME", home.join("state"));
    let mut child = command.spawn().unwrap();
    let socket = runtime.join("llm-osd/plan/plan.sock");
    let mut client = crate::process::wait_for("the socket", || Client::try_connect(&socket).ok());
    let echoed = client.ask(&plan("bare", &[run(&["/bin/echo", "hi"])]));
    assert_eq!(echoed["results"][0]["output"]["stdout"]["text"], "hi\n", "{echoed:#}");
    let workspace = home.join(".local/share/llm-osd/workspace");
    fs::write(workspace.join("file"), "content").unwrap();
    assert_eq!(code(&client.ask(&plan("bare", &[read(&workspace.join("file"))]))), "");
    let written = client.ask(&plan("bare", &[write(&workspace.join("CANARY"), "x")]));
    assert_eq!(code(&written), "confirmation_required", "{written:#}");
    assert_eq!(code(&client.ask(&plan("bare", &[run(&["/bin/true"])]))), "confirmation_required");
    let outside = client.ask(&plan("bare", &[read(&place.path("policy.cedar"))]));
    assert_eq!(code(&outside), "policy_denied", "{outside:#}");
    assert!(!workspace.join("CANARY").exists());
    assert_eq!(fs::metadata(&workspace).unwrap().permissions().mode() & 0o7777, 0o700);
    let state = home.join("state/llm-osd");
    assert!(!crate::records::segments(&state).is_empty());
    for file in crate::records::segments(&state) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert!(crate::records::verify(&state).covers_end());
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    for (tables, key) in [
        ("[limits]\nconections = 4", "conections"),
        ("[capabilities.exec]\nenv_alow = []", "env_alow"),
        ("[capabilities.exce]\nx = 1", "exce"),
        ("[audits]\n", "audits"),
        ("[[roots]]\npath = \"/\"\nmode = \"read\"\nrecursive = true", "recursive"),
    ] {
        let place = Place::new().tables(tables);
        let said = place.start_refused();
        let config = fs::read_to_string(place.path("llm-osd.toml")).unwrap();
        let line = config.lines().position(|line| line.contains(key)).unwrap() + 1;
        assert!(said.contains(&format!("line {line}")) && said.contains(key), "line {line}: {said}");
        assert!(!place.plan_socket().exists());
    }
}

#[test]
fn what_cannot_be_checked_keeps_it_from_starting() {
    let refused = |place: Place, words: &str| {
        let said = place.start_refused();
        assert!(said.contains(words), "expected {words:?}: {said}");
        assert!(!place.plan_socket().exists());
    };
    refused(
        Place::new().set_policy("permit (principal, action == Action::\"exec.rum\", resource);"),
        "exec.rum",
    );
    refused(
        Place::new().set_policy("permit (principal, action, resource) when { context.nothing };"),
        "the policy is refused",
    );
    refused(Place::new().set_policy("not cedar"), "the policy is refused");
    refused(Place::new().tables("[capabilities.exec]\nenv_allow = [\"LD_PRELOAD\"]"), "LD_PRELOAD");
    refused(Place::new().tables("[limits]\nconnections = 0"), "limits.connections");
    refused(Place::new().keys("plan_uids = [4242]"), "socket_gid");
    refused(Place::new().tables("[[roots]]\npath = \"/nonexistent\"\nmode = \"read\""), "/nonexistent");
    let place = Place::new();
    let mut missing = bare_command(&place.path("home"));
    missing.args(["--config", "/nonexistent/llm-osd.toml"]);
    let said = refusal(missing);
    assert!(said.contains("/nonexistent/llm-osd.toml"), "{said}");
}

#[test]
fn a_root_for_reading_inside_one_for_writing_starts_and_stays_as_it_is() {
    let place = Place::new();
    let whole = format!("[[roots]]\npath = \"{}\"\nmode = \"write\"", place.path("").display());
    let daemon = place.tables(&whole).start();
    let written = daemon.ask(&plan("nested", &[write(&daemon.path("r/CANARY"), "x")]));
    assert_ne!(code(&written), "", "{written:#}");
    assert_eq!(code(&daemon.ask(&plan("nested", &[write(&daemon.path("beside"), "x")]))), "");
    daemon.stop();
}

/// S04, S10
#[test]
fn a_socket_path_that_is_taken_stays_as_it_is() {
    for taken in ["a file", "a symlink", "a directory"] {
        let place = Place::new();
        let socket = place.plan_socket();
        fs::create_dir(socket.parent().unwrap()).unwrap();
        let precious = place.path("precious");
        fs::write(&precious, "precious").unwrap();
        match taken {
            "a file" => fs::write(&socket, "precious").unwrap(),
            "a symlink" => symlink(&precious, &socket).unwrap(),
            _ => fs::create_dir(&socket).unwrap(),
        }
        let said = place.start_refused();
        assert!(said.contains("is not a socket"), "{taken}: {said}");
        assert!(fs::symlink_metadata(&socket).is_ok(), "{taken}");
        assert_eq!(fs::read_to_string(precious).unwrap(), "precious");
    }
}

#[test]
fn the_socket_of_a_daemon_that_was_killed_is_taken_over() {
    let place = Daemon::start().kill9();
    assert!(place.plan_socket().exists());
    place.start().stop();
}

/// S05: whoever made the directory, it is closed before a socket is in it.
#[test]
fn a_socket_directory_that_others_may_enter_is_closed() {
    let place = Place::new();
    let directory = place.path("plan");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
    let daemon = place.start();
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o7777, 0o700);
    daemon.stop();
}

/// C07, A06: what signs and what digests is the host's alone.
#[test]
fn keys_and_log_are_the_hosts_alone() {
    let daemon = Daemon::start();
    daemon.ask(&plan("x", &[act("host.ping", json!({}))]));
    let mut folders = vec![daemon.state()];
    while let Some(folder) = folders.pop() {
        assert_eq!(
            fs::metadata(&folder).unwrap().permissions().mode() & 0o7777,
            0o700,
            "{}",
            folder.display()
        );
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
                assert!(
                    mode == 0o600 || entry.path().extension().is_some_and(|e| e == "pub"),
                    "{:?}",
                    entry.path()
                );
            }
        }
    }
    daemon.stop();
}
