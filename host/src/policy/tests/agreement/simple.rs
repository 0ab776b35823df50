//! The second judge: what the contract says, written down as simply as it can be, without Cedar and without the host.

use std::collections::BTreeMap;

use llm_os_core::capability::Mode;

use super::Answer;
use super::plans::{Desktop, PROGRAMS, Plan, Step};
use super::rules::Rule;
use super::tree::{PROTECTED, ROOTS, Tree};

/// A fact.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Bool(bool),
    Long(i64),
    Text(String),
    Set(Vec<String>),
}

/// One effect.
pub(super) struct Stated {
    pub(super) action: String,
    pub(super) verb: &'static str,
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) display: Option<&'static str>,
    pub(super) roots: Vec<&'static str>,
    pub(super) facts: BTreeMap<&'static str, Said>,
    asks: bool,
}

impl Stated {
    pub(super) fn is_at_or_below(&self, path: &str) -> bool {
        ["Path", "Program"].contains(&self.kind) && is_at_or_below(&self.id, path)
    }
}

fn is_at_or_below(path: &str, above: &str) -> bool {
    path == above || path.strip_prefix(above.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}

/// The real path of a program.
pub(super) fn real_program(path: &str) -> String {
    std::fs::canonicalize(path).unwrap().into_os_string().into_string().unwrap()
}

pub(super) fn judge(tree: &Tree, rules: &[Rule], plan: &Plan) -> Answer {
    let of = |step: &Step| -> Result<Answer, Answer> {
        let (effects, danger) = match step {
            Step::Fs { verb, path, to, danger } => (on_files(tree, verb, path, to.as_deref())?, *danger),
            Step::Exec { argv, cwd, danger } => (on_program(tree, argv, cwd.as_deref()), *danger),
            Step::Desktop(step) => (vec![on_desktop(step)], false),
        };
        let least = if danger { Answer::Confirm } else { Answer::Allow };
        let answers = effects.iter().map(|effect| judge_one(tree, rules, plan.uid, effect));
        Ok(answers.fold(least, Answer::max))
    };
    // What does not resolve ends it, before anything is judged; the desktop is asked on its own.
    let (desktop, piped): (Vec<&Step>, Vec<&Step>) =
        plan.steps.iter().partition(|step| matches!(step, Step::Desktop(_)));
    let all = |steps: Vec<&Step>| {
        let answers: Result<Vec<Answer>, Answer> = steps.into_iter().map(of).collect();
        answers.map_or_else(|refused| refused, |all| all.into_iter().max().unwrap_or(Answer::Allow))
    };
    all(desktop).max(all(piped))
}

fn judge_one(tree: &Tree, rules: &[Rule], uid: u32, effect: &Stated) -> Answer {
    let is_file = ["Path", "Program"].contains(&effect.kind);
    let own: Vec<String> = PROTECTED.iter().map(|name| tree.at(name)).collect();
    let is_own = own.iter().any(|own| effect.is_at_or_below(own)) || effect.id == tree.at("root/alias");
    let holds_own =
        ["change", "destroy"].contains(&effect.verb) && own.iter().any(|own| is_at_or_below(own, &effect.id));
    if is_file && (is_own || holds_own) {
        return Answer::Deny;
    }
    let permitted = |confirmed| {
        let mut matching = rules.iter().filter(|rule| rule.matches(uid, effect, confirmed)).peekable();
        matching.peek().is_some() && matching.all(|rule| rule.permits)
    };
    match (permitted(false), permitted(true)) {
        (true, _) if effect.asks => Answer::Confirm,
        (true, _) => Answer::Allow,
        (false, true) => Answer::Confirm,
        (false, false) => Answer::Deny,
    }
}

fn on_desktop(step: &Desktop) -> Stated {
    let (kind, id) = step.window.map_or(("Display", step.display), |class| ("Window", class));
    Stated {
        action: step.action.to_owned(),
        verb: step.verb,
        kind,
        id: id.to_owned(),
        display: step.window.map(|_| step.display),
        roots: Vec::new(),
        facts: step.facts.clone(),
        asks: false,
    }
}

fn on_program(tree: &Tree, argv: &[String], cwd: Option<&str>) -> Vec<Stated> {
    let cwd = cwd.map_or_else(|| tree.at("root"), str::to_owned);
    let is_option = |argument: &&String| argument.starts_with('-');
    let arguments = &argv[1..];
    let subcommand = arguments.first().filter(|first| !is_option(first)).cloned();
    let options = arguments.iter().filter(is_option).cloned().collect();
    let rest = arguments.iter().skip(usize::from(subcommand.is_some()));
    let operands = rest.filter(|argument| !is_option(argument)).cloned().collect();
    let facts = BTreeMap::from([
        ("subcommand", Said::Text(subcommand.unwrap_or_default())),
        ("options", Said::Set(options)),
        ("operands", Said::Set(operands)),
        ("argc", Said::Long(i64::try_from(argv.len()).unwrap())),
        ("cwd", Said::Text(cwd.clone())),
        ("argv0", Said::Text(argv[0].clone())),
        ("trusted", Said::Bool(true)),
    ]);
    let stated = |verb, kind, id: String, facts, asks| {
        let roots = roots_of(tree, &id);
        Stated { action: "exec.run".to_owned(), verb, kind, id, display: None, roots, facts, asks }
    };
    let asks = PROGRAMS[4..].contains(&argv[0].as_str());
    vec![
        stated("run", "Program", real_program(&argv[0]), facts, asks),
        stated("observe", "Path", cwd, BTreeMap::new(), false),
    ]
}

/// What there is at the end of a path.
enum End {
    File,
    Directory,
    Symlink,
    Missing,
}

/// A path, followed to its end.
struct Followed {
    real: String,
    end: End,
}

fn on_files(tree: &Tree, verb: &'static str, path: &str, to: Option<&str>) -> Result<Vec<Stated>, Answer> {
    let stated = |of: &'static str, found: &Followed| stated(tree, verb, of, found);
    match (verb, to) {
        ("read", _) => {
            let found = no_symlink(follow(tree, path, true)?)?;
            Ok(vec![stated("observe", &found)])
        }
        ("stat", _) => {
            let found = follow(tree, path, false)?;
            Ok(vec![Stated { asks: false, ..stated("observe", &found) }])
        }
        ("write", _) => Ok(vec![stated("change", &no_symlink(entry(tree, path)?)?)]),
        ("mkdir", _) => Ok(vec![stated("change", &entry(tree, path)?)]),
        ("remove", _) => Ok(vec![stated("destroy", &entry(tree, path)?)]),
        ("copy", Some(to)) => {
            let from = no_symlink(follow(tree, path, true)?)?;
            let to = no_symlink(entry(tree, to)?)?;
            if !matches!(from.end, End::Missing) && is_at_or_below(&to.real, &from.real) {
                return Err(Answer::Failed);
            }
            Ok(vec![stated("observe", &from), stated("change", &to)])
        }
        ("move", Some(to)) => {
            let (from, to) = (entry(tree, path)?, no_symlink(entry(tree, to)?)?);
            if is_at_or_below(&to.real, &from.real) {
                return Err(Answer::Failed);
            }
            Ok(vec![stated("observe", &from), stated("destroy", &from), stated("change", &to)])
        }
        other => panic!("{other:?}"),
    }
}

fn stated(tree: &Tree, action: &str, verb: &'static str, found: &Followed) -> Stated {
    let names: Vec<&str> = found.real.split('/').collect();
    let last = names[names.len() - 1];
    let has_names = ["root/many", "root/a/many", "root/alias", "state/log"].map(|name| tree.at(name));
    let several = has_names.contains(&found.real);
    let (kind, links) = match found.end {
        End::File => ("file", if several { 2 } else { 1 }),
        End::Directory => ("directory", 1),
        End::Symlink => ("symlink", 1),
        End::Missing => ("missing", 0),
    };
    let facts = BTreeMap::from([
        ("exists", Said::Bool(!matches!(found.end, End::Missing))),
        ("file_type", Said::Text(kind.to_owned())),
        ("links", Said::Long(links)),
        ("persistent", Said::Bool(names.contains(&".git") || last.starts_with(".bash"))),
    ]);
    Stated {
        action: format!("fs.{action}"),
        verb,
        kind: "Path",
        id: found.real.clone(),
        display: None,
        roots: roots_of(tree, &found.real),
        facts,
        asks: several,
    }
}

fn no_symlink(found: Followed) -> Result<Followed, Answer> {
    if matches!(found.end, End::Symlink) { Err(Answer::Deny) } else { Ok(found) }
}

/// The deepest root that holds this path.
fn root_of(tree: &Tree, path: &str) -> Option<(String, &'static Mode)> {
    let roots = ROOTS.iter().map(|(name, mode)| (tree.at(name), mode));
    roots.filter(|(root, _)| is_at_or_below(path, root)).max_by_key(|(root, _)| root.len())
}

fn roots_of(tree: &Tree, path: &str) -> Vec<&'static str> {
    match root_of(tree, path) {
        Some((_, Mode::Write)) => vec!["read", "write"],
        Some((_, Mode::Read)) => vec!["read"],
        None => Vec::new(),
    }
}

/// The names of a path as a plan spells it, or a refusal of what climbs.
fn names(path: &str) -> Result<Vec<String>, Answer> {
    let path = match path.strip_prefix("file://") {
        None => path.to_owned(),
        Some(escaped) => {
            let mut bytes = Vec::new();
            let mut rest = escaped;
            while let Some(first) = rest.chars().next() {
                if first == '%' {
                    bytes.push(u8::from_str_radix(&rest[1..3], 16).unwrap());
                    rest = &rest[3..];
                } else {
                    bytes.push(u8::try_from(first).unwrap());
                    rest = &rest[1..];
                }
            }
            String::from_utf8(bytes).unwrap()
        }
    };
    let names: Vec<_> = path.split('/').filter(|name| !["", "."].contains(name)).map(str::to_owned).collect();
    if names.iter().any(|name| name == "..") { Err(Answer::Deny) } else { Ok(names) }
}

/// Follows a path from the deepest root that its text begins with; nothing leads out of that one.
fn follow(tree: &Tree, path: &str, last: bool) -> Result<Followed, Answer> {
    let names = names(path)?;
    let (root, _) = root_of(tree, &format!("/{}", names.join("/"))).ok_or(Answer::Deny)?;
    let depth = root.split('/').count() - 1;
    walk(tree, &root, names[depth..].to_vec(), last)
}

fn walk(tree: &Tree, root: &str, mut left: Vec<String>, last: bool) -> Result<Followed, Answer> {
    let mut at = root.to_owned();
    left.reverse();
    while let Some(name) = left.pop() {
        if name == ".." {
            if at == root {
                return Err(Answer::Deny);
            }
            at.truncate(at.rfind('/').unwrap());
            continue;
        }
        let next = format!("{at}/{name}");
        if let Some(target) = tree.links.get(&next) {
            if left.is_empty() && !last {
                return Ok(Followed { real: next, end: End::Symlink });
            }
            left.extend(target.split('/').rev().map(str::to_owned));
        } else if tree.files.contains(&next) {
            let end = Followed { real: next, end: End::File };
            return if left.is_empty() { Ok(end) } else { Err(Answer::Failed) };
        } else if tree.dirs.contains(&next) {
            at = next;
        } else {
            left.reverse();
            let real = [next].into_iter().chain(left).collect::<Vec<_>>().join("/");
            return Ok(Followed { real, end: End::Missing });
        }
    }
    Ok(Followed { real: at, end: End::Directory })
}

/// A name in a directory, to be changed: roots for reading stay as they are, and so does what is or holds a root.
fn entry(tree: &Tree, path: &str) -> Result<Followed, Answer> {
    let mut names = names(path)?;
    let (root, mode) = root_of(tree, &format!("/{}", names.join("/"))).ok_or(Answer::Deny)?;
    let depth = root.split('/').count() - 1;
    if *mode == Mode::Read || names.len() == depth {
        return Err(Answer::Deny);
    }
    let name = names.pop().unwrap();
    let above = walk(tree, &root, names[depth..].to_vec(), true)?;
    let may_change = |path: &str| root_of(tree, path).is_none_or(|(_, mode)| *mode == Mode::Write);
    match above.end {
        End::File | End::Symlink => return Err(Answer::Failed),
        End::Missing => {
            // The directory on the way that does exist says whether it may.
            let mut existing = above.real.clone();
            while !tree.dirs.contains(&existing) {
                existing.truncate(existing.rfind('/').unwrap());
            }
            let real = format!("{}/{name}", above.real);
            return if may_change(&existing) {
                Ok(Followed { real, end: End::Missing })
            } else {
                Err(Answer::Deny)
            };
        }
        End::Directory => {}
    }
    let real = format!("{}/{name}", above.real);
    if !may_change(&above.real) || ROOTS.iter().any(|(root, _)| is_at_or_below(&tree.at(root), &real)) {
        return Err(Answer::Deny);
    }
    let end = if tree.links.contains_key(&real) {
        End::Symlink
    } else if tree.files.contains(&real) {
        End::File
    } else if tree.dirs.contains(&real) {
        End::Directory
    } else {
        End::Missing
    };
    Ok(Followed { real, end })
}
