//! A checked action: its text and keys read, its bounds kept.

use std::collections::BTreeSet;
use std::time::Duration;

use llm_os_core::{Effect, Fact, Fault};
use llm_os_desktop::keys::{Chord, Key, Modifier};

use crate::action::{Action, Control};

/// Most characters of one action.
const MOST_CHARACTERS: usize = 10_000;
/// Longest pause between two characters, in milliseconds.
const LONGEST_DELAY: u64 = 1000;
/// Longest hold, in milliseconds.
const LONGEST_HOLD: u64 = 60_000;
/// Most repetitions of a chord.
const MOST_PRESSES: u32 = 100;

/// What is to be sent. Without `Debug`: a text may be a secret.
pub(crate) enum Work {
    Type { text: Vec<char>, delay: Duration },
    Press { chord: Chord, repeat: usize },
    Hold { chord: Chord, duration: Duration },
    Down { chord: Chord },
    Up { chord: Chord },
}

impl Work {
    pub(crate) fn of(action: &Action) -> Result<Self, Fault> {
        Ok(match action {
            Action::Type { text, delay_ms, controls } => {
                within("delay_ms", *delay_ms, 0, LONGEST_DELAY)?;
                Work::Type {
                    text: text_of(text.expose(), controls)?,
                    delay: Duration::from_millis(*delay_ms),
                }
            }
            Action::Press { keys, repeat } => {
                within("repeat", u64::from(*repeat), 1, u64::from(MOST_PRESSES))?;
                Work::Press { chord: Chord::parse(keys, "keys")?, repeat: *repeat as usize }
            }
            Action::Hold { keys, duration_ms } => {
                within("duration_ms", *duration_ms, 1, LONGEST_HOLD)?;
                let duration = Duration::from_millis(*duration_ms);
                Work::Hold { chord: Chord::parse(keys, "keys")?, duration }
            }
            Action::Down { keys } => Work::Down { chord: Chord::parse(keys, "keys")? },
            Action::Up { keys } => Work::Up { chord: Chord::parse(keys, "keys")? },
        })
    }

    /// Adds the facts of this action; `down` are the modifiers that are held already, so that a chord is judged as a
    /// whole even where it was split over several actions.
    pub(crate) fn facts(&self, effect: Effect, down: &BTreeSet<Modifier>) -> Effect {
        match self {
            Work::Type { text, delay: _ } => effect
                .fact("characters", Fact::Long(i64::try_from(text.len()).unwrap_or(i64::MAX)))
                .fact("newline", Fact::Bool(text.contains(&'\n')))
                .fact("tab", Fact::Bool(text.contains(&'\t'))),
            Work::Press { chord, .. }
            | Work::Hold { chord, .. }
            | Work::Down { chord }
            | Work::Up { chord } => {
                let modifiers =
                    chord.modifiers().union(down).map(|modifier| modifier.as_str().to_owned()).collect();
                effect.fact("key", Fact::Text(chord.to_string())).fact("modifiers", Fact::Set(modifiers))
            }
        }
    }
}

fn within(name: &str, value: u64, least: u64, most: u64) -> Result<(), Fault> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Fault::invalid(name, format!("{name} is {value}, expected {least} to {most}")))
}

/// The characters of a text. Messages name a character only where it is none that could be part of a secret.
fn text_of(text: &str, controls: &[Control]) -> Result<Vec<char>, Fault> {
    // Each character has at most four bytes: what is surely too long is not counted.
    let characters = if text.len() > 4 * MOST_CHARACTERS { usize::MAX } else { text.chars().count() };
    if !(1..=MOST_CHARACTERS).contains(&characters) {
        let message = format!(
            "the text has {} bytes, expected 1 to {MOST_CHARACTERS} characters: type a long text in parts",
            text.len()
        );
        return Err(Fault::invalid("text", message));
    }
    for (index, character) in text.chars().enumerate() {
        let asked = |control: Control| controls.contains(&control);
        let (allowed, advice) = match character {
            '\n' => (asked(Control::Newline), "; add \"newline\" to controls if Return shall be pressed"),
            '\t' => (asked(Control::Tab), "; add \"tab\" to controls if Tab shall be pressed"),
            '\r' => (false, "; a line ends with U+000A alone"),
            control if control.is_control() => (false, "; press a key by its name with keyboard.press"),
            other => (Key::of_char(other).is_some(), "; it stands for no character"),
        };
        if !allowed {
            let message = format!(
                "character {index} of the text is U+{:04X}, which cannot be typed{advice}",
                u32::from(character)
            );
            return Err(Fault::invalid("text", message));
        }
    }
    Ok(text.chars().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, controls: &[Control]) -> String {
        let fault = text_of(text, controls).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.path.as_deref()), ("validation_failed", Some("text")));
        fault.message.into_owned()
    }

    #[test]
    fn control_characters_are_refused_unless_asked_for() {
        for code in (0..0x20).chain(0x7f..0xa0) {
            let text = format!("ab{}", char::from_u32(code).unwrap());
            assert!(refusal(&text, &[]).contains(&format!("character 2 of the text is U+{code:04X}")));
        }
        assert!(text_of("a\nb", &[Control::Newline]).is_ok() && text_of("a\tb", &[Control::Tab]).is_ok());
        refusal("a\nb", &[Control::Tab]);
        refusal("a\tb", &[Control::Newline]);
        refusal("a\r\nb", &[Control::Newline, Control::Tab]);
        refusal("\u{1b}[A", &[Control::Newline, Control::Tab]);
        refusal("\u{fffe}", &[]);
    }

    #[test]
    fn a_text_has_one_to_ten_thousand_characters() {
        // D06
        assert_eq!(text_of(&"🙂".repeat(10_000), &[]).unwrap().len(), 10_000);
        for text in [String::new(), "a".repeat(10_001), "a".repeat(100 << 10)] {
            assert!(refusal(&text, &[]).contains("10000 characters"));
        }
    }
}
