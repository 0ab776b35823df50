//! The effects of this capability: a verb on a real path, with facts of what is there.

use llm_os_core::file::is_persistent;
use llm_os_core::path::spell;
use llm_os_core::{Effect, Fact, Identity, Resource, Verb};

use crate::kernel::{FileKind, Meta};
use crate::roots::{Entry, Handle, Missing, Place, Slot};

/// The effect on what is, or is not, at a path. Where the file has other names a human is always asked: what happens to
/// it happens to them too, and they may lie outside every root.
pub(crate) fn effect(verb: Verb, path: &[u8], meta: Option<&Meta>, identity: Identity) -> Effect {
    let effect = metadata_effect(verb, path, meta, identity);
    match meta.filter(|meta| meta.has_other_names()) {
        Some(meta) => {
            effect.asks(format!("the file has {} names (hard links), perhaps outside the roots", meta.links))
        }
        None => effect,
    }
}

/// The same for what only tells names, sizes and times.
pub(crate) fn metadata_effect(verb: Verb, path: &[u8], meta: Option<&Meta>, identity: Identity) -> Effect {
    let links = match meta {
        None => 0,
        Some(meta) if meta.is_directory() => 1,
        Some(meta) => meta.links.into(),
    };
    Effect::new(verb, Resource::path(path), identity)
        .fact("exists", Fact::Bool(meta.is_some()))
        .fact("file_type", Fact::Text(file_type(meta).to_owned()))
        .fact("links", Fact::Long(links))
        .fact("persistent", Fact::Bool(is_persistent(path)))
}

/// The effect on an entry that a walk met, or on the place where its copy goes.
pub(crate) fn effect_below(verb: Verb, path: &[u8], meta: Option<&Meta>) -> Effect {
    effect(verb, path, meta, meta.map_or_else(Identity::of_id, Meta::identity))
}

fn file_type(meta: Option<&Meta>) -> &'static str {
    match meta.map(|meta| meta.kind) {
        None => "missing",
        Some(FileKind::Regular) => "file",
        Some(FileKind::Directory) => "directory",
        Some(FileKind::Symlink) => "symlink",
        Some(FileKind::Special(_)) => "other",
    }
}

impl Meta {
    pub(crate) fn identity(&self) -> Identity {
        Identity::new(self.id())
    }
}

/// The identity of something missing: that of the deepest directory that exists, and the names below.
fn absent(above: &Handle, rest: &[u8]) -> Identity {
    let ((major, minor), (seconds, nanos)) = (above.meta.device, above.meta.born);
    Identity::new(format!("absent:{major}:{minor}:{}:{seconds}.{nanos}:{}", above.meta.inode, spell(rest)))
}

impl Handle {
    pub(crate) fn effect(&self, verb: Verb) -> Effect {
        effect(verb, &self.path, Some(&self.meta), self.meta.identity())
    }
}

impl Missing {
    fn effect(&self, verb: Verb) -> Effect {
        effect(verb, &self.path(), None, absent(&self.above, &self.rest.join(&b'/')))
    }

    /// The effects of creating each directory on the way down, and the last name.
    pub(crate) fn effects_on_the_way(&self, verb: Verb) -> Vec<Effect> {
        (1..=self.rest.len())
            .map(|depth| {
                let path = self.rest[..depth]
                    .iter()
                    .fold(self.above.path.clone(), |p, name| crate::roots::join(&p, name));
                effect(verb, &path, None, absent(&self.above, &self.rest[..depth].join(&b'/')))
            })
            .collect()
    }
}

impl Entry {
    fn effect(&self, verb: Verb) -> Effect {
        match &self.occupant {
            Some(occupant) => effect(verb, &self.path(), Some(&occupant.meta), occupant.meta.identity()),
            None => effect(verb, &self.path(), None, absent(&self.dir, &self.name)),
        }
    }
}

impl Place {
    pub(crate) fn effect(&self, verb: Verb) -> Effect {
        match self {
            Place::Found(handle) => handle.effect(verb),
            Place::Missing(missing) => missing.effect(verb),
        }
    }

    /// The effect of telling names, sizes and times.
    pub(crate) fn metadata_effect(&self, verb: Verb) -> Effect {
        Effect { asks: None, ..self.effect(verb) }
    }
}

impl Slot {
    pub(crate) fn effect(&self, verb: Verb) -> Effect {
        match self {
            Slot::Entry(entry) => entry.effect(verb),
            Slot::NoDirectory(missing) => missing.effect(verb),
        }
    }
}
