//! Delivering what was granted to a window of an X server, batch by batch, each with its own check.

use std::collections::BTreeSet;
use std::time::Duration;

use llm_os_core::{Code, Context, Fault, Verb};
use llm_os_desktop::keys::{Chord, Modifier};
use llm_os_desktop::x11::{Aim, Focus, Guarded, Pressed, Reader, Session};
use llm_os_desktop::{Desktop, Trouble, WINDOW_CHANGED};
use tokio::time::{Instant, sleep_until};

use crate::output::{Chorded, Held, HeldMeta, Output, Struck, Typed};
use crate::work::Work;

/// How many characters go in one server grab: 100 take about a millisecond, for which all other clients wait.
const BATCH: usize = 100;

/// How many chords go in one server grab.
const CHORDS: usize = 25;

/// How often a window may get another title or class before one batch is sent.
const CHANGES: usize = 16;

/// When a held key begins to repeat, and how fast: what desktops set a keyboard to.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
const REPEAT_EVERY: Duration = Duration::from_micros(33_333);

/// This connection does not hold the keys that are to be released.
const NOT_HELD: Code = Code::own("not_held");

/// One action on its way to the window that it was judged for.
pub(crate) struct Sender<'a> {
    pub(crate) desktop: &'a Desktop,
    pub(crate) cx: &'a Context,
    pub(crate) work: &'a Work,
    pub(crate) focus: Focus,
    /// The modifiers that were down when it was judged.
    pub(crate) down: BTreeSet<Modifier>,
}

impl Sender<'_> {
    pub(crate) async fn run(mut self) -> Result<Output, Fault> {
        match self.work {
            Work::Type { text, delay } => {
                let (characters, result) = self.type_text(text, *delay).await;
                ended(Typed { characters, class: self.class() }, result).map(Output::Type)
            }
            Work::Press { chord, repeat } => {
                let (presses, result) = self.press(chord, *repeat).await;
                let struck = Struck { key: chord.to_string(), presses, class: self.class() };
                ended(struck, result).map(Output::Press)
            }
            Work::Hold { chord, duration } => {
                let (meta, result) = self.hold(chord, *duration).await;
                let held = Held { key: chord.to_string(), class: self.class(), meta };
                ended(held, result).map(Output::Hold)
            }
            Work::Down { chord } => {
                self.hold_down(chord).await?;
                Ok(Output::Down(Chorded { key: chord.to_string(), class: self.class() }))
            }
            Work::Up { chord } => {
                self.up(chord).await?;
                Ok(Output::Up(Chorded { key: chord.to_string(), class: self.class() }))
            }
        }
    }

    fn class(&self) -> String {
        self.focus.window.class.clone()
    }

    /// Types, and tells how many characters the server has taken.
    async fn type_text(&mut self, text: &[char], delay: Duration) -> (u64, Result<(), Fault>) {
        let most = if delay.is_zero() { BATCH } else { 1 };
        let mut typed = 0;
        while typed < text.len() {
            let batch = text[typed..text.len().min(typed + most)].to_vec();
            let reader = self.reader();
            let sent = self.guarded(move |session| session.type_text(&batch, &reader)).await;
            let before = typed;
            let done = match sent {
                Ok(sent) => {
                    typed += sent.count;
                    self.wait_for(&sent.waits).await
                }
                Err(fault) => Err(fault),
            };
            let done = match done {
                Ok(()) if (before + 1..text.len()).contains(&typed) => self.pause(delay).await,
                done => done,
            };
            if let Err(fault) = done {
                return (typed as u64, Err(fault));
            }
        }
        (typed as u64, Ok(()))
    }

    /// Presses, and tells how many times the server has taken it.
    async fn press(&mut self, chord: &Chord, times: usize) -> (u64, Result<(), Fault>) {
        let mut pressed = 0;
        while pressed < times {
            let (batch, chord, down) = ((times - pressed).min(CHORDS), chord.clone(), self.down.clone());
            let reader = self.reader();
            let sent = self.guarded(move |session| session.strike(&chord, batch, &down, &reader)).await;
            let done = match sent {
                Ok(sent) => {
                    pressed += sent.count;
                    self.wait_for(&sent.waits).await
                }
                Err(fault) => Err(fault),
            };
            if let Err(fault) = done.and_then(|()| self.go_on()) {
                return (pressed as u64, if pressed == times { Ok(()) } else { Err(fault) });
            }
        }
        (pressed as u64, Ok(()))
    }

    /// Holds, and releases whatever happens.
    async fn hold(&mut self, chord: &Chord, duration: Duration) -> (HeldMeta, Result<(), Fault>) {
        let mut meta = HeldMeta::default();
        let pressed = match self.hold_down(chord).await {
            Ok(pressed) => pressed,
            Err(fault) => return (meta, Err(fault)),
        };
        let release = Release { desktop: self.desktop, cx: self.cx, pressed: Some(pressed.clone()) };
        let begin = Instant::now();
        let end = begin + duration;
        let mut next = begin + REPEAT_AFTER;
        let result = loop {
            if let Err(fault) = self.pause_until(next.min(end)).await {
                break Err(fault);
            }
            if Instant::now() >= end {
                break Ok(());
            }
            let pressed = pressed.clone();
            match self.guarded(move |session| session.repeat_held(&pressed)).await {
                Ok(true) => meta.repeats += 1,
                Ok(false) => next = end,
                Err(fault) => break Err(fault),
            }
            next += REPEAT_EVERY;
        };
        let released = release.now().await;
        meta.held_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        (meta, result.and(released))
    }

    async fn hold_down(&mut self, chord: &Chord) -> Result<Pressed, Fault> {
        let connection = self.cx.connection();
        loop {
            let (chord, down) = (chord.clone(), self.down.clone());
            let reader = self.reader();
            let pressed =
                self.guarded(move |session| session.hold_down(&chord, connection, &down, &reader)).await?;
            if pressed.waits.is_empty() {
                return Ok(pressed);
            }
            self.wait_for(&pressed.waits).await?;
        }
    }

    async fn up(&mut self, chord: &Chord) -> Result<(), Fault> {
        let (keys, connection) = (chord.clone(), self.cx.connection());
        let missing = self.guarded(move |session| session.let_go(&keys, connection)).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        let message = format!(
            "this connection does not hold {} down, so nothing was released; press it with keyboard.down first",
            missing.join("+")
        );
        Err(Fault::new(NOT_HELD, message))
    }

    fn reader(&self) -> Reader {
        Reader::from(&self.focus.window)
    }

    /// Sends below a server grab, once the window with the focus is one that is permitted as it is then.
    async fn guarded<T: Send + 'static>(
        &mut self,
        send: impl FnOnce(&mut Session) -> Result<T, Trouble> + Clone + Send + 'static,
    ) -> Result<T, Fault> {
        for _ in 0..CHANGES {
            self.go_on()?;
            let (window, input, send) = (self.focus.window.clone(), self.focus.input, send.clone());
            let sent = self.desktop.work(move |session| session.guarded(&[window], Aim::Focus(input), send));
            match sent.await? {
                Guarded::Sent(sent) => return Ok(sent),
                Guarded::Changed(window) => {
                    let effect = self.work.facts(window.effect(Verb::Inject), &self.down);
                    if effect.refuses.is_some() || !self.cx.permits(&effect) {
                        let message =
                            "the window has another title or class by now, which the policy does not permit";
                        return Err(Fault::new(WINDOW_CHANGED, message));
                    }
                    self.focus.window = *window;
                }
            }
        }
        let message = "the window's title or class changes all the time, faster than it can be judged";
        Err(Fault::new(WINDOW_CHANGED, message))
    }

    /// Waits until these programs have read all keys so far.
    async fn wait_for(&self, readers: &[Reader]) -> Result<(), Fault> {
        for &reader in readers {
            reader.has_read(self.desktop, self.cx).await?;
            let read = move |session: &mut Session| {
                session.was_read(&reader);
                Ok(())
            };
            self.desktop.work(read).await?;
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), Fault> {
        self.cx.stopped().map_or(Ok(()), Err)
    }

    async fn pause(&self, time: Duration) -> Result<(), Fault> {
        if time.is_zero() { self.go_on() } else { self.pause_until(Instant::now() + time).await }
    }

    async fn pause_until(&self, end: Instant) -> Result<(), Fault> {
        tokio::select! {
            () = sleep_until(end) => {}
            () = self.cx.cancelled() => {}
        }
        self.go_on()
    }
}

/// What was delivered goes with the fault as well.
fn ended<T: serde::Serialize>(delivered: T, result: Result<(), Fault>) -> Result<T, Fault> {
    match result {
        Ok(()) => Ok(delivered),
        Err(fault) => Err(fault.delivered(&delivered)),
    }
}

/// Releases what is held, even where the action is dropped.
struct Release<'a> {
    desktop: &'a Desktop,
    cx: &'a Context,
    pressed: Option<Pressed>,
}

impl Release<'_> {
    async fn now(mut self) -> Result<(), Fault> {
        let Some(pressed) = self.pressed.take() else { return Ok(()) };
        let connection = self.cx.connection();
        self.desktop.work(move |session| session.lift(&pressed, connection)).await
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if let Some(pressed) = self.pressed.take() {
            let connection = self.cx.connection();
            self.desktop.later(move |session| session.lift(&pressed, connection));
        }
    }
}
