//! A gesture, bound to the very pixels and windows that it reaches.

use std::collections::BTreeSet;
use std::ops::Range;

use llm_os_core::{Effect, Effects, Fact, Fault, Verb};
use llm_os_desktop::geometry::Point;
use llm_os_desktop::keys::Modifier;
use llm_os_desktop::window::Window;
use llm_os_desktop::x11::{Held, Scene, Session};
use llm_os_desktop::{MODIFIERS_HELD, Trouble, WINDOW_CHANGED};

use crate::action::Button;
use crate::course::{self, Place};

/// What is asked for, before the display is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) stroke: Stroke,
    /// One place, or the corners of a way.
    pub(crate) places: Vec<Place>,
    /// The modifiers of the action itself.
    pub(crate) chord: BTreeSet<Modifier>,
}

/// What is done there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stroke {
    /// Nothing but going there.
    Move,
    Click {
        button: Button,
        count: u8,
    },
    Drag {
        button: Button,
        duration_ms: u32,
    },
    /// By clicks of the wheel.
    Scroll {
        dx: i64,
        dy: i64,
    },
    Down {
        button: Button,
    },
    Up {
        button: Button,
    },
}

impl Stroke {
    /// The fact `button`.
    pub(crate) fn button(self) -> &'static str {
        match self {
            Stroke::Move => "",
            Stroke::Scroll { .. } => "wheel",
            Stroke::Click { button, .. }
            | Stroke::Drag { button, .. }
            | Stroke::Down { button }
            | Stroke::Up { button } => button.as_str(),
        }
    }
}

/// One pixel of the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) point: Point,
    /// Which of the windows is there.
    pub(crate) window: usize,
}

/// What was asked for, with everything that it reaches.
#[derive(Clone, Debug)]
pub(crate) struct Gesture {
    pub(crate) asked: Asked,
    /// The pixel of each place.
    corners: Vec<Point>,
    /// The whole way, at least one pixel.
    pub(crate) way: Vec<Stop>,
    /// Every window that receives an event, each once.
    pub(crate) windows: Vec<Window>,
    /// The one that has the pointer, while a button is held down.
    pub(crate) captor: Option<usize>,
    /// The one that has the keyboard, where a modifier goes down.
    focus: Option<usize>,
    /// The button that is held down meanwhile, as policies spell it.
    dragging: Option<&'static str>,
    /// The modifiers that somebody held down already.
    held: BTreeSet<Modifier>,
}

impl Gesture {
    /// Looks at the display, and touches nothing.
    pub(crate) fn resolve(session: &mut Session, asked: Asked) -> Result<Self, Trouble> {
        let scene = session.scene()?;
        let (layout, pointer) = (&scene.layout, scene.pointer);
        let located = asked.places.iter().map(|place| place.locate(layout, pointer.point));
        let corners = located.collect::<Result<Vec<_>, _>>()?;
        let is_drag = matches!(asked.stroke, Stroke::Drag { .. });
        let points = if is_drag {
            course::along(&corners, layout, |index| format!("path[{index}]"))?
        } else if session.drags() {
            // With a button held down the way there counts as well.
            let ends = [&[pointer.point], corners.as_slice()].concat();
            course::along(&ends, layout, |_| "x".to_owned())?
        } else {
            corners.clone()
        };
        let (mut windows, which) = session.along(&points)?;
        let way: Vec<_> =
            points.into_iter().zip(which).map(|(point, window)| Stop { point, window }).collect();
        let captor = match session.captor()? {
            Some(window) => Some(place(&mut windows, window)),
            None => way.first().filter(|_| is_drag).map(|first| first.window),
        };
        let held = session.modifiers_of(pointer.mask)?;
        let focus = match asked.chord.is_subset(&held) {
            true => None,
            false => session.focused()?.map(|focus| place(&mut windows, focus.window)),
        };
        let dragging = held_button(session, &scene).map(Button::as_str);
        Ok(Self { asked, corners, way, windows, captor, focus, dragging, held })
    }

    /// The effect on one of its windows, which may have another title by now.
    pub(crate) fn effect(&self, window: &Window) -> Effect {
        let button = match (self.asked.stroke, self.dragging) {
            (Stroke::Move, Some(dragging)) => dragging,
            (stroke, _) => stroke.button(),
        };
        let modifiers = self.asked.chord.union(&self.held).map(|modifier| modifier.as_str().to_owned());
        window
            .effect(Verb::Inject)
            .fact("button", Fact::Text(button.to_owned()))
            .fact("modifiers", Fact::Set(modifiers.collect()))
    }

    /// Where it begins, and where it ends.
    pub(crate) fn ends(&self) -> (Point, Point) {
        ends(&self.corners)
    }

    pub(crate) fn effects(&self) -> Effects {
        let mut effects = self.windows.iter().map(|window| self.effect(window));
        // A way has at least one pixel, and so a window.
        let first = effects.next().unwrap_or_else(|| unreachable!("a way without a window"));
        effects.fold(Effects::one(first), Effects::and)
    }

    /// The windows that matter for a part of the way: those along it, the one that has the pointer, and at its beginning
    /// the one that hears of modifiers.
    pub(crate) fn windows_of(&self, part: Range<usize>) -> Vec<usize> {
        let focus = self.focus.filter(|_| part.start == 0);
        let mut windows: BTreeSet<usize> = self.way[part].iter().map(|stop| stop.window).collect();
        windows.extend(self.captor);
        windows.extend(focus);
        windows.into_iter().collect()
    }

    /// Under the server grab, right before sending: refuses where the monitors or the modifiers are no longer those that
    /// were judged.
    pub(crate) fn is_still(&self, session: &mut Session, scene: &Scene) -> Result<(), Trouble> {
        for (place, point) in self.asked.places.iter().zip(&self.corners) {
            place.is_still(*point, &scene.layout)?;
        }
        let now = session.modifiers_of(scene.pointer.mask)?;
        if now.union(&self.asked.chord).eq(self.held.union(&self.asked.chord)) {
            return Ok(());
        }
        let message = "other modifiers are held down than when this was judged; send the plan anew";
        Err(Fault::new(MODIFIERS_HELD, message).into())
    }

    /// The keys of the modifiers that must go down beside those that are, for the window that hears of them.
    pub(crate) fn keys(&self, session: &mut Session) -> Result<Vec<Held>, Trouble> {
        if let Some(focus) = self.focus
            && session.focused()?.map(|focus| focus.window.frame) != Some(self.windows[focus].frame)
        {
            let message =
                "the focus moved to another window, which would hear of the modifiers; send the plan anew";
            return Err(Fault::new(WINDOW_CHANGED, message).into());
        }
        let pressed = self.asked.chord.difference(&self.held);
        pressed.map(|modifier| session.modifier(*modifier).map(Held::Key)).collect()
    }
}

/// The first of some places and the last; there is at least one.
pub(crate) fn ends(corners: &[Point]) -> (Point, Point) {
    (corners[0], corners[corners.len() - 1])
}

/// The button that is held down for a plan, as programs see it.
fn held_button(session: &Session, scene: &Scene) -> Option<Button> {
    Button::ALL.into_iter().find(|button| is_held(session, scene, *button))
}

/// Whether a button is held down for a plan.
pub(crate) fn is_held(session: &Session, scene: &Scene, button: Button) -> bool {
    let physical = scene.button(button.logical());
    physical.is_ok_and(|physical| session.held().any(|held| held == Held::Button(physical)))
}

/// Where a window is in the list, at whose end it comes if it is new.
fn place(windows: &mut Vec<Window>, window: Window) -> usize {
    windows.iter().position(|known| known.frame == window.frame).unwrap_or_else(|| {
        windows.push(window);
        windows.len() - 1
    })
}
