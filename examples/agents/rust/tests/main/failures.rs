//! What can go wrong between an agent and its endpoint: each ends with a sentence, and nothing is done by half.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::agent::{Agent, KEY, Ran, TASK, each, path_of, run};
use crate::dialect::{Call, Dialect};
use crate::endpoint::{Endpoint, Reply, Step, step};
use crate::host::{Host, beside};

const POLICY: &str = r#"permit (principal, action, resource in Roots::"write");"#;

fn host() -> Host {
    Host::on(POLICY)
}

/// Holds that an agent ended for a reason that it says in one sentence, after the retries that it tells of.
#[track_caller]
fn failed(ran: &Ran, why: &str) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("agent: ") && last.contains(why), "expected {why}: {}", ran.stderr);
}

fn busy(status: u16) -> Reply {
    let body = r#"{"type": "error", "error": {"type": "overloaded_error", "message": "so many people"}}"#;
    Reply::Raw(status, "retry-after: 0", body.to_owned())
}

#[test]
fn a_busy_endpoint_is_asked_again_when_it_says_so() {
    let host = host();
    each(|agent, dialect| {
        let busy = [429, 529, 500, 503].map(busy).map(step);
        let done = step(Reply::Says("Done.".to_owned()));
        let endpoint = Endpoint::start(dialect, busy.into_iter().chain([done]).collect());
        let ran = agent.run(&host, &endpoint, &[]);
        endpoint.finish();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "Done.\n"), "{ran:?}");
        assert_eq!(ran.stderr.matches("so many people; trying again in 0 s").count(), 4, "{}", ran.stderr);
    });
}

#[test]
fn an_endpoint_that_stays_busy_is_not_asked_for_ever() {
    let host = host();
    each(|agent, dialect| {
        let endpoint = Endpoint::start(dialect, (0..5).map(|_| step(busy(529))).collect());
        let ran = agent.run(&host, &endpoint, &[]);
        endpoint.finish();
        failed(&ran, "answered 529: so many people");
    });
}

#[test]
fn what_an_endpoint_refuses_is_not_asked_again() {
    let host = host();
    each(|agent, dialect| {
        let body = r#"{"error": {"type": "invalid_request_error", "message": "no such model"}}"#;
        for (body, why) in [(body, "answered 400: no such model"), ("<html>", "answered 400: <html>")] {
            let endpoint = Endpoint::start(dialect, vec![step(Reply::Raw(400, "", body.to_owned()))]);
            let ran = agent.run(&host, &endpoint, &[]);
            endpoint.finish();
            failed(&ran, why);
        }
    });
}

/// It would take the key with it.
#[test]
fn a_redirect_is_not_followed() {
    let host = host();
    each(|agent, dialect| {
        let elsewhere = Endpoint::start(dialect, Vec::new());
        for status in [302, 307] {
            let location: &'static str = format!("location: {}/elsewhere", elsewhere.base()).leak();
            let endpoint = Endpoint::start(dialect, vec![step(Reply::Raw(status, location, String::new()))]);
            let ran = agent.run(&host, &endpoint, &[]);
            endpoint.finish();
            failed(&ran, &format!("answered {status}"));
        }
        elsewhere.finish();
    });
}

#[test]
fn garbage_is_refused_and_nothing_of_it_is_done() {
    let host = host();
    each(|agent, dialect| {
        let field = if dialect == Dialect::Anthropic { "content" } else { "output" };
        let raw = |body: &str| Reply::Raw(200, "", body.to_owned());
        for (reply, why) in [
            (raw("<html>"), "did not answer with JSON"),
            (raw(""), "did not answer with JSON"),
            (raw("[]"), field),
            (raw("{}"), field),
            (raw(&json!({field: "words"}).to_string()), field),
            (raw(&json!({field: [7]}).to_string()), field),
            (raw(&json!({field: [{"text": "no type"}]}).to_string()), field),
            (Reply::Nothing, "cannot be reached"),
        ] {
            let endpoint = Endpoint::start(dialect, vec![step(reply)]);
            let ran = agent.run(&host, &endpoint, &[]);
            endpoint.finish();
            failed(&ran, why);
        }
    });
}

#[test]
fn a_call_that_cannot_be_answered_ends_the_work() {
    let host = host();
    each(|agent, dialect| {
        let body = match dialect {
            Dialect::Anthropic => json!({"stop_reason": "tool_use", "content": [
                {"type": "tool_use", "name": "fs_mkdir", "input": {"path": host.path("w/made"), "reason": "a test"}},
            ]}),
            Dialect::Openai => json!({"status": "completed", "output": [
                {"type": "function_call", "name": "fs_mkdir", "arguments":
                    json!({"path": host.path("w/made"), "reason": "a test"}).to_string()},
            ]}),
        };
        let endpoint = Endpoint::start(dialect, vec![step(Reply::Body(body))]);
        let ran = agent.run(&host, &endpoint, &["--toolsets", "fs"]);
        endpoint.finish();
        failed(&ran, "id");
        assert!(!host.path("w/made").exists());
    });
}

/// An answer that was cut off may hold half of a call.
#[test]
fn of_an_answer_that_was_cut_off_nothing_is_done() {
    let host = host();
    each(|agent, dialect| {
        let call = Call::Tool("fs_mkdir", json!({"path": host.path("w/made"), "reason": "a test"}));
        let mut body = dialect.calls(0, vec![call]);
        let (field, value, why) = match dialect {
            Dialect::Anthropic => ("stop_reason", "max_tokens", "stopped early: max_tokens"),
            Dialect::Openai => ("status", "incomplete", "stopped early: incomplete"),
        };
        body[field] = json!(value);
        let endpoint = Endpoint::start(dialect, vec![step(Reply::Body(body))]);
        let ran = agent.run(&host, &endpoint, &["--toolsets", "fs"]);
        endpoint.finish();
        failed(&ran, why);
        assert!(!host.path("w/made").exists());
    });
}

#[test]
fn the_turns_of_a_task_are_bounded() {
    let host = host();
    each(|agent, dialect| {
        let look: fn(&Host) -> Reply = |host| {
            Reply::Calls(vec![Call::Tool("fs_list", json!({"path": host.path("w"), "reason": "look again"}))])
        };
        let endpoint = Endpoint::start(dialect, vec![step(look(&host)), step(look(&host))]);
        let ran = agent.run(&host, &endpoint, &["--toolsets", "fs", "--max-turns", "2"]);
        endpoint.finish();
        failed(&ran, "not done after 2 turns");
    });
}

#[test]
fn without_a_key_or_a_host_it_is_said_what_is_missing() {
    let host = host();
    each(|agent, dialect| {
        let endpoint = Endpoint::start(dialect, Vec::new());
        let mut command = agent.command(&host, &endpoint, &[]);
        command.env_remove("ANTHROPIC_API_KEY").env_remove("OPENAI_API_KEY");
        failed(&run(command), "_API_KEY is not set");
        let nowhere = host.path("nowhere");
        let ran = agent.run(&host, &endpoint, &["--socket", nowhere.to_str().unwrap()]);
        failed(&ran, "llmsh computer --tools failed");
        assert!(ran.stderr.contains("nowhere"), "llmsh itself says why: {}", ran.stderr);
        let mut command = agent.command(&host, &endpoint, &[]);
        command.env("PATH", "/nowhere");
        failed(&run(command), "llmsh cannot be started");
        endpoint.finish();
    });
}

#[test]
fn the_key_stays_with_the_agent() {
    let host = host();
    let folder = host.path("bin");
    fs::create_dir(&folder).unwrap();
    let script = format!("#!/bin/sh\n/usr/bin/env >>{0}.env\nexec {0} \"$@\"\n", "REAL");
    let (wrapper, seen) = (folder.join("llmsh"), folder.join("env"));
    let script =
        script.replace("REAL.env", seen.to_str().unwrap()).replace("REAL", beside("llmsh").to_str().unwrap());
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
    each(|agent, dialect| {
        let list = json!({"path": host.path("w"), "reason": "look"});
        let script = vec![
            step(Reply::Calls(vec![Call::Tool("fs_list", list)])),
            step(Reply::Says("Done.".to_owned())),
        ];
        let endpoint = Endpoint::start(dialect, script);
        let mut command = agent.command(&host, &endpoint, &["--toolsets", "fs"]);
        command.env("PATH", path_of(&[&folder]));
        let ran = run(command);
        endpoint.finish();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let environment = fs::read_to_string(&seen).unwrap();
        assert_eq!(environment.matches("LLM_OSD_SOCKET=").count(), 2, "{environment}");
        assert!(!environment.contains(KEY), "{environment}");
        fs::remove_file(&seen).unwrap();
    });
}

/// C09
#[test]
fn what_a_model_says_does_not_drive_the_terminal() {
    let host = host();
    each(|agent, dialect| {
        let evil = "a\u{1b}]52;c;aGk=\u{7}\u{9b}2J\u{202e}b\r";
        let call = Call::Tool("fs_list", json!({"path": format!("/{evil}"), "reason": evil}));
        let script: Vec<Step> = vec![step(Reply::Calls(vec![call])), step(Reply::Says(evil.to_owned()))];
        let endpoint = Endpoint::start(dialect, script);
        let ran = agent.run(&host, &endpoint, &["--toolsets", "fs"]);
        endpoint.finish();
        assert_eq!(ran.code, Some(0), "{ran:?}");
        for shown in [&ran.stdout, &ran.stderr] {
            let drives = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!shown.chars().any(drives), "{shown:?}");
        }
        assert!(ran.stdout.starts_with("a\\") && ran.stdout.contains("]52;c;aGk="), "{}", ran.stdout);
    });
}

#[test]
fn wrong_usage_is_told_and_asks_nobody() {
    let host = host();
    for agent in [Agent::Python, Agent::Rust] {
        let endpoint = Endpoint::start(Dialect::Openai, Vec::new());
        let mut command = agent.command(&host, &endpoint, &["--max-turns", "telegraph"]);
        command.env_remove("PATH");
        let ran = run(command);
        endpoint.finish();
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("telegraph") && !ran.stderr.contains(TASK), "{}", ran.stderr);
    }
}
