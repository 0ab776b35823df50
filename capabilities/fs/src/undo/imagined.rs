//! The tree as it would be once steps were taken back. Nothing is touched here: what this finds to be in order is then done.

use std::collections::{BTreeMap, BTreeSet};

use llm_os_core::Fault;

use super::ground::{Ground, split};
use super::node::{Bytes, Node, Step, Tree};
use super::store::Pace;
use crate::fault::{UNDO_CONFLICT, shown};
use crate::roots::join;

/// What is really there, with the names that would change.
pub(crate) struct Imagined<'a> {
    ground: &'a Ground<'a>,
    stand_ins: BTreeMap<String, String>,
    pace: Pace<'a>,
    names: BTreeMap<Vec<u8>, Seen>,
}

/// What a name would lead to.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    Missing,
    /// Something that the store holds. Only what is named below it is in it.
    Kept(Node),
    /// What is really at this path, with all that is in it but for the names that change.
    Real(Vec<u8>),
}

/// Where a name that changes lies.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the directory that is really at this path.
    Real(Vec<u8>),
    /// In a directory that the store holds, which will have this path.
    Kept(Vec<u8>),
}

/// A name that changes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) path: Vec<u8>,
    pub(crate) place: Place,
    pub(crate) seen: Seen,
}

impl Target {
    /// The real path of the name now.
    pub(crate) fn now(&self) -> Option<Vec<u8>> {
        match &self.place {
            Place::Real(directory) => Some(join(directory, split(&self.path).1)),
            Place::Kept(_) => None,
        }
    }

    /// Whether what is at this real path moves to this name.
    pub(crate) fn takes(&self, path: &[u8]) -> bool {
        match &self.seen {
            Seen::Real(real) => real == path,
            Seen::Kept(_) | Seen::Missing => false,
        }
    }
}

impl<'a> Imagined<'a> {
    pub(crate) fn new(ground: &'a Ground<'a>, stand_ins: BTreeMap<String, String>, pace: Pace<'a>) -> Self {
        Self { ground, stand_ins, pace, names: BTreeMap::new() }
    }

    /// Takes back a step, if it was made; what is neither as before it nor as after it is a conflict. Tells whether there was
    /// anything to take back.
    pub(crate) fn take_back(&mut self, step: &Step) -> Result<bool, Fault> {
        match step {
            Step::Put { path, before, after } => self.put_back(&path.0, before, after),
            Step::Move { from, to, moved } => self.move_back(&from.0, &to.0, moved),
        }
    }

    /// Every name that changes, what holds before what it holds.
    pub(crate) fn targets(&self) -> Result<Vec<Target>, Fault> {
        let mut targets = Vec::new();
        for (path, seen) in &self.names {
            let (above, _) = split(path);
            let place = match (self.find(above), seen) {
                (Seen::Missing, Seen::Missing) | (Seen::Kept(_), Seen::Missing) => continue,
                (Seen::Missing, Seen::Kept(_) | Seen::Real(_)) => return Err(conflict(path)),
                (Seen::Kept(_), Seen::Kept(_) | Seen::Real(_)) => Place::Kept(above.to_vec()),
                (Seen::Real(directory), _) => Place::Real(directory),
            };
            let target = Target { path: path.clone(), place, seen: seen.clone() };
            let is_there_already = match seen {
                Seen::Real(real) => target.now().as_ref() == Some(real),
                Seen::Missing => target.now().map_or(Ok(None), |now| self.ground.item(&now))?.is_none(),
                Seen::Kept(_) => false,
            };
            if !is_there_already {
                targets.push(target);
            }
        }
        Ok(targets)
    }

    fn put_back(&mut self, path: &[u8], before: &Tree, after: &Tree) -> Result<bool, Fault> {
        let now = self.tree(path, before.len().max(after.len()))?;
        let of = |tree: &Tree| tree.iter().cloned().collect::<BTreeMap<Bytes, Node>>();
        let (now, before, after) = (of(&now), of(before), of(after));
        let paths: BTreeSet<_> = now.keys().chain(before.keys()).chain(after.keys()).collect();
        for path in &paths {
            let found = now.get(path);
            if !self.alike(found, before.get(path)) && !self.alike(found, after.get(path)) {
                return Err(conflict(&path.0));
            }
        }
        let mut changes = false;
        for path in paths {
            let wanted = before.get(path);
            // The directory that holds it was just set anew, and holds only what is set in it.
            let is_lost = wanted.is_some() && matches!(self.find(&path.0), Seen::Missing);
            if is_lost || !self.alike(now.get(path), wanted) {
                changes = true;
                self.set(path.0.clone(), wanted.map_or(Seen::Missing, |node| Seen::Kept(node.clone())));
            }
        }
        Ok(changes)
    }

    fn move_back(&mut self, from: &[u8], to: &[u8], moved: &Node) -> Result<bool, Fault> {
        let (here, there) = (self.node(from)?, self.node(to)?);
        if here.is_some() {
            return if self.alike(here.as_ref(), Some(moved)) { Ok(false) } else { Err(conflict(from)) };
        }
        if !self.alike(there.as_ref(), Some(moved)) {
            return Err(conflict(to));
        }
        let seen = self.find(to);
        let below = self.names_below(to);
        let inside: Vec<_> =
            below.into_iter().filter_map(|path| self.names.remove_entry(path.as_slice())).collect();
        self.set(from.to_vec(), seen);
        self.names.extend(inside.into_iter().map(|(path, seen)| ([from, &path[to.len()..]].concat(), seen)));
        self.set(to.to_vec(), Seen::Missing);
        Ok(true)
    }

    /// Gives a name another meaning; what was said of names below it holds no longer.
    fn set(&mut self, path: Vec<u8>, seen: Seen) {
        for below in self.names_below(&path) {
            self.names.remove(&below);
        }
        self.names.insert(path, seen);
    }

    fn names_below(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let start = join(path, b"");
        let names = self.names.range(start.clone()..).take_while(|(name, _)| name.starts_with(&start));
        names.map(|(name, _)| name.clone()).collect()
    }

    /// What a path would lead to; `Real` says nothing about whether anything is there.
    fn find(&self, path: &[u8]) -> Seen {
        let mut above = path;
        loop {
            match self.names.get(above) {
                Some(Seen::Kept(node)) if above.len() == path.len() => return Seen::Kept(node.clone()),
                Some(Seen::Kept(_) | Seen::Missing) => return Seen::Missing,
                Some(Seen::Real(real)) => return Seen::Real([real, &path[above.len()..]].concat()),
                None if above.len() <= 1 => return Seen::Real(path.to_vec()),
                None => above = split(above).0,
            }
        }
    }

    fn node(&self, path: &[u8]) -> Result<Option<Node>, Fault> {
        match self.find(path) {
            Seen::Missing => Ok(None),
            Seen::Kept(node) => Ok(Some(node)),
            Seen::Real(real) => self.ground.node(&real, self.pace),
        }
    }

    /// Everything at a path and below it, and no more of it than it takes to see that there is more than `most`.
    fn tree(&self, path: &[u8], most: usize) -> Result<Tree, Fault> {
        let mut tree = Tree::new();
        self.add(path, most, &mut tree)?;
        Ok(tree)
    }

    fn add(&self, path: &[u8], most: usize, tree: &mut Tree) -> Result<(), Fault> {
        let Some(node) = self.node(path)? else { return Ok(()) };
        let is_directory = node.is_directory();
        tree.push((Bytes(path.to_vec()), node));
        if !is_directory {
            return Ok(());
        }
        let mut below: BTreeSet<Vec<u8>> = match self.find(path) {
            Seen::Real(real) => self.ground.names(&real)?.iter().map(|name| join(path, name)).collect(),
            Seen::Kept(_) | Seen::Missing => BTreeSet::new(),
        };
        below.extend(self.names_below(path).into_iter().filter(|name| split(name).0 == path));
        for path in below {
            if tree.len() > most {
                return Ok(());
            }
            self.add(&path, most, tree)?;
        }
        Ok(())
    }

    /// Whether both are the same thing with the same content. An undo makes things anew: they stand for those that they restore.
    fn alike(&self, one: Option<&Node>, other: Option<&Node>) -> bool {
        match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                self.first(&one.id) == self.first(&other.id)
                    && (one.permissions, one.uid, one.gid) == (other.permissions, other.uid, other.gid)
                    && one.what == other.what
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    fn first<'i>(&'i self, mut id: &'i str) -> &'i str {
        while let Some(earlier) = self.stand_ins.get(id) {
            id = earlier;
        }
        id
    }
}

/// What a run left at this path is not there any more.
pub(crate) fn conflict(path: &[u8]) -> Fault {
    let message = format!(
        "\"{}\" is not as the run left it, so nothing was undone: undo what changed it since, or put back by hand what you need",
        shown(path)
    );
    Fault::new(UNDO_CONFLICT, message).detail("path", llm_os_core::path::spell(path))
}
