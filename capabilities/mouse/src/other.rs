//! Gestures on a display that tells nobody which window is at a pixel.
//!
//! On Wayland nobody learns where the pointer is either: a gesture without coordinates is where this host moved it last,
//! a hand on a mouse is not noticed, and `mouse.position` cannot be had.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use llm_os_core::{Code, ConnectionId, Context, Effect, Fact, Fault, Verb};
use llm_os_desktop::geometry::Point;
use llm_os_desktop::keys::Modifier;
use llm_os_desktop::other::{self, Grip, Held, Holding, Session};
use llm_os_desktop::{Desktop, MODIFIERS_HELD, Trouble};
use tokio::time::{Instant, sleep_until};

use crate::action::Button;
use crate::course::{self, Place};
use crate::gesture::{Asked, Stroke, ends};
use crate::output::{self, Clicked, Dragged, Moved, Output, Position, Scrolled};
use crate::send::{ALREADY_HELD, NOT_HELD};

/// How far apart the points of a drag are: a compositor cuts off a program that has some hundred unread.
const PACE: Duration = Duration::from_millis(4);

/// A gesture, bound to the pixels that it reaches.
#[derive(Clone)]
pub(crate) struct Gesture {
    asked: Asked,
    /// The pixel of each place.
    corners: Vec<Point>,
    /// The whole way, at least one pixel.
    way: Vec<Point>,
    /// The modifiers that plans hold down.
    held: BTreeSet<Modifier>,
    /// The button that plans hold down.
    dragging: Option<Button>,
    display: String,
}

impl Gesture {
    /// Looks at the layout, and touches nothing.
    pub(crate) fn resolve(desktop: &Desktop, asked: Asked) -> Result<Self, Fault> {
        let display = desktop.display().id.clone();
        desktop.look_other(move |session| {
            if let Some(why) = session.lacks_pointer() {
                return Err(Fault::new(Code::UNAVAILABLE, why).into());
            }
            let layout = session.layout()?;
            let pointer = match asked.places.iter().all(|place| matches!(place, Place::At { .. })) {
                true => Point { x: 0, y: 0 },
                false => session.place()?,
            };
            let corners = asked.places.iter().map(|place| place.locate(&layout, pointer));
            let corners = corners.collect::<Result<Vec<_>, _>>()?;
            let way = match asked.stroke {
                Stroke::Drag { duration_ms, .. } => {
                    let points = course::along(&corners, &layout, |index| format!("path[{index}]"))?;
                    thinned(&points, &corners, duration_ms)
                }
                Stroke::Move
                | Stroke::Click { .. }
                | Stroke::Scroll { .. }
                | Stroke::Down { .. }
                | Stroke::Up { .. } => corners.clone(),
            };
            let dragging = Button::ALL.into_iter().find(|button| session.is_down(held(*button)));
            Ok(Self { asked, corners, way, held: session.modifiers(), dragging, display })
        })
    }

    /// Where it begins, and where it ends.
    pub(crate) fn ends(&self) -> (Point, Point) {
        ends(&self.corners)
    }

    pub(crate) fn effect(&self) -> Effect {
        let button = match (self.asked.stroke, self.dragging) {
            (Stroke::Move, Some(dragging)) => dragging.as_str(),
            (stroke, _) => stroke.button(),
        };
        let modifiers = self.asked.chord.union(&self.held).map(|modifier| modifier.as_str().to_owned());
        other::effect(Verb::Inject, &self.display)
            .fact("button", Fact::Text(button.to_owned()))
            .fact("modifiers", Fact::Set(modifiers.collect()))
    }

    /// Refuses where the outputs or the modifiers are no longer those that were judged.
    fn is_still(&self, session: &mut Session) -> Result<(), Trouble> {
        let layout = session.layout()?;
        for (place, point) in self.asked.places.iter().zip(&self.corners) {
            place.is_still(*point, &layout)?;
        }
        if session.modifiers() == self.held {
            return Ok(());
        }
        let message = "other modifiers are held down than when this was judged; send the plan anew";
        Err(Fault::new(MODIFIERS_HELD, message).into())
    }

    /// The modifiers of the action itself that are not down already.
    fn keys(&self) -> Vec<Held> {
        self.asked.chord.difference(&self.held).map(|modifier| other::modifier(*modifier)).collect()
    }

    fn end(&self) -> Point {
        self.way[self.way.len() - 1]
    }
}

/// The corners, and between them as many points as the time allows.
fn thinned(points: &[Point], corners: &[Point], duration_ms: u32) -> Vec<Point> {
    let most = (u128::from(duration_ms) / PACE.as_millis()).max(1);
    let every = (points.len() as u128).div_ceil(most);
    let mut corners = corners.iter().peekable();
    let kept = points.iter().enumerate().filter(|(index, point)| {
        let corner = corners.next_if_eq(point).is_some();
        corner || (*index as u128).is_multiple_of(every)
    });
    kept.map(|(_, point)| *point).collect()
}

/// A gesture on its way.
pub(crate) struct Sending<'a> {
    pub(crate) desktop: &'a Arc<Desktop>,
    pub(crate) cx: &'a Context,
    pub(crate) gesture: Gesture,
}

impl Sending<'_> {
    pub(crate) async fn send(self) -> Result<Output, Fault> {
        let _turn = self.desktop.turn(self.cx).await?;
        let Point { x, y } = self.gesture.end();
        let connection = self.cx.connection();
        match self.gesture.asked.stroke {
            Stroke::Move => {
                self.checked(|session, gesture| session.motion(gesture.end())).await?;
                Ok(Output::Move(Moved { x, y, elsewhere: None }))
            }
            Stroke::Click { button, count } => {
                let clicked = |clicks| Clicked { x, y, button, clicks, elsewhere: None };
                let sent = self.checked(move |session, gesture| {
                    is_free(session, button)?;
                    with_keys(session, gesture, |session| session.strike(&[held(button)], count.into()))
                });
                sent.await.map_err(|fault| fault.delivered(&clicked(0)))?;
                Ok(Output::Click(clicked(count)))
            }
            Stroke::Scroll { dx, dy } => {
                let scrolled = |dx, dy| Scrolled { x, y, dx, dy, elsewhere: None };
                let sent = self.checked(move |session, gesture| {
                    with_keys(session, gesture, |session| {
                        for (clicks, horizontal) in [(dy, false), (dx, true)] {
                            // One click each: some programs take several as one.
                            for _ in 0..clicks.unsigned_abs() {
                                session.scroll(if clicks < 0 { -1 } else { 1 }, horizontal)?;
                            }
                        }
                        Ok(())
                    })
                });
                sent.await.map_err(|fault| fault.delivered(&scrolled(0, 0)))?;
                Ok(Output::Scroll(scrolled(dx, dy)))
            }
            Stroke::Down { button } => {
                let sent = self.checked(move |session, gesture| {
                    is_free(session, button)?;
                    session.motion(gesture.end())?;
                    session.hold(connection, held(button)).map(drop)
                });
                sent.await?;
                Ok(Output::Down(output::Held { x, y, button }))
            }
            Stroke::Up { button } => {
                self.checked(move |session, _| let_go(session, connection, button)).await?;
                Ok(Output::Up(output::Held { x, y, button }))
            }
            Stroke::Drag { button, duration_ms } => self.drag(button, duration_ms).await.map(Output::Drag),
        }
    }

    async fn drag(&self, button: Button, duration_ms: u32) -> Result<Dragged, Fault> {
        let holding = Holding::new(self.desktop, self.cx.connection());
        let mut reached = 0;
        let way = self.way_with_button_down(button, duration_ms, holding.grip(), &mut reached).await;
        let ended = holding.let_go().await;
        let Point { x, y } = self.gesture.way[reached.max(1) - 1];
        let of = self.gesture.way.len();
        let dragged = Dragged { x, y, button, points: reached, of, released: ended.is_ok() };
        match way.and(ended) {
            Ok(()) => Ok(dragged),
            Err(fault) => Err(fault.delivered(&dragged)),
        }
    }

    async fn way_with_button_down(
        &self,
        button: Button,
        duration_ms: u32,
        grip: Grip,
        reached: &mut usize,
    ) -> Result<(), Fault> {
        self.checked(move |session, gesture| {
            is_free(session, button)?;
            session.motion(gesture.way[0])?;
            let down = gesture.keys().into_iter().chain([held(button)]);
            down.into_iter().try_for_each(|what| grip.press(session, what))
        })
        .await?;
        *reached = 1;
        let (start, steps) = (Instant::now(), self.gesture.way.len() - 1);
        for (step, point) in self.gesture.way.iter().copied().enumerate().skip(1) {
            let due = start + Duration::from_millis(u64::from(duration_ms)) * step as u32 / steps as u32;
            tokio::select! {
                biased;
                () = self.cx.cancelled() => {}
                () = sleep_until(due) => {}
            }
            if let Some(fault) = self.cx.stopped() {
                return Err(fault);
            }
            self.desktop.work_other(move |session| session.motion(point)).await?;
            *reached = step + 1;
        }
        Ok(())
    }

    async fn checked<T: Send + 'static>(
        &self,
        send: impl FnOnce(&mut Session, &Gesture) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Fault> {
        if let Some(fault) = self.cx.stopped() {
            return Err(fault);
        }
        let gesture = self.gesture.clone();
        let sent = self.desktop.work_other(move |session| {
            gesture.is_still(session)?;
            send(session, &gesture)
        });
        sent.await
    }
}

/// Where the pointer is, where that can be had at all.
pub(crate) fn position(session: &mut Session) -> Result<Position, Trouble> {
    let point = session.pointer()?;
    let shown = session.layout()?.monitors.into_iter().find(|monitor| monitor.rect.contains(point));
    Ok(Position {
        x: point.x,
        y: point.y,
        monitor: shown.map(|monitor| monitor.name),
        buttons: Button::ALL.into_iter().filter(|button| session.is_down(held(*button))).collect(),
        modifiers: session.modifiers(),
    })
}

fn held(button: Button) -> Held {
    Held::Button(match button {
        Button::Left => other::Button::Left,
        Button::Middle => other::Button::Middle,
        Button::Right => other::Button::Right,
        Button::Back => other::Button::Back,
        Button::Forward => other::Button::Forward,
    })
}

fn is_free(session: &Session, button: Button) -> Result<(), Fault> {
    if session.is_down(held(button)) {
        let message =
            format!("the {} button is held down already; release it with mouse.up", button.as_str());
        return Err(Fault::new(ALREADY_HELD, message));
    }
    Ok(())
}

fn let_go(session: &mut Session, connection: ConnectionId, button: Button) -> Result<(), Trouble> {
    if session.holds(connection, held(button)) {
        return session.let_go(connection, held(button));
    }
    let message = format!(
        "this connection holds no {} button down; press it with mouse.down, on the same connection",
        button.as_str()
    );
    Err(Fault::new(NOT_HELD, message).into())
}

/// Goes there, and does something while the modifiers of the action are down.
fn with_keys(
    session: &mut Session,
    gesture: &Gesture,
    act: impl FnOnce(&mut Session) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let keys = gesture.keys();
    if !keys.is_empty()
        && let Some(why) = session.lacks_keyboard()
    {
        return Err(Fault::new(Code::UNAVAILABLE, why).into());
    }
    session.motion(gesture.end())?;
    for key in &keys {
        session.press(*key, true)?;
    }
    let acted = act(session);
    let lifted = keys.iter().rev().try_for_each(|key| session.press(*key, false));
    acted.and(lifted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drag_keeps_its_corners_and_no_more_points_than_there_is_time_for() {
        let line = |from: i32, to: i32| (from..=to).map(|x| Point { x, y: 0 });
        let points: Vec<Point> = line(0, 1000).collect();
        let corners = [Point { x: 0, y: 0 }, Point { x: 777, y: 0 }, Point { x: 1000, y: 0 }];
        let kept = thinned(&points, &corners, 400);
        assert!(kept.len() <= 103, "{}", kept.len());
        assert!(corners.iter().all(|corner| kept.contains(corner)));
        assert_eq!(thinned(&points, &corners, 0), corners);
        assert_eq!(thinned(&points, &corners, 30_000).len(), points.len());
    }
}
