//! A path has one spelling, its ancestors are its beginnings, and whatever a plan names `fs` states effects on what the
//! kernel says it is, below the root, or refuses with a reason.
//!
//! Input: what to do, whether the text stands below the root, the text of a path.
#![no_main]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llm_os_core::json::Json;
use llm_os_core::path::{MAX_COMPONENT, MAX_PATH, WirePath, ancestors, spell};
use llm_os_core::{Capability, Code, Effectful, Root, RootMode, Setup};
use llm_os_fs::Fs;

/// Where the tree is made that the paths lead into.
const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tree");

/// Actions on a path, with what else they take; the first few follow a symlink at its end.
const ACTIONS: [(&str, &[(&str, &str)]); 7] = [
    ("read", &[]),
    ("list", &[]),
    ("search", &[("pattern", "x")]),
    ("stat", &[]),
    ("remove", &[]),
    ("mkdir", &[]),
    ("write", &[("content", "x"), ("mode", "replace")]),
];
const FOLLOWING: usize = 3;

struct Tree {
    fs: Fs,
    root: PathBuf,
}

static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let place = Path::new(PLACE);
    let _ = fs::remove_dir_all(place);
    let (root, outside) = (place.join("root"), place.join("outside"));
    for dir in [&root.join("a/b/c"), &root.join("..."), &root.join("file:"), &outside.join("a")] {
        fs::create_dir_all(dir).expect("a directory");
    }
    let names: [&[u8]; 5] = [b"f", b"a/f", b"a/b/f (deleted)", b"a/\xff\xfe", b"a/%41"];
    for name in names {
        fs::write(root.join(OsStr::from_bytes(name)), "x").expect("a file");
    }
    fs::write(outside.join("f"), "x").expect("a file");
    for (name, target) in
        [("l", "a/f"), ("a/l", "../a/b"), ("o", "../outside"), ("a/o", "../../outside/f"), ("r", "r")]
    {
        symlink(target, root.join(name)).expect("a symlink");
    }
    symlink(&outside, root.join("abs")).expect("a symlink");
    let root = root.canonicalize().expect("the root");
    let roots = vec![Root { path: root.clone(), mode: RootMode::Write }];
    let setup = Setup { roots, ..Setup::default() };
    let fs = Fs::open(Default::default(), &setup).unwrap_or_else(|fault| panic!("{fault}"));
    Tree { fs, root }
});

fuzz_target!(|input: &[u8]| {
    let [action, below, text @ ..] = input else { return };
    let tree = &*TREE;
    let root = tree.root.as_os_str().as_bytes();
    let text = if below & 1 == 0 { text.to_vec() } else { [root, b"/", text].concat() };
    let wire = String::from_utf8(text).unwrap_or_else(|e| spell(e.as_bytes()));
    let path = match WirePath::new(wire.as_str()).bytes("path") {
        Ok(path) => path,
        Err(fault) => {
            assert_eq!(
                (fault.code, fault.path.as_deref()),
                (Code::VALIDATION_FAILED, Some("path")),
                "{wire}"
            );
            return;
        }
    };
    has_one_spelling(&path);
    leads_nowhere_else(tree, usize::from(*action) % ACTIONS.len(), wire, &path);
});

fn has_one_spelling(path: &[u8]) {
    assert!(path.starts_with(b"/") && !path.contains(&0) && path.len() <= MAX_PATH);
    assert!(path.split(|byte| *byte == b'/').all(|name| name.len() <= MAX_COMPONENT));
    let spelled = spell(path);
    assert_eq!(WirePath::new(spelled.as_str()).bytes("path").expect("what was spelled"), path);
    let mut expected: Vec<String> = Vec::new();
    if path != b"/" {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        // What is before a slash is an ancestor, and what is before the first one is the root.
        expected.extend(slashes.map(|at| spell(&path[..at.max(1)])));
        expected.dedup();
        expected.reverse();
    }
    assert_eq!(ancestors(&spelled), expected, "{spelled}");
}

fn leads_nowhere_else(tree: &Tree, action: usize, wire: String, path: &[u8]) {
    let (verb, more) = ACTIONS[action];
    let fields = more.iter().map(|(name, text)| ((*name).to_owned(), Json::Text((*text).to_owned())));
    let params = Json::Object(fields.chain([("path".to_owned(), Json::Text(wire.clone()))]).collect());
    let typed = params.read_variant(verb).unwrap_or_else(|invalid| panic!("{invalid}"));
    if tree.fs.validate(&typed).is_err() {
        return;
    }
    let climbs = path.split(|byte| *byte == b'/').any(|name| name == b"..");
    match tree.fs.resolve(typed) {
        Err(fault) => assert!(!fault.message.is_empty() && !fault.code.as_str().is_empty()),
        Ok(resolved) => {
            assert!(!climbs, "{wire} climbs");
            let effects = resolved.effects();
            let real = Path::new(OsStr::from_bytes(path)).canonicalize();
            for effect in effects.as_slice() {
                let bytes =
                    WirePath::new(effect.resource.id.as_str()).bytes("id").expect("an id that is a path");
                let stated = Path::new(OsStr::from_bytes(&bytes));
                assert!(stated.starts_with(&tree.root), "{verb} {wire}: {}", effect.resource.id);
                if action < FOLLOWING
                    && let Ok(real) = &real
                {
                    assert!(
                        stated.starts_with(real),
                        "{verb} {wire}: {} is not {real:?}",
                        effect.resource.id
                    );
                }
            }
            assert!(!effects.as_slice().is_empty());
        }
    }
}
