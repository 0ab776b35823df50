//! The one stable trait that a capability implements.
//!
//! ```
//! use llm_os_core::*;
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//!
//! /// Tells the time of this machine.
//! struct Clock;
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(rename_all = "snake_case", deny_unknown_fields)]
//! enum Action {
//!     /// Reads the clock.
//!     Now {},
//! }
//!
//! #[derive(Serialize, JsonSchema)]
//! #[serde(rename_all = "snake_case")]
//! enum Output {
//!     /// Seconds since 1970.
//!     Now { seconds: u64 },
//! }
//!
//! impl Effectful for Action {
//!     fn effects(&self) -> Effects {
//!         let Action::Now {} = self;
//!         Effects::one(Effect::new(Verb::Observe, Resource::new(Kind::Device, "clock"), Identity::of_id()))
//!     }
//! }
//!
//! impl Capability for Clock {
//!     const NAME: &'static str = "clock";
//!     const ACTIONS: &'static [ActionSpec] = &[ActionSpec {
//!         verb: "now",
//!         effects: &[EffectSpec { verb: Verb::Observe, kind: Kind::Device, facts: &[] }],
//!         errors: &[],
//!         examples: &[Example { doc: "What time is it?", params: "{}" }],
//!     }];
//!     type Config = NoConfig;
//!     type Action = Action;
//!     type Resolved = Action;
//!     type Output = Output;
//!
//!     fn open(_: NoConfig, _: &Setup) -> Result<Self, Fault> {
//!         Ok(Clock)
//!     }
//!     fn resolve(&self, action: Action) -> Result<Action, Fault> {
//!         Ok(action)
//!     }
//!     async fn execute(&self, granted: Granted<Action>, _: &Context) -> Result<Output, Fault> {
//!         let Action::Now {} = granted.into_inner();
//!         let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
//!         Ok(Output::Now { seconds: now.as_secs() })
//!     }
//! }
//!
//! inventory::submit!(Registration::of::<Clock>());
//! # use llm_os_core::capability::NoConfig;
//! # fn main() { assert!(Registry::linked().unwrap().action(&llm_os_core::name::ActionName::new("clock.now").unwrap()).is_some()); }
//! ```

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::Evidence;
use crate::check::Check;
use crate::effect::{Effect, Effectful, Effects, FactSpec, Kind, Resource, Verb};
use crate::error::{Code, Fault};
use crate::evidence::{Aim, Keeper, PICTURE, Picture, Preview, View};
use crate::name::ActionName;
use crate::policy::{self, Decision, Judge, Principal, Query};
use crate::reach::{Profile, Reach};

pub use crate::pipeline::Granted;

/// A capability of the operating system, such as `fs` or `exec`.
///
/// Everything that others need falls out of the types: JSON Schemas, the policy's schema, `host.describe`, redaction.
pub trait Capability: Sized + Send + Sync + 'static {
    /// The name before the dot of its actions: `[a-z][a-z0-9]*`, unique in a host.
    const NAME: &'static str;

    /// Its actions, one for each variant of [`Capability::Action`]. The registry refuses a list that differs.
    const ACTIONS: &'static [ActionSpec];

    /// The table `[capabilities.NAME]` of the host's configuration. Derive `Deserialize` with `deny_unknown_fields`
    /// and `default`; [`NoConfig`] where there is nothing to configure.
    type Config: DeserializeOwned + JsonSchema + Default;

    /// An externally tagged enum of struct variants in snake case, `deny_unknown_fields`: the variant is the verb, its
    /// fields are the params, its doc comments are what a model reads. Wrap what the log must not hold in
    /// [`Secret`](crate::Secret), and paths in [`WirePath`](crate::path::WirePath).
    type Action: DeserializeOwned + JsonSchema + Send;

    /// An action that is bound to the very things it names. The same type as [`Capability::Action`] where there is
    /// nothing to open.
    type Resolved: Effectful + Send;

    /// An externally tagged enum with the same variants as [`Capability::Action`]; the answer holds what is inside.
    type Output: Serialize + JsonSchema;

    /// Called once at start. A fault marks the capability unavailable, with the fault's message as the reason; the
    /// host still runs, unless the fault says [`Fault::keeps_host_from_starting`].
    ///
    /// # Errors
    ///
    /// A configuration that cannot be honoured, or a machine that lacks what is needed.
    fn open(config: Self::Config, setup: &Setup) -> Result<Self, Fault>;

    /// What this machine has of what the capability uses, for `llm-osd doctor`. It is asked in the place of
    /// [`Capability::open`], and has no effect that would outlast it; a check that is required and not held is what keeps the
    /// host from starting.
    fn checks(config: &Self::Config, setup: &Setup) -> Vec<Check> {
        let _ = (config, setup);
        Vec::new()
    }

    /// Checks values before anything is touched, not even by a system call.
    ///
    /// # Errors
    ///
    /// [`Fault::invalid`] with the path relative to the params.
    fn validate(&self, action: &Self::Action) -> Result<(), Fault> {
        let _ = action;
        Ok(())
    }

    /// Opens what the action names, without changing or reading it, so that the effects are stated of exactly what
    /// will be used.
    ///
    /// # Errors
    ///
    /// What is not there or cannot be named safely.
    fn resolve(&self, action: Self::Action) -> Result<Self::Resolved, Fault>;

    /// The same for the caller who asks, where what an action names belongs to one of them. What is another's is answered
    /// as what does not exist.
    ///
    /// # Errors
    ///
    /// As [`Capability::resolve`].
    fn resolve_for(&self, action: Self::Action, caller: &Principal) -> Result<Self::Resolved, Fault> {
        let _ = caller;
        self.resolve(action)
    }

    /// What an approver is shown of an action beside its params, such as what it would make of a file. Asked only of a plan that
    /// is about to be held, and bounded there in number and length. It is no safety question: it decides nothing, a panic
    /// is told in its place, and what it says is no part of what is approved. It reads at most what the approver may see,
    /// which is everything, changes nothing, and takes well below a second.
    fn preview(&self, resolved: &Self::Resolved, caller: &Principal) -> Vec<Preview> {
        let _ = (resolved, caller);
        Vec::new()
    }

    /// The pixels that an action sends input to, of a drag the first and the last, for whoever looks at it with the picture that
    /// the caller saw. No safety question either; nothing is looked at for it.
    fn aims(&self, resolved: &Self::Resolved) -> Vec<Aim> {
        let _ = resolved;
        Vec::new()
    }

    /// Acts, on the handles that were resolved and never again on a name. Cancel-safe: the future is dropped after
    /// [`Context::cancelled`] and a grace time.
    ///
    /// # Errors
    ///
    /// What went wrong; with [`Fault::delivered`] where part of it was done.
    fn execute(
        &self,
        granted: Granted<Self::Resolved>,
        cx: &Context,
    ) -> impl Future<Output = Result<Self::Output, Fault>> + Send;

    /// Why one action cannot be used here although the capability as a whole can; `host.describe` tells it, and the
    /// action itself answers `unavailable` as well.
    fn lacks(&self, verb: &str) -> Option<String> {
        let _ = verb;
        None
    }

    /// The names that a field with `x-choice` (see [`link`](crate::link)) can take now, by what stands there; none where that is
    /// not known. `host.describe` tells no others. Must not block for longer than a look at a display takes.
    fn choices(&self, of: &str) -> Option<Vec<String>> {
        let _ = of;
        None
    }

    /// Why every effect on this resource [asks](Effect::asks), whatever the params, as far as that is known before there
    /// is a plan: a policy that permits it without a human's confirmation is then refused when it is loaded. Called
    /// also where the capability is not open.
    fn always_asks(resource: &Resource) -> Option<String> {
        let _ = resource;
        None
    }

    /// Why this machine cannot hold the programs that it starts to a reach, and to what a profile adds, if so. A policy
    /// that states them keeps the host from starting, or is not loaded.
    fn cannot_hold(&self, reach: &Reach, profile: &Profile) -> Option<String> {
        let _ = (reach, profile);
        None
    }

    /// A connection ended, and no plan of it runs any more: gives up what was held for it beyond its plans, such as a
    /// key that is down. Called for every connection, the host's end included; must not block for longer than a second.
    fn disconnected(&self, connection: ConnectionId) {
        let _ = connection;
    }

    /// The host was halted: ends at once what lasts beyond an action, for every connection, such as a key that is down
    /// or a program that was left running. Actions that run are cancelled besides. Called as often as the host is told to
    /// halt, and once more when the cancelled actions have ended; must not block for longer than a second.
    fn halted(&self) {}
}

/// The connection that a plan came by, unique while the host runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// One action of a capability, as far as types cannot tell it.
#[derive(Clone, Copy, Debug)]
pub struct ActionSpec {
    /// The variant's name in snake case.
    pub verb: &'static str,
    /// Every effect that the action can state. Stating another one is a fault of the capability, and denied.
    pub effects: &'static [EffectSpec],
    /// The codes of its own that it fails with.
    pub errors: &'static [&'static str],
    /// At least one; they are docs and tests.
    pub examples: &'static [Example],
}

/// A verb on a kind of resource, with the facts that such an effect always carries.
///
/// In policies it is one Cedar action, `Action::"<capability>.<action>/<verb>"`. Where one action states the same verb
/// on two kinds, the facts are the same.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EffectSpec {
    /// The verb.
    pub verb: Verb,
    /// On which kind.
    pub kind: Kind,
    /// With which facts.
    pub facts: &'static [FactSpec],
}

/// Params of an action that parse and validate.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Example {
    /// What it is for, in one line.
    pub doc: &'static str,
    /// The params, a JSON object.
    pub params: &'static str,
}

/// The configuration of a capability that has nothing to configure.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// What a capability gets to know of the host when it opens.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The directories below which files may be named, already in their real form.
    pub roots: Vec<Root>,
    /// The display that may be driven, where the operator gave one.
    pub display: Option<Display>,
    /// The host's state directory, which no plan can reach: a capability that keeps something between plans makes a
    /// directory of its own name there, with mode 0700. None where nothing may be kept.
    pub state: Option<PathBuf>,
    /// The chord by which the human before the display halts the host, where the operator wants one. A capability that can
    /// watch it does, or fails with [`Fault::keeps_host_from_starting`].
    pub halt_chord: Option<HaltChord>,
}

/// Keys by which a human halts the host.
#[derive(Clone)]
pub struct HaltChord {
    keys: String,
    halt: Arc<dyn Fn() + Send + Sync>,
    is_watched: Arc<AtomicBool>,
}

impl HaltChord {
    /// Keys as the configuration spells them, and what to do once they are pressed; that must not block.
    pub fn new(keys: impl Into<String>, halt: impl Fn() + Send + Sync + 'static) -> Self {
        Self { keys: keys.into(), halt: Arc::new(halt), is_watched: Arc::default() }
    }

    /// Keys joined with `+`.
    pub fn keys(&self) -> &str {
        &self.keys
    }

    /// Says that the caller watches it; what to call for each press.
    pub fn watched(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.is_watched.store(true, Ordering::SeqCst);
        self.halt.clone()
    }

    /// Whether anybody watches it.
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for HaltChord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HaltChord").field(&self.keys).finish()
    }
}

/// A display and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Display {
    /// Its id in policies: `virtual` for the host's own display, else the same as `name`.
    pub id: String,
    /// What `DISPLAY` (X(7)), or for Wayland `WAYLAND_DISPLAY`, names it.
    pub name: String,
    /// The file with the cookie of an X server (Xauthority, xauth(1)), where it is not the user's own.
    #[serde(skip)]
    pub authority: Option<PathBuf>,
}

/// A directory below which plans may name files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Root {
    /// The real absolute path.
    pub path: PathBuf,
    /// What may be done below.
    pub mode: Mode,
}

/// What may be done below a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Observe only.
    Read,
    /// Observe, change and destroy, as far as the policy goes.
    Write,
}

/// What an action has while it runs.
pub struct Context {
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) principal: Principal,
    pub(crate) action: ActionName,
    pub(crate) confirmed: bool,
    pub(crate) cancel: CancellationToken,
    pub(crate) deadline: Instant,
    pub(crate) connection: ConnectionId,
    pub(crate) run: String,
    pub(crate) index: usize,
    pub(crate) profile: Profile,
    pub(crate) notes: Mutex<serde_json::Map<String, serde_json::Value>>,
    pub(crate) keeper: Option<Arc<dyn Keeper>>,
    pub(crate) kept: Mutex<Kept>,
}

/// What was kept of one action.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) evidence: Vec<Evidence>,
    /// Why something was not.
    pub(crate) missing: Option<String>,
}

impl Context {
    /// The connection that the plan came by; see [`Capability::disconnected`].
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Who sent the plan.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The host's own unique id of the run, as `meta.run` of the answer tells it.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Which action of its plan this is, counted from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether a human confirmed this plan.
    pub fn confirmed(&self) -> bool {
        self.confirmed
    }

    /// What a program that this action starts may touch, by the policy that the plan began with.
    pub fn reach(&self) -> Reach {
        self.judge.reach(&self.principal, self.confirmed)
    }

    /// What the policies that let a program run add to its reach.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The same for one of several programs that this action starts, by the effects of that one.
    pub fn profile_of(&self, effects: &Effects) -> Profile {
        let mut profile = Profile::default();
        for effect in effects.as_slice() {
            profile.add(&policy::rule(&*self.judge, self.query(effect)).profile);
        }
        profile
    }

    /// Adds a fact to the record of this action's outcome, such as the digest of what it gave out. Never a secret.
    pub fn note(&self, name: &str, value: impl Into<serde_json::Value>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.insert(name.to_owned(), value.into());
    }

    /// Whether the host keeps evidence: what is only for [`Context::keep`] need not be made where it does not.
    pub fn keeps_evidence(&self) -> bool {
        self.keeper.is_some()
    }

    /// Keeps what the record of this action's outcome only digests, and names it there, as far as the host keeps evidence. The
    /// action's output is kept anyway. Never what was typed, an environment, a token or params.
    pub fn keep(&self, name: &str, media_type: &str, bytes: &[u8]) {
        let Some(keeper) = &self.keeper else { return };
        match keeper.keep(name, media_type, bytes) {
            Ok(evidence) => self.kept().evidence.push(evidence),
            Err(why) => self.lacks_evidence(why),
        }
    }

    /// Says in the record of this action's outcome why something that should be kept is not.
    pub fn lacks_evidence(&self, why: String) {
        self.kept().missing.get_or_insert(why);
    }

    /// Keeps a picture that is given out of a display, by its id in policies, and remembers it as what this caller saw of it last.
    pub fn keep_picture(&self, display: &str, view: View, media_type: &str, bytes: &[u8]) {
        let Some(keeper) = &self.keeper else { return };
        let picture = match keeper.keep(PICTURE, media_type, bytes) {
            Ok(evidence) => Some(Picture { evidence, view }),
            Err(why) => {
                self.lacks_evidence(why);
                None
            }
        };
        keeper.saw(&self.principal, display, picture);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one entry of the subtree that was granted may be touched in this way: the policy is asked about just
    /// this effect. What it holds for confirmation counts as permitted where a human confirmed this plan.
    pub fn permits(&self, effect: &Effect) -> bool {
        match policy::rule(&*self.judge, self.query(effect)).decision {
            Decision::Allow => true,
            Decision::Confirm => self.confirmed,
            Decision::Deny => false,
        }
    }

    /// Whether [`Context::permits`] on this effect provably answers for everything below its path as well.
    pub fn covers_subtree(&self, effect: &Effect) -> bool {
        self.judge.covers_subtree(self.query(effect))
    }

    /// Resolves once the action is to stop: the caller cancelled it, went away, or its deadline passed.
    pub async fn cancelled(&self) {
        tokio::select! {
            () = self.cancel.cancelled() => {}
            () = tokio::time::sleep_until(self.deadline) => {}
        }
    }

    /// The same for work that blocks: ask between steps.
    pub fn is_cancelled(&self) -> bool {
        self.stopped().is_some()
    }

    /// Why the action is to stop, once it is: `cancelled` or `deadline_exceeded`.
    pub fn stopped(&self) -> Option<Fault> {
        if self.cancel.is_cancelled() {
            Some(Fault::new(Code::CANCELLED, "the plan was cancelled while this action ran"))
        } else if self.time_left().is_zero() {
            Some(Fault::new(Code::DEADLINE_EXCEEDED, "the plan's deadline passed while this action ran"))
        } else {
            None
        }
    }

    /// The time until the plan's deadline.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn query<'a>(&'a self, effect: &'a Effect) -> Query<'a> {
        Query { principal: &self.principal, action: &self.action, effect }
    }
}
