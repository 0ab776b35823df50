//! The contract between a plan and the operating system.
//!
//! A plan is a strict JSON frame. It becomes an effect only by walking the stages of [`pipeline`], and each stage is
//! a type that the next one consumes:
//!
//! ```text
//! frame -> Parsed -> Validated -> Resolved -> Judged -> (Held -> confirmed) -> Recorded -> executed -> settled
//! ```
//!
//! Three things hold for this crate, and tests keep them:
//!
//! - It does no I/O: no files, no processes, no sockets. The host and the capabilities do.
//! - There is no `unsafe` code.
//! - A [`Granted`] value, which is all that a capability's `execute` accepts, is made in one place: the pipeline,
//!   after the policy decided and the record was handed to the [`Ledger`].
//!
//! A capability author reads [`capability`] and [`effect`]; whoever embeds the host reads [`pipeline`]; whoever
//! speaks the protocol reads `PROTOCOL.md` (its examples are run as tests of this crate).
#![forbid(unsafe_code)]

pub mod approval;
pub mod audit;
pub mod capability;
mod check;
pub mod effect;
pub mod error;
pub mod evidence;
pub mod file;
pub mod json;
pub mod link;
pub mod name;
pub mod path;
pub mod pipeline;
pub mod policy;
pub mod reach;
pub mod redact;
pub mod registry;
pub mod request;
pub mod response;
pub mod value;

pub use capability::{
    ActionSpec, Capability, ConnectionId, Context, Display, EffectSpec, Example, Granted, HaltChord,
    Mode as RootMode, Root, Setup,
};
pub use check::Check;
pub use effect::{Effect, Effectful, Effects, Fact, FactSpec, FactType, Identity, Kind, Resource, Verb};
pub use error::{Code, Fault};
pub use evidence::{Aim, Keeper, Preview, View};
pub use inventory;
pub use link::Link;
pub use pipeline::Ledger;
pub use policy::{Decision, Judge, Principal, Ruling};
pub use reach::{Network, Profile, Reach};
pub use registry::{Registration, Registry};
pub use value::{Binary, Secret, Text};

/// The protocol version that this crate speaks; a request with another one is refused.
pub const VERSION: &str = "1";
