//! Programs that do more than their names say, under the policy for work in a folder (`preset:workspace`).

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::client::{act, plan, with};
use crate::daemon::{Daemon, Place};

fn start() -> Daemon {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies");
    let mut cedar = fs::read_to_string(policies.join("workspace.cedar")).unwrap();
    for entry in fs::read_dir(policies.join("programs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "cedar") {
            cedar += &fs::read_to_string(path).unwrap();
        }
    }
    let place = Place::new().set_policy(&cedar).tables("[confirmation]\nmax_pending = 1024");
    fs::write(place.path("w/f"), "b\na\n").unwrap();
    place.start()
}

/// The code of the refusal, or the status, of one program in the root for writing.
fn ends(daemon: &Daemon, argv: &[&str]) -> String {
    let action = act("exec.run", json!({"argv": argv, "cwd": daemon.path("w")}));
    let answer = daemon.ask(&plan("e", &[action]));
    let code = answer["error"]["code"].as_str().or(answer["results"][0]["status"].as_str());
    code.unwrap_or_else(|| panic!("{answer:#}")).to_owned()
}

/// A program of this machine; none where it has none of this name.
fn program(name: &str) -> Option<String> {
    let places = ["/usr/bin", "/bin", "/usr/local/bin", "/lib64"];
    places.iter().map(|place| format!("{place}/{name}")).find(|path| Path::new(path).exists())
}

/// Every one asks, and leaves nothing; at least one of them is on this machine.
#[track_caller]
fn all_ask(daemon: &Daemon, commands: &[&[&str]]) {
    let mut seen = 0;
    for command in commands {
        let Some(path) = program(command[0]) else { continue };
        let argv = [&[path.as_str()], &command[1..]].concat();
        assert_eq!(ends(daemon, &argv), "confirmation_required", "{command:?}");
        seen += 1;
    }
    assert!(seen > 0, "none of these programs is here: {commands:?}");
    for trace in ["CANARY", "p.sh"] {
        assert!(!daemon.path("w").join(trace).exists(), "{trace}: {commands:?}");
    }
}

/// E01, E02. Guard, as for all of this file: the grammar in examples/policies/programs; here `find.cedar`.
#[test]
fn find_does_nothing_to_what_it_finds() {
    let daemon = start();
    all_ask(
        &daemon,
        &[
            &["find", ".", "-maxdepth", "0", "-exec", "touch", "CANARY", ";"],
            &["find", ".", "-execdir", "touch", "CANARY", "+"],
            &["find", ".", "-okdir", "touch", "CANARY", ";"],
            &["find", ".", "-delete"],
            &["find", ".", "-fprintf", "CANARY", "x"],
            &["find", ".", "-fls", "CANARY"],
        ],
    );
    assert!(daemon.path("w/f").exists());
    assert_eq!(ends(&daemon, &["/usr/bin/find", ".", "-name", "f", "-print"]), "ok");
    daemon.stop();
}

/// E03, E04. Guards: `rg.cedar`, `sort.cedar`, `grep.cedar`. Without ripgrep on this machine its rule is held against its cases alone.
#[test]
fn searching_and_sorting_start_and_write_nothing() {
    let daemon = start();
    all_ask(
        &daemon,
        &[
            &["rg", "--pre", "./p.sh", "x", "."],
            &["rg", "--pre=./p.sh", "x", "."],
            &["rg", "--hostname-bin=./p.sh", "x", "."],
            &["rg", "-z", "x", "."],
            &["grep", "-f", "/etc/passwd", "f"],
            &["sort", "--compress-program=./p.sh", "-S1b", "f"],
            &["sort", "-o", "CANARY", "f"],
            &["sort", "f", "-oCANARY"],
            &["sort", "-T", "/tmp", "f"],
        ],
    );
    assert_eq!(ends(&daemon, &["/usr/bin/sort", "-r", "f"]), "ok");
    daemon.stop();
}

/// E05, E06, E07. Guard: no policy permits these.
#[test]
fn editors_of_streams_and_archives_ask() {
    let daemon = start();
    all_ask(
        &daemon,
        &[
            &["sed", "1e touch CANARY", "f"],
            &["sed", "w CANARY", "f"],
            &["sed", "-i", "s/a/b/", "f"],
            &["awk", "BEGIN{system(\"touch CANARY\")}"],
            &["awk", "-f", "script"],
            &["tar", "cf", "/dev/null", "f", "--checkpoint=1", "--checkpoint-action=exec=touch CANARY"],
        ],
    );
    assert_eq!(fs::read_to_string(daemon.path("w/f")).unwrap(), "b\na\n");
    daemon.stop();
}

/// E08, E09, E10, E11. Guard: `git.cedar`.
#[test]
fn git_takes_no_configuration_no_other_repository_and_no_file_to_write() {
    let daemon = start();
    all_ask(
        &daemon,
        &[
            &["git", "-c", "core.pager=touch CANARY", "log"],
            &["git", "-c", "alias.x=!touch CANARY", "x"],
            &["git", "diff", "--output=CANARY"],
            &["git", "diff", "--no-ext-diff", "--no-textconv", "--output=CANARY"],
            &["git", "show", "--no-textconv", "--format=%H", "--output=CANARY"],
            &["git", "-C", "/", "status"],
            &["git", "--git-dir=/x", "status"],
            &["git", "--exec-path=./evil", "status"],
            &["git", "diff", "--no-index", "/dev/null", "/etc/passwd"],
            &["git", "diff", "--no-ext-diff", "--no-textconv", "/dev/null", "/etc/passwd"],
        ],
    );
    daemon.stop();
}

/// E12, E13, E15, E16. Guard: no policy permits these, and exec lets none do so.
#[test]
fn wrappers_shells_and_interpreters_ask() {
    let daemon = start();
    all_ask(
        &daemon,
        &[
            &["xargs", "-a", "f", "touch"],
            &["env", "touch", "CANARY"],
            &["env", "-S", "touch CANARY"],
            &["nice", "touch", "CANARY"],
            &["timeout", "5", "touch", "CANARY"],
            &["nohup", "touch", "CANARY"],
            &["setsid", "touch", "CANARY"],
            &["stdbuf", "-o0", "touch", "CANARY"],
            &["unshare", "touch", "CANARY"],
            &["ld-linux-x86-64.so.2", "/usr/bin/touch", "CANARY"],
            &["sh", "-c", "touch CANARY"],
            &["sh", "-ec", "touch CANARY"],
            &["bash", "-lc", "touch CANARY"],
            &["bash", "-xlc", "touch CANARY"],
            &["python3", "-c", "open('CANARY','w')"],
            &["node", "-e", "1"],
            &["perl", "-e", "open(F,'>CANARY')"],
        ],
    );
    daemon.stop();
}

/// E15, E23. Guard: `asking::check` at load: nor does a policy that says otherwise come to be loaded.
#[test]
fn a_policy_that_allows_a_shell_keeps_the_host_from_starting() {
    let allows =
        r#"@id("shell") permit(principal, action in Action::"run", resource == Program::"/bin/sh");"#;
    let said = Place::new().set_policy(allows).start_refused();
    assert!(said.contains("\"shell\"") && said.contains("context.confirmed"), "{said}");
}

/// E24. Guard: no policy permits these, and exec lets none do so, whatever is typed at them.
#[test]
fn pagers_and_editors_ask() {
    let daemon = start();
    all_ask(&daemon, &[&["less", "f"], &["man", "x"], &["vi", "f"], &["more", "f"]]);
    daemon.stop();
}

#[test]
fn what_a_policy_lets_a_program_touch_is_told_shown_and_recorded() {
    let policy = r#"
        permit(principal, action in Action::"observe", resource in Roots::"read");
        @network("tcp 443") @write("/var/tmp")
        permit(principal, action in Action::"run", resource == Program::"/bin/echo") when { context.confirmed };"#;
    let daemon = Place::new().set_policy(policy).start();
    let profile = json!({"network": {"ports": [443]}, "write": ["/var/tmp"]});
    let frame = plan("p", &[act("exec.run", json!({"argv": ["/bin/echo"], "cwd": daemon.path("w")}))]);
    let planned = daemon.ask(&with(frame.clone(), json!({"mode": "plan_only"})));
    assert_eq!(planned["results"][0]["profile"], profile, "{planned:#}");
    let (pending, _) = daemon.hold(&frame);
    let shown = daemon.ask_approver("host.pending", json!({"pending_id": pending}));
    assert_eq!(shown["profiles"], json!([profile]), "{shown:#}");
    assert_eq!(daemon.recorded("planned", "p")[0]["decision"]["profile"], profile);
    daemon.stop();
}
