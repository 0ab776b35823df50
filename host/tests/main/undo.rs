//! `fs.undo` through the daemon: configured, judged, confirmed, recorded, and there again after a restart.

use std::fs;

use serde_json::{Value, json};

use crate::client::{act, code, confirmed, plan, read, with, write};
use crate::daemon::Place;
use crate::records::of;

fn with_undo() -> Place {
    Place::new().tables("[capabilities.fs]\nundo = true\nundo_quota = 1_048_576")
}

fn run_of(answer: &Value) -> String {
    assert_eq!(code(answer), "", "{answer:#}");
    answer["meta"]["run"].as_str().unwrap().to_owned()
}

fn undo(id: &str, run: &str) -> Value {
    plan(id, &[act("fs.undo", json!({"run": run}))])
}

#[test]
fn a_run_is_undone_as_the_policy_says_and_all_of_it_is_recorded() {
    let daemon = with_undo().start();
    let (file, new) = (daemon.path("w/file"), daemon.path("w/new"));
    fs::write(&file, "before").unwrap();
    let replace =
        |content: &str| act("fs.write", json!({"path": file, "content": content, "mode": "replace"}));
    let replaced = run_of(&daemon.ask(&plan("replace", &[replace("after")])));
    let created = run_of(&daemon.ask(&plan("create", &[write(&new, "new"), replace("last")])));
    let early = daemon.ask(&undo("early", &replaced));
    assert_eq!(code(&early), "undo_conflict", "a later run changed it: {early:#}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "last");
    let other = daemon.ask(&with(undo("other", &created), json!({"session_id": "another"})));
    assert_eq!(code(&other), "not_found", "the run of another session: {other:#}");

    let daemon = daemon.stop().start();
    // To remove what was created asks a human, as fs.remove does; to replace what was replaced does not, as fs.write does not.
    let frame = undo("undo", &created);
    let token = daemon.token_for(&frame);
    let undone = daemon.ask(&confirmed(&frame, &token));
    assert_eq!(undone["results"][0]["output"]["restored"], json!([file, new]), "{undone:#}");
    assert!(!new.exists());
    assert_eq!(fs::read_to_string(&file).unwrap(), "after");
    let redo = run_of(&daemon.ask(&undo("first", &replaced)));
    assert_eq!(fs::read_to_string(&file).unwrap(), "before");
    run_of(&daemon.ask(&undo("redo", &redo)));
    assert_eq!(fs::read_to_string(&file).unwrap(), "after");

    let records = daemon.stop().records();
    let intent = of(&records, "intent", Some("undo"))[0];
    assert_eq!(intent["what"]["action"], "fs.undo", "{intent:#}");
    assert_eq!(intent["what"]["params"]["run"], created);
    let effects = intent["what"]["effects"].as_array().unwrap();
    let effects: Vec<_> = effects.iter().map(|effect| [&effect["verb"], &effect["resource"]["id"]]).collect();
    assert_eq!(effects, [["change", file.to_str().unwrap()], ["destroy", new.to_str().unwrap()]]);
    assert_eq!(of(&records, "outcome", Some("early"))[0]["outcome"]["code"], "undo_conflict");
}

#[test]
fn no_plan_reaches_what_is_kept() {
    let place = with_undo();
    let whole = format!("[[roots]]\npath = \"{}\"\nmode = \"write\"", place.path("").display());
    let daemon = place.tables(&whole).start();
    fs::write(daemon.path("w/file"), "before").unwrap();
    let remove = plan("remove", &[act("fs.remove", json!({"path": daemon.path("w/file")}))]);
    let token = daemon.token_for(&remove);
    run_of(&daemon.ask(&confirmed(&remove, &token)));
    let contents = daemon.state().join("fs/undo/contents");
    let kept = fs::read_dir(contents).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(&kept).unwrap(), "before");
    assert_eq!(code(&daemon.ask(&plan("look", &[read(&kept)]))), "policy_denied");
    daemon.stop();
}

#[test]
fn a_host_that_cannot_keep_what_is_replaced_does_not_start() {
    let place = with_undo();
    fs::create_dir(place.state()).unwrap();
    fs::write(place.state().join("fs"), "in the way").unwrap();
    let said = place.start_refused();
    assert!(said.contains("undo"), "{said}");
}
