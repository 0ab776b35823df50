//! What a program may use, and what is told where it wanted more.

use llm_os_exec::Exec;
use llm_os_test_support::World;
use serde_json::{Value, json};

use crate::support::{run_probe, stdout};

fn limited(sandbox: Value) -> World {
    World::configured::<Exec>(json!({ "sandbox": sandbox }), &[])
}

/// The first number of a line that the probe wrote, and the word after it.
fn counted(result: &Value) -> (u64, &str) {
    let (number, word) = stdout(result).trim().split_once(' ').unwrap();
    (number.parse().unwrap(), word)
}

/// P04. Guard: `pid_max` of the PID namespace, `RLIMIT_NPROC` in a user namespace.
#[test]
fn a_fork_bomb_ends_at_the_number_of_processes() {
    let world = limited(json!({"processes": 400}));
    let result = run_probe(&world, &["forks", "10000"], json!({}));
    let (made, error) = counted(&result);
    assert!((100..400).contains(&made), "{result:#}");
    assert_eq!(error, "EAGAIN");
}

/// P07. Guard: `RLIMIT_DATA`.
#[test]
fn memory_ends_at_its_limit() {
    let result =
        run_probe(&limited(json!({"memory_bytes": 128 << 20})), &["memory", "8589934592"], json!({}));
    let (had, error) = counted(&result);
    assert!((64 << 20..=128 << 20).contains(&had), "{result:#}");
    assert_eq!(error, "ENOMEM");
}

/// P07. Guard: `RLIMIT_NOFILE`.
#[test]
fn open_files_end_at_their_limit() {
    let result = run_probe(&limited(json!({"open_files": 300})), &["files", "100000"], json!({}));
    assert_eq!(counted(&result), (297, "EMFILE"));
}

/// P07. Guard: `RLIMIT_FSIZE`.
#[test]
fn a_file_that_is_too_long_is_a_typed_error() {
    let world = limited(json!({"file_bytes": 1 << 20}));
    let result = run_probe(&world, &["long-file", "8589934592"], json!({}));
    assert_eq!(result["error"]["code"], "exec_limit_exceeded", "{result:#}");
    assert!(result["error"]["message"].as_str().unwrap().contains("file_bytes"), "{result:#}");
    assert_eq!(result["output"]["signal"]["name"], "SIGXFSZ");
    assert_eq!(result["output"]["stdout"]["text"], "begun\n", "what it wrote before is not lost");
}

/// P07. Guard: `RLIMIT_CPU`.
#[test]
fn a_program_that_spins_is_a_typed_error() {
    let result = run_probe(&limited(json!({"cpu_s": 1})), &["spin"], json!({}));
    assert_eq!(result["error"]["code"], "exec_limit_exceeded", "{result:#}");
    assert!(result["error"]["message"].as_str().unwrap().contains("cpu_s"), "{result:#}");
    assert_eq!(result["output"]["signal"]["name"], "SIGXCPU");
}

#[test]
#[should_panic(expected = "capabilities.exec.sandbox.processes: found 300, expected at least 301")]
fn a_limit_below_what_the_kernel_takes_is_refused() {
    limited(json!({"processes": 300}));
}
