//! What the host says beside a plan, on the screen: diffs, pictures, grants and signatures, all of a real host.

use std::fs;
use std::process::Command;

use super::*;

/// Looking is allowed, so that a picture can be taken; the rest asks.
const LOOKS: &str = "permit (principal, action in Action::\"observe\", resource);\n\
                     permit (principal, action, resource) when { context.confirmed };";

#[test]
fn the_diff_of_a_write_is_that_of_the_file() {
    let daemon = host();
    fs::write(daemon.path("w/note.txt"), "one\ntwo\nthree\n").unwrap();
    let mut write = write(&daemon.path("w/note.txt"), "one\n2\nthree\n");
    write["params"]["mode"] = json!("replace");
    hold(&daemon, &plan("r-1", &[write]));
    let tmux = open(&daemon, (110, 50));
    let screen = read_to_the_end(&tmux);
    assert!(screen.contains("-two") && screen.contains("+2") && screen.contains(" three"), "{screen}");
}

#[test]
fn a_click_is_shown_on_the_picture_that_the_session_took() {
    let config = "[display]\nvirtual = \"640x400\"\n[audit]\nevidence = true";
    let daemon = Daemon::start(LOOKS, config);
    let capture = plan("r-1", &[json!({"action": "monitor.capture", "params": {}, "reason": "look"})]);
    let file = daemon.path("capture.json");
    fs::write(&file, capture.to_string()).unwrap();
    let ran = daemon.llmsh(&["send", file.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let click = json!({"action": "mouse.click", "params": {"x": 320, "y": 100}, "reason": "press it"});
    hold(&daemon, &plan("r-2", &[click]));
    let tmux = open(&daemon, (110, 60));
    tmux.until_it_says("\u{2580}");
    let screen = read_to_the_end(&tmux);
    assert!(screen.contains("the point is 320,100"), "{screen}");
    tmux.press(&["s"]);
    tmux.until_it_says(".png");
    let saved = fs::read_dir(daemon.path("")).unwrap().flatten().map(|entry| entry.path());
    let saved = saved.filter(|path| path.extension().is_some_and(|e| e == "png")).collect::<Vec<_>>();
    let [saved] = &saved[..] else { panic!("{saved:?}") };
    let picture = image::open(saved).unwrap().to_rgb8();
    assert_eq!(picture.dimensions(), (640, 400));
    let background = picture.get_pixel(500, 300);
    let drawn = |at: [u32; 2]| picture.get_pixel(at[0], at[1]) != background;
    assert!((280..360).any(|x| drawn([x, 100])) && (60..140).any(|y| drawn([320, y])), "the cross is in it");
}

#[test]
fn a_session_is_granted_the_same_again_from_the_screen() {
    let daemon = host();
    hold(&daemon, &plan("r-1", &[run(&["/usr/bin/touch", "/nowhere"], "mark it")]));
    let tmux = open(&daemon, (110, 50));
    read_to_the_end(&tmux);
    let asked = ask(&tmux, "A");
    assert!(asked.contains("again exactly: exec.run"), "{asked}");
    answer(&tmux, "session");
    tmux.until_it_says("was approved");
    let grants: Value = serde_json::from_str(&daemon.llmsh(&["grants"]).stdout).unwrap();
    assert_eq!(grants["grants"][0]["session_id"], "s-1", "{grants}");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "ssh-keygen makes a real key")]
fn an_approval_on_the_screen_is_signed_by_a_real_key() {
    let place = tempfile::tempdir().unwrap();
    let key = place.path().join("ann");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let public = fs::read_to_string(key.with_extension("pub")).unwrap();
    let approvers = place.path().join("approvers");
    fs::write(&approvers, format!("ann@example.org {public}")).unwrap();
    let config = format!("[confirmation]\napprovers = \"{}\"", approvers.display());
    let daemon = Daemon::start(ASKS, &config);
    hold(&daemon, &plan("r-1", &[run(&["/usr/bin/touch", "/nowhere"], "mark it")]));
    let socket = daemon.path("approval/approval.sock");
    let args = ["--sign-with", key.to_str().unwrap()];
    let tmux = open_with((110, 50), &socket, &[("PATH", "/usr/bin:/bin")], &args);
    read_to_the_end(&tmux);
    ask(&tmux, "a");
    answer(&tmux, "yes");
    tmux.until_it_says("was approved");
    let records = daemon.records();
    let approved = records.iter().find(|record| record["event"] == "approved").unwrap();
    assert_eq!(approved["data"]["signature"]["principals"], json!(["ann@example.org"]), "{approved}");
}
