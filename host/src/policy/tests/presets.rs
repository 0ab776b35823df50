//! The presets, held against their cases.

use super::*;

/// The cases about what the small capabilities state; the others need the real ones.
fn effects_only(tests: &str) -> String {
    let mut tests: serde_json::Value = serde_json::from_str(tests).unwrap();
    let is_file = |effect: &serde_json::Value| effect["kind"] == "Path" || effect["kind"] == "Program";
    let on_files =
        |case: &serde_json::Value| case["effects"].as_array().is_some_and(|all| all.iter().all(is_file));
    let registry = registry();
    let is_known = |case: &serde_json::Value| {
        ActionName::new(case["action"].as_str()?).and_then(|name| registry.action(&name)).map(drop)
    };
    tests["tests"].as_array_mut().unwrap().retain(|case| on_files(case) && is_known(case).is_some());
    tests.to_string()
}

#[test]
fn every_preset_decides_as_its_cases_say() {
    for name in ["strict", "workspace", "virtual-desktop"] {
        for (part, tests) in source::preset_tests(name) {
            let tests = effects_only(tests);
            let report = test(&format!("preset:{name}").parse().unwrap(), &tests, registry()).unwrap();
            assert_eq!(report.failed, Vec::<String>::new(), "{name}: {part}");
            assert!(report.passed > 2, "{name}: {part}");
        }
    }
}

#[test]
fn a_case_that_expects_something_else_fails() {
    let case = |expect: &str, extra: &str| {
        let case = format!(
            r#"{{"tests": [{{"name": "n", "action": "fs.read", "expect": "{expect}"{extra},
                "effects": [{{"verb": "observe", "kind": "Path", "id": "$ROOT/x"}}]}}]}}"#
        );
        test(&Source::default(), &case, registry()).unwrap().failed.len()
    };
    assert_eq!(case("allow", ""), 0);
    assert_eq!(case("confirm", ""), 1);
    assert_eq!(case("allow", r#", "policies": ["ask"]"#), 1);
}

#[test]
fn a_preset_that_is_loaded_without_any_capability_is_accepted() {
    let none = Registry::of([]).unwrap();
    for name in ["strict", "workspace", "virtual-desktop"] {
        let source: Source = format!("preset:{name}").parse().unwrap();
        Policy::load(&source, &none, &[], Protected::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn every_preset_decides_plans_as_its_cases_say_with_the_linked_capabilities() {
    for name in ["strict", "workspace", "virtual-desktop"] {
        let source: Source = format!("preset:{name}").parse().unwrap();
        for (part, tests) in source::preset_tests(name) {
            let report = test(&source, tests, Registry::linked().unwrap()).unwrap();
            assert_eq!(report.failed, Vec::<String>::new(), "{name}: {part}");
            assert!(report.passed > 2, "{name}: {part}");
        }
    }
}

/// With the example of a desktop: a terminal asks, an editor does not, and nothing else gets input.
#[test]
fn the_policy_for_a_desktop_in_the_documentation_is_accepted() {
    let page = include_str!("../../../../docs/policy.md");
    let example = page
        .split("only when a human confirmed it:\n")
        .nth(1)
        .and_then(|rest| rest.split("**What is typed**").next());
    let policy = Text::one("policy.md".to_owned(), example.unwrap().to_owned(), false);
    let policy = Policy::of(policy, &Registry::linked().unwrap(), Roots::new(&[]), Protected::default());
    let policy = policy.unwrap_or_else(|e| panic!("{e}"));
    let principal = Principal { uid: 1000, session: None };
    let action = ActionName::new("keyboard.type").unwrap();
    let decide = |class: &str, executable: &str| {
        let concrete = policy.vocabulary.of_action(&action).next().unwrap();
        let mut effect = concrete.sample(Kind::Window);
        effect.resource = Resource::window("virtual", class);
        effect.facts.insert("executable", Fact::Text(executable.to_owned()));
        policy.judge(Query { principal: &principal, action: &action, effect: &effect }).decision
    };
    assert_eq!(decide("Gedit", "/usr/bin/gedit"), Decision::Allow);
    assert_eq!(decide("XTerm", "/usr/bin/xterm"), Decision::Confirm);
    assert_eq!(decide("XTerm", "/usr/bin/other"), Decision::Deny);
    assert_eq!(decide("Gedit", "/tmp/gedit"), Decision::Deny);
}

/// Each file of the library is a policy of its own, too: what it does not list asks.
#[test]
fn every_program_of_the_library_decides_as_its_cases_say_without_the_preset() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies/programs");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(tests) =
            path.extension().filter(|end| *end == "cedar").map(|_| path.with_extension("tests.json"))
        else {
            continue;
        };
        let tests = std::fs::read_to_string(&tests).unwrap_or_else(|e| panic!("{}: {e}", tests.display()));
        let report = test(&Source::Path(path.clone()), &tests, Registry::linked().unwrap()).unwrap();
        assert_eq!(report.failed, Vec::<String>::new(), "{}", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            source::preset_tests("workspace").any(|(part, _)| part == format!("programs/{name}")),
            "{name}"
        );
        seen += 1;
    }
    assert_eq!(seen, 11);
}
