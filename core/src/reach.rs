//! What a program that a plan starts may touch, as far as the policy says: the same that the session could have touched
//! through `fs`, in a form that a kernel can hold.

use std::path::PathBuf;

use serde::Serialize;

/// The places that a program may read and write. All paths are real and absolute; a directory stands for all below it.
///
/// A place is here only where the policy permits everything in it, whatever the entry; what it does not permit below
/// is [`hidden`](Reach::hidden) or [`kept`](Reach::kept). The folders of the system are not here: they are the same for
/// every program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Reach {
    /// May be read.
    pub read: Vec<PathBuf>,
    /// May be read, changed, created in and removed from. Where a place lies in another one it cannot be renamed or
    /// removed from there, so that what is hidden or kept below stays where it is.
    pub write: Vec<PathBuf>,
    /// Below what may be read or written: must not be seen.
    pub hidden: Vec<PathBuf>,
    /// Below what may be written: must not be changed.
    pub kept: Vec<PathBuf>,
}

/// What policies add to the reach of one program, by annotations on the rule that lets it run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Profile {
    /// `@network`: which connections it may open.
    #[serde(skip_serializing_if = "Network::is_none")]
    pub network: Network,
    /// `@execute("yes")`: it may start other programs, also where no human confirmed it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub execute: bool,
    /// `@read`: places that it may read beside its reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<PathBuf>,
    /// `@write`: places that it may write beside its reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<PathBuf>,
}

/// Which connections a program may open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// None: it sees no network.
    #[default]
    None,
    /// TCP connections to these ports.
    Ports(Vec<u16>),
    /// Any.
    All,
}

impl Network {
    /// Whether it is [`Network::None`].
    pub fn is_none(&self) -> bool {
        *self == Network::None
    }
}

impl Profile {
    /// Adds what another rule grants.
    pub fn add(&mut self, other: &Profile) {
        self.network = match (std::mem::take(&mut self.network), &other.network) {
            (Network::All, _) | (_, Network::All) => Network::All,
            (Network::None, other) => other.clone(),
            (own, Network::None) => own,
            (Network::Ports(own), Network::Ports(others)) => Network::Ports(merged(own, others)),
        };
        self.execute |= other.execute;
        self.read = merged(std::mem::take(&mut self.read), &other.read);
        self.write = merged(std::mem::take(&mut self.write), &other.write);
    }

    /// Whether it grants nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn merged<T: Ord + Clone>(mut own: Vec<T>, others: &[T]) -> Vec<T> {
    own.extend_from_slice(others);
    own.sort();
    own.dedup();
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_of_several_rules_add_up() {
        let mut profile = Profile { network: Network::Ports(vec![443]), ..Profile::default() };
        profile.add(&Profile { network: Network::Ports(vec![80, 443]), execute: true, ..Profile::default() });
        assert_eq!(profile.network, Network::Ports(vec![80, 443]));
        assert!(profile.execute);
        profile.add(&Profile { network: Network::All, read: vec!["/srv".into()], ..Profile::default() });
        profile.add(&Profile::default());
        assert_eq!((profile.network, profile.read), (Network::All, vec![PathBuf::from("/srv")]));
    }
}
