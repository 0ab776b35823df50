//! What the tests share: the probe program, and questions to a world.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use llm_os_exec::Exec;
use llm_os_test_support::World;
use rustix::fs::{CWD, RenameFlags};
use serde_json::{Value, json};

/// The compiled probe; see `probe.c` for what it does.
pub(crate) fn probe() -> String {
    compiled("probe", include_str!("probe.c"))
}

/// Names the folder of the compiled programs for a test that runs as somebody who cannot compile any.
pub(crate) const PROGRAMS: &str = "LLM_OS_TEST_PROGRAMS";

/// Compiles a program of the tests, once.
pub(crate) fn compiled(name: &str, source: &str) -> String {
    let mut hash = DefaultHasher::new();
    source.hash(&mut hash);
    let folder = std::env::var_os(PROGRAMS).map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let wanted = folder.join(format!("exec-{name}-{:x}", hash.finish()));
    if !wanted.exists() {
        let own = folder.join(format!("exec-{name}-{}", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-x", "c", "-", "-o"]).arg(&own);
        let mut compiler = compiler.stdin(Stdio::piped()).spawn().unwrap();
        compiler.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
        assert!(compiler.wait().unwrap().success());
        // Another test may have been faster, and may be running the file that it made: that one stays.
        let _ = rustix::fs::renameat_with(CWD, &own, CWD, &wanted, RenameFlags::NOREPLACE);
        let _ = std::fs::remove_file(own);
    }
    wanted.canonicalize().unwrap().into_os_string().into_string().unwrap()
}

pub(crate) fn world() -> World {
    World::of::<Exec>()
}

/// Runs the probe, confirmed, and gives the result of the action.
pub(crate) fn run_probe(world: &World, args: &[&str], more: Value) -> Value {
    let answer = world.send_confirmed("exec.run", params(args, more));
    answer["results"][0].clone()
}

/// The params that run the probe.
pub(crate) fn params(args: &[&str], more: Value) -> Value {
    let probe = probe();
    let argv = [&[probe.as_str()], args].concat();
    let mut params = json!({ "argv": argv });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

/// What the policy would be asked about this command.
pub(crate) fn planned(world: &World, params: &Value) -> Value {
    let actions = json!([{"action": "exec.run", "params": params, "reason": "a test"}]);
    let plan = json!({"request_id": "t-1", "version": "1", "mode": "plan_only", "actions": actions});
    world.send_frame(plan.to_string().as_bytes())["results"][0].clone()
}

/// Why the effects of this command always ask, joined.
pub(crate) fn asks(world: &World, argv: &[&str]) -> String {
    let planned = planned(world, &json!({"argv": argv}));
    let effects = planned["effects"].as_array().unwrap_or_else(|| panic!("{planned:#}"));
    effects.iter().filter_map(|effect| effect["asks"].as_str()).collect::<Vec<_>>().join(" | ")
}

pub(crate) fn stdout(result: &Value) -> &str {
    assert_eq!(result["status"], "ok", "{result:#}");
    result["output"]["stdout"]["text"].as_str().unwrap()
}

/// A FIFO that tells when every process that holds it is dead.
pub(crate) struct Lifeline(PathBuf);

impl Lifeline {
    pub(crate) fn new(world: &World, name: &str) -> Self {
        let path = world.root().join(name);
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Opens it in a thread of its own, which gives back what the holders wrote once they are all dead.
    pub(crate) fn watch(&self) -> std::thread::JoinHandle<Vec<u8>> {
        let path = self.0.clone();
        std::thread::spawn(move || std::fs::read(path).unwrap())
    }
}

/// The arguments by which this test program runs just one of its tests in another process.
pub(crate) fn alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    command
}

/// Kills the host that a part of the tests is, once the program that it starts holds `LIFELINE` open: the program is gone soon.
#[track_caller]
pub(crate) fn dies_with_its_host(part: &str) {
    let world = world();
    let lifeline = Lifeline::new(&world, "alive");
    let mut host = alone(part).env("LIFELINE", lifeline.path()).spawn().unwrap();
    let mut fifo = File::open(lifeline.path()).unwrap();
    fifo.read_exact(&mut [0]).unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    let killed = Instant::now();
    assert_eq!(fifo.read(&mut [0]).unwrap(), 0, "the program is still there");
    assert!(killed.elapsed() < Duration::from_secs(1));
}
