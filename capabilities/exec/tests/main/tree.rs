//! The process tree of a program: where it lives, and that nothing survives it.

use std::io::Read;
use std::time::{Duration, Instant};

use llm_os_core::Profile;
use serde_json::json;

use crate::support::{Lifeline, dies_with_its_host, run_probe, stdout, world};

/// A deadline that a loaded machine reaches only after the probe has begun.
const SOON: u64 = 300;
/// How long after its deadline everything must be dead.
const DEAD: Duration = Duration::from_millis(500);

/// P11. Guard: the init closes all but the streams.
#[test]
fn a_program_has_three_descriptors() {
    let world = world();
    let _more = [std::fs::File::open("/").unwrap(), std::fs::File::open("/dev/null").unwrap()];
    // One that an exec would not close by itself.
    let _leaking = rustix::io::dup(&_more[0]).unwrap();
    assert_eq!(stdout(&run_probe(&world, &["fds"], json!({}))), "0\n1\n2\n");
}

#[test]
fn a_program_is_the_second_process_of_a_namespace_of_its_own() {
    let world = world();
    let result = run_probe(&world, &["self"], json!({}));
    let expected = "pid=2 ppid=1 own_session=1 no_new_privs=1 core=0 odd_signals=0 tty=0\n";
    assert_eq!(stdout(&result), expected);
}

#[test]
fn a_program_cannot_end_or_stop_its_init() {
    assert_eq!(stdout(&run_probe(&world(), &["kill-init"], json!({}))), "still here\n");
}

/// P01, P02. Guard: the deadline kills the init, and with it its namespace.
#[test]
fn a_program_that_ignores_every_signal_is_dead_at_its_deadline() {
    let world = world();
    let lifeline = Lifeline::new(&world, "alive");
    let watch = lifeline.watch();
    let started = Instant::now();
    let result = run_probe(&world, &["stubborn", lifeline.path()], json!({"timeout_ms": SOON}));
    assert_eq!(watch.join().unwrap(), b"r");
    let took = started.elapsed();
    assert!(took < Duration::from_millis(SOON) + DEAD, "{took:?}");
    assert_eq!((&result["status"], &result["error"]["code"]), (&json!("failed"), &json!("exec_timed_out")));
    assert_eq!(result["output"]["stdout"]["text"], "begun\n");
    assert_eq!((result["output"].get("exit_code"), result["output"].get("signal")), (None, None));
    world.matches_schema("exec.run", &result["output"]);
}

/// P03. Guard: the end of a PID namespace takes all that is in it.
#[test]
fn a_daemon_that_left_its_session_dies_at_the_deadline() {
    let world = world();
    let lifeline = Lifeline::new(&world, "alive");
    let watch = lifeline.watch();
    let result = run_probe(&world, &["daemon-and-wait", lifeline.path()], json!({"timeout_ms": SOON}));
    let answered = Instant::now();
    assert_eq!(watch.join().unwrap(), b"r");
    assert!(answered.elapsed() < DEAD);
    assert_eq!(result["error"]["code"], "exec_timed_out", "{result:#}");
}

/// P03, where the program ends by itself: nothing it left behind goes on. Guard: the init kills and reaps what is left
/// before it tells of the end.
#[test]
fn a_daemon_dies_with_the_program_that_left_it_behind() {
    let world = world();
    for n in 0..1_000 {
        let lifeline = Lifeline::new(&world, &format!("alive-{n}"));
        let watch = lifeline.watch();
        let result = run_probe(&world, &["daemon", lifeline.path()], json!({}));
        assert_eq!(result["output"]["exit_code"], 0, "{result:#}");
        assert_eq!(watch.join().unwrap(), b"r");
    }
}

/// P03. Guard: as above. The time is measured by `scripts/bench`; here it is only held to be none that a person would wait for.
#[test]
fn a_tree_of_a_thousand_processes_is_dead_soon_after_its_deadline() {
    let world = world();
    let lifeline = Lifeline::new(&world, "alive");
    let watch = lifeline.watch();
    let (started, timeout) = (Instant::now(), Duration::from_secs(2));
    let millis = u64::try_from(timeout.as_millis()).unwrap();
    let result = run_probe(&world, &["tree", lifeline.path()], json!({"timeout_ms": millis}));
    assert_eq!(watch.join().unwrap(), b"r");
    let took = started.elapsed() - timeout;
    eprintln!("1,000 processes were dead {took:?} after their deadline.");
    assert_eq!(result["output"]["stdout"]["text"], "all\n", "{result:#}");
    assert!(took < 8 * DEAD, "{took:?}");
}

/// P08. Guard: SIGKILL, which a stopped process cannot put off.
#[test]
fn a_program_that_stopped_itself_is_dead_at_its_deadline() {
    let world = world();
    let lifeline = Lifeline::new(&world, "alive");
    let watch = lifeline.watch();
    let result = run_probe(&world, &["stopped", lifeline.path()], json!({"timeout_ms": SOON}));
    assert_eq!(watch.join().unwrap(), b"r");
    assert_eq!(result["error"]["code"], "exec_timed_out", "{result:#}");
}

#[test]
fn a_plan_that_is_cancelled_kills_what_runs_for_it() {
    let world = world();
    let lifeline = Lifeline::new(&world, "alive");
    let (begun, when) = tokio::sync::oneshot::channel();
    let path = lifeline.path().to_owned();
    let watch = std::thread::spawn(move || {
        let mut fifo = std::fs::File::open(path).unwrap();
        fifo.read_exact(&mut [0]).unwrap();
        begun.send(()).unwrap();
        std::io::copy(&mut fifo, &mut std::io::sink()).unwrap();
    });
    let argv = ["/bin/dd", "if=/dev/zero", "bs=1", &format!("of={}", lifeline.path())];
    let answer = world.send_and_cancel("exec.run", json!({ "argv": argv }), async { when.await.unwrap() });
    watch.join().unwrap();
    assert_eq!(answer["results"][0]["error"]["code"], "cancelled", "{answer:#}");
    assert_eq!(answer["results"][0]["output"]["stdout"]["bytes"], 0, "{answer:#}");
}

/// Orphans are reaped while the program runs, and none is mistaken for the program.
#[test]
fn orphans_are_reaped() {
    assert_eq!(stdout(&run_probe(&world(), &["orphans"], json!({}))), "done\n");
}

/// P10. Guard: the init watches a pipe that the host holds.
#[test]
fn a_host_that_is_killed_takes_its_programs_along() {
    dies_with_its_host("tree::in_a_host_that_will_be_killed");
}

#[test]
#[ignore = "a part of a_host_that_is_killed_takes_its_programs_along, which kills it"]
fn in_a_host_that_will_be_killed() {
    let lifeline = std::env::var("LIFELINE").unwrap();
    let folder = std::path::Path::new(&lifeline).parent().unwrap().to_owned();
    let world = world();
    world.adds_to_reach(Profile { write: vec![folder], ..Profile::default() });
    run_probe(&world, &["stubborn", &lifeline], json!({}));
}
