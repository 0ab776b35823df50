//! What programs may touch: never more than the same policy allows `fs`, place by place.

use std::fs;

use super::*;
use llm_os_core::reach::{Network, Reach};

/// A tree with files, and a root for reading inside of one for writing.
struct Tree {
    dir: tempfile::TempDir,
}

const FILES: [&str; 7] =
    ["w/a/secret/key", "w/a/b/x", "w/a/file", "w/kept/inner", "w/own", "r/inner/y", "r/z"];

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in FILES {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        Self { dir }
    }

    fn at(&self, below: &str) -> String {
        self.dir.path().canonicalize().unwrap().join(below).to_str().unwrap().to_owned()
    }

    fn roots(&self) -> Vec<Root> {
        let root = |path: &str, mode| Root { path: self.at(path).into(), mode };
        vec![
            root("w", Mode::Write),
            root("w/kept", Mode::Read),
            root("r", Mode::Read),
            root("r/inner", Mode::Write),
        ]
    }

    /// Loads a policy in which `~` stands for the tree.
    fn load(&self, text: &str) -> Result<Policy, String> {
        self.load_beside(text, Protected::default())
    }

    fn load_beside(&self, text: &str, protected: Protected) -> Result<Policy, String> {
        loaded(&text.replace('~', self.at("").trim_end_matches('/')), &self.roots(), protected)
            .map_err(|e| e.to_string())
    }

    fn reach(&self, text: &str, confirmed: bool) -> Reach {
        self.load(text).unwrap_or_else(|e| panic!("{e}")).reach(&ann(), confirmed)
    }

    fn paths(&self, below: &[&str]) -> Vec<PathBuf> {
        below.iter().map(|path| self.at(path).into()).collect()
    }
}

const READS: &str = r#"permit(principal, action in Action::"observe", resource in Roots::"read");"#;
const WORKS: &str = r#"permit(principal, action, resource in Roots::"write");"#;

#[test]
fn a_root_is_granted_as_its_mode_and_the_policy_say() {
    let tree = Tree::new();
    let reach = tree.reach(READS, false);
    assert_eq!(reach.read, tree.paths(&["r", "r/inner", "w", "w/kept"]));
    assert!(reach.write.is_empty() && reach.hidden.is_empty() && reach.kept.is_empty());
    let reach = tree.reach(&format!("{READS}{WORKS}"), false);
    assert_eq!(reach.write, tree.paths(&["r/inner", "w"]));
    assert_eq!(reach.kept, tree.paths(&["w/kept"]), "a root for reading inside of one for writing");
    assert_eq!(tree.reach("", false), Reach::default());
}

#[test]
fn what_a_human_must_confirm_is_granted_to_a_confirmed_program_and_only_below_the_roots() {
    let tree = Tree::new();
    let text = "permit(principal, action, resource) when { context.confirmed };";
    assert_eq!(tree.reach(text, false), Reach::default());
    assert_eq!(tree.reach(text, true).write, tree.paths(&["r", "r/inner", "w", "w/kept"]));
}

#[test]
fn what_is_forbidden_inside_is_hidden_or_kept_and_cannot_be_moved_away() {
    let tree = Tree::new();
    let text = format!(
        r#"{READS}{WORKS}
        forbid(principal, action, resource in Path::"~/w/a/secret");
        forbid(principal, action in [Action::"change", Action::"destroy"], resource in Path::"~/w/a/b");"#
    );
    let reach = tree.reach(&text, false);
    assert_eq!(reach.hidden, tree.paths(&["w/a/secret"]));
    assert_eq!(reach.kept, tree.paths(&["w/a/b", "w/a/secret", "w/kept"]));
    assert_eq!(reach.pinned, tree.paths(&["w/a"]));
}

#[test]
fn a_rule_that_looks_closer_keeps_the_whole_place_out() {
    let tree = Tree::new();
    let facts = r#"permit(principal, action in Action::"change", resource in Roots::"write")
        when { context has persistent && !context.persistent };"#;
    assert!(tree.reach(&format!("{READS}{facts}"), false).write.is_empty());
    let forbid = r#"forbid(principal, action in Action::"observe", resource in Path::"~/w/a")
        when { context has persistent && context.persistent };"#;
    assert_eq!(tree.reach(&format!("{READS}{forbid}"), false).read, tree.paths(&["r", "r/inner", "w/kept"]));
    let policy = tree.load(&format!("{READS}{forbid}")).unwrap();
    assert!(
        policy.notes().iter().any(|note| note.contains("programs are not let at")),
        "{:?}",
        policy.notes()
    );
}

#[test]
fn a_rule_about_somebody_else_does_not_count() {
    let tree = Tree::new();
    let reach = tree.reach(
        &format!(r#"{READS} forbid(principal in User::"1", action, resource in Path::"~/w/a");"#),
        false,
    );
    assert!(reach.hidden.is_empty());
    let only = r#"permit(principal in User::"1", action, resource in Roots::"read");"#;
    assert_eq!(tree.reach(only, false), Reach::default());
}

#[test]
fn the_hosts_own_files_are_hidden_wherever_they_lie() {
    let tree = Tree::new();
    let protected =
        || Protected::new([tree.at("w/a/secret").into(), tree.at("w/a/later/state").into()]).unwrap();
    let policy = tree.load_beside(&format!("{READS}{WORKS}"), protected()).unwrap();
    let reach = policy.reach(&ann(), false);
    assert_eq!(
        reach.hidden,
        tree.paths(&["w/a", "w/a/secret"]),
        "what does not exist is hidden with what is above"
    );
    let directly = Protected::new([tree.at("w/state").into()]).unwrap();
    let reach = tree.load_beside(READS, directly).unwrap().reach(&ann(), false);
    assert_eq!(reach.read, tree.paths(&["r", "r/inner", "w/kept"]), "a program could make it first");
}

#[test]
fn what_can_be_held_in_no_way_is_a_load_error_that_names_the_rule() {
    let tree = Tree::new();
    let text = format!(r#"{READS} @id("keys") forbid(principal, action, resource in Path::"~/w/a/later");"#);
    let error = tree.load(&text).err().unwrap();
    assert!(
        error.contains("policy \"keys\"") && error.contains("/w/a/later, which does not exist"),
        "{error}"
    );
}

#[test]
fn no_place_that_holds_everything_is_granted() {
    let tree = Tree::new();
    let text = r#"permit(principal, action, resource in Path::"/");
        permit(principal, action, resource in Path::"/proc");"#;
    assert_eq!(tree.reach(text, false).write, tree.paths(&["r", "r/inner", "w", "w/kept"]));
}

#[test]
fn a_place_that_a_rule_names_is_granted_beside_the_roots() {
    let tree = Tree::new();
    let text = r#"permit(principal, action in Action::"observe", resource in Path::"~/w/a/b");
        permit(principal, action in Action::"observe", resource == Path::"~/r/z");
        permit(principal, action in Action::"observe", resource == Path::"~/r/inner");"#;
    assert_eq!(tree.reach(text, false).read, tree.paths(&["r/z", "w/a/b"]));
}

#[test]
fn the_profile_of_a_program_is_what_its_rules_say_together() {
    let tree = Tree::new();
    let policy = tree
        .load(
            r#"@network("tcp 443, 80") @read("~/r") permit(principal, action in Action::"run", resource);
            @execute("yes") permit(principal, action == Action::"exec.run/run", resource == Program::"/usr/bin/true");"#,
        )
        .unwrap();
    let ruling = |program: &str| {
        let effect = effect("exec.run", Verb::Run, program);
        policy.judge(Query { principal: &ann(), action: &action("exec.run"), effect: &effect }).profile
    };
    let profile = ruling("/usr/bin/true");
    assert_eq!((profile.network, profile.execute), (Network::Ports(vec![80, 443]), true));
    assert_eq!(profile.read, tree.paths(&["r"]));
    assert!(!ruling("/usr/bin/false").execute);
}

#[test]
fn an_annotation_that_would_do_nothing_is_refused() {
    let tree = Tree::new();
    fs::create_dir(tree.at("w/state")).unwrap();
    let run = "permit(principal, action in Action::\"run\", resource);";
    for (text, why) in [
        (format!("@netwrok(\"all\") {run}"), "found @netwrok, expected one of @id"),
        (format!("@network(\"yes\") {run}"), "found @network(\"yes\"), expected"),
        (format!("@network(\"tcp 0\") {run}"), "found @network(\"tcp 0\"), expected"),
        (format!("@execute(\"no\") {run}"), "found @execute(\"no\"), expected \"yes\""),
        (format!("@read(\"r\") {run}"), "@read: found \"r\""),
        (format!("@read(\"~/nowhere\") {run}"), "something that exists"),
        (format!("@write(\"~/w\") {run}"), "@read and @write cannot name"),
        (format!("@write(\"/\") {run}"), "@read and @write cannot name /"),
        (
            format!(
                "@read(\"~/r\") {run} @id(\"no\") forbid(principal, action, resource in Path::\"~/r/inner\");"
            ),
            "\"no\" forbids",
        ),
        (
            "@network(\"all\") permit(principal, action in Action::\"observe\", resource);".to_owned(),
            "is about programs",
        ),
        (
            "@network(\"all\") forbid(principal, action in Action::\"run\", resource);".to_owned(),
            "is about programs",
        ),
    ] {
        let protected = Protected::new([tree.at("w/state").into()]).unwrap();
        let error = tree.load_beside(&text, protected).err().unwrap_or_else(|| panic!("{text} is accepted"));
        assert!(error.contains(why), "{text}: {error}");
    }
}

fn scope() -> impl Strategy<Value = String> {
    let path = prop::sample::select(vec![
        "~",
        "~/w",
        "~/w/a",
        "~/w/a/b",
        "~/w/a/b/x",
        "~/w/kept",
        "~/r",
        "~/r/inner",
        "~/r/z",
    ]);
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
    let effect = prop::sample::select(vec!["permit", "permit", "forbid"]);
    let action = prop::sample::select(vec![
        "action",
        "action in Action::\"observe\"",
        "action in [Action::\"change\", Action::\"destroy\"]",
        "action in Action::\"change\"",
    ]);
    let condition = prop::sample::select(vec![
        "",
        "",
        "when { context.confirmed }",
        "unless { context.confirmed }",
        "when { principal in User::\"1000\" }",
        "when { resource in Path::\"~/w/a/b\" }",
        "when { context has persistent && context.persistent }",
    ]);
    (effect, action, scope(), condition).prop_map(|(effect, action, scope, condition)| {
        format!("{effect}(principal, {action}, {scope}) {condition};")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_program_reaches_nothing_that_fs_could_not_have_touched(
        rules in prop::collection::vec(rule(), 1..6),
        confirmed in any::<bool>(),
    ) {
        let tree = Tree::new();
        let Ok(policy) = tree.load(&rules.join("\n")) else { return Ok(()) };
        let reach = policy.reach(&ann(), confirmed);
        let inside = |path: &Path, places: &[PathBuf]| places.iter().any(|place| path.starts_with(place));
        let lets = |name: &str, verb, path: &Path| {
            [false, true].into_iter().all(|persistent| {
                let effect = effect(name, verb, path.to_str().unwrap()).fact("persistent", Fact::Bool(persistent));
                let query = Query { principal: &ann(), action: &action(name), effect: &effect };
                match policy.judge(query).decision {
                    Decision::Allow => true,
                    Decision::Confirm => confirmed,
                    Decision::Deny => false,
                }
            })
        };
        let every = FILES.iter().flat_map(|file| Path::new(file).ancestors().filter(|path| !path.as_os_str().is_empty()));
        for path in every.map(|path| PathBuf::from(tree.at(path.to_str().unwrap()))) {
            // A place that can be read lies on top of the one around it that can be written.
            let mode = |places: &[PathBuf]| {
                places.iter().filter(|place| path.starts_with(place)).map(|place| place.components().count()).max()
            };
            let writes = mode(&reach.write) >= mode(&reach.read) && mode(&reach.write).is_some();
            let sees = !inside(&path, &reach.hidden) && (writes || mode(&reach.read).is_some());
            if sees {
                prop_assert!(lets("fs.read", Verb::Observe, &path), "read {path:?}: {reach:#?}");
            }
            if sees && writes && !inside(&path, &reach.kept) {
                prop_assert!(lets("fs.write", Verb::Change, &path), "write {path:?}: {reach:#?}");
                prop_assert!(lets("fs.remove", Verb::Destroy, &path), "remove {path:?}: {reach:#?}");
            }
        }
    }
}
