//! The plans that ship as examples are plans.

use std::path::Path;

use llm_os_core::request::Request;

#[test]
fn every_example_plan_is_a_request() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plans");
    let mut plans = 0;
    let entries =
        [dir.clone(), dir.join("desktop")].into_iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(&path).unwrap();
        let frames = match path.extension().and_then(|e| e.to_str()) {
            Some("json") => vec![text.replace('\n', " ")],
            Some("jsonl") => text.lines().map(str::to_owned).collect(),
            other => panic!("{}: {other:?}", path.display()),
        };
        for frame in frames {
            assert!(frame.len() <= 65_536);
            Request::read(frame.as_bytes()).unwrap_or_else(|e| panic!("{}: {}", path.display(), e.fault));
            plans += 1;
        }
    }
    assert!(plans >= 8, "{plans}");
}
