//! Pictures by `xcap`, and by the part of it that speaks to compositors.

use llm_os_core::{Code, Fault};
use llm_os_desktop::geometry::{Layout, Monitor, Rect};
use llm_os_desktop::{DISPLAY_CHANGED, Desktop};

use super::unavailable;
use crate::scale::scale;

/// A picture of one monitor: red, green, blue and one that means nothing.
struct Picture {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// The pixels of a region: blue, green, red, and one that means nothing. What no monitor shows is black.
pub(super) fn pictures(name: &str, layout: &Layout, region: Rect, cursor: bool) -> Result<Vec<u8>, Fault> {
    let mut pixels = vec![0; region.width as usize * region.height as usize * 4];
    let mut source = source(name, cursor)?;
    for monitor in &layout.monitors {
        let Some(part) = monitor.rect.intersection(&region) else { continue };
        let picture = fitting(source(monitor)?, &monitor.rect)?;
        for y in 0..part.height {
            let from = start(&part, y, &monitor.rect);
            let to = start(&part, y, &region);
            let length = part.width as usize * 4;
            let pairs =
                pixels[to..to + length].chunks_exact_mut(4).zip(picture[from..from + length].chunks_exact(4));
            for (to, from) in pairs {
                to.copy_from_slice(&[from[2], from[1], from[0], 0]);
            }
        }
    }
    Ok(pixels)
}

/// Where a row of `part` begins in a picture of `whole`.
fn start(part: &Rect, y: u32, whole: &Rect) -> usize {
    let from = |at: i32, origin: i32| (at - origin).unsigned_abs() as usize;
    ((from(part.y, whole.y) + y as usize) * whole.width as usize + from(part.x, whole.x)) * 4
}

/// A monitor's picture with one pixel for each of its coordinates.
fn fitting(picture: Picture, rect: &Rect) -> Result<Vec<u8>, Fault> {
    let Picture { width, height, pixels } = picture;
    if pixels.len() as u64 != u64::from(width) * u64::from(height) * 4 || width == 0 || height == 0 {
        return Err(unavailable("the display gave out a picture that is cut"));
    }
    if (width, height) == (rect.width, rect.height) {
        return Ok(pixels);
    }
    let mut fitting = Vec::with_capacity(rect.width as usize * rect.height as usize * 4);
    scale(pixels, (width, height), (rect.width, rect.height), |_, _, rows| {
        fitting.extend_from_slice(rows);
        Ok(())
    })?;
    Ok(fitting)
}

type Source<'a> = Box<dyn FnMut(&Monitor) -> Result<Picture, Fault> + 'a>;

/// Whatever gives a picture of a monitor here.
#[cfg(target_os = "linux")]
fn source(name: &str, cursor: bool) -> Result<Source<'_>, Fault> {
    use libwayshot_xcap::region::{Position, Size};

    let Some(connection) = compositor(name)? else {
        return Ok(Box::new(portal(name)?));
    };
    Ok(Box::new(move |monitor| {
        let Rect { x, y, width, height } = monitor.rect;
        let place = (Position { x, y }, Size { width, height });
        // A whole output at a time: of a region it asks the neighbouring outputs for their part as well, which has no
        // pixels, and that ends the connection.
        let is_there = |region: &libwayshot_xcap::region::Region| (region.position, region.size) == place;
        let outputs = connection.get_all_outputs();
        let Some(output) = outputs.iter().find(|output| is_there(&output.logical_region.inner)) else {
            let message = "the outputs are arranged in another way by now; look again by monitor.list";
            return Err(Fault::new(DISPLAY_CHANGED, message));
        };
        let picture = connection.screenshot_outputs(std::slice::from_ref(output), cursor);
        let picture = picture
            .map_err(|e| unavailable("the compositor gave no picture").log(e.to_string()))?
            .into_rgba8();
        let (width, height) = picture.dimensions();
        Ok(Picture { width, height, pixels: picture.into_raw() })
    }))
}

/// A connection to the compositor, where it gives out pictures.
#[cfg(target_os = "linux")]
fn compositor(name: &str) -> Result<Option<libwayshot_xcap::WayshotConnection>, Fault> {
    let failed = |why: String| unavailable(format!("the Wayland display {name} cannot be looked at: {why}"));
    let connection = llm_os_desktop::other::connection(name).map_err(failed)?;
    let connection =
        libwayshot_xcap::WayshotConnection::from_connection(connection).map_err(|e| failed(e.to_string()))?;
    let offers = connection.globals.contents().with_list(|globals| {
        globals.iter().any(|global| global.interface == "zwlr_screencopy_manager_v1" && global.version >= 3)
    });
    Ok(offers.then_some(connection))
}

/// `xcap` goes by the environment alone, so that must name the same display.
#[cfg(target_os = "linux")]
fn portal(name: &str) -> Result<impl FnMut(&Monitor) -> Result<Picture, Fault> + use<>, Fault> {
    use std::sync::atomic::{AtomicBool, Ordering};

    static WAITS: AtomicBool = AtomicBool::new(false);

    if let Some(why) = lacks_portal(name) {
        return Err(unavailable(why));
    }
    Ok(move |monitor: &Monitor| {
        // Nobody may ever answer, and `xcap` takes one picture at a time.
        if WAITS.swap(true, Ordering::AcqRel) {
            return Err(unavailable("the portal did not answer an earlier request for a picture yet"));
        }
        let picture = monitor_by_xcap(monitor);
        WAITS.store(false, Ordering::Release);
        picture
    })
}

#[cfg(target_os = "linux")]
fn lacks_portal(name: &str) -> Option<String> {
    let is_ours = std::env::var_os("WAYLAND_DISPLAY").is_some_and(|value| value == name);
    let needs = ["DISPLAY", "DBUS_SESSION_BUS_ADDRESS"];
    let missing: Vec<_> = needs.into_iter().filter(|name| std::env::var_os(name).is_none()).collect();
    if is_ours && missing.is_empty() {
        return None;
    }
    Some(format!(
        "the compositor does not offer zwlr_screencopy_manager_v1, and the desktop's portal is asked only where the \
         host's environment has WAYLAND_DISPLAY={name}, DISPLAY and DBUS_SESSION_BUS_ADDRESS"
    ))
}

/// Why there are no pictures, if so.
#[cfg(target_os = "linux")]
pub(super) fn lacks_pictures(desktop: &Desktop) -> Option<String> {
    let name = &desktop.display().name;
    // The check below panics where the outputs are not described.
    if let Err(fault) = super::look_at_layout(desktop) {
        return Some(fault.message.into_owned());
    }
    match compositor(name) {
        Ok(Some(_)) => None,
        Ok(None) => lacks_portal(name),
        Err(fault) => Some(fault.message.into_owned()),
    }
}

#[cfg(not(target_os = "linux"))]
fn source(_: &str, _: bool) -> Result<Source<'static>, Fault> {
    Ok(Box::new(monitor_by_xcap))
}

/// Why there are no pictures, if so.
#[cfg(not(target_os = "linux"))]
pub(super) fn lacks_pictures(_: &Desktop) -> Option<String> {
    layout().err().map(|fault| fault.message.into_owned())
}

/// A monitor's picture, where `xcap` knows one at the same place.
fn monitor_by_xcap(monitor: &Monitor) -> Result<Picture, Fault> {
    let known = xcap::Monitor::all().map_err(failed)?;
    let same = known.into_iter().find(|known| rect_of(known).is_ok_and(|rect| rect == monitor.rect));
    let Some(same) = same else {
        let message = format!("the system's pictures know no monitor at the place of {}", monitor.name);
        return Err(unavailable(message));
    };
    let picture = same.capture_image().map_err(failed)?;
    let (width, height) = picture.dimensions();
    Ok(Picture { width, height, pixels: picture.into_raw() })
}

/// The monitors that `xcap` knows.
#[cfg(not(target_os = "linux"))]
pub(super) fn layout() -> Result<Layout, Fault> {
    let described = |known: &xcap::Monitor| {
        Ok(Monitor {
            name: known.name()?,
            rect: rect_of(known)?,
            scale: known.scale_factor()?.into(),
            primary: known.is_primary()?,
        })
    };
    let known = xcap::Monitor::all().map_err(failed)?;
    let monitors =
        known.iter().map(described).collect::<Result<Vec<_>, xcap::XCapError>>().map_err(failed)?;
    if monitors.is_empty() { Err(unavailable("there is no monitor")) } else { Ok(Layout { monitors }) }
}

fn rect_of(known: &xcap::Monitor) -> Result<Rect, xcap::XCapError> {
    Ok(Rect { x: known.x()?, y: known.y()?, width: known.width()?, height: known.height()? })
}

fn failed(error: xcap::XCapError) -> Fault {
    Fault::new(Code::UNAVAILABLE, "the system gives out no picture of the screen").log(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_with_a_scale_is_shown_in_the_pixels_of_its_coordinates() {
        let (width, height) = (40, 20);
        let pixels = (0..width * height)
            .flat_map(|index| if index % width < 20 { [9, 9, 9, 0] } else { [200, 7, 7, 0] });
        let picture = Picture { width, height, pixels: pixels.collect() };
        let rect = Rect { x: 5, y: 5, width: 20, height: 10 };
        let fitting = fitting(picture, &rect).unwrap();
        assert_eq!(fitting.len(), 20 * 10 * 4);
        assert_eq!((&fitting[..3], &fitting[19 * 4..19 * 4 + 3]), (&[9, 9, 9][..], &[200, 7, 7][..]));
    }

    #[test]
    fn a_picture_that_is_cut_is_refused() {
        let picture = Picture { width: 40, height: 20, pixels: vec![0; 40 * 19 * 4] };
        assert!(fitting(picture, &Rect { x: 0, y: 0, width: 40, height: 20 }).is_err());
    }
}
