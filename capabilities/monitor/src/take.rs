//! Taking pictures: what is shown, what is hidden in it, and how it is stored.

use llm_os_core::{Binary, Code, Context, Effects, Fault, Verb, View};
use llm_os_desktop::WINDOW_CHANGED;
use llm_os_desktop::geometry::{Area, Layout, Monitor, Rect, Space};
use llm_os_desktop::shot::Shot;
use llm_os_desktop::window::Window;

use crate::NOT_FOUND;
use crate::action::{Destination, Format, Target};
use crate::encode::Encoding;
use crate::output::Saved;
use crate::prints::{Prints, Remembered};
use crate::save::{Directory, sha256};
use crate::scale::Size;
use crate::screen::Screen;

/// Pictures of fewer bytes than this are not worth a second thread.
const LARGE: usize = 1 << 18;

/// A picture that is to be taken.
#[derive(Debug)]
pub(crate) struct Take {
    region: Rect,
    /// The window that the caller named; it must not have moved meanwhile.
    window: Option<Window>,
    cursor: bool,
    encoding: Encoding,
    destination: Destination,
    aimed_in: bool,
}

/// How a caller wants a picture.
pub(crate) struct Wish {
    pub(crate) size: Size,
    pub(crate) format: Format,
    pub(crate) quality: Option<u8>,
    pub(crate) cursor: bool,
    pub(crate) destination: Destination,
    /// Whether the caller takes points of it for what it does next.
    pub(crate) aimed_in: bool,
}

impl Take {
    /// Finds what the target names, and touches nothing.
    ///
    /// # Errors
    ///
    /// `validation_failed` or `not_found` where there is no such thing on the screen.
    pub(crate) fn resolve(
        screen: &Screen,
        target: Target,
        space: Option<&Space>,
        wish: &Wish,
    ) -> Result<Self, Fault> {
        let (region, window) = match target {
            Target::Display { name } => {
                let layout = screen.look_at_layout()?;
                let region = match name {
                    Some(name) => layout.monitor(&name, "target.display.name")?.rect,
                    None => layout.bounds(),
                };
                (region, None)
            }
            Target::Region { x, y, width, height } => {
                let area = Area { x, y, width, height };
                (screen.look_at_layout()?.region(&area, space, "target.region")?, None)
            }
            Target::Window { id, class } => {
                let (layout, windows) = screen.look_at_windows()?;
                let window = named(windows, id, class.as_deref())?;
                let region = window.rect.intersection(&layout.bounds()).ok_or_else(|| {
                    Fault::new(NOT_FOUND, "no part of the window is on the screen: move it there first")
                        .at("target.window")
                })?;
                (region, Some(window))
            }
        };
        let encoding = Encoding { size: wish.size.of(&region)?, format: wish.format, quality: wish.quality };
        let Wish { cursor, destination, aimed_in, .. } = *wish;
        Ok(Self { region, window, cursor, encoding, destination, aimed_in })
    }

    /// What taking it does: it looks at the display, at the window that was named, and writes a file.
    pub(crate) fn effects(&self, screen: &Screen, directory: Option<&Directory>) -> Result<Effects, Fault> {
        let mut effects = Effects::one(screen.observe());
        if let Some(window) = &self.window {
            effects = effects.and(window.effect(Verb::Observe));
        }
        if self.destination == Destination::File {
            effects = effects.and(configured(directory)?.effect()?);
        }
        Ok(effects)
    }

    /// Takes it.
    ///
    /// # Errors
    ///
    /// `display_changed`, `window_changed`, `write_failed`, or what the display says.
    pub(crate) async fn take(
        self,
        screen: &Screen,
        remembered: &Remembered,
        directory: Option<&Directory>,
        cx: &Context,
    ) -> Result<Taken, Fault> {
        let (shot, layout) = screen.shoot(self.region, self.cursor).await?;
        if let Some(window) = &self.window {
            is_still(window, &shot)?;
        }
        let hidden = hidden(&shot, cx);
        let masked = u32::try_from(hidden.len()).unwrap_or(u32::MAX);
        let encoding = self.encoding;
        let developed = aside(move || develop(shot, &hidden, &encoding)).await?;
        let (bytes, prints) = developed?;
        let media_type = encoding.format.media_type();
        let (picture, file, sha256) = match self.destination {
            Destination::Inline => {
                let picture = Binary::new(media_type, &bytes);
                let sha256 = picture.sha256.clone();
                (Some(picture), None, sha256)
            }
            Destination::File => {
                let sha256 = sha256(&bytes);
                let path = configured(directory)?.save(&bytes, &sha256, encoding.format.extension())?;
                let length = bytes.len() as u64;
                let saved =
                    Saved { path, media_type: media_type.to_owned(), bytes: length, sha256: sha256.clone() };
                (None, Some(saved), sha256)
            }
        };
        remembered.add(&sha256, prints);
        cx.note("picture_sha256", sha256);
        let (width, height) = encoding.size;
        if self.aimed_in {
            cx.keep_picture(screen.id(), view(&self.region, encoding.size), media_type, &bytes);
        }
        Ok(Taken {
            picture,
            file,
            space: Space { width, height, region: Some(self.region) },
            monitors: shown_in(&self.region, layout),
            masked,
        })
    }
}

/// What a picture of this size shows.
fn view(region: &Rect, (width, height): (u32, u32)) -> View {
    View { size: [width, height], corner: [region.x, region.y], extent: [region.width, region.height] }
}

/// A picture that was taken.
pub(crate) struct Taken {
    pub(crate) picture: Option<Binary>,
    pub(crate) file: Option<Saved>,
    pub(crate) space: Space,
    pub(crate) monitors: Vec<Monitor>,
    pub(crate) masked: u32,
}

/// The fingerprints of a region as it is now, with what the policy hides black.
///
/// # Errors
///
/// What the display says.
pub(crate) async fn print(screen: &Screen, region: Rect, cx: &Context) -> Result<Prints, Fault> {
    let (mut shot, _) = screen.shoot(region, false).await?;
    let hidden = hidden(&shot, cx);
    aside(move || {
        hidden.iter().flatten().for_each(|part| shot.blacken(part));
        Prints::of(shot.region, &shot.pixels)
    })
    .await
}

/// What of a picture the policy hides.
fn hidden(shot: &Shot, cx: &Context) -> Vec<Vec<Rect>> {
    shot.parts_of(|window| !cx.permits(&window.effect(Verb::Observe)))
}

/// Hides, remembers and encodes; the first and the last at once where that is worth it.
fn develop(mut shot: Shot, hidden: &[Vec<Rect>], encoding: &Encoding) -> Result<(Vec<u8>, Prints), Fault> {
    hidden.iter().flatten().for_each(|part| shot.blacken(part));
    let (region, size) = (shot.region, (shot.region.width, shot.region.height));
    if encoding.format == Format::Png && shot.cursor.is_none() && shot.pixels.len() >= LARGE {
        let pixels = &*shot.pixels;
        return std::thread::scope(|scope| {
            let prints = scope.spawn(|| Prints::of(region, pixels));
            let bytes = encoding.png(pixels, size)?;
            let prints = prints.join().map_err(|_| stopped())?;
            Ok((bytes, prints))
        });
    }
    let prints = Prints::of(region, &shot.pixels);
    shot.draw_cursor(hidden);
    Ok((encoding.encode(&mut shot.pixels, size)?, prints))
}

/// Works on a thread that may be busy for long.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|e| stopped().log(e.to_string()))
}

fn stopped() -> Fault {
    Fault::new(Code::CAPABILITY_FAULT, "the work on a picture stopped")
}

/// The one window that the caller named.
fn named(windows: Vec<Window>, id: Option<u32>, class: Option<&str>) -> Result<Window, Fault> {
    let is_named = |window: &Window| id == Some(window.id) || class == Some(window.class.as_str());
    let mut found: Vec<Window> = windows.into_iter().filter(is_named).collect();
    let path = if id.is_some() { "target.window.id" } else { "target.window.class" };
    let called = match (id, class) {
        (Some(id), _) => format!("with the id {id}"),
        (None, class) => {
            format!("of the class \"{}\"", llm_os_core::error::excerpt(class.unwrap_or_default()))
        }
    };
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => {
            let message = format!("no window {called} is shown; monitor.windows lists those that are");
            Err(Fault::new(NOT_FOUND, message).at(path))
        }
        _ => {
            let ids: Vec<_> = found.iter().map(|window| window.id.to_string()).collect();
            let message =
                format!("several windows {called} are shown: give one of the ids {}", ids.join(", "));
            Err(Fault::invalid(path, message))
        }
    }
}

/// The picture shows the window that was judged, where it was then.
fn is_still(window: &Window, shot: &Shot) -> Result<(), Fault> {
    let same = |other: &Window| {
        (other.id, other.pid, other.started, other.rect)
            == (window.id, window.pid, window.started, window.rect)
    };
    if shot.shown.iter().any(|shown| same(&shown.window)) {
        return Ok(());
    }
    let message =
        "the window was moved, resized or closed meanwhile, so no picture was given out; send the plan anew";
    Err(Fault::new(WINDOW_CHANGED, message))
}

fn configured(directory: Option<&Directory>) -> Result<&Directory, Fault> {
    directory.ok_or_else(|| {
        let message = "no directory for pictures is configured: ask for \"inline\", or let the operator set directory in [capabilities.monitor]";
        Fault::invalid("output", message)
    })
}

fn shown_in(region: &Rect, layout: Layout) -> Vec<Monitor> {
    layout.monitors.into_iter().filter(|monitor| monitor.rect.intersection(region).is_some()).collect()
}
