//! Strict JSON: one reading, no second guess.
//!
//! [`Json::parse`] refuses what lenient readers let pass: duplicate keys at any depth, `null`, lone surrogates,
//! invalid UTF-8, a byte order mark, trailing bytes, nesting beyond [`MAX_DEPTH`]. [`Json::read`] then fills a typed
//! value and refuses what serde's derive lets pass: an array in the place of an object. Both name the JSON path.
//!
//! [`Json::canonical`] writes the tree back in one fixed order: what was parsed is what is digested, shown, run and
//! logged.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::{self, Write as _};

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use crate::error::excerpt;

/// How deep arrays and objects may nest.
pub const MAX_DEPTH: usize = 64;

/// A JSON text without `null`, with unique keys in sorted order.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `true` or `false`.
    Bool(bool),
    /// An integer of 64 bits, signed or unsigned.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object; keys are unique and sorted.
    Object(BTreeMap<String, Json>),
}

/// What was wrong with a JSON text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The path of the value, innermost part first.
    parts: Vec<String>,
    message: String,
}

impl Invalid {
    /// The path from `$`, such as `$.actions[0].params.argv`.
    pub fn path(&self) -> String {
        self.parts.iter().rev().fold("$".to_owned(), |path, part| path + part)
    }

    /// What was found and what was expected.
    pub fn message(&self) -> &str {
        &self.message
    }

    fn within(mut self, part: impl FnOnce() -> String) -> Self {
        self.parts.push(part());
        self
    }
}

fn key_part(key: &str) -> String {
    format!(".{}", excerpt(key))
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path(), self.message)
    }
}

impl std::error::Error for Invalid {}

impl de::Error for Invalid {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { parts: Vec::new(), message: message.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("found {}, expected {expected}", shown(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("found {}, expected {expected}", shown(found)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("unknown field \"{}\", expected {}", excerpt(field), one_of(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("found \"{}\", expected {}", excerpt(variant), one_of(expected)))
    }
}

fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("string \"{}\"", excerpt(text)),
        other => other.to_string(),
    }
}

fn one_of(names: &[&str]) -> String {
    if names.is_empty() { "no field".to_owned() } else { format!("one of {}", names.join(", ")) }
}

impl Json {
    /// Reads one JSON text.
    ///
    /// # Errors
    ///
    /// Anything that is not exactly one strict JSON text; the message holds line and column where the reader stopped.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let text = std::str::from_utf8(bytes)
            .map_err(|e| de::Error::custom(format_args!("byte {} is not UTF-8", e.valid_up_to())))?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let mut trail = Vec::new();
        let tree = Tree { depth: 0, trail: &mut trail }
            .deserialize(&mut reader)
            .and_then(|tree| reader.end().map(|()| tree));
        tree.map_err(|e| Invalid { parts: trail, message: e.to_string() })
    }

    /// Fills a typed value; strict where serde's derive is not.
    ///
    /// # Errors
    ///
    /// The first value that does not fit, with its path from here.
    pub fn read<'de, T: Deserialize<'de>>(&'de self) -> Result<T, Invalid> {
        T::deserialize(self)
    }

    /// Fills an externally tagged enum as if this value stood in `{"<variant>": ...}`.
    ///
    /// # Errors
    ///
    /// As [`Json::read`].
    pub fn read_variant<'de, T: Deserialize<'de>>(&'de self, variant: &'de str) -> Result<T, Invalid> {
        T::deserialize(Tagged { variant, content: Some(self) })
    }

    /// The value in one fixed spelling: sorted keys, no white space, ASCII only, shortest escapes.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    /// Appends [`Json::canonical`] to `out`.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Int(value) => write!(out, "{value}").expect("writing to a string"),
            Json::Float(value) => out.push_str(&serde_json::to_string(value).expect("a finite number")),
            Json::Text(text) => write_text(text, out),
            Json::Array(items) => {
                let mut separator = '[';
                for item in items {
                    out.push(std::mem::replace(&mut separator, ','));
                    item.write(out);
                }
                out.push_str(if items.is_empty() { "[]" } else { "]" });
            }
            Json::Object(fields) => {
                let mut separator = '{';
                for (key, value) in fields {
                    out.push(std::mem::replace(&mut separator, ','));
                    write_text(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push_str(if fields.is_empty() { "{}" } else { "}" });
            }
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Json::Bool(value) => Unexpected::Bool(*value),
            Json::Int(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => Unexpected::Unsigned(value),
                (_, Ok(value)) => Unexpected::Signed(value),
                _ => Unexpected::Other("integer"),
            },
            Json::Float(value) => Unexpected::Float(*value),
            Json::Text(text) => Unexpected::Str(text),
            Json::Array(_) => Unexpected::Other("array"),
            Json::Object(_) => Unexpected::Other("object"),
        }
    }
}

/// Appends `text` as a JSON string in printable ASCII: everything else is an escape.
pub fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='~' => out.push(c),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("writing to a string");
                }
            }
        }
    }
    out.push('"');
}

/// Builds a [`Json`] while the reader goes on; `trail` gets the path of the failure, innermost part first.
struct Tree<'a> {
    depth: usize,
    trail: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
        Err(E::custom("null is not accepted: leave the field out"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let depth = deeper(self.depth)?;
        let mut list = Vec::new();
        loop {
            match items.next_element_seed(Tree { depth, trail: &mut *self.trail }) {
                Ok(Some(item)) => list.push(item),
                Ok(None) => return Ok(Json::Array(list)),
                Err(e) => {
                    self.trail.push(format!("[{}]", list.len()));
                    return Err(e);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let depth = deeper(self.depth)?;
        let mut fields = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            match fields.entry(key) {
                Entry::Occupied(taken) => {
                    let message = format!("duplicate field \"{}\"", excerpt(taken.key()));
                    return Err(de::Error::custom(message));
                }
                Entry::Vacant(free) => match entries.next_value_seed(Tree { depth, trail: &mut *self.trail })
                {
                    Ok(value) => {
                        free.insert(value);
                    }
                    Err(e) => {
                        self.trail.push(key_part(free.key()));
                        return Err(e);
                    }
                },
            }
        }
        Ok(Json::Object(fields))
    }
}

fn deeper<E: de::Error>(depth: usize) -> Result<usize, E> {
    if depth < MAX_DEPTH {
        Ok(depth + 1)
    } else {
        Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")))
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Tree { depth: 0, trail: &mut Vec::new() })
    }
}

/// Answers every scalar request with what stands there; the visitor says what it expected.
macro_rules! as_it_stands {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
            self.deserialize_any(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for &'de Json {
    type Error = Invalid;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self {
            Json::Bool(value) => visitor.visit_bool(*value),
            Json::Int(value) => match u64::try_from(*value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(i64::try_from(*value).map_err(de::Error::custom)?),
            },
            Json::Float(value) => visitor.visit_f64(*value),
            Json::Text(text) => visitor.visit_borrowed_str(text),
            Json::Array(items) => Items::new(items).read(visitor),
            Json::Object(fields) => visitor.visit_map(Fields { rest: fields.iter(), value: None }),
        }
    }

    as_it_stands! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_identifier deserialize_unit
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_some(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self {
            Json::Array(items) => Items::new(items).read(visitor),
            other => Err(de::Error::invalid_type(other.unexpected(), &"an array")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Invalid> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self {
            Json::Object(fields) => visitor.visit_map(Fields { rest: fields.iter(), value: None }),
            other => Err(de::Error::invalid_type(other.unexpected(), &"an object")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        match self {
            Json::Text(variant) => visitor.visit_enum(Tagged { variant, content: None }),
            Json::Object(fields) if fields.len() == 1 => {
                let (variant, content) = fields.iter().next().expect("one field");
                visitor.visit_enum(Tagged { variant, content: Some(content) })
            }
            other => {
                Err(de::Error::invalid_type(other.unexpected(), &"a string or an object with one field"))
            }
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_unit()
    }
}

struct Items<'de> {
    rest: std::slice::Iter<'de, Json>,
    next: usize,
}

impl<'de> Items<'de> {
    fn new(items: &'de [Json]) -> Self {
        Self { rest: items.iter(), next: 0 }
    }

    fn read<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Invalid> {
        let value = visitor.visit_seq(&mut self)?;
        match self.rest.len() {
            0 => Ok(value),
            more => Err(de::Error::custom(format_args!("{more} elements more than expected"))),
        }
    }
}

impl<'de> SeqAccess<'de> for &mut Items<'de> {
    type Error = Invalid;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Invalid> {
        let Some(item) = self.rest.next() else { return Ok(None) };
        let index = self.next;
        self.next += 1;
        seed.deserialize(item).map(Some).map_err(|e| e.within(|| format!("[{index}]")))
    }
}

struct Fields<'de> {
    rest: std::collections::btree_map::Iter<'de, String, Json>,
    value: Option<(&'de str, &'de Json)>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Invalid;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Invalid> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some((key, value));
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Invalid> {
        let (key, value) = self.value.take().expect("a key was read before its value");
        seed.deserialize(value).map_err(|e| e.within(|| key_part(key)))
    }
}

/// An enum value: a variant's name and what stands in it.
struct Tagged<'de> {
    variant: &'de str,
    content: Option<&'de Json>,
}

impl<'de> Tagged<'de> {
    fn content(self) -> Result<&'de Json, Invalid> {
        self.content
            .ok_or_else(|| de::Error::custom(format_args!("\"{}\" needs a value", excerpt(self.variant))))
    }
}

impl<'de> Deserializer<'de> for Tagged<'de> {
    type Error = Invalid;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Tagged<'de> {
    type Error = Invalid;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Invalid> {
        Ok((seed.deserialize(self.variant.into_deserializer())?, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'de> {
    type Error = Invalid;

    fn unit_variant(self) -> Result<(), Invalid> {
        match self.content {
            None => Ok(()),
            Some(content) => Err(de::Error::invalid_type(content.unexpected(), &"only the name")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Invalid> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Invalid> {
        self.content()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Invalid> {
        self.content()?.deserialize_map(visitor)
    }
}
