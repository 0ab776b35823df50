//! What of an action's params the policies could let through, before there are any.

use std::os::unix::ffi::OsStrExt;

use llm_os_core::registry::Action;
use serde_json::{Value, json};

use super::possible::{Case, Place};
use super::*;

/// A caller of the capabilities that are linked, none of them open.
struct Desk {
    registry: Registry,
    policy: Policy,
}

impl Desk {
    fn with(roots: &[Root], text: &str) -> Self {
        let registry = Registry::linked().unwrap();
        let written = Text::one("policy".to_owned(), text.to_owned(), false);
        let policy = Policy::of(written, &registry, Roots::new(roots), Protected::default());
        Self { policy: policy.unwrap_or_else(|e| panic!("{e}")), registry }
    }

    fn new(text: &str) -> Self {
        Self::with(&roots(), text)
    }

    fn action(&self, name: &str) -> &Action {
        self.registry.action(&action(name)).unwrap()
    }

    fn allowed(&self, name: &str) -> Allowed {
        self.policy.allowed(&ann(), self.action(name), &self.registry)
    }

    /// Whether the schema accepts some params, which its action's own accepts.
    #[track_caller]
    fn accepts(&self, name: &str, params: &Value) -> bool {
        let action = self.action(name);
        assert!(jsonschema::validator_for(&action.params).unwrap().is_valid(params), "{name}: {params}");
        match self.allowed(name) {
            Allowed::Anything => true,
            Allowed::Nothing => false,
            Allowed::Narrower(schema) => jsonschema::validator_for(&schema).unwrap().is_valid(params),
        }
    }
}

const ALL: &str = "permit(principal, action, resource);";

fn paths(verb: &str, path: &str) -> Value {
    match verb {
        "fs.write" => json!({"path": path, "content": "x", "mode": "create"}),
        _ => json!({"path": path}),
    }
}

#[test]
fn nothing_is_said_where_the_policy_leaves_an_action_as_it_is() {
    let desk = Desk::new(ALL);
    for name in
        ["exec.run", "exec.list", "exec.read", "mouse.click", "mouse.move", "keyboard.press", "fs.undo"]
    {
        assert_eq!(desk.allowed(name), Allowed::Anything, "{name}");
    }
    for action in desk.registry.actions() {
        assert!(!action.params.to_string().contains("\"x-"), "{}: {}", action.name, action.params);
        if let Allowed::Narrower(schema) = desk.allowed(action.name.as_str()) {
            assert!(!schema.to_string().contains("\"x-"), "{}: {schema}", action.name);
        }
    }
}

#[test]
fn a_path_lies_below_a_root_in_every_spelling_below_it() {
    let desk = Desk::new(ALL);
    for path in [
        "/w",
        "/w/",
        "/w/a",
        "/w//a/./b/",
        "/w/.",
        "/w/...",
        "/w/..a/.b",
        "/w/a..",
        "/w/a\nb",
        "/w/\u{fc}",
        "/r/x",
        "/r/inner/x",
        "file:///w/a%FF",
        "file:///r",
        "/w/%2e%2e",
    ] {
        assert!(desk.accepts("fs.read", &paths("fs.read", path)), "{path}");
    }
    for path in [
        "/",
        "/etc/passwd",
        "/wx",
        "/w/..",
        "/w/../etc",
        "/w/a/..",
        "/w/a/../b",
        "file:///etc",
        "file:///wx",
        "file:///w/../x",
        "/W/a",
        "/x/w/a",
        "/x\n/w/a",
    ] {
        assert!(!desk.accepts("fs.read", &paths("fs.read", path)), "{path}");
    }
}

#[test]
fn what_is_no_path_for_the_host_is_none_below_a_root_either() {
    let desk = Desk::new(ALL);
    let Allowed::Narrower(schema) = desk.allowed("fs.read") else { panic!("it is not narrowed") };
    let schema = jsonschema::validator_for(&schema).unwrap();
    for path in [
        "w/a",
        "x\n/w/a",
        "/w/a\0b",
        "/w/..\0",
        "file:///w/%",
        "file:///w/%zz",
        "file:///w/a%00",
        "file:///w/..%0",
    ] {
        assert!(!schema.is_valid(&paths("fs.read", path)), "{path:?}");
    }
}

#[test]
fn what_changes_lies_below_a_root_for_writing() {
    let desk = Desk::new(ALL);
    for name in ["fs.write", "fs.mkdir", "fs.remove", "fs.edit"] {
        let params = |path: &str| match name {
            "fs.edit" => json!({"path": path, "old": "a", "new": "b"}),
            _ => paths(name, path),
        };
        assert!(desk.accepts(name, &params("/w/a")), "{name}");
        assert!(desk.accepts(name, &params("/r/inner/a")), "{name}");
        assert!(!desk.accepts(name, &params("/r/a")), "{name}");
    }
    for (name, from, to, expected) in [
        ("fs.copy", "/r/a", "/w/a", true),
        ("fs.copy", "/w/a", "/r/a", false),
        ("fs.move", "/r/a", "/w/a", false),
        ("fs.move", "/w/a", "/r/a", false),
        ("fs.move", "/r/inner/a", "/w/a", true),
    ] {
        assert_eq!(desk.accepts(name, &json!({"from": from, "to": to})), expected, "{name} {from} {to}");
    }
}

#[test]
fn a_root_with_odd_names_is_spelled_as_it_is_or_as_a_uri() {
    let root = |path: &str| Root { path: PathBuf::from(path), mode: Mode::Read };
    let desk = Desk::with(&[root("/a (b)+/\u{fc}.x")], ALL);
    for (path, expected) in [
        ("/a (b)+/\u{fc}.x/f", true),
        ("file:///a%20%28b%29%2B/%C3%BC.x/f", true),
        ("/a (b)+/\u{fc}yx/f", false),
        ("/a b/\u{fc}.x/f", false),
    ] {
        assert_eq!(desk.accepts("fs.read", &paths("fs.read", path)), expected, "{path}");
    }
    let desk = Desk::with(&[root("/"), root("/w")], ALL);
    for (path, expected) in [
        ("/", true),
        ("/etc", true),
        ("file:///etc/%FF", true),
        ("/etc/..", false),
        ("file:///etc/..", false),
    ] {
        assert_eq!(desk.accepts("fs.read", &paths("fs.read", path)), expected, "{path}");
    }
    let not_utf8 = PathBuf::from(std::ffi::OsStr::from_bytes(b"/a\xff"));
    let desk = Desk::with(&[Root { path: not_utf8, mode: Mode::Read }], ALL);
    assert!(desk.accepts("fs.read", &paths("fs.read", "file:///a%FF/b")));
    assert!(!desk.accepts("fs.read", &paths("fs.read", "/a/b")));
}

#[test]
fn a_root_for_reading_holds_nothing_that_may_be_written_unless_a_root_for_writing_lies_below() {
    let root = |path: &str, mode| Root { path: PathBuf::from(path), mode };
    let policy = "permit(principal, action, resource in Roots::\"write\");";
    for (below, expected) in [("/elsewhere", false), ("/r/inner", true)] {
        let desk = Desk::with(&[root("/r", Mode::Read), root(below, Mode::Write)], policy);
        assert_eq!(desk.accepts("fs.read", &paths("fs.read", "/r/x")), expected, "{below}");
    }
}

/// Which of the roots `/w`, `/r`, `/r/inner` the policy leaves, in this order; `/w/kept` is below `/w`.
#[test]
fn a_root_stays_only_where_the_policy_could_let_something_happen_below_it() {
    for (policy, read, write) in [
        // A link in /r may lead into /r/inner.
        ("permit(principal, action, resource in Roots::\"write\");", [true, true, true], [true, false, true]),
        ("permit(principal, action, resource in Path::\"/w\");", [true, false, false], [true, false, false]),
        (
            "permit(principal, action, resource in Path::\"/r/inner/deep\");",
            [false, true, true],
            [false, false, true],
        ),
        (
            "permit(principal, action, resource == Path::\"/r/f\");",
            [false, true, false],
            [false, false, false],
        ),
        (
            "permit(principal, action, resource) when { context.confirmed }; forbid(principal, action, resource in Path::\"/w\");",
            [false, true, true],
            [false, false, true],
        ),
        (
            "permit(principal, action, resource); forbid(principal, action, resource in Path::\"/w/a\");",
            [true, true, true],
            [true, false, true],
        ),
        (
            "permit(principal, action, resource); forbid(principal, action, resource in Path::\"/w\") unless { context.confirmed };",
            [true, true, true],
            [true, false, true],
        ),
        (
            "permit(principal, action, resource) unless { resource in Path::\"/r\" };",
            [true, false, false],
            [true, false, false],
        ),
        ("permit(principal in User::\"1\", action, resource);", [false; 3], [false; 3]),
        ("permit(principal, action in Action::\"observe\", resource);", [true; 3], [false; 3]),
    ] {
        let desk = Desk::new(policy);
        let roots = ["/w/x", "/r/x", "/r/inner/x"];
        let found = |name: &str| roots.map(|path| desk.accepts(name, &paths(name, path)));
        // What is below a root that stays is accepted, whichever root it is in.
        let read = [read[0], read[1], read[1] || read[2]];
        assert_eq!((found("fs.read"), found("fs.write")), (read, write), "{policy}");
    }
}

#[test]
fn programs_are_those_that_the_policy_names_by_all_their_names() {
    let desk = Desk::new(
        r#"permit(principal, action in Action::"run", resource == Program::"/bin/echo");
           permit(principal, action in Action::"run", resource) when { context has argc && context.argc < 3 }
           when { resource == Program::"/usr/bin/id" || (resource == Program::"/nowhere/x" && context.confirmed) };
           permit(principal, action in Action::"run", resource == Program::"/usr/bin/cat");
           forbid(principal, action in Action::"run", resource == Program::"/usr/bin/cat");
           permit(principal in User::"1", action in Action::"run", resource == Program::"/usr/bin/wc");
           permit(principal, action in Action::"observe", resource);"#,
    );
    let runs = |program: &str| {
        let argv = json!([program, "anything", "/else"]);
        let found = ["exec.run", "exec.start"].map(|name| desk.accepts(name, &json!({"argv": argv})));
        let piped = desk.accepts("exec.pipe", &json!({"stages": [{"argv": ["/bin/echo"]}, {"argv": argv}]}));
        assert_eq!([found[0]; 2], [found[1], piped], "{program}");
        piped
    };
    for (program, expected) in [
        ("/bin/echo", true),
        ("/usr/bin/echo", true),
        ("/usr/bin/id", true),
        ("/nowhere/x", true),
        ("/usr/bin/cat", false),
        ("/usr/bin/wc", false),
        ("/usr/bin/ls", false),
        ("echo", false),
        ("", false),
    ] {
        assert_eq!(runs(program), expected, "{program}");
    }
    assert!(
        !jsonschema::validator_for(&desk.action("exec.run").params).unwrap().is_valid(&json!({"argv": []}))
    );
}

#[test]
fn a_link_in_a_usual_folder_is_a_name_of_its_program() {
    let awk = Path::new("/usr/bin/sh").canonicalize().unwrap();
    let desk = Desk::new(&format!(
        "permit(principal, action in Action::\"run\", resource == Program::\"{}\") when {{ context.confirmed }};",
        awk.display()
    ));
    for name in [&*awk.to_string_lossy(), "/usr/bin/sh", "/bin/sh"] {
        assert!(desk.accepts("exec.run", &json!({"argv": [name]})), "{name}");
    }
    assert!(!desk.accepts("exec.run", &json!({"argv": ["/usr/bin/echo"]})));
}

#[test]
fn a_program_may_be_named_as_the_policy_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().canonicalize().unwrap().join("tool");
    symlink("/usr/bin/id", &link).unwrap();
    let link = link.to_str().unwrap();
    let desk =
        Desk::new(&format!("permit(principal, action in Action::\"run\", resource == Program::\"{link}\");"));
    for (name, expected) in [(link, true), ("/usr/bin/id", true), ("/usr/bin/echo", false)] {
        assert_eq!(desk.accepts("exec.run", &json!({"argv": [name]})), expected, "{name}");
    }
}

#[test]
fn any_program_stays_where_one_that_no_policy_names_could_run() {
    for policy in [
        "permit(principal, action, resource) when { context.confirmed };",
        "permit(principal, action in Action::\"run\", resource in Path::\"/usr/bin\");",
        "permit(principal, action in Action::\"run\", resource) unless { resource == Program::\"/usr/bin/id\" };",
        "permit(principal, action in Action::\"run\", resource) when { context has sha256 && context.sha256 like \"ab*\" };",
    ] {
        assert!(Desk::new(policy).accepts("exec.run", &json!({"argv": ["/opt/x"]})), "{policy}");
    }
}

#[test]
fn a_program_gets_the_display_only_where_the_policy_could_let_it() {
    let run = r#"permit(principal, action in Action::"run", resource); "#;
    let see = r#"permit(principal, action in Action::"observe", resource is Display); "#;
    let drive = r#"permit(principal, action in Action::"inject", resource is Display); "#;
    for (policy, expected) in [
        (format!("{run}{see}{drive}"), true),
        (format!("{run}{see}"), false),
        (format!("{ALL} forbid(principal, action, resource is Display);"), false),
        (
            format!(
                "{ALL} forbid(principal, action, resource is Display) unless {{ resource in Display::\"virtual\" }};"
            ),
            true,
        ),
    ] {
        let desk = Desk::new(&policy);
        let with =
            |display: bool| desk.accepts("exec.run", &json!({"argv": ["/usr/bin/id"], "display": display}));
        assert_eq!((with(true), with(false)), (expected, true), "{policy}");
    }
}

#[test]
fn buttons_are_those_that_the_policy_could_let_be_pressed() {
    let on = |condition: &str| {
        format!("permit(principal, action in Action::\"inject\", resource) when {{ {condition} }};")
    };
    for (policy, buttons, default) in [
        (on("context has button && context.button == \"right\""), &["right"][..], false),
        (on("context has button && [\"left\", \"back\"].contains(context.button)"), &["left", "back"], true),
        (
            format!(
                "{ALL} forbid(principal, action, resource) when {{ context has button && context.button == \"middle\" }};"
            ),
            &["left", "right", "back", "forward"],
            true,
        ),
        (
            format!(
                "{ALL} forbid(principal, action, resource is Window) when {{ context has button && context.button != \"left\" }};"
            ),
            &["left", "right", "middle", "back", "forward"],
            true,
        ),
    ] {
        let desk = Desk::new(&policy);
        for name in ["mouse.click", "mouse.down", "mouse.up", "mouse.drag"] {
            let params = |more: Value| {
                let mut params =
                    if name == "mouse.drag" { json!({"path": [[1, 1], [2, 2]]}) } else { json!({}) };
                params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                params
            };
            for button in ["left", "right", "middle", "back", "forward"] {
                let accepted = desk.accepts(name, &params(json!({"button": button})));
                assert_eq!(accepted, buttons.contains(&button), "{name} {button}: {policy}");
            }
            // A button that is not named is the left one.
            assert_eq!(desk.accepts(name, &params(json!({}))), default, "{name}: {policy}");
        }
    }
}

#[test]
fn an_action_that_could_never_be_let_through_has_no_params() {
    let read = |path: &str| Root { path: PathBuf::from(path), mode: Mode::Read };
    let desk = Desk::with(
        &[read("/r")],
        "permit(principal, action, resource) when { context has button && context.button == \"none\" };",
    );
    for name in ["fs.read", "mouse.click", "exec.run", "exec.pipe", "exec.start"] {
        assert_eq!(desk.allowed(name), Allowed::Nothing, "{name}");
    }
    let desk = Desk::with(&[read("/r")], ALL);
    assert_eq!(desk.allowed("fs.write"), Allowed::Nothing);
    let desk = Desk::new("permit(principal, action in Action::\"observe\", resource in Roots::\"read\");");
    for (name, expected) in
        [("monitor.list", Allowed::Nothing), ("exec.stop", Allowed::Nothing), ("fs.undo", Allowed::Anything)]
    {
        assert_eq!(desk.allowed(name), expected, "{name}");
    }
    let desk = Desk::with(&[read("/r")], ALL);
    // An optional field is left out.
    let piped = json!({"stages": [{"argv": ["/bin/echo"]}]});
    assert!(desk.accepts("exec.pipe", &piped));
    assert!(!desk.accepts("exec.pipe", &json!({"stages": [{"argv": ["/bin/echo"]}], "stdout_file": "/r/f"})));
}

/// Every field that names what an action is about says so; one that is added should be added here.
#[test]
fn the_links_of_the_real_actions_are_these() {
    fn count(schema: &Value, link: &str) -> usize {
        match schema {
            Value::Object(fields) => {
                usize::from(fields.contains_key(link))
                    + fields.values().map(|inner| count(inner, link)).sum::<usize>()
            }
            Value::Array(items) => items.iter().map(|item| count(item, link)).sum(),
            _ => 0,
        }
    }
    let registry = Registry::linked().unwrap();
    let found: Vec<_> = registry
        .actions()
        .flat_map(|action| {
            ["x-resource", "x-fact", "x-choice"]
                .map(|link| (action.name.as_str().to_owned(), link, count(&action.linked, link)))
        })
        .filter(|(_, _, count)| *count > 0)
        .map(|(name, link, count)| format!("{name} {link} {count}"))
        .collect();
    assert_eq!(
        found,
        [
            "exec.pipe x-resource 3",
            "exec.run x-resource 2",
            "exec.start x-resource 2",
            "fs.copy x-resource 2",
            "fs.edit x-resource 1",
            "fs.list x-resource 1",
            "fs.mkdir x-resource 1",
            "fs.move x-resource 2",
            "fs.read x-resource 1",
            "fs.remove x-resource 1",
            "fs.search x-resource 1",
            "fs.stat x-resource 1",
            "fs.write x-resource 1",
            "monitor.capture x-choice 1",
            "mouse.click x-fact 1",
            "mouse.down x-fact 1",
            "mouse.drag x-fact 1",
            "mouse.up x-fact 1",
        ]
    );
}

fn condition() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "context.confirmed",
        "context.confirmed == false",
        "context has persistent",
        "context has nothing",
        "context.persistent",
        "context.links < 2",
        "context.links + 9223372036854775807 > 0",
        "context.file_type == \"file\"",
        "context.file_type != \"directory\"",
        "context.file_type like \"f*\"",
        "[\"file\", \"missing\"].contains(context.file_type)",
        "context.file_type == context.file_type",
        "resource == Path::\"/w/a\"",
        "Path::\"/r/f\" == resource",
        "resource != Path::\"/w/a\"",
        "resource in Path::\"/w\"",
        "resource in [Path::\"/r/inner\", Path::\"/w/kept\"]",
        "resource in Roots::\"read\"",
        "resource in Roots::\"write\"",
        "resource is Path",
        "resource is Path in Path::\"/w/a\"",
        "principal in User::\"1000\"",
        "principal in User::\"1\"",
        "action in Action::\"observe\"",
        "action == Action::\"fs.write/change\"",
        "action in [Action::\"fs.read\", Action::\"destroy\"]",
        "true",
    ]);
    atom.prop_map(str::to_owned).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("(if {a} then {b} else {c})")),
        ]
    })
}

fn rule() -> impl Strategy<Value = String> {
    let effect = prop::sample::select(vec!["permit", "permit", "forbid"]);
    let principal =
        prop::sample::select(vec!["principal", "principal in User::\"1000\"", "principal in User::\"1\""]);
    let scope = prop::sample::select(vec![
        "resource",
        "resource is Path",
        "resource == Path::\"/w/a\"",
        "resource in Path::\"/w/a\"",
        "resource is Path in Path::\"/r\"",
        "resource in Roots::\"read\"",
        "resource in Roots::\"write\"",
    ]);
    let kind = prop::sample::select(vec!["when", "unless"]);
    (effect, principal, scope, kind, condition()).prop_map(|(effect, principal, scope, kind, condition)| {
        format!("{effect}({principal}, action in Action::\"fs.write\", {scope}) {kind} {{ {condition} }};")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_the_policies_let_happen_was_possible_by_all_that_was_known_before(
        rules in prop::collection::vec(rule(), 1..5),
        persistent: bool,
        links in 0i64..4,
        file_type in prop::sample::select(vec!["file", "directory", "missing"]),
    ) {
        // An impossible condition is refused at load, and of no interest here.
        let Ok(policy) = try_load(&rules.join("\n")) else { return Ok(()) };
        let name = action("fs.write");
        let concrete = policy.vocabulary.of_action(&name).next().unwrap();
        for path in ["/w", "/w/a", "/w/a/b", "/w/kept", "/w/kept/x", "/r", "/r/f", "/r/inner/x", "/elsewhere"] {
            let effect = effect("fs.write", Verb::Change, path)
                .fact("persistent", Fact::Bool(persistent))
                .fact("links", Fact::Long(links))
                .fact("file_type", Fact::Text(file_type.to_owned()));
            if judge(&policy, "fs.write", &effect).decision == Decision::Deny {
                continue;
            }
            let entity = Entity::of(&effect.resource, &policy.roots);
            let roots = policy.roots.read.iter().filter(|root| entity.is_in(root)).map(|root| Place::Below(root));
            let is_named = rules.iter().any(|rule| rule.contains(&format!("Path::\"{path}\"")));
            let unnamed = (!is_named).then_some(Place::Unnamed);
            for place in roots.chain(unnamed).chain([Place::Anywhere, Place::At(&entity)]) {
                for fact in [None, Some(("file_type", file_type))] {
                    let case = Case { concrete, uid: 1000, kind: Kind::Path, place, fact };
                    prop_assert!(policy.is_possible(&case), "{} by {:?}", path, rules);
                }
            }
        }
    }
}
