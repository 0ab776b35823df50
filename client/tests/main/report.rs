//! The page about a log, of a real host, in a real browser.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use llm_os_core::audit::{Body, Chain, Entry, Event, Evidence, Outcome, What, segment_name};
use llm_os_core::value::hex;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::peer::{Ran, command, run};

const TIME: &str = "2026-11-23T05:54:01.123456Z";
const HOSTILE: &str = "</style></p>]]><img src=http://evil.example/x onerror=alert(1)><script>alert('\"')</script>\u{202e}\u{1b}[2J";

fn host() -> Daemon {
    let policy = "@id(\"reads\") @reason(\"reading is harmless\") permit (principal, action in Action::\"observe\", resource);\n\
                  @id(\"asks\") permit (principal, action in Action::\"change\", resource) when { context.confirmed };\n\
                  @id(\"never\") @reason(\"that is secret\") forbid (principal, action in Action::\"observe\", resource == Path::\"PLACE/w\");";
    let daemon = Daemon::start(policy, "");
    fs::write(daemon.path("r/a.txt"), "hello").unwrap();
    let path = |name: &str| format!("path={}", daemon.path(name).to_str().unwrap());
    let sent = |args: &[&str]| daemon.llmsh(&[&["do"], args].concat()).code;
    assert_eq!(sent(&["fs.read", &path("r/a.txt"), "--reason", HOSTILE]), 0);
    let write = |name: &str, more: &[&str]| {
        let place = path(name);
        sent(&[&["fs.write", &place, "mode=create", "content=hi", "--reason", "keep it"], more].concat())
    };
    assert_eq!(sent(&["fs.list", &path("w"), "--reason", "look"]), 3);
    assert_eq!(sent(&["fs.read", &path("r/none"), "--reason", "look"]), 1);
    assert_eq!(write("w/held.txt", &[]), 4);
    let id = daemon.pending()[0]["pending_id"].as_str().unwrap().to_owned();
    assert_eq!(daemon.llmsh(&["deny", &id]).code, 0);
    let mut waiting = daemon.command(&[
        "do",
        "fs.write",
        &path("w/yes.txt"),
        "mode=create",
        "content=hi",
        "--reason",
        "yes",
        "--wait",
    ]);
    let mut waiting = waiting.spawn().unwrap();
    daemon.approve(&daemon.waiting());
    assert!(waiting.wait().unwrap().success());
    assert_eq!(daemon.llmsh(&["halt"]).code, 0);
    daemon
}

fn report(log: &Path, page: &Path, more: &[&str]) -> Ran {
    let dir = page.parent().unwrap();
    let args = [&["audit", "report", log.to_str().unwrap(), "-o", page.to_str().unwrap()], more].concat();
    run(command(dir, dir, &args).env("HOME", "/nowhere"), "")
}

/// What the browser has of the page, and what it asked of a network.
#[allow(clippy::disallowed_methods, reason = "the browser is started here")]
fn browse(page: &Path, width: u32, more: &[&str]) -> (String, String) {
    let profile = TempDir::new().unwrap();
    let net = profile.path().join("net.json");
    let mut browser = Command::new("chromium");
    browser.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]);
    browser.args(["--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"]);
    browser.arg(format!("--user-data-dir={}", profile.path().display()));
    browser.arg(format!("--log-net-log={}", net.display())).arg(format!("--window-size={width},900"));
    let ran =
        browser.args(more).arg(format!("file://{}", page.display())).output().expect("install chromium");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    (String::from_utf8_lossy(&ran.stdout).into_owned(), fs::read_to_string(net).unwrap_or_default())
}

/// The hosts that the browser asked anything of, for itself or for its page.
fn hosts(net: &str) -> BTreeSet<String> {
    let urls = net.split("\"url\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    urls.filter_map(|url| Some(url.split("://").nth(1)?.split('/').next()?.to_owned())).collect()
}

/// How much wider than the window the page is, in pixels of a phone.
fn overflow(page: &Path, width: u32) -> i64 {
    let frame = page.with_file_name("frame.html");
    let text = format!(
        "<!doctype html><iframe id=f style=\"width:{width}px;height:800px;border:0\" src=\"{}\"></iframe><p id=p></p>\
         <script>f.onload = () => {{ let d = f.contentDocument.documentElement; \
         p.textContent = `overflow ${{d.scrollWidth - d.clientWidth}} of ${{d.clientWidth}}.` }}</script>",
        page.file_name().unwrap().to_str().unwrap()
    );
    fs::write(&frame, text).unwrap();
    let (dom, _) = browse(&frame, 1280, &["--allow-file-access-from-files", "--dump-dom"]);
    let told = dom.split("overflow ").nth(1).and_then(|rest| rest.split(" of ").next());
    told.unwrap_or_else(|| panic!("{dom}")).parse().unwrap()
}

fn artefacts() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../report");
    fs::create_dir_all(&dir).unwrap();
    dir.canonicalize().unwrap()
}

/// C09.
#[test]
fn a_browser_shows_what_a_host_did_and_nothing_that_was_asked_becomes_markup() {
    let daemon = host();
    let page = artefacts().join("report.html");
    let ran = report(&daemon.path("state/audit"), &page, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o600);
    let (dom, net) = browse(&page, 360, &["--dump-dom"]);
    for said in [
        "the log verifies: ",
        "reading is harmless",
        "that is secret",
        "&lt;script&gt;",
        "\\u{202e}",
        "approved",
        "denied",
        "halted",
        "not kept: evidence is off",
        "in the requester's words",
    ] {
        assert!(dom.contains(said), "{said}: {dom}");
    }
    assert!(!dom.contains("<script") && !dom.contains("<img") && !dom.contains("\u{202e}"), "{dom}");
    assert_eq!(dom.matches("<style").count(), 1);
    let control = page.with_file_name("control.html");
    fs::write(&control, "<!doctype html><img src=http://control.example/x>").unwrap();
    let (_, asked) = browse(&control, 360, &["--dump-dom"]);
    assert!(hosts(&asked).contains("control.example"), "the browser's log tells what a page asks for");
    let of_page: Vec<_> = hosts(&net).difference(&hosts(&asked)).cloned().collect();
    assert!(of_page.is_empty(), "the page asked for something: {of_page:?}");
    for width in [360, 1280] {
        assert_eq!(overflow(&page, width), 0, "at {width} pixels");
        let picture = artefacts().join(format!("report-{width}.png"));
        browse(&page, width, &[&format!("--screenshot={}", picture.display())]);
        assert!(fs::metadata(&picture).unwrap().len() > 0);
    }
}

#[test]
fn a_session_is_reported_alone_and_a_page_has_a_name() {
    let daemon = host();
    let log = daemon.path("state/audit");
    let page = daemon.path("page.html");
    assert_eq!(report(&log, &page, &["--session", "nobody"]).code, 0);
    assert!(!fs::read_to_string(&page).unwrap().contains("fs.read"));
    let ran = report(&log, &daemon.path("w"), &[]);
    assert!(ran.code == 2 && ran.stderr.contains("directory"), "{ran:?}");
    let ran = daemon.llmsh(&["audit", "report", log.to_str().unwrap()]);
    assert!(ran.code == 2 && ran.stderr.contains("llmsh audit report -o report.html"), "{ran:?}");
    let ran = daemon.llmsh(&["audit", "report", log.to_str().unwrap(), "-o", "-"]);
    assert!(ran.code == 0 && ran.stdout.starts_with("<!doctype html>"), "{}", ran.stderr);
}

#[test]
fn a_log_that_does_not_verify_opens_with_the_break_marked() {
    let daemon = host();
    let kept = fs::read(daemon.path("state/audit").join(segment_name(1))).unwrap();
    let end = kept.iter().rposition(|b| *b == b'\n').unwrap();
    let lines: Vec<&[u8]> = kept[..end].split(|b| *b == b'\n').collect();
    let check = |name: &str, change: &dyn Fn(&mut Vec<Vec<u8>>), torn: &str, expected: (i32, &str)| {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("audit")).unwrap();
        fs::copy(daemon.path("state/audit.pub"), dir.path().join("audit.pub")).unwrap();
        let mut lines: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
        change(&mut lines);
        let mut bytes = lines.iter().flat_map(|line| [line, b"\n".as_slice()].concat()).collect::<Vec<u8>>();
        bytes.extend_from_slice(torn.as_bytes());
        fs::write(dir.path().join("audit").join(segment_name(1)), bytes).unwrap();
        let page = dir.path().join("page.html");
        let ran = report(&dir.path().join("audit"), &page, &[]);
        let html = fs::read_to_string(&page).unwrap();
        assert_eq!(ran.code, expected.0, "{name}: {ran:?}");
        assert!(html.contains(expected.1), "{name}: {html}");
        assert_eq!(html.contains("does not verify"), expected.0 == 1, "{name}");
        assert!(html.ends_with("</html>\n"));
    };
    let text = |lines: &mut Vec<Vec<u8>>, at: usize, from: &str, to: &str| {
        lines[at] = String::from_utf8(lines[at].clone()).unwrap().replacen(from, to, 1).into_bytes();
    };
    check("whole", &|_| {}, "", (0, "the log verifies: "));
    check("flipped", &|lines| text(lines, 1, "harmless", "harmlesz"), "", (1, "The chain breaks here"));
    check("removed", &|lines| drop(lines.remove(2)), "", (1, "are missing"));
    check("swapped", &|lines| lines.swap(2, 3), "", (1, "the log does not verify: record "));
    check("garbage", &|lines| lines[2] = b"<b>\x1b[2J".to_vec(), "", (1, "&lt;b&gt;\\u001b[2J"));
    check("torn", &|_| {}, "{\"seq\":9", (0, "The log ends within a line (8 bytes)"));
}

/// A picture whose header says another size than it has.
fn claims(png: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut png = png.to_vec();
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = png[12..29].iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    });
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    png
}

/// A log of one click and one output on evidence made by hand.
#[test]
fn evidence_is_shown_once_and_what_is_missing_or_damaged_is_said_at_its_place() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("audit")).unwrap();
    let mut png = Vec::new();
    let picture = image::RgbImage::from_fn(1600, 900, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
    picture.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
    let data = base64::engine::general_purpose::STANDARD.encode(&png);
    let output =
        json!({"picture": {"media_type": "image/png", "encoding": "base64", "data": data}}).to_string();
    let keep = |name: &str, bytes: &[u8]| {
        let sha256 = hex(&Sha256::digest(bytes));
        let folder = dir.path().join("evidence").join(&sha256[..2]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(&sha256), bytes).unwrap();
        let media_type = "x/y".to_owned();
        Evidence { name: name.to_owned(), media_type, bytes: bytes.len() as u64, sha256, point: None }
    };
    let shown = Evidence { point: Some([100, 50]), ..keep("picture", &png) };
    let damaged = keep("diff", b"+other");
    fs::write(dir.path().join("evidence").join(&damaged.sha256[..2]).join(&damaged.sha256), "+forged")
        .unwrap();
    let gone = Evidence { sha256: "0".repeat(64), ..damaged.clone() };
    let outside = Evidence { sha256: "../../../../etc/passwd".to_owned(), ..damaged.clone() };
    let diff = keep("diff", b"@@ -1 +1 @@\n-old <b>\n+new\n");
    let (bomb, wide) = (claims(&png, 16_384, 16_384), claims(&png, u32::MAX, 1));
    assert_eq!(claims(&png, 1600, 900), png, "the sum is the one of PNG");
    let [bomb, wide, other] =
        [bomb.as_slice(), &wide, b"<svg onload=alert(1)>"].map(|bytes| keep("picture", bytes));
    let output = keep("output", output.as_bytes());
    let evidence = vec![shown.clone(), shown, damaged, gone, outside, diff, output, bomb, wide, other];
    let what =
        What { action: "mouse.click".to_owned(), index: 0, params: None, danger: false, effects: Vec::new() };
    let entries = [
        Entry { run: Some("a".to_owned()), what: Some(what), evidence, ..Entry::new(Event::Intent) },
        Entry {
            run: Some("a".to_owned()),
            outcome: Some(Outcome::new("ok")),
            data: Some(json!({"index": 0})),
            ..Entry::new(Event::Outcome)
        },
    ];
    let (mut chain, mut bytes) = (Chain::default(), Vec::new());
    entries.iter().for_each(|entry| chain.append(&Body::of(entry), TIME, &mut bytes));
    fs::write(dir.path().join("audit").join(segment_name(1)), bytes).unwrap();
    let page = dir.path().join("page.html");
    assert_eq!(report(&dir.path().join("audit"), &page, &[]).code, 0);
    let html = fs::read_to_string(&page).unwrap();
    assert_eq!((html.matches("href=\"data:").count(), html.matches("<use href=\"#p0\"").count()), (1, 3));
    let damaged = html.matches("damaged: it cannot be decoded").count();
    assert_eq!((damaged, html.matches("no picture that can be shown").count()), (1, 2), "{html}");
    assert!(!html.contains("onload"));
    for said in [
        "damaged: it has another digest",
        "no longer there",
        "its digest is none",
        "<ins>+new</ins>",
        "-old &lt;b&gt;",
    ] {
        assert!(html.contains(said), "{said}");
    }
    assert!(!html.contains("root:") && !html.contains("+forged"));
    let picture = artefacts().join("evidence.png");
    browse(&page, 1280, &[&format!("--screenshot={}", picture.display())]);
}
