//! What a program may touch: never more than `fs` could have opened.

use std::fs;
use std::sync::LazyLock;

use super::*;
use crate::policy::subtree::is_at_or_below;

/// A tree with a root for writing (`w`), one for reading in it (`w/for-reading`), one for reading (`r`), one for writing
/// in that (`r/inner`), and the host's own (`w/own/state`).
struct Tree {
    dir: tempfile::TempDir,
}

const DIRECTORIES: [&str; 10] = [
    "w",
    "w/a",
    "w/a/b",
    "w/a/c",
    "w/for-reading",
    "w/for-reading/d",
    "w/own",
    "w/own/state",
    "r",
    "r/inner",
];

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in DIRECTORIES {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("file"), "").unwrap();
        }
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// The policy, in which `T` is the tree.
    fn load(&self, text: &str, protected: &[&str]) -> Result<Policy, PolicyError> {
        let root = |name: &str, mode| Root { path: self.at(name), mode };
        let roots = [
            root("w", Mode::Write),
            root("w/for-reading", Mode::Read),
            root("r", Mode::Read),
            root("r/inner", Mode::Write),
        ];
        let text = text.replace("\"T/", &format!("\"{}/", self.dir.path().canonicalize().unwrap().display()));
        let protected = Protected::new(protected.iter().map(|name| self.at(name))).unwrap();
        loaded(&text, &roots, protected)
    }

    /// Each list of the reach, by names in the tree.
    fn reach(&self, policy: &Policy, confirmed: bool) -> [String; 4] {
        let Reach { read, write, hidden, kept } = policy.reach(&ann(), confirmed);
        [read, write, hidden, kept].map(|list| {
            let names = list.iter().map(|path| path.strip_prefix(self.at("")).unwrap().to_str().unwrap());
            names.collect::<Vec<_>>().join(" ")
        })
    }

    #[track_caller]
    fn check(&self, text: &str, confirmed: bool, expected: [&str; 4]) {
        let policy = self.load(text, &[]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(self.reach(&policy, confirmed), expected, "{text}: {:?}", policy.notes());
    }

    #[track_caller]
    fn refused(&self, text: &str, protected: &[&str], parts: &[&str]) {
        let error = self.load(text, protected).err().expect("it was accepted").to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

const ALL: &str = "permit(principal, action, resource);";
const READABLE: &str = r#"permit(principal, action in Action::"observe", resource in Roots::"read");"#;
/// The roots, where everything is permitted: for reading, for writing, not to be seen, not to be changed.
const EVERYTHING: [&str; 4] = ["r", "r/inner w", "", "w/for-reading"];

#[test]
fn the_roots_are_given_by_their_mode_where_everything_in_them_is_permitted() {
    let tree = Tree::new();
    tree.check("", true, ["", "", "", ""]);
    tree.check(READABLE, false, ["r w", "", "", ""]);
    tree.check(ALL, false, EVERYTHING);
    tree.check(r#"permit(principal, action in Action::"fs.read", resource);"#, false, ["r w", "", "", ""]);
    tree.check(r#"permit(principal, action in Action::"change", resource);"#, false, ["", "", "", ""]);
    let without_removing = format!(r#"{READABLE} permit(principal, action in Action::"change", resource);"#);
    tree.check(&without_removing, false, ["r w", "", "", ""]);
    let written = r#"permit(principal, action, resource in Roots::"write");"#;
    tree.check(written, false, ["", "r/inner", "", ""]);
    tree.check(&format!("{READABLE} {written}"), false, EVERYTHING);
}

#[test]
fn what_a_human_must_confirm_is_given_once_a_human_did() {
    let tree = Tree::new();
    let asks = format!("{READABLE} permit(principal, action, resource) when {{ context.confirmed }};");
    tree.check(&asks, false, ["r w", "", "", ""]);
    tree.check(&asks, true, EVERYTHING);
    let lifted = format!(
        r#"{ALL} forbid(principal, action in Action::"change", resource in Path::"T/w/a") unless {{ context.confirmed }};"#
    );
    tree.check(&lifted, false, ["r", "r/inner w", "", "w/a w/for-reading"]);
    tree.check(&lifted, true, EVERYTHING);
}

#[test]
fn a_permit_that_looks_closer_gives_nothing() {
    let tree = Tree::new();
    for condition in ["!context.persistent", "resource in Path::\"T/w\"", "context has links"] {
        let text =
            format!(r#"permit(principal, action in Action::"fs.read", resource) when {{ {condition} }};"#);
        tree.check(&text, true, ["", "", "", ""]);
    }
    tree.check(
        r#"permit(principal, action in Action::"observe", resource == Path::"T/w");"#,
        true,
        ["", "", "", ""],
    );
}

#[test]
fn a_directory_below_a_root_is_given_by_itself() {
    let tree = Tree::new();
    tree.check(
        r#"permit(principal, action in Action::"observe", resource in Path::"T/w/a");"#,
        false,
        ["w/a", "", "", ""],
    );
    let both = format!(r#"{READABLE} permit(principal, action, resource in Path::"T/w/a");"#);
    tree.check(&both, false, ["r w", "w/a", "", ""]);
    // Outside of every root fs opens nothing.
    tree.check(r#"permit(principal, action, resource in Path::"/etc");"#, false, ["", "", "", ""]);
}

#[test]
fn what_is_forbidden_below_is_held_back_and_stays_where_it_is() {
    let tree = Tree::new();
    // w/a is given by itself, so that it cannot be renamed together with what is in it.
    let hidden =
        format!(r#"{ALL} forbid(principal, action in Action::"observe", resource in Path::"T/w/a/b");"#);
    tree.check(&hidden, false, ["r", "r/inner w w/a", "w/a/b", "w/for-reading"]);
    let file = format!(r#"{ALL} forbid(principal, action, resource == Path::"T/w/a/b/file");"#);
    tree.check(&file, false, ["r", "r/inner w w/a w/a/b", "w/a/b/file", "w/for-reading"]);
    let kept =
        format!(r#"{ALL} forbid(principal, action in Action::"destroy", resource in Path::"T/w/a/b");"#);
    tree.check(&kept, false, ["r", "r/inner w w/a", "", "w/a/b w/for-reading"]);
    let all = format!(r#"{ALL} forbid(principal, action, resource in Path::"T/w");"#);
    tree.check(&all, false, ["r", "r/inner", "", ""]);
    let elsewhere = format!(r#"{ALL} forbid(principal, action, resource in Path::"/nowhere/at/all");"#);
    tree.check(&elsewhere, false, EVERYTHING);
    let roots =
        format!(r#"{ALL} forbid(principal, action in Action::"observe", resource in Roots::"write");"#);
    tree.check(&roots, false, ["r w/for-reading", "", "r/inner", ""]);
}

#[test]
fn a_forbid_that_can_be_held_in_no_way_is_refused() {
    let tree = Tree::new();
    let missing = format!(r#"{ALL} @id("later") forbid(principal, action, resource in Path::"T/w/later");"#);
    tree.refused(&missing, &[], &["policy \"later\"", "w/later", "does not exist", "Create"]);
    let where_confirmed =
        missing.replace(ALL, "permit(principal, action, resource) when { context.confirmed };");
    tree.refused(&where_confirmed, &[], &["policy \"later\""]);
    let for_one_user = missing.replace("forbid(principal,", "forbid(principal in User::\"7\",");
    tree.refused(&for_one_user, &[], &["policy \"later\""]);
}

#[test]
fn a_forbid_that_looks_closer_takes_the_place_away_and_says_so() {
    let tree = Tree::new();
    let text = format!(
        r#"{ALL} @id("big") forbid(principal, action in Action::"fs.write", resource) when {{ context.links > 1 }};"#
    );
    let policy = tree.load(&text, &[]).unwrap();
    assert_eq!(tree.reach(&policy, true), ["r w", "", "", ""]);
    assert!(
        policy.notes().iter().any(|note| note.contains("\"big\"") && note.contains("write")),
        "{:?}",
        policy.notes()
    );
    // Where it is about a part, that part is held back.
    let part = text
        .replace("resource)  when", "resource) when")
        .replace(r#""fs.write", resource)"#, r#""fs.write", resource in Path::"T/w/a")"#);
    tree.check(&part, false, ["r", "r/inner w", "", "w/a w/for-reading"]);
    let sum = format!(
        "{READABLE} permit(principal, action, resource) when {{ context has links && context.links + 1 > 3 }};"
    );
    tree.check(&sum, false, ["", "", "", ""]);
}

#[test]
fn the_hosts_own_files_are_hidden_and_cannot_be_made() {
    let tree = Tree::new();
    let reach = |protected: &[&str]| tree.reach(&tree.load(ALL, protected).unwrap(), false);
    assert_eq!(reach(&["w/own/state"]), ["r", "r/inner w w/own", "w/own/state", "w/for-reading"]);
    assert_eq!(reach(&["w/own/not/yet"]), ["r", "r/inner w", "", "w/for-reading w/own"]);
    assert_eq!(reach(&["r/not-yet"]), EVERYTHING);
    tree.refused(ALL, &["w/not-yet"], &["w/not-yet", "the host's own", "Create"]);
    let policy = tree.load(ALL, &["w/own/not/yet"]).unwrap();
    fs::create_dir_all(tree.at("w/own/not/yet")).unwrap();
    assert_eq!(tree.reach(&policy, false)[2], "w/own/not/yet", "it is hidden as soon as it is there");
}

#[test]
fn a_place_whose_forbidden_part_is_gone_or_replaced_by_a_link_is_not_given_any_more() {
    let tree = Tree::new();
    let text = format!(r#"{ALL} forbid(principal, action, resource in Path::"T/w/a/b");"#);
    let policy = tree.load(&text, &[]).unwrap();
    assert_eq!(tree.reach(&policy, false)[1], "r/inner w w/a");
    fs::rename(tree.at("w/a/b"), tree.at("w/a/moved")).unwrap();
    assert_eq!(tree.reach(&policy, false), ["r", "r/inner", "", ""]);
    symlink("moved", tree.at("w/a/b")).unwrap();
    assert_eq!(tree.reach(&policy, false), ["r", "r/inner", "", ""]);
    fs::rename(tree.at("r"), tree.at("gone")).unwrap();
    symlink("gone", tree.at("r")).unwrap();
    assert_eq!(tree.reach(&policy, false), ["", "", "", ""]);
}

#[test]
fn no_place_that_holds_everything_is_given() {
    let root = |path: &str| Root { path: path.into(), mode: Mode::Write };
    let policy = loaded(ALL, &["/", "/proc", "/dev"].map(root), Protected::default()).unwrap();
    assert_eq!(policy.reach(&ann(), true), Reach::default());
    let run = r#"permit(principal, action in Action::"run", resource);"#;
    let tree = Tree::new();
    tree.refused(&format!("@read(\"/proc\") {run}"), &[], &["@read(\"/proc\")", "directory below"]);
}

#[test]
fn each_user_has_a_reach_of_their_own() {
    let tree = Tree::new();
    let text = format!(
        r#"{READABLE} permit(principal in User::"7", action, resource in Path::"T/w/a");
        forbid(principal, action, resource in Path::"T/r") when {{ principal in User::"8" }};"#
    );
    let policy = tree.load(&text, &[]).unwrap();
    let of = |uid| policy.reach(&Principal { uid, session: None }, false);
    assert_eq!((of(7).write, of(7).read.len()), (vec![tree.at("w/a")], 2));
    assert_eq!(of(8).read, [tree.at("w")]);
    assert_eq!((of(9).write.len(), of(9).read.len()), (0, 2));
}

static TREE: LazyLock<Tree> = LazyLock::new(Tree::new);

fn scope() -> impl Strategy<Value = String> {
    let names = [&["", "w/a/b/file", "w/own/state/x", "r/inner/file"], DIRECTORIES.as_slice()].concat();
    let path = prop::sample::select(names);
    prop_oneof![
        Just("resource".to_owned()),
        Just("resource is Path".to_owned()),
        Just("resource in Roots::\"read\"".to_owned()),
        Just("resource in Roots::\"write\"".to_owned()),
        path.clone().prop_map(|path| format!("resource in Path::\"T/{path}\"")),
        path.clone().prop_map(|path| format!("resource is Path in Path::\"T/{path}\"")),
        path.prop_map(|path| format!("resource == Path::\"T/{path}\"")),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let effect = prop::sample::select(vec!["permit", "permit", "forbid"]);
    let action = prop::sample::select(vec![
        "action",
        "action in Action::\"observe\"",
        "action in [Action::\"change\", Action::\"destroy\"]",
        "action in Action::\"fs.remove\"",
        "action in Action::\"fs.read\"",
    ]);
    let condition = prop::sample::select(vec![
        "",
        "",
        "when { context.confirmed }",
        "unless { context.confirmed }",
        "when { principal in User::\"1000\" }",
        "unless { principal in User::\"1000\" }",
        "when { resource in Path::\"T/w/a/b\" }",
        "when { context has persistent && context.persistent }",
        "when { context has links && context.links + 9223372036854775806 > 0 }",
    ]);
    (effect, action, scope(), condition).prop_map(|(effect, action, scope, condition)| {
        format!("{effect}(principal, {action}, {scope}) {condition};")
    })
}

/// Every path of the tree, and one that does not exist in each directory.
fn paths(tree: &Tree) -> Vec<PathBuf> {
    let names = DIRECTORIES.iter().flat_map(|name| ["", "/file", "/new"].map(|end| format!("{name}{end}")));
    names.map(|name| tree.at(&name)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_a_program_reaches_the_session_could_have_opened(
        rules in prop::collection::vec(rule(), 1..6),
        uid in prop::sample::select(vec![1000, 1001]),
        confirmed in any::<bool>(),
        protected in prop::sample::select(vec!["w/own/state", "w/own/file", "w/own/later", "elsewhere"]),
    ) {
        // What is refused at load reaches nothing.
        let Ok(policy) = TREE.load(&rules.join("\n"), &[protected]) else { return Ok(()) };
        let who = Principal { uid, session: None };
        let Reach { read, write, hidden, kept } = policy.reach(&who, confirmed);
        let most = if confirmed { Decision::Confirm } else { Decision::Allow };
        let below = |list: &[PathBuf], path: &Path| list.iter().any(|place| path.starts_with(place));
        let permitted = |name: &str, verb, path: &Path| {
            let links = if path.exists() { 5 } else { 0 };
            [(false, 0), (true, 0), (false, links), (true, links)].into_iter().all(|(persistent, links)| {
                let effect = effect(name, verb, path.to_str().unwrap())
                    .fact("persistent", Fact::Bool(persistent))
                    .fact("links", Fact::Long(links));
                policy.judge(Query { principal: &who, action: &action(name), effect: &effect }).decision <= most
            })
        };
        for path in paths(&TREE) {
            if below(&hidden, &path) {
                continue;
            }
            if below(&read, &path) || below(&write, &path) {
                prop_assert!(permitted("fs.read", Verb::Observe, &path), "{path:?} is read");
            }
            // Where nothing is kept; a mount point can be replaced or removed by nobody.
            let is_mount = write.contains(&path) || [&hidden, &kept].iter().any(|list| list.iter().any(|held| held.starts_with(&path)));
            if below(&write, &path) && !below(&kept, &path) && !is_mount {
                for (name, verb) in [("fs.write", Verb::Change), ("fs.remove", Verb::Destroy), ("fs.move", Verb::Destroy), ("fs.move", Verb::Change)] {
                    prop_assert!(permitted(name, verb, &path), "{path:?} is written: {name} {verb}");
                }
                let root = policy.roots.read.iter().filter(|root| is_at_or_below(path.to_str().unwrap(), root)).max_by_key(|root| root.len());
                prop_assert!(root.is_some_and(|root| policy.roots.write.contains(root)), "{path:?} is in a root for reading");
            }
        }
    }
}
