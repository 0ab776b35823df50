//! Texts that are kept as files below `tests/golden`.

use std::path::PathBuf;

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares a text with the kept one; `UPDATE_GOLDEN=1` keeps it.
#[track_caller]
pub(crate) fn check(name: &str, found: &str) {
    let path = path(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == found,
        "{} is another; look at what UPDATE_GOLDEN=1 changes; it is now:\n{found}",
        path.display()
    );
}
