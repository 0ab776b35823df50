//! The road from a frame to an effect, one type for each stage.
//!
//! ```text
//! frame -> Parsed -> Validated -> Resolved -> Judged -> (Held -> confirmed) -> Cleared -> Recorded -> executed
//! ```
//!
//! Each step consumes the stage before, and [`Granted`], which is all that a capability's `execute` accepts, is made
//! in the last one. What would skip a stage does not compile:
//!
//! A parsed plan cannot be resolved before it is validated, nor judged before it is resolved:
//!
//! ```compile_fail
//! # use llm_os_core::{Judge, Registry, pipeline::Parsed};
//! fn skip(parsed: Parsed, registry: &Registry) { let _ = parsed.resolve(registry); }
//! ```
//!
//! ```compile_fail
//! # use llm_os_core::{Judge, pipeline::Validated};
//! fn skip(validated: Validated, judge: &dyn Judge) { let _ = validated.judge(judge); }
//! ```
//!
//! A resolved plan cannot run before it is judged, nor a held one before it is confirmed:
//!
//! ```compile_fail
//! # use llm_os_core::pipeline::{Cleared, Resolved};
//! fn skip(resolved: Resolved) -> Cleared { resolved.into() }
//! ```
//!
//! ```compile_fail
//! # use llm_os_core::pipeline::{Cleared, Held};
//! fn skip(held: Held) -> Cleared { Cleared { plan: held.plan, actions: held.actions, approved: Vec::new() } }
//! ```
//!
//! A cleared plan cannot act before it is recorded: a grant is made only inside the step that holds a [`Durable`]
//! proof, or, for what only observes, inside the step whose output stays sealed until it has one.
//!
//! ```compile_fail
//! # use llm_os_core::{Granted, pipeline::Cleared};
//! fn skip(cleared: Cleared) -> Granted<()> { cleared.grant() }
//! ```
//!
//! A plan is judged once, not twice from the same value:
//!
//! ```compile_fail
//! # use llm_os_core::{Judge, pipeline::Resolved};
//! fn twice(resolved: Resolved, judge: &dyn Judge) { let _ = (resolved.judge(judge), resolved.judge(judge)); }
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::evidence::Keeper;
use crate::policy::Judge;
use crate::registry::Registry;
use crate::response::Response;

pub(crate) mod grant;
mod ports;
mod preview;
mod record;
mod run;
mod stages;

pub use grant::Granted;
pub use ports::{Approvals, Asked, Claim, Durable, HeldAction, HeldPlan, Ledger, Pending};
pub use stages::{Cleared, Held, Judged, Parsed, Refused, Resolved, Validated, Verdict};

/// Everything a plan meets on its way.
pub struct Door<'a, L, A> {
    /// The capabilities.
    pub registry: &'a Registry,
    /// The policy.
    pub judge: Arc<dyn Judge>,
    /// The audit log.
    pub ledger: &'a L,
    /// Held plans and tokens.
    pub approvals: &'a A,
    /// Where evidence is kept, if it is.
    pub evidence: Option<Arc<dyn Keeper>>,
    /// The bounds.
    pub limits: Limits,
}

/// Bounds on a plan.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most bytes of outputs in one answer.
    pub response_bytes: usize,
    /// The time from the start of a plan to its end.
    pub plan: Duration,
    /// How long an action may take to stop once it is told to.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { response_bytes: 32 << 20, plan: Duration::from_secs(600), grace: Duration::from_secs(2) }
    }
}

/// Walks a plan through every stage and answers it. The answer is recorded before it is returned.
pub async fn walk<L: Ledger, A: Approvals>(
    parsed: Parsed,
    door: &Door<'_, L, A>,
    cancel: CancellationToken,
) -> Response {
    let start = Instant::now();
    let mut response = match stages(parsed, door, cancel).await {
        Ok(response) => response,
        Err(mut refused) => {
            if let Some(keeper) = &door.evidence {
                refused.keep_previews(&**keeper);
            }
            refused.record(door).await
        }
    };
    response.meta.duration_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    response
}

async fn stages<L: Ledger, A: Approvals>(
    parsed: Parsed,
    door: &Door<'_, L, A>,
    cancel: CancellationToken,
) -> Result<Response, Box<Refused>> {
    let validated = parsed.validate(door.registry)?;
    let resolved = validated.resolve(door.registry)?;
    let judged = resolved.judge(&*door.judge);
    let cleared = match judged.decide()? {
        Verdict::PlanOnly(planned) => return planned.answer(door.ledger, &*door.judge).await,
        Verdict::Allowed(cleared) => cleared,
        Verdict::Held(held) => {
            held.previewed(door.registry, door.evidence.as_deref()).confirm(door.approvals)?
        }
    };
    cleared.run(door, cancel).await
}
