//! The screen where there is no X server, by `xcap`.
//!
//! On Wayland a picture comes from the compositor itself (wlr-screencopy), by the part of `xcap` that speaks it: asked for
//! a monitor, `xcap` itself wants Xwayland, a session bus and two environment variables, even where it then uses nothing
//! of them. Where the compositor does not offer that, `xcap` asks the desktop's portal, which may ask a person.
//!
//! Such a display tells nobody which window is where. So a picture hides nothing, and looking is an effect on the whole
//! display with the role `unknown`. Nor does it tell when something is drawn. A picture has the pixels of the layout, so a
//! monitor with a scale is shown at the size in which its coordinates count. A compositor that draws the pointer itself,
//! as headless ones do, has it in every picture.

#[cfg(feature = "xcap")]
mod xcap;

use std::sync::Arc;
use std::time::Duration;

use llm_os_core::{Code, Effect, Fault, Verb};
use llm_os_desktop::geometry::{Layout, Rect};
use llm_os_desktop::other::{self, Session};
use llm_os_desktop::shot::Shot;
use llm_os_desktop::{DISPLAY_CHANGED, Desktop};
use tokio::sync::oneshot;

/// How long a picture may take: a portal may show a question.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why windows cannot be told apart.
pub(crate) const NO_WINDOWS: &str =
    "this display tells no program which windows it shows; only a display by X11 does";

/// Why nothing can be waited for.
pub(crate) const NO_DAMAGE: &str =
    "this display tells no program when something is drawn; take pictures and compare them by monitor.diff";

/// The effect of looking at such a display.
pub(crate) fn observe(desktop: &Desktop) -> Effect {
    other::effect(Verb::Observe, &desktop.display().id)
}

/// Why an action cannot be used, if so.
pub(crate) fn lacks(desktop: &Desktop, verb: &str) -> Option<String> {
    match verb {
        "windows" => Some(NO_WINDOWS.to_owned()),
        "wait" => Some(NO_DAMAGE.to_owned()),
        "capture" | "zoom" | "diff" => lacks_pictures(desktop),
        _ => look_at_layout(desktop).err().map(|fault| fault.message.into_owned()),
    }
}

/// The monitors, without yielding.
pub(crate) fn look_at_layout(desktop: &Desktop) -> Result<Layout, Fault> {
    #[cfg(all(feature = "xcap", not(target_os = "linux")))]
    return xcap::layout();
    #[cfg(any(not(feature = "xcap"), target_os = "linux"))]
    desktop.look_other(Session::layout)
}

/// The monitors.
pub(crate) async fn layout(desktop: &Desktop) -> Result<Layout, Fault> {
    #[cfg(all(feature = "xcap", not(target_os = "linux")))]
    return xcap::layout();
    #[cfg(any(not(feature = "xcap"), target_os = "linux"))]
    desktop.work_other(Session::layout).await
}

/// A picture of a region, with the pointer where it is asked for and the display draws it.
pub(crate) async fn shoot(
    desktop: &Arc<Desktop>,
    region: Rect,
    cursor: bool,
) -> Result<(Shot, Layout), Fault> {
    let layout = layout(desktop).await?;
    if !layout.bounds().encloses(&region) {
        let message = "the monitors are arranged in another way by now; look again by monitor.list";
        return Err(Fault::new(DISPLAY_CHANGED, message));
    }
    let (name, monitors) = (desktop.display().name.clone(), layout.clone());
    let pixels = apart(move || pictures(&name, &monitors, region, cursor)).await?;
    let shot = Shot { region, pixels: pixels.into(), shown: Vec::new(), composited: false, cursor: None };
    Ok((shot, layout))
}

#[cfg(feature = "xcap")]
use xcap::{lacks_pictures, pictures};

#[cfg(not(feature = "xcap"))]
const NOT_BUILT: &str =
    "this host was built without the feature xcap of llm-os-monitor, which takes pictures here";

#[cfg(not(feature = "xcap"))]
fn lacks_pictures(_: &Desktop) -> Option<String> {
    Some(NOT_BUILT.to_owned())
}

#[cfg(not(feature = "xcap"))]
fn pictures(_: &str, _: &Layout, _: Rect, _: bool) -> Result<Vec<u8>, Fault> {
    Err(unavailable(NOT_BUILT))
}

/// Works on a thread of its own, which may wait for ever for a person: the host does not.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let (give, take) = oneshot::channel();
    std::thread::Builder::new()
        .name("picture".to_owned())
        .spawn(move || {
            let _ = give.send(work());
        })
        .map_err(|e| unavailable("no thread for a picture").log(e.to_string()))?;
    match tokio::time::timeout(PATIENCE, take).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(unavailable("the display's answer to the request for a picture makes no sense")),
        Err(_) => Err(unavailable("the display gave no picture in 20 seconds; does it ask a person?")),
    }
}

fn unavailable(why: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Fault::new(Code::UNAVAILABLE, why)
}
