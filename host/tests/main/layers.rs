//! Who may import whom (ARCHITECTURE.md), read from the manifests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The dependencies in one table of a manifest, those of single platforms included.
fn dependencies(folder: &str, table: &str) -> BTreeSet<String> {
    let path = workspace().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let manifest: toml::Table = text.parse().unwrap();
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let platforms = platforms.into_iter().flat_map(toml::Table::values).filter_map(toml::Value::as_table);
    let tables = std::iter::once(&manifest).chain(platforms);
    let tables = tables.filter_map(|of| of.get(table)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

/// Those among them that are crates of this workspace.
fn own(folder: &str, table: &str) -> BTreeSet<String> {
    dependencies(folder, table).into_iter().filter(|name| name.starts_with("llm")).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn capabilities() -> Vec<String> {
    let folders = fs::read_dir(workspace().join("capabilities")).unwrap().flatten();
    let mut names: Vec<_> = folders
        .filter(|folder| folder.path().join("Cargo.toml").exists())
        .map(|folder| folder.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn core_imports_nothing_of_the_workspace_and_nothing_that_acts() {
    assert_eq!(own("core", "dependencies"), set(&[]));
    let all = dependencies("core", "dependencies");
    for absent in ["clap", "enigo", "xcap", "rustix", "libc", "cedar-policy"] {
        assert!(!all.contains(absent), "{absent}");
    }
    assert_eq!(own("core/test-support", "dependencies"), set(&["llm-os-core"]));
}

#[test]
fn a_capability_imports_core_and_no_other_capability() {
    for name in capabilities() {
        let folder = format!("capabilities/{name}");
        let allowed =
            if name == "desktop" { set(&["llm-os-core"]) } else { set(&["llm-os-core", "llm-os-desktop"]) };
        let own_crates = own(&folder, "dependencies");
        assert!(own_crates.is_subset(&allowed), "{name}: {own_crates:?}");
        let tests = set(&["llm-os-test-support", "llm-os-desktop-test-support"]);
        assert!(own(&folder, "dev-dependencies").is_subset(&tests), "{name}");
        assert!(!dependencies(&folder, "dependencies").contains("clap"), "{name}");
    }
    assert_eq!(own("capabilities/desktop/test-support", "dependencies"), set(&["llm-os-core"]));
}

#[test]
fn the_client_learns_the_capabilities_from_the_host() {
    assert_eq!(own("client", "dependencies"), set(&["llm-os-core"]));
    let linked: BTreeSet<_> = own("client", "dev-dependencies");
    assert!(linked.is_subset(&set(&["llm-os-test-support"])), "{linked:?}");
}

/// An example is to be copied: what it needs must be had elsewhere too.
#[test]
fn the_example_agent_imports_nothing_of_the_workspace() {
    for table in ["dependencies", "dev-dependencies"] {
        assert_eq!(own("examples/agents/rust", table), set(&[]));
    }
}

#[test]
fn the_host_links_each_capability_once_and_names_no_type_of_it() {
    let host = own("host", "dependencies");
    let linked: BTreeSet<_> = host.iter().filter(|name| *name != "llm-os-core").cloned().collect();
    let known: BTreeSet<_> = capabilities().iter().map(|name| format!("llm-os-{name}")).collect();
    // What capabilities share is none itself, and comes with them.
    let linkable = known.iter().filter(|name| *name != "llm-os-desktop").cloned().collect();
    assert!(linked.is_subset(&linkable), "{linked:?}");
    let source = fs::read_to_string(workspace().join("host/src/capabilities.rs")).unwrap();
    let lines = source.lines().filter_map(|line| line.strip_prefix("use ")?.strip_suffix(" as _;"));
    let lines: BTreeSet<_> = lines.map(|name| name.replace('_', "-")).collect();
    assert_eq!(
        lines, linked,
        "a dependency that no line names is not linked, and its registration is silently gone"
    );
    for file in sources(&workspace().join("host/src")) {
        if file.ends_with("capabilities.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for crate_name in known.iter().map(|name| name.replace('-', "_")) {
            assert!(!text.contains(&crate_name), "{} names {crate_name}", file.display());
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Unsafe code is in the modules that say so, each of them small.
#[test]
fn unsafe_code_is_in_few_modules() {
    for folder in ["core", "host", "client"].map(|name| workspace().join(name).join("src")) {
        for file in sources(&folder) {
            let text = fs::read_to_string(&file).unwrap();
            let blocks =
                text.lines().filter(|line| line.contains("unsafe {") && !line.trim_start().starts_with("//"));
            let allowed = file.ends_with("server/pidfd.rs");
            assert!(allowed || blocks.count() == 0, "{}", file.display());
        }
    }
}
