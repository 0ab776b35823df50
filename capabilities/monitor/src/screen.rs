//! The display, by whatever drives it: the one place that asks which back end it is.

use std::sync::Arc;

use llm_os_core::{Code, Effect, Fault, Setup, Verb};
use llm_os_desktop::geometry::{Layout, Rect};
use llm_os_desktop::shot::Shot;
use llm_os_desktop::window::{self, Window};
use llm_os_desktop::x11::{Session, Watch};
use llm_os_desktop::{Backend, Desktop, Trouble};

use crate::other;

/// The display of the host.
pub(crate) struct Screen(Arc<Desktop>);

/// The windows that are shown, the lowest first, and the frame of the one that has the keyboard.
pub(crate) struct Windows {
    pub(crate) shown: Vec<Window>,
    pub(crate) focused: Option<u32>,
}

impl Screen {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Fault> {
        Desktop::open(setup).map(Self)
    }

    /// Its id in policies.
    pub(crate) fn id(&self) -> &str {
        &self.0.display().id
    }

    /// The effect of looking at it.
    pub(crate) fn observe(&self) -> Effect {
        match self.0.backend() {
            Backend::X11 => window::display_effect(Verb::Observe, &self.0.display().id),
            Backend::Other => other::observe(&self.0),
        }
    }

    /// Why an action cannot be used on this display, if so.
    pub(crate) fn lacks(&self, verb: &str) -> Option<String> {
        match self.0.backend() {
            Backend::X11 => None,
            Backend::Other => other::lacks(&self.0, verb),
        }
    }

    /// The monitors as they are now, without yielding.
    pub(crate) fn look_at_layout(&self) -> Result<Layout, Fault> {
        match self.0.backend() {
            Backend::X11 => self.0.look(Session::layout),
            Backend::Other => other::look_at_layout(&self.0),
        }
    }

    /// The monitors and the windows as they are now, without yielding.
    pub(crate) fn look_at_windows(&self) -> Result<(Layout, Vec<Window>), Fault> {
        self.only_x11(other::NO_WINDOWS)?;
        self.0.look(|session| Ok((session.layout()?, session.windows()?)))
    }

    pub(crate) async fn layout(&self) -> Result<Layout, Fault> {
        match self.0.backend() {
            Backend::X11 => self.0.work(Session::layout).await,
            Backend::Other => other::layout(&self.0).await,
        }
    }

    pub(crate) async fn windows(&self) -> Result<Windows, Fault> {
        self.only_x11(other::NO_WINDOWS)?;
        let windows = self.0.work(|session| {
            let shown = session.windows()?;
            let focused = match session.focused() {
                Ok(focus) => focus.map(|focus| focus.window.frame),
                // It went away meanwhile.
                Err(Trouble::Fault(_)) => None,
                Err(lost) => return Err(lost),
            };
            Ok(Windows { shown, focused })
        });
        windows.await
    }

    /// A picture of a region, the monitors of the same time, and with the pointer where it is asked for.
    pub(crate) async fn shoot(&self, region: Rect, cursor: bool) -> Result<(Shot, Layout), Fault> {
        match self.0.backend() {
            Backend::X11 => {
                self.0.work(move |session| Ok((session.shoot(region, cursor)?, session.layout()?))).await
            }
            Backend::Other => other::shoot(&self.0, region, cursor).await,
        }
    }

    /// What is drawn from now on.
    pub(crate) async fn watch(&self) -> Result<Watch, Fault> {
        self.only_x11(other::NO_DAMAGE)?;
        Watch::open(self.0.display()).await
    }

    fn only_x11(&self, why: &'static str) -> Result<(), Fault> {
        match self.0.backend() {
            Backend::X11 => Ok(()),
            Backend::Other => Err(Fault::new(Code::UNAVAILABLE, why)),
        }
    }
}
