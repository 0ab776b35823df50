//! Class S: who may connect, how many, how slowly.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::client::{Client, act, code, plan, run};
use crate::daemon::{Daemon, Place, ping};
use crate::process::{descriptors, ticks, wait_for};
use crate::records::of;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// S05
#[test]
fn with_the_hosts_own_user_alone_nobody_else_reaches_the_sockets() {
    let daemon = Daemon::start();
    for socket in [daemon.plan_socket(), daemon.approval_socket()] {
        assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    }
    daemon.stop();
}

/// S01
#[test]
fn a_user_who_may_not_send_plans_is_refused_before_a_byte_is_read() {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let place =
        Place::new().keys(&format!("plan_uids = [{}]\napprover_uids = [{uid}]\nsocket_gid = {gid}", uid + 1));
    let daemon = place.start();
    let mut client = daemon.connect();
    let answer = client.answer();
    assert_eq!(code(&answer), "policy_denied", "{answer:#}");
    assert_eq!(answer["request_id"], Value::Null);
    assert!(client.is_closed());
    let refused = wait_for("the record", || {
        let records = daemon.records();
        of(&records, "refused", None).first().map(|record| (*record).clone())
    });
    assert_eq!(refused["who"]["uid"], uid, "{refused:#}");
    daemon.kill9();
}

/// S01, S05: several users on one host.
#[test]
fn listed_users_of_the_group_are_served_as_themselves_and_others_are_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: acting as other users needs root");
        return;
    }
    const GROUP: u32 = 54_321;
    const LISTED: u32 = 54_322;
    const OTHER: u32 = 54_323;
    let keys = format!("plan_uids = [0, {LISTED}]\nsocket_gid = {GROUP}");
    let daemon = Place::new().keys(&keys).start();
    let socket = daemon.plan_socket();
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o660, 0o750));
    assert_eq!(fs::metadata(&socket).unwrap().gid(), GROUP);
    let frame = plan("as", &[run(&["/bin/echo", "hi"])]);
    let answer = as_user(LISTED, GROUP, || Client::connect(&socket).ask(&frame)).unwrap();
    assert_eq!(code(&answer), "", "{answer:#}");
    let refused = as_user(OTHER, GROUP, || Client::connect(&socket).answer()).unwrap();
    assert_eq!(code(&refused), "policy_denied", "{refused:#}");
    let approval = daemon.approval_socket();
    let refused = as_user(LISTED, GROUP, || Client::connect(&approval).answer()).unwrap();
    assert_eq!(code(&refused), "policy_denied", "who sends does not approve: {refused:#}");
    let outside = as_user(LISTED, OTHER, || Client::try_connect(&socket).err().map(|e| e.kind())).unwrap();
    assert_eq!(outside, Some(std::io::ErrorKind::PermissionDenied));
    let records = daemon.stop().records();
    assert_eq!(of(&records, "intent", Some("as"))[0]["who"]["uid"], LISTED);
    let users: Vec<_> =
        of(&records, "refused", None).iter().map(|record| record["who"]["uid"].clone()).collect();
    assert_eq!(users, [OTHER, LISTED]);
}

/// Credentials are a thread's own on Linux (credentials(7)); the thread ends with them.
fn as_user<T: Send>(uid: u32, gid: u32, act: impl FnOnce() -> T + Send) -> std::thread::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_gid(rustix::process::Gid::from_raw(gid)).unwrap();
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(uid)).unwrap();
            act()
        });
        thread.join()
    })
}

/// S06
#[test]
fn idle_connections_take_no_more_than_their_places() {
    let daemon = Place::new().tables("[limits]\nconnections = 4").start();
    let mut honest = daemon.connect();
    assert_eq!(honest.ask(&ping())["executed"], true);
    let idle: Vec<_> = (0..3).map(|_| daemon.connect()).collect();
    for _ in 0..40 {
        let mut more = daemon.connect();
        assert_eq!(code(&more.answer()), "busy");
        assert!(more.is_closed());
    }
    assert_eq!(honest.ask(&ping())["executed"], true, "who is in stays in");
    assert_eq!(
        daemon.ask_approver("host.ping", json!({}))["host"],
        "llm-osd",
        "the human has places of his own"
    );
    drop((idle, honest));
    wait_for("a place", || (code(&served(&daemon)) != "busy").then_some(()));
    daemon.stop();
}

/// An answer to a ping, or the refusal of the connection.
fn served(daemon: &Daemon) -> Value {
    let mut client = daemon.connect();
    let _ = client.try_send_bytes(format!("{}\n", ping()).as_bytes());
    client.answer()
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let daemon = Place::new().tables("[limits]\nidle_s = 1").start();
    let mut client = daemon.connect();
    assert_eq!(client.ask(&ping())["executed"], true);
    assert!(client.is_closed());
    daemon.stop();
}

/// S07
#[test]
fn clients_that_send_a_byte_now_and_then_are_closed_at_the_frames_deadline() {
    let daemon = Place::new().tables("[limits]\nframe_ms = 500\nconnections = 100").start();
    let mut honest = daemon.connect();
    let start = Instant::now();
    let mut slow: Vec<_> = (0..50).map(|_| daemon.connect()).collect();
    let mut closed_after = None;
    while closed_after.is_none() {
        // A byte from each, again and again: none of them ends the frame.
        let open = slow.iter_mut().filter_map(|client| client.try_send_bytes(b" ").ok()).count();
        assert_eq!(honest.ask(&ping())["executed"], true);
        closed_after = (open == 0).then(|| start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(10), "{open} are still open");
    }
    for client in &mut slow {
        assert_eq!(code(&client.answer()), "deadline_exceeded");
        assert!(client.is_closed());
    }
    drop((slow, honest));
    daemon.stop();
}

/// S08
#[test]
fn a_full_table_of_descriptors_is_waited_out() {
    let daemon = Place::new().tables("[limits]\nconnections = 10000").start();
    let used = descriptors(daemon.pid()).len() as u64;
    limit_descriptors(&daemon, used + 20);
    let crowd: Vec<_> = (0..200).filter_map(|_| Client::try_connect(&daemon.plan_socket()).ok()).collect();
    wait_for("the table to be full", || daemon.said().contains("could not accept").then_some(()));
    drop(crowd);
    let start = Instant::now();
    wait_for("an answer", || {
        let mut client = Client::try_connect(&daemon.plan_socket()).ok()?;
        client.try_send_bytes(format!("{}\n", ping()).as_bytes()).ok()?;
        client.line()
    });
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    limit_descriptors(&daemon, 4096);
    daemon.stop();
}

/// S08: who waits to be accepted keeps the listener ready, and the host must not spin on it.
#[test]
fn a_connection_that_cannot_be_accepted_costs_no_processor_time() {
    let daemon = Daemon::start();
    limit_descriptors(&daemon, 3);
    let mut waiting = daemon.connect();
    wait_for("the failure", || daemon.said().contains("could not accept").then_some(()));
    let (before, start) = (ticks(daemon.pid()), Instant::now());
    wait_for("half a second to pass", || (start.elapsed() > Duration::from_millis(500)).then_some(()));
    let used = ticks(daemon.pid()) - before;
    assert!(used < 10, "{used} ticks of 10 ms in half a second");
    limit_descriptors(&daemon, 4096);
    assert_eq!(waiting.ask(&ping())["executed"], true, "it is served as soon as it can be");
    drop(waiting);
    daemon.stop();
}

fn limit_descriptors(daemon: &Daemon, current: u64) {
    let limit = Rlimit { current: Some(current), maximum: Some(4096) };
    prlimit(Pid::from_raw(daemon.pid().cast_signed()), Resource::Nofile, limit).unwrap();
}

/// S09
#[test]
fn an_answer_that_nobody_reads_holds_its_connection_only_so_long() {
    let daemon = Place::new().tables("[limits]\nwrite_ms = 300").start();
    fs::write(daemon.path("r/large"), vec![b'x'; 8 << 20]).unwrap();
    let mut lazy = daemon.connect();
    lazy.send(&plan(
        "lazy",
        &[act("fs.read", json!({"path": daemon.path("r/large"), "max_bytes": 8 << 20}))],
    ));
    daemon.recorded("outcome", "lazy");
    assert_eq!(daemon.ask(&ping())["executed"], true);
    wait_for("the host to give up", || daemon.said().contains("does not read its answer").then_some(()));
    daemon.wait_until_quiet();
    let got = lazy.drain();
    assert!(got < 8 << 20, "{got}");
    daemon.stop();
}

/// S09: the same answer, read.
#[test]
fn a_large_answer_arrives_whole() {
    let daemon = Daemon::start();
    fs::write(daemon.path("r/large"), vec![b'x'; 8 << 20]).unwrap();
    let answer = daemon.ask(&plan(
        "large",
        &[act("fs.read", json!({"path": daemon.path("r/large"), "max_bytes": 8 << 20}))],
    ));
    assert_eq!(answer["results"][0]["output"]["content"]["text"].as_str().map(str::len), Some(8 << 20));
    daemon.stop();
}

#[test]
fn results_beyond_the_answers_limit_are_left_out_and_said_so() {
    let daemon = Place::new().tables("[limits]\nresponse_bytes = 65536").start();
    fs::write(daemon.path("r/large"), vec![b'x'; 100_000]).unwrap();
    let read = act("fs.read", json!({"path": daemon.path("r/large"), "max_bytes": 100_000}));
    let answer = daemon.ask(&plan("large", &[read]));
    assert_eq!(code(&answer), "response_too_large", "{answer:#}");
    assert_eq!(answer["results"][0].get("output"), None);
    daemon.stop();
}

/// S02: who asks is in the record as the kernel told it.
#[test]
fn the_record_names_the_process_that_asked() {
    let daemon = Daemon::start();
    daemon.ask(&plan("who", &[run(&["/bin/true"])]));
    let who = daemon.recorded("intent", "who")[0]["who"].clone();
    assert_eq!(who["pid"], std::process::id());
    assert_eq!(who["uid"], rustix::process::geteuid().as_raw());
    assert_eq!(who["exe"], std::env::current_exe().unwrap().to_str().unwrap());
    daemon.stop();
}
