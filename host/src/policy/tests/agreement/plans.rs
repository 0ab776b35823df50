//! Plans and policies, from a seed.

use std::collections::BTreeMap;

use llm_os_core::effect::{Effect, Fact, Kind, Resource};
use serde_json::{Value, json};

use super::rules::{Action, On, Rule, When};
use super::simple::Said;
use super::tree::{DIRS, FILES, LINKS, NAMES, Tree};
use super::{Policy, action};

/// Programs that every machine has; the last two always ask.
pub(super) const PROGRAMS: [&str; 6] =
    ["/usr/bin/echo", "/usr/bin/cat", "/usr/bin/id", "/usr/bin/ls", "/usr/bin/env", "/usr/bin/sh"];
const ARGUMENTS: [&str; 8] = ["log", "status", "-n", "--oneline", "--", "5", "file", "-x"];
pub(super) const USERS: [u32; 2] = [1000, 1001];
const WINDOWS: [&str; 3] = ["Editor", "Terminal", "Editor-evil"];
const DISPLAYS: [&str; 2] = ["virtual", ":0"];

/// SplitMix64: the same numbers for the same seed, everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) uid: u32,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug)]
pub(super) enum Step {
    /// An action of `fs` on one path, or from one to another.
    Fs {
        verb: &'static str,
        path: String,
        to: Option<String>,
        danger: bool,
    },
    Exec {
        argv: Vec<String>,
        cwd: Option<String>,
        danger: bool,
    },
    Desktop(Desktop),
}

/// The one effect of an action on a desktop.
#[derive(Debug)]
pub(super) struct Desktop {
    pub(super) action: &'static str,
    pub(super) verb: &'static str,
    /// The class of a window, or nothing for its display itself.
    pub(super) window: Option<&'static str>,
    pub(super) display: &'static str,
    pub(super) facts: BTreeMap<&'static str, Said>,
}

pub(super) fn plan(random: &mut Random, tree: &Tree) -> Plan {
    let uid = random.one(&USERS);
    let count = 1 + random.below(2);
    Plan { uid, steps: (0..count).map(|_| step(random, tree)).collect() }
}

fn step(random: &mut Random, tree: &Tree) -> Step {
    let danger = random.once_in(20);
    match random.below(5) {
        0 | 1 => {
            let verb =
                random.one(&["read", "read", "stat", "write", "write", "mkdir", "remove", "copy", "move"]);
            let path = path(random, tree);
            let to = ["copy", "move"].contains(&verb).then(|| self::path(random, tree));
            Step::Fs { verb, path, to, danger }
        }
        2 | 3 => {
            let mut argv = vec![random.one(&PROGRAMS).to_owned()];
            argv.extend((0..random.below(4)).map(|_| random.one(&ARGUMENTS).to_owned()));
            let cwd = (!random.once_in(3)).then(|| tree.at(random.one(&DIRS)));
            Step::Exec { argv, cwd, danger }
        }
        _ => Step::Desktop(desktop(random)),
    }
}

/// A path as a plan may spell it: mostly what is there, sometimes by a symlink, in odd spellings, or climbing.
fn path(random: &mut Random, tree: &Tree) -> String {
    let mut name = match random.below(8) {
        0 | 1 => random.one(&DIRS).to_owned(),
        2 => random.one(&LINKS).0.to_owned(),
        3 => random.one(&NAMES).1.to_owned(),
        4..=6 => random.one(&FILES).to_owned(),
        _ => format!("{}/new", random.one(&DIRS)),
    };
    if random.once_in(6) {
        name += random.one(&["/f", "/b", "/new/f", "/.bashrc", "/.git/config", "/config"]);
    }
    let mut path = tree.at(&name);
    if random.once_in(6) {
        let slashes: Vec<_> = path.match_indices('/').map(|(at, _)| at).collect();
        path.insert_str(random.one(&slashes), random.one(&["/", "/.", "/./", "/x/..", "/.."]));
    }
    if random.once_in(10) {
        path.push('/');
    }
    if random.once_in(20) {
        path = llm_os_core::path::uri(path.as_bytes());
    } else if random.once_in(20) {
        let escaped = path.bytes().map(|byte| match byte {
            b'/' => "/".to_owned(),
            other => format!("%{other:02x}"),
        });
        path = format!("file://{}", escaped.collect::<String>());
    }
    path
}

fn desktop(random: &mut Random) -> Desktop {
    let window = (!random.once_in(4)).then(|| random.one(&WINDOWS));
    let display = random.one(&DISPLAYS);
    let text = |text: &str| Said::Text(text.to_owned());
    let mut facts = BTreeMap::from([
        ("title", text(random.one(&["", "notes", "notes - secret"]))),
        ("role", text(random.one(&["application", "terminal", "launcher"]))),
    ]);
    let mut modifiers = Vec::new();
    for name in ["ctrl", "shift", "super"] {
        if random.once_in(3) {
            modifiers.push(name.to_owned());
        }
    }
    let (action, verb) = random.one(&[
        ("keyboard.type", "inject"),
        ("keyboard.press", "inject"),
        ("keyboard.hold", "inject"),
        ("mouse.click", "inject"),
        ("mouse.drag", "inject"),
        ("monitor.capture", "observe"),
        ("monitor.diff", "observe"),
    ]);
    match action {
        "keyboard.type" => {
            facts.insert("characters", Said::Long(random.one(&[1, 20, 500])));
            facts.insert("newline", Said::Bool(random.once_in(2)));
            facts.insert("tab", Said::Bool(random.once_in(2)));
        }
        "keyboard.press" | "keyboard.hold" => {
            facts.insert("key", text(random.one(&["Return", "a", "ctrl+c", "super"])));
            facts.insert("modifiers", Said::Set(modifiers));
        }
        "mouse.click" | "mouse.drag" => {
            facts.insert("button", text(random.one(&["left", "right"])));
            facts.insert("modifiers", Said::Set(modifiers));
        }
        _ => {}
    }
    Desktop { action, verb, window, display, facts }
}

impl Plan {
    /// What of it goes through the pipeline, as a frame.
    pub(super) fn frame(&self) -> Option<String> {
        let call = |step: &Step| {
            let danger = match step {
                Step::Fs { danger, .. } | Step::Exec { danger, .. } => danger,
                Step::Desktop(_) => return None,
            };
            let (action, params) = step.call();
            let mut call = json!({"action": action, "params": params, "reason": "a test"});
            if *danger {
                call["danger"] = json!("stated");
            }
            Some(call)
        };
        let calls: Vec<Value> = self.steps.iter().filter_map(call).collect();
        (!calls.is_empty()).then(|| {
            json!({"request_id": "t", "version": "1", "mode": "plan_only", "actions": calls}).to_string()
        })
    }
}

impl Step {
    /// The action and its params; of a desktop those that have to do with its effect.
    pub(super) fn call(&self) -> (String, Value) {
        match self {
            Step::Fs { verb, path, to, .. } => (format!("fs.{verb}"), fs_params(verb, path, to.as_deref())),
            Step::Exec { argv, cwd: None, .. } => ("exec.run".to_owned(), json!({"argv": argv})),
            Step::Exec { argv, cwd: Some(cwd), .. } => {
                ("exec.run".to_owned(), json!({"argv": argv, "cwd": cwd}))
            }
            Step::Desktop(Desktop { action, facts, .. }) => {
                let mut params = match *action {
                    "keyboard.type" => json!({"text": "x"}),
                    "keyboard.press" => json!({"keys": "a"}),
                    "keyboard.hold" => json!({"keys": "a", "duration_ms": 1}),
                    "mouse.drag" => json!({"path": [[1, 1], [2, 2]]}),
                    "monitor.diff" => json!({"since": "0".repeat(64)}),
                    _ => json!({}),
                };
                if let Some(Said::Text(button)) = facts.get("button") {
                    params["button"] = json!(button);
                }
                ((*action).to_owned(), params)
            }
        }
    }
}

fn fs_params(verb: &str, path: &str, to: Option<&str>) -> Value {
    match (verb, to) {
        (_, Some(to)) => json!({"from": path, "to": to}),
        ("write", None) => json!({"path": path, "content": "x", "mode": "create"}),
        (_, None) => json!({"path": path}),
    }
}

/// The effect as the host is told of it.
pub(super) fn desktop_effect(policy: &Policy, step: &Desktop) -> Effect {
    let name = action(step.action);
    let mut concretes = policy.vocabulary.of_action(&name);
    let concrete = concretes.find(|concrete| concrete.verb.as_str() == step.verb).unwrap();
    let mut effect = concrete.sample(concrete.kinds[0]);
    effect.resource = match step.window {
        Some(class) => Resource::window(step.display, class),
        None => Resource::new(Kind::Display, step.display),
    };
    for (name, said) in &step.facts {
        effect.facts.insert(
            name,
            match said {
                Said::Bool(value) => Fact::Bool(*value),
                Said::Long(value) => Fact::Long(*value),
                Said::Text(text) => Fact::Text(text.clone()),
                Said::Set(all) => Fact::Set(all.iter().cloned().collect()),
            },
        );
    }
    effect
}

/// A policy: some broad permits, so that plans get anywhere, and then anything.
pub(super) fn rules(random: &mut Random, tree: &Tree) -> Vec<Rule> {
    let broad = |action, when| Rule { permits: true, user: None, action, on: On::Any, when };
    let mut rules = Vec::new();
    if !random.once_in(4) {
        rules.push(broad(Action::Any, vec![When::Confirmed]));
    }
    if random.once_in(2) {
        rules.push(broad(Action::Verb("observe"), Vec::new()));
    }
    if random.once_in(2) {
        rules.push(broad(Action::Verb("inject"), Vec::new()));
    }
    let count = 4 + random.below(8);
    rules.extend((0..count).map(|_| rule(random, tree)));
    rules
}

fn rule(random: &mut Random, tree: &Tree) -> Rule {
    let permits = !random.once_in(4);
    let (action, on, facts) = match random.below(3) {
        0 => on_files(random, tree),
        1 => on_programs(random, tree),
        _ => on_desktop(random),
    };
    let mut when = Vec::new();
    if random.once_in(2) {
        when.push(facts);
    }
    let asks = matches!(&on, On::One("Program", id) if PROGRAMS[4..].contains(&id.as_str()) || id.ends_with("/dash"));
    if random.once_in(3) || (permits && asks) {
        when.push(if permits { When::Confirmed } else { When::Not(Box::new(When::Confirmed)) });
    }
    let user = random.once_in(4).then(|| random.one(&USERS));
    Rule { permits, user, action, on, when }
}

fn maybe_not(random: &mut Random, when: When) -> When {
    if random.once_in(3) { When::Not(Box::new(when)) } else { when }
}

fn on_files(random: &mut Random, tree: &Tree) -> (Action, On, When) {
    let action = match random.below(6) {
        0 => Action::Any,
        1..=3 => Action::Verb(random.one(&["observe", "change", "destroy"])),
        4 => Action::Named(random.one(&["fs.read", "fs.write", "fs.remove", "fs.move", "fs.copy"])),
        _ => {
            let (name, verb) =
                random.one(&[("fs.move", "destroy"), ("fs.copy", "change"), ("fs.read", "observe")]);
            Action::Half(name, verb)
        }
    };
    let on = match random.below(6) {
        0 => On::Kind("Path"),
        1 | 2 => On::Below(tree.at(random.one(&DIRS))),
        3 => On::One("Path", tree.at(random.one(&FILES))),
        _ => On::Roots(random.one(&["read", "write"])),
    };
    let when = match random.below(4) {
        0 => When::Is("persistent", random.once_in(2)),
        1 => When::Is("exists", random.once_in(2)),
        2 => When::Text("file_type", random.one(&["file", "directory", "missing", "symlink"]).to_owned()),
        _ => When::AtMost("links", random.one(&[0, 1])),
    };
    (action, on, maybe_not(random, when))
}

fn on_programs(random: &mut Random, tree: &Tree) -> (Action, On, When) {
    let action = random.one(&[("run", 0), ("exec.run", 1), ("exec.run", 2)]);
    let action = match action {
        (verb, 0) => Action::Verb(verb),
        (name, 1) => Action::Named(name),
        (name, _) => Action::Half(name, "run"),
    };
    let on = match random.below(5) {
        0 => On::Any,
        1 => On::Kind("Program"),
        2 => On::Below(random.one(&["/usr/bin", "/usr", "/usr/bi", "/"]).to_owned()),
        _ => On::One("Program", super::simple::real_program(random.one(&PROGRAMS))),
    };
    let when = match random.below(8) {
        0 => When::Text("subcommand", random.one(&["log", "status", ""]).to_owned()),
        1 => When::Only("options", &["-n", "--oneline"]),
        2 => When::Only("operands", &["5", "file"]),
        3 => When::Has("options", "-x"),
        4 => When::AtMost("argc", random.one(&[1, 2, 3])),
        5 => When::Begins("subcommand", "l"),
        6 => When::Text("cwd", tree.at(random.one(&DIRS))),
        _ => When::Ends("argv0", random.one(&["/echo", "/id", "/sh"])),
    };
    (action, on, maybe_not(random, when))
}

fn on_desktop(random: &mut Random) -> (Action, On, When) {
    let (action, when) = match random.below(5) {
        0 => (Action::Named("keyboard.type"), When::AtMost("characters", 20)),
        1 => (Action::Named("keyboard.type"), When::Is("newline", random.once_in(2))),
        2 => (Action::Named("keyboard.press"), When::Text("key", "ctrl+c".to_owned())),
        3 if random.once_in(2) => {
            (Action::Verb("inject"), When::Text("button", random.one(&["left", "right"]).to_owned()))
        }
        3 => {
            let when = if random.once_in(2) {
                When::Only("modifiers", &["shift"])
            } else {
                When::Has("modifiers", "super")
            };
            (Action::Verb("inject"), when)
        }
        _ => {
            let when = if random.once_in(2) {
                When::Begins("title", "notes")
            } else {
                When::Text("role", random.one(&["terminal", "application"]).to_owned())
            };
            (Action::Verb(random.one(&["inject", "observe"])), when)
        }
    };
    let on = match random.below(5) {
        0 => On::Kind("Window"),
        1 => On::Kind("Display"),
        2 => On::One("Window", random.one(&WINDOWS).to_owned()),
        3 => On::One("Display", random.one(&DISPLAYS).to_owned()),
        _ => On::Display(random.one(&DISPLAYS)),
    };
    (action, on, maybe_not(random, when))
}
