//! One record, one line: how entries become bytes that are chained, and how a line is taken apart again.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use sha2::{Digest, Sha256};

use crate::audit::{Entry, Event, Signer};

/// The SHA-256 of a line, in lower-case hexadecimal: what the next line's `prev` says, and a receipt.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link([u8; 64]);

impl Link {
    /// What the first line of a log follows.
    pub const START: Link = Link([b'0'; 64]);

    /// The link to a line, given without its LF.
    pub fn to(line: &[u8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 64];
        for (pair, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(Sha256::digest(line)) {
            *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        }
        Self(hex)
    }

    /// Takes 64 lower-case hexadecimal digits.
    pub fn parse(hex: &[u8]) -> Option<Self> {
        let digits = hex.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        hex.try_into().ok().filter(|_| digits).map(Self)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("hexadecimal digits")
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An entry as it will stand in its line, serialised before its place in the log is known.
#[derive(Clone, Debug)]
pub struct Body(Vec<u8>);

impl Body {
    /// Serialises an entry as printable ASCII.
    pub fn of(entry: &Entry) -> Self {
        let mut bytes = Vec::with_capacity(512);
        let ascii = &mut Serializer::with_formatter(&mut bytes, Ascii);
        entry.serialize(ascii).expect("an entry has text keys only, and memory does not fail to be written");
        bytes.pop();
        Self(bytes)
    }
}

/// The end of a log: where the next record goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    seq: u64,
    head: Link,
}

impl Default for Chain {
    fn default() -> Self {
        Self { seq: 0, head: Link::START }
    }
}

impl Chain {
    /// Goes on after the record `seq`, whose line `head` links to.
    pub fn after(seq: u64, head: Link) -> Self {
        Self { seq, head }
    }

    /// The last record's number; 0 where there is none.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The link to the last record.
    pub fn head(&self) -> Link {
        self.head
    }

    /// Adds a record, with its LF, to `out`. `time` is RFC 3339 in UTC with microseconds.
    pub fn append(&mut self, body: &Body, time: &str, out: &mut Vec<u8>) {
        let start = self.open(time, out);
        // What is left of the entry's own object after its brace.
        out.extend_from_slice(&body.0[1..]);
        self.close(start, out);
    }

    /// Adds a record that signs everything before it, and itself.
    pub fn checkpoint(&mut self, signer: &Signer, time: &str, out: &mut Vec<u8>) {
        let start = self.open(time, out);
        signer.sign(start, self.head, out);
        self.close(start, out);
    }

    fn open(&mut self, time: &str, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        self.seq += 1;
        write!(out, "{{\"seq\":{},\"time\":\"{time}\",", self.seq).expect("writing to memory");
        start
    }

    fn close(&mut self, start: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"prev\":\"");
        out.extend_from_slice(&self.head.0);
        out.extend_from_slice(b"\"}");
        self.head = Link::to(&out[start..]);
        out.push(b'\n');
    }
}

/// A line, taken apart by its fixed beginning and end; what is between is not parsed.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its number.
    pub seq: u64,
    /// When it was written: RFC 3339 in UTC with microseconds, in a record that a host wrote. It sorts as text.
    pub time: &'a str,
    /// What happened.
    pub event: Event,
    /// The link that it holds to the line before.
    pub prev: Link,
    /// All of it.
    pub bytes: &'a [u8],
}

impl<'a> Line<'a> {
    /// The bytes after the body: `,"prev":"` 64 digits `"}`.
    pub(super) const TAIL: usize = 9 + 64 + 2;
    const TIME: usize = "2026-11-23T05:54:01.123456Z".len();

    /// Takes a line, without its LF, if it has the shape of a record.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        if !bytes.iter().fold(true, |printable, b| printable & (b' '..=b'~').contains(b)) {
            return None;
        }
        let rest = bytes.strip_prefix(b"{\"seq\":")?;
        let digits =
            rest.iter().position(|b| *b == b',').filter(|n| (1..=20).contains(n) && rest[0] != b'0')?;
        let (digits, rest) = rest.split_at(digits);
        let seq = digits.iter().try_fold(0_u64, |seq, b| {
            let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
            seq.checked_mul(10)?.checked_add(digit)
        })?;
        let (time, rest) = rest.strip_prefix(b",\"time\":\"")?.split_at_checked(Self::TIME)?;
        let time = str::from_utf8(time).ok()?;
        let rest = rest.strip_prefix(b"\",\"event\":\"")?;
        let name = &rest[..rest.iter().take(32).position(|b| *b == b'"')?];
        let event = Event::ALL.into_iter().find(|event| event.as_str().as_bytes() == name)?;
        let tail = bytes.len().checked_sub(Self::TAIL).map(|at| &bytes[at..])?;
        let prev = Link::parse(tail.strip_prefix(b",\"prev\":\"")?.strip_suffix(b"\"}")?)?;
        Some(Self { seq, time, event, prev, bytes })
    }

    /// The link that the next line must hold.
    pub fn link(&self) -> Link {
        Link::to(self.bytes)
    }
}

/// The text of a line as printable ASCII, whoever wrote it: whatever else it holds stands as a JSON escape.
pub fn printable(line: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(line) {
        Ok(text) if line.iter().all(|b| (b' '..=b'~').contains(b)) => Cow::Borrowed(text),
        _ => {
            let mut out = Vec::with_capacity(line.len() * 2);
            write_ascii(&mut out, &String::from_utf8_lossy(line)).expect("writing to memory");
            Cow::Owned(String::from_utf8(out).expect("ASCII"))
        }
    }
}

fn write_ascii<W: ?Sized + Write>(out: &mut W, text: &str) -> io::Result<()> {
    let mut rest = text;
    while let Some(at) = rest.find(|c| !matches!(c, ' '..='~')) {
        out.write_all(&rest.as_bytes()[..at])?;
        let mut chars = rest[at..].chars();
        for unit in chars.next().unwrap_or_default().encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}")?;
        }
        rest = chars.as_str();
    }
    out.write_all(rest.as_bytes())
}

/// Compact JSON (a formatter's defaults) whose bytes are printable ASCII: any viewer can show it, and it is one line.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        write_ascii(out, fragment)
    }

    /// Raw JSON has controls outside of strings only, as white space, and everything else beyond ASCII inside.
    fn write_raw_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        fragment.split(['\n', '\r', '\t']).try_for_each(|part| write_ascii(out, part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::What;
    use crate::name::Id;
    use serde_json::Value;
    use serde_json::value::RawValue;

    const TIME: &str = "2026-11-23T05:54:01.123456Z";

    fn line(entry: &Entry) -> String {
        let mut out = Vec::new();
        Chain::default().append(&Body::of(entry), TIME, &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_one_line_with_its_keys_in_order() {
        let entry = Entry {
            request_id: Id::new("r-1"),
            why: Some("greet".to_owned()),
            data: Some(serde_json::json!({"n": 1})),
            ..Entry::new(Event::Start)
        };
        let zeros = "0".repeat(64);
        let expected = format!(
            r#"{{"seq":1,"time":"{TIME}","event":"start","request_id":"r-1","session_id":null,"why":"greet","data":{{"n":1}},"prev":"{zeros}"}}"#
        );
        assert_eq!(line(&entry), expected);
        let read = Line::read(expected.as_bytes()).unwrap();
        assert_eq!((read.seq, read.time, read.event, read.prev), (1, TIME, Event::Start, Link::START));
    }

    /// A04, A05.
    #[test]
    fn hostile_text_stays_inside_its_string_as_printable_ascii() {
        let hostile = "a\n{\"seq\":2}\r\u{1b}[2J\u{7f}\u{9b}\u{2028}\u{202e}\u{1f600}\"},\"prev\":\"x\\";
        let params = RawValue::from_string(format!(
            "{{\"p\":\n\t{},\"q\":\"\u{202e}\u{7f}\u{1f600}\"}}",
            serde_json::to_string(hostile).unwrap()
        ));
        let what = What {
            action: "fs.read".to_owned(),
            index: 0,
            params: Some(params.unwrap()),
            danger: false,
            effects: Vec::new(),
        };
        let entry = Entry { why: Some(hostile.to_owned()), what: Some(what), ..Entry::new(Event::Intent) };
        let line = line(&entry);
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["why"], hostile);
        assert_eq!(read["what"]["params"]["p"], hostile);
        assert_eq!(read["what"]["params"]["q"], "\u{202e}\u{7f}\u{1f600}");
    }

    #[test]
    fn each_line_links_to_the_bytes_of_the_one_before() {
        let mut chain = Chain::default();
        let mut out = Vec::new();
        for _ in 0..3 {
            chain.append(&Body::of(&Entry::new(Event::Refused)), TIME, &mut out);
        }
        let lines: Vec<_> =
            out.split(|b| *b == b'\n').take(3).map(|line| Line::read(line).unwrap()).collect();
        assert_eq!(lines[0].prev, Link::START);
        assert_eq!(lines[1].prev, lines[0].link());
        assert_eq!(lines[2].prev, lines[1].link());
        assert_eq!((chain.seq(), chain.head()), (3, lines[2].link()));
        assert_eq!(lines[0].link().as_str(), crate::value::hex(&Sha256::digest(lines[0].bytes)));
    }

    #[test]
    fn what_is_not_exactly_a_record_is_no_line() {
        let good = line(&Entry::new(Event::Stop));
        assert!(Line::read(good.as_bytes()).is_some());
        let bad = [
            good.replace("\"seq\":1", "\"seq\":01"),
            good.replace("\"seq\":1", "\"seq\":+1"),
            good.replace("\"seq\":1", "\"seq\":18446744073709551616"),
            good.replace("\"stop\"", "\"stap\""),
            good.replace("prev\":\"0", "prev\":\"A"),
            good.replace("null", "\u{e9}"),
            format!("{good} "),
            String::new(),
        ];
        for bad in bad {
            assert!(Line::read(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn any_bytes_are_shown_as_printable_ascii() {
        let text = printable(b"\x1b[2J\xff\xc3\xa9 ok");
        assert_eq!(text, "\\u001b[2J\\ufffd\\u00e9 ok");
    }
}
