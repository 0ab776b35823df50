//! When one ruling holds for everything below a directory: a static look at the policies, `false` where unsure.

use cedar_policy::{EntityUid, ResourceConstraint};
use llm_os_core::path;

use super::Roots;
use super::rules::Rule;

/// Whether no rule can tell the entries below `dir` from each other, nor from `dir` itself.
pub(crate) fn is_uniform_below<'a>(
    dir: &str,
    mut rules: impl Iterator<Item = &'a Rule>,
    roots: &Roots,
) -> bool {
    rules.all(|rule| !rule.looks_closer && is_same_below(dir, &rule.resource, roots))
}

/// Whether a scope holds for all of `dir` and what is below it, or for none.
fn is_same_below(dir: &str, scope: &ResourceConstraint, roots: &Roots) -> bool {
    match scope {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
        ResourceConstraint::Eq(one) => !is_path(one) || !is_at_or_below(one.id().unescaped(), dir),
        ResourceConstraint::In(group) | ResourceConstraint::IsIn(_, group) => {
            let id = group.id().unescaped();
            match group.type_name().to_string().as_str() {
                "Path" => !is_below(id, dir),
                "Roots" => {
                    // What lies in a root may be read all the way down; a deeper root says anew what may be written.
                    let all = roots.group("read");
                    let readable = id == "read" && all.iter().any(|root| is_at_or_below(dir, root));
                    readable || !all.iter().any(|root| is_below(root, dir))
                }
                _ => true,
            }
        }
    }
}

fn is_path(uid: &EntityUid) -> bool {
    uid.type_name().to_string() == "Path"
}

pub(super) fn is_at_or_below(path: &str, dir: &str) -> bool {
    path == dir || is_below(path, dir)
}

pub(super) fn is_below(path: &str, dir: &str) -> bool {
    path::ancestors(path).iter().any(|above| above == dir)
}
