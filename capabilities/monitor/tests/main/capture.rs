//! What comes with a picture: its record, its file, its memory, and its differences to a later one.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use llm_os_desktop_test_support::TestDisplay;
use serde_json::{Value, json};

use crate::support::{area, bytes, configured, decode, gradient, output, region, world};

#[test]
fn the_digest_of_every_picture_is_in_the_record() {
    let display = TestDisplay::bare();
    let _picture = display.picture(area(0, 0, 1280, 800), gradient);
    let world = world(&display);
    for (action, params) in [
        ("monitor.capture", json!({"max_edge": 200})),
        ("monitor.zoom", json!({"region": region(area(0, 0, 10, 10))})),
    ] {
        let digest = output(&world, action, params)["picture"]["sha256"].clone();
        let records = world.records();
        let outcome = records.iter().rfind(|record| record["event"] == "outcome").expect("an outcome");
        assert!(outcome.to_string().contains(digest.as_str().expect("a digest")), "{outcome:#}");
        assert_eq!(find(outcome, "picture_sha256"), Some(&digest));
    }
}

/// The value of a key, at whatever depth.
fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let found = value.get(key);
    let below = || value.as_object()?.values().find_map(|value| find(value, key));
    found.or_else(below)
}

#[test]
fn a_file_is_named_by_its_digest_and_only_its_owner_may_read_it() {
    let display = TestDisplay::bare();
    let picture = display.picture(area(0, 0, 1280, 800), gradient);
    let dir = tempfile::tempdir().expect("a directory");
    let real = dir.path().canonicalize().expect("a real path");
    let world = configured(&display, json!({"directory": real}));
    let answer = output(&world, "monitor.capture", json!({"output": "file"}));
    assert!(answer.get("picture").is_none());
    let file = &answer["file"];
    let name = format!("{}.png", file["sha256"].as_str().expect("a digest"));
    let path = real.join(&name);
    assert_eq!(file["path"], json!(path));
    let found = fs::read(&path).expect("the file");
    assert_eq!(file["bytes"], found.len());
    assert_eq!(fs::metadata(&path).expect("the file").mode() & 0o777, 0o600);
    let decoded = decode(&found, "image/png");
    assert!(decoded.pixels().all(|(x, y, pixel)| pixel == picture.pixel(x as i32, y as i32)));
    // Once more gives the same file, and another format another one.
    assert_eq!(output(&world, "monitor.capture", json!({"output": "file"}))["file"], *file);
    let other = output(&world, "monitor.capture", json!({"output": "file", "format": "jpeg"}));
    assert!(other["file"]["path"].as_str().expect("a path").ends_with(".jpg"));
    assert_eq!(fs::read_dir(&real).expect("a directory").count(), 2);
}

#[test]
fn a_file_is_a_change_of_the_directory_and_the_policy_is_asked_about_it() {
    let display = TestDisplay::bare();
    let dir = tempfile::tempdir().expect("a directory");
    let real = dir.path().canonicalize().expect("a real path");
    let world = configured(&display, json!({"directory": real}));
    world.judge(|query| match query.effect.verb {
        llm_os_core::Verb::Change => llm_os_core::Decision::Deny,
        _ => llm_os_core::Decision::Allow,
    });
    let answer = world.refused("monitor.capture", json!({"output": "file"}), "policy_denied");
    assert!(answer["results"][0].to_string().contains(real.to_str().expect("a path in UTF-8")), "{answer:#}");
    assert_eq!(fs::read_dir(&real).expect("a directory").count(), 0);
}

#[test]
fn what_has_the_name_of_a_picture_already_is_never_written_to() {
    let display = TestDisplay::bare();
    let _picture = display.picture(area(0, 0, 1280, 800), gradient);
    let dir = tempfile::tempdir().expect("a directory");
    let world = configured(&display, json!({"directory": dir.path().canonicalize().expect("a path")}));
    let picture = output(&world, "monitor.capture", json!({}))["picture"].clone();
    let path = dir.path().join(format!("{}.png", picture["sha256"].as_str().expect("a digest")));
    let elsewhere = tempfile::NamedTempFile::new().expect("a file");
    let save = || world.refused("monitor.capture", json!({"output": "file"}), "write_failed");
    symlink(elsewhere.path(), &path).expect("a symlink");
    save();
    assert_eq!(fs::read(elsewhere.path()).expect("the file"), b"");
    // Not even one to the very same bytes.
    fs::write(elsewhere.path(), bytes(&picture)).expect("a file");
    save();
    fs::remove_file(&path).expect("the symlink");
    fs::write(&path, "mine").expect("a file");
    save();
    assert_eq!(fs::read(&path).expect("the file"), b"mine");
    fs::remove_file(&path).expect("the file");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).expect("a FIFO");
    save();
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "nothing is left behind");
}

#[test]
fn a_directory_that_is_not_there_makes_the_screen_unavailable() {
    use llm_os_monitor::Monitor;
    let display = TestDisplay::bare();
    let setup = llm_os_core::Setup { display: Some(display.display()), ..Default::default() };
    let config = json!({"directory": "/no/such/directory"});
    let (_, unavailable) = llm_os_test_support::World::set_up::<Monitor>(config, setup);
    assert!(unavailable.expect("a reason").contains("/no/such/directory"));
}

#[test]
fn what_changed_since_a_picture_is_told_in_tiles() {
    let display = TestDisplay::bare();
    let _ground = display.picture(area(0, 0, 1280, 800), gradient);
    let world = world(&display);
    let since =
        output(&world, "monitor.capture", json!({"max_edge": 320, "format": "jpeg"}))["picture"]["sha256"]
            .clone();
    let diff = |more: Value| {
        let mut params = json!({"since": since});
        params.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        output(&world, "monitor.diff", params)
    };
    let all = json!({"x": 0, "y": 0, "width": 1280, "height": 800});
    assert_eq!(diff(json!({})), json!({"changed": [], "region": all}));
    let _first = display.picture(area(100, 50, 20, 40), |_, _| [1, 2, 3]);
    let _second = display.picture(area(1270, 790, 10, 10), |_, _| [1, 2, 3]);
    let first = json!({"x": 96, "y": 48, "width": 32, "height": 48});
    let second = json!({"x": 1264, "y": 784, "width": 16, "height": 16});
    assert_eq!(diff(json!({})), json!({"changed": [first, second], "region": all}));
    let part = json!({"x": 0, "y": 0, "width": 110, "height": 60});
    let part = diff(json!({"region": part}));
    assert_eq!(part["region"], json!({"x": 0, "y": 0, "width": 112, "height": 64}));
    assert_eq!(part["changed"], json!([{"x": 96, "y": 48, "width": 16, "height": 16}]));
    let small = json!({"region": {"x": 24, "y": 12, "width": 1, "height": 1}, "space": {"width": 320, "height": 200}});
    assert_eq!(diff(small)["changed"], json!([{"x": 96, "y": 48, "width": 16, "height": 16}]));
}

#[test]
fn a_picture_of_a_part_is_compared_within_that_part() {
    let display = TestDisplay::bare();
    let _ground = display.picture(area(0, 0, 1280, 800), gradient);
    let world = world(&display);
    let shown = region(area(10, 10, 100, 100));
    let params = json!({"target": {"region": shown}, "cursor": true});
    let since = output(&world, "monitor.capture", params)["picture"]["sha256"].clone();
    let _beside = display.picture(area(200, 200, 50, 50), |_, _| [1, 2, 3]);
    let _over = display.picture(area(0, 0, 12, 12), |_, _| [1, 2, 3]);
    let diff = output(&world, "monitor.diff", json!({"since": since}));
    assert_eq!(diff["region"], shown);
    assert_eq!(diff["changed"], json!([{"x": 10, "y": 10, "width": 6, "height": 6}]));
    let outside = json!({"since": since, "region": region(area(500, 500, 10, 10))});
    world.refused("monitor.diff", outside, "validation_failed");
}

// D08
#[test]
fn a_picture_takes_no_more_memory_than_its_pixels_and_a_tenth() {
    let display = TestDisplay::sized(3840, 2160);
    let world = world(&display);
    // What is there once and for all: threads, the connection.
    output(&world, "monitor.capture", json!({"target": {"region": region(area(0, 0, 16, 16))}}));
    // The segment of that first picture is as large as the screen, and empty but for its beginning.
    for params in [json!({}), json!({"max_edge": 1920}), json!({"max_edge": 3000, "format": "jpeg"})] {
        let before = resident("VmRSS:");
        fs::write("/proc/self/clear_refs", "5").expect("a peak that begins anew");
        output(&world, "monitor.capture", params.clone());
        let growth = resident("VmHWM:").saturating_sub(before);
        println!("{params}: {growth} KiB for {} KiB of pixels", 3840 * 2160 * 4 / 1024);
        assert!(growth * 10 <= 3840 * 2160 * 4 / 1024 * 11, "{params}: {growth} KiB");
    }
}

/// A line of `/proc/self/status`, in KiB (proc(5)).
fn resident(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
