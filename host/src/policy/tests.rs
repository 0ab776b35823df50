//! The policy as a whole, with two small capabilities that state what `fs` and `exec` state.

mod agreement;
mod allowed;
mod annotations;
mod asking;
mod presets;
mod protected;
mod reach;
mod subtrees;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use llm_os_core::capability::{
    ActionSpec, Capability, Context, EffectSpec, Example, Granted, Mode, NoConfig, Setup,
};
use llm_os_core::effect::{Effect, Effectful, Effects, Fact, FactSpec, FactType, Resource, Verb};
use llm_os_core::error::Fault;
use llm_os_core::name::{ActionName, Id};
use llm_os_core::registry::Registration;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;

const fn fact(name: &'static str, ty: FactType) -> FactSpec {
    FactSpec { name, ty, doc: "A fact." }
}

const FS: &[FactSpec] = &[
    fact("exists", FactType::Bool),
    fact("file_type", FactType::Text),
    fact("links", FactType::Long),
    fact("persistent", FactType::Bool),
];
const EXEC: &[FactSpec] = &[
    fact("subcommand", FactType::Text),
    fact("options", FactType::Set),
    fact("operands", FactType::Set),
    fact("argc", FactType::Long),
    fact("sha256", FactType::Text),
    fact("cwd", FactType::Text),
    fact("argv0", FactType::Text),
    fact("trusted", FactType::Bool),
];
const EXAMPLE: &[Example] = &[Example { doc: "Does it.", params: "{}" }];

const fn on(verb: Verb, kind: Kind, facts: &'static [FactSpec]) -> EffectSpec {
    EffectSpec { verb, kind, facts }
}

macro_rules! capability {
    ($module:ident, $name:literal, $($verb:literal $variant:ident: $effects:expr;)*) => {
        mod $module {
            use super::*;

            pub(super) struct Fake;

            /// Its actions.
            #[derive(Deserialize, JsonSchema)]
            #[serde(rename_all = "snake_case", deny_unknown_fields)]
            pub(super) enum Action {
                $(/// An action.
                $variant {},)*
            }

            #[derive(Serialize, JsonSchema)]
            #[serde(rename_all = "snake_case")]
            pub(super) enum Output {
                $(#[allow(dead_code)]
                $variant {},)*
            }

            impl Effectful for Action {
                fn effects(&self) -> Effects {
                    unreachable!("these actions are only judged")
                }
            }

            impl Capability for Fake {
                const NAME: &'static str = $name;
                const ACTIONS: &'static [ActionSpec] = &[$(ActionSpec {
                    verb: $verb, effects: $effects, errors: &[], examples: EXAMPLE,
                }),*];
                type Config = NoConfig;
                type Action = Action;
                type Resolved = Action;
                type Output = Output;

                fn open(_: NoConfig, _: &Setup) -> Result<Self, Fault> {
                    Ok(Fake)
                }
                fn resolve(&self, action: Action) -> Result<Action, Fault> {
                    Ok(action)
                }
                async fn execute(&self, _: Granted<Action>, _: &Context) -> Result<Output, Fault> {
                    Err(Fault::denied("these actions are only judged"))
                }
            }

            pub(super) static REGISTRATION: Registration = Registration::of::<Fake>();
        }
    };
}

capability! { fs, "fs",
    "read" Read: &[on(Verb::Observe, Kind::Path, FS)];
    "write" Write: &[on(Verb::Change, Kind::Path, FS)];
    "remove" Remove: &[on(Verb::Destroy, Kind::Path, FS)];
    "move" Move: &[on(Verb::Observe, Kind::Path, FS), on(Verb::Destroy, Kind::Path, FS), on(Verb::Change, Kind::Path, FS)];
    "undo" Undo: &[on(Verb::Observe, Kind::Path, FS), on(Verb::Destroy, Kind::Path, FS), on(Verb::Change, Kind::Path, FS)];
}
capability! { exec, "exec",
    "run" Run: &[on(Verb::Run, Kind::Program, EXEC), on(Verb::Observe, Kind::Path, &[])];
}
capability! { odd, "odd", "look" Look: &[on(Verb::Observe, Kind::Own("Path"), &[])]; }

fn registry() -> Registry {
    Registry::of([&fs::REGISTRATION, &exec::REGISTRATION]).unwrap()
}

fn roots() -> Vec<Root> {
    let root = |path: &str, mode| Root { path: PathBuf::from(path), mode };
    vec![
        root("/w", Mode::Write),
        root("/w/kept", Mode::Read),
        root("/r", Mode::Read),
        root("/r/inner", Mode::Write),
    ]
}

fn try_load(text: &str) -> Result<Policy, PolicyError> {
    loaded(text, &roots(), Protected::default())
}

fn loaded(text: &str, roots: &[Root], protected: Protected) -> Result<Policy, PolicyError> {
    let text = Text::one("policy".to_owned(), text.to_owned(), false);
    Policy::of(text, &registry(), Roots::new(roots), protected)
}

#[track_caller]
fn load(text: &str) -> Policy {
    try_load(text).unwrap_or_else(|e| panic!("{e}"))
}

fn action(name: &str) -> ActionName {
    ActionName::new(name).unwrap()
}

/// An effect of an action with neutral facts.
fn effect(name: &str, verb: Verb, id: &str) -> Effect {
    let vocabulary = Vocabulary::of(&registry()).unwrap();
    let action = action(name);
    let concrete = vocabulary.of_action(&action).find(|concrete| concrete.verb == verb).unwrap();
    let mut effect = concrete.sample(concrete.kinds[0]);
    id.clone_into(&mut effect.resource.id);
    effect
}

fn ann() -> Principal {
    Principal { uid: 1000, session: Id::new("s-1") }
}

fn judge(policy: &Policy, name: &str, effect: &Effect) -> Ruling {
    policy.judge(Query { principal: &ann(), action: &action(name), effect })
}

/// The decision and the policies that made it, for one effect with neutral facts.
#[track_caller]
fn check(policy: &Policy, (name, verb, id): (&str, Verb, &str), decision: Decision, by: &[&str]) {
    let ruling = judge(policy, name, &effect(name, verb, id));
    let found: Vec<_> = ruling.policies.iter().map(|reason| reason.policy.as_str()).collect();
    assert_eq!((ruling.decision, found.as_slice()), (decision, by), "{name} {verb} {id}: {ruling:?}");
}

#[track_caller]
fn refused(text: &str, why: &str) {
    let error = try_load(text).err().unwrap_or_else(|| panic!("accepted: {text}")).to_string();
    assert!(error.contains(why), "expected \"{why}\" in: {error}");
}

const READ: (&str, Verb, &str) = ("fs.read", Verb::Observe, "/w/a/b");
const WRITE: (&str, Verb, &str) = ("fs.write", Verb::Change, "/w/a/b");

#[test]
fn nothing_is_permitted_by_an_empty_policy() {
    check(&load(""), READ, Decision::Deny, &[]);
}

#[test]
fn allow_confirm_and_deny_come_with_the_policies_that_decided() {
    let policy = load(
        r#"@id("look") @reason("why not") permit(principal, action in Action::"observe", resource);
           @id("ask") permit(principal, action in Action::"change", resource) when { context.confirmed };
           @id("never") forbid(principal, action in Action::"fs.remove", resource);
           @id("all") permit(principal, action in Action::"destroy", resource);"#,
    );
    check(&policy, READ, Decision::Allow, &["look"]);
    check(&policy, WRITE, Decision::Confirm, &["ask"]);
    check(&policy, ("fs.remove", Verb::Destroy, "/w/a"), Decision::Deny, &["never"]);
    let reason = judge(&policy, "fs.read", &effect("fs.read", Verb::Observe, "/w")).policies.remove(0).reason;
    assert_eq!(reason.as_deref(), Some("why not"));
}

#[test]
fn a_forbid_that_a_human_can_lift_is_named_with_the_permit() {
    let policy = load(
        r#"@id("p") permit(principal, action, resource);
           @id("f") forbid(principal, action, resource in Path::"/w/a") unless { context.confirmed };"#,
    );
    check(&policy, READ, Decision::Confirm, &["f", "p"]);
    check(&policy, ("fs.read", Verb::Observe, "/w/b"), Decision::Allow, &["p"]);
}

#[test]
fn a_rule_about_reading_never_grants_the_writing_half_of_an_action() {
    let policy = load(r#"permit(principal, action in Action::"observe", resource in Path::"/w");"#);
    check(&policy, ("fs.move", Verb::Observe, "/w/a"), Decision::Allow, &["policy0"]);
    check(&policy, ("fs.move", Verb::Destroy, "/w/a"), Decision::Deny, &[]);
}

#[test]
fn below_means_below_and_not_the_same_beginning() {
    let policy = load(r#"permit(principal, action, resource in Path::"/w/safe");"#);
    check(&policy, ("fs.read", Verb::Observe, "/w/safe"), Decision::Allow, &["policy0"]);
    check(&policy, ("fs.read", Verb::Observe, "/w/safe/x/y"), Decision::Allow, &["policy0"]);
    check(&policy, ("fs.read", Verb::Observe, "/w/safe-evil/x"), Decision::Deny, &[]);
    check(&policy, ("fs.read", Verb::Observe, "/w"), Decision::Deny, &[]);
    check(&policy, ("fs.read", Verb::Observe, "file:///w/safe/%FF"), Decision::Allow, &["policy0"]);
}

#[test]
fn roots_are_groups_by_their_mode() {
    let policy = load(
        r#"@id("r") permit(principal, action in Action::"observe", resource in Roots::"read");
           @id("w") permit(principal, action in Action::"change", resource in Roots::"write");"#,
    );
    check(&policy, ("fs.read", Verb::Observe, "/r/x"), Decision::Allow, &["r"]);
    check(&policy, ("fs.read", Verb::Observe, "/w/x"), Decision::Allow, &["r"]);
    check(&policy, ("fs.write", Verb::Change, "/r/x"), Decision::Deny, &[]);
    check(&policy, ("fs.write", Verb::Change, "/r/inner/x"), Decision::Allow, &["w"]);
    check(&policy, ("fs.write", Verb::Change, "/w/kept/x"), Decision::Deny, &[]);
    check(&policy, ("fs.read", Verb::Observe, "/rest"), Decision::Deny, &[]);
}

#[test]
fn a_directory_is_found_wherever_a_policy_names_it() {
    let places = ["/", "/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b/c/x", "/a/bc", "/ab", "/b"];
    let forms = [
        "permit(principal, action, resource in Path::\"X\");",
        "permit(principal, action, resource is Path in Path::\"X\");",
        "permit(principal, action, resource) when { resource in Path::\"X\" };",
        "permit(principal, action, resource) when { resource in [Path::\"/never\", Path::\"X\"] };",
        "permit(principal, action, resource) unless { !(resource in Path::\"X\") };",
    ];
    for (form, place) in forms.iter().flat_map(|form| places.iter().map(move |place| (form, place))) {
        let policy = load(&format!("@id(\"p\") {}", form.replace('X', place)));
        let below = place == &"/" || "/a/b/c/d".starts_with(&format!("{place}/")) || place == &"/a/b/c/d";
        let (decision, by) =
            if below { (Decision::Allow, ["p"].as_slice()) } else { (Decision::Deny, [].as_slice()) };
        check(&policy, ("fs.read", Verb::Observe, "/a/b/c/d"), decision, by);
    }
}

#[test]
fn a_program_is_named_by_its_real_path_and_lies_below_its_directories() {
    let policy = load(
        r#"@id("p") permit(principal, action in Action::"run", resource == Program::"/bin/echo");
           @id("q") permit(principal, action in Action::"run", resource in Path::"/opt/tool");"#,
    );
    let real = std::fs::canonicalize("/bin/echo").unwrap();
    check(&policy, ("exec.run", Verb::Run, real.to_str().unwrap()), Decision::Allow, &["p"]);
    check(&policy, ("exec.run", Verb::Run, "/tmp/echo"), Decision::Deny, &[]);
    check(&policy, ("exec.run", Verb::Run, "/opt/tool"), Decision::Allow, &["q"]);
}

#[test]
fn users_are_permitted_and_session_names_are_not() {
    let policy = load(r#"permit(principal in User::"1000", action, resource);"#);
    check(&policy, READ, Decision::Allow, &["policy0"]);
    let eve = Principal { uid: 1001, session: Id::new("s-1") };
    let effect = effect("fs.read", Verb::Observe, "/w");
    let query = Query { principal: &eve, action: &action("fs.read"), effect: &effect };
    assert_eq!(policy.judge(query).decision, Decision::Deny);
    refused(r#"permit(principal == Session::"1000/s-1", action, resource);"#, "never session names");
    refused(
        r#"permit(principal, action, resource) unless { principal == Session::"1000/x" };"#,
        "never session names",
    );
    refused(r#"permit(principal in User::"ann", action, resource);"#, "id -u");
}

#[test]
fn facts_are_held_against_a_positive_grammar() {
    let policy = load(
        r#"permit(principal, action in Action::"run", resource)
           when { ["-l", "-a"].containsAll(context.options) && context.argc < 4 };"#,
    );
    let run = |options: &[&str], argc| {
        let options = options.iter().map(|option| (*option).to_owned()).collect::<BTreeSet<_>>();
        let effect = effect("exec.run", Verb::Run, "/usr/bin/ls").fact("options", Fact::Set(options));
        judge(&policy, "exec.run", &effect.fact("argc", Fact::Long(argc))).decision
    };
    assert_eq!(run(&["-l"], 2), Decision::Allow);
    assert_eq!(run(&["-l", "-R"], 2), Decision::Deny);
    assert_eq!(run(&["-l"], 4), Decision::Deny);
}

#[test]
fn an_effect_that_was_not_declared_is_denied() {
    let policy = load("permit(principal, action, resource);");
    let good = effect("fs.read", Verb::Observe, "/w/x");
    assert_eq!(judge(&policy, "fs.read", &good).decision, Decision::Allow);
    let mut missing = good.clone();
    missing.facts.remove("links");
    let another_type = good.clone().fact("links", Fact::Text("1".to_owned()));
    let another_verb = Effect { verb: Verb::Change, ..good.clone() };
    let another_kind = Effect { resource: Resource::program(b"/w/x"), ..good.clone() };
    let more = good.clone().fact("confirmed", Fact::Bool(true));
    for bad in [missing, another_type, another_verb, another_kind, more] {
        let ruling = judge(&policy, "fs.read", &bad);
        assert_eq!(
            (ruling.decision, ruling.policies[0].policy.as_str()),
            (Decision::Deny, "host"),
            "{bad:?}"
        );
    }
    assert_eq!(judge(&policy, "no.action", &good).decision, Decision::Deny);
}

#[test]
fn a_policy_that_fails_while_it_is_evaluated_denies() {
    let policy = load(
        r#"permit(principal, action, resource);
           forbid(principal, action in Action::"fs.read", resource) when { context.links + 9223372036854775807 > 0 };"#,
    );
    let overflowing = effect("fs.read", Verb::Observe, "/w/x").fact("links", Fact::Long(1));
    let ruling = judge(&policy, "fs.read", &overflowing);
    assert_eq!(ruling.decision, Decision::Deny);
    assert!(ruling.policies[0].reason.as_ref().unwrap().contains("cannot be evaluated"), "{ruling:?}");
}

#[test]
fn what_does_not_validate_is_refused_with_its_line() {
    refused("permit(principal, action, resource);\n\npermit(principal action, resource);", "policy:3:");
    refused("\npermit(principal, action == Action::\"fs.raed/observe\", resource);", "policy:2:");
    refused(r#"permit(principal, action in Action::"observe", resource) when { context.link > 1 };"#, "link");
    refused(
        r#"permit(principal, action in Action::"observe", resource) when { context.options.isEmpty() };"#,
        "options",
    );
    refused(r#"permit(principal, action, resource in Rotos::"read");"#, "Rotos");
    refused(r#"forbid(principal, action, resource in Roots::"wirte");"#, "wirte");
    refused(r#"forbid(principal, action, resource in Path::"work");"#, "absolute");
    refused(r#"permit(principal, action, resource == ?resource);"#, "template");
}

#[test]
fn a_forbid_that_can_never_bite_is_refused() {
    for scope in [
        "principal, action, resource) when { principal is User",
        "principal is User, action, resource) when { true",
        "principal in Roots::\"read\", action, resource) when { true",
        "principal, action, resource is Session) when { true",
        "principal, action, resource is Roots) when { true",
        "principal, action, resource == User::\"0\") when { true",
        "principal, action in Action::\"observe\", resource) when { context has link && context.link > 1",
    ] {
        refused(&format!("forbid({scope} }};"), "impossible");
    }
    refused(
        r#"forbid(principal, action, resource) when { Path::"/w/a" in Path::"/w" };"#,
        "the left side of \"in\"",
    );
    refused(
        r#"forbid(principal, action, resource) when { Path::"/w/a" is Path in Path::"/w" };"#,
        "the left side",
    );
}

#[test]
fn what_nothing_linked_can_do_is_accepted_with_a_note() {
    let policy = load(r#"permit(principal, action in Action::"inject", resource == Display::"virtual");"#);
    assert!(policy.notes()[0].contains("policy:1"), "{:?}", policy.notes());
}

#[test]
fn a_policy_says_whether_secrets_stand_in_the_record() {
    let rule = "permit(principal, action in Action::\"observe\", resource);";
    for (written, clear) in [("", false), ("@record(\"clear\") ", true)] {
        let policy = load(&format!("{written}{rule}"));
        let found = judge(&policy, "fs.read", &effect("fs.read", Verb::Observe, "/etc/hostname"));
        assert!(found.policies.iter().all(|reason| reason.clear == clear), "{found:?}");
    }
    refused(&format!("@record(\"all\") {rule}"), "expected \"clear\"");
}

#[test]
fn ids_are_unique_and_never_the_hosts() {
    let rule = "permit(principal, action, resource);";
    refused(&format!("@id(\"a\") {rule} @id(\"a\") {rule}"), "used twice");
    refused(&format!("@id(\"policy1\") {rule} {rule}"), "used twice");
    refused(&format!("@id(\"host\") {rule}"), "not \"host\"");
}

#[test]
fn every_form_of_naming_a_path_is_brought_into_its_real_form() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap().join("real");
    std::fs::create_dir(&real).unwrap();
    let link = dir.path().join("link");
    symlink(&real, &link).unwrap();
    let inside = real.join("x").display().to_string();
    let link = link.display();
    for scope in [
        format!("resource in Path::\"{link}\");"),
        format!("resource == Path::\"{link}/x\");"),
        format!("resource is Path in Path::\"{link}\");"),
        format!("resource) when {{ resource in Path::\"{link}\" }};"),
        format!("resource) when {{ resource == Path::\"{link}/x\" }};"),
        format!("resource) when {{ resource is Path in Path::\"{link}\" }};"),
        format!("resource) when {{ resource in [Path::\"/elsewhere\", Path::\"{link}\"] }};"),
        format!("resource) when {{ [Path::\"{link}/x\"].contains(resource) }};"),
        format!("resource) unless {{ !(if true then resource in Path::\"{link}\" else false) }};"),
    ] {
        let policy = load(&format!(
            "@id(\"named\") @reason(\"kept\") permit(principal, action in Action::\"observe\", {scope}"
        ));
        let found = judge(&policy, "fs.read", &effect("fs.read", Verb::Observe, &inside));
        assert_eq!(found.decision, Decision::Allow, "{scope}");
        assert_eq!(
            found.policies,
            [Reason { policy: "named".to_owned(), reason: Some("kept".to_owned()), clear: false }]
        );
    }
}

#[test]
fn a_capability_cannot_take_the_name_of_a_built_in_kind() {
    let registry = Registry::of([&odd::REGISTRATION]).unwrap();
    let error = Policy::schema(&registry).unwrap_err().to_string();
    assert!(error.contains("\"Path\""), "{error}");
}

#[test]
fn the_schema_has_every_verb_and_every_fact() {
    let text = Policy::schema(&registry()).unwrap();
    for part in [
        "action \"inject\";",
        "action \"fs.move/destroy\" in [\"fs.move\", \"destroy\"]",
        "\"options\": Set<String>",
        "\"confirmed\": Bool",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn the_self_test_notices_a_missing_and_a_superfluous_ancestor() {
    let vocabulary = || Vocabulary::of(&registry()).unwrap();
    for roots in [Roots::new(&roots()), Roots::default()] {
        canary::check(&vocabulary(), &roots).unwrap();
    }
    let mut broken = vocabulary();
    let [action, verb] = broken.concretes[0].groups.clone();
    broken.concretes[0].groups = [action.clone(), action.clone()];
    assert!(canary::check(&broken, &Roots::default()).unwrap_err().contains(&verb.to_string()));
    broken.concretes[0].groups = [action, r#"Action::"change""#.parse().unwrap()];
    assert!(canary::check(&broken, &Roots::default()).unwrap_err().contains("change"));
}

#[test]
fn the_policies_left_out_for_an_action_could_not_have_decided() {
    let policy = load(include_str!("../../../examples/policies/workspace.cedar"));
    let all = Relevant {
        set: PolicySet::from_policies(policy.rules.iter().map(|rule| rule.policy.clone())).unwrap(),
        rules: (0..policy.rules.len()).collect(),
        named: Named::in_policies(policy.rules.iter().map(|rule| &rule.policy)).unwrap(),
    };
    for concrete in &policy.vocabulary.concretes {
        for (kind, id) in concrete.kinds.iter().flat_map(|kind| ["/w/x", "/bin/ls"].map(|id| (*kind, id))) {
            let mut effect = concrete.sample(kind);
            id.clone_into(&mut effect.resource.id);
            let resource = Entity::of(&effect.resource, &policy.roots);
            let with = |relevant| policy.decide(concrete, relevant, &ann(), &resource, &effect);
            assert_eq!(with(&policy.by_action[concrete.index]), with(&all), "{} {id}", concrete.uid);
        }
    }
    assert!(policy.by_action.iter().any(|relevant| relevant.rules.len() < policy.rules.len()));
}

#[test]
fn the_outlook_is_definite_only_where_params_cannot_matter() {
    let policy = load(
        r#"permit(principal, action in Action::"fs.read", resource);
           permit(principal, action in Action::"fs.write", resource) when { context.confirmed };
           permit(principal, action in Action::"run", resource == Program::"/bin/echo");
           permit(principal, action in Action::"exec.run", resource is Path);"#,
    );
    let outlook = |name: &str| policy.outlook(&ann(), &action(name));
    assert_eq!(outlook("fs.read"), Outlook::Allow);
    assert_eq!(outlook("fs.write"), Outlook::Confirm);
    assert_eq!(outlook("fs.remove"), Outlook::Deny);
    assert_eq!(outlook("exec.run"), Outlook::Depends);
}

#[test]
#[ignore = "a measurement: cargo test -- --ignored --nocapture decisions"]
fn decisions_take_microseconds() {
    let policy = load(include_str!("../../../examples/policies/workspace.cedar"));
    let cases = [
        ("fs.read", effect("fs.read", Verb::Observe, "/w/a/b/c/d")),
        ("fs.remove", effect("fs.remove", Verb::Destroy, "/w/a/b/c/d")),
        ("exec.run", effect("exec.run", Verb::Run, "/usr/bin/ls")),
    ];
    for (name, effect) in cases {
        let start = std::time::Instant::now();
        for _ in 0..1000 {
            judge(&policy, name, &effect);
        }
        println!("{name}: {:?} a decision", start.elapsed() / 1000);
    }
    let start = std::time::Instant::now();
    load(include_str!("../../../examples/policies/workspace.cedar"));
    println!("load: {:?}", start.elapsed());
}
