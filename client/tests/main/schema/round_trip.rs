//! What the schema accepts a real host reads, and what a real host reads the schema accepts.
//!
//! Plans are only judged (`plan_only`). A host that refuses a plan for its form says `parse_failed`, or `validation_failed`
//! where a value is of the right type and not accepted; whatever else it says, it has read the plan.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use super::generate::values;
use super::golden::{ALL, WORKING};
use super::spoil::spoilt;
use crate::daemon::Daemon;

/// The fields to which rules apply that no schema tells: rules between fields, what is a pattern or a key, where the
/// screen is, and limits of a configuration. A value that the schema accepts may be refused there and nowhere else.
const BEYOND_SCHEMAS: [(&str, &[&str]); 5] = [
    (
        "exec",
        &[
            "argv",
            "data",
            "env",
            "max_bytes",
            "max_output_bytes",
            "screen",
            "stages",
            "timeout_ms",
            "wait_ms",
        ],
    ),
    ("fs", &["content", "content_base64", "glob", "next", "pattern", "permissions", "run"]),
    ("keyboard", &["keys", "text"]),
    (
        "monitor",
        &["height", "max_edge", "output", "quality", "quiet_ms", "region", "space", "target", "width"],
    ),
    ("mouse", &["dx", "dy", "modifiers", "path", "space", "x", "y"]),
];

struct Wire(RefCell<BufReader<UnixStream>>);

impl Wire {
    fn new(daemon: &Daemon) -> Self {
        Self(RefCell::new(BufReader::new(UnixStream::connect(daemon.path("plan/plan.sock")).unwrap())))
    }

    /// How the host answers: a code, or none, where, and why.
    fn ask(&self, frame: &str) -> (String, String, String) {
        let mut stream = self.0.borrow_mut();
        stream.get_mut().write_all(format!("{frame}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_line(&mut answer).unwrap();
        let answer: Value =
            serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer:?} to {frame}"));
        let said = |field: &str| answer["error"][field].as_str().unwrap_or_default().to_owned();
        (said("code"), said("path"), said("message"))
    }
}

fn plan(action: &str, params: &Value) -> Value {
    json!({"request_id": "r-1", "version": "1", "mode": "plan_only",
        "actions": [{"action": action, "params": params, "reason": "try it"}]})
}

/// Tests values that fit into a frame.
fn run(
    cases: u32,
    strategy: &proptest::strategy::BoxedStrategy<Value>,
    test: impl Fn(&Value) -> Result<(), String>,
) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let ran = runner.run(strategy, |value| {
        if value.to_string().len() > 60_000 {
            return Ok(());
        }
        test(&value).map_err(TestCaseError::fail)
    });
    ran.unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_schema_of_every_action_and_the_host_agree() {
    let daemon = Daemon::start(ALL, WORKING);
    let wire = Wire::new(&daemon);
    let told: Value = serde_json::from_str(&daemon.llmsh(&["describe"]).stdout).unwrap();
    for action in told["actions"].as_array().unwrap() {
        let name = action["action"].as_str().unwrap();
        let schema = jsonschema::validator_for(&action["params"]).unwrap();
        run(24, &values(&action["params"]), |params| {
            if !schema.is_valid(params) {
                return Err(format!("{name}: the generator is wrong about {params}"));
            }
            let (code, path, said) = wire.ask(&plan(name, params).to_string());
            let field = path.split("params.").nth(1).unwrap_or_default();
            let field = field.split(['.', '[']).next().unwrap_or_default();
            let is_beyond = BEYOND_SCHEMAS.iter().any(|(capability, fields)| {
                name.split('.').next() == Some(*capability) && fields.contains(&field)
            });
            match code.as_str() {
                "parse_failed" => Err(format!("{name}: the host refuses {params}: {path}: {said}")),
                "validation_failed" if !is_beyond => {
                    Err(format!("{name}: the host does not accept {params}: {path}: {said}"))
                }
                _ => Ok(()),
            }
        });
        run(48, &spoilt(values(&action["params"])), |params| {
            let (code, path, said) = wire.ask(&plan(name, params).to_string());
            let was_read = code != "parse_failed" && code != "validation_failed";
            match schema.is_valid(params) {
                true if code == "parse_failed" => {
                    Err(format!("{name}: the host refuses {params}: {path}: {said}"))
                }
                false if was_read => {
                    Err(format!("{name}: the schema refuses {params}, the host says {code:?}"))
                }
                _ => Ok(()),
            }
        });
    }
}

#[test]
fn the_schema_of_a_plan_and_the_host_agree() {
    let daemon = Daemon::start(ALL, WORKING);
    let wire = Wire::new(&daemon);
    let printed = daemon.llmsh(&["schema", "fs.stat", "exec.list", "mouse.up"]).stdout;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let schema = jsonschema::validator_for(&printed).unwrap();
    let judged = |plan: &Value| {
        let mut plan = plan.clone();
        if plan["mode"] == "execute" {
            plan["mode"] = json!("plan_only");
        }
        plan
    };
    run(100, &values(&printed), |plan| {
        let plan = judged(plan);
        let (code, path, said) = wire.ask(&plan.to_string());
        if code == "parse_failed" { Err(format!("the host refuses {plan}: {path}: {said}")) } else { Ok(()) }
    });
    run(300, &spoilt(values(&printed)), |plan| {
        let plan = judged(plan);
        let (code, path, said) = wire.ask(&plan.to_string());
        match schema.is_valid(&plan) {
            true if code == "parse_failed" => Err(format!("the host refuses {plan}: {path}: {said}")),
            false if !["parse_failed", "validation_failed", "unknown_action"].contains(&code.as_str()) => {
                Err(format!("the schema refuses {plan}, the host says {code:?}"))
            }
            _ => Ok(()),
        }
    });
}

#[test]
fn the_schema_of_a_path_says_how_it_may_be_spelled() {
    let daemon = Daemon::start(ALL, "");
    let wire = Wire::new(&daemon);
    let told: Value = serde_json::from_str(&daemon.llmsh(&["describe", "fs.stat"]).stdout).unwrap();
    let schema = jsonschema::validator_for(&told["actions"][0]["params"]).unwrap();
    for (path, is_accepted) in [
        ("/", true),
        ("/a b/\u{e9}\n", true),
        ("file:///a%FF", true),
        ("file://%2Fa", true),
        ("a", false),
        ("", false),
        ("/a\0", false),
        ("file://a", false),
        ("file:///%F", false),
        ("file:///%00", false),
    ] {
        let params = json!({"path": path});
        assert_eq!(schema.is_valid(&params), is_accepted, "{path:?}");
        let said = wire.ask(&plan("fs.stat", &params).to_string()).2;
        assert_eq!(!said.contains("is not an accepted path"), is_accepted, "{path:?}: {said}");
    }
}

#[test]
fn the_wire_refuses_null_whatever_a_strict_schema_says() {
    let daemon = Daemon::start(ALL, "");
    let wire = Wire::new(&daemon);
    let (code, _, said) = wire.ask(&plan("fs.read", &json!({"path": "/a", "offset": null})).to_string());
    assert_eq!(code, "parse_failed");
    assert!(said.contains("null is not accepted"), "{said}");
}

#[test]
fn how_an_integer_is_spelled_and_that_keys_are_unique_is_the_hosts_alone() {
    let daemon = Daemon::start(ALL, "");
    let wire = Wire::new(&daemon);
    let told: Value = serde_json::from_str(&daemon.llmsh(&["describe", "fs.read"]).stdout).unwrap();
    let schema = jsonschema::validator_for(&told["actions"][0]["params"]).unwrap();
    for params in
        [r#"{"path":"/a","offset":1.0}"#, r#"{"path":"/a","offset":1e0}"#, r#"{"path":"/a","path":"/a"}"#]
    {
        assert!(schema.is_valid(&serde_json::from_str(params).unwrap()), "{params}");
        let frame = plan("fs.read", &json!("PARAMS")).to_string().replace("\"PARAMS\"", params);
        assert_eq!(wire.ask(&frame).0, "parse_failed", "{params}");
    }
    let long = json!({"path": format!("/{}", "\u{20ac}/".repeat(1500))});
    assert!(schema.is_valid(&long));
    assert_eq!(wire.ask(&plan("fs.read", &long).to_string()).0, "validation_failed");
}
