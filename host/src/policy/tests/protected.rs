//! Rules that no policy can lift.

use super::*;

fn guarded(dir: &Path) -> Policy {
    let protected = Protected::new([dir.join("state")]).unwrap();
    loaded("permit(principal, action, resource);", &[], protected).unwrap()
}

fn judged(policy: &Policy, name: &str, verb: Verb, path: &Path, links: i64) -> Decision {
    let effect = effect(name, verb, path.to_str().unwrap()).fact("links", Fact::Long(links));
    judge(policy, name, &effect).decision
}

#[test]
fn the_hosts_own_state_is_denied_to_every_verb_whatever_the_policy_says() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    std::fs::create_dir(dir.join("state")).unwrap();
    let policy = guarded(&dir);
    let actions = [("fs.read", Verb::Observe), ("fs.write", Verb::Change), ("fs.remove", Verb::Destroy)];
    for (name, verb) in actions {
        assert_eq!(judged(&policy, name, verb, &dir.join("state"), 1), Decision::Deny, "{name}");
        assert_eq!(judged(&policy, name, verb, &dir.join("state/audit/0"), 1), Decision::Deny, "{name}");
        assert_eq!(judged(&policy, name, verb, &dir.join("statement"), 1), Decision::Allow, "{name}");
    }
    let run = effect("exec.run", Verb::Run, dir.join("state/tool").to_str().unwrap());
    assert_eq!(judge(&policy, "exec.run", &run).decision, Decision::Deny);
}

#[test]
fn a_directory_that_holds_it_is_looked_at_but_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let policy = guarded(&dir);
    assert_eq!(judged(&policy, "fs.read", Verb::Observe, &dir, 1), Decision::Allow);
    assert_eq!(judged(&policy, "fs.write", Verb::Change, &dir, 1), Decision::Deny);
    assert_eq!(judged(&policy, "fs.remove", Verb::Destroy, dir.parent().unwrap(), 1), Decision::Deny);
}

#[test]
fn another_name_of_one_of_the_hosts_files_is_denied() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    std::fs::create_dir_all(dir.join("state/audit")).unwrap();
    std::fs::write(dir.join("state/audit/0"), "log").unwrap();
    let policy = guarded(&dir);
    // Linked after the policy was loaded.
    std::fs::hard_link(dir.join("state/audit/0"), dir.join("innocent")).unwrap();
    std::fs::write(dir.join("other"), "x").unwrap();
    std::fs::hard_link(dir.join("other"), dir.join("another")).unwrap();
    assert_eq!(judged(&policy, "fs.read", Verb::Observe, &dir.join("innocent"), 2), Decision::Deny);
    assert_eq!(judged(&policy, "fs.read", Verb::Observe, &dir.join("other"), 2), Decision::Allow);
    let run = effect("exec.run", Verb::Run, dir.join("innocent").to_str().unwrap());
    assert_eq!(judge(&policy, "exec.run", &run).decision, Decision::Deny);
}

#[test]
fn a_root_inside_the_hosts_state_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let root = Root { path: dir.join("state/work"), mode: Mode::Write };
    let protected = Protected::new([dir.join("state")]).unwrap();
    let loaded = Policy::load(&Source::default(), &registry(), &[root], protected);
    assert!(matches!(loaded, Err(PolicyError::Setup(why)) if why.contains("lies inside")));
}
