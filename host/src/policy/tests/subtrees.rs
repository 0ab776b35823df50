//! When one ruling covers a subtree, and that it is then the ruling on every entry.

use super::*;

fn covers(policy: &Policy, dir: &str) -> bool {
    let effect = effect("fs.read", Verb::Observe, dir);
    policy.covers_subtree(Query { principal: &ann(), action: &action("fs.read"), effect: &effect })
}

#[test]
fn one_ruling_covers_a_subtree_where_no_rule_looks_into_it() {
    let policy = load(
        r#"permit(principal, action in Action::"observe", resource in Roots::"read");
           forbid(principal, action, resource in Path::"/elsewhere/secret");
           forbid(principal, action in Action::"change", resource in Path::"/w/a/secret");
           permit(principal, action, resource) when { context.confirmed };"#,
    );
    assert!(covers(&policy, "/w/a"));
    assert!(covers(&policy, "/w"));
    assert!(!covers(&policy, "/elsewhere"));
    assert!(!covers(&policy, "/"), "roots begin below it");
}

#[test]
fn a_condition_on_resource_or_facts_means_every_entry_is_asked() {
    for condition in
        ["resource in Path::\"/w\"", "context.persistent", "resource == Path::\"/w/a\"", "context has links"]
    {
        let policy = load(&format!(
            "permit(principal, action in Action::\"fs.read\", resource) when {{ {condition} }};"
        ));
        assert!(!covers(&policy, "/w/a"), "{condition}");
    }
}

#[test]
fn the_hosts_state_below_a_directory_means_every_entry_is_asked() {
    let protected = Protected::new([PathBuf::from("/w/a/state")]).unwrap();
    let policy = loaded("permit(principal, action, resource);", &[], protected).unwrap();
    assert!(!covers(&policy, "/w"));
    assert!(covers(&policy, "/w/b"));
}

fn scope() -> impl Strategy<Value = String> {
    let path = prop::sample::select(vec!["/", "/w", "/w/a", "/w/a/b", "/w/a/c", "/r", "/r/inner", "/w/b"]);
    prop_oneof![
        Just("resource".to_owned()),
        Just("resource is Path".to_owned()),
        Just("resource in Roots::\"read\"".to_owned()),
        Just("resource in Roots::\"write\"".to_owned()),
        path.clone().prop_map(|path| format!("resource in Path::\"{path}\"")),
        path.clone().prop_map(|path| format!("resource is Path in Path::\"{path}\"")),
        path.prop_map(|path| format!("resource == Path::\"{path}\"")),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let effect = prop::sample::select(vec!["permit", "forbid"]);
    let action =
        prop::sample::select(vec!["action", "action in Action::\"observe\"", "action in Action::\"change\""]);
    let condition = prop::sample::select(vec![
        "",
        "when { context.confirmed }",
        "unless { context.confirmed }",
        "when { principal in User::\"1000\" }",
        "when { resource in Path::\"/w/a/b\" }",
        "when { context has persistent && context.persistent }",
    ]);
    (effect, action, scope(), condition).prop_map(|(effect, action, scope, condition)| {
        format!("{effect}(principal, {action}, {scope}) {condition};")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_covered_is_ruled_the_same_entry_by_entry(
        rules in prop::collection::vec(rule(), 1..5),
        dir in prop::sample::select(vec!["/", "/w", "/w/a", "/r", "/r/inner", "/elsewhere"]),
    ) {
        // An impossible combination is refused at load, and of no interest here.
        let Ok(policy) = try_load(&rules.join("\n")) else { return Ok(()) };
        if covers(&policy, dir) {
            let expected = judge(&policy, "fs.read", &effect("fs.read", Verb::Observe, dir));
            for below in ["w", "w/a", "w/a/b/x", "a", "a/b", "a/b/x", "a/c", "inner", "inner/x", "b", "file"] {
                for persistent in [false, true] {
                    let path = format!("{}/{below}", dir.trim_end_matches('/'));
                    let entry = effect("fs.read", Verb::Observe, &path).fact("persistent", Fact::Bool(persistent));
                    prop_assert_eq!(&judge(&policy, "fs.read", &entry), &expected, "{}", path);
                }
            }
        }
    }
}
