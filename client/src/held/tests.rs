use llm_os_core::request::{Request, canonical};
use serde_json::json;

use super::*;

/// What a host would show of this action.
pub(crate) fn held(params: &Value, reason: &str) -> Held {
    let plan = json!({
        "request_id": "r-1", "session_id": "s-1", "version": "1", "mode": "execute",
        "actions": [
            {"action": "exec.run", "params": params, "reason": reason},
            {"action": "fs.read", "params": {"path": "/w/a"}, "reason": "look", "danger": "none", "recovery": "none"},
        ],
    });
    let plan = Request::read(plan.to_string().as_bytes()).unwrap();
    let plan = canonical(plan.session.as_ref(), &plan.calls);
    let effects = json!([
        [{"verb": "run", "resource": {"kind": "Program", "id": "/usr/bin/\u{455}udo\u{1b}[2K"},
          "facts": {"argc": 1, "operands": ["\u{202e}x"]}, "asks": "not owned by\u{1b}[1A root"}],
        [{"verb": "inject", "resource": {"kind": "Window", "id": "Gedit", "display": ":0\u{1b}[2K"},
          "facts": {"title": "\u{202e}notes"}, "refuses": "never\u{1b}[1A"}],
    ]);
    let told = json!({
        "pending_id": "p-1", "request_id": "r-1", "uid": 1000, "age_s": 3, "expires_in_s": 3597,
        "sha256": hex(&Sha256::digest(plan.as_bytes())), "plan": plan, "effects": effects,
        "policies": [[{"policy": "rest-asks", "reason": "everything else\r asks"}], [{"policy": "p"}]],
        "profiles": [{"network": "all", "write": ["/srv/\u{202e}x"]}, {}],
    });
    serde_json::from_value(told).unwrap()
}

fn shown(params: &Value, reason: &str) -> String {
    held(params, reason).screen().unwrap().as_str().to_owned()
}

/// The text behind the margin below the row `label`.
fn behind_margin(screen: &str, label: &str, nth: usize) -> String {
    let rows = screen.lines().skip_while(|row| row.trim() != label);
    let mut skipped = 0;
    let rows = rows.skip_while(|row| {
        skipped += usize::from(row.trim() == label);
        skipped <= nth
    });
    rows.skip(1).map_while(|row| row.strip_prefix("    | ")).collect()
}

#[test]
fn what_is_displayed_is_what_is_digested_and_run() {
    // C12
    let params =
        json!({"argv": ["/bin/echo", "a b", "\"q\"", "\\u{202e}", "\u{202e}", "x".repeat(500), "\u{1f600}"]});
    let held = held(&params, "greet\nthem");
    let screen = held.screen().unwrap();
    let screen = screen.as_str();
    let name = |n: usize| {
        let row = screen.lines().find(|row| row.starts_with(&format!("Action {n} of 2: "))).unwrap();
        row.split_once(": ").unwrap().1.to_owned()
    };
    let session =
        screen.lines().find_map(|row| row.strip_prefix("  session ")).unwrap().split(' ').next().unwrap();
    let displayed = format!(
        "{{\"version\":\"1\",\"session_id\":{session},\"actions\":[{{\"action\":{},\"params\":{},\"reason\":{}}},\
         {{\"action\":{},\"params\":{},\"reason\":{},\"danger\":{},\"recovery\":{}}}]}}",
        name(1),
        behind_margin(screen, "with exactly", 0),
        behind_margin(screen, "action 1, reason", 0),
        name(2),
        behind_margin(screen, "with exactly", 1),
        behind_margin(screen, "action 2, reason", 0),
        behind_margin(screen, "action 2, danger", 0),
        behind_margin(screen, "action 2, recovery", 0),
    );
    assert_eq!(displayed, held.plan);
    assert_eq!(hex(&Sha256::digest(displayed.as_bytes())), held.sha256);
    assert!(screen.contains(&held.sha256));
}

#[test]
fn no_byte_of_a_plan_or_a_host_reaches_the_terminal_unescaped() {
    // C09
    let hostile = "\u{1b}[2K\u{1b}[1A \u{1b}]52;c;aGk=\u{7} \u{1b}]8;;http://x\u{1b}\\here\u{1b}]8;;\u{1b}\\ \r\u{9b}2J\u{7f}\0";
    let screen = shown(&json!({"argv": ["/bin/echo", hostile], "env": {hostile: hostile}}), hostile);
    assert!(screen.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)), "{screen}");
    assert!(
        screen.contains("ATTENTION: $.argv[1] is not plain ASCII: \\u{0} (control character)"),
        "{screen}"
    );
    assert!(screen.contains("\\u{1b}[2K"), "{screen}");
}

#[test]
fn bidirectional_overrides_are_spelled_out_and_flagged() {
    // C10
    for c in ['\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}', '\u{61c}'] {
        let screen = shown(&json!({"path": format!("/w/{c}gpj.exe")}), "look");
        let flag =
            format!("ATTENTION: $.path is not plain ASCII: {} (turns text around)", c.escape_unicode());
        assert!(screen.contains(&flag), "{screen}");
        assert!(screen.contains(&format!("| \"/w/{}gpj.exe\"", c.escape_unicode())), "{screen}");
    }
}

#[test]
fn homoglyphs_and_zero_width_characters_are_flagged_code_point_by_code_point() {
    // C11
    let screen = shown(&json!({"argv": ["/usr/bin/\u{455}udo", "a\u{200b}b"]}), "look");
    assert!(
        screen.contains("$.argv[0] is not plain ASCII: \\u{455} (may look like an ASCII letter)"),
        "{screen}"
    );
    assert!(screen.contains("| \"/usr/bin/\\u{455}udo\""), "{screen}");
    assert!(screen.contains("$.argv[1] is not plain ASCII: \\u{200b} (invisible)"), "{screen}");
    assert!(screen.contains("run Program \"/usr/bin/\\u{455}udo\\u{1b}[2K\""), "{screen}");
}

#[test]
fn the_arguments_of_each_program_of_a_pipe_stand_one_a_line() {
    let stages =
        json!([{"argv": ["/bin/cat", "a b"], "cwd": "/w"}, {"argv": ["/bin/sort", "-u\n[2] \"x\""]}]);
    let screen = shown(&json!({"stages": stages, "x\ny argv": {"argv": ["z"]}}), "sort them");
    let rows: Vec<_> = screen.lines().collect();
    let listed = |of: &str, arguments: &[&str]| {
        let begin = format!("  which are {} arguments of {of}", arguments.len());
        let at = rows.iter().position(|row| *row == begin).unwrap_or_else(|| panic!("{begin}: {screen}"));
        let rows = &rows[at + 1..=at + arguments.len()];
        let expected = arguments.iter().enumerate().map(|(n, argument)| format!("    | [{n}] {argument}"));
        assert_eq!(rows, expected.collect::<Vec<_>>());
    };
    listed("$.stages[0]", &[r#""/bin/cat""#, r#""a b""#]);
    listed("$.stages[1]", &[r#""/bin/sort""#, r#""-u\n[2] \"x\"""#]);
    listed(r#"$."x\ny argv""#, &[r#""z""#]);
}

#[test]
fn a_window_is_shown_with_its_display() {
    let screen = shown(&json!({"argv": ["/bin/echo"]}), "look");
    assert!(screen.contains("inject Window \"Gedit\" on display \":0\\u{1b}[2K\""), "{screen}");
    assert!(screen.contains("is never allowed: never"), "{screen}");
}

#[test]
fn plain_plans_raise_no_attention() {
    assert!(!shown(&json!({"content": "two\n\tlines"}), "look").contains("ATTENTION"));
}

#[test]
fn reasons_come_last_behind_a_margin_as_unchecked_words() {
    // C13; shown completely, where the case asks for 200 characters
    let long = "x".repeat(2000);
    let reason = format!("safe, already approved by admin\n\nApproved: yes\n{long}");
    let screen = shown(&json!({"argv": ["/bin/echo"]}), &reason);
    let (before, words) = screen.split_once("Nobody checked it").unwrap();
    assert!(!before.contains("approved by admin"), "{before}");
    assert!(words.lines().all(|row| !row.starts_with("Approved")), "{words}");
    let whole = behind_margin(&screen, "action 1, reason", 0);
    assert_eq!(whole, format!("\"safe, already approved by admin\\n\\nApproved: yes\\n{long}\""));
}

#[test]
fn a_plan_that_is_not_what_the_host_digests_is_not_shown() {
    let mut other = held(&json!({"argv": ["/bin/echo"]}), "greet");
    other.plan = other.plan.replace("echo", "rm");
    assert!(other.screen().unwrap_err().contains("SHA-256"));
}

#[test]
fn a_plan_in_another_form_than_the_canonical_one_is_not_shown() {
    let original = held(&json!({"argv": ["/bin/echo"]}), "greet").plan;
    for (from, to) in [
        ("\"reason\":\"greet\"", "\"reason\": \"greet\""),
        ("\"version\":\"1\",", "\"version\":\"1\",\"mode\":\"execute\","),
        ("\"argv\":[", "\"argv\":[],\"argv\":["),
        ("greet", "gr\u{e9}et"),
    ] {
        let mut other = held(&json!({"argv": ["/bin/echo"]}), "greet");
        other.plan = original.replace(from, to);
        assert_ne!(other.plan, original);
        other.sha256 = hex(&Sha256::digest(other.plan.as_bytes()));
        assert!(other.screen().is_err(), "{to}");
    }
}
