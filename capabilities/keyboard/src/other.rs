//! Delivering what was granted to a display that tells nobody which window has the focus.

use std::collections::BTreeSet;
use std::time::Duration;

use llm_os_core::{Code, Context, Fault};
use llm_os_desktop::keys::{Chord, Modifier};
use llm_os_desktop::other::{BATCH, Held, Holding, PAUSE, Session};
use llm_os_desktop::{Desktop, MODIFIERS_HELD, Trouble};
use tokio::time::{Instant, sleep_until};

use crate::output::{self, Chorded, HeldMeta, Output, Struck, Typed};
use crate::work::Work;

/// How many chords go at once: as many messages as a compositor puts together.
const CHORDS: usize = 4;

/// This connection does not hold the keys that are to be released.
const NOT_HELD: Code = Code::own("not_held");

/// One action on its way to whatever has the focus.
pub(crate) struct Sender<'a> {
    pub(crate) desktop: &'a Desktop,
    pub(crate) cx: &'a Context,
    pub(crate) work: &'a Work,
    /// The modifiers that were down when it was judged.
    pub(crate) down: BTreeSet<Modifier>,
}

impl Sender<'_> {
    pub(crate) async fn run(self) -> Result<Output, Fault> {
        let class = String::new();
        match self.work {
            Work::Type { text, delay } => {
                let (characters, result) = self.type_text(text, *delay).await;
                ended(Typed { characters, class }, result).map(Output::Type)
            }
            Work::Press { chord, repeat } => {
                let (presses, result) = self.press(chord, *repeat).await;
                ended(Struck { key: chord.to_string(), presses, class }, result).map(Output::Press)
            }
            Work::Hold { chord, duration } => {
                let (meta, result) = self.hold(chord, *duration).await;
                ended(output::Held { key: chord.to_string(), class, meta }, result).map(Output::Hold)
            }
            Work::Down { chord } => {
                self.down(keys(chord)).await?;
                Ok(Output::Down(Chorded { key: chord.to_string(), class }))
            }
            Work::Up { chord } => {
                self.up(chord).await?;
                Ok(Output::Up(Chorded { key: chord.to_string(), class }))
            }
        }
    }

    /// Types, and tells how many characters the display has taken.
    async fn type_text(&self, text: &[char], delay: Duration) -> (u64, Result<(), Fault>) {
        let (most, pause) = if delay.is_zero() { (BATCH, PAUSE) } else { (1, delay) };
        let mut typed = 0;
        for batch in text.chunks(most) {
            let batch_text: String = batch.iter().collect();
            let done = self.checked(move |session| session.text(&batch_text)).await;
            typed += if done.is_ok() { batch.len() as u64 } else { 0 };
            let done = match done {
                Ok(()) if typed < text.len() as u64 => self.pause(pause).await,
                done => done,
            };
            if done.is_err() {
                return (typed, done);
            }
        }
        (typed, Ok(()))
    }

    /// Presses, and tells how many times the display has taken it.
    async fn press(&self, chord: &Chord, times: usize) -> (u64, Result<(), Fault>) {
        let mut pressed = 0;
        while pressed < times {
            let (batch, keys) = ((times - pressed).min(CHORDS), keys(chord));
            let done = self.checked(move |session| session.strike(&keys, batch)).await;
            pressed += if done.is_ok() { batch } else { 0 };
            let done = match done {
                Ok(()) if pressed < times => self.pause(PAUSE).await,
                done => done,
            };
            if done.is_err() {
                return (pressed as u64, done);
            }
        }
        (pressed as u64, Ok(()))
    }

    /// Holds, and releases whatever happens. Programs repeat a held key themselves on such a display.
    async fn hold(&self, chord: &Chord, duration: Duration) -> (HeldMeta, Result<(), Fault>) {
        let holding = Holding::new(self.desktop, self.cx.connection());
        let (grip, keys) = (holding.grip(), keys(chord));
        let pressed =
            self.checked(move |session| keys.iter().try_for_each(|key| grip.press(session, *key))).await;
        if let Err(fault) = pressed {
            return (HeldMeta::default(), Err(fault));
        }
        let begin = Instant::now();
        let result = self.pause(duration).await;
        let released = holding.let_go().await;
        let held_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        (HeldMeta { repeats: 0, held_ms }, result.and(released))
    }

    async fn down(&self, keys: Vec<Held>) -> Result<(), Fault> {
        let connection = self.cx.connection();
        self.checked(move |session| {
            let mut pressed = Vec::new();
            for key in keys {
                match session.hold(connection, key) {
                    Ok(true) => pressed.push(key),
                    Ok(false) => {}
                    Err(trouble) => {
                        pressed.iter().rev().try_for_each(|key| session.let_go(connection, *key))?;
                        return Err(trouble);
                    }
                }
            }
            Ok(())
        })
        .await
    }

    async fn up(&self, chord: &Chord) -> Result<(), Fault> {
        let (chord, connection) = (chord.clone(), self.cx.connection());
        self.checked(move |session| {
            let pairs = chord.keys().iter().zip(keys(&chord));
            let missing = pairs.filter(|(_, held)| !session.holds(connection, *held));
            let missing: Vec<_> = missing.map(|(key, _)| key.to_string()).collect();
            if missing.is_empty() {
                return keys(&chord).iter().rev().try_for_each(|key| session.let_go(connection, *key));
            }
            let message = format!(
                "this connection does not hold {} down, so nothing was released; press it with keyboard.down first",
                missing.join("+")
            );
            Err(Fault::new(NOT_HELD, message).into())
        })
        .await
    }

    /// Sends where no other modifiers are down than when this was judged, and for text none at all: it would become
    /// shortcuts that nobody was asked about.
    async fn checked<T: Send + 'static>(
        &self,
        send: impl FnOnce(&mut Session) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Fault> {
        self.go_on()?;
        let judged = match self.work {
            Work::Type { .. } => BTreeSet::new(),
            Work::Press { .. } | Work::Hold { .. } | Work::Down { .. } | Work::Up { .. } => self.down.clone(),
        };
        let sent = self.desktop.work_other(move |session| {
            if let Some(why) = session.lacks_keyboard() {
                return Err(Fault::new(Code::UNAVAILABLE, why).into());
            }
            if session.modifiers() != judged {
                let message = "other modifiers are held down than were judged, and text wants none; release them with \
                    keyboard.up, or send the plan anew";
                return Err(Fault::new(MODIFIERS_HELD, message).into());
            }
            send(session)
        });
        sent.await
    }

    fn go_on(&self) -> Result<(), Fault> {
        self.cx.stopped().map_or(Ok(()), Err)
    }

    async fn pause(&self, time: Duration) -> Result<(), Fault> {
        tokio::select! {
            () = sleep_until(Instant::now() + time) => {}
            () = self.cx.cancelled() => {}
        }
        self.go_on()
    }
}

fn keys(chord: &Chord) -> Vec<Held> {
    chord.keys().iter().map(|key| Held::Key(key.symbol())).collect()
}

/// What was delivered goes with the fault as well.
fn ended<T: serde::Serialize>(delivered: T, result: Result<(), Fault>) -> Result<T, Fault> {
    result.map_err(|fault| fault.delivered(&delivered)).map(|()| delivered)
}
