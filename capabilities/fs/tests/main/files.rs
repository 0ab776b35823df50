//! What is read, and what is no file: F11 to F13, F15, F24, J11, J12.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::support::{Scene, is_root, read};

#[test]
fn a_file_is_read_in_parts_that_join_to_the_whole() {
    let scene = Scene::new();
    let text = "äöü€ ".repeat(1000);
    let path = scene.put("t", &text);
    let (mut joined, mut offset) = (String::new(), 0);
    loop {
        let part = scene.ok("fs.read", json!({"path": path, "offset": offset, "max_bytes": 4097}));
        assert_eq!((&part["content"]["encoding"], &part["size"]), (&json!("utf-8"), &json!(text.len())));
        joined.push_str(part["content"]["text"].as_str().unwrap());
        assert_eq!(part["content"]["truncated"], json!(part["next"].is_u64()));
        match part["next"].as_u64() {
            Some(next) => offset = next,
            None => break,
        }
    }
    assert_eq!(joined, text);
}

#[test]
fn the_smallest_part_always_brings_a_reader_forward() {
    let scene = Scene::new();
    let path = scene.put("t", "a😀b");
    let part = scene.ok("fs.read", json!({"path": path, "max_bytes": 4}));
    assert_eq!((&part["content"]["text"], &part["next"]), (&json!("a"), &json!(1)));
    let part = scene.ok("fs.read", json!({"path": path, "offset": 1, "max_bytes": 4}));
    assert_eq!((&part["content"]["text"], &part["next"]), (&json!("😀"), &json!(5)));
}

#[test]
fn bytes_that_are_no_text_come_as_base64() {
    let scene = Scene::new();
    let path = scene.put("b", [0xff, 0xfe, 0, 1]);
    let content = &scene.ok("fs.read", read(&path))["content"];
    assert_eq!(content, &json!({"text": "//4AAQ==", "encoding": "base64", "bytes": 4, "truncated": false}));
}

#[test]
fn an_offset_behind_the_end_gives_nothing() {
    let scene = Scene::new();
    let path = scene.put("t", "abc");
    for offset in [3, 4, 1 << 40, u64::MAX] {
        let part = scene.ok("fs.read", json!({"path": path, "offset": offset}));
        assert_eq!((&part["content"]["text"], part.get("next")), (&json!(""), None), "{offset}");
    }
}

#[test]
fn f11_a_file_with_another_name_outside_needs_confirmation_whatever_the_policy_allows() {
    let scene = Scene::new();
    let path = scene.at("hard");
    let inner = scene.put("d/x", "x");
    fs::hard_link(scene.outside("secret"), &path).unwrap();
    for (action, params) in [
        ("fs.read", json!({"path": path})),
        ("fs.write", json!({"path": path, "content": "x", "mode": "append"})),
        ("fs.write", json!({"path": path, "content": "x", "mode": "replace"})),
        ("fs.edit", json!({"path": path, "old": "outside", "new": "x"})),
        ("fs.edit", json!({"path": path, "old": "outside", "new": "x", "dry_run": true})),
        ("fs.search", json!({"path": path, "pattern": "outside"})),
        ("fs.copy", json!({"from": path, "to": scene.at("copy")})),
        ("fs.copy", json!({"from": inner, "to": path, "replace": true})),
        ("fs.move", json!({"from": path, "to": scene.at("moved")})),
        ("fs.remove", json!({"path": path})),
    ] {
        scene.refused(action, params, "confirmation_required");
    }
    scene.world.judge_covers_subtrees(true);
    let found = scene.ok("fs.search", json!({"path": scene.world.root(), "pattern": "outside"}));
    assert_eq!((&found["matches"], &found["left_out"]), (&json!([]), &json!(1)));
    let all = json!({"from": scene.world.root().join("d"), "to": scene.at("copy"), "recursive": true});
    fs::hard_link(scene.outside("secret"), scene.at("d/hard")).unwrap();
    scene.refused("fs.copy", all, "policy_denied");
    assert_eq!(scene.ok("fs.stat", read(&path))["links"], 3, "metadata is no content");
    scene.outside_is_untouched();
}

#[test]
fn f11_once_confirmed_it_is_read() {
    let scene = Scene::new();
    fs::hard_link(scene.outside("secret"), scene.at("hard")).unwrap();
    let answer = scene.world.send_confirmed("fs.read", read(&scene.at("hard")));
    assert_eq!(answer["results"][0]["output"]["content"]["text"], crate::support::SECRET, "{answer}");
}

#[test]
fn f12_f13_fifos_sockets_and_devices_are_refused_without_being_opened() {
    let scene = Scene::new();
    mknodat(CWD, scene.at("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = UnixListener::bind(scene.at("socket")).unwrap();
    let mut names = vec!["fifo", "socket"];
    if is_root() && mknodat(CWD, scene.at("zero"), FileType::CharacterDevice, Mode::RWXU, 0x105).is_ok() {
        names.push("zero");
    } else {
        println!("not run: devices, which need root");
    }
    for name in names {
        let path = scene.at(name);
        for (action, params) in [
            ("fs.read", json!({"path": path})),
            ("fs.write", json!({"path": path, "content": "x", "mode": "append"})),
            ("fs.write", json!({"path": path, "content": "x", "mode": "replace"})),
            ("fs.edit", json!({"path": path, "old": "a", "new": "b"})),
            ("fs.search", json!({"path": path, "pattern": "a"})),
            ("fs.copy", json!({"from": path, "to": scene.at("copy")})),
        ] {
            let start = Instant::now();
            scene.refused(action, params, "policy_denied");
            assert!(start.elapsed() < Duration::from_millis(500), "{action} {name}");
        }
        assert_eq!(scene.ok("fs.stat", read(&path))["type"], "other");
        assert_eq!(
            scene.world.send("fs.search", json!({"path": scene.world.root(), "glob": "*"}))["executed"],
            true
        );
    }
}

#[test]
fn f15_a_huge_sparse_file_costs_no_more_than_the_part_that_is_asked_for() {
    let scene = Scene::new();
    let path = scene.put("sparse", "");
    let file = fs::File::options().write(true).open(&path).unwrap();
    if file.set_len(1 << 40).is_err() {
        println!("not run: this file system holds no file of 1 TiB");
        return;
    }
    let part = scene.ok("fs.read", json!({"path": path, "max_bytes": 65536, "offset": 1u64 << 39}));
    assert_eq!(part["content"]["text"].as_str().unwrap().len(), 65536);
    assert_eq!((&part["content"]["truncated"], &part["size"]), (&json!(true), &json!(1u64 << 40)));
    scene.refused("fs.edit", json!({"path": path, "old": "a", "new": "b"}), "edit_failed");
    let found = scene.ok("fs.search", json!({"path": path, "pattern": "a"}));
    assert_eq!(found["skipped"], 1);
}

#[test]
fn j11_j12_lengths_are_integers_within_bounds() {
    let scene = Scene::new();
    let path = scene.put("t", "abc");
    for (number, code) in [
        ("1e400", "parse_failed"),
        ("-1", "parse_failed"),
        ("1.0", "parse_failed"),
        ("18446744073709551616", "parse_failed"),
        ("\"4\"", "parse_failed"),
        ("null", "parse_failed"),
        ("18446744073709551615", "validation_failed"),
        ("8388609", "validation_failed"),
        ("0", "validation_failed"),
    ] {
        let frame = format!(
            r#"{{"request_id":"r","version":"1","mode":"execute","actions":[{{"action":"fs.read","params":{{"path":"{path}","max_bytes":{number}}},"reason":"r"}}]}}"#
        );
        let answer = scene.world.send_frame(frame.as_bytes());
        assert_eq!(answer["error"]["code"], code, "{number}: {answer}");
        assert_eq!(answer["executed"], false);
    }
}

#[test]
fn f24_names_of_any_bytes_are_listed_escaped_and_lead_back_to_the_file() {
    let scene = Scene::new();
    let names: [&[u8]; 6] =
        [b"a\nb", b"\x1b[31mred", "\u{202e}txt.exe".as_bytes(), b"\xff\xfe", b"%41", b"q\"uote"];
    for name in names {
        fs::write(scene.world.root().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let listed = scene.ok("fs.list", json!({"path": scene.world.root()}));
    let paths: Vec<_> =
        listed["entries"].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
    assert_eq!(paths.len(), names.len());
    for path in paths {
        let content = scene.ok("fs.read", read(path))["content"].clone();
        let bytes = match content["encoding"].as_str() {
            Some("utf-8") => content["text"].as_str().unwrap().as_bytes().to_vec(),
            _ => base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                content["text"].as_str().unwrap(),
            )
            .unwrap(),
        };
        assert!(names.contains(&bytes.as_slice()), "{path} led to the wrong file");
    }
    let message = scene.refused("fs.read", read(&scene.at("\u{1b}[31m\n")), "not_found");
    assert!(message.bytes().all(|b| (b' '..=b'~').contains(&b)), "{message:?}");
}

#[test]
fn what_the_user_of_the_host_may_not_read_is_read_failed() {
    let scene = Scene::new();
    let path = scene.put("t", "abc");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if is_root() {
        println!("not run: root may read everything");
        return;
    }
    scene.refused("fs.read", read(&path), "read_failed");
}

#[test]
fn a_directory_is_not_read_and_a_file_not_listed() {
    let scene = Scene::new();
    let path = scene.put("d/x", "abc");
    let message = scene.refused("fs.read", read(&scene.at("d")), "read_failed");
    assert!(message.contains("fs.list"), "{message}");
    scene.refused("fs.list", read(&path), "read_failed");
    scene.refused("fs.read", read(&format!("{path}/y")), "read_failed");
}

#[test]
fn stat_tells_a_symlink_and_does_not_follow_it() {
    let scene = Scene::new();
    std::os::unix::fs::symlink(scene.outside("secret"), scene.at("link")).unwrap();
    let told = scene.ok("fs.stat", read(&scene.at("link")));
    assert_eq!(
        (&told["type"], &told["target"]["text"]),
        (&json!("symlink"), &json!(scene.outside("secret")))
    );
    let file = scene.put("t", "abc");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let told = scene.ok("fs.stat", read(&file));
    assert_eq!(
        (&told["type"], &told["bytes"], &told["permissions"]),
        (&json!("file"), &json!(3), &json!("640"))
    );
    scene.refused("fs.stat", read(&scene.at("nothing")), "not_found");
}

#[test]
fn a_name_that_looks_deleted_is_a_name_like_any_other() {
    let scene = Scene::new();
    let path = scene.put("x (deleted)", "here");
    assert_eq!(scene.ok("fs.read", read(&path))["content"]["text"], "here");
}
