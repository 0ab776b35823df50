//! Diffs, pictures, grants and signatures: what a host says beside a plan. The host is a script here.

use std::io::{BufRead, BufReader, Cursor, Write};

use std::sync::{Arc, Condvar, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use llm_os_core::request::{Request, canonical};
use llm_os_core::value::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::golden::check;
use super::*;
use crate::peer::{Peer, refused, told};

/// A host that holds one plan, until it is decided.
struct Script {
    peer: Peer,
    frames: Arc<Mutex<Vec<Value>>>,
}

impl Script {
    fn new(action: &Value, png: Vec<u8>, spoil: impl Fn(&mut Value)) -> Self {
        let plan = json!({"request_id": "r-1", "version": "1", "mode": "execute", "actions": [action]});
        let plan = Request::read(plan.to_string().as_bytes()).unwrap();
        let plan = canonical(plan.session.as_ref(), &plan.calls);
        let mut held = json!({
            "pending_id": "p-1", "request_id": "r-1", "session_id": null, "uid": 4242424, "age_s": 1, "expires_in_s": 3599,
            "actions": [action["action"]], "sha256": hex(&Sha256::digest(plan.as_bytes())), "plan": plan,
            "effects": [[{"verb": "change", "resource": {"kind": "Path", "id": "/w/a"}, "facts": {}}]],
            "policies": [[{"policy": "rest-asks", "reason": "everything else asks"}]], "profiles": [{}],
        });
        spoil(&mut held);
        let frames: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (seen, decided) = (frames.clone(), Arc::new((Mutex::new(false), Condvar::new())));
        let png = Arc::new(png);
        let peer = Peer::raw(move |stream, _| {
            let (held, seen, decided, png) = (held.clone(), seen.clone(), decided.clone(), png.clone());
            std::thread::spawn(move || {
                for frame in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
                    let frame: Value = serde_json::from_str(&frame).unwrap();
                    let (action, params) = (&frame["actions"][0]["action"], &frame["actions"][0]["params"]);
                    let (is_over, changed) = &*decided;
                    let line = match action.as_str().unwrap() {
                        "host.pending" if params["pending_id"].is_string() => told(&held),
                        "host.pending" => {
                            let mut over = is_over.lock().unwrap();
                            while params["after"] == json!(1) && !*over {
                                over = changed.wait(over).unwrap();
                            }
                            let pending = if *over { json!([]) } else { json!([held]) };
                            told(&json!({"pending": pending, "revision": if *over { 2 } else { 1 }}))
                        }
                        "host.evidence" => told(&json!({
                            "media_type": "image/png", "encoding": "base64", "data": STANDARD.encode(&*png),
                        })),
                        "host.approve" | "host.deny" => {
                            seen.lock().unwrap().push(params.clone());
                            *is_over.lock().unwrap() = true;
                            changed.notify_all();
                            let grant = json!({"grant_id": "g-1", "expires_in_s": 900, "permits": []});
                            let grant = if params["session"] == json!(true) { grant } else { Value::Null };
                            told(&json!({"token": "dG9rZW4", "expires_in_s": 120, "grant": grant}))
                        }
                        _ => refused("unknown_action"),
                    };
                    if (&stream).write_all(format!("{line}\n").as_bytes()).is_err() {
                        return;
                    }
                }
            });
        });
        Self { peer, frames }
    }

    fn open(&self, size: (u16, u16), variables: &[(&str, &str)], args: &[&str]) -> Tmux {
        open_with(size, &self.peer.socket(), variables, args)
    }

    fn decisions(&self) -> Vec<Value> {
        self.frames.lock().unwrap().clone()
    }
}

fn edit() -> Value {
    json!({"action": "fs.write", "params": {"path": "/w/a"}, "reason": "edit"})
}

fn click() -> Value {
    json!({"action": "mouse.click", "params": {"x": 200, "y": 100}, "reason": "press it"})
}

/// A picture of 400 by 200 pixels, blue on the left and white on the right.
fn png() -> Vec<u8> {
    let colour = |x| if x < 200 { image::Rgb([0_u8, 0, 255]) } else { image::Rgb([255, 255, 255]) };
    let pixels = image::RgbImage::from_fn(400, 200, |x, _| colour(x));
    let mut png = Vec::new();
    pixels.write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
    png
}

fn with_picture(png: &[u8]) -> impl Fn(&mut Value) + use<> {
    let picture = json!({"name": "picture", "media_type": "image/png", "bytes": png.len(),
        "sha256": hex(&Sha256::digest(png)), "point": [200, 100]});
    move |held| held["previews"] = json!([[picture]])
}

#[test]
fn golden_a_diff_of_a_thousand_lines_is_coloured_and_escaped() {
    let mut diff = "--- /w/a\n+++ /w/a\n@@ -1,500 +1,500 @@\n".to_owned();
    for number in 0..500 {
        diff += &format!("-old {number}\n+new {number}\u{1b}[2K\u{202e}\n");
    }
    let bytes = diff.len();
    let text = json!({"text": diff, "encoding": "utf-8", "bytes": bytes, "truncated": false});
    let script = Script::new(&edit(), Vec::new(), |held| {
        held["previews"] = json!([[{"name": "diff", "media_type": "text/x-diff", "text": text}]]);
    });
    let tmux = script.open((90, 30), &[], &[]);
    let first = tmux.until(|screen| !title(screen).is_empty());
    check("diff-first", &first, script.peer.dir.path());
    let coloured = tmux.coloured();
    assert!(coloured.contains("38;5;1m-old 1") && coloured.contains("38;5;2m+new 1"), "{coloured:?}");
    assert!(!coloured.contains('\u{202e}') && !coloured.contains("\u{1b}[2K"), "{coloured:?}");
    check("diff-last", &read_to_the_end(&tmux), script.peer.dir.path());
}

#[test]
fn golden_a_click_shows_the_picture_with_a_cross_at_its_point() {
    let png = png();
    let script = Script::new(&click(), png.clone(), with_picture(&png));
    let plain = script.open((90, 50), &[("NO_COLOR", "1")], &[]);
    let drawn = plain.until(|screen| screen.contains('X'));
    check("click", &drawn, script.peer.dir.path());
    let picture = |screen: &str| screen.lines().filter(|row| row.ends_with('@')).count();
    plain.press(&["z"]);
    let full = plain.until(|screen| screen.contains('X') && picture(screen) > picture(&drawn));
    check("click-full-size", &full, script.peer.dir.path());
    drop(plain);

    let exact = script.open((90, 50), &[], &[]);
    exact.until(|screen| screen.contains('\u{2580}'));
    let coloured = exact.coloured();
    assert!(coloured.contains("38;2;0;0;255") && coloured.contains("38;2;255;0;0"), "{coloured:?}");
    exact.press(&["s"]);
    exact.until_it_says("the picture is in p-1-action-1.png, with its cross");
    let saved = image::open(script.peer.dir.path().join("p-1-action-1.png")).unwrap().into_rgb8();
    assert_eq!((saved.get_pixel(210, 100).0, saved.get_pixel(200, 100).0), ([255, 0, 0], [255, 255, 255]));
    exact.press(&["s"]);
    exact.until_it_says("the picture was not saved: p-1-action-1.png");
    drop(exact);

    let few = script.open((90, 50), &[("COLORTERM", "")], &[]);
    few.until(|screen| screen.contains('\u{2580}'));
    assert!(few.coloured().contains("38;5;21"), "{:?}", few.coloured());
}

#[test]
fn a_picture_that_is_another_than_announced_is_not_drawn() {
    let script = Script::new(&click(), png(), with_picture(b"another"));
    let tmux = script.open((90, 50), &[], &[]);
    let screen = tmux.until_it_says("SHA-256 is another than the host announced");
    assert!(!screen.contains('\u{2580}'), "{screen}");
}

#[test]
fn golden_the_same_again_is_granted_by_its_own_word_after_its_sentences() {
    let script = Script::new(&edit(), Vec::new(), |held| {
        held["grantable"] = json!(true);
        held["grant"] = json!(["fs.write below /w, as long as the content is under 1 KiB\u{1b}[2K"]);
    });
    let tmux = script.open((150, 30), &[], &[]);
    read_to_the_end(&tmux);
    check("session", &ask(&tmux, "A"), script.peer.dir.path());
    answer(&tmux, "session");
    let screen = tmux.until_it_says("llmsh revoke g-1");
    assert!(screen.contains("the same again for 900 s"), "{screen}");
    assert_eq!(script.decisions()[0]["session"], json!(true));

    let script = Script::new(&edit(), Vec::new(), |held| held["not_grantable"] = json!("it destroys"));
    let tmux = script.open((90, 30), &[], &[]);
    read_to_the_end(&tmux);
    tmux.press(&["A"]);
    tmux.until_it_says("not for the session: it destroys");
    assert!(script.decisions().is_empty());
}

#[test]
fn golden_where_approvals_are_signed_nothing_is_approved_without_a_key() {
    let signed = |held: &mut Value| {
        held["signature"] = json!({"namespace": "llm-os", "once": "statement", "session": "statement 2"});
    };
    let script = Script::new(&edit(), Vec::new(), signed);
    let tmux = script.open((90, 30), &[], &[]);
    read_to_the_end(&tmux);
    tmux.press(&["a"]);
    check("signature", &tmux.until_it_says("--sign-with KEY"), script.peer.dir.path());
    drop(tmux);

    // A text that is not the statement of the plan on the screen is not signed, nor even asked about.
    let tmux = script.open((90, 30), &[], &["--sign-with", "/nonexistent/key"]);
    read_to_the_end(&tmux);
    tmux.press(&["a"]);
    tmux.until_it_says("not approved: what is to be signed is no statement of an approval");
    assert!(script.decisions().is_empty());
}
