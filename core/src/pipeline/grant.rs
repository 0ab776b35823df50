//! The permission, as a value.

use std::any::Any;

/// The permission to act on exactly what was resolved.
///
/// There is no public constructor: the pipeline makes it, after the policy decided (and a human confirmed, where the
/// policy says so), and it is consumed by [`Granted::into_inner`].
///
/// ```compile_fail
/// let forged = llm_os_core::Granted { resolved: () };
/// ```
///
/// ```compile_fail
/// let forged = llm_os_core::Granted::new(());
/// ```
#[must_use = "a grant that is not used is an action that does not happen"]
#[derive(Debug)]
pub struct Granted<R> {
    resolved: R,
}

impl<R> Granted<R> {
    /// What was judged, to be used now.
    pub fn into_inner(self) -> R {
        self.resolved
    }
}

/// A grant without its type, between the pipeline and the bridge.
pub(crate) struct AnyGrant(Box<dyn Any + Send>);

impl AnyGrant {
    /// Only the step from a recorded action calls this.
    pub(super) fn new(resolved: Box<dyn Any + Send>) -> Self {
        Self(resolved)
    }

    pub(crate) fn typed<R: 'static>(self) -> Granted<R> {
        Granted { resolved: *self.0.downcast().expect("resolved by the same capability") }
    }
}
