//! Seconds in UTC, as the log and lists of signers write them.

use std::fmt;

/// A second in UTC, ordered as time is: its digits as one number, `YYYYMMDDhhmmss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Reads RFC 3339 in UTC (`2026-11-23T05:54:01Z`). A fraction of a second, as records have it, is cut off.
    pub fn rfc3339(text: &str) -> Option<Self> {
        const MARKS: [(usize, u8); 5] = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        let (whole, fraction) = text.strip_suffix('Z')?.split_at_checked(19)?;
        let is_fraction =
            |rest: &str| (1..=9).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_digit());
        if !fraction.is_empty() && !fraction.strip_prefix('.').is_some_and(is_fraction) {
            return None;
        }
        if MARKS.iter().any(|(at, mark)| whole.as_bytes()[*at] != *mark) {
            return None;
        }
        let at = |index: usize| MARKS.iter().any(|(mark, _)| *mark == index);
        Self::digits(
            &whole.char_indices().filter(|(index, _)| !at(*index)).map(|(_, c)| c).collect::<String>(),
        )
    }

    /// Reads what ALLOWED SIGNERS of ssh-keygen(1) has in UTC: `YYYYMMDDZ`, `YYYYMMDDHHMMZ` or `YYYYMMDDHHMMSSZ`.
    pub fn stamp(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('Z')?;
        matches!(digits.len(), 8 | 12 | 14)
            .then(|| format!("{digits:0<14}"))
            .and_then(|text| Self::digits(&text))
    }

    fn digits(text: &str) -> Option<Self> {
        if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let moment = Self(text.parse().ok()?);
        let [year, month, day, hour, minute, second] = moment.parts();
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        ((1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60).then_some(moment)
    }

    fn parts(self) -> [u64; 6] {
        let Self(n) = self;
        [
            n / 10_000_000_000,
            n / 100_000_000 % 100,
            n / 1_000_000 % 100,
            n / 10_000 % 100,
            n / 100 % 100,
            n % 100,
        ]
    }
}

/// RFC 3339 in UTC, without a fraction.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [year, month, day, hour, minute, second] = self.parts();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_second_are_the_same_one() {
        let moment = Moment::rfc3339("2026-11-23T05:54:01Z").unwrap();
        assert_eq!(moment.to_string(), "2026-11-23T05:54:01Z");
        assert_eq!(Moment::rfc3339("2026-11-23T05:54:01.999999Z"), Some(moment));
        assert_eq!(Moment::stamp("20261123055401Z"), Some(moment));
        assert!(Moment::stamp("20261123Z") < Some(moment) && Moment::stamp("202611230555Z") > Some(moment));
        assert_eq!(
            Moment::stamp("20240229Z").map(|m| m.to_string()).as_deref(),
            Some("2024-02-29T00:00:00Z")
        );
    }

    #[test]
    fn what_is_no_second_in_utc_is_not_read() {
        for wrong in [
            "",
            "Z",
            "2026-11-23T05:54:01",
            "2026-11-23 05:54:01Z",
            "2026-11-23T05:54:01.Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-11-23T05:54:0\u{e9}Z",
            "+026-11-23T05:54:01Z",
            "2026-11-23T05:54:01+00:00",
            "2026-11-23T05:54:01.1234567890Z",
        ] {
            assert_eq!(Moment::rfc3339(wrong), None, "{wrong}");
        }
        for wrong in
            ["20261123", "20261123z", "2026112305Z", "20261131Z", "202611230\u{e9}Z", "Z", "99999999Z"]
        {
            assert_eq!(Moment::stamp(wrong), None, "{wrong}");
        }
    }
}
