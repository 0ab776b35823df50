//! The presets, held against their cases.

use super::*;

/// The cases without plans, which need the real capabilities.
fn effects_only(tests: &str) -> String {
    let mut tests: serde_json::Value = serde_json::from_str(tests).unwrap();
    tests["tests"].as_array_mut().unwrap().retain(|case| case.get("plan").is_none());
    tests.to_string()
}

#[test]
fn every_preset_decides_as_its_cases_say() {
    for name in ["strict", "workspace", "virtual-desktop"] {
        let tests = effects_only(source::preset_tests(name));
        let report = test(&format!("preset:{name}").parse().unwrap(), &tests, registry()).unwrap();
        assert_eq!(report.failed, Vec::<String>::new(), "{name}");
        assert!(report.passed > 2, "{name}");
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
        let report = test(&source, source::preset_tests(name), Registry::linked().unwrap()).unwrap();
        assert_eq!(report.failed, Vec::<String>::new(), "{name}");
        assert!(report.passed > 2, "{name}");
    }
}
