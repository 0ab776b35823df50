//! `llmsh halt` and `llmsh resume`: which socket is asked, and how they end.

use serde_json::{Value, json};

use crate::peer::{Peer, refused, run, told};

fn halted(running: u64) -> String {
    told(&json!({"halted": true, "by": "user 7", "cancelled": 1, "running": running}))
}

fn asked(peer: &Peer) -> Vec<Value> {
    peer.frames().iter().map(|frame| frame["actions"][0]["action"].clone()).collect()
}

#[test]
fn halt_and_resume_print_what_the_host_answers() {
    let peer = Peer::new(|action, _| match action {
        "host.halt" => halted(0),
        _ => told(&json!({"halted": false, "resumed": true})),
    });
    for (command, key) in [("halt", "cancelled"), ("resume", "resumed")] {
        let ran = peer.llmsh(&[command]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert!(serde_json::from_str::<Value>(&ran.stdout).unwrap()[key] != Value::Null, "{ran:?}");
    }
    assert_eq!(asked(&peer), ["host.halt", "host.resume"]);
}

#[test]
fn a_halt_is_asked_of_the_approval_socket_and_then_of_the_other_one() {
    let plan = Peer::always(halted(0));
    let halts = |approval: Option<&Peer>| {
        let mut command = plan.command(&["halt"]);
        match approval {
            Some(approval) => command.env("LLM_OSD_APPROVAL_SOCKET", approval.socket()),
            None => command.env("LLM_OSD_APPROVAL_SOCKET", plan.dir.path().join("none")),
        };
        run(&mut command, "")
    };
    let approval = Peer::always(halted(0));
    assert_eq!(halts(Some(&approval)).code, 0);
    assert_eq!((asked(&approval).len(), asked(&plan).len()), (1, 0));
    let closed = Peer::always(refused("policy_denied"));
    assert_eq!(halts(Some(&closed)).code, 0);
    assert_eq!(asked(&plan).len(), 1, "the approval socket did not let it in");
    assert_eq!(halts(None).code, 0);
    assert_eq!(asked(&plan).len(), 2, "nobody listened there");
}

/// Else a halt of the host that is named would halt the one of this user.
#[test]
fn a_socket_that_is_named_alone_is_the_only_one_that_is_asked() {
    let (named, own) = (Peer::always(refused("busy")), Peer::always(halted(0)));
    let runtime = own.dir.path().join("llm-osd");
    for place in ["plan", "approval"] {
        std::fs::create_dir_all(runtime.join(place)).unwrap();
        std::os::unix::fs::symlink(own.socket(), runtime.join(place).join(format!("{place}.sock"))).unwrap();
    }
    for option in ["--socket", "--approval-socket"] {
        let mut command = own.command(&[option, named.socket().to_str().unwrap(), "halt"]);
        command.env_remove("LLM_OSD_SOCKET").env_remove("LLM_OSD_APPROVAL_SOCKET");
        command.env("XDG_RUNTIME_DIR", own.dir.path());
        assert_eq!(run(&mut command, "").code, 6, "{option}");
    }
    assert_eq!((asked(&named).len(), asked(&own).len()), (2, 0));
    let mut command = own.command(&["halt"]);
    command.env_remove("LLM_OSD_SOCKET").env_remove("LLM_OSD_APPROVAL_SOCKET");
    assert_eq!(run(command.env("XDG_RUNTIME_DIR", own.dir.path()), "").code, 0, "none is named");
}

#[test]
fn a_halt_that_left_something_running_or_is_refused_does_not_end_well() {
    let ran = Peer::always(halted(1)).llmsh(&["halt"]);
    assert!(
        ran.code == 1 && ran.stderr.contains("has not ended") && ran.stdout.contains("running"),
        "{ran:?}"
    );
    for (code, exit) in [("audit_unavailable", 6), ("unavailable", 1), ("busy", 6), ("halted", 6)] {
        for command in ["halt", "resume"] {
            let ran = Peer::always(refused(code)).llmsh(&[command]);
            assert_eq!((ran.code, ran.stdout.as_str()), (exit, ""), "{command}: {code}");
        }
    }
}

#[test]
fn what_a_halted_host_answers_is_all_that_a_plan_is_told() {
    let ran = Peer::always(refused("halted")).llmsh_with(&["send", "-"], crate::peer::PLAN);
    assert_eq!((ran.code, ran.stderr.as_str()), (6, "halted at $.actions[0]: because\n"));
}
