//! What annotations say, and what they cannot.

use llm_os_core::reach::{Network, Profile};

use super::*;

const RUN: &str = r#"permit(principal, action in Action::"run", resource == Program::"/usr/bin/true");"#;

/// What the policy adds to the reach of `/usr/bin/true`.
fn profile(text: &str) -> Profile {
    judge(&load(text), "exec.run", &effect("exec.run", Verb::Run, "/usr/bin/true")).profile
}

#[test]
fn a_rule_that_lets_a_program_run_says_what_it_may_touch() {
    assert_eq!(profile(RUN), Profile::default());
    let network = |text: &str| profile(&format!("@network(\"{text}\") {RUN}")).network;
    assert_eq!(network("none"), Network::None);
    assert_eq!(network("all"), Network::All);
    assert_eq!(network("tcp 443,80"), Network::Ports(vec![80, 443]));
    assert!(profile(&format!("@execute(\"yes\") {RUN}")).execute);
    let real = std::fs::canonicalize("/bin").unwrap();
    let places = profile(&format!("@read(\"/bin,/srv/data\") @write(\"/var/cache/x\") {RUN}"));
    assert_eq!(
        (places.read, places.write),
        (vec![PathBuf::from("/srv/data"), real], vec![PathBuf::from("/var/cache/x")])
    );
}

#[test]
fn only_the_rules_that_decided_add_to_the_reach() {
    let text = format!(
        r#"@execute("yes") {RUN}
           @network("all") permit(principal, action in Action::"run", resource == Program::"/usr/bin/false");
           @network("tcp 1") permit(principal, action in Action::"run", resource) when {{ context.confirmed }};"#
    );
    assert_eq!(profile(&text), Profile { execute: true, ..Profile::default() });
    let asks = format!(r#"{text} forbid(principal, action, resource) unless {{ context.confirmed }};"#);
    let both = Profile { execute: true, network: Network::Ports(vec![1]), ..Profile::default() };
    assert_eq!(profile(&asks), both, "once a human confirms, both rules decide");
    let looking = load(&format!("@execute(\"yes\") {}", r#"permit(principal, action, resource);"#));
    assert_eq!(
        judge(&looking, "fs.read", &effect("fs.read", Verb::Observe, "/w")).profile,
        Profile::default()
    );
}

#[test]
fn a_wrong_annotation_is_refused_with_what_was_expected() {
    for (annotation, expected) in [
        (
            "@networks(\"all\")",
            "@networks, expected one of @id, @reason, @record, @network, @execute, @read, @write",
        ),
        ("@network(\"tcp\")", "\"tcp 443,80\""),
        ("@network(\"tcp 0\")", "\"tcp 443,80\""),
        ("@network(\"tcp 65536\")", "\"tcp 443,80\""),
        ("@network(\"tcp 80, 443\")", "\"tcp 443,80\""),
        ("@network(\"udp 53\")", "\"tcp 443,80\""),
        ("@execute(\"no\")", "found @execute(\"no\"), expected \"yes\""),
        ("@read(\"srv\")", "@read: found \"srv\", expected absolute paths"),
        ("@read(\"/srv,\")", "@read: found \"\", expected absolute paths"),
        ("@write(\"/srv/../etc\")", "@write: found \"/srv/../etc\""),
    ] {
        refused(&format!("{annotation} {RUN}"), expected);
    }
}

#[test]
fn an_annotation_about_programs_stands_only_where_one_is_let_run() {
    for (annotation, rule) in [
        ("@network(\"all\")", r#"permit(principal, action in Action::"observe", resource);"#),
        ("@execute(\"yes\")", r#"forbid(principal, action in Action::"run", resource);"#),
    ] {
        refused(&format!("{annotation} {rule}"), "lets none run");
    }
}

#[test]
fn an_annotation_grants_nothing_of_the_hosts_own_and_nothing_that_is_forbidden() {
    let protected = || Protected::new([PathBuf::from("/srv/host/state")]).unwrap();
    for place in ["/srv", "/srv/host/state", "/srv/host/state/keys"] {
        let text = format!("@id(\"p\") @read(\"{place}\") {RUN}");
        let error = loaded(&text, &[], protected()).err().expect(place).to_string();
        assert!(error.contains("policy \"p\": @read") && error.contains("the host's own"), "{error}");
    }
    loaded(&format!("@read(\"/srv/other\") {RUN}"), &[], protected()).unwrap();
    let forbid =
        r#"@id("never") forbid(principal, action in Action::"change", resource in Path::"/data/kept");"#;
    refused(&format!("@write(\"/data\") {RUN} {forbid}"), "\"never\" forbids");
    refused(&format!("@write(\"/data/kept/x\") {RUN} {forbid}"), "\"never\" forbids");
    load(&format!("@read(\"/data\") {RUN} {forbid}"));
}

#[test]
fn the_example_in_the_documentation_is_accepted() {
    let page = include_str!("../../../../docs/policy.md");
    let example = page
        .split("It may change these as well. |\n")
        .nth(1)
        .and_then(|rest| rest.split("An annotation").next());
    let policy = load(example.unwrap());
    let mut effect = effect("exec.run", Verb::Run, "/usr/local/bin/fetch-list");
    effect.facts.insert("argc", Fact::Long(1));
    let ruling = judge(&policy, "exec.run", &effect);
    assert_eq!((ruling.decision, ruling.profile.network), (Decision::Allow, Network::Ports(vec![443])));
}
