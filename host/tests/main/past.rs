//! `llm-osd policy explain`, `backtest` and `learn`, over what a real host recorded.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::client::{act, asking, code, confirmed, plan, read, run, with, write};
use crate::daemon::{Daemon, Place, bare_command};

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn llm_osd(place: &Place, args: &[&str]) -> Ran {
    finished(bare_command(&place.path("home")).args(args))
}

fn finished(command: &mut Command) -> Ran {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn audit(place: &Place) -> String {
    place.state().join("audit").to_str().unwrap().to_owned()
}

fn backtest(place: &Place, policy: &str) -> (i32, Value) {
    let ran = llm_osd(place, &["policy", "backtest", policy, "--audit", &audit(place), "--json"]);
    let told =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", ran.stdout, ran.stderr));
    (ran.code, told)
}

fn touch(path: &Path) -> Value {
    run(&["/usr/bin/touch", path.to_str().unwrap()])
}

/// One of every way to be decided.
fn decide_something(daemon: &Daemon) {
    fs::write(daemon.path("r/note"), "x").unwrap();
    let ask = |id: &str, action: Value| daemon.ask(&plan(id, &[action]));
    assert_eq!(code(&ask("read", read(&daemon.path("r/note")))), "");
    assert_eq!(code(&ask("echo", run(&["/bin/echo", "hi"]))), "");
    assert_eq!(code(&ask("never", write(&daemon.path("w/never/CANARY"), "x"))), "policy_denied");
    assert_eq!(code(&ask("own", read(&daemon.state().join("audit.pub")))), "policy_denied");
    assert_eq!(code(&ask("elsewhere", read(Path::new("/etc/hostname")))), "policy_denied");
    assert_eq!(code(&ask("danger", asking(run(&["/bin/echo"])))), "confirmation_required");
    for (id, path, times) in [("one", "w/one", 2), ("two", "w/two", 1)] {
        for _ in 0..times {
            let frame = plan(id, &[touch(&daemon.path(path))]);
            let token = daemon.token_for(&frame);
            assert_eq!(code(&daemon.ask(&confirmed(&frame, &token))), "");
        }
    }
    let python = plan("python", &[run(&["/usr/bin/python3", "-c", "pass"])]);
    let token = daemon.token_for(&python);
    assert_eq!(code(&daemon.ask(&confirmed(&python, &token))), "");
    let remove = plan("remove", &[act("fs.remove", json!({"path": daemon.path("w/two")}))]);
    let token = daemon.token_for(&remove);
    assert_eq!(code(&daemon.ask(&confirmed(&remove, &token))), "");
    let denied = plan("denied", &[touch(&daemon.path("w/denied"))]);
    let token = daemon.token_for(&denied);
    assert_eq!(code(&daemon.ask(&confirmed(&denied, &token))), "");
    let (pending_id, _) = daemon.hold(&denied);
    daemon.ask_approver("host.deny", json!({"pending_id": pending_id}));
}

#[test]
fn the_same_policy_decides_everything_of_a_log_as_it_was_decided_by_the_same_policies() {
    let daemon = Daemon::start();
    decide_something(&daemon);
    // Through a reload and another start.
    daemon.ask_approver("host.reload", json!({}));
    let daemon = daemon.stop().start();
    decide_something(&daemon);
    let place = daemon.stop();
    let (exit, told) = backtest(&place, place.path("policy.cedar").to_str().unwrap());
    assert_eq!(exit, 0, "{told:#}");
    assert_eq!(told["changes"], json!([]));
    assert_eq!(
        (&told["by_others"], &told["left_out"], &told["broken"]),
        (&json!(0), &json!({}), &Value::Null)
    );
    assert_eq!(told["decisions"], told["unchanged"]);
    assert!(told["decisions"].as_u64().unwrap() > 30, "{told:#}");
}

#[test]
fn a_backtest_lists_what_becomes_more_permissive_first() {
    let daemon = Daemon::start();
    decide_something(&daemon);
    let place = daemon.stop();
    let policy = place.path("new.cedar");
    let new = r#"
@id("touch") permit (principal, action in Action::"run", resource == Program::"/usr/bin/touch");
@id("cwd") permit (principal, action in Action::"observe", resource in Roots::"read");
"#;
    fs::write(&policy, new).unwrap();
    let (exit, told) = backtest(&place, policy.to_str().unwrap());
    assert_eq!(exit, 1);
    let changes = told["changes"].as_array().unwrap();
    let change = |n: usize| {
        (changes[n]["action"].as_str().unwrap(), changes[n]["from"].clone(), changes[n]["to"].clone())
    };
    assert_eq!(change(0), ("exec.run", json!("confirm"), json!("allow")), "{told:#}");
    assert_eq!(changes[0]["policies"], json!(["cwd", "touch"]));
    assert!(changes.iter().skip(1).all(|change| change["to"] == "deny"), "{told:#}");
    let example = &changes[0]["examples"][0];
    assert!(example["effects"][0]["resource"]["id"].as_str().unwrap().ends_with("/touch"), "{example:#}");
    let ran = llm_osd(&place, &["policy", "backtest", policy.to_str().unwrap(), "--audit", &audit(&place)]);
    assert!(ran.stdout.contains("confirm -> allow"), "{}", ran.stdout);
    let audit = audit(&place);
    let later =
        ["policy", "backtest", policy.to_str().unwrap(), "--audit", &audit, "--since", "0s", "--json"];
    let none = llm_osd(&place, &later);
    assert!(none.stdout.contains("\"decisions\":0"), "{}", none.stdout);
}

#[test]
fn a_log_that_does_not_verify_is_judged_all_the_same_and_said_so() {
    let daemon = Daemon::start();
    decide_something(&daemon);
    let place = daemon.stop();
    let segment = place.state().join("audit/audit-00000001.jsonl");
    let text = fs::read_to_string(&segment).unwrap();
    fs::write(&segment, text.replacen("a test", "a tesT", 1)).unwrap();
    let ran = llm_osd(&place, &["policy", "backtest", "preset:strict", "--audit", &audit(&place), "--json"]);
    assert!(
        ran.stderr.contains("does not verify") && ran.stderr.contains("llmsh audit verify"),
        "{}",
        ran.stderr
    );
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(told["broken"].as_str().unwrap().contains("altered"), "{told:#}");
}

#[test]
fn what_cannot_be_read_is_refused_with_the_next_step() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    let empty = place.path("empty");
    let empty = empty.to_str().unwrap();
    let check = |args: &[&str], said: &[&str]| {
        let ran = llm_osd(&place, args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        for words in said {
            assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
        }
    };
    check(&["policy", "backtest", "preset:strict", "--audit", empty], &["no audit log", "--audit"]);
    check(&["policy", "learn", "--audit", empty], &["no audit log"]);
    check(&["policy", "explain", "/nowhere/plan.json"], &["expected a file with one plan"]);
    let wrong = place.path("wrong.json");
    fs::write(&wrong, "{\"request_id\":\"r\"}").unwrap();
    check(&["policy", "explain", wrong.to_str().unwrap()], &["parse_failed", "missing"]);
}

/// What is learned permits exactly what was approved, and nothing else changes.
#[test]
fn the_learned_rules_turn_exactly_what_was_approved_into_allow() {
    let daemon = Daemon::start();
    decide_something(&daemon);
    let place = daemon.stop();
    let policy = place.path("policy.cedar");
    let learn = |more: &[&str]| {
        let audit = audit(&place);
        let args = ["policy", "learn", "--policy", policy.to_str().unwrap(), "--audit", &audit];
        let ran = llm_osd(&place, &[&args, more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout
    };
    let learned = learn(&[]);
    let permits = learned.matches("permit (").count();
    assert_eq!(permits, 2, "touch of one and two: {learned}");
    for why in ["a human also denied it", "asks each time", "it destroys"] {
        assert!(learned.contains(why), "{why}: {learned}");
    }
    assert!(!learned.contains("python3") && !learned.contains("fs.remove"), "{learned}");
    assert_eq!(learn(&["--min", "2"]).matches("permit (").count(), 1);
    assert!(learn(&["--destroy"]).contains("fs.remove/destroy"));

    let both = place.path("both");
    fs::create_dir(&both).unwrap();
    fs::copy(&policy, both.join("policy.cedar")).unwrap();
    fs::write(both.join("learned.cedar"), &learned).unwrap();
    let both = both.to_str().unwrap();
    let checked = llm_osd(&place, &["policy", "check", both]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    let (exit, told) = backtest(&place, both);
    assert_eq!(exit, 1);
    let changes = told["changes"].as_array().unwrap();
    let changed: u64 = changes.iter().map(|change| change["count"].as_u64().unwrap()).sum();
    // Each of the three approved runs was held once, and ran once.
    assert_eq!(changed, 6, "{told:#}");
    for change in changes {
        assert_eq!((&change["from"], &change["to"]), (&json!("confirm"), &json!("allow")));
        for example in change["examples"].as_array().unwrap() {
            let target = example["effects"][0]["facts"]["subcommand"].as_str().unwrap();
            assert!(target.ends_with("w/one") || target.ends_with("w/two"), "{example:#}");
        }
    }
}

#[test]
fn an_explanation_names_the_policies_that_decide_and_what_would_change_the_answer() {
    let place = Place::new();
    fs::write(place.path("r/note"), "x").unwrap();
    let frame = with(
        plan(
            "explain",
            &[
                read(&place.path("r/note")),
                touch(&place.path("w/mark")),
                write(&place.path("w/never/x"), "x"),
                run(&["/usr/bin/python3", "-c", "\u{1b}[2J"]),
            ],
        ),
        json!({"session_id": "s-1"}),
    );
    let file = place.path("plan.json");
    fs::write(&file, frame.to_string()).unwrap();
    let explain = |more: &[&str]| {
        let mut command = place.command_of(&["policy", "explain", file.to_str().unwrap()]);
        finished(command.args(more))
    };
    let ran = explain(&["--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["decision"], "deny");
    let action = |n: usize| &told["actions"][n]["effects"][0];
    assert_eq!((&action(0)["decision"], &action(0)["by"]), (&json!("allow"), &json!(["look"])));
    assert_eq!((&action(1)["decision"], &action(1)["by"]), (&json!("confirm"), &json!(["ask"])));
    let near = action(1)["to_change"].to_string();
    assert!(
        near.contains("a human who confirms it")
            && near.contains("programs")
            && near.contains("/usr/bin/echo"),
        "{near}"
    );
    assert_eq!((&action(2)["decision"], &action(2)["by"]), (&json!("deny"), &json!(["never"])));
    let never = action(2)["to_change"].to_string();
    assert!(never.contains("without the forbid never") && never.contains("policy.cedar:"), "{never}");
    assert_eq!(action(3)["decision"], "confirm");
    let text = explain(&[]);
    assert!(text.stdout.contains("decided by permit look"), "{}", text.stdout);
    assert!(text.stdout.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{}", text.stdout);
    assert!(!place.path("w/mark").exists() && !place.state().exists(), "nothing ran, nothing was recorded");
}

/// A segment says itself what its decisions were made with: those before it may be gone.
#[test]
fn a_log_without_its_first_segment_can_be_judged() {
    let daemon = Place::new().tables("[audit]\nsegment_bytes = 65_536").start();
    fs::write(daemon.path("r/note"), "x").unwrap();
    let many = plan("many", &vec![read(&daemon.path("r/note")); 64]);
    for _ in 0..4 {
        assert_eq!(code(&daemon.ask(&many)), "");
    }
    let place = daemon.stop();
    fs::remove_file(place.state().join("audit/audit-00000001.jsonl")).unwrap();
    let (_, told) = backtest(&place, place.path("policy.cedar").to_str().unwrap());
    assert!(told["decisions"].as_u64().unwrap() > 64, "{told:#}");
    assert_eq!((&told["left_out"], &told["changes"]), (&json!({}), &json!([])), "{told:#}");
    assert!(told["broken"].as_str().unwrap().contains("missing"), "{told:#}");
}

/// Over 100,000 decisions that a real host made.
#[test]
fn a_log_of_a_hundred_thousand_decisions_is_judged_again_and_learned_from() {
    let daemon = Place::new().tables("[audit]\nsegment_bytes = 16_777_216").start();
    decide_something(&daemon);
    let mut connection = daemon.connect();
    for round in 0..1_563_u32 {
        let actions: Vec<_> = (0..64_u32)
            .map(|n| match n {
                0 => run(&["/bin/echo", &(round % 50).to_string()]),
                1 => touch(&daemon.path(&format!("w/{n}"))),
                2 => write(&daemon.path(&format!("w/never/{n}")), "x"),
                3 => write(&daemon.path(&format!("w/new-{}", round % 100)), "x"),
                _ => read(&daemon.path("r/note")),
            })
            .collect();
        let frame = with(
            plan("many", &actions),
            json!({"mode": "plan_only", "session_id": format!("s-{}", round % 7)}),
        );
        let answer = connection.ask(&frame);
        assert_eq!(code(&answer), "", "{answer:#}");
    }
    drop(connection);
    let place = daemon.stop();
    let policy = place.path("policy.cedar");
    let (exit, told) = backtest(&place, policy.to_str().unwrap());
    assert_eq!((exit, &told["by_others"]), (0, &json!(0)), "{told:#}");
    assert!(told["decisions"].as_u64().unwrap() > 100_000, "{told:#}");
    let (exit, told) = backtest(&place, "preset:strict");
    assert_eq!((exit, told["left_out"].as_object().unwrap().len()), (1, 0), "{told:#}");
    let learned = llm_osd(
        &place,
        &["policy", "learn", "--policy", policy.to_str().unwrap(), "--audit", &audit(&place)],
    );
    assert_eq!(learned.stdout.matches("permit (").count(), 2, "{}", learned.stdout);
}
