//! Patterns of strings, as rules over the characters of a JSON string.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look};
use serde_json::Value;

use super::text::{class, escape, literal};
use super::{Grammar, times};
use crate::schema::keywords::{COUNTLESS, Unsupported};

impl Grammar {
    /// The JSON strings that a pattern matches. Each character has one spelling: as itself, or by its short escape where
    /// it needs one.
    pub(super) fn pattern(
        &mut self,
        pattern: &str,
        schema: &Value,
        name: &str,
    ) -> Result<String, Unsupported> {
        let refused =
            |why: &str| Unsupported::shape(format!("the pattern {pattern:?} has no form here: {why}"));
        // These mean ASCII in JSON Schema and all of Unicode to the parser.
        let is_class = |two: &[u8]| two[0] == b'\\' && b"dDwWsSbBpP".contains(&two[1]);
        if pattern.as_bytes().windows(2).any(is_class) {
            return Err(refused("write its classes out, such as [0-9] for \\d"));
        }
        let parsed = regex_syntax::parse(pattern).map_err(|e| refused(&e.to_string()))?;
        let (least, most) = (parsed.properties().minimum_len(), parsed.properties().maximum_len());
        if schema["minLength"]
            .as_u64()
            .is_some_and(|length| length > u64::from(least.is_some_and(|least| least > 0)))
        {
            return Err(refused("it does not say by itself how long a string is at least"));
        }
        let (start, end) = (parsed.properties().look_set_prefix(), parsed.properties().look_set_suffix());
        let is_whole = start.contains(Look::Start) && end.contains(Look::End);
        let bounded = |length: u64| is_whole && most.is_some_and(|most| most as u64 <= length);
        if schema["maxLength"].as_u64().is_some_and(|length| length < COUNTLESS && !bounded(length)) {
            return Err(refused("it does not say by itself how long a string is at most"));
        }
        let text = self.searched(&parsed).map_err(refused)?;
        Ok(self.rule(name, format!("\"\\\"\" {text} \"\\\"\"")))
    }

    /// A pattern matches anywhere in a string, unless it is anchored.
    fn searched(&mut self, pattern: &Hir) -> Result<String, &'static str> {
        match pattern.kind() {
            HirKind::Alternation(branches) => {
                let branches =
                    branches.iter().map(|branch| self.searched(branch)).collect::<Result<Vec<_>, _>>()?;
                Ok(format!("( {} )", branches.join(" | ")))
            }
            HirKind::Capture(capture) => self.searched(&capture.sub),
            HirKind::Concat(parts) => self.between_anchors(parts),
            HirKind::Empty
            | HirKind::Literal(_)
            | HirKind::Class(_)
            | HirKind::Look(_)
            | HirKind::Repetition(_) => self.between_anchors(std::slice::from_ref(pattern)),
        }
    }

    fn between_anchors(&mut self, parts: &[Hir]) -> Result<String, &'static str> {
        let is = |part: &Hir, look: Look| matches!(part.kind(), HirKind::Look(found) if *found == look);
        let (start, parts) = match parts.split_first() {
            Some((first, rest)) if is(first, Look::Start) => ("", rest),
            _ => ("char* ", parts),
        };
        let (end, parts) = match parts.split_last() {
            Some((last, rest)) if is(last, Look::End) => ("", rest),
            _ => (" char*", parts),
        };
        Ok(format!("{start}{}{end}", self.sequence(parts)?))
    }

    fn sequence(&mut self, parts: &[Hir]) -> Result<String, &'static str> {
        let parts = parts.iter().map(|part| self.matched(part)).collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Ok(if parts.is_empty() { "\"\"".to_owned() } else { parts.join(" ") })
    }

    fn matched(&mut self, pattern: &Hir) -> Result<String, &'static str> {
        match pattern.kind() {
            HirKind::Empty => Ok("\"\"".to_owned()),
            HirKind::Literal(text) => {
                let text = std::str::from_utf8(&text.0).map_err(|_| "it is not text")?;
                Ok(literal(
                    &text.chars().map(|c| escape(c).unwrap_or_else(|| c.to_string())).collect::<String>(),
                ))
            }
            HirKind::Class(Class::Unicode(chars)) => Ok(self.one_of(chars)),
            HirKind::Class(Class::Bytes(_)) => Err("it matches bytes"),
            HirKind::Look(_) => Err("it looks around in its middle"),
            HirKind::Repetition(repeated) => {
                let what = self.matched(&repeated.sub)?;
                let most = repeated.max.map(u64::from);
                if most.is_some_and(|most| most >= COUNTLESS) {
                    return Err("it counts too far");
                }
                let is_class = matches!(repeated.sub.kind(), HirKind::Class(_));
                let what = if is_class { what } else { self.rule("pattern", what) };
                times(&what, repeated.min.into(), most).map_err(|_| "it counts too far")
            }
            HirKind::Capture(capture) => self.matched(&capture.sub),
            HirKind::Concat(parts) => self.sequence(parts),
            HirKind::Alternation(branches) => {
                let branches =
                    branches.iter().map(|branch| self.matched(branch)).collect::<Result<Vec<_>, _>>()?;
                Ok(format!("( {} )", branches.join(" | ")))
            }
        }
    }

    /// One character of a class, as a JSON string spells it.
    fn one_of(&mut self, chars: &ClassUnicode) -> String {
        let escaped = [('\0', '\x1f'), ('"', '"'), ('\\', '\\'), ('\x7f', '\x7f')];
        let escaped = ClassUnicode::new(escaped.map(|(first, last)| ClassUnicodeRange::new(first, last)));
        let mut plain = chars.clone();
        plain.difference(&escaped);
        let mut ways = Vec::new();
        if !plain.ranges().is_empty() {
            let is_open = plain.ranges().last().is_some_and(|range| range.end() == char::MAX);
            let mut ranges = plain;
            if is_open {
                ranges.negate();
            }
            let ranges: Vec<_> = ranges.iter().map(|range| (range.start(), range.end())).collect();
            ways.push(class(&ranges, is_open));
        }
        let mut special = chars.clone();
        special.intersect(&escaped);
        let special = special.iter().flat_map(|range| range.start()..=range.end());
        ways.extend(special.filter_map(escape).map(|text| literal(&text)));
        match ways.as_slice() {
            [only] => only.clone(),
            several => self.rule("character", several.join(" | ")),
        }
    }
}
