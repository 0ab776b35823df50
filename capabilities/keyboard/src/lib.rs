//! Keys sent as if a person pressed them: the `keyboard` capability.
//!
//! Three things hold here, and tests keep them:
//!
//! - Every key is sent in one server grab with a check of the window that it reaches; where the focus has moved, or
//!   another program holds the keyboard or has taken the key for itself, nothing more is sent and the answer says what was.
//! - Text arrives whole whatever the layout, and no control character gets in that was not asked for.
//! - What is held down for a connection is released when it ends, and never repeats into another window.
//!
//! From the outside in: [`Action`] and [`Output`] are the surface, `work` is a checked action and its facts, `target` the
//! window that it was judged for, `send` delivers; `other` does so where no server tells which window it is.
#![forbid(unsafe_code)]

mod action;
mod other;
mod output;
mod send;
mod spec;
mod target;
mod work;

use std::sync::Arc;

use llm_os_core::capability::NoConfig;
use llm_os_core::{
    ActionSpec, Capability, Check, Code, ConnectionId, Context, Display, Effectful, Effects, Fault, Granted,
    HaltChord, Registration, Setup,
};
use llm_os_desktop::x11::ChordWatch;
use llm_os_desktop::{Backend, Desktop};

pub use action::{Action, Control};
pub use output::{Chorded, Held, HeldMeta, Output, Struck, Typed};

use send::Sender;
use target::Target;
use work::Work;

/// The keyboard of the host's display.
pub struct Keyboard {
    desktop: Arc<Desktop>,
    _chord: Option<ChordWatch>,
}

llm_os_core::inventory::submit!(Registration::of::<Keyboard>());

/// A checked action and the window that it was judged for.
pub struct Resolved {
    work: Work,
    target: Target,
}

impl Effectful for Resolved {
    fn effects(&self) -> Effects {
        Effects::one(self.target.effect(&self.work))
    }
}

impl Capability for Keyboard {
    const NAME: &'static str = "keyboard";
    const ACTIONS: &'static [ActionSpec] = spec::ACTIONS;
    type Config = NoConfig;
    type Action = Action;
    type Resolved = Resolved;
    type Output = Output;

    fn open(NoConfig {}: NoConfig, setup: &Setup) -> Result<Self, Fault> {
        let desktop = Desktop::open(setup)?;
        let chord = setup.halt_chord.as_ref().map(|chord| watch(desktop.display(), chord)).transpose();
        Ok(Self { desktop, _chord: chord.map_err(Fault::keeps_host_from_starting)? })
    }

    fn checks(_: &NoConfig, setup: &Setup) -> Vec<Check> {
        let mut checks = vec![Desktop::check(setup)];
        checks.extend(setup.halt_chord.as_ref().zip(setup.display.as_ref()).map(|(chord, display)| {
            let name = "halt_chord";
            let check = match watch(display, chord) {
                Ok(_) => Check::held(name, chord.keys()),
                Err(fault) => Check::lacking(name, fault.message),
            };
            check.required()
        }));
        checks
    }

    fn validate(&self, action: &Action) -> Result<(), Fault> {
        Work::of(action).map(|_| ())
    }

    fn resolve(&self, action: Action) -> Result<Resolved, Fault> {
        let work = Work::of(&action)?;
        let target = Target::find(&self.desktop)?;
        Ok(Resolved { work, target })
    }

    async fn execute(&self, granted: Granted<Resolved>, cx: &Context) -> Result<Output, Fault> {
        let Resolved { work, target } = granted.into_inner();
        let desktop = &*self.desktop;
        let _turn = desktop.turn(cx).await?;
        match target {
            Target::Window { focus, down } => {
                Sender { desktop, cx, work: &work, focus: *focus, down }.run().await
            }
            Target::Display { id: _, down } => other::Sender { desktop, cx, work: &work, down }.run().await,
        }
    }

    fn lacks(&self, _: &str) -> Option<String> {
        match self.desktop.backend() {
            Backend::X11 => None,
            Backend::Other => match self.desktop.look_other(|session| Ok(session.lacks_keyboard())) {
                Ok(why) => why,
                Err(fault) => Some(fault.message.into_owned()),
            },
        }
    }

    fn disconnected(&self, connection: ConnectionId) {
        self.desktop.release(connection);
    }

    fn halted(&self) {
        self.desktop.release_all();
    }
}

/// Listens for the chord by which a human halts the host.
fn watch(display: &Display, chord: &HaltChord) -> Result<ChordWatch, Fault> {
    match Backend::of(display) {
        Backend::X11 => {
            let halt = chord.watched();
            ChordWatch::start(display, chord.keys(), move || halt())
        }
        Backend::Other => {
            let message = format!(
                "the halt chord {} cannot be watched on {}, which is no X11 display: such a display tells nobody of keys \
                 that are not meant for its own windows",
                chord.keys(),
                display.name
            );
            Err(Fault::new(Code::UNAVAILABLE, message))
        }
    }
}
