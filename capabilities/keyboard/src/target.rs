//! Whom the keys will reach.

use std::collections::BTreeSet;

use llm_os_core::{Effect, Fault, Verb};
use llm_os_desktop::keys::Modifier;
use llm_os_desktop::x11::Focus;
use llm_os_desktop::{Backend, Desktop, NO_FOCUS, other};

use crate::work::Work;

/// Whom the keys will reach, as it was judged.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// The window with the focus, and the modifiers that were down already.
    Window { focus: Box<Focus>, down: BTreeSet<Modifier> },
    /// Whatever has the focus on a display that does not tell, and the modifiers that plans hold down.
    Display { id: String, down: BTreeSet<Modifier> },
}

impl Target {
    pub(crate) fn find(desktop: &Desktop) -> Result<Self, Fault> {
        match desktop.backend() {
            Backend::X11 => desktop.look(|session| {
                let down = session.modifiers()?;
                let Some(focus) = session.focused()? else {
                    let message =
                        "no window has the keyboard, so that keys would reach nobody; click a window first";
                    return Err(Fault::new(NO_FOCUS, message).into());
                };
                Ok(Target::Window { focus: Box::new(focus), down })
            }),
            Backend::Other => {
                let id = desktop.display().id.clone();
                desktop.look_other(move |session| Ok(Target::Display { id, down: session.modifiers() }))
            }
        }
    }

    pub(crate) fn effect(&self, work: &Work) -> Effect {
        match self {
            Target::Window { focus, down } => work.facts(focus.window.effect(Verb::Inject), down),
            Target::Display { id, down } => work.facts(other::effect(Verb::Inject, id), down),
        }
    }
}
