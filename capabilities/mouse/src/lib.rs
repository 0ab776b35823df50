//! The pointer of a display: the `mouse` capability.
//!
//! Three things hold here, and tests keep them:
//!
//! - Every event goes to a window that the policy was asked about, and is sent in the server grab in which that window
//!   was found at that very pixel. A drag is judged over every window on its way.
//! - A point that no monitor shows is refused; nothing is clamped. The monitors are looked at when the action is resolved
//!   and again in the grab.
//! - What goes down comes up: a drag lets go whatever happens, `mouse.down` at the end of its connection.
//!
//! One limit is X's own: a window manager that raises or focuses by clicks keeps each press back (a passive grab) until
//! it has seen it, and it then goes to what is at the pixel at that time.
#![forbid(unsafe_code)]

mod action;
mod course;
mod gesture;
mod other;
mod output;
mod send;
mod spec;

use std::collections::BTreeSet;
use std::sync::Arc;

use llm_os_core::{
    ActionSpec, Aim, Capability, Check, ConnectionId, Context, Effectful, Effects, Fault, Granted,
    Registration, Setup, Verb,
};
use llm_os_desktop::geometry::{Point, Space};
use llm_os_desktop::keys::Modifier;
use llm_os_desktop::{Backend, Desktop, window};
use schemars::JsonSchema;
use serde::Deserialize;

pub use action::{Action, Button, Unit};
pub use output::{Clicked, Dragged, Held, Moved, Output, Position, Scrolled};

use course::Place;
use gesture::{Asked, Gesture, Stroke};

/// Most clicks of the wheel in one action.
const MOST_CLICKS: u64 = 100;

/// Most points of a drag.
const MOST_POINTS: usize = 256;

/// Longest time of a drag.
const LONGEST_MS: u32 = 30_000;

/// The table `[capabilities.mouse]`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many pixels one click of the wheel stands for, where a plan scrolls by pixels.
    #[schemars(range(min = 1))]
    pub pixels_per_click: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { pixels_per_click: 50 }
    }
}

/// The pointer of the host's display.
pub struct Mouse {
    desktop: Arc<Desktop>,
    pixels_per_click: i64,
}

llm_os_core::inventory::submit!(Registration::of::<Mouse>());

/// An action, bound to pixels and windows.
pub struct Resolved(Work);

enum Work {
    Gesture(Box<Gesture>),
    /// On a display that tells of no window.
    Blind(Box<other::Gesture>),
    Position {
        display: String,
    },
}

impl Effectful for Resolved {
    fn effects(&self) -> Effects {
        match &self.0 {
            Work::Gesture(gesture) => gesture.effects(),
            Work::Blind(gesture) => Effects::one(gesture.effect()),
            Work::Position { display } => Effects::one(window::display_effect(Verb::Observe, display)),
        }
    }
}

impl Capability for Mouse {
    const NAME: &'static str = "mouse";
    const ACTIONS: &'static [ActionSpec] = spec::ACTIONS;
    type Config = Config;
    type Action = Action;
    type Resolved = Resolved;
    type Output = Output;

    fn open(config: Config, setup: &Setup) -> Result<Self, Fault> {
        if config.pixels_per_click == 0 {
            return Err(Fault::invalid("pixels_per_click", "it is 0, expected at least 1"));
        }
        Ok(Self { desktop: Desktop::open(setup)?, pixels_per_click: config.pixels_per_click.into() })
    }

    fn checks(_: &Config, setup: &Setup) -> Vec<Check> {
        vec![Desktop::check(setup)]
    }

    fn validate(&self, action: &Action) -> Result<(), Fault> {
        self.asked(action).map(|_| ())
    }

    fn resolve(&self, action: Action) -> Result<Resolved, Fault> {
        let work = match (self.asked(&action)?, self.desktop.backend()) {
            (Some(asked), Backend::X11) => {
                let gesture = self.desktop.look(move |session| Gesture::resolve(session, asked))?;
                Work::Gesture(Box::new(gesture))
            }
            (Some(asked), Backend::Other) => {
                Work::Blind(Box::new(other::Gesture::resolve(&self.desktop, asked)?))
            }
            (None, _) => Work::Position { display: self.desktop.display().id.clone() },
        };
        Ok(Resolved(work))
    }

    fn aims(&self, resolved: &Resolved) -> Vec<Aim> {
        let (first, last) = match &resolved.0 {
            Work::Gesture(gesture) => gesture.ends(),
            Work::Blind(gesture) => gesture.ends(),
            Work::Position { .. } => return Vec::new(),
        };
        let display = &self.desktop.display().id;
        let aim = |Point { x, y }: Point| Aim { display: display.clone(), point: [x, y] };
        if first == last { vec![aim(first)] } else { vec![aim(first), aim(last)] }
    }

    async fn execute(&self, granted: Granted<Resolved>, cx: &Context) -> Result<Output, Fault> {
        match granted.into_inner().0 {
            Work::Gesture(gesture) => send::Sending::new(&self.desktop, cx, *gesture).send().await,
            Work::Blind(gesture) => {
                other::Sending { desktop: &self.desktop, cx, gesture: *gesture }.send().await
            }
            Work::Position { .. } => self.position().await.map(Output::Position),
        }
    }

    fn lacks(&self, verb: &str) -> Option<String> {
        let looked = match (self.desktop.backend(), verb) {
            (Backend::X11, _) => return None,
            (Backend::Other, "position") => {
                self.desktop.look_other(llm_os_desktop::other::Session::pointer).map(|_| None)
            }
            (Backend::Other, _) => self.desktop.look_other(|session| Ok(session.lacks_pointer())),
        };
        looked.unwrap_or_else(|fault| Some(fault.message.into_owned()))
    }

    fn disconnected(&self, connection: ConnectionId) {
        self.desktop.release(connection);
    }

    fn halted(&self) {
        self.desktop.release_all();
    }
}

impl Mouse {
    /// What an action asks for, checked as far as that goes without the display; `None` where it only looks.
    fn asked(&self, action: &Action) -> Result<Option<Asked>, Fault> {
        let asked = match action {
            Action::Move { x, y, dx, dy, space } => {
                let by = course::both(*dx, *dy, ["dx", "dy"])?;
                let place = match (Place::of(*x, *y, space.as_ref())?, by) {
                    (Some(place), None) => place,
                    (None, Some((dx, dy))) => Place::By { dx, dy },
                    (Some(_), Some(_)) => {
                        return Err(Fault::invalid("dx", "give x and y, or dx and dy, and not both"));
                    }
                    (None, None) => return Err(Fault::invalid("x", "give x and y, or dx and dy")),
                };
                Asked { stroke: Stroke::Move, places: vec![place], chord: BTreeSet::new() }
            }
            Action::Click { x, y, space, button, count, modifiers } => {
                if !(1..=3).contains(count) {
                    return Err(Fault::invalid("count", format!("it is {count}, expected 1 to 3")));
                }
                let stroke = Stroke::Click { button: *button, count: *count };
                Asked { stroke, places: vec![place(*x, *y, space.as_ref())?], chord: chord(modifiers)? }
            }
            Action::Drag { path, space, button, duration_ms, modifiers } => {
                if !(2..=MOST_POINTS).contains(&path.len()) {
                    let message = format!("it has {} points, expected 2 to {MOST_POINTS}", path.len());
                    return Err(Fault::invalid("path", message));
                }
                if *duration_ms > LONGEST_MS {
                    let message = format!("it is {duration_ms}, expected at most {LONGEST_MS}");
                    return Err(Fault::invalid("duration_ms", message));
                }
                let at = |(index, [x, y]): (usize, &[i64; 2])| Place::At {
                    x: *x,
                    y: *y,
                    space: space.clone(),
                    path: format!("path[{index}]"),
                };
                let stroke = Stroke::Drag { button: *button, duration_ms: *duration_ms };
                Asked { stroke, places: path.iter().enumerate().map(at).collect(), chord: chord(modifiers)? }
            }
            Action::Scroll { x, y, space, dx, dy, unit, modifiers } => {
                let (dx, dy) = (self.clicks(*dx, *unit), self.clicks(*dy, *unit));
                let whole = dx.unsigned_abs().saturating_add(dy.unsigned_abs());
                if whole == 0 {
                    return Err(Fault::invalid("dy", "dx and dy are 0; one of them says how far to scroll"));
                }
                if whole > MOST_CLICKS {
                    let message =
                        format!("it comes to {whole} clicks of the wheel, expected at most {MOST_CLICKS}");
                    return Err(Fault::invalid(if dy == 0 { "dx" } else { "dy" }, message));
                }
                let stroke = Stroke::Scroll { dx, dy };
                Asked { stroke, places: vec![place(*x, *y, space.as_ref())?], chord: chord(modifiers)? }
            }
            Action::Down { button } => here(Stroke::Down { button: *button }),
            Action::Up { button } => here(Stroke::Up { button: *button }),
            Action::Position {} => return Ok(None),
        };
        Ok(Some(asked))
    }

    /// A distance in clicks of the wheel, away from zero where it is less than one.
    fn clicks(&self, distance: i64, unit: Unit) -> i64 {
        match unit {
            Unit::Click => distance,
            Unit::Pixel => {
                let half = self.pixels_per_click / 2 * distance.signum();
                match distance.saturating_add(half) / self.pixels_per_click {
                    0 => distance.signum(),
                    clicks => clicks,
                }
            }
        }
    }

    async fn position(&self) -> Result<Position, Fault> {
        if self.desktop.backend() == Backend::Other {
            return self.desktop.work_other(other::position).await;
        }
        self.desktop
            .work(|session| {
                let scene = session.scene()?;
                let pointer = scene.pointer;
                let mut buttons = Vec::new();
                for button in Button::ALL {
                    let bit = if button.logical() <= 5 { 0x80 << button.logical() } else { 0 };
                    if pointer.mask & bit != 0 || gesture::is_held(session, &scene, button) {
                        buttons.push(button);
                    }
                }
                let shown =
                    scene.layout.monitors.into_iter().find(|monitor| monitor.rect.contains(pointer.point));
                Ok(Position {
                    x: pointer.point.x,
                    y: pointer.point.y,
                    monitor: shown.map(|monitor| monitor.name),
                    buttons,
                    modifiers: session.modifiers_of(pointer.mask)?,
                })
            })
            .await
    }
}

fn place(x: Option<i64>, y: Option<i64>, space: Option<&Space>) -> Result<Place, Fault> {
    Ok(Place::of(x, y, space)?.unwrap_or(Place::Here))
}

fn here(stroke: Stroke) -> Asked {
    Asked { stroke, places: vec![Place::Here], chord: BTreeSet::new() }
}

fn chord(names: &[String]) -> Result<BTreeSet<Modifier>, Fault> {
    let mut chord = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        let path = format!("modifiers[{index}]");
        let modifier = Modifier::parse(name, &path)?;
        if !chord.insert(modifier) {
            return Err(Fault::invalid(path, format!("{modifier} is named twice")));
        }
    }
    Ok(chord)
}
