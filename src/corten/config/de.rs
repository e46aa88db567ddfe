//! From the tree to the settings. An own deserialiser, because it sees which keys a section has and where a value
//! stands: that is what an operator needs to hear about a typing error.

use super::error::{ConfigError, Place, nearest};
use super::tree::{Node, Value};
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Expected, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use std::collections::btree_map;
use std::fmt;

/// More mistakes than this are not looked for.
const MOST: usize = 100;

/// The settings that a tree holds, and every unknown key and every value that its setting cannot take. Their settings have
/// their defaults, and the tree marks them.
pub(super) fn from_node<T: DeserializeOwned + Default>(root: &mut Node) -> (T, Vec<ConfigError>) {
    let mut mistakes = Vec::new();
    while mistakes.len() < MOST {
        let error = match T::deserialize(&*root) {
            Ok(settings) => return (settings, mistakes),
            Err(error) => error,
        };
        let path: Vec<String> = error.path.iter().rev().cloned().collect();
        if !error.follows(root, &path) {
            mistakes.push(error.locate(root));
        }
        if !root.refuse(&path) {
            break;
        }
    }
    (T::default(), mistakes)
}

/// A failure inside serde, whose place and key are added on the way up.
#[derive(Debug)]
pub(super) struct DeError {
    reason: Reason,
    place: Option<Place>,
    path: Vec<String>,
}

#[derive(Debug)]
enum Reason {
    UnknownKey {
        nearest: Option<&'static str>,
    },
    Value {
        text: String,
        nearest: Option<&'static str>,
    },
    /// A section lacks it.
    Missing {
        field: &'static str,
    },
    /// A value of another type.
    Type {
        expected: Kind,
        found: String,
    },
}

/// What a setting takes, in the words of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A whole number of 0 or more.
    Count,
    /// A whole number.
    Number,
    Section,
    Other(String),
}

impl Kind {
    fn of(expected: &dyn Expected) -> Self {
        let name = expected.to_string();
        match name.as_str() {
            "usize" | "u8" | "u16" | "u32" | "u64" => Self::Count,
            "i8" | "i16" | "i32" | "i64" => Self::Number,
            "path string" => Self::Other("a path in quotes".to_owned()),
            "a string" => Self::Other("text in quotes".to_owned()),
            "a boolean" => Self::Other("true or false, without quotes".to_owned()),
            "a sequence" => Self::Other("a list in brackets".to_owned()),
            "a map" => Self::Section,
            _ if name.starts_with("struct ") => Self::Section,
            _ => Self::Other(name),
        }
    }

    /// The words, for the setting of this key.
    fn describe(&self, key: &str) -> String {
        match self {
            Self::Count if key.ends_with("_seconds") => {
                "a whole number of seconds of 0 or more, without quotes".to_owned()
            }
            Self::Count => "a whole number of 0 or more, without quotes".to_owned(),
            Self::Number => "a whole number, without quotes".to_owned(),
            Self::Section => format!("a section [{key}]"),
            Self::Other(words) => words.clone(),
        }
    }
}

/// What settings take whose type says it in words of its own.
const FORMS: [(&str, &str); 3] = [
    (
        "network.subnets",
        "a subnet such as \"10.88.0.0/16\" or \"fd10:88::/64\", whose prefix has at most 32 bits, or 128 with IPv6",
    ),
    ("metrics.address", super::sections::METRICS_ADDRESS),
    ("stream.address", "an IP address with a port, for example \"127.0.0.1:0\""),
];

/// What stands there, as it is written in a file.
fn found(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a section".to_owned(),
        other => other.to_string(),
    }
}

impl DeError {
    fn new(reason: Reason) -> Self {
        Self { reason, place: None, path: Vec::new() }
    }

    fn value(text: String) -> Self {
        Self::new(Reason::Value { text, nearest: None })
    }

    fn within(mut self, key: String, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self.path.push(key);
        self
    }

    /// Whether it comes of a mistake that is known: what is missing is there, and refused.
    fn follows(&self, root: &Node, path: &[String]) -> bool {
        let Reason::Missing { field } = &self.reason else { return false };
        root.at(path).and_then(|section| section.at(&[(*field).to_owned()])).is_some_and(|node| node.refused)
    }

    fn locate(self, root: &Node) -> ConfigError {
        let place = self.place.unwrap_or_else(|| root.place.clone());
        let parts: Vec<_> = self.path.into_iter().rev().collect();
        let key = parts.join(".");
        match self.reason {
            Reason::UnknownKey { nearest } => {
                let section = parts.split_last().map(|(_, section)| section).unwrap_or_default();
                let within =
                    |name| section.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
                let nearest = nearest.map(within).or_else(|| elsewhere(&parts));
                ConfigError::UnknownKey { place, key, nearest }
            }
            Reason::Type { expected, found } => {
                let reason = format!("expected {}, found {found}", expected.describe(&key));
                ConfigError::Value { place, key, reason, nearest: None }
            }
            Reason::Missing { field } => {
                let reason = format!("`{field}` is missing");
                ConfigError::Value { place, key, reason, nearest: None }
            }
            Reason::Value { text, nearest } => {
                let form = FORMS.iter().find(|(setting, _)| key.starts_with(setting));
                let written = root.at(&parts).and_then(|node| node.text());
                let text = match (form, written) {
                    (Some((_, form)), Some(written)) => format!("expected {form}, found {written:?}"),
                    _ => text,
                };
                ConfigError::Value { place, key, reason: text, nearest: nearest.map(str::to_owned) }
            }
        }
    }
}

/// The setting of this name in another section, where there is one such.
fn elsewhere(path: &[String]) -> Option<String> {
    let name = path.last()?;
    let is_it = |key: &str| key.rsplit_once('.').is_some_and(|(_, last)| last == name);
    let mut found = super::live::KEYS.iter().map(|(key, _)| *key).filter(|key| is_it(key));
    let first = found.next()?;
    found.next().is_none().then(|| first.to_owned())
}

impl fmt::Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::UnknownKey { .. } => f.write_str("unknown key"),
            Reason::Value { text, .. } => f.write_str(text),
            Reason::Missing { field } => write!(f, "`{field}` is missing"),
            Reason::Type { expected, found } => {
                write!(f, "expected {}, found {found}", expected.describe(""))
            }
        }
    }
}

impl std::error::Error for DeError {}

impl serde::de::Error for DeError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::value(text.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(Reason::Type { expected: Kind::of(expected), found: found(&unexpected) })
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Reason::Value {
            text: format!("`{variant}` is not one of {}", expected.join(", ")),
            nearest: nearest(variant, expected),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Reason::Missing { field })
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Reason::UnknownKey { nearest: nearest(field, expected) })
    }
}

impl<'de> serde::Deserializer<'de> for &'de Node {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.value {
            Value::Table(entries) => visitor.visit_map(Entries::new(entries)),
            Value::Array(items) => visitor.visit_seq(Items(items.iter().enumerate())),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(yes) => visitor.visit_bool(*yes),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        visitor.visit_newtype_struct(self)
    }

    /// Refuses unknown keys here, whether or not the section's type would: none may ever be ignored.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        if let Value::Table(entries) = &self.value
            && let Some((key, node)) =
                entries.iter().find(|(key, node)| !node.refused && !fields.contains(&key.as_str()))
        {
            let error = DeError::new(Reason::UnknownKey { nearest: nearest(key, fields) });
            return Err(error.within(key.clone(), &node.place));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        match &self.value {
            Value::Table(entries) => visitor.visit_enum(MapAccessDeserializer::new(Entries::new(entries))),
            Value::String(word) => visitor.visit_enum(StringDeserializer::new(word.clone())),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Entries<'de> {
    entries: btree_map::Iter<'de, String, Node>,
    current: Option<(&'de String, &'de Node)>,
}

impl<'de> Entries<'de> {
    fn new(entries: &'de std::collections::BTreeMap<String, Node>) -> Self {
        Self { entries: entries.iter(), current: None }
    }

    fn locate(&self, error: DeError) -> DeError {
        match self.current {
            Some((key, node)) => error.within(key.clone(), &node.place),
            None => error,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DeError> {
        self.current = self.entries.find(|(_, node)| !node.refused);
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(StringDeserializer::new(key.clone())).map(Some).map_err(|error| self.locate(error))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DeError> {
        let Some((_, node)) = self.current else {
            return Err(DeError::value("a value was asked for before its key".to_owned()));
        };
        seed.deserialize(node).map_err(|error| self.locate(error))
    }
}

struct Items<'de>(std::iter::Enumerate<std::slice::Iter<'de, Node>>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = DeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DeError> {
        let Some((index, node)) = self.0.find(|(_, node)| !node.refused) else { return Ok(None) };
        seed.deserialize(node).map(Some).map_err(|error| error.within(index.to_string(), &node.place))
    }
}
