//! The screen: the `monitor` capability.
//!
//! Three things hold here, and tests keep them:
//!
//! - A window that the policy does not let be observed is black in every picture, is in no list, and leaves no other
//!   fingerprint than black.
//! - A picture and the windows that it is judged by are of the same moment.
//! - Nothing on the screen is changed, and no path of a plan is used.
//!
//! From the outside in: [`Action`] and [`Output`] are the surface, `take` takes pictures, `encode` and `scale` make files
//! of them without a second copy in memory, `prints` remembers how they looked, `wait` waits for damage, `save` writes
//! files, `screen` is the display by whatever drives it, `other` what drives it where there is no X server.
#![forbid(unsafe_code)]

mod action;
mod encode;
mod other;
mod output;
mod prints;
mod save;
mod scale;
mod screen;
mod spec;
mod take;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use llm_os_core::path::WirePath;
use llm_os_core::{
    ActionSpec, Capability, Check, Code, Context, Effectful, Effects, Fault, Granted, Registration, Setup,
    Verb,
};
use llm_os_desktop::Desktop;
use llm_os_desktop::geometry::{Area, Rect, Space};
use schemars::JsonSchema;
use serde::Deserialize;

pub use action::{Action, Destination, Format, Target, Until};
pub use output::{Listed, Output, Saved};

use prints::{Prints, Remembered};
use save::Directory;
use scale::Size;
use screen::{Screen, Windows};
use take::{Take, Taken, Wish};
use wait::Wait;

/// What the action names is not there.
pub(crate) const NOT_FOUND: Code = Code::own("not_found");
/// The operating system did not let a picture be written.
pub(crate) const WRITE_FAILED: Code = Code::own("write_failed");

/// The table `[capabilities.monitor]`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory that `capture` writes files into where a plan asks for one; without it such a plan is refused.
    pub directory: Option<WirePath>,
}

/// The screen of a host.
pub struct Monitor {
    screen: Screen,
    directory: Option<Directory>,
    remembered: Remembered,
}

llm_os_core::inventory::submit!(Registration::of::<Monitor>());

/// An action, bound to what it looks at.
#[derive(Debug)]
pub struct Resolved {
    work: Work,
    effects: Effects,
}

#[derive(Debug)]
enum Work {
    List,
    Windows,
    Capture(Take),
    Zoom(Take),
    Wait(Wait),
    Diff { since: Arc<Prints>, region: Rect },
}

impl Effectful for Resolved {
    fn effects(&self) -> Effects {
        self.effects.clone()
    }
}

impl Capability for Monitor {
    const NAME: &'static str = "monitor";
    const ACTIONS: &'static [ActionSpec] = spec::ACTIONS;
    type Config = Config;
    type Action = Action;
    type Resolved = Resolved;
    type Output = Output;

    fn open(config: Config, setup: &Setup) -> Result<Self, Fault> {
        let directory = config.directory.as_ref().map(Directory::open).transpose()?;
        Ok(Self { screen: Screen::open(setup)?, directory, remembered: Remembered::default() })
    }

    fn checks(_: &Config, setup: &Setup) -> Vec<Check> {
        vec![Desktop::check(setup)]
    }

    fn validate(&self, action: &Action) -> Result<(), Fault> {
        action::check(action)
    }

    fn resolve(&self, action: Action) -> Result<Resolved, Fault> {
        let work = match action {
            Action::List {} => Work::List,
            Action::Windows {} => Work::Windows,
            Action::Capture {
                target,
                space,
                max_edge,
                width,
                height,
                format,
                quality,
                cursor,
                output: destination,
            } => {
                let size = Size { max_edge, width, height };
                let wish = Wish { size, format, quality, cursor, destination, aimed_in: true };
                Work::Capture(Take::resolve(&self.screen, target, space.as_ref(), &wish)?)
            }
            Action::Zoom { region: Area { x, y, width, height }, space, max_edge } => {
                let target = Target::Region { x, y, width, height };
                let wish = Wish {
                    size: Size { max_edge, ..Size::default() },
                    format: Format::Png,
                    quality: None,
                    cursor: false,
                    destination: Destination::Inline,
                    aimed_in: false,
                };
                let take = Take::resolve(&self.screen, target, space.as_ref(), &wish);
                Work::Zoom(take.map_err(|fault| match &fault.path {
                    Some(_) => fault.at("region"),
                    None => fault,
                })?)
            }
            Action::Wait { until, region, space, quiet_ms, timeout_ms } => Work::Wait(Wait {
                until,
                region: self.region(region, space)?,
                quiet: Duration::from_millis(quiet_ms),
                timeout: Duration::from_millis(timeout_ms),
            }),
            Action::Diff { since, region, space } => {
                let region = self.region(region, space)?;
                let since = self.remembered.get(&since).ok_or_else(|| {
                    let message = format!(
                        "no picture with this sha256 is among the last {}: take one by monitor.capture first",
                        prints::REMEMBERED
                    );
                    Fault::new(NOT_FOUND, message).at("since")
                })?;
                let region = since.around(&region).ok_or_else(|| {
                    Fault::invalid("region", "the earlier picture shows no part of this region")
                })?;
                Work::Diff { since, region }
            }
        };
        let effects = match &work {
            Work::Capture(take) | Work::Zoom(take) => take.effects(&self.screen, self.directory.as_ref())?,
            Work::List | Work::Windows | Work::Wait(_) | Work::Diff { .. } => {
                Effects::one(self.screen.observe())
            }
        };
        Ok(Resolved { work, effects })
    }

    async fn execute(&self, granted: Granted<Resolved>, cx: &Context) -> Result<Output, Fault> {
        let (screen, directory) = (&self.screen, self.directory.as_ref());
        match granted.into_inner().work {
            Work::List => {
                let layout = screen.layout().await?;
                Ok(Output::List { bounds: layout.bounds(), monitors: layout.monitors })
            }
            Work::Windows => Ok(listed(screen.windows().await?, cx)),
            Work::Capture(take) => {
                let Taken { picture, file, space, monitors, masked } =
                    take.take(screen, &self.remembered, directory, cx).await?;
                Ok(Output::Capture { picture, file, space, monitors, masked })
            }
            Work::Zoom(take) => {
                let Taken { picture, space, masked, .. } =
                    take.take(screen, &self.remembered, directory, cx).await?;
                let picture = picture
                    .ok_or_else(|| Fault::new(Code::CAPABILITY_FAULT, "a picture without its bytes"))?;
                Ok(Output::Zoom { picture, mapping: space, masked })
            }
            Work::Wait(wait) => wait.wait(screen, cx).await,
            Work::Diff { since, region } => {
                let now = take::print(screen, region, cx).await?;
                Ok(Output::Diff { changed: since.differ(&now), region })
            }
        }
    }

    fn choices(&self, of: &str) -> Option<Vec<String>> {
        let layout = (of == action::MONITOR).then(|| self.screen.look_at_layout().ok())??;
        Some(layout.monitors.into_iter().map(|monitor| monitor.name).collect())
    }

    fn lacks(&self, verb: &str) -> Option<String> {
        self.screen.lacks(verb)
    }
}

impl Monitor {
    /// The region that a caller means, or everything.
    fn region(&self, area: Option<Area>, space: Option<Space>) -> Result<Rect, Fault> {
        let layout = self.screen.look_at_layout()?;
        match area {
            Some(area) => layout.region(&area, space.as_ref(), "region"),
            None => Ok(layout.bounds()),
        }
    }
}

/// The windows that the policy lets be observed.
fn listed(windows: Windows, cx: &Context) -> Output {
    let mut shown = Vec::with_capacity(windows.shown.len());
    let mut hidden = 0;
    for (stacking, window) in (0..).zip(windows.shown) {
        if !cx.permits(&window.effect(Verb::Observe)) {
            hidden += 1;
            continue;
        }
        shown.push(Listed {
            id: window.id,
            title: window.title,
            class: window.class,
            instance: window.instance,
            pid: window.pid,
            executable: window.executable.map(|path| path.to_string_lossy().into_owned()),
            role: window.role,
            rect: window.rect,
            stacking,
            focused: windows.focused == Some(window.frame),
        });
    }
    Output::Windows { windows: shown, hidden }
}
