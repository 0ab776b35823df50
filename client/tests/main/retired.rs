//! A log whose oldest segments a real host removed, as `audit.retention` told it to.

use std::fs;
use std::path::PathBuf;

use llm_os_core::audit::segment_name;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::peer::Ran;

/// Every closed segment is older.
const KEEPS_NOTHING: &str = "[audit]\nsegment_bytes = 65536\nretention = \"1ns\"";
/// With as many actions the records of one plan fill a segment.
const ACTIONS: usize = 24;

/// A host that ran two plans, of which its log has the second alone, and the receipts of both.
struct Retired {
    daemon: Daemon,
    receipts: [String; 2],
}

impl Retired {
    fn new() -> Self {
        let daemon =
            Daemon::start("permit (principal, action in Action::\"observe\", resource);", KEEPS_NOTHING);
        let receipts = ["r-gone", "r-kept"].map(|request| look(&daemon, request));
        assert!(!daemon.path("state/audit").join(segment_name(1)).exists());
        Self { daemon, receipts }
    }

    fn log(&self) -> PathBuf {
        self.daemon.path("state/audit")
    }

    fn audit(&self, command: &str, more: &[&str]) -> Ran {
        self.daemon.llmsh(&[&["audit", command, self.log().to_str().unwrap()], more].concat())
    }

    fn verify(&self, more: &[&str]) -> (i32, Value, String) {
        let ran = self.audit("verify", more);
        (ran.code, serde_json::from_str(&ran.stdout).unwrap(), ran.stderr)
    }
}

/// Has the host look at a directory, with much to say about why, and gives the receipt.
fn look(daemon: &Daemon, request: &str) -> String {
    let params = json!({"path": daemon.path("r")});
    let action = json!({"action": "fs.list", "params": params, "reason": "look ".repeat(400)});
    let actions = vec![action; ACTIONS];
    let plan = json!({"request_id": request, "session_id": "s-1", "version": "1", "mode": "execute", "actions": actions});
    let file = daemon.path("plan.json");
    fs::write(&file, plan.to_string()).unwrap();
    let ran = daemon.llmsh(&["send", file.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    answer["meta"]["receipt"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_a_host_left_of_its_log_verifies_and_it_is_said_how_many_records_were_removed() {
    let log = Retired::new();
    let (code, report, said) = log.verify(&[]);
    assert_eq!((code, &report["verifies"], &report["segments"]), (0, &json!(true), &json!(1)), "{report}");
    let retired = report["retired"].as_u64().unwrap();
    assert!(retired > ACTIONS as u64, "{report}");
    assert!(said.contains(&format!("the first {retired} records were removed by the host")), "{said}");
    let shown = lines(&log.audit("show", &[]));
    assert_eq!(shown[0]["seq"], json!(retired + 1), "{}", shown[0]);
    assert_eq!(json!(shown.len()), report["records"]);
}

#[test]
fn a_receipt_of_what_was_retired_is_not_said_to_be_a_cut_end_alone() {
    let log = Retired::new();
    let [gone, kept] = &log.receipts;
    let (code, report, _) = log.verify(&["--expect", kept]);
    let records = lines(&log.audit("show", &["--request", "r-kept"]));
    assert_eq!((code, &report["receipt_seq"]), (0, &records.last().unwrap()["seq"]), "{report}");
    let (code, report, said) = log.verify(&["--expect", gone]);
    assert_eq!((code, &report["problem"]), (1, &json!("no_receipt")), "{report}");
    assert!(report["message"].as_str().unwrap().contains("were retired"), "{report}");
    assert!(said.contains("were retired"), "{said}");
}

#[test]
fn what_a_host_left_of_its_log_is_shown_and_reported_and_what_it_removed_is_not() {
    let log = Retired::new();
    let shown = log.audit("show", &[]);
    let file = fs::read_dir(log.log()).unwrap().map(|entry| entry.unwrap().path());
    let [file] = &file.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect::<Vec<_>>()[..]
    else {
        panic!("more than one segment")
    };
    // What a host is about to fill is zeros.
    let written = fs::read_to_string(file).unwrap();
    assert_eq!((shown.code, shown.stdout.as_str()), (0, written.trim_end_matches('\0')));
    let about = |request: &str| lines(&log.audit("show", &["--request", request])).len();
    assert!(about("r-gone") == 0 && about("r-kept") > ACTIONS);
    let newest = lines(&log.audit("tail", &["-n", "1"]));
    assert_eq!(newest[0]["seq"], lines(&shown).last().unwrap()["seq"]);

    let page = log.daemon.path("page.html");
    let ran = log.audit("report", &["-o", page.to_str().unwrap()]);
    let html = fs::read_to_string(&page).unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(html.contains("log verifies") && !html.contains("does not verify"), "{html}");
    assert!(html.contains("r-kept") && !html.contains("r-gone"), "{html}");
}

/// A06: the host says which records it removed; what somebody else removes as well is missing.
#[test]
fn one_record_more_than_the_host_removed_is_reported_as_missing() {
    let log = Retired::new();
    let retired = log.verify(&[]).1["retired"].as_u64().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let audit = copy.path().join("audit");
    fs::create_dir(&audit).unwrap();
    fs::copy(log.daemon.path("state/audit.pub"), copy.path().join("audit.pub")).unwrap();
    let shown = log.audit("show", &[]).stdout;
    fs::write(audit.join(segment_name(2)), shown.split_once('\n').unwrap().1).unwrap();
    let ran = log.daemon.llmsh(&["audit", "verify", audit.to_str().unwrap()]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["problem"]), (1, &json!("gap")), "{report}");
    assert_eq!((&report["seq"], &report["missing_to"]), (&json!(1), &json!(retired + 1)), "{report}");
    let page = copy.path().join("page.html");
    let ran = log.daemon.llmsh(&["audit", "report", audit.to_str().unwrap(), "-o", page.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(fs::read_to_string(&page).unwrap().contains("does not verify"));
}
