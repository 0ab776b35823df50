//! The ids in policies, brought into the form in which effects state them.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use cedar_policy::{EntityId, EntityUid};
use llm_os_core::error::excerpt;
use llm_os_core::path::{self, WirePath};

/// The same entity in its real form, or why no effect can ever be stated of it.
pub(crate) fn real(uid: &EntityUid) -> Result<EntityUid, String> {
    let (ty, id) = (uid.type_name().to_string(), uid.id().unescaped());
    match ty.as_str() {
        "Session" => Err("policies permit users, never session names, which a caller chooses: \
                          write principal in User::\"<uid>\""
            .to_owned()),
        "User" if !is_uid(id) => {
            Err(format!("found User::\"{}\", expected a uid, as `id -u NAME` prints it", excerpt(id)))
        }
        "Roots" if !matches!(id, "read" | "write") => {
            Err(format!("found Roots::\"{}\", expected Roots::\"read\" or Roots::\"write\"", excerpt(id)))
        }
        "Path" | "Program" => {
            let real = real_id(id).map_err(|why| format!("{ty}::\"{}\": {why}", excerpt(id)))?;
            Ok(EntityUid::from_type_name_and_id(uid.type_name().clone(), EntityId::new(real)))
        }
        _ => Ok(uid.clone()),
    }
}

fn is_uid(id: &str) -> bool {
    id.parse::<u32>().is_ok_and(|uid| uid.to_string() == id)
}

/// A path as it stands in a policy or a test, spelled as the effects on it are.
pub(crate) fn real_id(id: &str) -> Result<String, String> {
    let bytes = WirePath::new(id).bytes("").map_err(|fault| fault.message.into_owned())?;
    let real = real_path(Path::new(std::ffi::OsStr::from_bytes(&bytes))).map_err(|e| e.to_string())?;
    Ok(path::spell(&real.into_os_string().into_vec()))
}

/// The path that an id spells.
pub(crate) fn path_of(id: &str) -> Option<PathBuf> {
    let bytes = WirePath::new(id).bytes("").ok()?;
    Some(std::ffi::OsString::from_vec(bytes).into())
}

/// The real form of the longest part that exists, and the rest as it stands.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
    if path.components().any(|part| part == Component::ParentDir) {
        return refused("\"..\" is not accepted; write the path that is meant");
    }
    for existing in path.ancestors() {
        match existing.canonicalize() {
            Ok(real) => {
                let rest = path.strip_prefix(existing).expect("an ancestor of it");
                return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
            }
            // What it will lead to cannot be known, and a rule about it would silently be about nothing.
            Err(_) if existing.symlink_metadata().is_ok_and(|found| found.is_symlink()) => {
                return refused("it is a symbolic link that cannot be followed; name its target");
            }
            Err(_) => {}
        }
    }
    refused("it must be absolute (start with \"/\")")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_and_what_is_missing_stands_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("there")).unwrap();
        std::os::unix::fs::symlink("there", real.join("link")).unwrap();
        assert_eq!(real_path(&real.join("link/not/yet")).unwrap(), real.join("there/not/yet"));
        assert_eq!(real_path(Path::new("//usr/./bin/")).unwrap(), Path::new("/usr/bin"));
    }

    #[test]
    fn a_name_that_would_be_about_nothing_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
        for bad in [dir.path().join("dangling/x"), "/usr/../etc".into(), "relative".into()] {
            assert!(real_path(&bad).is_err(), "{bad:?}");
        }
        for bad in [
            r#"User::"ann""#,
            r#"User::"01000""#,
            r#"Roots::"wirte""#,
            r#"Session::"1000/s""#,
            r#"Path::"~/x""#,
            r#"Program::"echo""#,
        ] {
            assert!(real(&bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
