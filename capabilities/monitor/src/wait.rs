//! Waiting for the screen.

use std::time::Duration;

use llm_os_core::{Code, Context, Fault};
use llm_os_desktop::geometry::Rect;

use crate::action::Until;
use crate::output::Output;
use crate::screen::Screen;

/// A wait that was judged.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) until: Until,
    pub(crate) region: Rect,
    pub(crate) quiet: Duration,
    pub(crate) timeout: Duration,
}

impl Wait {
    /// Waits for it, at most for its time, and no longer than the plan may run.
    ///
    /// # Errors
    ///
    /// Why the plan is to stop, or what the display says.
    pub(crate) async fn wait(self, screen: &Screen, cx: &Context) -> Result<Output, Fault> {
        let mut drawn = None;
        let reached = tokio::select! {
            biased;
            () = cx.cancelled() => {
                return Err(cx.stopped().unwrap_or_else(|| Fault::new(Code::CANCELLED, "the plan was cancelled")));
            }
            waited = self.happens(screen, &mut drawn) => { waited?; true }
            () = tokio::time::sleep(self.timeout) => false,
        };
        Ok(Output::Wait { reached, drawn })
    }

    async fn happens(&self, screen: &Screen, drawn: &mut Option<Rect>) -> Result<(), Fault> {
        let mut watch = screen.watch().await?;
        match self.until {
            Until::Settled => watch.settled(&self.region, self.quiet, drawn).await,
            Until::Changed => {
                *drawn = Some(watch.changed(&self.region).await?);
                Ok(())
            }
        }
    }
}
