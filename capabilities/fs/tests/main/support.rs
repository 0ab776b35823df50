//! What the tests share: a world with `fs` in it, and a directory outside its root.

use std::fs;
use std::path::PathBuf;

use llm_os_core::{Root, RootMode};
use llm_os_fs::Fs;
use llm_os_test_support::World;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A world and a directory that lies outside its roots, with a file `secret` in it.
pub(crate) struct Scene {
    pub(crate) world: World,
    outside: TempDir,
}

pub(crate) const SECRET: &str = "outside of every root";

impl Scene {
    pub(crate) fn new() -> Self {
        let outside = TempDir::new().unwrap();
        fs::write(outside.path().join("secret"), SECRET).unwrap();
        Self { world: World::of::<Fs>(), outside }
    }

    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.outside.path().canonicalize().unwrap().join(name)
    }

    /// The absolute path of something below the root.
    pub(crate) fn at(&self, name: &str) -> String {
        self.world.at(name)
    }

    /// Puts a file below the root, with the directories above it.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.at(name);
        fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Sends one action that must succeed, and gives its output.
    #[track_caller]
    pub(crate) fn ok(&self, action: &str, params: Value) -> Value {
        let answer = self.world.send(action, params);
        assert_eq!(answer["results"][0]["status"], "ok", "{answer:#}");
        self.world.matches_schema(action, &answer["results"][0]["output"]);
        answer["results"][0]["output"].clone()
    }

    #[track_caller]
    pub(crate) fn refused(&self, action: &str, params: Value, code: &str) -> String {
        refusal(&self.world, action, params, code)
    }

    /// Everything below the root, sorted; no temporary file may be left in it.
    pub(crate) fn tree(&self) -> Vec<String> {
        fn below(dir: &std::path::Path, top: &std::path::Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(top).unwrap().to_string_lossy().into_owned());
                if path.is_dir() && !path.is_symlink() {
                    below(&path, top, found);
                }
            }
        }
        let mut found = Vec::new();
        below(&self.world.root(), &self.world.root(), &mut found);
        found.sort();
        found
    }

    /// That nothing outside the root was touched.
    #[track_caller]
    pub(crate) fn outside_is_untouched(&self) {
        assert_eq!(fs::read_to_string(self.outside("secret")).unwrap(), SECRET);
        assert_eq!(fs::read_dir(self.outside.path()).unwrap().count(), 1, "something was created outside");
    }
}

pub(crate) fn read_root(path: impl Into<PathBuf>) -> Root {
    Root { path: path.into(), mode: RootMode::Read }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn read(path: &str) -> Value {
    json!({"path": path})
}

/// Sends one action that must be refused with this code, and gives the message.
#[track_caller]
pub(crate) fn refusal(world: &World, action: &str, params: Value, code: &str) -> String {
    let answer = world.refused(action, params, code);
    let message = answer["error"]["message"].as_str().or(answer["results"][0]["error"]["message"].as_str());
    message.unwrap().to_owned()
}
