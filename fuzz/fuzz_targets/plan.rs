//! The parser of plans takes one reading of a text or none: what it takes it takes again from its canonical form, and
//! with one key twice, one key unknown, one `null` or one byte more it does not. What is refused names a place.
//!
//! Input: the bytes of a frame.
#![no_main]

use std::fmt;

use libfuzzer_sys::fuzz_target;
use llm_os_core::Code;
use llm_os_core::json::Json;
use llm_os_core::request::{MAX_ACTIONS, Request, canonical};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

fuzz_target!(|frame: &[u8]| {
    if let Ok(json) = Json::parse(frame) {
        let text = json.canonical();
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        assert_eq!(Json::parse(text.as_bytes()).as_ref(), Ok(&json), "{text}");
        let counted: Counted =
            serde_json::from_slice(frame).expect("what a strict reader takes a lenient one does");
        assert!(!counted.null, "null was taken");
        assert_eq!(counted.keys, keys_of(&json), "a key was taken twice");
    }
    match Request::read(frame) {
        Ok(request) => taken(frame, &request),
        Err(unread) => {
            let fault = unread.fault;
            assert!([Code::PARSE_FAILED, Code::VALIDATION_FAILED].contains(&fault.code), "{fault}");
            assert!(!fault.message.is_empty());
            assert!(fault.path.is_some_and(|path| path.starts_with('$')), "{}", fault.message);
        }
    }
});

fn taken(frame: &[u8], request: &Request) {
    assert!((1..=MAX_ACTIONS).contains(&request.calls.len()));
    let plan = canonical(request.session.as_ref(), &request.calls);
    let mut again = plan.clone().into_bytes();
    again.splice(..1, br#"{"request_id":"again","mode":"plan_only","#.iter().copied());
    let again = Request::read(&again).unwrap_or_else(|unread| panic!("{}: {plan}", unread.fault));
    assert_eq!(canonical(again.session.as_ref(), &again.calls), plan);

    let start = frame.iter().position(|byte| *byte == b'{').expect("an object");
    for more in [r#""mode":"execute","#, r#""unknown":1,"#, r#""confirmation":null,"#] {
        let mut other = frame.to_vec();
        other.splice(start + 1..start + 1, more.bytes());
        assert!(Request::read(&other).is_err(), "taken with {more}");
    }
    assert!(Request::read(&[frame, b"x"].concat()).is_err(), "taken with a byte more");
    assert!(Request::read(&frame[..frame.trim_ascii_end().len() - 1]).is_err(), "taken without its end");
    for call in &request.calls {
        typed::<llm_os_fs::Action>(&call.params, call.name.verb());
        typed::<llm_os_exec::Action>(&call.params, call.name.verb());
    }
}

/// Whether params fit or not, they do so without a panic, and a refusal names its place.
fn typed<A: for<'de> Deserialize<'de>>(params: &Json, verb: &str) {
    if let Err(invalid) = params.read_variant::<A>(verb) {
        assert!(invalid.path().starts_with('$') && !invalid.message().is_empty());
    }
}

fn keys_of(json: &Json) -> usize {
    match json {
        Json::Bool(_) | Json::Int(_) | Json::Float(_) | Json::Text(_) => 0,
        Json::Array(items) => items.iter().map(keys_of).sum(),
        Json::Object(fields) => fields.len() + fields.values().map(keys_of).sum::<usize>(),
    }
}

/// What a lenient reader sees of a text.
#[derive(Default)]
struct Counted {
    keys: usize,
    null: bool,
}

impl Counted {
    fn and(&mut self, other: Self) {
        self.keys += other.keys;
        self.null |= other.null;
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Counting)
    }
}

struct Counting;

impl<'de> Visitor<'de> for Counting {
    type Value = Counted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Counted, E> {
        Ok(Counted::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Counted, E> {
        Ok(Counted::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Counted, E> {
        Ok(Counted::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Counted, E> {
        Ok(Counted::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Counted, E> {
        Ok(Counted::default())
    }

    fn visit_unit<E>(self) -> Result<Counted, E> {
        Ok(Counted { keys: 0, null: true })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Counted, A::Error> {
        let mut all = Counted::default();
        while let Some(item) = items.next_element()? {
            all.and(item);
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Counted, A::Error> {
        let mut all = Counted::default();
        while let Some((_, value)) = fields.next_entry::<String, Counted>()? {
            all.keys += 1;
            all.and(value);
        }
        Ok(all)
    }
}
