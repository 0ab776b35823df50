//! Sending a gesture, batch by batch, each in one server grab with the checks that make it safe.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use llm_os_core::{Code, ConnectionId, Context, Fault};
use llm_os_desktop::geometry::Point;
use llm_os_desktop::window::Window;
use llm_os_desktop::x11::{Aim, Guarded, Held, Scene, Session};
use llm_os_desktop::{Desktop, INPUT_GRABBED, NOT_RESPONDING, Trouble, WINDOW_CHANGED};
use tokio::time::{Instant, sleep, sleep_until};

use crate::action::Button;
use crate::gesture::{Gesture, Stop, Stroke, is_held};
use crate::output::{self, Clicked, Dragged, Moved, Output, Scrolled};

/// Something else moves the pointer, such as a hand on a mouse.
const POINTER_MOVED: Code = Code::own("pointer_moved");

/// The button is down already.
pub(crate) const ALREADY_HELD: Code = Code::own("already_held");

/// The button is not down, or another connection holds it.
pub(crate) const NOT_HELD: Code = Code::own("not_held");

/// How often a window may change its title between the policy's answer and the sending.
const TITLES: usize = 4;

/// How many pixels go in one server grab.
const BATCH: usize = 128;

/// How far apart the batches of a drag are.
const PACE_MS: usize = 10;

/// How long a window manager may keep a click back (a passive grab that freezes the pointer) before it counts as stuck. One
/// that reads the keyboard anew after a text with foreign letters takes more than a second on a slow machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often is looked whether it let the click through.
const ROUND: Duration = Duration::from_millis(1);

/// A gesture on its way.
pub(crate) struct Sending<'a> {
    desktop: &'a Arc<Desktop>,
    cx: &'a Context,
    gesture: Arc<Gesture>,
    /// As they call themselves by now.
    windows: Vec<Window>,
    /// What the program that is dragged in shows under the pointer meanwhile, such as the picture of what is dragged.
    shown: Vec<Window>,
}

/// What was seen right after a batch, in the same grab.
struct After {
    pointer: Point,
    mask: u16,
}

impl After {
    fn look(session: &mut Session) -> Result<Self, Trouble> {
        let pointer = session.pointer()?;
        Ok(Self { pointer: pointer.point, mask: pointer.mask })
    }

    fn elsewhere(&self, than: Point) -> Option<Point> {
        (self.pointer != than).then_some(self.pointer)
    }
}

impl<'a> Sending<'a> {
    pub(crate) fn new(desktop: &'a Arc<Desktop>, cx: &'a Context, gesture: Gesture) -> Self {
        let windows = gesture.windows.clone();
        Self { desktop, cx, gesture: Arc::new(gesture), windows, shown: Vec::new() }
    }

    /// Sends it, once no other action sends.
    pub(crate) async fn send(mut self) -> Result<Output, Fault> {
        let _turn = self.desktop.turn(self.cx).await?;
        match self.gesture.asked.stroke {
            Stroke::Move => self.go().await.map(Output::Move),
            Stroke::Click { button, count } => self.click(button, count).await.map(Output::Click),
            Stroke::Scroll { dx, dy } => self.scroll(dx, dy).await.map(Output::Scroll),
            Stroke::Down { button } => self.down(button).await.map(Output::Down),
            Stroke::Up { button } => self.up(button).await.map(Output::Up),
            Stroke::Drag { button, duration_ms } => self.drag(button, duration_ms).await.map(Output::Drag),
        }
    }

    async fn go(&mut self) -> Result<Moved, Fault> {
        let Point { x, y } = self.end();
        if self.gesture.captor.is_none() {
            let after = self.motions(0..1).await?;
            return Ok(Moved { x, y, elsewhere: after.elsewhere(Point { x, y }) });
        }
        let mut reached = 0;
        while reached < self.gesture.way.len() {
            let next = (reached + BATCH).min(self.gesture.way.len());
            let gone = match self.cx.stopped() {
                Some(fault) => Err(fault),
                None => self.arrive(reached..next).await,
            };
            gone.map_err(|fault| match reached.checked_sub(1).map(|last| self.gesture.way[last].point) {
                Some(Point { x, y }) => fault.delivered(&Moved { x, y, elsewhere: None }),
                None => fault,
            })?;
            reached = next;
        }
        Ok(Moved { x, y, elsewhere: None })
    }

    async fn click(&mut self, button: Button, count: u8) -> Result<Clicked, Fault> {
        let Point { x, y } = self.end();
        let clicked = |clicks, elsewhere| Clicked { x, y, button, clicks, elsewhere };
        let sent = self.guarded(0..1, move |session, gesture, scene| {
            let physical = free(session, scene, button)?;
            at(session, gesture, gesture.way[0])?;
            let keys = gesture.keys(session)?;
            for key in &keys {
                session.press(*key, true)?;
            }
            for _ in 0..count {
                session.press(Held::Button(physical), true)?;
                session.press(Held::Button(physical), false)?;
            }
            for key in keys.iter().rev() {
                session.press(*key, false)?;
            }
            After::look(session)
        });
        let after = sent.await.map_err(|fault| fault.delivered(&clicked(0, None)))?;
        self.settle(button.logical(), after.mask)
            .await
            .map_err(|fault| fault.delivered(&clicked(count, None)))?;
        Ok(clicked(count, after.elsewhere(Point { x, y })))
    }

    async fn scroll(&mut self, dx: i64, dy: i64) -> Result<Scrolled, Fault> {
        let Point { x, y } = self.end();
        let scrolled = |dx, dy, elsewhere| Scrolled { x, y, dx, dy, elsewhere };
        let wheel =
            |distance: i64, back, forth| (if distance < 0 { back } else { forth }, distance.unsigned_abs());
        let [down, right] = [wheel(dy, 4, 5), wheel(dx, 6, 7)];
        let sent = self.guarded(0..1, move |session, gesture, scene| {
            let mut buttons = Vec::new();
            for (logical, clicks) in [down, right] {
                if clicks > 0 {
                    buttons.push((scene.button(logical)?, clicks));
                }
            }
            at(session, gesture, gesture.way[0])?;
            let keys = gesture.keys(session)?;
            for key in &keys {
                session.press(*key, true)?;
            }
            for (physical, clicks) in buttons {
                for _ in 0..clicks {
                    session.press(Held::Button(physical), true)?;
                    session.press(Held::Button(physical), false)?;
                }
            }
            for key in keys.iter().rev() {
                session.press(*key, false)?;
            }
            After::look(session)
        });
        let after = sent.await.map_err(|fault| fault.delivered(&scrolled(0, 0, None)))?;
        self.settle(down.0, after.mask).await.map_err(|fault| fault.delivered(&scrolled(dx, dy, None)))?;
        Ok(scrolled(dx, dy, after.elsewhere(Point { x, y })))
    }

    async fn down(&mut self, button: Button) -> Result<output::Held, Fault> {
        let connection = self.cx.connection();
        let Point { x, y } = self.end();
        self.guarded(0..1, move |session, gesture, scene| {
            let physical = free(session, scene, button)?;
            at(session, gesture, gesture.way[0])?;
            press_and_hold(session, gesture, connection, Held::Button(physical))
        })
        .await?;
        Ok(output::Held { x, y, button })
    }

    async fn up(&mut self, button: Button) -> Result<output::Held, Fault> {
        let connection = self.cx.connection();
        let Point { x, y } = self.end();
        let after = self.guarded(0..1, move |session, gesture, scene| {
            let held = Held::Button(scene.button(button.logical())?);
            if !session.holds(connection, held) {
                let message = format!(
                    "this connection holds no {} button down; press it with mouse.down, on the same connection",
                    button.as_str()
                );
                return Err(Fault::new(NOT_HELD, message).into());
            }
            at(session, gesture, gesture.way[0])?;
            session.release_one(connection, held)?;
            After::look(session)
        });
        let after = after.await?;
        self.settle(button.logical(), after.mask).await?;
        Ok(output::Held { x, y, button })
    }

    async fn drag(&mut self, button: Button, duration_ms: u32) -> Result<Dragged, Fault> {
        let pressed = Pressed::new(self.desktop, self.cx.connection());
        let mut reached = 0;
        let way = self.way_with_button_down(button, duration_ms, &pressed, &mut reached).await;
        let ended = match way {
            Ok(()) => self.let_go(&pressed).await,
            Err(fault) => Err(fault),
        };
        let released = ended.is_ok() || pressed.let_go().await.is_ok();
        let Point { x, y } = self.gesture.way[reached.saturating_sub(1)].point;
        let dragged = Dragged { x, y, button, points: reached, of: self.gesture.way.len(), released };
        let settled = match ended {
            Ok(after) => self.settle(button.logical(), after.mask).await,
            Err(fault) => Err(fault),
        };
        match settled {
            Ok(()) => Ok(dragged),
            Err(fault) => Err(fault.delivered(&dragged)),
        }
    }

    async fn way_with_button_down(
        &mut self,
        button: Button,
        duration_ms: u32,
        pressed: &Pressed,
        reached: &mut usize,
    ) -> Result<(), Fault> {
        let down = pressed.down.clone();
        let connection = pressed.connection;
        self.guarded(0..1, move |session, gesture, scene| {
            let physical = free(session, scene, button)?;
            at(session, gesture, gesture.way[0])?;
            for what in gesture.keys(session)?.into_iter().chain([Held::Button(physical)]) {
                lock(&down).push(what);
                press_and_hold(session, gesture, connection, what)?;
            }
            Ok(())
        })
        .await?;
        *reached = 1;
        let start = Instant::now();
        let (steps, duration) = (self.gesture.way.len() - 1, duration_ms as usize);
        let batches = (duration / PACE_MS).clamp(steps.div_ceil(BATCH), steps);
        for batch in 1..=batches {
            let due = start + Duration::from_millis((duration * batch / batches) as u64);
            tokio::select! {
                biased;
                () = self.cx.cancelled() => {}
                () = sleep_until(due) => {}
            }
            if let Some(fault) = self.cx.stopped() {
                return Err(fault);
            }
            let next = 1 + steps * batch / batches;
            self.arrive(*reached..next).await?;
            *reached = next;
        }
        Ok(())
    }

    /// Releases at the end of the way, in the grab in which the window there was checked.
    async fn let_go(&mut self, pressed: &Pressed) -> Result<After, Fault> {
        let (down, connection) = (pressed.down.clone(), pressed.connection);
        let end = self.gesture.way.len() - 1;
        self.guarded(end..end + 1, move |session, _, _| {
            release(session, connection, &down)?;
            After::look(session)
        })
        .await
    }

    /// Shows the pointer at a part of the way, and waits until it is there: a window manager that got the press may still
    /// keep the pointer frozen.
    async fn arrive(&mut self, part: Range<usize>) -> Result<(), Fault> {
        let end = self.gesture.way[part.end - 1].point;
        let mut found = self.motions(part).await?.pointer;
        let deadline = Instant::now() + PATIENCE;
        while found != end {
            if let Some(fault) = self.cx.stopped() {
                return Err(fault);
            }
            if Instant::now() > deadline {
                return Err(moved(end, found));
            }
            sleep(ROUND).await;
            found = self.desktop.work(After::look).await?.pointer;
        }
        Ok(())
    }

    async fn motions(&mut self, part: Range<usize>) -> Result<After, Fault> {
        let points = part.clone();
        self.guarded(part, move |session, gesture, _| {
            for stop in &gesture.way[points.clone()] {
                session.motion(stop.point)?;
            }
            After::look(session)
        })
        .await
    }

    /// Waits until a window manager that took the click to raise and focus the window has let it through: what the plan
    /// does next, such as typing, depends on it.
    async fn settle(&self, logical: u8, mut mask: u16) -> Result<(), Fault> {
        // The mask has bits for the first five buttons alone.
        let bit = if logical <= 5 { 0x80 << logical } else { 0 };
        let deadline = Instant::now() + PATIENCE;
        while mask & bit != 0 {
            if Instant::now() > deadline {
                let message = "the button is still down for the X server: a program, such as the window manager, keeps \
                    the click back, or somebody holds it";
                return Err(Fault::new(NOT_RESPONDING, message));
            }
            sleep(ROUND).await;
            mask = self.desktop.work(After::look).await?.mask;
        }
        Ok(())
    }

    /// Sends for a part of the way in one grab, with all checks before. A window that changed its name meanwhile is sent
    /// to where the policy permits it under the new one.
    async fn guarded<T: Send + 'static>(
        &mut self,
        part: Range<usize>,
        send: impl Fn(&mut Session, &Gesture, &Scene) -> Result<T, Trouble> + Clone + Send + 'static,
    ) -> Result<T, Fault> {
        let all: Vec<_> = self.gesture.way[part.clone()].iter().map(|stop| stop.point).collect();
        let drags = part.start > 0;
        let which = self.gesture.windows_of(part);
        for _ in 0..TITLES {
            let judged = which.iter().map(|index| &self.windows[*index]);
            let windows: Vec<_> = judged.chain(&self.shown).cloned().collect();
            let (points, gesture, send) = (all.clone(), self.gesture.clone(), send.clone());
            let guarded = self.desktop.work(move |session| {
                let sending = |session: &mut Session| {
                    session.guarded(&windows, Aim::Points(&points), |session| {
                        let scene = session.scene()?;
                        gesture.is_still(session, &scene)?;
                        send(session, &gesture, &scene)
                    })
                };
                match sending(session) {
                    // Perhaps a menu of the very program. Modifiers would go to whoever holds the keyboard.
                    Err(Trouble::Fault(fault))
                        if fault.code == INPUT_GRABBED && gesture.asked.chord.is_empty() =>
                    {
                        session.watching(sending)
                    }
                    sent => sent,
                }
            });
            match guarded.await {
                Ok(Guarded::Sent(sent)) => return Ok(sent),
                Err(fault) if drags && fault.code == WINDOW_CHANGED => {
                    if !self.shows_more(&all).await? {
                        return Err(fault);
                    }
                }
                Err(fault) => return Err(fault),
                Ok(Guarded::Changed(window)) => {
                    if !self.cx.permits(&self.gesture.effect(&window)) {
                        let message = "the window changed its class or title, and the policy does not permit the new \
                            one; look again and send the plan anew";
                        return Err(Fault::new(WINDOW_CHANGED, message));
                    }
                    for known in self.windows.iter_mut().chain(&mut self.shown) {
                        if known.id == window.id {
                            known.clone_from(&window);
                        }
                    }
                }
            }
        }
        Err(Fault::new(WINDOW_CHANGED, "the window changes its title again and again; try again"))
    }

    /// Learns what else is at these pixels by now. False where that is nothing new, or not all of it belongs to the process
    /// that has the pointer, or the policy does not permit it.
    async fn shows_more(&mut self, points: &[Point]) -> Result<bool, Fault> {
        let points = points.to_vec();
        let (found, _) = self.desktop.work(move |session| session.along(&points)).await?;
        let Some(captor) = self.gesture.captor.map(|index| &self.windows[index]) else { return Ok(false) };
        let is_new = |window: &Window| !self.windows.iter().any(|known| known.frame == window.frame);
        let shown: Vec<_> = found.into_iter().filter(is_new).collect();
        let is_own = |window: &Window| {
            window.started.is_some() && (window.pid, window.started) == (captor.pid, captor.started)
        };
        let may_be = |window: &Window| is_own(window) && self.cx.permits(&self.gesture.effect(window));
        if shown == self.shown || !shown.iter().all(may_be) {
            return Ok(false);
        }
        if !shown.is_empty() {
            let classes: Vec<_> = shown.iter().map(|window| window.class.clone()).collect();
            self.cx.note("shown_on_the_way", classes);
        }
        self.shown = shown;
        Ok(true)
    }

    fn end(&self) -> Point {
        self.gesture.way[self.gesture.way.len() - 1].point
    }
}

/// Moves the pointer, and refuses to go on where it did not get there, or where the window there is not the expected
/// one: a barrier, a hand on a mouse.
fn at(session: &mut Session, gesture: &Gesture, stop: Stop) -> Result<(), Trouble> {
    session.motion(stop.point)?;
    let found = session.pointer()?;
    if found.point != stop.point {
        return Err(moved(stop.point, found.point).into());
    }
    let expected = [Some(stop.window), gesture.captor];
    if !expected.into_iter().flatten().any(|window| gesture.windows[window].frame == found.frame) {
        let Point { x, y } = stop.point;
        let message = format!("another window is now at ({x}, {y}); look again and send the plan anew");
        return Err(Fault::new(WINDOW_CHANGED, message).into());
    }
    Ok(())
}

fn moved(expected: Point, found: Point) -> Fault {
    let message = format!(
        "the pointer is at ({}, {}) and not at ({}, {}): something else moves it, such as a hand on a mouse; nothing \
         more was sent",
        found.x, found.y, expected.x, expected.y
    );
    Fault::new(POINTER_MOVED, message)
}

/// The physical button, where it is not held down already.
fn free(session: &Session, scene: &Scene, button: Button) -> Result<u8, Trouble> {
    if is_held(session, scene, button) {
        let message =
            format!("the {} button is held down already; release it with mouse.up", button.as_str());
        return Err(Fault::new(ALREADY_HELD, message).into());
    }
    Ok(scene.button(button.logical())?)
}

fn press_and_hold(
    session: &mut Session,
    gesture: &Gesture,
    connection: ConnectionId,
    what: Held,
) -> Result<(), Trouble> {
    session.press(what, true)?;
    if let Held::Button(_) = what {
        session.captured_by(gesture.windows[gesture.way[0].window].frame);
    }
    session.hold(connection, what);
    Ok(())
}

/// What a drag holds down. Let go of on drop too, so that a cancelled one leaves nothing behind.
struct Pressed {
    desktop: Arc<Desktop>,
    connection: ConnectionId,
    down: Arc<Mutex<Vec<Held>>>,
}

impl Pressed {
    fn new(desktop: &Arc<Desktop>, connection: ConnectionId) -> Self {
        Self { desktop: desktop.clone(), connection, down: Arc::default() }
    }

    async fn let_go(&self) -> Result<(), Fault> {
        let (down, connection) = (self.down.clone(), self.connection);
        self.desktop.work(move |session| release(session, connection, &down)).await
    }
}

impl Drop for Pressed {
    fn drop(&mut self) {
        let (down, connection) = (self.down.clone(), self.connection);
        self.desktop.later(move |session| release(session, connection, &down));
    }
}

/// Lets go of what is down, the last pressed first.
fn release(session: &mut Session, connection: ConnectionId, down: &Mutex<Vec<Held>>) -> Result<(), Trouble> {
    let mut down = lock(down);
    while let Some(what) = down.last() {
        session.release_one(connection, *what)?;
        down.pop();
    }
    Ok(())
}

fn lock(down: &Mutex<Vec<Held>>) -> std::sync::MutexGuard<'_, Vec<Held>> {
    down.lock().unwrap_or_else(PoisonError::into_inner)
}
